#include "lua/simlib.h"

#include <math.h>

#include "sim/sim.h"

#define WORLD "tandem.world"

int luaopen_tandem_simcore(lua_State *L);

/* ---- arguments -------------------------------------------------------- */

struct sim *simlib_world(lua_State *L)
{
	struct sim **s = luaL_checkudata(L, 1, WORLD);

	luaL_argcheck(L, *s, 1, "the world was closed");
	return *s;
}

struct addr simlib_addr(lua_State *L, int arg)
{
	struct addr a = {0};
	struct str s;

	s.p = luaL_checklstring(L, arg, &s.n);
	luaL_argcheck(L, addr_parse(s, &a), arg, "not an IP address");
	return a;
}

unsigned simlib_node(lua_State *L, int arg)
{
	lua_Integer id = luaL_checkinteger(L, arg);

	luaL_argcheck(L, id > 0 && id <= sim_nodes(simlib_world(L)), arg,
		      "no such node");
	return (unsigned)id;
}

unsigned simlib_worker(lua_State *L, int arg, unsigned node)
{
	lua_Integer i = luaL_checkinteger(L, arg);

	luaL_argcheck(L, i >= 0 && i < sim_node_workers(simlib_world(L), node),
		      arg, "no such worker");
	return (unsigned)i;
}

void simlib_push_addr(lua_State *L, const struct addr *a)
{
	char text[ADDR_TEXT];

	lua_pushstring(L, addr_text(a, text));
}

/* A host is named by one of its addresses, or by its number. */
static unsigned check_host(lua_State *L, int arg)
{
	struct sim *s = simlib_world(L);
	struct addr ip;
	lua_Integer id;

	if (lua_type(L, arg) != LUA_TNUMBER) {
		ip = simlib_addr(L, arg);
		return sim_host(s, &ip);
	}
	id = luaL_checkinteger(L, arg);
	luaL_argcheck(L, id > 0 && id <= sim_hosts(s), arg, "no such host");
	return (unsigned)id;
}

unsigned simlib_endpoint(lua_State *L, int arg)
{
	lua_Integer id = luaL_checkinteger(L, arg);

	luaL_argcheck(L, id > 0 && id <= sim_endpoints(simlib_world(L)), arg,
		      "no such endpoint");
	return (unsigned)id;
}

static double probability(lua_State *L, int idx, const char *key, double old)
{
	double v = old;

	if (lua_getfield(L, idx, key) != LUA_TNIL)
		v = lua_tonumber(L, -1);
	if (!(v >= 0 && v <= 1))
		luaL_error(L, "%s must be from 0 to 1", key);
	lua_pop(L, 1);
	return v;
}

/* Seconds in the table, microseconds out. */
static int64_t seconds(lua_State *L, int idx, const char *key, int64_t old)
{
	double v = (double)old / 1e6;

	if (lua_getfield(L, idx, key) != LUA_TNIL)
		v = lua_tonumber(L, -1);
	if (!(v >= 0 && v <= 1e6))
		luaL_error(L, "%s must be a number of seconds", key);
	lua_pop(L, 1);
	return llround(v * 1e6);
}

static size_t bytes(lua_State *L, int idx, const char *key, size_t old)
{
	lua_Integer v = (lua_Integer)old;

	if (lua_getfield(L, idx, key) != LUA_TNIL)
		v = lua_tointeger(L, -1);
	if (v < 0)
		luaL_error(L, "%s must be a number of bytes", key);
	lua_pop(L, 1);
	return (size_t)v;
}

/* What the table does not name stays as it is. */
static void check_link(lua_State *L, int idx, struct sim_link *conf)
{
	luaL_checktype(L, idx, LUA_TTABLE);
	conf->loss = probability(L, idx, "loss", conf->loss);
	conf->duplicate = probability(L, idx, "duplicate", conf->duplicate);
	conf->reorder = probability(L, idx, "reorder", conf->reorder);
	conf->delay = seconds(L, idx, "delay", conf->delay);
	conf->jitter = seconds(L, idx, "jitter", conf->jitter);
	conf->mtu = bytes(L, idx, "mtu", conf->mtu);
	conf->chunk = bytes(L, idx, "chunk", conf->chunk);
	conf->cut = bytes(L, idx, "cut", conf->cut);
}

/* ---- the world -------------------------------------------------------- */

static int l_new(lua_State *L)
{
	uint64_t seed = (uint64_t)luaL_checkinteger(L, 1);
	int64_t start = luaL_optinteger(L, 2, SIM_START);
	struct sim **s = lua_newuserdatauv(L, sizeof(struct sim *), 0);

	*s = NULL;
	luaL_setmetatable(L, WORLD);
	*s = sim_new(seed, start);
	return 1;
}

static int l_close(lua_State *L)
{
	sim_free(luaL_checkudata(L, 1, WORLD));
	return 0;
}

static int l_now(lua_State *L)
{
	lua_pushinteger(L, sim_now(simlib_world(L)));
	return 1;
}

/* What follows the kind of an event. */
static int push_event(lua_State *L, const struct sim_event *e)
{
	switch (e->kind) {
	case SIM_TIMER:
		lua_pushinteger(L, (lua_Integer)e->id);
		return 1;
	case SIM_QUERY:
		lua_pushinteger(L, (lua_Integer)e->id);
		lua_pushlstring(L, e->text.p, e->text.n);
		lua_pushinteger(L, e->type);
		lua_pushinteger(L, e->node);
		return 4;
	case SIM_PACKET:
	case SIM_ICMP:
		lua_pushinteger(L, e->endpoint);
		simlib_push_addr(L, &e->from);
		lua_pushlstring(L, e->bytes.p, e->bytes.n);
		return 3;
	case SIM_ACCEPT:
	case SIM_UP:
		lua_pushinteger(L, e->endpoint);
		lua_pushinteger(L, e->side);
		simlib_push_addr(L, &e->from);
		return 3;
	case SIM_DATA:
		lua_pushinteger(L, e->endpoint);
		lua_pushinteger(L, e->side);
		lua_pushlstring(L, e->bytes.p, e->bytes.n);
		return 3;
	case SIM_DOWN:
		lua_pushinteger(L, e->endpoint);
		lua_pushinteger(L, e->side);
		lua_pushstring(L, cause_text(e->cause));
		lua_pushlstring(L, e->text.n ? e->text.p : "", e->text.n);
		return 4;
	}
	return 0;
}

/* next(until) -> nil | kind, and then:
 *   "timer"           id
 *   "packet" "icmp"   endpoint, from, bytes
 *   "accept" "up"     endpoint, side, peer
 *   "data"            endpoint, side, bytes
 *   "down"            endpoint, side, cause, text
 *   "query"           id, name, type, node */
static int l_next(lua_State *L)
{
	static const char *const kind[] = {
	    [SIM_PACKET] = "packet", [SIM_ICMP] = "icmp",
	    [SIM_TIMER] = "timer",   [SIM_ACCEPT] = "accept",
	    [SIM_UP] = "up",         [SIM_DATA] = "data",
	    [SIM_DOWN] = "down",     [SIM_QUERY] = "query",
	};
	struct sim *s = simlib_world(L);
	struct sim_event e;
	bool told = sim_next(s, luaL_checkinteger(L, 2), &e);

	if (sim_trouble(s))
		return luaL_error(L, "%s", sim_trouble(s));
	if (!told)
		return 0;
	lua_pushstring(L, kind[e.kind]);
	return 1 + push_event(L, &e);
}

static int l_timer(lua_State *L)
{
	struct sim *s = simlib_world(L);

	lua_pushinteger(L, (lua_Integer)sim_timer(s, luaL_checkinteger(L, 2)));
	return 1;
}

/* random() -> 64 bits as an integer */
static int l_random(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)rand_u64(sim_rand(simlib_world(L))));
	return 1;
}

/* ---- endpoints -------------------------------------------------------- */

/* attach(transport, addr) -> endpoint, host | nil when the address is taken */
static int l_attach(lua_State *L)
{
	struct sim *s = simlib_world(L);
	int t = transport_parse(str_from(luaL_checkstring(L, 2)));
	struct addr at = simlib_addr(L, 3);
	unsigned id;

	luaL_argcheck(L, t >= 0, 2, "no such transport");
	luaL_argcheck(L, at.port, 3, "needs a port");
	id = sim_attach(s, (enum transport)t, &at);
	if (!id)
		return 0;
	lua_pushinteger(L, id);
	lua_pushinteger(L, sim_endpoint_host(s, id));
	return 2;
}

/* mode(endpoint, "open" | "refuse" | "stall") */
static int l_mode(lua_State *L)
{
	static const char *const names[] = {"open", "refuse", "stall", NULL};
	static const enum sim_mode modes[] = {SIM_OPEN, SIM_REFUSING,
					      SIM_STALLED};

	sim_mode(simlib_world(L), simlib_endpoint(L, 2),
		 modes[luaL_checkoption(L, 3, NULL, names)]);
	return 0;
}

static int l_send(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned id = simlib_endpoint(L, 2);
	struct addr to = simlib_addr(L, 3);
	struct str bytes;

	bytes.p = luaL_checklstring(L, 4, &bytes.n);
	sim_send(s, id, &to, bytes);
	return 0;
}

/* ---- links ------------------------------------------------------------ */

static int l_link(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned from = check_host(L, 2), to = check_host(L, 3);
	struct sim_link conf;

	sim_link_get(s, from, to, &conf);
	check_link(L, 4, &conf);
	sim_link_set(s, from, to, &conf);
	return 0;
}

static int l_link_default(lua_State *L)
{
	struct sim *s = simlib_world(L);
	struct sim_link conf;

	sim_link_init(&conf);
	check_link(L, 2, &conf);
	sim_link_default(s, &conf);
	return 0;
}

static int l_cut(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned from = check_host(L, 2), to = check_host(L, 3);

	sim_link_cut(s, from, to, lua_toboolean(L, 4));
	return 0;
}

static int l_heal(lua_State *L)
{
	sim_heal(simlib_world(L));
	return 0;
}

static int l_power(lua_State *L)
{
	struct sim *s = simlib_world(L);

	sim_host_power(s, check_host(L, 2), lua_toboolean(L, 3));
	return 0;
}

/* ---- the module ------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"close", l_close},   {"now", l_now},
    {"next", l_next},     {"timer", l_timer},
    {"random", l_random}, {"attach", l_attach},
    {"mode", l_mode},     {"send", l_send},
    {"link", l_link},     {"link_default", l_link_default},
    {"cut", l_cut},       {"heal", l_heal},
    {"power", l_power},   {"eval", simlib_eval},
    {"__gc", l_close},    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"new", l_new},
    {NULL, NULL},
};

int luaopen_tandem_simcore(lua_State *L)
{
	luaL_checkversion(L);
	luaL_newmetatable(L, WORLD);
	luaL_setfuncs(L, methods, 0);
	luaL_setfuncs(L, simlib_node_methods, 0);
	luaL_setfuncs(L, simlib_fault_methods, 0);
	luaL_setfuncs(L, simlib_log_methods, 0);
	luaL_setfuncs(L, simlib_stream_methods, 0);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
