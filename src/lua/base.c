#include "lua/vm_int.h"

#include <lualib.h>

/*
 * The basic functions that differ from the stock ones. What a script cannot
 * catch it cannot catch here either: pcall and xpcall pass the error of a
 * condemned entry on.
 */

/* extra: slots below the `true` that a success returns first. */
static int finish_pcall(lua_State *L, int status, lua_KContext extra)
{
	struct vm *vm = vm_of(L);

	/* Those of a task that was suspended meanwhile are not counted. */
	if (vm->e.pcalls > 0)
		vm->e.pcalls--;
	if (status == LUA_OK || status == LUA_YIELD)
		return lua_gettop(L) - (int)extra;
	if (vm_condemned(L))
		return lua_error(L);
	vm_charge(L, VM_ERROR_COST);
	lua_pushboolean(L, 0);
	lua_insert(L, -2);
	return 2;
}

static void begin_pcall(lua_State *L)
{
	struct vm *vm = vm_of(L);

	if (vm->e.pcalls >= VM_PCALLS_MAX)
		luaL_error(L, "too many nested pcalls");
	vm->e.pcalls++;
}

static int base_pcall(lua_State *L)
{
	int status;

	luaL_checkany(L, 1);
	begin_pcall(L);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	status =
	    lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_pcall);
	return finish_pcall(L, status, 0);
}

/* Never the script's handler itself: the hook is off while a hook raises, and
 * a handler called then would run without any limit. */
static int on_error(lua_State *L)
{
	if (vm_condemned(L))
		return 1;
	/* An error in a handler calls the handler. */
	vm_charge(L, VM_ERROR_COST);
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int base_xpcall(lua_State *L)
{
	int status;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	begin_pcall(L);
	lua_pushvalue(L, 1); /* function, handler, arguments */
	lua_insert(L, 3);
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, on_error, 1);
	lua_replace(L, 1);
	lua_pushboolean(L, 1);
	lua_replace(L, 2); /* on_error, true, function, arguments */
	status =
	    lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 1, 1, finish_pcall);
	return finish_pcall(L, status, 1);
}

static void refuse_field(lua_State *L, const char *field, const char *why)
{
	lua_pushstring(L, field);
	if (lua_rawget(L, 2) != LUA_TNIL)
		luaL_error(L, "a metatable with %s is not possible: %s", field,
			   why);
	lua_pop(L, 1);
}

static int base_setmetatable(lua_State *L)
{
	if (lua_istable(L, 2)) {
		refuse_field(L, "__gc",
			     "it would run at a time nobody can tell");
		refuse_field(L, "__mode",
			     "what it holds would depend on the collector");
	}
	return env_stock(L);
}

static int base_tostring(lua_State *L)
{
	luaL_checkany(L, 1);
	env_tolstring(L, 1, NULL);
	return 1;
}

static int base_tonumber(lua_State *L)
{
	size_t n = 0;

	if (lua_type(L, 1) == LUA_TSTRING)
		lua_tolstring(L, 1, &n);
	vm_charge(L, n / VM_BYTES_PER_UNIT);
	return env_stock(L);
}

static int base_print(lua_State *L)
{
	struct vm *vm = vm_of(L);
	int n = lua_gettop(L);
	luaL_Buffer b;
	size_t len;
	const char *s;

	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, '\t');
		env_tolstring(L, i, NULL);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
	s = lua_tolstring(L, -1, &len);
	vm_charge(L, len / VM_BYTES_PER_UNIT);
	if (vm->conf.host.log)
		vm->conf.host.log(vm->conf.host.ctx, LOG_INFO,
				  (struct str){s, len}, STR(""));
	return 0;
}

void env_base(lua_State *L)
{
	static const char *const stock[] = {
	    "assert", "error",  "getmetatable", "ipairs", "rawequal", "rawget",
	    "rawlen", "rawset", "select",       "type",   "_VERSION", NULL};
	static const luaL_Reg wraps[] = {{"setmetatable", base_setmetatable},
					 {"tonumber", base_tonumber},
					 {NULL, NULL}};
	static const luaL_Reg ours[] = {{"next", order_next},
					{"pairs", order_pairs},
					{"pcall", base_pcall},
					{"print", base_print},
					{"tostring", base_tostring},
					{"xpcall", base_xpcall},
					{NULL, NULL}};

	/* Into the table of globals that the state came with, which no script
	 * will see. */
	lua_pushcfunction(L, luaopen_base);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -2);
	lua_pushvalue(L, -2);
	env_take(L, stock);
	lua_pushvalue(L, -2);
	env_wrap(L, wraps);
	luaL_setfuncs(L, ours, 0);
	lua_pop(L, 2);
}
