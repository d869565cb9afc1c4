#include "lua/script_int.h"

#include <string.h>
#include "message/field.h"

/*
 * Responses: those of a request's branches live in the core with the request;
 * those to requests of our own are copied into a block, and live as long as
 * the script holds them.
 */

static int l_get(lua_State *L);

const struct box_type response_type = {.name = "tandem.Response",
				       .gone = "transaction is gone",
				       .get = l_get,
				       .values = 1};

/* ---- making handles ---- */

static struct lres *find(struct call *c, const struct response *res)
{
	list_each (it, &c->responses) {
		struct lres *l = container_of(it, struct lres, link);

		if (l->res == res)
			return l;
	}
	return NULL;
}

void response_push(lua_State *L, struct call *c, struct response *res)
{
	struct lres *l = find(c, res);

	if (!l) {
		l = mem_zalloc(core_mem(c->s->core), sizeof(*l));
		if (!l)
			vm_raise(L, "not enough memory");
		l->call = c;
		l->res = res;
		l->member = res->member;
		list_append(&c->responses, &l->link);
	}
	box_push(L, l, &l->box, &response_type);
}

/* The block: this, the header index, the bytes. */
struct copy {
	struct lres l;
	struct response res;
	struct script *s;
	struct hdr h[];
};

/* A dialog ends with the last handle to it. */
static int on_collect(lua_State *L)
{
	struct copy *c = lua_touserdata(L, 1);

	if (c->l.own)
		own_release(c->s, c->l.own);
	c->l.own = NULL;
	return 0;
}

static const char copy_key = 0;

static struct str moved(struct str s, const char *from, const char *to)
{
	if (s.p)
		s.p = to + (s.p - from);
	return s;
}

/* The slices and the index of `from` into the block. */
static void copy_msg(struct copy *c, const struct msg *from)
{
	struct msg *m = &c->res.msg;
	char *raw = (char *)&c->h[from->n];

	*m = *from;
	memcpy(c->h, from->h, from->n * sizeof(*c->h));
	memcpy(raw, from->raw.p, from->raw.n);
	m->h = c->h;
	m->raw.p = raw;
	m->reason = moved(from->reason, from->raw.p, raw);
	m->body = moved(from->body, from->raw.p, raw);
	m->arena = NULL;
	m->cache = NULL;
}

struct lres *response_push_own(lua_State *L, const struct response *res,
			       const struct member *member)
{
	const struct msg *m = &res->msg;
	size_t size =
	    sizeof(struct copy) + m->n * sizeof(struct hdr) + m->raw.n;
	struct copy *c = lua_newuserdatauv(L, size, 0);

	memset(c, 0, sizeof(*c));
	c->res = *res;
	c->l.res = &c->res;
	c->l.member = member;
	c->s = script_of(L);
	copy_msg(c, m);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &copy_key);
	lua_setmetatable(L, -2);
	block_push_handle(L, &c->l, &c->l.box, &response_type);
	return &c->l;
}

/* The arena of a copy is the scratch arena of now. */
static struct lres *fresh(struct lres *l)
{
	struct copy *c;

	if (l->call)
		return l;
	c = container_of(l, struct copy, l);
	c->res.msg.arena = core_scratch(c->s->core);
	c->res.msg.cache = NULL;
	edits_init(&c->res.edits, &c->res.msg, c->res.msg.arena);
	return l;
}

struct lres *response_check(lua_State *L, int idx)
{
	struct lres *l = box_get(L, idx, &response_type);

	if (!script_is_bound(script_of(L)))
		vm_raise(L, "%s", response_type.gone);
	return fresh(l);
}

struct lres *response_test(lua_State *L, int idx)
{
	struct lres *l = box_test(L, idx, &response_type);

	return l && script_is_bound(script_of(L)) ? fresh(l) : NULL;
}

/* ---- fields ---- */

static void push_retry_after(lua_State *L, struct lres *l)
{
	struct str s = edits_get(&l->res->edits, STR("Retry-After"));
	size_t n = 0;
	uint32_t seconds;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	if (str_u32(str_sub(s, 0, n), INT32_MAX, &seconds))
		lua_pushinteger(L, seconds);
	else
		lua_pushnil(L);
}

static void push_q(lua_State *L, const struct field_addr *f)
{
	bool found;
	struct str q = field_param_get(f->params, STR("q"), &found);

	if (!found || !q.p)
		return;
	script_push(L, q);
	if (lua_isnumber(L, -1)) {
		lua_pushnumber(L, lua_tonumber(L, -1));
		lua_setfield(L, -3, "q");
	}
	lua_pop(L, 1);
}

/* { uri, q, params } or nothing for what no SIP grammar allows */
static bool push_contact(lua_State *L, struct msg *m, size_t i)
{
	const struct field_addr *f = field_addr(m, HDR_CONTACT, i);
	struct nameaddr na;

	if (!f && arena_failed(m->arena))
		vm_raise(L, "not enough memory");
	if (!f || f->star ||
	    !scan_nameaddr(field_value(m, HDR_CONTACT, i), &na, NULL))
		return false;
	lua_createtable(L, 0, 3);
	script_push(L, na.uri);
	lua_setfield(L, -2, "uri");
	push_q(L, f);
	script_push_params(L, f->params);
	lua_setfield(L, -2, "params");
	return true;
}

static int l_contacts(lua_State *L)
{
	struct msg *m = &response_check(L, 1)->res->msg;
	size_t n = field_count(m, HDR_CONTACT);
	lua_Integer at = 0;

	lua_newtable(L);
	for (size_t i = 0; i < n && i < MSG_MAX_LIST; i++)
		if (push_contact(L, m, i))
			lua_rawseti(L, -2, ++at);
	return 1;
}

static void push_method(lua_State *L, struct lres *l)
{
	struct str s = edits_get(&l->res->edits, STR("CSeq"));

	str_cut(&s, ' ');
	script_push(L, str_trim(s));
}

static bool push_field(lua_State *L, struct lres *l, struct str key)
{
	struct response *res = l->res;

	if (str_eq(key, STR("code")))
		lua_pushinteger(L, res->code);
	else if (str_eq(key, STR("reason")))
		script_push(L, res->msg.reason.p ? res->msg.reason : STR(""));
	else if (str_eq(key, STR("is_local")))
		lua_pushboolean(L, res->local);
	else if (str_eq(key, STR("retry_after")))
		push_retry_after(L, l);
	else if (str_eq(key, STR("server_facts")))
		facts_push(L, l->member);
	else if (str_eq(key, STR("server")))
		server_push(L, l->member);
	else if (str_eq(key, STR("contacts")))
		l_contacts(L);
	else if (str_eq(key, STR("address")))
		push_addr(L, &res->addr);
	else if (str_eq(key, STR("method")))
		push_method(L, l);
	else if (str_eq(key, STR("body")))
		script_push(L, res->msg.body.p ? res->msg.body : STR(""));
	else
		return false;
	return true;
}

static int l_get(lua_State *L)
{
	struct str key = script_tostr(L, 2);

	if (!key.p || !push_field(L, response_check(L, 1), key))
		return vm_raise(L, "a response has no field '%s'",
				luaL_tolstring(L, 2, NULL));
	return 1;
}

/* ---- methods ---- */

static struct edits *edits_of(lua_State *L)
{
	return &response_check(L, 1)->res->edits;
}

/* The same to change them. */
static struct edits *check_edits(lua_State *L)
{
	struct lres *l = response_check(L, 1);

	if (!l->call)
		vm_raise(L, "the answer to a request of our own goes nowhere "
			    "and cannot be changed");
	return &l->res->edits;
}

static int l_header(lua_State *L)
{
	return header_get(L, edits_of(L));
}

static int l_headers(lua_State *L)
{
	return header_all(L, edits_of(L));
}

static int l_set_header(lua_State *L)
{
	return header_set(L, check_edits(L));
}

static int l_add_header(lua_State *L)
{
	return header_add(L, check_edits(L));
}

static int l_del_header(lua_State *L)
{
	return header_del(L, check_edits(L));
}

static void check_call_verb(lua_State *L, const struct call *c)
{
	if (c->watching)
		vm_raise(L, "res:forward: not in an on_response function: "
			    "what it sees is on its way already");
	if (c->ended)
		vm_raise(L, "res:forward: the handler of this request has "
			    "ended");
	if (request_decided(c->r))
		return;
	if (c->verb)
		vm_raise(L,
			 "res:forward: the request was answered already, "
			 "by %s",
			 c->verb);
	if (c->try_open)
		vm_raise(L, "res:forward: a try of this request is still "
			    "open");
}

/* res:_forward(keep_503) */
static int l_forward(lua_State *L)
{
	struct lres *l = response_check(L, 1);
	struct call *c = l->call;
	int err;

	if (!c)
		return vm_raise(L, "res:forward: this answers a request of "
				   "our own: there is nobody to forward it "
				   "to");
	check_call_verb(L, c);
	if (l->res->code < 200)
		return vm_raise(L,
				"res:forward: %d is provisional and went "
				"up already",
				l->res->code);
	note_verb(L, c, "forward");
	err = request_forward(c->r, l->res, lua_toboolean(L, 2), c->s->now);
	if (err)
		return script_raise(L, "res:forward", err);
	call_answered(c, "forward");
	return 0;
}

/* core.answered(res) -> facts, code, to_invite: facts of the server that gave
 * this answer; nil when none of the script's did */
static int l_answered(lua_State *L)
{
	const struct lres *l = response_check(L, 1);

	facts_push(L, l->res->local ? NULL : l->member);
	lua_pushinteger(L, l->res->code);
	lua_pushboolean(L, l->res->msg.method_id == METHOD_INVITE);
	return 3;
}

/* core.better(a, b): either may be nil */
static int l_better(lua_State *L)
{
	struct lres *a, *b;

	lua_settop(L, 2);
	if (lua_isnil(L, 1))
		return 1;
	a = response_check(L, 1);
	lua_pushvalue(L, 1);
	if (lua_isnil(L, 2))
		return 1;
	b = response_check(L, 2);
	lua_pushvalue(L, response_better(a->res, b->res) == b->res ? 2 : 1);
	return 1;
}

void bind_response(lua_State *L)
{
	static const luaL_Reg methods[] = {
	    {"header", l_header},         {"headers", l_headers},
	    {"set_header", l_set_header}, {"add_header", l_add_header},
	    {"del_header", l_del_header}, {"_contacts", l_contacts},
	    {"_forward", l_forward},      {NULL, NULL}};

	extended_register(L, &response_type, "Response", methods);
	lua_pushcfunction(L, l_better);
	lua_setfield(L, -2, "better");
	lua_pushcfunction(L, l_answered);
	lua_setfield(L, -2, "answered");
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, on_collect);
	lua_setfield(L, -2, "__gc");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &copy_key);
}
