/*
 * The limits: what a script does wrong ends within its budget, and the next
 * task runs as if nothing had been.
 */
#include "support/luavm.h"

#include "host/cputick.h"
#include "util/err.h"

static void condemned_with(const char *body, enum vm_limit limit,
			   struct ticker *ticker)
{
	struct luavm t;
	char script[2048];

	luavm_init(&t);
	t.conf.host.ticker = ticker;
	if (limit == VM_LIMIT_MEMORY)
		t.conf.instructions = 20000000;
	snprintf(script, sizeof(script),
		 "task(function() %s end)\n"
		 "task(function() for i = 1, 2000 do end return 1, 2 end)\n"
		 "task(function()\n"
		 "  local ok, e = pcall(error, 'caught', 0)\n"
		 "  note(tostring(ok) .. ' ' .. e)\n"
		 "end)",
		 body);
	luavm_run(&t, script);
	if (t.condemned != 1)
		printf("%s\n%s\n", body, t.trace);
	CHECK_INT(t.ended, 3);
	CHECK_INT(t.condemned, 1);
	CHECK_INT(t.errors, 0);
	CHECK_INT(t.outcome, TASK_OK);
	CHECK_STR(str_from(t.record), "false caught\n");
	if (t.limit != limit)
		printf("%s\n%s\n", body, vm_limit_name(t.limit));
	CHECK_INT(t.limit, limit);
	luavm_end(&t);
}

/* Runs `body` as a task, which must be condemned; then others that must not
 * notice. Once with a hook from the start, once as workers do it. */
static void condemned(const char *body, enum vm_limit limit)
{
	struct ticker ticker = {0};
	struct cputick ticks = {0};

	condemned_with(body, limit, NULL);
	CHECK(cputick_start(&ticks, &ticker));
	condemned_with(body, limit, &ticker);
	cputick_stop(&ticks);
}

/* As above, but ends in an ordinary error. */
static void fails(const char *body, const char *text)
{
	struct luavm t;
	char script[2048];

	luavm_init(&t);
	t.conf.match_steps = 100000;
	snprintf(script, sizeof(script), "task(function() %s end)", body);
	luavm_run(&t, script);
	if (t.outcome != TASK_ERROR || !strstr(t.trace, text))
		printf("%s\n%s\n", body, t.trace);
	CHECK_INT(t.outcome, TASK_ERROR);
	CHECK_HAS(t.trace, text);
	luavm_end(&t);
}

#define SPIN "local function spin() while true do end end "

TEST(spin)
{
	condemned("while true do end", VM_LIMIT_INSTRUCTIONS);
	condemned("goto a ::a:: goto a", VM_LIMIT_INSTRUCTIONS);
	condemned("for _ in function() return 1 end do end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local function f() return f() end f()",
		  VM_LIMIT_INSTRUCTIONS);
}

TEST(spin_in_pcall)
{
	condemned(SPIN "while true do pcall(spin) end", VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "pcall(pcall, pcall, spin) spin()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "xpcall(spin, spin)", VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "xpcall(error, spin)", VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "while true do xpcall(error, spin) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("while true do xpcall(error, function() "
		  "pcall(function() while true do end end) end) end",
		  VM_LIMIT_INSTRUCTIONS);
}

TEST(recursion_through_pcall)
{
	condemned("local f; f = function() pcall(f) pcall(f) end f()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local f; f = function() xpcall(f, f) xpcall(f, f) end f()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local f; f = function() while true do pcall(f) end end f()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local function g(n) if n == 0 then "
		  "while true do pcall(error) end end return 1 + g(n - 1) end "
		  "g(5000)",
		  VM_LIMIT_INSTRUCTIONS);
}

TEST(spin_where_nothing_can_yield)
{
	condemned(SPIN "table.sort({3, 2, 1}, spin)", VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "pcall(table.sort, {3, 2, 1}, spin) spin()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "table.sort({3, 2, 1}, function() "
		       "while true do pcall(spin) end end)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "table.sort({3, 2, 1}, function() "
		       "while true do xpcall(spin, spin) end end)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "(('x'):rep(9)):gsub('.', spin)", VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "tostring(setmetatable({}, {__tostring = spin}))",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("direct(function() while true do end end)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("pcall(direct, function() while true do end end)",
		  VM_LIMIT_INSTRUCTIONS);
}

TEST(spin_in_metamethods)
{
	condemned(SPIN "return setmetatable({}, {__index = spin}).x",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "local m = {__eq = spin} "
		       "return setmetatable({}, m) == setmetatable({}, m)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "return #setmetatable({}, {__len = spin})",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "return setmetatable({}, {__concat = spin}) .. 'x'",
		  VM_LIMIT_INSTRUCTIONS);
	condemned(SPIN "for _ in pairs(setmetatable({}, {__pairs = spin})) do "
		       "end",
		  VM_LIMIT_INSTRUCTIONS);
}

/* The handlers of a condemned task do not run; those of a failed one have a
 * budget of their own, whatever they do. */
TEST(to_be_closed)
{
	static const char mt[] =
	    "local t = setmetatable({}, {__close = function() "
	    "note('closing') while true do pcall(spin) end end}) "
	    "local x <close> = t ";
	char body[512];
	struct luavm t;

	snprintf(body, sizeof(body), SPIN "%s while true do end", mt);
	condemned(body, VM_LIMIT_INSTRUCTIONS);
	snprintf(body, sizeof(body), SPIN "%s table.sort({2, 1}, spin)", mt);
	condemned(body, VM_LIMIT_INSTRUCTIONS);
	luavm_init(&t);
	luavm_run(&t, "local mt = {__close = function() note('closed') end}\n"
		      "task(function()\n"
		      "  local a <close> = setmetatable({}, mt)\n"
		      "  local b <close> = setmetatable({}, {__close ="
		      " function() while true do end end})\n"
		      "  local c <close> = setmetatable({}, mt)\n"
		      "  error 'boom'\n"
		      "end)");
	CHECK_INT(t.outcome, TASK_ERROR);
	CHECK_HAS(t.trace, "script.lua:6: boom");
	CHECK_STR(str_from(t.record), "closed\n");
	luavm_end(&t);
}

TEST(memory)
{
	condemned("local t = {} while true do t[#t + 1] = {} end",
		  VM_LIMIT_MEMORY);
	condemned("local t = {} while true do "
		  "pcall(function() t[#t + 1] = {t, t, t, t} end) end",
		  VM_LIMIT_MEMORY);
	condemned("local s = 'x' while true do s = s .. s end",
		  VM_LIMIT_MEMORY);
	condemned("local y = ('y'):rep(1000000) "
		  "while true do pcall(string.rep, 'x', 1000, y) end",
		  VM_LIMIT_MEMORY);
	condemned("local function f() return 1 + f() end f()", VM_LIMIT_MEMORY);
	condemned("local function f() return 1 + f() end "
		  "while true do pcall(f) end",
		  VM_LIMIT_MEMORY);
	condemned("local function f(...) return f(1, ...) end f()",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local function f(...) f(1, ...) end f()", VM_LIMIT_MEMORY);
}

/* Library functions that would run for long without a single instruction. */
TEST(long_c_functions)
{
	condemned("return (''):rep(1 << 62)", VM_LIMIT_INSTRUCTIONS);
	condemned("while true do pcall(string.rep, 'x', 1 << 30) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("for i = 1, 1e9 do local s = ('x'):rep(1e6) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("return table.concat(setmetatable({}, "
		  "{__index = function() return 'x' end}), '', 1, 1e9)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("table.move({1}, 1, 1 << 60, 2)", VM_LIMIT_INSTRUCTIONS);
	condemned("table.insert(setmetatable({}, "
		  "{__len = function() return 1 << 60 end}), 1, 1)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("table.remove(setmetatable({}, "
		  "{__len = function() return 1 << 60 end}), 1)",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local s = ('x'):rep(1e6) while true do utf8.len(s) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local s = ('x'):rep(1e6) while true do s:find('y') end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local s = ('x'):rep(1e6) while true do s:find('yy', 1, true)"
		  " end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local t = {} for i = 1, 1e4 do t[i] = -i end "
		  "while true do table.sort(t) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local t = {} for i = 1, 1e4 do t['k' .. i] = i end "
		  "while true do for k in pairs(t) do break end end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local t = {} for i = 1, 1e4 do t['k' .. i] = i end "
		  "while true do next(t) end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("local s = ('%s'):rep(1000) while true do pcall(s.format, s)"
		  " end",
		  VM_LIMIT_INSTRUCTIONS);
	condemned("while true do pcall(string.match, ('x'):rep(60000), "
		  "('.-'):rep(6) .. 'b') end",
		  VM_LIMIT_INSTRUCTIONS);
}

TEST(refused)
{
	fails("return table.unpack({}, 1, 1e8)", "too many results");
	fails("return ('x'):rep(1e5):byte(1, -1)", "slice too long");
	fails("return string.format('%99999d', 1)", "invalid");
	fails("local s = ('a;b=c'):rep(800) "
	      "return s:match('^(.-);(.-)=(.-)x')",
	      "too many steps");
	fails("return ('a'):rep(60000):find(('.-'):rep(6) .. 'b')",
	      "too many steps");
	fails("setmetatable({}, {__gc = print})", "__gc is not possible");
	fails("setmetatable({}, {__mode = 'k'})", "__mode is not possible");
	fails("local f; f = function() local ok, e = pcall(f) "
	      "if not ok then error(e, 0) end end f()",
	      "too many nested pcalls");
	fails("return ('x'):rep(1000, ('y'):rep(1000000))",
	      "not enough memory");
	fails("coroutine.wrap(print)()", "undefined variable 'coroutine'");
	fails("load 'x = 1'", "undefined variable 'load' (use require)");
}

/* A program text can exhaust the C stack of the compiler. */
TEST(deep_texts_do_not_compile)
{
	struct luavm t;
	char *deep = malloc(400010);

	memcpy(deep, "x = ", 4);
	memset(deep + 4, '(', 400000);
	strcpy(deep + 400004, "1");
	luavm_init(&t);
	CHECK_INT(luavm_start(&t, deep), ERR_CONFIG);
	CHECK_HAS(vm_error(t.vm), "overflow");
	luavm_end(&t);
	free(deep);
}

TEST(which_limit)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() while true do end end)");
	CHECK_INT(t.limit, VM_LIMIT_INSTRUCTIONS);
	CHECK_HAS(t.trace, "stopped: over its limit of instructions");
	CHECK_HAS(t.trace, "script.lua:1: in function");
	CHECK(vm_spent(t.vm) > 1000000 && vm_spent(t.vm) < 1002000);
	CHECK(!vm_full(t.vm));
	luavm_end(&t);
	luavm_init(&t);
	luavm_run(&t, "task(function() local t = {} "
		      "for i = 1, 1e9 do t[i] = {} end end)");
	CHECK_INT(t.limit, VM_LIMIT_MEMORY);
	CHECK(!vm_full(t.vm));
	luavm_end(&t);
}

static void *run_in_thread(void *arg)
{
	struct luavm *t = arg;

	while (sched_drain(t->vm, 0))
		;
	return NULL;
}

/* What is counted of a task, run by this thread or by another. */
static uint64_t counted(struct ticker *ticker, const char *body, bool elsewhere)
{
	struct luavm t;
	char script[512];
	uint64_t spent;

	luavm_init(&t);
	t.conf.host.ticker = ticker;
	snprintf(script, sizeof(script),
		 "local function spin() for i = 1, 100000 do end end "
		 "task(function() %s end)",
		 body);
	CHECK_INT(luavm_start(&t, script), 0);
	if (elsewhere) {
		pthread_t thread;

		CHECK_INT(pthread_create(&thread, NULL, run_in_thread, &t), 0);
		CHECK_INT(pthread_join(thread, NULL), 0);
	} else {
		run_in_thread(&t);
	}
	CHECK_INT(t.ended, 1);
	CHECK_INT(t.errors, 0);
	spent = vm_spent(t.vm);
	luavm_end(&t);
	return spent;
}

TEST(counts_from_the_first_tick_on)
{
	struct ticker ticker = {0};
	uint64_t n;

	n = counted(&ticker, "spin() tick() spin()", false);
	CHECK(n > 199000 && n < 203000); /* nobody fires it yet */
	ticker_begin(&ticker);
	CHECK_INT(counted(&ticker, "spin()", false), 0);
	n = counted(&ticker, "spin() tick() spin()", false);
	CHECK(n > 99000 && n < 103000);
	ticker_fire(&ticker); /* no Lua runs */
	CHECK_INT(counted(&ticker, "spin()", false), 0);
	n = counted(&ticker, "spin()", true); /* it would interrupt this one */
	CHECK(n > 99000 && n < 103000);
	ticker_end(&ticker);
	n = counted(&ticker, "spin()", false);
	CHECK(n > 99000 && n < 103000);
}

/* The thread of a task goes on without the hook that it had. */
TEST(the_next_entry_counts_anew)
{
	struct ticker ticker = {0};
	struct luavm t;

	ticker_begin(&ticker);
	luavm_init(&t);
	t.conf.host.ticker = &ticker;
	luavm_run(&t, "task(function() tick() for i = 1, 100000 do end "
		      "wait() for i = 1, 100000 do end end)");
	CHECK(vm_spent(t.vm) > 99000);
	luavm_wake(&t, 0, 1);
	CHECK_INT(t.ended, 1);
	CHECK_INT(vm_spent(t.vm), 0);
	luavm_end(&t);
	ticker_end(&ticker);
}

TEST(cpu_time)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.host.cpu_us = luavm_cpu;
	t.conf.cpu_us = 50000;
	t.cpu_step = 1000;
	luavm_run(&t, "task(function() for i = 1, 40000 do end end)"
		      "task(function() while true do end end)");
	CHECK_INT(t.ended, 2);
	CHECK_INT(t.condemned, 1);
	CHECK_INT(t.limit, VM_LIMIT_CPU);
	CHECK(vm_spent(t.vm) < 60000);
	luavm_end(&t);
}

TEST(limits_set_after_loading)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, "task(function() for i = 1, 9999 do end end)"
				  "for i = 1, 100000 do end"),
		  0);
	vm_set_limits(t.vm, 1 << 20, 1 << 20, 2000, 0);
	sched_drain(t.vm, 0);
	CHECK_INT(t.condemned, 1);
	CHECK(vm_spent(t.vm) < 4000);
	luavm_end(&t);
}

TEST(full_state)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.memory = 4 << 20;
	luavm_run(&t, "local keep = {}\n"
		      "task(function() for i = 1, 1e6 do keep[i] = {i} end end)"
		      "task(function() keep = nil end)");
	CHECK_INT(t.condemned, 1);
	CHECK(vm_full(t.vm));
	luavm_end(&t);
}

TEST(memory_is_given_back)
{
	struct luavm t;
	size_t before;

	luavm_init(&t);
	luavm_run(&t, "local function bomb() local s = 'x' "
		      "while true do s = s .. s end end "
		      "for i = 1, 20 do task(bomb) end");
	CHECK_INT(t.condemned, 20);
	for (int i = 0; i < 1000; i++)
		vm_idle(t.vm);
	before = vm_bytes(t.vm);
	CHECK(before < 100000);
	luavm_end(&t);
}

/* The same inputs, the same count: to the instruction. */
TEST(deterministic)
{
	static const char script[] =
	    "local t = {}\n"
	    "task(function()\n"
	    "  for i = 1, 5000 do t['k' .. i % 97] = i end\n"
	    "  for k, v in pairs(t) do note(k) t[k] = nil end\n"
	    "  note(tostring(t) .. math.random(1, 1000000))\n"
	    "  for w in ('a b c'):gmatch('%a') do note(w) end\n"
	    "end)";
	static struct luavm a, b;

	luavm_init(&a);
	luavm_run(&a, script);
	luavm_init(&b);
	luavm_run(&b, script);
	CHECK_INT(a.outcome, TASK_OK);
	CHECK_INT(strcmp(a.record, b.record), 0);
	CHECK_INT(vm_spent(a.vm), vm_spent(b.vm));
	luavm_end(&a);
	luavm_end(&b);
}

static int work(lua_State *L)
{
	int *n = lua_touserdata(L, 1);

	if (*n < 0)
		return luaL_error(L, "negative");
	while (*n == 1)
		vm_charge(L, 10);
	*n += 1;
	return 0;
}

TEST(do)
{
	struct luavm t;
	int n = 0;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, ""), 0);
	CHECK_INT(vm_do(t.vm, work, &n, "a test", NULL), 0);
	CHECK_INT(n, 1);
	CHECK_STR(str_from(vm_error(t.vm)), "");
	CHECK_INT(vm_do(t.vm, work, &n, "a test", NULL), ERR_LIMIT);
	CHECK_INT(vm_error_limit(t.vm), VM_LIMIT_INSTRUCTIONS);
	n = -1;
	CHECK_INT(vm_do(t.vm, work, &n, "a test", NULL), ERR_STATE);
	CHECK_HAS(vm_error(t.vm), "negative");
	CHECK_INT(vm_error_limit(t.vm), VM_LIMIT_NONE);
	CHECK(!vm_inside(t.vm));
	luavm_end(&t);
}

TEST(call)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(
	    &t,
	    "task(function()\n"
	    "  note((select(2, direct(error, 'boom', 0))):match '[^\\n]*')\n"
	    "  note(tostring(direct(function() end)))\n"
	    "  local e, m = direct(function() wait() end)\n"
	    "  note(m:match '[^\\n]*')\n"
	    "  wait()\n"
	    "end)");
	CHECK_STR(str_from(t.record),
		  "boom\n0\n"
		  "script.lua:4: wait cannot wait in a policy function: choose "
		  "there, wait elsewhere\n");
	CHECK_INT(t.ended, 0);
	luavm_wake(&t, 0, 1);
	CHECK_INT(t.ended, 1);
	CHECK_INT(t.outcome, TASK_OK);
	luavm_end(&t);
}

TEST(references)
{
	struct luavm t;
	lua_State *L;
	int a, b;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, ""), 0);
	L = vm_main(t.vm);
	lua_pushinteger(L, 5);
	a = vm_ref(L);
	lua_pushboolean(L, 1);
	b = vm_ref(L);
	CHECK_INT(vm_refs(t.vm), 2);
	vm_push_ref(L, a);
	CHECK_INT(lua_tointeger(L, -1), 5);
	lua_pop(L, 1);
	vm_unref(t.vm, a);
	vm_unref(t.vm, b);
	vm_unref(t.vm, LUA_NOREF);
	CHECK_INT(vm_refs(t.vm), 0);
	CHECK_INT(lua_gettop(L), 0);
	luavm_end(&t);
}

/* ---- loading ------------------------------------------------------------- */

static const struct luavm_file modules[] = {
    {"a", "note 'a runs' return { b = require 'b' }"},
    {"b", "note(...) return setmetatable({}, {__index = {x = 1}})"},
    {"c", "require 'd'"},
    {"d", "require 'c'"},
    {"bad", "return 1 +"},
    {"fails", "local t = nil\nreturn t.x"},
    {"late", "return 1"},
    {NULL, NULL},
};

TEST(require)
{
	struct luavm t;

	luavm_init(&t);
	t.files = modules;
	luavm_run(&t, "local a = require 'a'\n"
		      "note(tostring(require 'a' == a) .. a.b.x)\n"
		      "note(select(2, pcall(require, 'none')))\n"
		      "note(select(2, pcall(require, 'c')))\n"
		      "note(select(2, pcall(require, 'bad')))\n"
		      "note(select(2, pcall(require, 'fails')))\n"
		      "note(select(2, pcall(require, 'fails')))\n"
		      "task(function()\n"
		      "  note(tostring(require 'a' == a))\n"
		      "  note(select(2, pcall(require, 'late')))\n"
		      "end)");
	CHECK_STR(str_from(t.record),
		  "a runs\nb\ntrue1\n"
		  "script.lua:3: module 'none' not found: no such file\n"
		  "d:1: modules require each other: c -> d -> c\n"
		  "bad:1: unexpected symbol near <eof>\n"
		  "fails:2: attempt to index a nil value (local 't')\n"
		  "fails:2: attempt to index a nil value (local 't')\n"
		  "true\n"
		  "module 'late' is not loaded, and modules are loaded only "
		  "while the script is: require it at the top of the file\n");
	luavm_end(&t);
}

static void load_fails(const char *script, const char *text)
{
	struct luavm t;

	luavm_init(&t);
	t.files = modules;
	CHECK_INT(luavm_start(&t, script), ERR_CONFIG);
	if (!strstr(vm_error(t.vm), text))
		printf("%s\n", vm_error(t.vm));
	CHECK_HAS(vm_error(t.vm), text);
	luavm_end(&t);
}

TEST(load_errors)
{
	load_fails("local x = = 1", "script.lua:1: unexpected symbol");
	load_fails("\nerror 'boom'", "script.lua:2: boom");
	load_fails("\nerror(nil)", "script.lua:2: nil");
	load_fails("\n\nerror {}", "script.lua:3: table: ");
	load_fails("require 'fails'", "in main chunk");
	load_fails("require 'fails'", "fails:2: attempt to index");
	load_fails("\nwhile true do end",
		   "script.lua:2: stopped: over its limit of instructions");
	load_fails("wait()", "wait cannot wait in the main part of a file: it "
			     "runs while the script is loading");
	load_fails("\x1bLua", "attempt to load a binary chunk");
	load_fails("local t = {} while true do t[#t + 1] = {{{}}} end",
		   "stopped: over its limit of");
}

TEST(byte_order_mark)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "\xef\xbb\xbfnote 'a'");
	CHECK_STR(str_from(t.record), "a\n");
	luavm_end(&t);
}

TEST(shebang)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "#!/usr/bin/env tandem\n"
		      "note(select(2, pcall(error, 'x', 1)))"
		      "note(select(2, pcall(function() error 'x' end)))");
	CHECK_STR(str_from(t.record), "x\nscript.lua:2: x\n");
	luavm_end(&t);
}

/* The hook comes at every kind of instruction: nothing breaks, and what the
 * task left behind can be collected. */
TEST(condemned_anywhere)
{
	static const char body[] =
	    "local mt = {}\n"
	    "mt.__index = function(t, k) return k end\n"
	    "mt.__newindex = function(t, k, v) rawset(t, k, v) end\n"
	    "mt.__call = function(t, ...) return ... end\n"
	    "mt.__close = function() local x = 1 end\n"
	    "mt.__eq = function(a, b) return a == 1 end\n"
	    "mt.__lt = function(a, b) return true end\n"
	    "mt.__concat = function(a, b) return 'c' end\n"
	    "local function va(n, ...)\n"
	    "  if n == 0 then return ... end\n"
	    "  return va(n - 1, n, ...)\n"
	    "end\n"
	    "local function up(n)\n"
	    "  local f = function() n = n + 1 return n end\n"
	    "  return f\n"
	    "end\n"
	    "while true do\n"
	    "  local o <close> = setmetatable({}, mt)\n"
	    "  local p = setmetatable({}, mt)\n"
	    "  o.x = o.y .. 'z'\n"
	    "  local a, b, c = va(3, 1, 2, 3)\n"
	    "  local f = up(a)\n"
	    "  for i = 1, 3 do local g = f() end\n"
	    "  for k, v in pairs {1, 2, x = 3} do a = v end\n"
	    "  for w in ('a b c'):gmatch '%a' do b = w end\n"
	    "  for _, v in va(0, next, {1, 2}, nil, o) do c = v end\n"
	    "  local s = o .. 'x' .. 1 .. p\n"
	    "  local t = {va(2, o == p, o < p, o(1, 2), #s)}\n"
	    "  pcall(up, va(1, 2)) pcall(error, t)\n"
	    "  table.sort({3, 1, 2}, function(x, y) return x < y end)\n"
	    "  goto next\n"
	    "  ::next::\n"
	    "end";
	static struct luavm t;
	char script[4096];
	size_t bytes;

	luavm_init(&t);
	t.conf.instructions = 3000;
	snprintf(script, sizeof(script),
		 "local function run(phase)\n"
		 "for i = 1, phase do end\n%s\nend\n"
		 "for phase = 1, 600 do task(run, phase) end",
		 body);
	luavm_run(&t, script);
	CHECK_INT(t.ended, 600);
	CHECK_INT(t.condemned, 600);
	for (int i = 0; i < 3000; i++)
		vm_idle(t.vm);
	bytes = vm_bytes(t.vm);
	CHECK(bytes < 100000);
	luavm_end(&t);
}

/* One life in which the allocation with this number fails, and `row` - 1 after
 * it. False when there were not that many. */
static bool live_with_failure(struct luavm *t, uint64_t at, uint64_t row)
{
	static const char script[] =
	    "local mt = {__tostring = function() return 'x' end,\n"
	    "  __close = function() local s = ('x'):rep(20) end}\n"
	    "task(function()\n"
	    "  local t = {}\n"
	    "  local c <close> = setmetatable({}, mt)\n"
	    "  for i = 1, 20 do t['k' .. i] = setmetatable({}, mt) end\n"
	    "  for k, v in pairs(t) do t[k] = tostring(v) end\n"
	    "  table.sort({3, 1, 2})\n"
	    "  local s = ('a b c'):gsub('%a', {a = 'x'}):rep(100)\n"
	    "  pcall(error, s)\n"
	    "  xpcall(error, tostring, {})\n"
	    "  wait()\n"
	    "  error(setmetatable({}, mt))\n"
	    "end)";
	bool failed;

	luavm_init(t);
	CHECK_INT(luavm_start(t, script), 0);
	vm_mem(t->vm)->fail_at = vm_mem(t->vm)->calls + at;
	vm_mem(t->vm)->fail_for = row;
	sched_drain(t->vm, 0);
	if (t->wait[0].w.task)
		luavm_wake(t, 0, 1);
	failed = vm_mem(t->vm)->calls >= vm_mem(t->vm)->fail_at;
	/* Memory is back: what could not even begin goes on. */
	vm_mem(t->vm)->fail_at = 0;
	sched_drain(t->vm, 0);
	if (t->wait[0].w.task)
		luavm_wake(t, 0, 1);
	CHECK_INT(t->ended, 1);
	CHECK_INT(t->outcome, TASK_ERROR);
	CHECK(t->trace[0]);
	CHECK_INT(sched_tasks(t->vm), 0);
	luavm_end(t);
	return failed;
}

/* Nothing leaks or hangs, and every end is told, once. */
TEST(allocation_failures)
{
	static struct luavm t;
	uint64_t at;

	for (at = 1; live_with_failure(&t, at, 1); at++)
		CHECK(at < 2000);
	CHECK(at > 50);
	for (at = 1; live_with_failure(&t, at, UINT64_MAX); at++)
		CHECK(at < 2000);
}

/* What everybody waits for while many requests are held is a step of the
 * collector. (What is newest lives: Lua frees all before that in one step.) */
TEST(garbage_goes_in_small_pieces)
{
	enum { PIECES = 60000, EACH = 50 };
	struct luavm t;
	size_t full, bytes, most = 0;

	luavm_init(&t);
	t.conf.instructions = 20000000;
	t.conf.memory = 64 << 20;
	luavm_run(&t, "task(function()\n"
		      "  local function fill()\n"
		      "    local list\n"
		      "    for i = 1, 60000 do list = { list } end\n"
		      "  end\n"
		      "  fill()\n"
		      "  local newest = {}\n"
		      "  wait()\n"
		      "  return newest\n"
		      "end)");
	CHECK_INT(t.condemned, 0);
	full = bytes = vm_bytes(t.vm);
	for (int i = 0; i < 1000 && full - bytes < EACH * PIECES; i++) {
		size_t before = bytes;

		vm_idle(t.vm);
		bytes = vm_bytes(t.vm);
		if (before > bytes && before - bytes > most)
			most = before - bytes;
	}
	CHECK(full - bytes >= EACH * PIECES);
	CHECK(most < (full - bytes) / 3);
	luavm_end(&t);
}

/* make test-gc stands on it. */
TEST(garbage_goes_before_the_next_entry_when_asked_for)
{
	enum { BIG = 1 << 20 };

	for (uint32_t every = 0; every < 4; every++) {
		struct luavm t;

		luavm_init(&t);
		t.conf.collect_every = every;
		luavm_run(&t, "task(function()\n"
			      "  local s = string.rep('x', 1 << 20)\n"
			      "  wait()\n"
			      "end)");
		CHECK(vm_bytes(t.vm) > BIG);
		luavm_wake(&t, 0, 1); /* its last entry */
		for (uint32_t i = 1; i < every; i++)
			CHECK_INT(vm_do(t.vm, luavm_open, NULL, "a test", NULL),
				  0);
		CHECK_INT(vm_do(t.vm, luavm_open, NULL, "a test", NULL), 0);
		CHECK((vm_bytes(t.vm) < BIG) == (every > 0));
		luavm_end(&t);
	}
}

TEST(allocation_failures_while_loading)
{
	static struct luavm t;
	int err = 1;

	for (uint64_t at = 1; err && at < 5000; at++) {
		luavm_init(&t);
		t.files = modules;
		t.script = "local a = require 'a' note(a.b.x .. '')"
			   "task(function() end)";
		t.vm = vm_new(&t.conf);
		CHECK(t.vm != NULL);
		vm_mem(t.vm)->fail_at = vm_mem(t.vm)->calls + at;
		err = vm_do(t.vm, luavm_open, NULL, "the set-up", NULL);
		if (!err)
			err = vm_load(t.vm, "script.lua");
		if (!err)
			sched_drain(t.vm, 0);
		luavm_end(&t);
	}
	CHECK_INT(err, 0);
}
