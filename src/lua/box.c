#include "lua/box.h"

#include <assert.h>
#include <string.h>

#include "lua/vm_int.h"

/* The userdata is a pointer to it. Without memory Lua may collect a userdata
 * and not call its finalizer; a slot must not be left with what Lua has freed.
 */
struct box {
	struct list link;  /* vm.boxes */
	void *ptr;         /* NULL: emptied */
	struct box **slot; /* where C keeps us; NULL with ptr */
	uint64_t id;
};

static struct box *box_at(lua_State *L, int idx)
{
	struct box **held = lua_touserdata(L, idx);

	return held ? *held : NULL;
}

static struct box *box_new(lua_State *L)
{
	struct vm *vm = vm_of(L);
	struct box *b = limit_alloc(vm, NULL, 0, sizeof(*b));

	if (!b) {
		/* as Lua does: what is garbage may be room enough */
		lua_gc(L, LUA_GCCOLLECT);
		b = limit_alloc(vm, NULL, 0, sizeof(*b));
	}
	if (!b)
		luaL_error(L, "not enough memory");
	*b = (struct box){.id = ++vm->serial};
	list_append(&vm->boxes, &b->link);
	return b;
}

static void forget(struct vm *vm, struct box *b)
{
	list_remove(&b->link);
	limit_alloc(vm, b, sizeof(*b), 0);
}

static void box_free(struct vm *vm, struct box *b)
{
	if (b->slot)
		*b->slot = NULL;
	forget(vm, b);
}

/* Most slots were in userdata, which are gone by now. */
void box_fini(struct vm *vm)
{
	list_each_safe (it, &vm->boxes)
		forget(vm, container_of(it, struct box, link));
}

/* Registry: light userdata of the box -> its userdata, weak: how C gets from
 * its box to a value it can push. */
static const char values_key = 0;

static void push_values(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &values_key) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_newtable(L);
	lua_newtable(L);
	lua_pushliteral(L, "v");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &values_key);
}

/* ---- metamethods --------------------------------------------------------- */

static int on_collect(lua_State *L)
{
	struct box **held = lua_touserdata(L, 1);

	if (*held)
		box_free(vm_of(L), *held);
	*held = NULL;
	return 0;
}

static int on_tostring(lua_State *L)
{
	const struct box *b = box_at(L, 1);

	luaL_getmetafield(L, 1, "__name");
	lua_pushfstring(L, "%s: #%I%s", lua_tostring(L, -1), (LUAI_UACINT)b->id,
			b->ptr ? "" : " (gone)");
	return 1;
}

/* Upvalues: the methods, the getter. */
static int on_index(lua_State *L)
{
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	lua_pop(L, 1);
	return lua_tocfunction(L, lua_upvalueindex(2))(L);
}

/* Of the table of methods. Upvalue: the name of the type. */
static int on_missing(lua_State *L)
{
	return vm_raise(L, "%s has no field '%s'",
			lua_tostring(L, lua_upvalueindex(1)),
			env_tolstring(L, 2, NULL));
}

static int on_newindex(lua_State *L)
{
	luaL_getmetafield(L, 1, "__name");
	return vm_raise(L, "field '%s' of %s cannot be set",
			env_tolstring(L, 2, NULL), lua_tostring(L, -1));
}

static void set_index(lua_State *L, const struct box_type *type)
{
	static const luaL_Reg none[] = {{NULL, NULL}};

	lua_newtable(L);
	luaL_setfuncs(L, type->methods ? type->methods : none, 0);
	if (type->get) {
		lua_pushcfunction(L, type->get);
		lua_pushcclosure(L, on_index, 2);
	} else {
		lua_createtable(L, 0, 1);
		lua_pushstring(L, type->name);
		lua_pushcclosure(L, on_missing, 1);
		lua_setfield(L, -2, "__index");
		lua_setmetatable(L, -2);
	}
	lua_setfield(L, -2, "__index");
}

/* A handle is known by its metatable, of which the address suffices: it stays
 * where it is for as long as the registry has it. */
static void note_meta(lua_State *L, const struct box_type *type)
{
	struct vm *vm = vm_of(L);

	assert(vm->metas < VM_BOX_TYPES);
	vm->meta[vm->metas++] = (struct vm_meta){type, lua_topointer(L, -1)};
}

static const void *meta_of(const struct vm *vm, const struct box_type *type)
{
	unsigned i = 0;

	while (i < vm->metas && vm->meta[i].type != type)
		i++;
	return i < vm->metas ? vm->meta[i].at : NULL;
}

void box_register(lua_State *L, const struct box_type *type)
{
	lua_newtable(L);
	lua_pushstring(L, type->name);
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushcfunction(L, on_collect);
	lua_setfield(L, -2, "__gc");
	lua_pushcfunction(L, on_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushcfunction(L, type->set ? type->set : on_newindex);
	lua_setfield(L, -2, "__newindex");
	set_index(L, type);
	/* box_order asks for this one. */
	lua_pushlightuserdata(L, (void *)&values_key);
	lua_rawsetp(L, -2, &values_key);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, type);
	note_meta(L, type);
}

void box_push_methods(lua_State *L, const struct box_type *type)
{
	assert(type->get);
	lua_rawgetp(L, LUA_REGISTRYINDEX, type);
	lua_getfield(L, -1, "__index");
	lua_getupvalue(L, -1, 1);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

/* ---- handles ------------------------------------------------------------- */

/* The handle an object has, pushed; false when it has none. */
static bool push_old(lua_State *L, struct box *b)
{
	if (!b)
		return false;
	push_values(L);
	lua_rawgetp(L, -1, b);
	lua_remove(L, -2);
	if (box_at(L, -1) == b)
		return true;
	/* Found dead by the collector, its finalizer has yet to run. */
	lua_pop(L, 1);
	return false;
}

void box_push(lua_State *L, void *ptr, struct box **slot,
	      const struct box_type *type)
{
	struct box **held, *b;

	assert(ptr);
	luaL_checkstack(L, 5, NULL);
	if (push_old(L, *slot))
		return;
	held = lua_newuserdatauv(L, sizeof(*held), type->values);
	*held = NULL;
	*held = b = box_new(L);
	lua_rawgetp(L, LUA_REGISTRYINDEX, type);
	assert(lua_istable(L, -1)); /* box_register was called */
	lua_setmetatable(L, -2);
	push_values(L);
	lua_pushvalue(L, -2);
	lua_rawsetp(L, -2, b);
	lua_pop(L, 1);
	/* From here on nothing can fail. */
	if (*slot)
		(*slot)->slot = NULL;
	b->ptr = ptr;
	b->slot = slot;
	*slot = b;
}

static struct box *find(lua_State *L, int idx, const void *meta)
{
	const void *its;

	if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx))
		return NULL;
	its = lua_topointer(L, -1);
	lua_pop(L, 1);
	return its == meta ? box_at(L, idx) : NULL;
}

static struct box *find_type(lua_State *L, int idx, const struct box_type *type)
{
	return find(L, idx, meta_of(vm_of(L), type));
}

void *box_test(lua_State *L, int idx, const struct box_type *type)
{
	struct box *b = find_type(L, idx, type);

	return b ? b->ptr : NULL;
}

void *box_peek(lua_State *L, int idx, const struct box_type *type)
{
	struct box *b = find_type(L, idx, type);

	if (!b)
		vm_raise(L, "bad argument #%d (%s expected, got %s)", idx,
			 type->name, luaL_typename(L, idx));
	return b->ptr;
}

void *box_get(lua_State *L, int idx, const struct box_type *type)
{
	void *ptr = box_peek(L, idx, type);

	if (!ptr)
		vm_raise(L, "%s", type->gone);
	return ptr;
}

void box_empty(struct box **slot)
{
	struct box *b = *slot;

	if (!b)
		return;
	b->ptr = NULL;
	b->slot = NULL;
	*slot = NULL;
}

bool box_order(lua_State *L, int idx, uint64_t *id_r)
{
	bool is_box;

	if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx))
		return false;
	lua_rawgetp(L, -1, &values_key);
	is_box = lua_touserdata(L, -1) == &values_key;
	lua_pop(L, 2);
	if (is_box)
		*id_r = box_at(L, idx)->id;
	return is_box;
}

uint64_t box_id(lua_State *L, int idx)
{
	uint64_t id = 0;

	if (!box_order(L, idx, &id))
		luaL_argerror(L, idx, "handle expected");
	return id;
}
