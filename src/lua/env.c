#include "lua/vm_int.h"

#include <string.h>

#include <lualib.h>

/*
 * What scripts see. Three tables:
 *   globals   all variables, only C writes to it; reading another name raises
 *   _ENV      of every chunk: empty, reads from globals, refuses writes
 *   _G        a copy for probing: _G.name and rawget(_G, name) give nil
 * So nothing is global but what we put there: a forgotten `local` or a typing
 * error is found where it is made, not as a nil three calls later.
 */

static const char globals_key = 0;
static const char probe_key = 0;
static const char ids_key = 0;

/* ---- undefined variables ------------------------------------------------- */

struct hint {
	const char *name, *text;
};

static const struct hint hints[] = {
    {"coroutine", "tasks are started by the library"},
    {"io", "scripts do not touch files"},
    {"debug", "it is not available to scripts"},
    {"package", "it is not available to scripts"},
    {"load", "use require"},
    {"loadstring", "use require"},
    {"loadfile", "use require"},
    {"dofile", "use require"},
    {"collectgarbage", "it is not available to scripts"},
    {"unpack", "use table.unpack"},
    {"null", "use nil"},
};

static const char *hint_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (strcmp(hints[i].name, name) == 0)
			return hints[i].text;
	return NULL;
}

static int on_undefined(lua_State *L)
{
	const char *name = env_tolstring(L, 2, NULL);
	const char *hint = hint_of(name);

	return luaL_error(L, "undefined variable '%s'%s%s%s", name,
			  hint ? " (" : "", hint ? hint : "", hint ? ")" : "");
}

static int on_assign(lua_State *L)
{
	const char *name = env_tolstring(L, 2, NULL);

	lua_rawgetp(L, LUA_REGISTRYINDEX, &globals_key);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, -2) != LUA_TNIL)
		return luaL_error(L,
				  "'%s' is built in and cannot be replaced: "
				  "write 'local %s'",
				  name, name);
	return luaL_error(L,
			  "assignment to the undeclared variable '%s': "
			  "nothing is global, write 'local %s'",
			  name, name);
}

void vm_set_global(lua_State *L, const char *name)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &globals_key);
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, name);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &probe_key);
	lua_pushstring(L, name);
	lua_pushvalue(L, -4);
	lua_rawset(L, -3);
	lua_pop(L, 3);
}

/* ---- text of a value ----------------------------------------------------- */

/* A number for the value at idx, the same each time; addresses differ from run
 * to run. */
static lua_Integer id_of(lua_State *L, int idx)
{
	lua_Integer id;

	idx = lua_absindex(L, idx);
	luaL_checkstack(L, 4, NULL);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &ids_key);
	lua_pushvalue(L, idx);
	if (lua_rawget(L, -2) == LUA_TNUMBER) {
		id = lua_tointeger(L, -1);
		lua_pop(L, 2);
		return id;
	}
	id = (lua_Integer)++vm_of(L)->serial;
	lua_pop(L, 1);
	lua_pushvalue(L, idx);
	lua_pushinteger(L, id);
	lua_rawset(L, -3);
	lua_pop(L, 1);
	return id;
}

const char *env_tolstring(lua_State *L, int idx, size_t *len)
{
	const char *name;

	idx = lua_absindex(L, idx);
	if (luaL_callmeta(L, idx, "__tostring")) {
		if (!lua_isstring(L, -1))
			luaL_error(L, "'__tostring' must return a string");
		return lua_tolstring(L, -1, len);
	}
	switch (lua_type(L, idx)) {
	case LUA_TNIL:
	case LUA_TBOOLEAN:
	case LUA_TNUMBER:
	case LUA_TSTRING:
		return luaL_tolstring(L, idx, len);
	default:
		break;
	}
	name = luaL_typename(L, idx);
	if (luaL_getmetafield(L, idx, "__name") == LUA_TSTRING)
		name = lua_tostring(L, -1);
	else
		lua_pushnil(L);
	lua_pushfstring(L, "%s: #%I", name, (LUAI_UACINT)id_of(L, idx));
	lua_replace(L, -2);
	return lua_tolstring(L, -1, len);
}

/* ---- making it ----------------------------------------------------------- */

static void make_ids(lua_State *L)
{
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &ids_key);
}

static void set_guard(lua_State *L, const char *event, lua_CFunction fn)
{
	lua_pushcfunction(L, fn);
	lua_setfield(L, -2, event);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
}

/* globals, at idx, gets its guard and the two tables in front of it. */
static void make_fronts(lua_State *L, int globals)
{
	lua_newtable(L); /* _ENV */
	lua_newtable(L);
	lua_pushvalue(L, globals);
	lua_setfield(L, -2, "__index");
	set_guard(L, "__newindex", on_assign);
	lua_setmetatable(L, -2);
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);

	lua_newtable(L); /* _G */
	lua_pushvalue(L, -1);
	lua_setfield(L, globals, "_G");
	lua_pushnil(L);
	while (lua_next(L, globals)) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, -4);
	}
	lua_newtable(L);
	set_guard(L, "__newindex", on_assign);
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &probe_key);

	lua_newtable(L);
	set_guard(L, "__index", on_undefined);
	lua_setmetatable(L, globals);
}

/* Where luaL_traceback looks for the names of functions. */
static void make_names(lua_State *L, int globals)
{
	static const char *const libs[] = {"string", "table", "math", "utf8",
					   "os"};

	lua_newtable(L);
	lua_pushvalue(L, globals);
	lua_setfield(L, -2, "_G");
	for (size_t i = 0; i < ARRAY_LEN(libs); i++) {
		lua_getfield(L, globals, libs[i]);
		lua_setfield(L, -2, libs[i]);
	}
	lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

static void add_lib(lua_State *L, const char *name, void (*fill)(lua_State *))
{
	lua_newtable(L);
	fill(L);
	lua_setfield(L, -2, name);
}

void env_open(lua_State *L)
{
	int globals;

	make_ids(L);
	lua_newtable(L);
	globals = lua_gettop(L);
	lua_pushvalue(L, globals);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &globals_key);
	env_base(L);
	env_require(L);
	add_lib(L, "table", env_table);
	add_lib(L, "os", env_os);
	add_lib(L, "math", env_math);
	add_lib(L, "string", env_string);
	add_lib(L, "utf8", env_utf8);
	make_names(L, globals);
	make_fronts(L, globals);
	lua_settop(L, globals - 1);
}

/* What the stock library at the top has under these names goes into the table
 * below it, and is popped. */
void env_take(lua_State *L, const char *const *names)
{
	for (; *names; names++) {
		lua_getfield(L, -1, *names);
		lua_setfield(L, -3, *names);
	}
	lua_pop(L, 1);
}

/* Puts our functions around those of the stock library at the top into the
 * table below it: the stock function is upvalue 1. Pops the stock library. */
void env_wrap(lua_State *L, const luaL_Reg *wraps)
{
	for (; wraps->name; wraps++) {
		lua_getfield(L, -1, wraps->name);
		lua_pushcclosure(L, wraps->func, 1);
		lua_setfield(L, -3, wraps->name);
	}
	lua_pop(L, 1);
}

int env_stock(lua_State *L)
{
	return lua_tocfunction(L, lua_upvalueindex(1))(L);
}
