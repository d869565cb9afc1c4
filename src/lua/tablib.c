#include "lua/vm_int.h"

#include <lualib.h>

/*
 * table: the stock functions, which charge for the elements they touch, and a
 * sort of our own. That one is stable, does at most n log n comparisons
 * whatever the comparison answers, and gives the same result in every run (the
 * stock one asks the clock where to cut).
 */

static uint64_t length(lua_State *L)
{
	lua_Integer n;

	if (lua_type(L, 1) != LUA_TTABLE)
		return 0; /* the stock function says what is wrong */
	n = luaL_len(L, 1);
	return n > 0 ? (uint64_t)n : 0;
}

static uint64_t distance(lua_Integer from, lua_Integer to)
{
	return to < from ? 0 : (uint64_t)to - (uint64_t)from + 1;
}

static int table_insert(lua_State *L)
{
	if (lua_gettop(L) > 2)
		vm_charge(
		    L, distance(lua_tointeger(L, 2), (lua_Integer)length(L)));
	return env_stock(L);
}

static int table_remove(lua_State *L)
{
	if (lua_gettop(L) > 1)
		vm_charge(
		    L, distance(lua_tointeger(L, 2), (lua_Integer)length(L)));
	return env_stock(L);
}

static int table_concat(lua_State *L)
{
	lua_Integer last;

	last = lua_isnoneornil(L, 4) ? (lua_Integer)length(L)
				     : lua_tointeger(L, 4);
	vm_charge(L, distance(luaL_optinteger(L, 3, 1), last));
	return env_stock(L);
}

static int table_move(lua_State *L)
{
	vm_charge(L, distance(lua_tointeger(L, 2), lua_tointeger(L, 3)));
	return env_stock(L);
}

static int table_unpack(lua_State *L)
{
	lua_Integer last;
	uint64_t n;

	last = lua_isnoneornil(L, 3) ? (lua_Integer)length(L)
				     : lua_tointeger(L, 3);
	n = distance(luaL_optinteger(L, 2, 1), last);
	if (n > VM_RESULTS_MAX)
		return luaL_error(L, "too many results to unpack");
	vm_charge(L, n);
	return env_stock(L);
}

static int table_pack(lua_State *L)
{
	vm_charge(L, (uint64_t)lua_gettop(L));
	return env_stock(L);
}

/* ---- sort ---------------------------------------------------------------- */

/* Stack: 1 the table, 2 the comparison or nil, 3 the values. The indices into
 * 3 are what is moved about. */
static bool is_less(lua_State *L, uint32_t a, uint32_t b)
{
	bool less;

	if (lua_isnil(L, 2)) {
		lua_rawgeti(L, 3, a);
		lua_rawgeti(L, 3, b);
		less = lua_compare(L, -2, -1, LUA_OPLT);
		lua_pop(L, 2);
		return less;
	}
	lua_pushvalue(L, 2);
	lua_rawgeti(L, 3, a);
	lua_rawgeti(L, 3, b);
	lua_call(L, 2, 1);
	less = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return less;
}

/* from[lo..mid) and from[mid..hi) are in order; so is to[lo..hi) then. */
static void merge(lua_State *L, const uint32_t *from, uint32_t *to, size_t lo,
		  size_t mid, size_t hi)
{
	size_t a = lo, b = mid;

	for (size_t i = lo; i < hi; i++) {
		if (a < mid && (b >= hi || !is_less(L, from[b], from[a])))
			to[i] = from[a++];
		else
			to[i] = from[b++];
	}
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Bottom up; returns the array that holds the result. */
static const uint32_t *merge_all(lua_State *L, uint32_t *a, uint32_t *b,
				 size_t n)
{
	for (size_t run = 1; run < n; run *= 2) {
		uint32_t *swap = a;

		vm_charge(L, n);
		for (size_t lo = 0; lo < n; lo += 2 * run)
			merge(L, a, b, lo, least(lo + run, n),
			      least(lo + 2 * run, n));
		a = b;
		b = swap;
	}
	return a;
}

static int table_sort(lua_State *L)
{
	const uint32_t *order;
	uint32_t *index;
	size_t n;

	luaL_checktype(L, 1, LUA_TTABLE);
	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	n = length(L);
	if (n < 2)
		return 0;
	luaL_argcheck(L, n < INT32_MAX / 2, 1, "array too big");
	vm_charge(L, n);
	lua_createtable(L, (int)n, 0);
	index = lua_newuserdatauv(L, 2 * n * sizeof(*index), 0);
	for (size_t i = 0; i < n; i++) {
		lua_geti(L, 1, (lua_Integer)i + 1);
		lua_rawseti(L, 3, (lua_Integer)i + 1);
		index[i] = (uint32_t)i + 1;
	}
	order = merge_all(L, index, index + n, n);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, 3, order[i]);
		lua_seti(L, 1, (lua_Integer)i + 1);
	}
	return 0;
}

void env_table(lua_State *L)
{
	static const luaL_Reg wraps[] = {{"concat", table_concat},
					 {"insert", table_insert},
					 {"move", table_move},
					 {"pack", table_pack},
					 {"remove", table_remove},
					 {"unpack", table_unpack},
					 {NULL, NULL}};

	lua_pushcfunction(L, luaopen_table);
	lua_call(L, 0, 1);
	env_wrap(L, wraps);
	lua_pushcfunction(L, table_sort);
	lua_setfield(L, -2, "sort");
}
