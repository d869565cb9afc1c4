#include "lua/simlib.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"
#include "lua/generation.h"
#include "lua/metrics.h"
#include "lua/vm.h"
#include "proxy/places.h"

enum { ERROR_MAX = 8192 };

/* ---- loading: the loader is a function of the test's state ------------ */

/* load(name, is_module) -> bytes, shown name | nil. Runs protected; the results
 * are left on the stack. */
static bool load(void *ctx, const char *name, bool is_module, char **bytes_r,
		 size_t *n_r, char *shown, size_t shown_n)
{
	lua_State *L = ctx;
	const char *bytes, *file;
	bool ok = false;
	size_t n;

	if (!lua_checkstack(L, 8))
		return false;
	lua_getfield(L, 3, "load");
	lua_pushstring(L, name);
	lua_pushboolean(L, is_module);
	if (lua_pcall(L, 2, 2, 0) != LUA_OK) {
		lua_pop(L, 1);
		return false;
	}
	bytes = lua_tolstring(L, -2, &n);
	file = lua_tostring(L, -1);
	*bytes_r = bytes ? malloc(n + 1) : NULL;
	if (*bytes_r) {
		memcpy(*bytes_r, bytes, n + 1);
		*n_r = n;
		file = file ? file : name;
		shown[0] = '\0';
		strncat(shown, file, shown_n - 1);
		ok = true;
	}
	lua_pop(L, 2);
	return ok;
}

static const char *field(lua_State *L, int idx, const char *key)
{
	lua_getfield(L, idx, key); /* stays on the stack, to keep the string */
	return lua_tostring(L, -1);
}

static struct sipkey check_key(lua_State *L, int idx)
{
	size_t n;
	const char *key = lua_tolstring(L, idx, &n);

	luaL_argcheck(L, key && n == 16, 3, "the key has 16 bytes");
	return sipkey_load((const uint8_t *)key);
}

/* A key, or { key } or { key, other key }; nothing: none of its own. */
static void check_keys(lua_State *L, int idx, struct sim_node_conf *conf)
{
	conf->has_keys = !lua_isnil(L, idx);
	if (!conf->has_keys)
		return;
	if (!lua_istable(L, idx)) {
		conf->keys.now = check_key(L, idx);
		return;
	}
	lua_rawgeti(L, idx, 1);
	lua_rawgeti(L, idx, 2);
	conf->keys.now = check_key(L, -2);
	conf->keys.has_other = !lua_isnil(L, -1);
	if (conf->keys.has_other)
		conf->keys.other = check_key(L, -1);
	lua_pop(L, 2);
}

/* The table at index 3: { path, listen, workers, key, load }. */
static struct sim_node_conf check_conf(lua_State *L)
{
	struct sim_node_conf conf = {.loader = {L, load}};

	luaL_checktype(L, 3, LUA_TTABLE);
	conf.path = field(L, 3, "path");
	conf.listen = field(L, 3, "listen");
	lua_getfield(L, 3, "workers");
	conf.workers = (unsigned)lua_tointeger(L, -1);
	luaL_argcheck(L, conf.workers <= NODE_MAX_WORKERS, 3,
		      "too many workers");
	lua_getfield(L, 3, "own_listeners");
	conf.own_listeners = lua_toboolean(L, -1);
	lua_getfield(L, 3, "key");
	check_keys(L, lua_gettop(L), &conf);
	lua_getfield(L, 3, "collect_every");
	conf.collect_every = (uint32_t)lua_tointeger(L, -1);
	lua_getfield(L, 3, "edit");
	conf.edit.p = lua_tolstring(L, -1, &conf.edit.n);
	return conf;
}

/* node(ip, ...) -> number, host */
static int l_node(lua_State *L)
{
	struct sim *s = simlib_world(L);
	struct addr ip[16];
	int n = lua_gettop(L) - 1;

	luaL_argcheck(L, n >= 1 && n <= 16, 2, "1 to 16 addresses");
	for (int i = 0; i < n; i++)
		ip[i] = simlib_addr(L, i + 2);
	lua_pushinteger(L, sim_node(s, ip, (unsigned)n));
	lua_pushinteger(L, sim_node_host(s, sim_nodes(s)));
	return 2;
}

static int finish_load(lua_State *L, int err, const char *text)
{
	if (!err) {
		lua_pushboolean(L, true);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, text);
	return 2;
}

/* start(node, conf) -> true | nil, why */
static int l_start(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct sim_node_conf conf = check_conf(L);
	char err[ERROR_MAX] = "";

	luaL_argcheck(L, !sim_node_runs(s, node), 2, "runs already");
	return finish_load(L, sim_node_start(s, node, &conf, err, sizeof(err)),
			   err);
}

static int l_reload(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct sim_node_conf conf = check_conf(L);
	char err[ERROR_MAX] = "";

	luaL_argcheck(L, sim_node_runs(s, node), 2, "does not run");
	return finish_load(L, sim_node_reload(s, node, &conf, err, sizeof(err)),
			   err);
}

/* files(node) -> the data files of the script, as the loader showed them */
static int l_files(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	const struct script *script =
	    sim_node_runs(s, node) ? sim_node_script(s, node, 0) : NULL;
	const char *name;

	lua_newtable(L);
	for (size_t i = 0; script && (name = script_data_file(script, i));
	     i++) {
		lua_pushstring(L, name);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- life ------------------------------------------------------------- */

static int l_kill(lua_State *L)
{
	sim_node_kill(simlib_world(L), simlib_node(L, 2));
	return 0;
}

static int l_stop(lua_State *L)
{
	sim_node_stop(simlib_world(L), simlib_node(L, 2));
	return 0;
}

/* drain(node, on) */
static int l_drain(lua_State *L)
{
	sim_node_drain(simlib_world(L), simlib_node(L, 2), lua_toboolean(L, 3));
	return 0;
}

/* quiet(node) -> may it end?, and how long that is waited for */
static int l_quiet(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);

	lua_pushboolean(L, sim_node_is_quiet(s, node));
	lua_pushnumber(L, (lua_Number)sim_node_stop_timeout(s, node) / 1e6);
	return 2;
}

static int l_take(lua_State *L)
{
	struct addr ip = simlib_addr(L, 3);

	lua_pushboolean(L,
			sim_node_take(simlib_world(L), simlib_node(L, 2), &ip));
	return 1;
}

static int l_drop(lua_State *L)
{
	struct addr ip = simlib_addr(L, 3);

	sim_node_drop(simlib_world(L), simlib_node(L, 2), &ip);
	return 0;
}

/* owns(node, addr) -> boolean */
static int l_owns(lua_State *L)
{
	struct addr ip = simlib_addr(L, 3);

	lua_pushboolean(L,
			sim_node_owns(simlib_world(L), simlib_node(L, 2), &ip));
	return 1;
}

/* listener(node, ip, transport) -> where phones find it: the first listener of
 * that transport and the family of ip, with ip for a wildcard | nil */
static int l_listener(lua_State *L)
{
	struct node *shared =
	    sim_node_shared(simlib_world(L), simlib_node(L, 2));
	struct addr ip = simlib_addr(L, 3);
	int t = transport_parse(str_from(luaL_checkstring(L, 4)));

	for (unsigned i = 0; shared && i < shared->listeners.n; i++) {
		const struct listener *l = &shared->listeners.l[i];

		if (l->transport != t || l->addr.family != ip.family)
			continue;
		if (!addr_is_any(&l->addr))
			ip = l->addr;
		ip.port = l->addr.port;
		simlib_push_addr(L, &ip);
		return 1;
	}
	return 0;
}

static int l_skew(lua_State *L)
{
	sim_node_skew(simlib_world(L), simlib_node(L, 2),
		      luaL_checkinteger(L, 3));
	return 0;
}

static int l_workers(lua_State *L)
{
	lua_pushinteger(L,
			sim_node_workers(simlib_world(L), simlib_node(L, 2)));
	return 1;
}

static int l_quiesce(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);

	for (unsigned i = 0; i < sim_node_workers(s, node); i++) {
		struct script *script = sim_node_script(s, node, i);

		if (script)
			script_quiesce(script, sim_node_now(s, node));
		core_expire(sim_node_core(s, node, i), sim_node_now(s, node));
	}
	sim_node_touched(s, node);
	return 0;
}

/* let_go(node): of calls that nobody hung up, and of connections */
static int l_let_go(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);

	for (unsigned i = 0; i < sim_node_workers(s, node); i++) {
		core_forget_calls(sim_node_core(s, node, i),
				  sim_node_now(s, node));
		core_close_flows(sim_node_core(s, node, i),
				 sim_node_now(s, node));
	}
	sim_node_touched(s, node);
	return 0;
}

/* collect(node): garbage of the scripts, which may hold memory of the core. */
static int l_collect(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);

	for (unsigned i = 0; i < sim_node_workers(s, node); i++) {
		struct script *script = sim_node_script(s, node, i);

		if (script)
			script_collect(script);
	}
	return 0;
}

/* ---- facts ------------------------------------------------------------ */

static void set_int(lua_State *L, const char *key, uint64_t v)
{
	lua_pushinteger(L, (lua_Integer)v);
	lua_setfield(L, -2, key);
}

/* stats(node, worker) -> { what is alive } */
static int l_stats(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2), worker = simlib_worker(L, 3, node);
	struct core *core = sim_node_core(s, node, worker);
	const struct succession *scripts = sim_node_scripts(s, node, worker);
	struct script_stats ss;

	succession_stats(scripts, &ss);
	lua_newtable(L);
	metrics_set_alive(L, core);
	set_int(L, "blocks", core_mem(core)->blocks);
	set_int(L, "tasks", ss.tasks);
	set_int(L, "script_timers", ss.timers);
	set_int(L, "lua_bytes", ss.lua_bytes);
	set_int(L, "errors", ss.errors);
	set_int(L, "generation", sim_node_shared(s, node)->generation);
	set_int(L, "retired", scripts->n);
	set_int(L, "node_bytes", sim_node_shared(s, node)->mem.bytes);
	return 1;
}

/* counters(node) -> { { counters =, histograms =, user = }, ... }, one for each
 * worker: as core.metrics() has them, also of a script that is not Tandem's */
static int l_counters(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);

	lua_newtable(L);
	for (unsigned w = 0; w < sim_node_workers(s, node); w++) {
		const struct counters *cs =
		    core_counters(sim_node_core(s, node, w));
		const struct script *script;

		lua_createtable(L, 0, 4);
		metrics_push_counters(L, cs);
		lua_setfield(L, -2, "counters");
		metrics_push_histograms(L, cs);
		lua_setfield(L, -2, "histograms");
		metrics_push_bounds(L);
		lua_setfield(L, -2, "bounds");
		script = sim_node_script(s, node, w);
		if (script)
			metrics_push_user(L, script, 0, SIZE_MAX);
		else
			lua_newtable(L);
		lua_setfield(L, -2, "user");
		lua_rawseti(L, -2, (lua_Integer)w + 1);
	}
	return 1;
}

/* member_at(node, addr) -> "pool/server" | nil */
static int l_member_at(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct addr at = simlib_addr(L, 3);
	struct core *core =
	    sim_node_shared(s, node) ? sim_node_core(s, node, 0) : NULL;
	struct member *m = core ? proxy_member_at(core_proxy(core), &at) : NULL;

	if (!m)
		return 0;
	lua_pushstring(L, m->name);
	return 1;
}

static void push_facts(lua_State *L, struct member *m)
{
	static const char *const name[] = {
#define X(id, text) [id] = text,
	    FACT_LIST(X)
#undef X
	};

	lua_createtable(L, 0, FACT_N);
	for (int i = 0; i < FACT_N; i++)
		set_int(L, name[i], (uint64_t)atomic_load(&m->fact[i]));
}

/* By name, also those that are declared no more. */
static void push_used(lua_State *L, struct member *m)
{
	lua_newtable(L);
	for (int i = 0; i < LOAD_RESOURCES; i++) {
		const struct resource *r = &m->load.resource[i];

		if (r->name[0])
			set_int(L, r->name, (uint64_t)atomic_load(&r->used));
	}
}

/* Where worker 0 knows it to be. */
static void push_places(lua_State *L, struct core *core, const struct member *m)
{
	const struct server_places *s =
	    core ? proxy_places(core_proxy(core), m) : &m->places;

	for (unsigned i = 0; i < s->n; i++) {
		simlib_push_addr(L, &s->at[i].addr);
		lua_rawseti(L, -2, i + 1);
	}
}

/* members(node) -> { { name, addresses = {...}, facts = {...}, used = {...} },
 * ... } */
static int l_members(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct node *shared = sim_node_shared(s, node);
	struct core *core = shared ? sim_node_core(s, node, 0) : NULL;
	lua_Integer n = 0;

	lua_newtable(L);
	if (!shared)
		return 1;
	list_each (it, &shared->members.list) {
		struct member *m = container_of(it, struct member, link);

		if (m->id == 0)
			continue; /* a spare one */
		lua_newtable(L);
		lua_pushstring(L, m->name);
		lua_setfield(L, -2, "name");
		lua_newtable(L);
		push_places(L, core, m);
		lua_setfield(L, -2, "addresses");
		push_facts(L, m);
		lua_setfield(L, -2, "facts");
		push_used(L, m);
		lua_setfield(L, -2, "used");
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

/* loads(node, out) -> out: of each member, in the order of members(): inflight,
 * setup, calls, and the units of all its resources. For who asks after every
 * event. */
static int l_loads(lua_State *L)
{
	struct node *shared =
	    sim_node_shared(simlib_world(L), simlib_node(L, 2));
	static const enum fact fact[] = {FACT_INFLIGHT, FACT_SETUP, FACT_CALLS};
	lua_Integer n = 0;

	luaL_checktype(L, 3, LUA_TTABLE);
	lua_settop(L, 3);
	if (!shared)
		return 1;
	list_each (it, &shared->members.list) {
		struct member *m = container_of(it, struct member, link);
		int64_t used = 0;

		if (m->id == 0)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(fact); i++) {
			lua_pushinteger(L, atomic_load(&m->fact[fact[i]]));
			lua_rawseti(L, 3, ++n);
		}
		for (int i = 0; i < LOAD_RESOURCES; i++)
			used += atomic_load(&m->load.resource[i].used);
		lua_pushinteger(L, used);
		lua_rawseti(L, 3, ++n);
	}
	return 1;
}

/* disk(node[, bytes]) -> bytes: what is in its state_dir, and what is to be */
static int l_disk(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct str disk;

	if (!lua_isnoneornil(L, 3)) {
		disk.p = luaL_checklstring(L, 3, &disk.n);
		sim_node_set_disk(s, node, disk);
	}
	disk = sim_node_disk(s, node);
	lua_pushlstring(L, disk.n ? disk.p : "", disk.n);
	return 1;
}

/* kept(node, name[, text]) -> text: what is kept in its state_dir under that
 * name, and what is to be */
static int l_kept(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	struct str name, text;

	name.p = luaL_checklstring(L, 3, &name.n);
	if (!lua_isnoneornil(L, 4)) {
		text.p = luaL_checklstring(L, 4, &text.n);
		sim_node_keep(s, node, name, text);
	}
	text = sim_node_kept(s, node, name);
	lua_pushlstring(L, text.n ? text.p : "", text.n);
	return 1;
}

/* ---- memory ----------------------------------------------------------- */

static struct mem *check_mem(lua_State *L)
{
	static const char *const which[] = {"core", "lua", "node", NULL};
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2), worker = simlib_worker(L, 3, node);
	struct script *script = sim_node_script(s, node, worker);

	switch (luaL_checkoption(L, 4, "core", which)) {
	case 1:
		luaL_argcheck(L, script, 4, "has no script");
		return vm_mem(vm_of(script_lua(script)));
	case 2:
		return &sim_node_shared(s, node)->mem;
	default:
		return core_mem(sim_node_core(s, node, worker));
	}
}

/* fail_alloc(node, worker, which, n[, row]): the n-th allocation from now on
 * fails, and those after it while the row lasts; n = 0: none. Returns how many
 * there were so far. */
static int l_fail_alloc(lua_State *L)
{
	struct mem *m = check_mem(L);
	lua_Integer n = luaL_optinteger(L, 5, 0);

	m->fail_at = n > 0 ? m->calls + (uint64_t)n : 0;
	m->fail_for = (uint64_t)luaL_optinteger(L, 6, 1);
	lua_pushinteger(L, (lua_Integer)m->calls);
	return 1;
}

const luaL_Reg simlib_node_methods[] = {
    {"node", l_node},
    {"start", l_start},
    {"reload", l_reload},
    {"files", l_files},
    {"kill", l_kill},
    {"stop", l_stop},
    {"drain", l_drain},
    {"quiet", l_quiet},
    {"take", l_take},
    {"drop", l_drop},
    {"owns", l_owns},
    {"listener", l_listener},
    {"skew", l_skew},
    {"workers", l_workers},
    {"quiesce", l_quiesce},
    {"let_go", l_let_go},
    {"collect", l_collect},
    {"stats", l_stats},
    {"counters", l_counters},
    {"members", l_members},
    {"member_at", l_member_at},
    {"loads", l_loads},
    {"disk", l_disk},
    {"kept", l_kept},
    {"fail_alloc", l_fail_alloc},
    {NULL, NULL},
};
