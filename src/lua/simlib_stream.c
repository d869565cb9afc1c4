#include "lua/simlib.h"

#include <string.h>

#include "sim/sim.h"

/* ---- what an endpoint shows when TLS is spoken ------------------------- */

static void copy(lua_State *L, char *out, size_t n)
{
	const char *text = lua_tostring(L, -1);

	luaL_argcheck(L, !text || strlen(text) < n, 3, "too long");
	out[0] = '\0';
	strncat(out, text ? text : "", n - 1);
	lua_pop(L, 1);
}

static bool flag(lua_State *L, const char *key)
{
	bool is_set;

	lua_getfield(L, 3, key);
	is_set = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return is_set;
}

/* tls(endpoint, { names = {...}, issuer =, expired =, wants_client = }) */
static int l_tls(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned id = simlib_endpoint(L, 2);
	struct sim_tls tls = {.names = 0};

	luaL_checktype(L, 3, LUA_TTABLE);
	lua_getfield(L, 3, "issuer");
	copy(L, tls.issuer, sizeof(tls.issuer));
	tls.expired = flag(L, "expired");
	tls.wants_client = flag(L, "wants_client");
	if (lua_getfield(L, 3, "names") == LUA_TTABLE) {
		tls.names = (unsigned)lua_rawlen(L, -1);
		luaL_argcheck(L, tls.names <= 4, 3, "at most 4 names");
		for (unsigned i = 0; i < tls.names; i++) {
			lua_rawgeti(L, -1, i + 1);
			copy(L, tls.name[i], sizeof(tls.name[i]));
		}
	}
	sim_set_tls(s, id, &tls);
	return 0;
}

/* ---- connections of endpoints ------------------------------------------ */

/* connect(endpoint, to) -> side, own address */
static int l_connect(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned id = simlib_endpoint(L, 2);
	struct addr to = simlib_addr(L, 3), from;

	luaL_argcheck(L, to.port, 3, "needs a port");
	lua_pushinteger(L, sim_connect(s, id, &to, &from));
	simlib_push_addr(L, &from);
	return 2;
}

static unsigned check_side(lua_State *L)
{
	lua_Integer side = luaL_checkinteger(L, 2);

	luaL_argcheck(L, side >= 2 && side / 2 <= sim_conns(simlib_world(L)), 2,
		      "no such connection");
	return (unsigned)side;
}

/* write(side, bytes[, piece]) */
static int l_write(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned side = check_side(L);
	struct str bytes;

	bytes.p = luaL_checklstring(L, 3, &bytes.n);
	sim_write(s, side, bytes, (size_t)luaL_optinteger(L, 4, 0));
	return 0;
}

/* finish(side): closes it */
static int l_finish(lua_State *L)
{
	sim_close(simlib_world(L), check_side(L));
	return 0;
}

/* reset(side) */
static int l_reset(lua_State *L)
{
	sim_reset(simlib_world(L), check_side(L));
	return 0;
}

/* ---- DNS ---------------------------------------------------------------- */

/* answer(id, after, "reply" | "timeout" | "failed"[, bytes]) */
static int l_answer(lua_State *L)
{
	static const char *const names[] = {"reply", "timeout", "failed", NULL};
	static const enum answer_status status[] = {
	    ANSWER_REPLY, ANSWER_TIMEOUT, ANSWER_FAILED};
	struct sim *s = simlib_world(L);
	lua_Integer after = luaL_checkinteger(L, 3);
	int which = luaL_checkoption(L, 4, NULL, names);
	struct str bytes;

	bytes.p = luaL_optlstring(L, 5, "", &bytes.n);
	luaL_argcheck(L, after >= 0, 3, "not before now");
	sim_answer(s, (uint64_t)luaL_checkinteger(L, 2), after, status[which],
		   bytes);
	return 0;
}

const luaL_Reg simlib_stream_methods[] = {
    {"tls", l_tls},       {"connect", l_connect}, {"write", l_write},
    {"finish", l_finish}, {"reset", l_reset},     {"answer", l_answer},
    {NULL, NULL},
};
