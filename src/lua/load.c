#include "lua/vm_int.h"

#include <string.h>

#include "util/err.h"

/*
 * Modules and the script itself. All text comes from the loader, and only
 * while loading; afterwards `require` gives what is there. A module is a
 * function of its own in the one environment of the state.
 */

/* Registry: name -> value; a module that is being loaded is `loading` below. */
static const char modules_key = 0;
static const char busy_key = 0;
/* Registry: array of the names being loaded, outermost first. */
static const char chain_key = 0;

static void push_table(lua_State *L, const char *key)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* Without a byte order mark and a #! line, but with that line's end: line
 * numbers stay right. */
static struct str skip_first(struct str text)
{
	if (str_starts(text, STR("\xef\xbb\xbf")))
		text = str_sub(text, 3, text.n);
	if (str_starts(text, STR("#!")))
		text = str_sub(text, str_find(text, '\n'), text.n);
	return text;
}

/* Asks the loader and compiles. [-0, +1, e] */
static void compile(lua_State *L, const char *name, const char *what)
{
	struct vm *vm = vm_of(L);
	const char *file = NULL, *why = NULL;
	struct str text = STR_NONE;

	if (vm->conf.host.loader)
		text =
		    vm->conf.host.loader(vm->conf.host.ctx, name, &file, &why);
	if (!text.p)
		vm_raise(L, "%s '%s' not found: %s", what, name,
			 why ? why : "no such file");
	text = skip_first(text);
	lua_pushfstring(L, "@%s", file ? file : name);
	if (luaL_loadbufferx(L, text.p ? text.p : "", text.n,
			     lua_tostring(L, -1), "t") != LUA_OK)
		lua_error(L);
	lua_remove(L, -2);
}

/* ["a", "b"], "a" -> "a -> b -> a" at the top. */
static void push_circle(lua_State *L, int chain, const char *name)
{
	luaL_Buffer b;
	lua_Integer n = luaL_len(L, chain);

	luaL_buffinit(L, &b);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, chain, i);
		luaL_addvalue(&b);
		luaL_addstring(&b, " -> ");
	}
	luaL_addstring(&b, name);
	luaL_pushresult(&b);
}

static int run_module(lua_State *L)
{
	compile(L, lua_tostring(L, 1), "module");
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1))
		lua_pushboolean(L, 1);
	return 1;
}

/* Runs the module and remembers what it gave; when it fails, that it is not
 * loaded: a script may catch that. [-0, +1, e] */
static void load_module(lua_State *L, int modules, const char *name)
{
	int chain, status;

	push_table(L, &chain_key);
	chain = lua_gettop(L);
	lua_pushstring(L, name);
	lua_rawseti(L, chain, luaL_len(L, chain) + 1);
	lua_pushlightuserdata(L, (void *)&busy_key);
	lua_setfield(L, modules, name);
	lua_pushcfunction(L, vm_on_error);
	lua_pushcfunction(L, run_module);
	lua_pushstring(L, name);
	status = lua_pcall(L, 1, 1, -3);
	lua_pushnil(L);
	lua_rawseti(L, chain, luaL_len(L, chain));
	if (status == LUA_OK)
		lua_pushvalue(L, -1);
	else
		lua_pushnil(L);
	lua_setfield(L, modules, name);
	if (status != LUA_OK)
		lua_error(L);
	lua_replace(L, chain);
	lua_settop(L, chain);
}

void vm_require(lua_State *L, const char *name)
{
	int modules;

	luaL_checkstack(L, LUA_MINSTACK, "too many nested modules");
	push_table(L, &modules_key);
	modules = lua_gettop(L);
	if (lua_getfield(L, modules, name) == LUA_TNIL) {
		lua_pop(L, 1);
		if (!vm_of(L)->loading)
			luaL_error(L,
				   "module '%s' is not loaded, and modules "
				   "are loaded only while the script is: "
				   "require it at the top of the file",
				   name);
		load_module(L, modules, name);
	} else if (lua_touserdata(L, -1) == &busy_key) {
		push_table(L, &chain_key);
		push_circle(L, lua_gettop(L), name);
		luaL_error(L, "modules require each other: %s",
			   lua_tostring(L, -1));
	}
	lua_remove(L, modules);
}

static int base_require(lua_State *L)
{
	vm_require(L, luaL_checkstring(L, 1));
	return 1;
}

void env_require(lua_State *L)
{
	lua_pushcfunction(L, base_require);
	lua_setfield(L, -2, "require");
}

void vm_set_module(lua_State *L, const char *name)
{
	push_table(L, &modules_key);
	lua_insert(L, -2);
	lua_setfield(L, -2, name);
	lua_pop(L, 1);
}

static int load_script(lua_State *L)
{
	compile(L, lua_touserdata(L, 1), "script");
	lua_call(L, 0, 0);
	return 0;
}

int vm_load(struct vm *vm, const char *name)
{
	int err;

	if (vm_inside(vm) || vm->loaded)
		return ERR_STATE;
	vm->loaded = vm->loading = true;
	err = vm_do(vm, load_script, (void *)name, "the main part of a file",
		    "it runs while the script is loading; move it into a "
		    "handler or a task");
	vm->loading = false;
	if (!err)
		return 0;
	return strcmp(vm->err, "not enough memory") == 0 ? ERR_NOMEM
							 : ERR_CONFIG;
}
