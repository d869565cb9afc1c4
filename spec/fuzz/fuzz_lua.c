/*
 * The string functions of scripts, which count their steps, beside those of
 * stock Lua: the same function, subject, pattern and replacement give the same
 * results, and where one raises so does the other. What ours gives up for
 * taking too many steps the other one is not asked for.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <lualib.h>

#include "lua/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 20000, PARTS = 3, OUT = 1 << 16 };

/* All results as one text: whether it raised, and type and value of each. */
static const char script[] =
    "local find, match, gmatch, gsub, format, rep, sub =\n"
    "  string.find, string.match, string.gmatch, string.gsub, string.format,\n"
    "  string.rep, string.sub\n"
    "local byte, reverse, upper = string.byte, string.reverse, string.upper\n"
    "local ways = {\n"
    "  function(s, p, r, n) return find(s, p, n) end,\n"
    "  function(s, p, r, n) return find(s, p, n, true) end,\n"
    "  function(s, p, r, n) return match(s, p, n) end,\n"
    "  function(s, p, r, n) return gsub(s, p, r, n > 0 and n or nil) end,\n"
    "  function(s, p, r, n)\n"
    "    return gsub(s, p, function(a, b) return b end)\n"
    "  end,\n"
    "  function(s, p, r, n) return gsub(s, p, { a = r, b = 1, [1] = 2 }) end,\n"
    "  function(s, p, r, n)\n"
    "    local all = {}\n"
    "    for a, b in gmatch(s, p) do\n"
    "      all[#all + 1] = tostring(a) .. '|' .. tostring(b)\n"
    "    end\n"
    "    return table.concat(all, ';')\n"
    "  end,\n"
    "  function(s, p, r, n) return format('%q %s %5s', s, p, r) end,\n"
    "  function(s, p, r, n)\n"
    "    return rep(s, n, r), sub(s, n), sub(p, n, -2), reverse(s), upper(p)\n"
    "  end,\n"
    "  function(s, p, r, n) return byte(s, n, n + 4) end,\n"
    "}\n"
    "return function(way, s, p, r, n)\n"
    "  local got = table.pack(pcall(ways[way % #ways + 1], s, p, r, n))\n"
    "  if not got[1] then return 'raised', tostring(got[2]) end\n"
    "  local text = {}\n"
    "  for i = 2, got.n do\n"
    "    text[#text + 1] = type(got[i]) .. ':' .. tostring(got[i])\n"
    "  end\n"
    "  return 'gave', table.concat(text, '\\0')\n"
    "end\n";

struct job {
	int way, n;
	struct str part[PARTS];
	char how[8];
	char out[OUT];
	size_t len;
};

/* The function is at the top. */
static void call(lua_State *L, struct job *j)
{
	const char *s;

	lua_pushinteger(L, j->way);
	for (int i = 0; i < PARTS; i++)
		lua_pushlstring(L, j->part[i].p ? j->part[i].p : "",
				j->part[i].n);
	lua_pushinteger(L, j->n);
	lua_call(L, 5, 2);
	strncpy(j->how, lua_tostring(L, -2), sizeof(j->how) - 1);
	s = lua_tolstring(L, -1, &j->len);
	assert(j->len <= OUT);
	memcpy(j->out, s, j->len);
	lua_pop(L, 2);
}

/* ---- ours ---- */

static int ours_ref = LUA_NOREF;

static struct str load(void *ctx, const char *name, const char **file_r,
		       const char **why_r)
{
	(void)ctx, (void)file_r;
	if (strcmp(name, "script.lua") == 0)
		return STR("fuzz((function() return require 'ways' end)())");
	if (strcmp(name, "ways") == 0)
		return str_from(script);
	*why_r = "no such file";
	return STR_NONE;
}

static double no_time(void *ctx)
{
	(void)ctx;
	return 1;
}

static uint64_t no_rand(void *ctx)
{
	(void)ctx;
	return 1;
}

static int keep(lua_State *L)
{
	lua_settop(L, 1);
	ours_ref = vm_ref(L);
	return 0;
}

static int open_ours(lua_State *L)
{
	lua_pushcfunction(L, keep);
	vm_set_global(L, "fuzz");
	return 0;
}

static int run_ours(lua_State *L)
{
	vm_push_ref(L, ours_ref);
	call(L, lua_touserdata(L, 1));
	return 0;
}

static struct vm *start_ours(void)
{
	static struct mem mem;
	struct vm_conf conf = {.host = {.loader = load,
					.mono = no_time,
					.wall = no_time,
					.rand = no_rand},
			       .mem = &mem,
			       .memory = 64 << 20,
			       .instructions = 100000000,
			       .load_instructions = 100000000,
			       .match_steps = STEPS};
	struct vm *vm = vm_new(&conf);

	assert(vm && !vm_do(vm, open_ours, NULL, "the set-up", NULL));
	assert(!vm_load(vm, "script.lua"));
	return vm;
}

/* ---- the other one ---- */

static lua_State *start_stock(void)
{
	lua_State *L = luaL_newstate();

	assert(L);
	luaL_openlibs(L);
	assert(luaL_dostring(L, script) == LUA_OK);
	return L;
}

/* ---- both ---- */

static bool has(const struct job *j, const char *word)
{
	return memmem(j->out, j->len, word, strlen(word)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm *vm;
	static lua_State *stock;
	static struct job a, b;
	struct str rest = {(const char *)data, size};

	if (size < 3 || size > 300)
		return 0;
	if (!vm) {
		vm = start_ours();
		stock = start_stock();
	}
	a.way = data[0];
	a.n = (int8_t)data[1];
	if (a.n > 30 || a.n < -30)
		a.n %= 30;
	rest = str_sub(rest, 2, rest.n);
	for (int i = 0; i < PARTS; i++)
		a.part[i] = i + 1 < PARTS ? str_cut(&rest, (char)0xff) : rest;
	b.way = a.way;
	b.n = a.n;
	memcpy(b.part, a.part, sizeof(b.part));
	if (vm_do(vm, run_ours, &a, "a fuzzer", NULL))
		abort();
	if (a.how[0] == 'r' && has(&a, "too many steps"))
		return 0;
	lua_pushvalue(stock, -1);
	call(stock, &b);
	lua_settop(stock, 1);
	if (strcmp(a.how, b.how) != 0)
		abort();
	if (a.how[0] == 'g')
		assert(a.len == b.len && memcmp(a.out, b.out, a.len) == 0);
	return 0;
}
