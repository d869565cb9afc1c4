/*
 * Tasks: order, waiting, waking, cancelling, pooling.
 */
#include "support/luavm.h"

#include "util/err.h"

TEST(ready_order)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() note 'a' task(note, 'd') note 'b' end)\n"
		      "task(note, 'c')");
	CHECK_STR(str_from(t.record), "a\nb\nc\nd\n");
	CHECK_INT(t.ended, 3);
	CHECK_INT(sched_tasks(t.vm), 0);
	luavm_end(&t);
}

TEST(arguments_and_results)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function(...) note(select('#', ...) .. (...)) "
		      "return 1, 2, 3 end, 'x', nil)");
	CHECK_STR(str_from(t.record), "2x\n");
	CHECK_INT(t.results, 3);
	CHECK_INT(t.outcome, TASK_OK);
	CHECK_STR(str_from(t.trace), "");
	luavm_end(&t);
}

TEST(wait_and_wake)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "for i = 1, 3 do task(function()\n"
		      "  note(i .. ' got ' .. wait() .. ' and ' .. wait())\n"
		      "end) end");
	CHECK_INT(sched_tasks(t.vm), 3);
	CHECK_INT(sched_pooled(t.vm), 0);
	CHECK(!sched_is_ready(t.vm));
	t.wait[2].answer = 30;
	task_wake(&t.wait[2].w);
	task_wake(&t.wait[2].w); /* once is enough */
	t.wait[0].answer = 10;
	task_wake(&t.wait[0].w);
	CHECK_STR(str_from(t.record), ""); /* nothing runs in a wake */
	CHECK(!sched_drain(t.vm, 0));
	CHECK(t.wait[0].w.task == NULL && t.wait[2].w.task == NULL);
	luavm_wake(&t, 3, 31); /* of the third task: it was woken first */
	CHECK_STR(str_from(t.record), "3 got 30 and 31\n");
	luavm_wake(&t, 3, 99); /* nobody waits there any more */
	luavm_wake(&t, 4, 11);
	luavm_wake(&t, 1, 20);
	luavm_wake(&t, 5, 21);
	CHECK_STR(str_from(t.record), "3 got 30 and 31\n1 got 10 and 11\n"
				      "2 got 20 and 21\n");
	CHECK_INT(t.ended, 3);
	CHECK_INT(t.cancels, 0);
	luavm_end(&t);
}

/* The continuation may raise, as the function it continues may. */
TEST(raise_when_resumed)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() note(select(2, pcall(wait))) "
		      "wait() end)");
	luavm_wake(&t, 0, -1);
	CHECK_STR(str_from(t.record), "answer -1\n");
	luavm_wake(&t, 1, -2);
	CHECK_INT(t.outcome, TASK_ERROR);
	CHECK_HAS(t.trace, "answer -2");
	CHECK_HAS(t.trace, "stack traceback");
	luavm_end(&t);
}

TEST(yields_across_pcall_and_friends)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function()\n"
		      "  local ok, a = pcall(pcall, wait)\n"
		      "  local ok, b = xpcall(wait, print)\n"
		      "  local m = setmetatable({}, {__index = wait,\n"
		      "    __pairs = function() return function(_, i)\n"
		      "      if not i then return wait() end end end})\n"
		      "  for i in pairs(m) do note(i .. '') end\n"
		      "  note(m.x .. '')\n"
		      "  local ok, e = pcall(function() error(wait()) end)\n"
		      "  note(e .. '')\n"
		      "end)");
	for (int i = 0; i < 5; i++)
		luavm_wake(&t, i, i);
	CHECK_STR(str_from(t.record), "2\n3\n4\n");
	CHECK_INT(t.outcome, TASK_OK);
	luavm_end(&t);
}

TEST(places_that_cannot_wait)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function()\n"
		      "  note(select(2, pcall(table.sort, {2, 1}, wait)))\n"
		      "  wait()\n"
		      "end)");
	CHECK_HAS(t.record, "wait cannot wait in a function that a library");
	CHECK_INT(t.waits, 1);
	CHECK_INT(sched_tasks(t.vm), 1);
	luavm_end(&t);
	CHECK_INT(t.cancels, 1); /* by vm_free */
}

TEST(cancel_while_waiting)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function()\n"
		      "  local c <close> = setmetatable({}, {__close ="
		      "   function() note('closed') end})\n"
		      "  wait() note 'never' end)");
	task_cancel(&t.last);
	CHECK(t.last == NULL);
	CHECK(t.wait[0].cancelled && t.wait[0].w.task == NULL);
	CHECK_STR(str_from(t.record), "");
	CHECK(sched_is_ready(t.vm));
	sched_drain(t.vm, 0);
	CHECK_STR(str_from(t.record), "closed\n");
	CHECK_INT(t.ended, 0);
	CHECK_INT(sched_tasks(t.vm), 0);
	CHECK_INT(sched_pooled(t.vm), 1);
	task_cancel(&t.last);
	luavm_end(&t);
}

TEST(cancel_after_wake_and_before_start)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() wait() note 'never' end)");
	task_wake(&t.wait[0].w);
	task_cancel(&t.last);
	CHECK_INT(t.cancels, 1);
	sched_drain(t.vm, 0);
	luavm_end(&t);
	luavm_init(&t);
	CHECK_INT(luavm_start(&t, "task(note, 'never')"), 0);
	task_cancel(&t.last);
	sched_drain(t.vm, 0);
	CHECK_STR(str_from(t.record), "");
	CHECK_INT(sched_pooled(t.vm), 1);
	luavm_end(&t);
}

static int cancel_self(lua_State *L)
{
	struct task *t = task_current(L);

	CHECK(task_owner(t) == luavm_of(L));
	CHECK_STR(str_from(task_what(t)), "test");
	task_cancel(&t);
	return 0;
}

static int add_cancel_self(lua_State *L)
{
	lua_pushcfunction(L, cancel_self);
	vm_set_global(L, "cancel_self");
	return 0;
}

TEST(cancel_while_running)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, "task(function() _G.cancel_self() "
				  "note 'on' wait() note 'never' end)\n"
				  "task(function() _G.cancel_self() end)\n"
				  "task(function() _G.cancel_self() "
				  "error 'x' end)"),
		  0);
	vm_do(t.vm, add_cancel_self, NULL, "the set-up", NULL);
	sched_drain(t.vm, 0);
	CHECK_STR(str_from(t.record), "on\ncancelled task\n");
	CHECK_INT(t.cancels, 1);
	CHECK_INT(t.ended, 0);
	CHECK_INT(sched_tasks(t.vm), 0);
	luavm_end(&t);
}

TEST(condemned_while_it_holds_a_wait)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() "
		      "direct(function() while true do end end) wait() end)");
	CHECK_INT(t.condemned, 1);
	CHECK_INT(t.waits, t.cancels);
	CHECK_INT(sched_tasks(t.vm), 0);
	luavm_end(&t);
}

TEST(drain_is_bounded)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, "local function f() task(f) end task(f)"), 0);
	CHECK(sched_drain(t.vm, 0));
	CHECK_INT(t.ended, 10000);
	CHECK(sched_drain(t.vm, 5));
	CHECK_INT(t.ended, 10005);
	CHECK_INT(sched_tasks(t.vm), 1);
	luavm_end(&t);
}

TEST(too_many_tasks)
{
	struct luavm t;

	luavm_init(&t);
	t.conf.tasks_max = 10;
	t.conf.pool_max = 4;
	CHECK_INT(luavm_start(&t, "for i = 1, 10 do task(note, 'x') end "
				  "note(select(2, pcall(task, note, 'y')))"),
		  0);
	CHECK_STR(str_from(t.record), "too many tasks (10)\n");
	sched_drain(t.vm, 0);
	CHECK_INT(t.ended, 10);
	CHECK_INT(sched_pooled(t.vm), 4);
	luavm_end(&t);
}

TEST(coroutines_are_reused)
{
	struct luavm t;
	size_t bytes;

	luavm_init(&t);
	luavm_run(&t, "for i = 1, 100 do task(function(a, b, ...)\n"
		      "  local x <close> = nil\n"
		      "  if i % 3 == 0 then error 'x' end\n"
		      "  if i % 5 == 0 then while true do end end\n"
		      "  return ...\n"
		      "end, 1, 2, 3) end");
	CHECK_INT(t.ended, 100);
	CHECK_INT(t.errors, 33);
	CHECK_INT(t.condemned, 14);
	CHECK_INT(sched_pooled(t.vm), 86);
	bytes = t.mem.bytes;
	luavm_end(&t);
	CHECK(bytes < 100000);
}

static void on_end_raises(lua_State *L, struct task *task, void *owner,
			  const struct task_end *end)
{
	struct luavm *t = owner;

	(void)task;
	(void)end;
	t->ended++;
	luaL_error(L, "in on_end");
}

static int spawn_raising(lua_State *L)
{
	static const struct task_ops ops = {on_end_raises, "raising"};

	lua_getglobal(L, "note");
	lua_pushliteral(L, "ran");
	sched_spawn(L, 1, &ops, lua_touserdata(L, 1));
	lua_getglobal(L, "error");
	sched_spawn(L, 0, &ops, lua_touserdata(L, 1));
	return 0;
}

TEST(on_end_may_raise)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, "task(note, 'before')"), 0);
	CHECK_INT(vm_do(t.vm, spawn_raising, &t, "a test", NULL), 0);
	CHECK(!sched_drain(t.vm, 0));
	CHECK_INT(t.ended, 3);
	CHECK_STR(str_from(t.record), "before\nran\nin on_end\nin on_end\n");
	CHECK_INT(sched_tasks(t.vm), 0);
	luavm_end(&t);
}

static void on_end_sums(lua_State *L, struct task *task, void *owner,
			const struct task_end *end)
{
	struct luavm *t = owner;
	struct luavm *other = vm_ctx(end->co);

	(void)task;
	CHECK(other == t);
	CHECK(!task_current(end->co));
	for (int i = 1; i <= end->n; i++)
		t->results += (int)lua_tointeger(end->co, i);
	lua_checkstack(L, end->n);
	lua_xmove(end->co, L, end->n);
	CHECK_INT(lua_tointeger(L, -1), 3);
	lua_pop(L, end->n);
}

static int spawn_summing(lua_State *L)
{
	static const struct task_ops ops = {on_end_sums, "summing"};

	luaL_loadstring(L, "return 1, 2, 3");
	sched_spawn(L, 0, &ops, lua_touserdata(L, 1));
	return 0;
}

TEST(results_in_on_end)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, ""), 0);
	for (int i = 0; i < 3; i++) {
		vm_do(t.vm, spawn_summing, &t, "a test", NULL);
		sched_drain(t.vm, 0);
	}
	CHECK_INT(t.results, 18);
	CHECK_INT(sched_pooled(t.vm), 1);
	luavm_end(&t);
}

static int spawn_quiet(lua_State *L)
{
	static const struct task_ops ops = {NULL, "quiet"};

	lua_getglobal(L, "error");
	lua_pushliteral(L, "x");
	sched_spawn(L, 1, &ops, NULL);
	return 0;
}

TEST(without_on_end_errors_are_logged)
{
	struct luavm t;

	luavm_init(&t);
	CHECK_INT(luavm_start(&t, ""), 0);
	CHECK_INT(vm_do(t.vm, spawn_quiet, NULL, "a test", NULL), 0);
	sched_drain(t.vm, 0);
	CHECK_STR(str_from(t.record), "quiet\n");
	luavm_end(&t);
}

TEST(error_objects)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "task(function() error(setmetatable({}, {__tostring ="
		      " function() return 'an object' end})) end)");
	CHECK_HAS(t.trace, "an object\nstack traceback:");
	luavm_end(&t);
	luavm_init(&t);
	luavm_run(&t, "task(function() error(setmetatable({}, {__tostring ="
		      " function() while true do end end})) end)");
	CHECK_HAS(t.trace, "(error object is a table value)\nstack traceback:");
	luavm_end(&t);
	luavm_init(&t);
	luavm_run(&t, "task(error)");
	CHECK_HAS(t.trace, "nil\nstack traceback:");
	luavm_end(&t);
}

TEST(freed_while_waiting)
{
	struct luavm t;

	luavm_init(&t);
	luavm_run(&t, "for i = 1, 5 do task(wait) end");
	task_wake(&t.wait[1].w);
	CHECK_INT(vm_do(t.vm, luavm_task, NULL, "a test", NULL), ERR_STATE);
	luavm_end(&t);
	CHECK_INT(t.cancels, 5);
	for (int i = 0; i < 5; i++)
		CHECK(t.wait[i].w.task == NULL);
}

/* ---- handles ------------------------------------------------------------- */

struct thing {
	struct box *box;
	int n;
};

static const struct box_type thing_type;

static int thing_add(lua_State *L)
{
	struct thing *th = box_get(L, 1, &thing_type);

	th->n += (int)luaL_checkinteger(L, 2);
	lua_settop(L, 1);
	return 1;
}

static int thing_get(lua_State *L)
{
	struct thing *th = box_get(L, 1, &thing_type);

	if (strcmp(luaL_checkstring(L, 2), "n") != 0)
		return 0;
	lua_pushinteger(L, th->n);
	return 1;
}

static const luaL_Reg thing_methods[] = {{"add", thing_add}, {NULL, NULL}};
static const struct box_type thing_type = {
    .name = "test.thing",
    .gone = "thing is gone",
    .methods = thing_methods,
    .get = thing_get,
    .values = 1,
};
static const struct box_type other_type = {.name = "test.other"};

static int push_thing(lua_State *L)
{
	struct thing *th = lua_touserdata(L, lua_upvalueindex(1));

	box_push(L, th, &th->box, &thing_type);
	return 1;
}

static int open_things(lua_State *L)
{
	box_register(L, &thing_type);
	box_register(L, &other_type);
	lua_pushlightuserdata(L, lua_touserdata(L, 1));
	lua_pushcclosure(L, push_thing, 1);
	vm_set_global(L, "thing");
	return 0;
}

static int test_others(lua_State *L)
{
	struct thing *th = lua_touserdata(L, 1);

	box_push(L, th, &th->box, &thing_type);
	CHECK(box_test(L, -1, &thing_type) == th);
	CHECK(!box_test(L, -1, &other_type));
	lua_newuserdatauv(L, 0, 0);
	CHECK(!box_test(L, -1, &thing_type));
	lua_pushnil(L);
	CHECK(!box_test(L, -1, &thing_type));
	CHECK(!box_test(L, 77, &thing_type));
	return 0;
}

TEST(handles)
{
	static struct thing th;
	struct luavm t;

	luavm_init(&t);
	t.script = "local a = thing()\n"
		   "note(tostring(a) .. a:add(5).n)\n"
		   "note(tostring(thing() == a) .. tostring(a.none))\n"
		   "note(select(2, pcall(a.add, {})))\n"
		   "note(select(2, pcall(function() a.n = 1 end)))\n"
		   "note(select(2, pcall(setmetatable, a, {})))\n"
		   "note(tostring(getmetatable(a)))\n"
		   "task(function() wait()\n"
		   "  note(select(2, pcall(a.add, a, 1)))\n"
		   "  note(select(2, pcall(function() return a.n end)))\n"
		   "  note(tostring(a))\n"
		   "end)";
	t.vm = vm_new(&t.conf);
	vm_do(t.vm, luavm_open, NULL, "the set-up", NULL);
	CHECK_INT(vm_do(t.vm, open_things, &th, "the set-up", NULL), 0);
	CHECK_INT(vm_load(t.vm, "script.lua"), 0);
	sched_drain(t.vm, 0);
	CHECK(th.box != NULL);
	box_empty(&th.box);
	CHECK(th.box == NULL);
	box_empty(&th.box);
	luavm_wake(&t, 0, 1);
	CHECK_STR(str_from(t.record),
		  "test.thing: #15\n"
		  "truenil\n"
		  "script.lua:4: bad argument #1 (test.thing expected, got "
		  "table)\n"
		  "script.lua:5: field 'n' of test.thing cannot be set\n"
		  "bad argument #1 to 'setmetatable' (table expected, got "
		  "test.thing)\n"
		  "false\n"
		  "script.lua:9: thing is gone\n"
		  "script.lua:10: thing is gone\n"
		  "test.thing: #1 (gone)\n");
	luavm_end(&t);
}

TEST(handles_are_collected_and_made_again)
{
	static struct thing th;
	struct luavm t;
	struct box *first;

	th.box = NULL;
	luavm_init(&t);
	CHECK_INT(luavm_start(&t, ""), 0);
	CHECK_INT(vm_do(t.vm, open_things, &th, "the set-up", NULL), 0);
	vm_do(t.vm, test_others, &th, "a test", NULL);
	first = th.box;
	CHECK(first != NULL);
	for (int i = 0; i < 100 && th.box; i++)
		vm_idle(t.vm);
	CHECK(th.box == NULL);
	vm_free(&t.vm);
	CHECK(th.box == NULL);
	CHECK_INT(t.mem.bytes, 0);
}
