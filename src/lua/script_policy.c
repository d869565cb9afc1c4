#include "lua/script_int.h"

#include <string.h>
#include "proxy/places.h"

/*
 * The script as the core's policy. What the core tells arrives between Lua
 * entries; it wakes tasks, and those run when the core drains.
 */

enum {
	DRAIN_STEP = 1000,  /* resumes between two looks at outcomes */
	DRAIN_ROUNDS = 100, /* of them in one entry; the rest has to wait */
	REPLY_FAILED = 500,
};

/* ---- which requests ---- */

static const struct handler *
find_handler(const struct script *s, enum request_kind kind, struct str method)
{
	const struct handler *any = NULL;

	list_each (it, &s->handlers) {
		const struct handler *h =
		    container_of(it, const struct handler, link);

		if (h->kind != kind)
			continue;
		if (h->method.p && str_eq(h->method, method))
			return h;
		if (!h->method.p)
			any = h;
	}
	return any;
}

static bool on_wants(void *ctx, enum request_kind kind, struct str method)
{
	return find_handler(ctx, kind, method) != NULL;
}

static bool is_listed(const struct buf *out, size_t from, struct str method)
{
	struct str rest = str_sub(buf_str(out), from, out->n);

	while (rest.p)
		if (str_eq(str_trim(str_cut(&rest, ',')), method))
			return true;
	return false;
}

static void list_method(struct buf *out, size_t from, struct str method)
{
	if (is_listed(out, from, method))
		return;
	if (out->n > from)
		BUF_LIT(out, ", ");
	buf_put(out, method);
}

/* What handlers take, and what needs none: within calls, and OPTIONS to us. */
static void on_allow(void *ctx, struct buf *out)
{
	static const enum method core[] = {METHOD_ACK, METHOD_CANCEL,
					   METHOD_BYE, METHOD_OPTIONS};
	static const enum method all[] = {
	    METHOD_INVITE,  METHOD_REGISTER,  METHOD_PRACK,  METHOD_UPDATE,
	    METHOD_INFO,    METHOD_SUBSCRIBE, METHOD_NOTIFY, METHOD_REFER,
	    METHOD_MESSAGE, METHOD_PUBLISH};
	const struct script *s = ctx;
	size_t from = out->n;
	bool any = false;

	list_each (it, &s->handlers) {
		const struct handler *h =
		    container_of(it, const struct handler, link);

		if (h->kind != REQUEST_INITIAL)
			continue;
		any = any || !h->method.p;
		if (h->method.p)
			list_method(out, from, h->method);
	}
	for (size_t i = 0; any && i < ARRAY_LEN(all); i++)
		list_method(out, from, method_name(all[i]));
	for (size_t i = 0; i < ARRAY_LEN(core); i++)
		list_method(out, from, method_name(core[i]));
}

/* ---- a request begins and ends ---- */

static void reply_failed(struct call *c)
{
	struct reply reply = {.code = REPLY_FAILED};

	if (request_answered(c->r))
		return;
	/* Not while branches are open: when the try is over, then. */
	if (request_reply(c->r, &reply, c->s->now) == ERR_STATE)
		c->owes = c->try_open;
}

static void end_call(struct call *c)
{
	c->ended = true;
	c->task = NULL;
	if (!c->owes)
		request_done(c->r, c->s->now);
}

/* Did it return nil and the word that relay gave? */
static bool says_why(const struct task_end *end)
{
	return end->n >= 2 && lua_isnil(end->co, 1) &&
	       lua_type(end->co, 2) == LUA_TSTRING;
}

/* No Lua API that could raise: on_end may do that, but then not all is done. */
static void on_route_end(lua_State *L, struct task *t, void *owner,
			 const struct task_end *end)
{
	struct call *c = owner;

	(void)L;
	(void)t;
	if (!c)
		return;
	if (end->outcome != TASK_OK) {
		script_error(c->s, "route", end->trace, end->limit, c);
		reply_failed(c);
	} else if (!request_answered(c->r)) {
		if (says_why(end))
			note_returned(c, lua_tostring(end->co, 2));
		else
			script_error(c->s, "route",
				     "the handler ended without a verb "
				     "(reply, relay, forward or drop)",
				     VM_LIMIT_NONE, c);
		reply_failed(c);
	}
	end_call(c);
}

static const struct task_ops route_ops = {on_route_end, "route"};

bool task_is_handler(const struct task *t)
{
	return task_what(t) == route_ops.what;
}

struct start {
	struct call *call;
	int fn;
};

static int start_route(lua_State *L)
{
	struct start *st = lua_touserdata(L, 1);
	struct call *c = st->call;

	vm_push_ref(L, st->fn);
	box_push(L, c, &c->box, &request_type);
	c->task = sched_spawn(L, 1, &route_ops, c);
	return 0;
}

static struct call *call_new(struct script *s, struct request *r)
{
	struct call *c = mem_zalloc(core_mem(s->core), sizeof(*c));

	if (!c)
		return NULL;
	c->s = s;
	c->r = r;
	c->vars = c->state = c->watch = LUA_NOREF;
	list_init(&c->responses);
	list_init(&c->waits);
	list_append(&s->calls, &c->link);
	request_set_user(r, c);
	return c;
}

static void refuse(struct request *r, struct now now)
{
	struct reply reply = {.code = REPLY_FAILED};

	request_reply(r, &reply, now);
	request_done(r, now);
}

static void on_request(void *ctx, struct request *r, enum request_kind kind,
		       struct now now)
{
	struct script *s = ctx;
	const struct handler *h = find_handler(s, kind, request_msg(r)->method);
	struct call *c;
	struct start st;

	s->now = now;
	c = h ? call_new(s, r) : NULL;
	if (!c) {
		count(core_counters(s->core), CNT_NOMEM);
		refuse(r, now);
		return;
	}
	st = (struct start){c, h->fn};
	if (vm_do(s->vm, start_route, &st, "the start of a task", NULL) == 0)
		return;
	script_error(s, "route", vm_error(s->vm), vm_error_limit(s->vm), c);
	reply_failed(c);
	end_call(c);
}

/* The script lets go of the request; its handles say that it is gone. */
static void call_free(struct call *c)
{
	struct script *s = c->s;

	try_on_free(c);
	task_cancel(&c->task);
	box_empty(&c->box);
	ruri_empty(c);
	list_each_safe (it, &c->responses) {
		struct lres *l = container_of(it, struct lres, link);

		box_empty(&l->box);
		mem_free(core_mem(s->core), l);
	}
	vm_unref(s->vm, c->vars);
	vm_unref(s->vm, c->state);
	vm_unref(s->vm, c->watch);
	list_remove(&c->link);
	mem_free(core_mem(s->core), c);
}

static void on_free(void *ctx, struct request *r)
{
	struct call *c = request_user(r);

	(void)ctx;
	if (c)
		call_free(c);
}

/* ---- what happens to it ---- */

static void on_outcome(void *ctx, struct request *r, struct now now)
{
	struct script *s = ctx;
	struct call *c = request_user(r);

	s->now = now;
	c->try_open = false;
	try_on_outcome(c, request_outcome(r));
	if (!c->ended)
		return;
	if (c->owes) {
		c->owes = false;
		reply_failed(c);
	}
	request_done(r, now);
}

struct watch {
	struct call *call;
	struct response *res;
};

static int call_watch(lua_State *L)
{
	struct watch *w = lua_touserdata(L, 1);

	vm_push_ref(L, w->call->watch);
	response_push(L, w->call, w->res);
	lua_call(L, 1, 0);
	return 0;
}

static void on_response(void *ctx, struct request *r, struct response *res,
			struct now now)
{
	struct script *s = ctx;
	struct call *c = request_user(r);
	struct watch w = {c, res};

	if (!c || c->watch == LUA_NOREF)
		return;
	s->now = now;
	c->watching = true;
	if (vm_do(s->vm, call_watch, &w, "an on_response function",
		  "it sees a response that is on its way; do it in the "
		  "handler") != 0)
		script_error(s, "on_response", vm_error(s->vm),
			     vm_error_limit(s->vm), c);
	c->watching = false;
}

struct attempt_told {
	struct script *s;
	const struct outcome *o;
	int64_t took;
};

/* Was it at one of several addresses of a server? */
static bool is_at_address(const struct attempt_told *t)
{
	const struct outcome *o = t->o;

	return o->member && o->addr.family != ADDR_NONE &&
	       proxy_places(core_proxy(t->s->core), o->member)->n > 1;
}

/* An answer changes nothing where nobody counts failures, and so the Lua half
 * (health/passive.lua) need not hear of it; nor of what is no server. */
static bool is_news(const struct attempt_told *t)
{
	const struct outcome *o = t->o;
	const struct facts *f = facts_find(t->s, o->member);

	if (!f)
		return false;
	return o->kind != OUTCOME_RESPONSE || o->res->local || f->judged ||
	       atomic_load(&f->m->fact[FACT_FAILURES]) != 0 ||
	       atomic_load(&f->m->fact[FACT_TRIAL]) > 1 || is_at_address(t);
}

/* "10.0.0.1:5060;transport=udp", or nil where the server says all. */
static void push_where(lua_State *L, const struct attempt_told *t)
{
	const struct outcome *o = t->o;

	if (!is_at_address(t)) {
		lua_pushnil(L);
		return;
	}
	push_place(L, &o->addr, o->transport);
}

/* facts, code, cause, took, place, moved */
static int call_attempt(lua_State *L)
{
	struct attempt_told *t = lua_touserdata(L, 1);

	vm_push_ref(L, t->s->hook[HOOK_ATTEMPT]);
	facts_push(L, t->o->member);
	if (t->o->kind == OUTCOME_RESPONSE && !t->o->res->local)
		lua_pushinteger(L, t->o->res->code);
	else
		lua_pushnil(L);
	if (lua_isnil(L, -1))
		lua_pushstring(L, cause_text(t->o->cause));
	else
		lua_pushnil(L);
	lua_pushnumber(L, (lua_Number)t->took / 1e6);
	push_where(L, t);
	lua_pushboolean(L, t->o->moved);
	lua_call(L, 6, 0);
	return 0;
}

static void on_attempt(void *ctx, struct request *r, const struct outcome *o,
		       int64_t took, struct now now)
{
	struct script *s = ctx;
	struct attempt_told t = {s, o, took};

	(void)r;
	if (s->hook[HOOK_ATTEMPT] == LUA_NOREF || !is_news(&t))
		return;
	s->now = now;
	if (vm_do(s->vm, call_attempt, &t, "an attempt function",
		  "start a task for it") != 0)
		script_failed(s, "on_attempt");
}

/* ---- running ---- */

static void look_at_memory(struct script *s)
{
	struct log_field f[] = {LOGF_STR("script", str_from(s->conf.path)),
				LOGF_INT("bytes", (int64_t)vm_bytes(s->vm))};
	struct log_event e = {LOG_WARN, "lua.full", f, ARRAY_LEN(f)};

	if (s->told_full || !vm_full(s->vm))
		return;
	s->told_full = true;
	script_log(s, &e);
}

static bool on_drain(void *ctx, struct now now)
{
	struct script *s = ctx;

	s->now = now;
	owns_sweep(s);
	if (!tick_before(now.mono, s->error_rate.due))
		script_tell_errors(s);
	if (!sched_is_ready(s->vm)) {
		s->rounds = 0;
		return false;
	}
	if (s->rounds++ >= DRAIN_ROUNDS) {
		s->rounds = 0;
		script_kick(s);
		return false;
	}
	sched_drain(s->vm, DRAIN_STEP);
	look_at_memory(s);
	return true;
}

struct post_told {
	struct script *s;
	struct str topic, payload;
};

static const struct task_ops post_ops = {ltask_on_end, "message"};

static int start_post(lua_State *L)
{
	struct post_told *t = lua_touserdata(L, 1);

	vm_push_ref(L, t->s->hook[HOOK_POST]);
	script_push(L, t->topic);
	script_push(L, t->payload);
	ltask_start(L, 2, &post_ops);
	return 0;
}

static void on_post(void *ctx, struct str topic, struct str payload,
		    struct now now)
{
	struct script *s = ctx;
	struct post_told t = {s, topic, payload};

	s->now = now;
	if (s->hook[HOOK_POST] == LUA_NOREF)
		return;
	if (vm_do(s->vm, start_post, &t, "a message", NULL) != 0)
		script_failed(s, "message");
}

struct core_user policy_user(struct script *s)
{
	return (struct core_user){
	    .ctx = s,
	    .policy = {.ctx = s,
		       .wants = on_wants,
		       .allow = on_allow,
		       .on_request = on_request,
		       .on_outcome = on_outcome,
		       .on_response = on_response,
		       .on_attempt = on_attempt,
		       .on_free = on_free},
	    .drain = on_drain,
	    .on_post = on_post,
	};
}

void policy_stop(struct script *s)
{
	list_each_safe (it, &s->calls) {
		struct call *c = container_of(it, struct call, link);
		struct request *r = c->r;
		bool ended = c->ended;

		if (!ended)
			reply_failed(c);
		/* With a try open it is answered at its end, by the core. */
		if (!ended && !c->owes)
			request_done(r, s->now);
		call_free(c);
		request_set_user(r, NULL);
	}
}
