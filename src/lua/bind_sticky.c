#include "lua/script_int.h"

#include <string.h>
#include "core/shared.h"

/*
 * Which server challenged a caller (semantics 24): a table of the node's shared
 * values with a name no script can have by accident. It is bounded like any
 * other; when it is full a key is just not remembered.
 */

static const struct str table = {"tandem.sticky", 13};

/* "pool\0key" in the scratch arena */
static struct str full_key(lua_State *L)
{
	struct str pool = script_str(L, 1), key = script_str(L, 2);
	struct buf b;

	buf_arena(&b, core_scratch(script_core(L)), pool.n + key.n + 1);
	buf_put(&b, pool);
	buf_char(&b, '\0');
	buf_put(&b, key);
	if (!buf_ok(&b))
		vm_raise(L, "not enough memory");
	return buf_str(&b);
}

static int l_get(lua_State *L)
{
	struct core *core = script_core(L);
	struct shared_value v =
	    shared_get(core_node(core)->shared, table, full_key(L),
		       core_scratch(core), script_of(L)->now.mono);

	script_push(L, v.type == SHARED_STR ? v.s : STR_NONE);
	return 1;
}

/* core.sticky_set(pool, key, server, ttl) */
static int l_set(lua_State *L)
{
	struct core *core = script_core(L);
	struct shared_value v = {.type = SHARED_STR, .s = script_str(L, 3)};
	int64_t ttl = script_us(L, 4, "sticky_set");
	int err = shared_set(core_node(core)->shared, table, full_key(L), &v,
			     ttl ? ttl : 1, script_of(L)->now.mono);

	lua_pushboolean(L, err == 0);
	return 1;
}

void bind_sticky(lua_State *L)
{
	static const luaL_Reg functions[] = {
	    {"sticky_get", l_get}, {"sticky_set", l_set}, {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
