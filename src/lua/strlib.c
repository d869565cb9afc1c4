#include "lua/vm_int.h"

#include <string.h>

#include <lualib.h>

#include "lua/strmatch.h"

/*
 * string: find, match, gmatch and gsub over our own matcher; format without
 * addresses; the rest are the stock functions, which charge for what they do.
 * utf8: the stock functions, likewise. There is no dump, pack or unpack.
 */

enum { SPACE = 1536 }; /* for patterns of up to about 40 bytes */

/* A matcher for the subject at 1 and the pattern at 2. Pushes one value. */
static void init(lua_State *L, struct strmatch *m, bool anchor, void *space)
{
	struct str pattern;

	m->src.p = luaL_checklstring(L, 1, &m->src.n);
	pattern.p = luaL_checklstring(L, 2, &pattern.n);
	if (strmatch_space(pattern.n) > SPACE)
		space = lua_newuserdatauv(L, strmatch_space(pattern.n), 0);
	else
		lua_pushnil(L);
	strmatch_init(m, L, pattern, anchor, space);
}

/* ---- find and match ------------------------------------------------------ */

/* Argument i as an offset from 0 into n bytes; more than n when outside. */
static size_t offset(lua_State *L, int i, size_t n)
{
	lua_Integer at = luaL_optinteger(L, i, 1);

	if (at > 0)
		return (size_t)at - 1;
	if (at == 0 || at < -(lua_Integer)n)
		return 0;
	return n - (size_t)-at;
}

static bool is_plain(struct str pattern)
{
	for (size_t i = 0; i < pattern.n; i++)
		if (pattern.p[i] && strchr("^$*+?.([%-", pattern.p[i]))
			return false;
	return true;
}

static int find_plain(lua_State *L, struct str src, struct str what, size_t at)
{
	const char *s;

	vm_charge(L, (src.n - at) / VM_BYTES_PER_UNIT);
	s = what.n ? memmem(src.p + at, src.n - at, what.p, what.n)
		   : src.p + at;
	if (!s) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, s - src.p + 1);
	lua_pushinteger(L, s - src.p + (lua_Integer)what.n);
	return 2;
}

static int find(lua_State *L, bool positions)
{
	_Alignas(16) char space[SPACE];
	struct strmatch m;
	struct str src, pattern;
	const char *s, *e;
	size_t at;

	src.p = luaL_checklstring(L, 1, &src.n);
	pattern.p = luaL_checklstring(L, 2, &pattern.n);
	at = offset(L, 3, src.n);
	if (at > src.n) {
		lua_pushnil(L);
		return 1;
	}
	if (positions && (lua_toboolean(L, 4) || is_plain(pattern)))
		return find_plain(L, src, pattern, at);
	init(L, &m, true, space);
	e = strmatch_find(&m, src.p + at, NULL, &s);
	if (!e) {
		lua_pushnil(L);
		return 1;
	}
	if (!positions)
		return strmatch_push_all(&m, s, e, true);
	lua_pushinteger(L, s - src.p + 1);
	lua_pushinteger(L, e - src.p);
	return 2 + strmatch_push_all(&m, s, e, false);
}

static int string_find(lua_State *L)
{
	return find(L, true);
}

static int string_match(lua_State *L)
{
	return find(L, false);
}

/* ---- gmatch -------------------------------------------------------------- */

struct gmatch {
	struct strmatch m;
	const char *s, *last; /* where to go on; where the last match ended */
	_Alignas(16) char space[];
};

/* Upvalues: subject, pattern, struct gmatch. */
static int gmatch_step(lua_State *L)
{
	struct gmatch *g = lua_touserdata(L, lua_upvalueindex(3));
	const char *s, *e;

	g->m.L = L;
	g->m.steps = g->m.charged = 0;
	e = g->s <= g->m.src.p + g->m.src.n
		? strmatch_find(&g->m, g->s, g->last, &s)
		: NULL;
	if (!e) {
		g->s = g->m.src.p + g->m.src.n + 1;
		return 0;
	}
	g->s = g->last = e;
	return strmatch_push_all(&g->m, s, e, true);
}

static int string_gmatch(lua_State *L)
{
	struct str src, pattern;
	struct gmatch *g;
	size_t at;

	src.p = luaL_checklstring(L, 1, &src.n);
	pattern.p = luaL_checklstring(L, 2, &pattern.n);
	at = offset(L, 3, src.n);
	lua_settop(L, 2);
	g = lua_newuserdatauv(L, sizeof(*g) + strmatch_space(pattern.n), 0);
	g->m.src = src;
	g->s = src.p + (at > src.n ? src.n + 1 : at);
	g->last = NULL;
	strmatch_init(&g->m, L, pattern, false, g->space);
	lua_pushcclosure(L, gmatch_step, 3);
	return 1;
}

/* ---- gsub ---------------------------------------------------------------- */

/* %0 to %9 and %% in the replacement string at 3. */
static void add_string(struct strmatch *m, luaL_Buffer *b, const char *from,
		       const char *to)
{
	size_t n;
	const char *r = lua_tolstring(m->L, 3, &n), *end = r + n, *p;

	vm_charge(m->L, n / VM_BYTES_PER_UNIT);
	while ((p = memchr(r, '%', (size_t)(end - r)))) {
		luaL_addlstring(b, r, (size_t)(p - r));
		p++;
		if (p < end && *p == '%') {
			luaL_addchar(b, '%');
		} else if (p < end && *p == '0') {
			luaL_addlstring(b, from, (size_t)(to - from));
		} else if (p < end && *p >= '1' && *p <= '9') {
			strmatch_push(m, *p - '1', from, to);
			luaL_tolstring(m->L, -1, NULL);
			lua_remove(m->L, -2);
			luaL_addvalue(b);
		} else {
			luaL_error(m->L, "invalid use of '%%' in replacement "
					 "string");
		}
		r = p + 1;
	}
	luaL_addlstring(b, r, (size_t)(end - r));
}

/* What a function or table gives for a match; nil and false keep the text.
 * True when the text changed. */
static bool add_value(struct strmatch *m, luaL_Buffer *b, const char *from,
		      const char *to)
{
	lua_State *L = m->L;

	switch (lua_type(L, 3)) {
	case LUA_TFUNCTION:
		lua_pushvalue(L, 3);
		lua_call(L, strmatch_push_all(m, from, to, true), 1);
		break;
	case LUA_TTABLE:
		strmatch_push(m, 0, from, to);
		lua_gettable(L, 3);
		break;
	default:
		add_string(m, b, from, to);
		return true;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(b, from, (size_t)(to - from));
		return false;
	}
	if (!lua_isstring(L, -1))
		luaL_error(L, "invalid replacement value (a %s)",
			   luaL_typename(L, -1));
	luaL_addvalue(b);
	return true;
}

/* Replaces up to `most` matches; how many there were. */
static lua_Integer replace(struct strmatch *m, luaL_Buffer *b, lua_Integer most,
			   bool *changed_r)
{
	const char *s = m->src.p, *end = s + m->src.n, *last = NULL;
	const char *from, *to;
	lua_Integer n = 0;

	while (n < most) {
		to = strmatch_find(m, s, last, &from);
		if (!to)
			break;
		n++;
		luaL_addlstring(b, s, (size_t)(from - s));
		*changed_r |= add_value(m, b, from, to);
		s = last = to;
		if (m->anchored)
			break;
	}
	luaL_addlstring(b, s, (size_t)(end - s));
	return n;
}

static int string_gsub(lua_State *L)
{
	_Alignas(16) char space[SPACE];
	struct strmatch m;
	lua_Integer most, n;
	luaL_Buffer b;
	bool changed = false;
	int type;

	luaL_checkstring(L, 1);
	luaL_checkstring(L, 2);
	type = lua_type(L, 3);
	luaL_argexpected(L,
			 type == LUA_TNUMBER || type == LUA_TSTRING ||
			     type == LUA_TFUNCTION || type == LUA_TTABLE,
			 3, "string/function/table");
	lua_settop(L, 4);
	init(L, &m, true, space);
	most = luaL_optinteger(L, 4, (lua_Integer)m.src.n + 1);
	luaL_buffinit(L, &b);
	n = replace(&m, &b, most, &changed);
	luaL_pushresult(&b);
	if (!changed)
		lua_pushvalue(L, 1);
	lua_pushinteger(L, n);
	return 2;
}

/* ---- format -------------------------------------------------------------- */

/* %s of a table, function or handle would print an address: such an argument
 * is made a string first. */
static int string_format(lua_State *L)
{
	size_t n;
	const char *s = luaL_checklstring(L, 1, &n), *end = s + n;
	int arg = 1;

	vm_charge(L, n);
	while (s < end) {
		if (*s++ != '%')
			continue;
		if (s < end && *s == '%') {
			s++;
			continue;
		}
		while (s < end && strchr("-+#0 .123456789", *s) && *s)
			s++;
		if (s >= end)
			break;
		arg++;
		if (*s == 'p')
			return luaL_error(L, "string.format: '%%p' is not "
					     "available, addresses differ "
					     "from run to run");
		if (*s == 's' && arg <= lua_gettop(L) &&
		    lua_type(L, arg) > LUA_TSTRING) {
			env_tolstring(L, arg, NULL);
			lua_replace(L, arg);
		}
		s++;
	}
	return env_stock(L);
}

/* ---- the rest ------------------------------------------------------------ */

static int string_rep(lua_State *L)
{
	lua_Integer n = luaL_checkinteger(L, 2);

	/* Of the empty string, too: the stock function counts. */
	vm_charge(L, n > 0 ? (uint64_t)n / 8 : 0);
	return env_stock(L);
}

/* Functions that read or write their first argument once. */
static int charge_length(lua_State *L)
{
	size_t n = 0;

	if (lua_type(L, 1) == LUA_TSTRING)
		lua_tolstring(L, 1, &n);
	vm_charge(L, n / VM_BYTES_PER_UNIT);
	return env_stock(L);
}

static int charge_arguments(lua_State *L)
{
	vm_charge(L, (uint64_t)lua_gettop(L));
	return env_stock(L);
}

/* Functions with one result per byte or character from i to j. */
static int charge_results(lua_State *L)
{
	size_t n, from, to;

	luaL_checklstring(L, 1, &n);
	from = offset(L, 2, n);
	to = lua_isnoneornil(L, 3) ? from : offset(L, 3, n);
	if (to > n)
		to = n;
	if (to > from && to - from >= VM_RESULTS_MAX)
		return luaL_error(L, "string slice too long");
	vm_charge(L, to > from ? to - from : 0);
	return env_stock(L);
}

void env_string(lua_State *L)
{
	static const char *const stock[] = {"len", NULL};
	static const luaL_Reg wraps[] = {{"byte", charge_results},
					 {"char", charge_arguments},
					 {"format", string_format},
					 {"lower", charge_length},
					 {"rep", string_rep},
					 {"reverse", charge_length},
					 {"sub", charge_length},
					 {"upper", charge_length},
					 {NULL, NULL}};
	static const luaL_Reg ours[] = {{"find", string_find},
					{"gmatch", string_gmatch},
					{"gsub", string_gsub},
					{"match", string_match},
					{NULL, NULL}};

	lua_pushcfunction(L, luaopen_string);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -2);
	lua_pushvalue(L, -2);
	env_take(L, stock);
	lua_pop(L, 1);
	env_wrap(L, wraps);
	luaL_setfuncs(L, ours, 0);
	/* s:find() finds ours; the arithmetic of strings stays. */
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
}

void env_utf8(lua_State *L)
{
	static const char *const stock[] = {"charpattern", NULL};
	static const luaL_Reg wraps[] = {
	    {"char", charge_arguments}, {"codepoint", charge_results},
	    {"codes", charge_length},   {"len", charge_length},
	    {"offset", charge_length},  {NULL, NULL}};

	lua_pushcfunction(L, luaopen_utf8);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -2);
	lua_pushvalue(L, -2);
	env_take(L, stock);
	lua_pop(L, 1);
	env_wrap(L, wraps);
}
