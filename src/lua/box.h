/*
 * Handles: userdata that point at C objects and that C can empty. A script may
 * keep a handle as long as it likes; once the object is gone every use raises
 * "transaction is gone" (the text of its type), never a crash. Handles own
 * nothing: collecting one only unlinks it.
 */
#ifndef LUA_BOX_H
#define LUA_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lua.h>
#include <lauxlib.h>

/* The C object keeps a `struct box *`, NULL at first: its one handle. */
struct box;

/* Constant, one per type; its address identifies the type. */
struct box_type {
	const char *name; /* "tandem.request": tostring, argument errors */
	const char *gone; /* "transaction is gone" */
	const luaL_Reg *methods; /* {NULL, NULL} ends; may be NULL */
	/* obj.key for a key that is no method: key at index 2, handle at 1;
	 * as a lua_CFunction. NULL: such a key raises "no field 'x'". */
	lua_CFunction get;
	lua_CFunction set; /* obj.key = value; NULL: raises */
	int values;        /* user values (lua_getiuservalue) */
};

/* Makes the metatable of the type; once per state, protected. Leaves it on
 * the stack, so that __len, __eq and the like can be added. */
void box_register(lua_State *L, const struct box_type *type);

/* Pushes the table of the type's methods, to add more: it has a `get`. */
void box_push_methods(lua_State *L, const struct box_type *type);

/* Pushes the handle of the object `ptr`: the one it has (*slot), or a new one,
 * which is then linked with *slot. ptr is not NULL; slot must not move while
 * linked. Raises on lack of memory, and then nothing changed. */
void box_push(lua_State *L, void *ptr, struct box **slot,
	      const struct box_type *type);
/* The object of the handle at idx; raises for another type, and with
 * type->gone when it was emptied. Never NULL. */
void *box_get(lua_State *L, int idx, const struct box_type *type);
/* The same without raising for an empty one: NULL. */
void *box_peek(lua_State *L, int idx, const struct box_type *type);
/* NULL when the value is not a full handle of the type. Never raises. */
void *box_test(lua_State *L, int idx, const struct box_type *type);
/* The object is going. Callable anywhere; *slot becomes NULL, and NULL inside
 * is fine. */
void box_empty(struct box **slot);
/* Serial number of the handle in its state; the order of handles as keys. */
uint64_t box_id(lua_State *L, int idx);

#endif
