/*
 * What scripts see: variables, order, time, randomness, text.
 */
#include "support/luavm.h"

/* Runs statements in a task and compares what they noted. */
static void notes(const char *body, const char *want)
{
	struct luavm t;
	char script[4096];

	luavm_init(&t);
	snprintf(script, sizeof(script),
		 "local function n(...) local s = {...} "
		 "for i = 1, select('#', ...) do s[i] = tostring(s[i]) end "
		 "note(table.concat(s, ' ')) end "
		 "local function e(f, ...) "
		 "note((select(2, pcall(f, ...)))) end "
		 "task(function() %s end)",
		 body);
	luavm_run(&t, script);
	if (strcmp(t.record, want) != 0)
		printf("%s\ngot:\n%s%s\n", body, t.record, t.trace);
	CHECK_INT(strcmp(t.record, want), 0);
	CHECK_INT(t.outcome, TASK_OK);
	luavm_end(&t);
}

/* Its keys, as pairs gives them. */
#define KEYS                                                                   \
	"local function keys(t) local s = {} for k in pairs(t) do "            \
	"s[#s + 1] = tostring(k) end return table.concat(s, ' ') end "

TEST(variables)
{
	notes("e(function() return foo end) e(function() foo = 1 end) "
	      "e(function() type = 1 end) e(function() return io end) "
	      "n(_G.foo, rawget(_G, 'foo'), _G.type == type, _G._G == _G) "
	      "e(function() _G.foo = 1 end) "
	      "e(function() function bar() end end) "
	      "n(getmetatable(_G), getmetatable(_ENV), getmetatable('')) "
	      "n(pcall(setmetatable, _G, {}))",
	      "script.lua:1: undefined variable 'foo'\n"
	      "script.lua:1: assignment to the undeclared variable 'foo': "
	      "nothing is global, write 'local foo'\n"
	      "script.lua:1: 'type' is built in and cannot be replaced: write "
	      "'local type'\n"
	      "script.lua:1: undefined variable 'io' (scripts do not touch "
	      "files)\n"
	      "nil nil true true\n"
	      "script.lua:1: assignment to the undeclared variable 'foo': "
	      "nothing is global, write 'local foo'\n"
	      "script.lua:1: assignment to the undeclared variable 'bar': "
	      "nothing is global, write 'local bar'\n"
	      "false false false\n"
	      "false cannot change a protected metatable\n");
}

TEST(what_there_is)
{
	notes(KEYS "n(keys(_G)) n(keys(string)) n(keys(table)) n(keys(os)) "
		   "n(keys(math)) n(keys(utf8))",
	      "_G _VERSION assert direct error getmetatable ipairs math next "
	      "note os pairs pcall print rawequal rawget rawlen rawset require "
	      "select setmetatable string table task tick tonumber tostring "
	      "type utf8 wait xpcall\n"
	      "byte char find format gmatch gsub len lower match rep reverse "
	      "sub upper\n"
	      "concat insert move pack remove sort unpack\n"
	      "clock date difftime time\n"
	      "abs acos asin atan ceil cos deg exp floor fmod huge log max "
	      "maxinteger min mininteger modf pi rad random randomseed sin "
	      "sqrt tan tointeger type ult\n"
	      "char charpattern codepoint codes len offset\n");
}

TEST(order_of_keys)
{
	notes(KEYS
	      "n(keys {}) n(keys {5, 6, 7}) "
	      "n(keys {z = 1, a = 2, B = 3, [''] = 4, ['a\\1'] = 5}) "
	      "n(keys {[3] = 1, [1] = 1, [-2] = 1, [2.5] = 1, [1e300] = 1, "
	      "[math.mininteger] = 1, [-math.huge] = 1}) "
	      "n(keys {10, 20, x = 1, [0] = 1, [-1] = 1, [7] = 1}) "
	      "n(keys {10, 20, 30, [1.5] = 1, [2.5] = 1, [3.5] = 1}) "
	      "n(keys {[true] = 1, [false] = 1, s = 1, [9] = 1}) "
	      "n(keys {1, 2, nil, 4, nil, nil, 7}) "
	      "n(keys {[math.maxinteger] = 1, [2^53] = 1, [2^53 + 2] = 1, "
	      "[-0.5] = 1})",
	      "\n1 2 3\n B a a\1 z\n"
	      "-inf -9223372036854775808 -2 1 2.5 3 1e+300\n"
	      "-1 0 1 2 7 x\n1 1.5 2 2.5 3 3.5\n9 s false true\n1 2 4 7\n"
	      "-0.5 9007199254740992 9007199254740994 "
	      "9223372036854775807\n");
}

TEST(order_of_many_keys)
{
	notes("local t, n0 = {}, 0 "
	      "for i = 1, 500 do t['k' .. i] = i t[i] = i t[-i] = i end "
	      "t[1.5] = 1 "
	      "local last, seen "
	      "for k, v in pairs(t) do n0 = n0 + 1 "
	      "  assert(t[k] == v) "
	      "  if type(last) == type(k) then assert(last < k) "
	      "  else assert(not seen or type(last) == 'number') end "
	      "  seen, last = true, k end "
	      "n(n0, last) "
	      "local m = 0 for k in pairs(t) do t[k] = nil m = m + 1 end "
	      "n(m, next(t))",
	      "1501 k99\n1501 nil\n");
}

TEST(changes_during_traversal)
{
	notes("local t = {1, 2, 3, 4, a = 1, b = 2, c = 3} "
	      "local s = {} "
	      "for k, v in pairs(t) do s[#s + 1] = tostring(k) "
	      "  t[k] = v * 2 if k == 2 then t[3] = nil t.b = nil end "
	      "  if k == 'a' then t.z = 1 end end "
	      "n(table.concat(s, ' ')) "
	      "for k in pairs(t) do t[k] = nil end n(next(t) == nil) "
	      "for i, v in ipairs {7, 8, nil, 9} do n(i, v) end",
	      "1 2 4 a c\ntrue\n1 7\n2 8\n");
}

TEST(pairs_metamethod_and_errors)
{
	notes("local m = setmetatable({}, {__pairs = function(t) "
	      "return function(_, k) if not k then return 1, 2 end end, t end})"
	      "for k, v in pairs(m) do n(k, v) end "
	      "e(pairs, 5) e(pairs) e(next, 5) "
	      "local f = pairs {1} e(f, 5) "
	      "n(select('#', pairs {}), select(2, pairs(m)) == m)",
	      "1 2\n"
	      "bad argument #1 to 'pairs' (table expected, got number)\n"
	      "bad argument #1 to 'pairs' (value expected)\n"
	      "bad argument #1 to 'next' (table expected, got number)\n"
	      "bad argument #1 to '?' (table expected, got number)\n"
	      "3 true\n");
}

#define NO_ORDER                                                               \
	" as a key, which has no order that would be the same in every run: "  \
	"use its name as the key, or keep a list\n"

TEST(keys_without_order)
{
	notes("local a, b = {}, {} "
	      "e(function() for k in pairs {[a] = 1, [b] = 2} do end end) "
	      "e(function() for k in pairs {[print] = 1} do end end) "
	      "n(next {[a] = 1} == a, next {[a] = 1, x = 2}, next({})) "
	      "e(next, {[a] = 1}, 'x') "
	      "local mt = {__order = 'name'} "
	      "local x = setmetatable({name = 'x'}, mt) "
	      "local y = setmetatable({name = 'y'}, mt) "
	      "local i = setmetatable({name = 3}, mt) "
	      "for k in pairs {[y] = 1, [x] = 2, [i] = 3, s = 4} do "
	      "n(k == 's' and k or k.name) end "
	      "y.name = 'x' "
	      "e(function() for k in pairs {[y] = 1, [x] = 2} do end end)",
	      "script.lua:1: pairs: the table has a table" NO_ORDER
	      "script.lua:1: pairs: the table has a function" NO_ORDER
	      "true x nil\n"
	      "next: the table has a table" NO_ORDER "s\n3\nx\ny\n"
	      "script.lua:1: pairs: two objects used as keys have the same "
	      "value in the field they are ordered by\n");
}

TEST(next_is_in_order)
{
	notes("local t = {10, 20, [0] = 5, b = 1, a = 2, [true] = 3} "
	      "local k, v for i = 1, 7 do k, v = next(t, k) n(k, v) end "
	      "for k, v in next, {3, 4} do n(k, v) end "
	      "n(next({x = 1}, 'a')) n(next({}, 5)) n(rawlen(t))",
	      "0 5\n1 10\n2 20\na 2\nb 1\ntrue 3\nnil nil\n1 3\n2 4\nx 1\nnil\n"
	      "2\n");
}

TEST(text_of_values)
{
	notes(
	    "local t = {} n(t, t, {}, print) n(nil, true, 1, 1.0, 'x', -0.0) "
	    "local o = setmetatable({}, {__tostring = function() return 'o' "
	    "end}) n(o, setmetatable({}, {__name = 'N'})) "
	    "n(('%s|%5s|%d|%%'):format(t, 'x', 3), ('%s'):format(o)) "
	    "e(string.format, '%p', t) e(string.format, '%d', 'x') "
	    "e(tostring, setmetatable({}, {__tostring = function() return {} "
	    "end})) e(tostring)",
	    "table: #1 table: #1 table: #2 function: #3\n"
	    "nil true 1 1.0 x -0.0\no N: #4\n"
	    "table: #1|    x|3|% o\n"
	    "string.format: '%p' is not available, addresses differ from run "
	    "to run\n"
	    "bad argument #2 to 'string.format' (number expected, got string)\n"
	    "'__tostring' must return a string\n"
	    "bad argument #1 to 'tostring' (value expected)\n");
}

TEST(time_is_told)
{
	notes("n(os.time(), os.clock(), os.difftime(5, 3)) "
	      "n(os.date('!%Y-%m-%d %H:%M:%S'), os.date('%c')) "
	      "n(os.date('%a %A %b %B %C %d %D %e %F %h %H %I %j %m %M %p %r "
	      "%R %S %T %u %w %x %X %y %Y %z %Z %%')) "
	      "n(os.date('%c', 0)) n(os.date('%F %T %j %a', -1)) "
	      "n(os.date('%F %j', 951782400)) n(os.date('%F', 4107542399)) "
	      "local d = os.date('*t', 1709210096) "
	      "n(d.year, d.month, d.day, d.hour, d.min, d.sec, d.wday, d.yday, "
	      "d.isdst, os.time(d)) "
	      "local x = {year = 2024, month = 14, day = -3, hour = 25} "
	      "n(os.time(x), x.year, x.month, x.day, x.hour) "
	      "e(os.time, {year = 2024}) e(os.date, '%Q') e(os.date, '%') "
	      "e(os.date, '%c', 1 << 60) n(os.date(''))",
	      "1700000000 12.5 2.0\n"
	      "2023-11-14 22:13:20 Tue Nov 14 22:13:20 2023\n"
	      "Tue Tuesday Nov November 20 14 11/14/23 14 2023-11-14 Nov 22 10 "
	      "318 11 13 PM 10:13:20 PM 22:13 20 22:13:20 2 2 11/14/23 "
	      "22:13:20 23 2023 +0000 UTC %\n"
	      "Thu Jan  1 00:00:00 1970\n1969-12-31 23:59:59 365 Wed\n"
	      "2000-02-29 060\n2100-02-28\n"
	      "2024 2 29 12 34 56 5 60 false 1709210096\n"
	      "1738112400 2025 1 29 1\n"
	      "field 'month' missing in date table\n"
	      "invalid conversion '%Q' in os.date\n"
	      "invalid conversion '% ' in os.date\n"
	      "time is out of range\n\n");
}

TEST(randomness_is_told)
{
	notes("local ok = true for i = 1, 1000 do "
	      "  local a, b, c = math.random(), math.random(6), "
	      "    math.random(-3, 3) "
	      "  ok = ok and a >= 0 and a < 1 and b >= 1 and b <= 6 "
	      "    and c >= -3 and c <= 3 and math.type(b) == 'integer' end "
	      "n(ok, math.type(math.random(0)), "
	      "  math.random(math.mininteger, math.maxinteger) ~= 0) "
	      "e(math.random, 2, 1) e(math.random, 1, 2, 3) "
	      "e(math.randomseed, 1)",
	      "true integer true\n"
	      "bad argument #2 to 'math.random' (interval is empty)\n"
	      "wrong number of arguments\n"
	      "math.randomseed is not available: randomness comes from the "
	      "core's seed, leave the call out\n");
}

TEST(sort)
{
	notes(
	    "local t = {5, 2, 8, 1} table.sort(t) n(table.unpack(t)) "
	    "table.sort(t, function(a, b) return a > b end) "
	    "n(table.unpack(t)) "
	    "local s = {} for i = 1, 300 do s[i] = {i % 7, i} end "
	    "table.sort(s, function(a, b) return a[1] < b[1] end) "
	    "for i = 2, 300 do local a, b = s[i - 1], s[i] "
	    "  assert(a[1] < b[1] or a[1] == b[1] and a[2] < b[2]) end "
	    "table.sort(s, function() return true end) "
	    "table.sort(s, function() return math.random() < 0.5 end) "
	    "n(#s) e(table.sort, {1, 'x'}) e(table.sort, {1, nil, 3}) "
	    "e(table.sort, {2, 1}, 5) e(table.sort, 5) "
	    "table.sort {} table.sort {1}",
	    "1 2 5 8\n8 5 2 1\n300\n"
	    "attempt to compare string with number\n"
	    "attempt to compare nil with number\n"
	    "bad argument #2 to 'table.sort' (function expected, got number)\n"
	    "bad argument #1 to 'table.sort' (table expected, got number)\n");
}

TEST(table_library)
{
	notes(
	    "local t = {1, 2, 3} table.insert(t, 4) table.insert(t, 1, 0) "
	    "n(table.concat(t, ',')) n(table.remove(t), table.remove(t, 1)) "
	    "n(table.concat(t, ',', 2, 3), #table.move(t, 1, 3, 3)) "
	    "n(table.unpack({1, 2, 3}, 2)) n(table.pack(1, nil).n) "
	    "e(table.concat, {{}}) e(table.insert, {}, 5, 1) "
	    "e(table.insert, 5, 1) e(table.unpack) "
	    "n(table.unpack({}, 1, 3)) "
	    "n(select('#', table.unpack({}, 1, 4000))) "
	    "n(('x'):byte(-1), ('abc'):byte(1, -1), utf8.codepoint('a\xc3\xa4'"
	    ", 1, -1))",
	    "0,1,2,3,4\n4 0\n2,3 5\n2 3\n2\n"
	    "invalid value (table) at index 1 in table for 'concat'\n"
	    "bad argument #2 to 'table.insert' (position out of bounds)\n"
	    "bad argument #1 to 'table.insert' (table expected, got "
	    "number)\n"
	    "attempt to get length of a nil value\n"
	    "nil nil nil\n4000\n120 97 97 228\n");
}

TEST(pcall)
{
	notes("n(pcall(function(...) return ... end, 1, nil)) "
	      "n(pcall(error)) n(pcall(error, nil)) "
	      "n(xpcall(function(...) return ... end, print, 1, 2)) "
	      "n(xpcall(error, function(m) return m .. '!' end, 'a')) "
	      "n(xpcall(error, function() error 'again' end, 'a')) "
	      "e(xpcall, print) e(pcall) "
	      "n(select('#', pcall(function() end))) "
	      "local ok, o = pcall(error, {x = 1}) n(ok, o.x)",
	      "true 1 nil\nfalse nil\nfalse nil\ntrue 1 2\nfalse a!\n"
	      "false error in error handling\n"
	      "bad argument #2 to 'xpcall' (function expected, got no "
	      "value)\n"
	      "bad argument #1 to 'pcall' (value expected)\n"
	      "1\nfalse 1\n");
}

TEST(print_is_logged)
{
	notes("print('a', 1, nil, true)", "a\t1\tnil\ttrue\n");
	notes("print()", "\n");
}

TEST(tonumber)
{
	notes("n(tonumber '10', tonumber ' 0x1p4 ', tonumber('z', 36), "
	      "tonumber 'x', tonumber('7', 8), '10' + 5)",
	      "10 16.0 35 nil 7 15\n");
}
