#include "lua/script_int.h"

#include <string.h>
#include "core/shared.h"

/* core.shared(name): a table all workers see. The block is its name. */

struct named {
	struct script *s;
	struct box *box;
	size_t n;
	char name[];
};

static int l_get(lua_State *L);
static int l_set(lua_State *L);
static int l_incr(lua_State *L);

static const luaL_Reg methods[] = {
    {"get", l_get}, {"set", l_set}, {"incr", l_incr}, {NULL, NULL}};

static const struct box_type shared_type = {.name = "tandem.Shared",
					    .gone = "the table is gone",
					    .methods = methods,
					    .values = 1};

static struct shared *check(lua_State *L, struct str *table_r)
{
	struct named *n = box_get(L, 1, &shared_type);

	*table_r = (struct str){n->name, n->n};
	return core_node(script_core(L))->shared;
}

static int l_get(lua_State *L)
{
	struct str table;
	struct shared *sh = check(L, &table);
	struct script *s = script_of(L);
	struct shared_value v = shared_get(sh, table, script_str(L, 2),
					   core_scratch(s->core), s->now.mono);

	switch (v.type) {
	case SHARED_NIL:
		lua_pushnil(L);
		break;
	case SHARED_STR:
		vm_charge(L, v.s.n / SCRIPT_CHARGED);
		script_push(L, v.s);
		break;
	case SHARED_INT:
		lua_pushinteger(L, v.i);
		break;
	case SHARED_NUM:
		lua_pushnumber(L, v.d);
		break;
	case SHARED_BOOL:
		lua_pushboolean(L, v.i != 0);
		break;
	}
	return 1;
}

static struct shared_value read_value(lua_State *L, int idx)
{
	struct shared_value v = {.type = SHARED_NIL};

	switch (lua_type(L, idx)) {
	case LUA_TNONE:
	case LUA_TNIL:
		break;
	case LUA_TSTRING:
		v.type = SHARED_STR;
		v.s = script_str(L, idx);
		vm_charge(L, v.s.n / SCRIPT_CHARGED);
		break;
	case LUA_TNUMBER:
		v.type = lua_isinteger(L, idx) ? SHARED_INT : SHARED_NUM;
		v.i = lua_tointeger(L, idx);
		v.d = lua_tonumber(L, idx);
		break;
	case LUA_TBOOLEAN:
		v.type = SHARED_BOOL;
		v.i = lua_toboolean(L, idx);
		break;
	default:
		vm_raise(L,
			 "shared:set: a string, a number, a boolean or "
			 "nil expected, got %s (core.json_encode makes a "
			 "string of a table)",
			 luaL_typename(L, idx));
	}
	return v;
}

static int64_t read_ttl(lua_State *L, int idx)
{
	int64_t us;

	if (lua_isnoneornil(L, idx))
		return 0;
	us = script_us(L, idx, "shared: ttl");
	return us ? us : 1;
}

static int finish(lua_State *L, int err)
{
	if (err == ERR_LIMIT)
		return vm_raise(L, "shared: the table is full");
	return err ? script_raise(L, "shared", err) : 0;
}

static int l_set(lua_State *L)
{
	struct str table;
	struct shared *sh = check(L, &table);
	struct str key = script_str(L, 2);
	struct shared_value v = read_value(L, 3);

	return finish(L, shared_set(sh, table, key, &v, read_ttl(L, 4),
				    script_of(L)->now.mono));
}

static int l_incr(lua_State *L)
{
	struct str table;
	struct shared *sh = check(L, &table);
	struct str key = script_str(L, 2);
	lua_Integer by = luaL_optinteger(L, 3, 1);
	lua_Integer init = luaL_optinteger(L, 4, 0);
	int64_t value;
	int err = shared_incr(sh, table, key, by, init, read_ttl(L, 5),
			      script_of(L)->now.mono, &value);

	if (err == ERR_STATE)
		return vm_raise(L,
				"shared:incr: the value of '%s' is no "
				"number",
				key.p);
	if (err)
		return finish(L, err);
	lua_pushinteger(L, value);
	return 1;
}

static int l_shared(lua_State *L)
{
	struct str name = script_str(L, 1);
	struct named *n = lua_newuserdatauv(L, sizeof(*n) + name.n, 0);

	n->s = script_of(L);
	n->box = NULL;
	n->n = name.n;
	memcpy(n->name, name.p, name.n);
	block_push_handle(L, n, &n->box, &shared_type);
	return 1;
}

void bind_shared(lua_State *L)
{
	box_register(L, &shared_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, l_shared);
	lua_setfield(L, -2, "shared");
}
