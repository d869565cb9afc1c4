/*
 * string.find, match, gmatch and gsub against those of stock Lua: thousands of
 * random patterns, malformed ones included, must give the same results and the
 * same errors.
 */
#include <lualib.h>

#include "support/luavm.h"
#include "util/list.h"

enum { TEXT = 4096 };

/* What a call gave, as text. */
struct outcome {
	char text[TEXT];
	size_t n;
};

static void add(struct outcome *o, const char *s, size_t n)
{
	if (n > sizeof(o->text) - 1 - o->n)
		n = sizeof(o->text) - 1 - o->n;
	memcpy(o->text + o->n, s, n);
	o->n += n;
	o->text[o->n] = '\0';
}

static void add_value(struct outcome *o, lua_State *L, int idx)
{
	size_t n;
	const char *s;

	add(o, lua_typename(L, lua_type(L, idx)), 3);
	if (lua_isinteger(L, idx))
		add(o, ":", 1);
	s = luaL_tolstring(L, idx, &n);
	add(o, s, n);
	add(o, "|", 1);
	lua_pop(L, 1);
}

/* A replacement function: the first capture, or nothing if it is a vowel. */
static int replace(lua_State *L)
{
	const char *s = lua_tostring(L, 1);

	if (s && strchr("aeiou", *s))
		return 0;
	lua_pushfstring(L, "<%s>", s ? s : "?");
	return 1;
}

struct trial {
	const char *function;
	struct str s, p, r;
	int init;
	bool plain;
	enum { BY_STRING, BY_TABLE, BY_FUNCTION } by;
};

static void push_replacement(lua_State *L, const struct trial *t)
{
	if (t->by == BY_STRING) {
		lua_pushlstring(L, t->r.p, t->r.n);
	} else if (t->by == BY_FUNCTION) {
		lua_pushcfunction(L, replace);
	} else {
		lua_newtable(L);
		lua_pushliteral(L, "[x]");
		lua_setfield(L, -2, "a");
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "b");
		lua_pushinteger(L, 7);
		lua_rawseti(L, -2, 1);
	}
}

/* Calls the function at the top with what belongs to it. */
static int call(lua_State *L, const struct trial *t)
{
	int nargs = 2;

	lua_pushlstring(L, t->s.p, t->s.n);
	lua_pushlstring(L, t->p.p, t->p.n);
	if (strcmp(t->function, "gsub") == 0) {
		push_replacement(L, t);
		nargs++;
	}
	if (t->init) {
		lua_pushinteger(L, t->init);
		nargs++;
	}
	if (t->plain && strcmp(t->function, "find") == 0 && t->init) {
		lua_pushboolean(L, 1);
		nargs++;
	}
	return lua_pcall(L, nargs, LUA_MULTRET, 0);
}

/* The iterator at the top, until its end. */
static void iterate(lua_State *L, struct outcome *o)
{
	int f = lua_gettop(L);

	for (int i = 0; i < 100; i++) {
		lua_pushvalue(L, f);
		if (lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) {
			add(o, "error:", 6);
			add_value(o, L, -1);
			return;
		}
		if (lua_gettop(L) == f || lua_isnil(L, f + 1))
			return;
		for (int k = f + 1; k <= lua_gettop(L); k++)
			add_value(o, L, k);
		lua_settop(L, f);
	}
}

static void run(lua_State *L, const struct trial *t, struct outcome *o)
{
	int top = lua_gettop(L);

	o->n = 0;
	o->text[0] = '\0';
	lua_getglobal(L, "string");
	lua_getfield(L, -1, t->function);
	lua_remove(L, -2);
	if (call(L, t) != LUA_OK)
		add(o, "error:", 6);
	if (strcmp(t->function, "gmatch") == 0 && lua_isfunction(L, -1))
		iterate(L, o);
	else
		for (int i = top + 1; i <= lua_gettop(L); i++)
			add_value(o, L, i);
	lua_settop(L, top);
}

/* ---- random trials ------------------------------------------------------- */

static uint32_t pick(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % n;
}

static const char *const pieces[] = {
    "a",    "b",      "c",       "ab",     ".",      "%a",          "%d",
    "%s",   "%w",     "%W",      "%x",     "%p",     "%u",          "%.",
    "%%",   "%-",     "[ab]",    "[^ab]",  "[a-c]",  "[%a]",        "[%w_]",
    "[]a]", "[^]a]",  "[a-]",    "[%]]",   "[a%-c]", "(",           ")",
    "()",   "(a)",    "(.-)",    "(%a+)",  "%1",     "%2",          "%b()",
    "%bab", "%f[%a]", "%f[^%w]", "%f[%z]", "*",      "+",           "-",
    "?",    "$",      "^",       "%g",     "%c",     "%l",          " ",
    "1",    ";",      "%D*",     ".*",     ".-",     "a*",          "b+",
    "c?",   "a-",     "[^;]*",   "\xe9",   "%S+",    "[\x80-\xff]", "%A",
    "%z",   "%0",
};

/* Likely to be malformed. */
static const char *const broken[] = {
    "%",   "[",  "[^",    "[%",     "[a",     "%b",  "%bx",  "%f",
    "%fa", "(",  ")",     "%9",     "[a-",    "%f[", "[a-%", "[]",
    "[^]", "%3", "[z-a]", "[%a-z]", "[a-%%]", "\0x",
};

static struct str compose(uint64_t *seed, char *out, size_t cap)
{
	struct str s = {out, 0};
	uint32_t n = pick(seed, 6);

	for (uint32_t i = 0; i <= n; i++) {
		bool bad = pick(seed, 14) == 0;
		const char *x =
		    bad ? broken[pick(seed, (uint32_t)ARRAY_LEN(broken))]
			: pieces[pick(seed, (uint32_t)ARRAY_LEN(pieces))];
		size_t len = *x ? strlen(x) : 1;

		if (s.n + len > cap)
			break;
		memcpy(out + s.n, x, len);
		s.n += len;
	}
	if (pick(seed, 5) == 0 && s.n < cap) {
		memmove(out + 1, out, s.n++);
		out[0] = '^';
	}
	return s;
}

static struct str subject(uint64_t *seed, char *out, uint32_t cap)
{
	static const char letters[] = "aaabbbccc()  ;1A_.%-\xe9\0\n";
	struct str s = {out, pick(seed, cap)};

	for (size_t i = 0; i < s.n; i++)
		out[i] = letters[pick(seed, sizeof(letters) - 1)];
	return s;
}

static struct str replacement(uint64_t *seed, char *out)
{
	static const char *const parts[] = {"x", "%0", "%1", "%2", "%%",
					    "",  "y",  "%9", "%",  "%x"};
	struct str s = {out, 0};

	for (uint32_t i = pick(seed, 4); i > 0; i--) {
		const char *x = parts[pick(
		    seed, pick(seed, 8) ? 7 : (uint32_t)ARRAY_LEN(parts))];

		memcpy(out + s.n, x, strlen(x));
		s.n += strlen(x);
	}
	return s;
}

static void print_trial(const struct trial *t, const struct outcome *want,
			const struct outcome *got)
{
	printf("%s s='%.*s' p='%.*s' r='%.*s' init=%d plain=%d by=%d\n"
	       "stock: %s\nours:  %s\n",
	       t->function, STR_FMT(t->s), STR_FMT(t->p), STR_FMT(t->r),
	       t->init, t->plain, (int)t->by, want->text, got->text);
}

static void check(lua_State *stock, lua_State *ours, const struct trial *t)
{
	static struct outcome want, got;

	run(stock, t, &want);
	run(ours, t, &got);
	if (want.n != got.n || memcmp(want.text, got.text, want.n) != 0) {
		print_trial(t, &want, &got);
		CHECK(!"the same as stock Lua");
	}
}

static void one_trial(lua_State *stock, lua_State *ours, uint64_t *seed)
{
	static const char *const functions[] = {"find", "match", "gmatch",
						"gsub", "gsub"};
	char s[64], p[64], r[64];
	struct trial t;

	t.function = functions[pick(seed, (uint32_t)ARRAY_LEN(functions))];
	t.s = subject(seed, s, 30);
	t.p = compose(seed, p, sizeof(p));
	t.r = replacement(seed, r);
	t.init = pick(seed, 3) ? 0 : (int)pick(seed, 50) - 20;
	t.plain = pick(seed, 4) == 0;
	t.by = (int)pick(seed, 3);
	check(stock, ours, &t);
}

static int compare_all(lua_State *ours)
{
	lua_State *stock = luaL_newstate();
	uint64_t seed = 20260101;

	luaL_openlibs(stock);
	for (int i = 0; i < 60000; i++)
		one_trial(stock, ours, &seed);
	lua_close(stock);
	return 0;
}

TEST(as_stock)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.match_steps = 1000000000;
	t.conf.instructions = 0;
	t.conf.memory_entry = 0;
	CHECK_INT(luavm_start(&t, ""), 0);
	if (vm_do(t.vm, compare_all, NULL, "a test", NULL))
		printf("%s\n", vm_error(t.vm));
	CHECK_STR(str_from(vm_error(t.vm)), "");
	luavm_end(&t);
}

/* Every character against every class, alone and in sets. */
static int compare_classes(lua_State *ours)
{
	lua_State *stock = luaL_newstate();
	struct trial t = {.function = "match", .by = BY_STRING};
	char c, p[8];

	luaL_openlibs(stock);
	for (int k = 1; k < 256; k++) {
		for (int i = 0; i < 256; i++) {
			c = (char)i;
			t.s = (struct str){&c, 1};
			t.p = (struct str){p, (size_t)sprintf(p, "%%%c", k)};
			if (k < '0' || k > '9')
				check(stock, ours, &t);
			t.p.n = (size_t)sprintf(p, "[^%%%c]", k);
			check(stock, ours, &t);
		}
	}
	lua_close(stock);
	return 0;
}

TEST(classes_as_stock)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.instructions = 0;
	CHECK_INT(luavm_start(&t, ""), 0);
	CHECK_INT(vm_do(t.vm, compare_classes, NULL, "a test", NULL), 0);
	luavm_end(&t);
}

/* Longer than what fits into the space on the C stack; and more captures than
 * there can be. */
TEST(long_patterns)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t,
		  "task(function()\n"
		  "  local s = ('abc'):rep(100)\n"
		  "  note(s:find(s .. '$') .. '')\n"
		  "  note(s:match(('(a)bc'):rep(32)) .. '')\n"
		  "  note(#s:match(('a?b?c?'):rep(100)) .. '')\n"
		  "  note(select(2, pcall(s.match, s, ('()'):rep(33))))\n"
		  "  note(#s:match(('a?'):rep(300) .. ('%w'):rep(300)) .. '')\n"
		  "  local n = 0\n"
		  "  for a, b in s:gmatch(('[abc]'):rep(20) .. '()(.)') do\n"
		  "    n = n + a end\n"
		  "  note(n .. '')\n"
		  "end)");
	CHECK_STR(str_from(t.record),
		  "1\na\n300\ntoo many captures\n300\n2205\n");
	luavm_end(&t);
}

TEST(steps_are_charged)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.match_steps = 50000;
	luavm_run(&t, "task(function()\n"
		      "  local s = ('a'):rep(200)\n"
		      "  note(select(2, pcall(s.find, s, '.-.-.-b')))\n"
		      "  note(select(2, pcall(s.gsub, s, '.-.-.-b', '')))\n"
		      "  note(select(2, pcall(s:gmatch('.-.-.-b'))))\n"
		      "end)");
	CHECK_STR(str_from(t.record),
		  "pattern '.-.-.-b' takes too many steps on a text of 200 "
		  "bytes\n"
		  "pattern '.-.-.-b' takes too many steps on a text of 200 "
		  "bytes\n"
		  "pattern '.-.-.-b' takes too many steps on a text of 200 "
		  "bytes\n");
	CHECK(vm_spent(t.vm) > 150000);
	luavm_end(&t);
}
