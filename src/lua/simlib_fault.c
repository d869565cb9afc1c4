#include "lua/simlib.h"

#include "sim/sim.h"

/* pause(node, buffer) */
static int l_pause(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2);
	lua_Integer buffer = luaL_checkinteger(L, 3);

	luaL_argcheck(L, sim_node_runs(s, node), 2, "does not run");
	luaL_argcheck(L, buffer >= 0, 3, "a number of bytes");
	sim_node_pause(s, node, (size_t)buffer);
	return 0;
}

/* slow(node, receive, send, request, buffer): microseconds, bytes */
static int l_slow(lua_State *L)
{
	unsigned node = simlib_node(L, 2);
	struct sim_cost cost = {.receive = luaL_checkinteger(L, 3),
				.send = luaL_checkinteger(L, 4),
				.request = luaL_checkinteger(L, 5)};
	lua_Integer buffer = luaL_checkinteger(L, 6);

	luaL_argcheck(L,
		      cost.receive >= 0 && cost.send >= 0 && cost.request >= 0,
		      3, "times");
	luaL_argcheck(L, buffer >= 0, 6, "a number of bytes");
	cost.buffer = (size_t)buffer;
	sim_node_slow(simlib_world(L), node, &cost);
	return 0;
}

static int l_resume(lua_State *L)
{
	sim_node_resume(simlib_world(L), simlib_node(L, 2));
	return 0;
}

static int l_paused(lua_State *L)
{
	lua_pushboolean(L, sim_node_paused(simlib_world(L), simlib_node(L, 2)));
	return 1;
}

/* split(ip, mode, period, host, node, ...): "all", "random" or "turns"; host 0:
 * as everybody sees it. */
static int l_split(lua_State *L)
{
	static const char *const names[] = {"all", "random", "turns", NULL};
	static const enum sim_split_mode modes[] = {
	    SIM_SPLIT_ALL, SIM_SPLIT_RANDOM, SIM_SPLIT_TURNS};
	struct sim *s = simlib_world(L);
	struct addr ip = simlib_addr(L, 2);
	struct sim_split conf = {.mode =
				     modes[luaL_checkoption(L, 3, NULL, names)],
				 .period = luaL_checkinteger(L, 4)};
	lua_Integer host = luaL_checkinteger(L, 5);
	unsigned node[SIM_SPLIT_MAX];
	int n = lua_gettop(L) - 5;

	luaL_argcheck(L, conf.mode != SIM_SPLIT_TURNS || conf.period > 0, 4,
		      "a time");
	luaL_argcheck(L, host >= 0 && host <= sim_hosts(s), 5, "no such host");
	luaL_argcheck(L, n >= 1 && n <= SIM_SPLIT_MAX, 6, "1 to 4 nodes");
	for (int i = 0; i < n; i++)
		node[i] = simlib_node(L, i + 6);
	conf.n = (unsigned)n;
	if (!sim_node_split(s, &ip, (unsigned)host, node, &conf))
		return luaL_error(L, "a node has too many addresses");
	return 0;
}

const luaL_Reg simlib_fault_methods[] = {
    {"pause", l_pause}, {"resume", l_resume}, {"paused", l_paused},
    {"slow", l_slow},   {"split", l_split},   {NULL, NULL},
};
