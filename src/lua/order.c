#include "lua/vm_int.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

/*
 * pairs and next in an order that is the same in every run. Lua's own order
 * depends on a hash seed nobody can set, and on addresses.
 *
 * The order of keys: numbers, ascending; strings, bytewise; false, true;
 * handles (box.h), in the order they were made; objects, which are tables
 * whose metatable has an __order: the name of the field, a number or a string,
 * that they are ordered by. Other keys have no order and raise.
 *
 * pairs takes a snapshot of the keys: fields may be changed and removed while
 * it runs; removed ones are skipped, added ones are not visited.
 */

enum rank {
	RANK_NUMBER,
	RANK_STRING,
	RANK_BOOLEAN,
	RANK_HANDLE,
	RANK_OBJECT_NUMBER, /* by a field that is a number */
	RANK_OBJECT_STRING,
};

/* What a key is ordered by. Strings are borrowed. */
struct key {
	uint8_t rank;
	bool is_float;
	int slot;      /* where the key itself is kept */
	uint64_t head; /* strings: the first bytes; booleans, handles */
	union {
		lua_Integer i;
		lua_Number f;
		struct str s;
	} u;
};

enum {
	INLINE_MAX = 40, /* keys kept as upvalues instead of in a table */
	FEW = 8,         /* sorted by insertion */
};

/* ---- comparing ----------------------------------------------------------- */

static int sign(bool less, bool more)
{
	return less ? -1 : more;
}

static int compare_numbers(const struct key *a, const struct key *b)
{
	long double x, y; /* holds both kinds exactly */

	if (!a->is_float && !b->is_float)
		return sign(a->u.i<b->u.i, a->u.i> b->u.i);
	x = a->is_float ? a->u.f : (long double)a->u.i;
	y = b->is_float ? b->u.f : (long double)b->u.i;
	return sign(x<y, x> y);
}

static int compare(const struct key *a, const struct key *b)
{
	if (a->rank != b->rank)
		return sign(a->rank < b->rank, true);
	if (a->rank == RANK_NUMBER || a->rank == RANK_OBJECT_NUMBER)
		return compare_numbers(a, b);
	if (a->head != b->head)
		return sign(a->head < b->head, true);
	if (a->rank == RANK_STRING || a->rank == RANK_OBJECT_STRING)
		return str_cmp(a->u.s, b->u.s);
	return 0;
}

static int compare_void(const void *a, const void *b)
{
	return compare(a, b);
}

static void sort(struct key *keys, size_t n)
{
	if (n > FEW) {
		qsort(keys, n, sizeof(*keys), compare_void);
		return;
	}
	for (size_t i = 1; i < n; i++) {
		struct key k = keys[i];
		size_t j = i;

		for (; j > 0 && compare(&k, &keys[j - 1]) < 0; j--)
			keys[j] = keys[j - 1];
		keys[j] = k;
	}
}

/* ---- what a key is ordered by -------------------------------------------- */

/* The first bytes, so that most comparisons need no more. */
static uint64_t head_of(struct str s)
{
	uint64_t head = 0;

	if (s.n >= sizeof(head)) {
		memcpy(&head, s.p, sizeof(head));
		return be64toh(head);
	}
	for (size_t i = 0; i < s.n; i++)
		head |= (uint64_t)(unsigned char)s.p[i] << (56 - 8 * i);
	return head;
}

static bool read_value(lua_State *L, int idx, struct key *out)
{
	switch (lua_type(L, idx)) {
	case LUA_TNUMBER:
		out->rank = RANK_NUMBER;
		out->is_float = !lua_isinteger(L, idx);
		if (out->is_float)
			out->u.f = lua_tonumber(L, idx);
		else
			out->u.i = lua_tointeger(L, idx);
		return true;
	case LUA_TSTRING:
		out->rank = RANK_STRING;
		out->u.s.p = lua_tolstring(L, idx, &out->u.s.n);
		out->head = head_of(out->u.s);
		return true;
	case LUA_TBOOLEAN:
		out->rank = RANK_BOOLEAN;
		out->head = (uint64_t)lua_toboolean(L, idx);
		return true;
	default:
		return false;
	}
}

/* By the field that its __order names; a string stays alive in it. */
static bool read_object(lua_State *L, int idx, struct key *out)
{
	bool ok;

	if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
		return false;
	lua_pushliteral(L, "__order");
	if (lua_rawget(L, -2) != LUA_TSTRING) {
		lua_pop(L, 2);
		return false;
	}
	lua_rawget(L, idx);
	ok = read_value(L, -1, out) && out->rank != RANK_BOOLEAN;
	out->rank =
	    out->rank == RANK_NUMBER ? RANK_OBJECT_NUMBER : RANK_OBJECT_STRING;
	lua_pop(L, 2);
	return ok;
}

/* idx is absolute. False when the key has no order. */
static bool read_key(lua_State *L, int idx, struct key *out)
{
	if (read_value(L, idx, out))
		return true;
	if (!box_order(L, idx, &out->head))
		return read_object(L, idx, out);
	out->rank = RANK_HANDLE;
	return true;
}

static void refuse_key(lua_State *L, int idx, const char *what)
{
	luaL_error(L,
		   "%s: the table has a %s as a key, which has no order that "
		   "would be the same in every run: use its name as the key, "
		   "or keep a list",
		   what, luaL_typename(L, idx));
}

static void check_distinct(lua_State *L, const struct key *keys, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (keys[i].rank >= RANK_OBJECT_NUMBER &&
		    compare(&keys[i - 1], &keys[i]) == 0)
			luaL_error(L, "pairs: two objects used as keys have "
				      "the same value in the field they are "
				      "ordered by");
}

/* ---- the iterator of pairs ----------------------------------------------- */

/*
 * Most tables are a sequence, or have a few names for keys: each has a simple
 * iterator. Others walk the keys sorted before 1, the sequence 1..n, and the
 * rest. Upvalues of that: 1 how many were visited, 2 n, 3 how many come before
 * the sequence, 4 the table with the other keys or, with those in upvalues,
 * their number.
 */
enum { UP_AT = 1, UP_SEQ, UP_BEFORE, UP_KEYS, UP_INLINE };

/* Upvalue: n. The control variable says where we are. */
static int step_sequence(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, 2);
	lua_Integer n = lua_tointeger(L, lua_upvalueindex(1));

	luaL_checktype(L, 1, LUA_TTABLE);
	while (++i <= n) {
		lua_pushinteger(L, i);
		if (lua_rawgeti(L, 1, i) != LUA_TNIL)
			return 2;
		lua_pop(L, 2);
		vm_charge(L, 1);
	}
	lua_pushnil(L);
	return 1;
}

/* Upvalues: how many were visited, how many there are, the keys. */
static int step_names(lua_State *L)
{
	int at = (int)lua_tointeger(L, lua_upvalueindex(1));
	int n = (int)lua_tointeger(L, lua_upvalueindex(2));

	luaL_checktype(L, 1, LUA_TTABLE);
	while (at < n) {
		lua_pushvalue(L, lua_upvalueindex(3 + at));
		at++;
		lua_pushvalue(L, -1);
		if (lua_rawget(L, 1) == LUA_TNIL) {
			lua_pop(L, 2);
			continue;
		}
		lua_pushinteger(L, at);
		lua_replace(L, lua_upvalueindex(1));
		return 2;
	}
	lua_pushinteger(L, at);
	lua_replace(L, lua_upvalueindex(1));
	lua_pushnil(L);
	return 1;
}

/* Pushes the other key with this index, from 0; false past the last. */
static bool push_other(lua_State *L, lua_Integer i)
{
	if (lua_type(L, lua_upvalueindex(UP_KEYS)) == LUA_TTABLE)
		return lua_rawgeti(L, lua_upvalueindex(UP_KEYS), i + 1) !=
		       LUA_TNIL;
	if (i >= lua_tointeger(L, lua_upvalueindex(UP_KEYS)))
		return false;
	lua_pushvalue(L, lua_upvalueindex(UP_INLINE + (int)i));
	return true;
}

/* Pushes the key with this index and its value; false past the last. */
static bool push_pair(lua_State *L, lua_Integer at, lua_Integer seq,
		      lua_Integer before)
{
	if (at >= before && at < before + seq) {
		lua_pushinteger(L, at - before + 1);
		lua_rawgeti(L, 1, at - before + 1);
		return true;
	}
	if (!push_other(L, at < before ? at : at - seq))
		return false;
	lua_pushvalue(L, -1);
	lua_rawget(L, 1);
	return true;
}

static int step(lua_State *L)
{
	lua_Integer at = lua_tointeger(L, lua_upvalueindex(UP_AT));
	lua_Integer seq = lua_tointeger(L, lua_upvalueindex(UP_SEQ));
	lua_Integer before = lua_tointeger(L, lua_upvalueindex(UP_BEFORE));

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	for (; push_pair(L, at, seq, before); at++) {
		if (!lua_isnil(L, -1)) {
			lua_pushinteger(L, at + 1);
			lua_replace(L, lua_upvalueindex(UP_AT));
			return 2;
		}
		lua_settop(L, 1);
		vm_charge(L, 1);
	}
	lua_pushinteger(L, at);
	lua_replace(L, lua_upvalueindex(UP_AT));
	lua_pushnil(L);
	return 1;
}

/* A fraction such as 1.5 belongs into the middle of the sequence. */
static bool is_between(const struct key *k, lua_Integer seq)
{
	return k->rank == RANK_NUMBER && k->is_float && k->u.f > 1 &&
	       k->u.f < (lua_Number)seq;
}

static lua_Integer count_before(const struct key *keys, size_t n)
{
	struct key one = {.rank = RANK_NUMBER, .u.i = 1};
	lua_Integer before = 0;

	while ((size_t)before < n && compare(&keys[before], &one) < 0)
		before++;
	return before;
}

static void push_head(lua_State *L, lua_Integer seq, lua_Integer before)
{
	lua_pushinteger(L, 0);
	lua_pushinteger(L, seq);
	lua_pushinteger(L, before);
}

/* The keys are on the stack from `base` on; n <= INLINE_MAX. False, and nothing
 * pushed, when the sequence is not to be walked in one go. */
static bool push_small(lua_State *L, int base, size_t n, lua_Integer seq)
{
	struct key keys[INLINE_MAX];

	for (size_t i = 0; i < n; i++) {
		keys[i].slot = base + (int)i;
		if (!read_key(L, keys[i].slot, &keys[i]))
			refuse_key(L, keys[i].slot, "pairs");
		if (is_between(&keys[i], seq))
			return false;
	}
	sort(keys, n);
	check_distinct(L, keys, n);
	if (seq == 0)
		lua_pushinteger(L, 0);
	else
		push_head(L, seq, count_before(keys, n));
	lua_pushinteger(L, (lua_Integer)n);
	for (size_t i = 0; i < n; i++)
		lua_pushvalue(L, keys[i].slot);
	if (seq == 0)
		lua_pushcclosure(L, step_names, 2 + (int)n);
	else
		lua_pushcclosure(L, step, UP_KEYS + (int)n);
	return true;
}

static void push_sequence(lua_State *L, lua_Integer seq)
{
	lua_pushinteger(L, seq);
	lua_pushcclosure(L, step_sequence, 1);
}

/* The keys other than 1..seq of the table at 1, into the table `all` and, what
 * they are ordered by, into the array. */
static bool collect(lua_State *L, int all, struct key *keys, size_t n,
		    lua_Integer seq)
{
	size_t i = 0;

	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 &&
		    lua_tointeger(L, -1) <= seq)
			continue;
		if (i >= n || !read_key(L, lua_gettop(L), &keys[i]))
			refuse_key(L, lua_gettop(L), "pairs");
		if (is_between(&keys[i], seq))
			return false;
		lua_pushvalue(L, -1);
		lua_rawseti(L, all, (lua_Integer)++i);
		keys[i - 1].slot = (int)i;
	}
	return true;
}

static void push_large(lua_State *L, size_t n, lua_Integer seq)
{
	struct key *keys;
	int all, sorted, top = lua_gettop(L);

	vm_charge(L, (uint64_t)n * 8);
	lua_createtable(L, (int)n, 0);
	lua_createtable(L, (int)n, 0);
	sorted = lua_gettop(L);
	all = sorted - 1;
	keys = lua_newuserdatauv(L, n * sizeof(*keys), 0);
	if (!collect(L, all, keys, n, seq)) {
		lua_settop(L, top);
		push_large(L, n + (size_t)seq, 0);
		return;
	}
	sort(keys, n);
	check_distinct(L, keys, n);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, all, keys[i].slot);
		lua_rawseti(L, sorted, (lua_Integer)i + 1);
	}
	push_head(L, seq, count_before(keys, n));
	lua_pushvalue(L, sorted);
	lua_pushcclosure(L, step, UP_KEYS);
}

/* One walk: how long the sequence 1.. is that Lua's own order begins with, and
 * how many other keys there are. The first of those stay on the stack. */
static size_t survey(lua_State *L, lua_Integer *seq_r)
{
	lua_Integer seq = 0;
	size_t n = 0;

	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		if (n == 0 && lua_isinteger(L, -1) &&
		    lua_tointeger(L, -1) == seq + 1) {
			seq++;
			continue;
		}
		if (n++ < INLINE_MAX)
			lua_pushvalue(L, -1);
	}
	*seq_r = seq;
	return n;
}

static int after_metamethod(lua_State *L, int status, lua_KContext ctx)
{
	(void)L;
	(void)status;
	(void)ctx;
	return 3;
}

int order_pairs(lua_State *L)
{
	lua_Integer seq;
	size_t n;
	int base;

	luaL_checkany(L, 1);
	lua_settop(L, 1);
	if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
		lua_pushvalue(L, 1);
		lua_callk(L, 1, 3, 0, after_metamethod);
		return 3;
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkstack(L, 2 * INLINE_MAX + LUA_MINSTACK, NULL);
	base = lua_gettop(L) + 1;
	n = survey(L, &seq);
	vm_charge(L, (uint64_t)seq + n);
	if (n == 0)
		push_sequence(L, seq);
	else if (n > INLINE_MAX)
		push_large(L, n, seq);
	else if (!push_small(L, base, n, seq))
		push_large(L, n + (size_t)seq, 0);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

/* ---- next ---------------------------------------------------------------- */

/* The least key above `after` (NULL: of all), which ends up on the stack at
 * `best`; false when there is none. */
static bool find_next(lua_State *L, int best, const struct key *after)
{
	struct key least, k;
	bool found = false, ordered = false;
	uint64_t n = 0;

	lua_pushnil(L);
	while (lua_next(L, 1)) {
		lua_pop(L, 1);
		n++;
		if (!read_key(L, lua_gettop(L), &k)) {
			if (after)
				refuse_key(L, lua_gettop(L), "next");
			/* It may still say that the table is not empty. */
			if (!found)
				lua_copy(L, -1, best);
			found = true;
			continue;
		}
		if ((after && compare(&k, after) <= 0) ||
		    (ordered && compare(&k, &least) >= 0))
			continue;
		least = k;
		found = ordered = true;
		lua_copy(L, -1, best);
	}
	vm_charge(L, n);
	return found;
}

int order_next(lua_State *L)
{
	struct key after;
	bool first = lua_isnoneornil(L, 2);

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (!first && !read_key(L, 2, &after))
		refuse_key(L, 2, "next");
	lua_pushnil(L);
	if (!find_next(L, 3, first ? NULL : &after)) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushvalue(L, -1);
	lua_rawget(L, 1);
	return 2;
}
