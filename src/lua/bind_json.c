#include "lua/script_int.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * JSON. Encoding sorts the keys, so that the same value gives the same bytes;
 * a table with the keys 1..n is an array, any other, an empty one included, an
 * object. Decoding gives nil for null.
 */

enum { DEPTH_MAX = 100 };

/* ---- encoding: into a luaL_Buffer-free list of pieces ---- */

/* Text grows in a userdata at a fixed place of the stack. */
struct out {
	lua_State *L;
	int slot;
	char *p;
	size_t n, cap;
};

static void grow(struct out *o, size_t more)
{
	size_t cap = o->cap * 2 > o->n + more ? o->cap * 2 : o->n + more;
	char *p = lua_newuserdatauv(o->L, cap, 0);

	memcpy(p, o->p, o->n);
	lua_replace(o->L, o->slot);
	o->p = p;
	o->cap = cap;
}

static void put(struct out *o, const char *p, size_t n)
{
	if (n > o->cap - o->n)
		grow(o, n);
	memcpy(o->p + o->n, p, n);
	o->n += n;
	vm_charge(o->L, n / SCRIPT_CHARGED);
}

static void put_c(struct out *o, char c)
{
	put(o, &c, 1);
}

static void put_string(struct out *o, struct str s)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	char hex[7] = "\\u00";

	put_c(o, '"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		const char *at = c ? strchr(from, c) : NULL;

		if (at) {
			put_c(o, '\\');
			put_c(o, to[at - from]);
		} else if (c < 0x20 || c == 0x7f) {
			str_put_hex(hex + 4, 2, c);
			put(o, hex, 6);
		} else {
			put_c(o, (char)c);
		}
	}
	put_c(o, '"');
}

static void put_number(struct out *o, int idx)
{
	char text[64];
	int n;

	if (lua_isinteger(o->L, idx)) {
		n = snprintf(text, sizeof(text), LUA_INTEGER_FMT,
			     lua_tointeger(o->L, idx));
	} else {
		lua_Number v = lua_tonumber(o->L, idx);

		if (!isfinite(v))
			vm_raise(o->L, "json: a number is not finite");
		n = snprintf(text, sizeof(text), "%.14g", v);
		if (strtod(text, NULL) != v)
			n = snprintf(text, sizeof(text), "%.17g", v);
	}
	put(o, text, (size_t)n);
}

static void put_value(struct out *o, int depth);

/* How many pairs, and whether the keys are 1..n. */
static size_t survey(lua_State *L, int t, bool *is_array_r)
{
	lua_Integer len = (lua_Integer)lua_rawlen(L, t);
	size_t n = 0;

	*is_array_r = true;
	lua_pushnil(L);
	while (lua_next(L, t)) {
		if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 ||
		    lua_tointeger(L, -2) > len)
			*is_array_r = false;
		n++;
		lua_pop(L, 1);
	}
	if (n == 0 || n != (size_t)len)
		*is_array_r = false;
	vm_charge(L, n);
	return n;
}

static void put_array(struct out *o, int t, size_t n, int depth)
{
	put_c(o, '[');
	for (size_t i = 1; i <= n; i++) {
		if (i > 1)
			put_c(o, ',');
		lua_rawgeti(o->L, t, (lua_Integer)i);
		put_value(o, depth);
		lua_pop(o->L, 1);
	}
	put_c(o, ']');
}

static int compare(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void put_object(struct out *o, int t, size_t n, int depth)
{
	lua_State *L = o->L;
	struct str *keys = lua_newuserdatauv(L, (n + 1) * sizeof(*keys), 0);
	size_t i = 0;

	lua_pushnil(L);
	while (lua_next(L, t)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			vm_raise(L,
				 "json: keys of an object are strings, "
				 "not %s",
				 luaL_typename(L, -2));
		keys[i++] = script_str(L, -2);
		lua_pop(L, 1);
	}
	qsort(keys, n, sizeof(*keys), compare);
	put_c(o, '{');
	for (i = 0; i < n; i++) {
		if (i > 0)
			put_c(o, ',');
		put_string(o, keys[i]);
		put_c(o, ':');
		lua_pushlstring(L, keys[i].p, keys[i].n);
		lua_rawget(L, t);
		put_value(o, depth);
		lua_pop(L, 1);
	}
	put_c(o, '}');
	lua_pop(L, 1);
}

static void put_table(struct out *o, int depth)
{
	int t = lua_gettop(o->L);
	bool is_array;
	size_t n;

	if (depth >= DEPTH_MAX)
		vm_raise(o->L, "json: nested too deeply");
	if (luaL_getmetafield(o->L, t, "__pairs") != LUA_TNIL)
		vm_raise(o->L, "json: plain tables only");
	luaL_checkstack(o->L, LUA_MINSTACK, "json: nested too deeply");
	n = survey(o->L, t, &is_array);
	if (is_array)
		put_array(o, t, n, depth + 1);
	else
		put_object(o, t, n, depth + 1);
}

/* The value at the top. */
static void put_value(struct out *o, int depth)
{
	lua_State *L = o->L;

	switch (lua_type(L, -1)) {
	case LUA_TNIL:
		put(o, "null", 4);
		break;
	case LUA_TBOOLEAN:
		if (lua_toboolean(L, -1))
			put(o, "true", 4);
		else
			put(o, "false", 5);
		break;
	case LUA_TNUMBER:
		put_number(o, lua_gettop(L));
		break;
	case LUA_TSTRING:
		put_string(o, script_str(L, -1));
		break;
	case LUA_TTABLE:
		put_table(o, depth);
		break;
	default:
		vm_raise(L, "json: a %s cannot be encoded",
			 luaL_typename(L, -1));
	}
}

static int l_encode(lua_State *L)
{
	struct out o = {.L = L, .slot = 2, .cap = 256};

	luaL_checkany(L, 1);
	lua_settop(L, 1);
	o.p = lua_newuserdatauv(L, o.cap, 0);
	lua_pushvalue(L, 1);
	put_value(&o, 0);
	lua_pushlstring(L, o.p, o.n);
	return 1;
}

/* ---- decoding ---- */

struct in {
	lua_State *L;
	const char *start, *p, *end;
};

static void fail(const struct in *in, const char *what)
{
	vm_raise(in->L, "json: %s at byte %d", what,
		 (int)(in->p - in->start) + 1);
}

static void skip_space(struct in *in)
{
	while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' ||
				   *in->p == '\n' || *in->p == '\r'))
		in->p++;
}

static bool take(struct in *in, char c)
{
	skip_space(in);
	if (in->p == in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

static void expect(struct in *in, char c)
{
	char what[] = "'?' expected";

	what[1] = c;
	if (!take(in, c))
		fail(in, what);
}

static bool take_word(struct in *in, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(in->end - in->p) < n || memcmp(in->p, word, n) != 0)
		return false;
	in->p += n;
	return true;
}

static unsigned hex4(struct in *in)
{
	unsigned v = 0;

	if (in->end - in->p < 4)
		fail(in, "four hex digits expected");
	for (int i = 0; i < 4; i++) {
		char c = *in->p;

		v *= 16;
		if (c >= '0' && c <= '9')
			v += (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v += (unsigned)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v += (unsigned)(c - 'A' + 10);
		else
			fail(in, "hex digit expected");
		in->p++;
	}
	return v;
}

static void add_utf8(luaL_Buffer *b, unsigned c)
{
	if (c < 0x80) {
		luaL_addchar(b, (char)c);
		return;
	}
	if (c < 0x800) {
		luaL_addchar(b, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			luaL_addchar(b, (char)(0xe0 | c >> 12));
		} else {
			luaL_addchar(b, (char)(0xf0 | c >> 18));
			luaL_addchar(b, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		luaL_addchar(b, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	luaL_addchar(b, (char)(0x80 | (c & 0x3f)));
}

static void take_unicode(struct in *in, luaL_Buffer *b)
{
	unsigned c = hex4(in), low;

	if (c >= 0xdc00 && c < 0xe000)
		fail(in, "lone surrogate");
	if (c >= 0xd800 && c < 0xdc00) {
		if (!take_word(in, "\\u"))
			fail(in, "lone surrogate");
		low = hex4(in);
		if (low < 0xdc00 || low >= 0xe000)
			fail(in, "lone surrogate");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	add_utf8(b, c);
}

static void take_escape(struct in *in, luaL_Buffer *b)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = in->p < in->end ? *in->p++ : '\0';
	const char *at = c ? strchr(from, c) : NULL;

	if (at)
		luaL_addchar(b, to[at - from]);
	else if (c == 'u')
		take_unicode(in, b);
	else
		fail(in, "unknown escape");
}

/* After the opening quote. */
static void take_string(struct in *in)
{
	luaL_Buffer b;

	luaL_buffinit(in->L, &b);
	for (;;) {
		const char *from = in->p;

		while (in->p < in->end && *in->p != '"' && *in->p != '\\' &&
		       (unsigned char)*in->p >= 0x20)
			in->p++;
		luaL_addlstring(&b, from, (size_t)(in->p - from));
		if (in->p == in->end || (unsigned char)*in->p < 0x20)
			fail(in, "unfinished string");
		if (*in->p++ == '"')
			break;
		take_escape(in, &b);
	}
	luaL_pushresult(&b);
}

static void take_digits(struct in *in)
{
	if (in->p == in->end || *in->p < '0' || *in->p > '9')
		fail(in, "digit expected");
	while (in->p < in->end && *in->p >= '0' && *in->p <= '9')
		in->p++;
}

static void take_number(struct in *in)
{
	const char *from = in->p;

	if (*in->p == '-')
		in->p++;
	if (in->p < in->end && *in->p == '0')
		in->p++;
	else
		take_digits(in);
	if (in->p < in->end && *in->p == '.') {
		in->p++;
		take_digits(in);
	}
	if (in->p < in->end && (*in->p == 'e' || *in->p == 'E')) {
		in->p++;
		if (in->p < in->end && (*in->p == '+' || *in->p == '-'))
			in->p++;
		take_digits(in);
	}
	lua_pushlstring(in->L, from, (size_t)(in->p - from));
	if (!lua_stringtonumber(in->L, lua_tostring(in->L, -1)))
		fail(in, "number expected");
	lua_remove(in->L, -2);
}

static void take_value(struct in *in, int depth);

static void take_array(struct in *in, int depth)
{
	lua_Integer n = 0;

	lua_newtable(in->L);
	if (take(in, ']'))
		return;
	do {
		take_value(in, depth);
		lua_rawseti(in->L, -2, ++n);
	} while (take(in, ','));
	expect(in, ']');
}

static void take_object(struct in *in, int depth)
{
	lua_newtable(in->L);
	if (take(in, '}'))
		return;
	do {
		expect(in, '"');
		take_string(in);
		expect(in, ':');
		take_value(in, depth);
		lua_rawset(in->L, -3);
	} while (take(in, ','));
	expect(in, '}');
}

/* Pushes it. */
static void take_value(struct in *in, int depth)
{
	lua_State *L = in->L;

	if (depth > DEPTH_MAX)
		fail(in, "nested too deeply");
	luaL_checkstack(L, LUA_MINSTACK, "json: nested too deeply");
	vm_charge(L, 1);
	skip_space(in);
	if (in->p == in->end)
		fail(in, "value expected");
	if (take(in, '{'))
		take_object(in, depth + 1);
	else if (take(in, '['))
		take_array(in, depth + 1);
	else if (take(in, '"'))
		take_string(in);
	else if (take_word(in, "null"))
		lua_pushnil(L);
	else if (take_word(in, "true"))
		lua_pushboolean(L, 1);
	else if (take_word(in, "false"))
		lua_pushboolean(L, 0);
	else if (*in->p == '-' || (*in->p >= '0' && *in->p <= '9'))
		take_number(in);
	else
		fail(in, "value expected");
}

static int l_decode(lua_State *L)
{
	struct str s = script_str(L, 1);
	struct in in = {L, s.p, s.p, s.p + s.n};

	vm_charge(L, s.n / SCRIPT_CHARGED);
	take_value(&in, 0);
	skip_space(&in);
	if (in.p != in.end)
		fail(&in, "nothing more expected");
	return 1;
}

void bind_json(lua_State *L)
{
	static const luaL_Reg functions[] = {
	    {"json_encode", l_encode}, {"json_decode", l_decode}, {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
