#include "lua/script_int.h"

#include <string.h>
#include "message/field.h"

/* The request as a script sees it; req:_try is in bind_try.c. */

static int l_get(lua_State *L);
static int l_set(lua_State *L);

const struct box_type request_type = {.name = "tandem.Request",
				      .gone = "transaction is gone",
				      .get = l_get,
				      .set = l_set};

struct call *call_check(lua_State *L, int idx)
{
	return box_get(L, idx, &request_type);
}

struct call *call_check_verb(lua_State *L, int idx, const char *verb)
{
	struct call *c = call_check(L, idx);

	if (c->watching)
		vm_raise(L,
			 "%s: not in an on_response function, which only "
			 "sees what passes",
			 verb);
	if (c->ended)
		vm_raise(L, "%s: the handler of this request has ended", verb);
	if (request_decided(c->r))
		return c; /* a counted no-op: semantics 1 */
	if (c->verb)
		vm_raise(L, "%s: the request was answered already, by %s", verb,
			 c->verb);
	if (c->try_open)
		vm_raise(L, "%s: a try of this request is still open", verb);
	return c;
}

void call_answered(struct call *c, const char *verb)
{
	if (!c->verb)
		c->verb = verb;
}

void push_addr(lua_State *L, const struct addr *a)
{
	char text[ADDR_TEXT];

	lua_pushstring(L, addr_text(a, text));
}

void push_place(lua_State *L, const struct addr *a, unsigned transport)
{
	char text[ADDR_TEXT];

	lua_pushfstring(L, "%s;transport=%s", addr_text(a, text),
			transport_name((enum transport)transport));
}

/* ---- facts ---- */

static void push_kind(lua_State *L, const struct call *c)
{
	switch (request_kind(c->r)) {
	case REQUEST_INITIAL:
		lua_pushliteral(L, "initial");
		break;
	case REQUEST_IN_DIALOG:
		lua_pushliteral(L, "in_dialog");
		break;
	case REQUEST_FROM_SERVER:
		lua_pushliteral(L, "from_server");
		break;
	case REQUEST_SHARED_DIALOG:
		lua_pushliteral(L, "shared_dialog");
		break;
	}
}

/* { display, text, scheme, user, host, port, params, uri, tag } */
static void push_party(lua_State *L, struct call *c, enum hdr_id id,
		       struct str tag)
{
	struct msg *m = request_msg(c->r);
	const struct hdr *h = msg_first(m, id);
	const struct field_addr *f = field_addr(m, id, 0);
	struct str text = h ? msg_hdr_unfolded(m, h) : STR_NONE;
	struct nameaddr na;

	if ((!f || !text.p) && arena_failed(m->arena))
		vm_raise(L, "not enough memory");
	if (!f) {
		lua_pushnil(L);
		return;
	}
	lua_newtable(L);
	push_uri(L, &f->uri);
	script_push(L, text);
	lua_setfield(L, -2, "text");
	script_push(L, f->display.n ? f->display : STR_NONE);
	lua_setfield(L, -2, "display");
	if (scan_nameaddr(text, &na, NULL)) {
		script_push(L, na.uri);
		lua_setfield(L, -2, "uri");
	}
	script_push(L, tag);
	lua_setfield(L, -2, "tag");
}

/* [-0, +1, m] { ip, port, transport } of one end of a hop. */
static void push_address(lua_State *L, const struct addr *a,
			 const struct hop *hop)
{
	char text[ADDR_TEXT];
	struct buf b;

	buf_fixed(&b, text, sizeof(text));
	addr_write_ip(&b, a);
	lua_createtable(L, 0, 5);
	script_push(L, buf_str(&b));
	lua_setfield(L, -2, "ip");
	lua_pushinteger(L, a->port);
	lua_setfield(L, -2, "port");
	lua_pushstring(L, transport_name((enum transport)hop->transport));
	lua_setfield(L, -2, "transport");
}

/* [-0, +1, m] Our end: the address the request came to. */
static void push_listener(lua_State *L, const struct request *r)
{
	const struct hop *from = request_from(r);

	push_address(L, &from->local, from);
	lua_pushinteger(L, from->listener + 1);
	lua_setfield(L, -2, "index");
}

static int l_source(lua_State *L)
{
	struct call *c = call_check(L, 1);
	const struct hop *from = request_from(c->r);

	push_address(L, &from->addr, from);
	facts_push(L, request_source(c->r));
	lua_setfield(L, -2, "facts");
	server_push(L, request_source(c->r));
	lua_setfield(L, -2, "server");
	lua_pushstring(L, from->tls_name); /* NULL gives nil */
	lua_setfield(L, -2, "identity");
	return 1;
}

/* The table of a reference that is made when first asked for. */
static void push_table(lua_State *L, int *ref)
{
	if (*ref == LUA_NOREF) {
		lua_newtable(L);
		*ref = vm_ref(L);
	}
	vm_push_ref(L, *ref);
}

static void push_body(lua_State *L, struct call *c)
{
	const struct edits *e = request_edits(c->r);
	struct str body = e->has_body ? e->body : request_msg(c->r)->body;

	vm_charge(L, body.n / SCRIPT_CHARGED);
	script_push(L, body.p ? body : STR(""));
}

static bool push_field(lua_State *L, struct call *c, struct str key)
{
	const struct msg_key *k = request_key(c->r);

	if (str_eq(key, STR("method")))
		script_push(L, request_msg(c->r)->method);
	else if (str_eq(key, STR("call_id")))
		script_push(L, k->call_id);
	else if (str_eq(key, STR("ruri")))
		ruri_push(L, c);
	else if (str_eq(key, STR("from")))
		push_party(L, c, HDR_FROM, k->from_tag);
	else if (str_eq(key, STR("to")))
		push_party(L, c, HDR_TO, k->to_tag);
	else if (str_eq(key, STR("source")))
		l_source(L);
	else if (str_eq(key, STR("listener")))
		push_listener(L, c->r);
	else if (str_eq(key, STR("vars")))
		push_table(L, &c->vars);
	else if (str_eq(key, STR("_state")))
		push_table(L, &c->state);
	else if (str_eq(key, STR("body")))
		push_body(L, c);
	else if (str_eq(key, STR("kind")))
		push_kind(L, c);
	else
		return false;
	return true;
}

static int l_get(lua_State *L)
{
	struct str key = script_tostr(L, 2);

	if (!key.p || !push_field(L, call_check(L, 1), key))
		return vm_raise(L, "a request has no field '%s'",
				luaL_tolstring(L, 2, NULL));
	return 1;
}

static int set_body(lua_State *L, struct call *c)
{
	int err = edit_body(request_edits(c->r), script_str(L, 3));

	return err ? script_raise(L, "body", err) : 0;
}

static int l_set(lua_State *L)
{
	struct call *c = call_check(L, 1);
	struct str key = script_tostr(L, 2);

	if (key.p && str_eq(key, STR("body")))
		return set_body(L, c);
	if (key.p && str_eq(key, STR("ruri"))) {
		ruri_set(L, c, 3);
		return 0;
	}
	return vm_raise(L,
			"field '%s' of a request cannot be set: use "
			"req.vars for what is yours",
			luaL_tolstring(L, 2, NULL));
}

/* ---- methods ---- */

static struct edits *edits_of(lua_State *L)
{
	return request_edits(call_check(L, 1)->r);
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
	return header_set(L, edits_of(L));
}

static int l_add_header(lua_State *L)
{
	return header_add(L, edits_of(L));
}

static int l_del_header(lua_State *L)
{
	return header_del(L, edits_of(L));
}

static int l_age(lua_State *L)
{
	struct call *c = call_check(L, 1);

	lua_pushnumber(L, (lua_Number)request_age(c->r, c->s->now) / 1e6);
	return 1;
}

static int l_decided(lua_State *L)
{
	lua_pushboolean(L, request_decided(call_check(L, 1)->r));
	return 1;
}

static int l_answered(lua_State *L)
{
	lua_pushboolean(L, request_answered(call_check(L, 1)->r));
	return 1;
}

static int l_may_reach(lua_State *L)
{
	struct call *c = call_check(L, 1);

	lua_pushboolean(L, request_may_reach(c->r, script_str(L, 2)));
	return 1;
}

static int l_drop(lua_State *L)
{
	struct call *c = call_check_verb(L, 1, "req:drop");
	struct str why = script_str(L, 2);
	int err;

	note_verb(L, c, "drop");
	err = request_drop(c->r, why, c->s->now);
	if (err)
		return script_raise(L, "req:drop", err);
	call_answered(c, "drop");
	return 0;
}

/* What RFC 3261, RFC 4320 and semantics 7 allow; raises. */
static void check_code(lua_State *L, const struct call *c, lua_Integer code)
{
	bool invite = request_msg(c->r)->method_id == METHOD_INVITE;

	if (code < 100 || code > 699)
		vm_raise(L, "req:reply: %d is no response code (100 to 699)",
			 (int)code);
	if (!invite && code == 408)
		vm_raise(L, "req:reply: no 408 to a request that is no "
			    "INVITE: nobody waits for it any more "
			    "(RFC 4320); use req:drop");
	if (!invite && code > 100 && code < 200)
		vm_raise(L,
			 "req:reply: no %d to a request that is no "
			 "INVITE (RFC 4320)",
			 (int)code);
}

static struct str check_reason(lua_State *L, int idx)
{
	struct str s = STR_NONE;

	if (lua_isnoneornil(L, idx))
		return s;
	s = script_str(L, idx);
	if (memchr(s.p, '\r', s.n) || memchr(s.p, '\n', s.n) ||
	    memchr(s.p, '\0', s.n))
		vm_raise(L, "req:reply: a reason cannot contain CR, LF or "
			    "NUL");
	return s;
}

/* req:_dialog() -> facts or nil, to_us: the server of a shared dialog that it
 * goes towards; is it for ourselves */
static int l_dialog(lua_State *L)
{
	struct call *c = call_check(L, 1);

	facts_push(L, request_dialog_server(c->r));
	lua_pushboolean(L, request_is_to_us(c->r));
	return 2;
}

/* req:_lost_flow(): the flow of its route has ended, as the last try has found
 */
static int l_lost_flow(lua_State *L)
{
	lua_pushboolean(L, request_lost_flow(call_check(L, 1)->r));
	return 1;
}

/* req:_is_early(): the INVITE of its dialog is still open */
static int l_is_early(lua_State *L)
{
	lua_pushboolean(L, request_is_early(call_check(L, 1)->r));
	return 1;
}

/* core.state(req, verb): req._state, or nil when nobody has asked for that yet.
 * What a script gave for `req` it gave to `verb`. */
static int l_state(lua_State *L)
{
	const struct call *c;

	if (lua_type(L, 1) != LUA_TUSERDATA)
		vm_raise(L, "%s: a request expected, got %s",
			 luaL_checkstring(L, 2), luaL_typename(L, 1));
	c = call_check(L, 1);
	if (c->state == LUA_NOREF)
		return 0;
	vm_push_ref(L, c->state);
	return 1;
}

/* req:_goes_on(facts) -> boolean, trial: it is about to go there after another
 * server of that pool has failed, true once; and the fact of that name */
static int l_goes_on(lua_State *L)
{
	struct request *r = call_check(L, 1)->r;
	struct member *m = facts_member(L, 2);

	lua_pushboolean(L, request_goes_on(r, m));
	lua_pushinteger(L, atomic_load(&m->fact[FACT_TRIAL]));
	return 2;
}

/* req:_reply(code, reason|nil, headers|nil, body|nil) */
static int l_reply(lua_State *L)
{
	struct call *c = call_check_verb(L, 1, "req:reply");
	lua_Integer code = luaL_checkinteger(L, 2);
	struct reply reply = {.reason = check_reason(L, 3)};
	bool has_type;
	int err;

	check_code(L, c, code);
	reply.code = (int)code;
	reply.record_route = code > 100 && code < 300;
	reply.headers = header_lines(L, 4, c->s, &has_type);
	if (!lua_isnoneornil(L, 5)) {
		reply.body = script_str(L, 5);
		if (!has_type)
			return vm_raise(L, "req:reply: a body needs a "
					   "Content-Type among the headers");
	}
	if (code >= 200)
		note_verb(L, c, "reply");
	err = request_reply(c->r, &reply, c->s->now);
	if (err)
		return script_raise(L, "req:reply", err);
	if (code >= 200)
		call_answered(c, "reply");
	return 0;
}

void bind_request(lua_State *L)
{
	static const luaL_Reg methods[] = {{"header", l_header},
					   {"headers", l_headers},
					   {"set_header", l_set_header},
					   {"add_header", l_add_header},
					   {"del_header", l_del_header},
					   {"age", l_age},
					   {"decided", l_decided},
					   {"answered", l_answered},
					   {"drop", l_drop},
					   {"_may_reach", l_may_reach},
					   {"_source", l_source},
					   {"_dialog", l_dialog},
					   {"_is_early", l_is_early},
					   {"_lost_flow", l_lost_flow},
					   {"_goes_on", l_goes_on},
					   {"_reply", l_reply},
					   {"_try", try_call},
					   {NULL, NULL}};

	extended_register(L, &request_type, "Request", methods);
	lua_pushcfunction(L, l_state);
	lua_setfield(L, -2, "state");
}
