#include "lua/script_int.h"

#include <stdio.h>
#include <string.h>
#include "proxy/places.h"

/*
 * The facts of a server: numbers that all workers see (proxy/members.h). While
 * loading a placeholder, which binding points at the node's.
 */

/* ---- binding ---- */

static bool same_place(const struct server_place *a,
		       const struct server_place *b)
{
	return a->transport == b->transport && addr_eq(&a->addr, &b->addr);
}

/* Other workers may be reading it: it is always some name, and ends. */
static void facts_identify(struct member *m, struct str name)
{
	char whole[DNS_NAME] = "";

	if (str_eq(str_from(m->tls_name), name))
		return;
	memcpy(whole, name.p, name.n);
	memcpy(m->tls_name, whole, sizeof(whole));
}

static void fill_place(struct member *m, struct facts *f)
{
	bool same = m->places.n == f->places.n;

	m->record_route = f->record_route;
	m->path = f->path;
	m->shared_dialogs = f->shared_dialogs;
	m->max_duration = f->max_duration;
	m->fixed_transport = f->fixed_transport;
	m->tls = f->tls_client;
	facts_identify(m, str_from(f->tls_name));
	for (unsigned i = 0; same && i < f->places.n; i++)
		same = same_place(&m->places.at[i], &f->places.at[i]);
	if (same)
		return;
	m->places = f->places;
	m->moves++;
}

void facts_fill(struct member *m, struct facts *f)
{
	load_declare(&m->load, f->resource, f->n_resources);
	fill_place(m, f);
}

/* Worker 0 is the first of a generation, and what the others declare is the
 * same: they may be reading it already. */
int facts_bind(struct script *s)
{
	uint32_t used;

	if (script_tls(s, &s->node->tls, &used) != 0)
		return ERR_LIMIT;
	if (rooms_bind(s) != 0)
		return ERR_NOMEM;
	list_each (it, &s->facts) {
		struct facts *f = container_of(it, struct facts, link);

		f->m = members_ref(&s->node->members, str_from(f->name));
		if (!f->m)
			return ERR_NOMEM;
		if (s->conf.worker == 0)
			facts_fill(f->m, f);
	}
	return 0;
}

void facts_release(struct script *s)
{
	list_each (it, &s->facts) {
		struct facts *f = container_of(it, struct facts, link);

		if (f->m)
			members_unref(&s->node->members, f->m);
		f->m = NULL;
	}
}

/* ---- handles ---- */

struct facts *facts_find(struct script *s, const struct member *m)
{
	if (!m)
		return NULL;
	list_each (it, &s->facts) {
		struct facts *f = container_of(it, struct facts, link);

		if (f->m == m)
			return f;
	}
	return NULL;
}

void facts_push(lua_State *L, const struct member *m)
{
	struct facts *f = facts_find(script_of(L), m);

	if (!f) {
		lua_pushnil(L);
		return;
	}
	vm_push_ref(L, f->anchor);
}

void server_push(lua_State *L, const struct member *m)
{
	int hook = script_of(L)->hook[HOOK_SERVER];

	if (!m || hook == LUA_NOREF) {
		lua_pushnil(L);
		return;
	}
	vm_push_ref(L, hook);
	lua_pushstring(L, m->name);
	lua_call(L, 1, 1);
}

static struct facts *check(lua_State *L, int idx)
{
	return box_get(L, idx, &facts_type);
}

static const char *why_not(const struct facts *f)
{
	return f->s->phase == SCRIPT_LOADING ? "while the script loads"
					     : "any more: it has left its pool";
}

struct member *facts_member(lua_State *L, int idx)
{
	struct facts *f = check(L, idx);

	if (!f->m)
		vm_raise(L, "server %s cannot be used %s", f->name, why_not(f));
	return f->m;
}

/* The fact that is named at idx. */
static enum fact check_fact(lua_State *L, int idx)
{
	static const char *const names[] = {
#define X(id, name) name,
	    FACT_LIST(X)
#undef X
		NULL};

	return (enum fact)luaL_checkoption(L, idx, NULL, names);
}

/* Does it decide who may take requests? */
static bool is_state(enum fact fact)
{
	return fact == FACT_HEALTH || fact == FACT_ADMIN ||
	       fact == FACT_HOLD_UNTIL || fact == FACT_FAILBACK_UNTIL ||
	       fact == FACT_TRIAL || fact == FACT_RETURNED || fact == FACT_LEFT;
}

static struct member *to_write(lua_State *L, const struct facts *f)
{
	if (!f->m)
		vm_raise(L, "the facts of %s cannot be changed %s", f->name,
			 why_not(f));
	return f->m;
}

/* The fact first, then the number: who sees the new number sees the new fact.
 */
static void note_change(const struct facts *f, enum fact fact)
{
	if (is_state(fact))
		atomic_fetch_add(&f->s->node->members.changes, 1);
}

/* facts:get(name, ...): as many numbers as names */
static int l_get(lua_State *L)
{
	const struct facts *f = check(L, 1);
	int top = lua_gettop(L), idx = 2;

	luaL_checkstack(L, top, NULL);
	do {
		enum fact fact = check_fact(L, idx);

		lua_pushinteger(L, f->m ? atomic_load(&f->m->fact[fact]) : 0);
	} while (++idx <= top);
	return idx - 2;
}

static int l_set(lua_State *L)
{
	const struct facts *f = check(L, 1);
	struct member *m = to_write(L, f);
	enum fact fact = check_fact(L, 2);
	lua_Integer n = luaL_checkinteger(L, 3);

	if (atomic_exchange(&m->fact[fact], n) != n)
		note_change(f, fact);
	return 0;
}

static int l_add(lua_State *L)
{
	const struct facts *f = check(L, 1);
	struct member *m = to_write(L, f);
	enum fact fact = check_fact(L, 2);
	lua_Integer n = luaL_checkinteger(L, 3);

	lua_pushinteger(L, atomic_fetch_add(&m->fact[fact], n) + n);
	if (n != 0)
		note_change(f, fact);
	return 1;
}

/* facts:took(us): so long an answer took; smoothed, that is the latency */
static int l_took(lua_State *L)
{
	struct member *m = to_write(L, check(L, 1));

	member_took(m, luaL_checkinteger(L, 2));
	return 0;
}

/* facts:id() -> integer: of the name, the same on every node */
static int l_id(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)member_id(str_from(check(L, 1)->name)));
	return 1;
}

/* ---- where a server is ---- */

/* Adds the string at the top: "10.0.0.1:5060;transport=udp". */
static struct server_place *read_addr(lua_State *L, const struct facts *f,
				      struct server_places *out)
{
	struct server_place *p = &out->at[out->n];
	struct hop hop;

	if (out->n == SERVER_PLACES)
		vm_raise(L, "server %s has more than %d addresses", f->name,
			 SERVER_PLACES);
	if (!hop_parse_place(script_str(L, -1), &hop))
		vm_raise(L,
			 "server %s: '%s' is no IP address, or has an unknown "
			 "transport",
			 f->name, lua_tostring(L, -1));
	*p =
	    (struct server_place){.addr = hop.addr, .transport = hop.transport};
	out->n++;
	return p;
}

/* The field of the table at the top. */
static uint16_t read_number(lua_State *L, const char *name)
{
	lua_Integer n;

	lua_getfield(L, -1, name);
	n = luaL_optinteger(L, -1, 0);
	if (n < 0 || n > UINT16_MAX)
		vm_raise(L, "place: %s: 0 to %d expected", name, UINT16_MAX);
	lua_pop(L, 1);
	return (uint16_t)n;
}

/* facts:place({ { addr =, rank =, weight =, down = }, ... }) -> boolean: where
 * this worker's core finds the server from now on; none: its name is not known.
 * False: there was no memory, and nothing has changed. */
static int l_place(lua_State *L)
{
	const struct facts *f = check(L, 1);
	const struct member *m = to_write(L, f);
	struct server_places s = {.n = 0};
	lua_Integer n;

	luaL_checktype(L, 2, LUA_TTABLE);
	n = luaL_len(L, 2);
	for (lua_Integer i = 1; i <= n; i++) {
		struct server_place *p;

		lua_geti(L, 2, i);
		luaL_checktype(L, -1, LUA_TTABLE);
		lua_getfield(L, -1, "addr");
		p = read_addr(L, f, &s);
		lua_pop(L, 1);
		p->rank = read_number(L, "rank");
		p->weight = read_number(L, "weight");
		lua_getfield(L, -1, "down");
		p->is_down = lua_toboolean(L, -1);
		lua_pop(L, 2);
	}
	vm_charge(L, (uint64_t)n);
	lua_pushboolean(
	    L, proxy_set_places(core_proxy(script_core(L)), m, &s) == 0);
	return 1;
}

/* facts:silent("10.0.0.1:5060;transport=udp"): another worker had no answer
 * there; the next attempt begins elsewhere. */
static int l_silent(lua_State *L)
{
	struct server_places s = {.n = 0};

	lua_settop(L, 2);
	read_addr(L, check(L, 1), &s);
	proxy_place_silent(core_proxy(script_core(L)), &s.at[0],
			   script_of(L)->now);
	return 0;
}

static int l_name(lua_State *L)
{
	lua_pushstring(L, check(L, 1)->name);
	return 1;
}

/* Calls begun within the last second. */
static int l_rate(lua_State *L)
{
	const struct facts *f = check(L, 1);

	lua_pushnumber(L, f->m ? load_rate(&f->m->load, script_of(L)->now.mono)
			       : 0);
	return 1;
}

static int64_t used(const struct facts *f, struct str resource)
{
	return f->m ? load_used(&f->m->load, resource) : 0;
}

/* facts:used(resource): units of it that are taken */
static int l_used(lua_State *L)
{
	const struct facts *f = check(L, 1);

	lua_pushinteger(L, used(f, script_str(L, 2)));
	return 1;
}

/* facts:identify(name): who it has to be by TLS from now on; of core.join.
 * Worker 0 says so for all; what others copy meanwhile is no name that anybody
 * has. */
static int l_identify(lua_State *L)
{
	struct facts *f = check(L, 1);
	struct member *m = to_write(L, f);
	struct str name = script_str(L, 2);

	luaL_argcheck(L, name.n < DNS_NAME, 2, "too long");
	if (f->s->conf.worker == 0)
		facts_identify(m, name);
	return 0;
}

/* facts:leave(): the server is in its pool no more; of core.join */
static int l_leave(lua_State *L)
{
	struct facts *f = check(L, 1);

	if (f->m)
		facts_leave(f);
	return 0;
}

static const luaL_Reg methods[] = {{"get", l_get},
				   {"set", l_set},
				   {"add", l_add},
				   {"took", l_took},
				   {"count", facts_count},
				   {"stats", facts_stats},
				   {"name", l_name},
				   {"id", l_id},
				   {"rate", l_rate},
				   {"used", l_used},
				   {"place", l_place},
				   {"silent", l_silent},
				   {"leave", l_leave},
				   {"identify", l_identify},
				   {NULL, NULL}};

const struct box_type facts_type = {.name = "tandem.Facts",
				    .gone = "the server is gone",
				    .methods = methods,
				    .values = 1};

/* ---- core.loads(list, out[, resource]) -> out ---- */

static int64_t load_of(const struct facts *f, struct str resource)
{
	if (resource.p)
		return used(f, resource);
	return f->m ? atomic_load(&f->m->fact[FACT_CALLS]) +
			  atomic_load(&f->m->fact[FACT_SETUP])
		    : 0;
}

/* One call for all servers a policy compares. */
static int l_loads(lua_State *L)
{
	struct str resource =
	    lua_isnoneornil(L, 3) ? STR_NONE : script_str(L, 3);
	lua_Integer n;

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TTABLE);
	n = (lua_Integer)lua_rawlen(L, 1);
	lua_settop(L, 3);
	for (lua_Integer i = 1; i <= n; i++) {
		const struct facts *f;

		lua_rawgeti(L, 1, i);
		f = box_get(L, 4, &facts_type);
		lua_pushinteger(L, load_of(f, resource));
		lua_rawseti(L, 2, i);
		lua_settop(L, 3);
	}
	vm_charge(L, (uint64_t)n);
	lua_settop(L, 2);
	return 1;
}

/* ---- core.member(pool, server, { addr =, record_route =, ... }) ---- */

/* The list of names at the top. */
static void read_resources(lua_State *L, struct facts *f)
{
	lua_Integer n;

	luaL_checktype(L, -1, LUA_TTABLE);
	n = luaL_len(L, -1);
	if (n > LOAD_RESOURCES)
		vm_raise(L, "server %s has more than %d resources", f->name,
			 LOAD_RESOURCES);
	for (lua_Integer i = 1; i <= n; i++) {
		struct str name;

		lua_geti(L, -1, i);
		name = script_str(L, -1);
		if (name.n == 0 || name.n >= LOAD_NAME)
			vm_raise(L,
				 "server %s: the name of a resource has 1 "
				 "to %d characters",
				 f->name, LOAD_NAME - 1);
		memcpy(f->resource[f->n_resources++], name.p, name.n);
		lua_pop(L, 1);
	}
}

/* The option at the top: "supported", "always", or nothing. */
static uint8_t read_path(lua_State *L)
{
	static const char *const words[] = {"supported", "always", NULL};
	static const uint8_t paths[] = {MEMBER_PATH_SUPPORTED,
					MEMBER_PATH_ALWAYS};

	if (!lua_toboolean(L, -1))
		return MEMBER_PATH_NONE;
	return paths[luaL_checkoption(L, -1, NULL, words)];
}

/* The value at the top: an address, a list of them in the order in which they
 * are tried, or nil for none yet. */
static void read_addrs(lua_State *L, struct facts *f)
{
	if (lua_isnil(L, -1))
		return;
	if (!lua_istable(L, -1)) {
		read_addr(L, f, &f->places);
		return;
	}
	for (lua_Integer i = 1; i <= luaL_len(L, -1); i++) {
		lua_geti(L, -1, i);
		read_addr(L, f, &f->places)->rank = (uint16_t)(i - 1);
		lua_pop(L, 1);
	}
}

/* The option at the top: { cert =, key =, ca =, verify =, name = }. */
static void read_tls(lua_State *L, struct facts *f)
{
	struct tls_conf conf, *kept;
	struct str name;

	if (lua_isnil(L, -1))
		return;
	luaL_checktype(L, -1, LUA_TTABLE);
	if (tls_conf_read(L, lua_gettop(L), false, &conf)) {
		kept = arena_alloc(script_of(L)->arena, sizeof(*kept));
		if (!kept)
			luaL_error(L, "not enough memory");
		*kept = conf;
		f->tls = kept;
	}
	lua_getfield(L, -1, "name");
	name = lua_isnil(L, -1) ? STR_NONE : script_str(L, -1);
	if (name.n >= sizeof(f->tls_name))
		vm_raise(L, "server %s: tls: the name is too long", f->name);
	if (name.n)
		memcpy(f->tls_name, name.p, name.n);
	lua_pop(L, 1);
}

void facts_read(lua_State *L, int idx, struct facts *f)
{
	luaL_checktype(L, idx, LUA_TTABLE);
	lua_getfield(L, idx, "addr");
	read_addrs(L, f);
	lua_getfield(L, idx, "fixed_transport");
	f->fixed_transport = lua_toboolean(L, -1);
	lua_getfield(L, idx, "record_route");
	f->record_route = lua_isnil(L, -1) || lua_toboolean(L, -1);
	if (lua_getfield(L, idx, "max_duration") != LUA_TNIL)
		f->max_duration =
		    (uint32_t)(script_us(L, -1, "max_duration") / SECONDS(1));
	if (lua_getfield(L, idx, "resources") != LUA_TNIL)
		read_resources(L, f);
	lua_getfield(L, idx, "shared_dialogs");
	f->shared_dialogs = lua_toboolean(L, -1);
	lua_getfield(L, idx, "judged");
	f->judged = lua_toboolean(L, -1);
	lua_getfield(L, idx, "path");
	f->path = read_path(L);
	lua_getfield(L, idx, "tls");
	read_tls(L, f);
	lua_pop(L, 9);
}

static int l_member(lua_State *L)
{
	struct script *s = script_of(L);
	const char *pool = luaL_checkstring(L, 1);
	const char *server = luaL_checkstring(L, 2);
	struct facts *f;
	int n;

	if (s->phase != SCRIPT_LOADING)
		return vm_raise(L, "core.member: only while the script "
				   "loads");
	f = lua_newuserdatauv(L, sizeof(*f), 0);
	memset(f, 0, sizeof(*f));
	n = snprintf(f->name, sizeof(f->name), "%s/%s", pool, server);
	if (n < 0 || (size_t)n >= sizeof(f->name))
		return vm_raise(L, "the name '%s/%s' is too long", pool,
				server);
	facts_read(L, 3, f);
	f->s = s;
	block_push_handle(L, f, &f->box, &facts_type);
	lua_pushvalue(L, -1);
	f->anchor = vm_ref(L);
	list_append(&s->facts, &f->link);
	return 1;
}

/* core.changes() -> integer: grows whenever health, admin, a hold, a trial, a
 * return or a leave of any server has become another one, in whatever worker */
static int l_changes(lua_State *L)
{
	const struct script *s = script_of(L);

	lua_pushinteger(
	    L,
	    s->node ? (lua_Integer)atomic_load(&s->node->members.changes) : 0);
	return 1;
}

void bind_member(lua_State *L)
{
	box_register(L, &facts_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, l_member);
	lua_setfield(L, -2, "member");
	lua_pushcfunction(L, l_changes);
	lua_setfield(L, -2, "changes");
	lua_pushcfunction(L, l_loads);
	lua_setfield(L, -2, "loads");
}
