/*
 * The Lua module tandem.simcore: the simulated world (sim/sim.h) for a stock
 * lua5.4, as thin as can be. One userdata, the world, whose methods take
 * numbers, strings and plain tables; times are integers in microseconds. Users
 * see lua/tandem/sim.lua, which is built on it.
 */
#ifndef LUA_SIMLIB_H
#define LUA_SIMLIB_H

#include <stdbool.h>
#include <lua.h>
#include <lauxlib.h>
#include "util/addr.h"

struct sim;

extern const luaL_Reg simlib_node_methods[];
extern const luaL_Reg simlib_fault_methods[];
extern const luaL_Reg simlib_log_methods[];
extern const luaL_Reg simlib_stream_methods[];

struct sim *simlib_world(lua_State *L); /* argument 1 */
/* Arguments that must be right, or an error is raised. */
struct addr simlib_addr(lua_State *L, int arg);
unsigned simlib_node(lua_State *L, int arg);
unsigned simlib_endpoint(lua_State *L, int arg);
unsigned simlib_worker(lua_State *L, int arg, unsigned node); /* from 0 */
void simlib_push_addr(lua_State *L, const struct addr *a);

/* Plain data on its way from one Lua state to another. */
struct pack {
	char *p;
	size_t n, cap;
	bool bad; /* memory ran out, or too deep */
};

void pack_fini(struct pack *b);
/* Appends the value; functions and the like become the name of their type.
 * Raises nothing of its own. */
void pack_put(struct pack *b, lua_State *L, int idx);
void pack_push(const struct pack *b, lua_State *L);

/* world:eval(node, worker, name, ...) */
int simlib_eval(lua_State *L);

#endif
