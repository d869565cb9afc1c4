#include "lua/script_int.h"

#include <string.h>

/* req:_try(target or targets, opts): the branches, and the wait for them. */

/* A task that waits for an outcome; a userdata on its stack. */
struct try_wait {
	struct wait w;
	struct list link;  /* call.waits */
	struct call *call; /* NULL: the request is gone */
	bool woken;
	struct outcome outcome;
};

/* ---- targets ---- */

/* With a Path, of a binding (RFC 3327 5.3), the next hop is where that leads
 * first (RFC 3261 16.6 step 7). */
static bool hop_of_path(lua_State *L, const struct call *c, struct target *t)
{
	const char *path = t->route.p;
	int err = request_path(c->r, t);

	if (err == ERR_SYNTAX)
		vm_raise(L, "req:try: path: '%s' is no Route", path);
	return err == 0;
}

static struct str text_field(lua_State *L, int t, const char *name)
{
	struct str s = STR_NONE;

	if (lua_getfield(L, t, name) != LUA_TNIL) {
		if (lua_type(L, -1) != LUA_TSTRING)
			vm_raise(L, "req:try: %s: a string expected", name);
		s = script_str(L, -1); /* the table keeps it */
	}
	lua_pop(L, 1);
	if (s.p && (memchr(s.p, '\r', s.n) || memchr(s.p, '\n', s.n) ||
		    memchr(s.p, '\0', s.n)))
		vm_raise(L, "req:try: %s contains CR, LF or NUL", name);
	return s;
}

static void check_reach(lua_State *L, const struct call *c, struct str uri)
{
	struct uri u;

	if (!scan_uri(uri, &u) || !u.is_sip)
		vm_raise(L, "req:try: '%s' is no SIP URI", uri.p);
	if (!request_may_reach(c->r, uri))
		vm_raise(L,
			 "req:try: the caller may not reach '%s': it is "
			 "no server and no served domain "
			 "(sip.settings { domains }), and the caller is "
			 "not trusted",
			 uri.p);
}

static bool is_set(lua_State *L, int t, const char *name)
{
	bool set;

	lua_getfield(L, t, name);
	set = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return set;
}

/* { facts =, sibling = true }: for the server the dialog belongs to */
static bool read_sibling(lua_State *L, int at, const struct call *c,
			 struct target *t)
{
	struct member *to;

	lua_getfield(L, at, "facts");
	to = facts_member(L, -1);
	lua_pop(L, 1);
	return request_sibling(c->r, to, t) == 0;
}

/* Reads the target at the top. False: there is no way to it. */
static bool read_target(lua_State *L, const struct call *c, struct target *t)
{
	int at = lua_gettop(L);
	struct str place;

	luaL_checktype(L, at, LUA_TTABLE);
	if (is_set(L, at, "by_route"))
		return request_by_route(c->r, t) == 0;
	if (is_set(L, at, "sibling"))
		return read_sibling(L, at, c, t);
	*t = (struct target){.uri = text_field(L, at, "uri"),
			     .host = text_field(L, at, "host"),
			     .route = text_field(L, at, "route")};
	place = text_field(L, at, "addr");
	if (place.p && !hop_parse_place(place, &t->hop))
		vm_raise(L, "req:try: '%s' is no address", place.p);
	if (lua_getfield(L, at, "facts") != LUA_TNIL) {
		t->member = facts_member(L, -1);
	} else if (!t->uri.p) {
		vm_raise(L, "req:try: a target needs facts or a uri");
	} else {
		check_reach(L, c, t->uri);
	}
	lua_pop(L, 1);
	if (t->member || t->hop.addr.family != ADDR_NONE)
		return true;
	t->next = t->uri;
	return t->route.p ? hop_of_path(L, c, t) : true;
}

/* A list of targets, or one. */
static size_t read_targets(lua_State *L, int idx, const struct call *c,
			   struct target *t)
{
	size_t n, used = 0;

	luaL_checktype(L, idx, LUA_TTABLE);
	n = lua_rawlen(L, idx);
	if (n == 0) {
		lua_pushvalue(L, idx);
		used = read_target(L, c, t);
		lua_pop(L, 1);
		return used;
	}
	if (n > PROXY_MAX_FORK)
		vm_raise(L, "req:try: at most %d targets expected, got %d",
			 PROXY_MAX_FORK, (int)n);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, idx, (lua_Integer)i);
		if (read_target(L, c, &t[used]))
			used++;
		lua_pop(L, 1);
	}
	return used;
}

/* ---- options ---- */

static int64_t time_field(lua_State *L, int t, const char *name)
{
	int64_t us = 0;

	if (lua_getfield(L, t, name) != LUA_TNIL)
		us = script_us(L, -1, name);
	/* 0 seconds is a limit, 0 microseconds is none. */
	if (us == 0 && !lua_isnil(L, -1))
		us = 1;
	lua_pop(L, 1);
	return us;
}

static void set_watch(lua_State *L, int t, struct call *c,
		      struct try_opts *opts)
{
	vm_unref(c->s->vm, c->watch);
	c->watch = LUA_NOREF;
	if (lua_getfield(L, t, "on_response") == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	luaL_checktype(L, -1, LUA_TFUNCTION);
	c->watch = vm_ref(L);
	opts->watch = true;
}

static struct try_opts read_opts(lua_State *L, int idx, struct call *c)
{
	struct try_opts opts = {.retransmits = -1};

	if (lua_isnoneornil(L, idx)) {
		lua_settop(L, idx - 1);
		lua_newtable(L);
	}
	luaL_checktype(L, idx, LUA_TTABLE);
	opts.timeout = time_field(L, idx, "timeout");
	opts.progress = time_field(L, idx, "progress_timeout");
	opts.ring = time_field(L, idx, "ring_timeout");
	if (lua_getfield(L, idx, "retransmits") != LUA_TNIL) {
		opts.retransmits = (int)luaL_checkinteger(L, -1);
		if (opts.retransmits < 0 || opts.retransmits > 10)
			vm_raise(L, "req:try: retransmits: 0 to 10");
	}
	lua_pop(L, 1);
	if (lua_getfield(L, idx, "key") == LUA_TSTRING) {
		struct str key = script_str(L, -1);

		opts.seed = siphash24(c->s->node->keys.now, key.p, key.n);
	}
	lua_pop(L, 1);
	set_watch(L, idx, c, &opts);
	return opts;
}

/* limits.resources = { pstn = 1 }: what a call takes at those of the targets
 * that have such a resource. */
static void read_resources(lua_State *L, int idx, struct target *t, size_t n)
{
	if (lua_getfield(L, idx, "resources") == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	luaL_checktype(L, -1, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		lua_Integer units = luaL_checkinteger(L, -1);

		if (lua_type(L, -2) != LUA_TSTRING || units < 0 ||
		    units > LOAD_MAX_UNITS)
			vm_raise(L,
				 "req:try: resources: names and numbers from "
				 "0 to %d expected",
				 (int)LOAD_MAX_UNITS);
		for (size_t i = 0; i < n; i++) {
			int at = t[i].member ? load_find(&t[i].member->load,
							 script_str(L, -2))
					     : -1;

			if (at >= 0)
				t[i].units = load_units_set(t[i].units, at,
							    (unsigned)units);
		}
	}
	lua_pop(L, 1);
}

/* ---- the outcome ---- */

void push_detail(lua_State *L, enum cause cause, const struct addr *a,
		 bool provisional)
{
	lua_createtable(L, 0, 3);
	lua_pushstring(L, cause_text(cause));
	lua_setfield(L, -2, "cause");
	if (a && a->family != ADDR_NONE) {
		push_addr(L, a);
		lua_setfield(L, -2, "address");
	}
	lua_pushboolean(L, provisional);
	lua_setfield(L, -2, "provisional");
}

static int push_outcome(lua_State *L, struct call *c, const struct outcome *o)
{
	switch (o->kind) {
	case OUTCOME_RESPONSE:
		response_push(L, c, o->res);
		return 1;
	case OUTCOME_CANCELLED:
		lua_pushnil(L);
		lua_pushliteral(L, "cancelled");
		return 2;
	case OUTCOME_TIMEOUT:
		lua_pushnil(L);
		lua_pushliteral(L, "timeout");
		break;
	case OUTCOME_TRANSPORT:
	case OUTCOME_NONE:
		lua_pushnil(L);
		lua_pushliteral(L, "transport");
		break;
	}
	push_detail(L, o->cause, &o->addr, o->provisional);
	return 3;
}

static void on_cancel(struct wait *w)
{
	struct try_wait *tw = container_of(w, struct try_wait, w);

	list_remove(&tw->link);
	tw->call = NULL;
}

static int on_push(lua_State *L, struct wait *w)
{
	struct try_wait *tw = container_of(w, struct try_wait, w);
	struct call *c = tw->call;

	if (!c && (!tw->woken || tw->outcome.kind == OUTCOME_RESPONSE))
		tw->outcome.kind = OUTCOME_CANCELLED; /* nobody to tell */
	list_remove(&tw->link);
	tw->call = NULL;
	return push_outcome(L, c, &tw->outcome);
}

void try_on_outcome(struct call *c, const struct outcome *o)
{
	list_each (it, &c->waits) {
		struct try_wait *tw = container_of(it, struct try_wait, link);

		if (tw->woken)
			continue; /* of a try before, yet to run */
		tw->woken = true;
		tw->outcome = *o;
		task_wake(&tw->w);
	}
}

void try_on_free(struct call *c)
{
	list_each_safe (it, &c->waits) {
		struct try_wait *tw = container_of(it, struct try_wait, link);

		list_remove(it);
		tw->call = NULL;
		/* Without an outcome: its generation ends with it. */
		if (!tw->woken)
			task_wake(&tw->w);
	}
}

/* ---- the verb ---- */

int try_call(lua_State *L)
{
	struct call *c = call_check_verb(L, 1, "req:try");
	struct target targets[PROXY_MAX_FORK];
	struct try_opts opts;
	struct try_wait *tw;
	size_t n;
	int err;

	task_check_yield(L, "req:try");
	lua_settop(L, 3);
	if (c->try_open)
		return vm_raise(L, "req:try: another try of this request is "
				   "open");
	n = read_targets(L, 2, c, targets);
	if (n == 0) {
		lua_pushnil(L);
		lua_pushliteral(L, "transport");
		push_detail(L, CAUSE_DNS_NONE, NULL, false);
		return 3;
	}
	opts = read_opts(L, 3, c);
	read_resources(L, 3, targets, n);
	tw = lua_newuserdatauv(L, sizeof(*tw), 0);
	*tw = (struct try_wait){.w = {.cancel = on_cancel, .push = on_push}};
	err = request_try(c->r, targets, n, &opts, c->s->now);
	if (err == ERR_STATE)
		return vm_raise(L, "req:try: another try of this request has "
				   "just ended");
	if (err == ERR_LIMIT)
		return vm_raise(L, "req:try: a request has at most %d attempts",
				(int)PROXY_MAX_ATTEMPTS);
	if (err)
		return script_raise(L, "req:try", err);
	c->try_open = true;
	tw->call = c;
	list_append(&c->waits, &tw->link);
	return task_suspend(L, &tw->w, "req:try");
}
