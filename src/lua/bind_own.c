#include "lua/script_int.h"

#include <stdlib.h>
#include <string.h>
#include "proxy/places.h"
#include "proxy/way.h"
#include "transaction/branch.h"
#include "transport/listener.h"

/*
 * core.request: a request of our own (checks, sip.request). The task waits for
 * its end; the answer is copied out and the core's part freed at once, except
 * that of an INVITE with a 2xx, which is the dialog for a BYE.
 */

struct ownreq {
	struct list link; /* script.owns */
	struct script *s;
	struct own *own;
	struct own_wait *waiter; /* NULL: nobody waits */
	const struct member *member;
	struct addr addr;
	const struct response *res;
	enum cause cause;
	bool is_invite;
	bool kept; /* a handle holds its dialog */
};

struct own_wait {
	struct wait w;
	struct ownreq *req;
};

static void free_req(struct ownreq *o)
{
	struct script *s = o->s;

	own_free(&o->own, s->now);
	list_remove(&o->link);
	mem_free(core_mem(s->core), o);
}

/* What nobody waits for any more: its task was stopped, or it failed when the
 * answer was to be copied. */
void owns_sweep(struct script *s)
{
	list_each_safe (it, &s->owns) {
		struct ownreq *o = container_of(it, struct ownreq, link);

		if (!o->waiter && !o->kept)
			free_req(o);
	}
}

void owns_stop(struct script *s)
{
	list_each_safe (it, &s->owns)
		free_req(container_of(it, struct ownreq, link));
}

static struct ownreq *find(struct script *s, const struct own *own)
{
	list_each (it, &s->owns) {
		struct ownreq *o = container_of(it, struct ownreq, link);

		if (o->own == own)
			return o;
	}
	return NULL;
}

/* The handle of the dialog is gone. Called by the collector: the sweep does
 * the rest. */
void own_release(struct script *s, struct own *own)
{
	struct ownreq *o = find(s, own);

	if (o)
		o->kept = false;
}

/* ---- the wait ---- */

static void on_end(void *ctx, struct own *own, const struct response *res,
		   enum cause cause, struct now now)
{
	struct ownreq *o = ctx;

	o->s->now = now;
	o->addr = own_hop(own)->addr;
	o->res = res;
	o->cause = cause;
	if (o->waiter)
		task_wake(&o->waiter->w);
}

static void on_cancel(struct wait *w)
{
	struct own_wait *ow = container_of(w, struct own_wait, w);

	if (ow->req)
		ow->req->waiter = NULL;
}

static int push_failure(lua_State *L, const struct ownreq *o)
{
	lua_pushnil(L);
	lua_pushstring(L, o->cause == CAUSE_SILENT ? "timeout" : "transport");
	push_detail(L, o->cause, &o->addr, false);
	return 3;
}

static int on_push(lua_State *L, struct wait *w)
{
	struct own_wait *ow = container_of(w, struct own_wait, w);
	struct ownreq *o = ow->req;
	struct lres *l;

	/* From here on the next sweep frees it. */
	o->waiter = NULL;
	if (!o->res)
		return push_failure(L, o);
	l = response_push_own(L, o->res, o->member);
	if (o->is_invite && o->res->code / 100 == 2) {
		l->own = o->own;
		o->kept = true;
	}
	return 1;
}

/* ---- the request ---- */

static struct str field(lua_State *L, const char *name)
{
	struct str s = STR_NONE;

	if (lua_getfield(L, 1, name) != LUA_TNIL) {
		if (lua_type(L, -1) != LUA_TSTRING)
			vm_raise(L, "request: %s: a string expected", name);
		s = script_str(L, -1); /* the table keeps it */
	}
	lua_pop(L, 1);
	if (s.p && strcmp(name, "body") != 0 &&
	    (memchr(s.p, '\r', s.n) || memchr(s.p, '\n', s.n) ||
	     memchr(s.p, '\0', s.n)))
		vm_raise(L, "request: %s contains CR, LF or NUL", name);
	return s;
}

/* From and To as a header value: in < > unless it is so already. */
static struct str party(lua_State *L, const char *name)
{
	struct str s = field(L, name);
	size_t n;

	if (!s.p || memchr(s.p, '<', s.n))
		return s;
	lua_pushfstring(L, "<%s>", s.p); /* stays on the stack */
	s.p = lua_tolstring(L, -1, &n);
	s.n = n;
	return s;
}

/* Left open for a URI: the core finds out. False: the server's address is not
 * known. */
static bool place_of(lua_State *L, struct ownreq *o, struct hop *hop)
{
	struct str addr = field(L, "addr");
	const struct server_place *p;

	if (lua_getfield(L, 1, "facts") != LUA_TNIL)
		o->member = facts_member(L, -1);
	lua_pop(L, 1);
	if (addr.p) {
		if (!hop_parse_place(addr, hop))
			vm_raise(L, "request: '%s' is no address", addr.p);
	} else if (o->member) {
		p = proxy_best_place(core_proxy(script_core(L)), o->member);
		if (!p)
			return false;
		hop->addr = p->addr;
		hop->transport = p->transport;
	}
	if (o->member)
		way_identify(o->member, hop);
	return true;
}

static struct own *dialog_field(lua_State *L)
{
	struct own *own = NULL;

	if (lua_getfield(L, 1, "dialog") != LUA_TNIL) {
		struct lres *l = response_check(L, -1);

		if (!l->own || !find(script_of(L), l->own))
			vm_raise(L, "request: dialog: the answer to an "
				    "INVITE of our own expected");
		own = l->own;
		if (!own_has_dialog(own))
			vm_raise(L, "request: there is no dialog: the answer "
				    "has no Contact");
	}
	lua_pop(L, 1);
	return own;
}

/* call_id, from_tag and cseq: of the request that this one repeats with
 * credentials. */
static void read_repeated(lua_State *L, struct script *s, struct own_conf *c)
{
	lua_Integer cseq;

	c->call_id = field(L, "call_id");
	c->from_tag = field(L, "from_tag");
	if (c->from_tag.p && !str_is_token(c->from_tag))
		vm_raise(L, "request: from_tag: a token expected");
	if (c->call_id.p &&
	    (c->call_id.n == 0 || memchr(c->call_id.p, ' ', c->call_id.n) ||
	     branch_h8(c->call_id) % s->node->workers != s->conf.worker))
		vm_raise(L, "request: call_id: one of this worker expected");
	lua_getfield(L, 1, "cseq");
	cseq = luaL_optinteger(L, -1, 0);
	lua_pop(L, 1);
	if (cseq < 0 || cseq > INT32_MAX)
		vm_raise(L, "request: cseq: 1 to 2^31 - 1 expected");
	c->cseq = (uint32_t)cseq;
}

/* source: "udp:10.0.0.101:5060", a listener. */
static void read_source(lua_State *L, struct own_conf *c)
{
	struct str text = field(L, "source");
	struct listener l;
	const char *why;

	if (!text.p)
		return;
	if (!listener_parse(text, &l, &why))
		vm_raise(L, "request: source: %s", why);
	c->source = l.addr;
}

static void read_conf(lua_State *L, struct script *s, struct own_conf *c)
{
	struct uri u;
	bool has_type;

	c->method = field(L, "method");
	c->uri = field(L, "uri");
	c->body = field(L, "body");
	c->dialog = dialog_field(L);
	if (!c->method.p || !str_is_token(c->method))
		vm_raise(L, "request: a method is needed");
	if (!c->dialog && (!c->uri.p || !scan_uri(c->uri, &u) || !u.is_sip))
		vm_raise(L, "request: a SIP URI is needed");
	if (!c->dialog)
		c->uri = uri_without_headers(&u);
	lua_getfield(L, 1, "headers");
	c->headers = header_lines(L, lua_gettop(L), s, &has_type);
	lua_pop(L, 1);
	if (c->body.n && !has_type)
		vm_raise(L, "request: a body needs a Content-Type among the "
			    "headers");
	if (lua_getfield(L, 1, "timeout") != LUA_TNIL)
		c->timeout = script_us(L, -1, "request: timeout");
	lua_pop(L, 1);
	read_repeated(L, s, c);
	read_source(L, c);
	c->from = party(L, "from");
	c->to = party(L, "to");
	c->on_end = on_end;
}

static int l_request(lua_State *L)
{
	struct script *s = script_of(L);
	struct core *core = script_core(L);
	struct own_conf conf = {.timeout = 0};
	struct own_wait *ow;
	struct ownreq *o, draft = {.s = s};
	bool known;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	task_check_yield(L, "request");
	read_conf(L, s, &conf);
	known = conf.dialog || place_of(L, &draft, &conf.hop);
	if (!known) {
		draft.cause = CAUSE_DNS_NONE;
		return push_failure(L, &draft);
	}
	ow = lua_newuserdatauv(L, sizeof(*ow), 0);
	*ow = (struct own_wait){.w = {.cancel = on_cancel, .push = on_push}};
	o = mem_alloc(core_mem(core), sizeof(*o));
	if (!o)
		return vm_raise(L, "not enough memory");
	*o = draft;
	o->addr = conf.hop.addr;
	o->is_invite = str_eq(conf.method, STR("INVITE"));
	conf.ctx = o;
	o->own = own_new(core_proxy(core), &conf, s->now);
	if (!o->own) {
		mem_free(core_mem(core), o);
		return vm_raise(L, "request: not enough memory");
	}
	o->waiter = ow;
	ow->req = o;
	list_append(&s->owns, &o->link);
	return task_suspend(L, &ow->w, "request");
}

void bind_own(lua_State *L)
{
	lua_pushcfunction(L, l_request);
	lua_setfield(L, -2, "request");
}
