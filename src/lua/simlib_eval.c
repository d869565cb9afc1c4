#include "lua/simlib.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"
#include "lua/vm.h"

/* Values from one state to the other in a small format of their own: neither
 * state may raise into the other. */

enum { DEPTH_MAX = 16 };

static void put(struct pack *b, const void *bytes, size_t n)
{
	if (b->bad)
		return;
	if (b->n + n > b->cap) {
		size_t cap = 2 * (b->n + n) + 64;
		char *p = realloc(b->p, cap);

		b->bad = !p;
		if (!p)
			return;
		b->p = p;
		b->cap = cap;
	}
	if (n)
		memcpy(b->p + b->n, bytes, n);
	b->n += n;
}

static void put_str(struct pack *b, const char *s, size_t n)
{
	put(b, "s", 1);
	put(b, &n, sizeof(n));
	put(b, s, n);
}

static void put_value(struct pack *b, lua_State *L, int idx, int depth);

static void put_table(struct pack *b, lua_State *L, int idx, int depth)
{
	if (depth > DEPTH_MAX || !lua_checkstack(L, 4)) {
		b->bad = true;
		return;
	}
	put(b, "{", 1);
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		put_value(b, L, lua_gettop(L) - 1, depth + 1);
		put_value(b, L, lua_gettop(L), depth + 1);
		lua_pop(L, 1);
	}
	put(b, "}", 1);
}

static void put_number(struct pack *b, lua_State *L, int idx)
{
	lua_Integer i = lua_tointeger(L, idx);
	lua_Number d = lua_tonumber(L, idx);

	if (lua_isinteger(L, idx)) {
		put(b, "i", 1);
		put(b, &i, sizeof(i));
	} else {
		put(b, "d", 1);
		put(b, &d, sizeof(d));
	}
}

static void put_value(struct pack *b, lua_State *L, int idx, int depth)
{
	struct str s;

	switch (lua_type(L, idx)) {
	case LUA_TNONE:
	case LUA_TNIL:
		put(b, "n", 1);
		break;
	case LUA_TBOOLEAN:
		put(b, lua_toboolean(L, idx) ? "t" : "f", 1);
		break;
	case LUA_TNUMBER:
		put_number(b, L, idx);
		break;
	case LUA_TSTRING:
		s.p = lua_tolstring(L, idx, &s.n);
		put_str(b, s.p, s.n);
		break;
	case LUA_TTABLE:
		put_table(b, L, idx, depth);
		break;
	default:
		s = str_from(luaL_typename(L, idx));
		put_str(b, s.p, s.n);
	}
}

void pack_put(struct pack *b, lua_State *L, int idx)
{
	put_value(b, L, lua_absindex(L, idx), 0);
}

void pack_fini(struct pack *b)
{
	free(b->p);
	*b = (struct pack){0};
}

static const char *get(const char *p, void *out, size_t n)
{
	memcpy(out, p, n);
	return p + n;
}

/* Pushes one value and returns what follows it. */
static const char *push_value(lua_State *L, const char *p)
{
	char type = *p++;
	lua_Integer i;
	lua_Number d;
	size_t n;

	luaL_checkstack(L, 4, "nested values");
	switch (type) {
	case 't':
	case 'f':
		lua_pushboolean(L, type == 't');
		return p;
	case 'i':
		p = get(p, &i, sizeof(i));
		lua_pushinteger(L, i);
		return p;
	case 'd':
		p = get(p, &d, sizeof(d));
		lua_pushnumber(L, d);
		return p;
	case 's':
		p = get(p, &n, sizeof(n));
		lua_pushlstring(L, p, n);
		return p + n;
	case '{':
		lua_newtable(L);
		while (*p != '}') {
			p = push_value(L, p);
			p = push_value(L, p);
			lua_rawset(L, -3);
		}
		return p + 1;
	default:
		lua_pushnil(L);
		return p;
	}
}

void pack_push(const struct pack *b, lua_State *L)
{
	if (b->bad || !b->n)
		lua_pushnil(L);
	else
		push_value(L, b->p);
}

/* ---- asking a script's state ------------------------------------------ */

struct question {
	const char *name;
	struct pack in, out;
};

/* In the script's state: require("tandem.inspect")[name](argument). */
static int ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);

	vm_require(L, "tandem.inspect");
	if (lua_getfield(L, -1, q->name) != LUA_TFUNCTION)
		return luaL_error(L, "tandem.inspect has no function '%s'",
				  q->name);
	pack_push(&q->in, L);
	lua_call(L, 1, 1);
	pack_put(&q->out, L, -1);
	return 0;
}

/* Frees the answer even when pushing it fails. */
static int push_answer(lua_State *L)
{
	pack_push(lua_touserdata(L, 1), L);
	return 1;
}

/* eval(node, worker, name, argument) -> true, value | nil, why */
int simlib_eval(lua_State *L)
{
	struct sim *s = simlib_world(L);
	unsigned node = simlib_node(L, 2), worker = simlib_worker(L, 3, node);
	struct script *script = sim_node_script(s, node, worker);
	struct core *core = sim_node_core(s, node, worker);
	struct question q = {.name = luaL_checkstring(L, 4)};
	struct vm *vm;
	int err, status;

	luaL_argcheck(L, script, 2, "has no script");
	pack_put(&q.in, L, 5);
	vm = vm_of(script_lua(script));
	/* The core learns the time first, and runs what was made ready last. */
	core_expire(core, sim_node_now(s, node));
	err = vm_do(vm, ask, &q, "an inspection", NULL);
	core_expire(core, sim_node_now(s, node));
	sim_node_touched(s, node);
	pack_fini(&q.in);
	if (err) {
		pack_fini(&q.out);
		lua_pushnil(L);
		lua_pushstring(L, vm_error(vm));
		return 2;
	}
	lua_pushboolean(L, true);
	lua_pushcfunction(L, push_answer);
	lua_pushlightuserdata(L, &q.out);
	status = lua_pcall(L, 1, 1, 0);
	pack_fini(&q.out);
	return status == LUA_OK ? 2 : lua_error(L);
}
