#include "lua/script_int.h"

#include <string.h>

/* core.spawn, task:wait, core.sleep. */

/* ---- tasks ---- */

static bool is_in_request(lua_State *L)
{
	struct task *t = task_current(L);
	struct ltask *lt;

	if (!t)
		return false;
	lt = task_is_handler(t) ? NULL : task_owner(t);
	return !lt || lt->in_request;
}

struct ltask *ltask_start(lua_State *L, int nargs, const struct task_ops *ops)
{
	struct script *s = script_of(L);
	bool in_request = is_in_request(L);
	struct ltask *t;
	struct task *task;
	int anchor;

	luaL_checkstack(L, 4, NULL);
	t = lua_newuserdatauv(L, sizeof(*t), 1);
	memset(t, 0, sizeof(*t));
	t->s = s;
	t->in_request = in_request;
	list_init(&t->waiters);
	lua_insert(L, -nargs - 2);
	/* Should the reference fail, it runs without an owner. */
	task = sched_spawn(L, nargs, ops, NULL);
	lua_pushvalue(L, -1);
	anchor = vm_ref(L);
	t->anchor = anchor;
	t->task = task;
	task_set_owner(task, t);
	list_append(&s->tasks, &t->link);
	return t;
}

/* The end of it in C; the block is only the handle's now. */
static void let_go(struct ltask *t)
{
	t->task = NULL;
	list_remove(&t->link);
	list_each_safe (it, &t->waiters)
		list_remove(it);
	if (t->timer)
		ltimer_run_ended(t->timer);
	t->timer = NULL;
}

struct task_wait {
	struct wait w;
	struct list link; /* ltask.waiters */
};

static void wake_all(struct ltask *t)
{
	list_each (it, &t->waiters)
		task_wake(&container_of(it, struct task_wait, link)->w);
}

/* Pushes the results of the task as a table. */
static void keep_results(lua_State *L, const struct task_end *end)
{
	int t;

	luaL_checkstack(L, end->n + 2, "too many results");
	lua_createtable(L, end->n, 1);
	t = lua_gettop(L);
	lua_pushinteger(L, end->n);
	lua_setfield(L, t, "n");
	lua_xmove(end->co, L, end->n);
	for (int i = end->n; i >= 1; i--)
		lua_rawseti(L, t, i);
}

void ltask_on_end(lua_State *L, struct task *task, void *owner,
		  const struct task_end *end)
{
	struct ltask *t = owner;
	int anchor;

	if (end->outcome != TASK_OK)
		script_error(script_of(L), task_what(task), end->trace,
			     end->limit, NULL);
	if (!t)
		return;
	t->ok = end->outcome == TASK_OK;
	anchor = t->anchor;
	wake_all(t);
	let_go(t);
	vm_push_ref(L, anchor);
	vm_unref(t->s->vm, anchor);
	if (t->ok && t->box) {
		keep_results(L, end);
		lua_setiuservalue(L, -2, 1);
	}
	lua_pop(L, 1);
}

void ltask_cancel(struct ltask *t)
{
	task_cancel(&t->task);
	wake_all(t);
	let_go(t);
	vm_unref(t->s->vm, t->anchor); /* t may be collected from here on */
}

static int l_wait(lua_State *L);
static int l_cancel(lua_State *L);

static const luaL_Reg task_methods[] = {
    {"wait", l_wait}, {"cancel", l_cancel}, {NULL, NULL}};

static const struct box_type task_type = {.name = "tandem.Task",
					  .gone = "the task is gone",
					  .methods = task_methods,
					  .values = 1};

static const struct task_ops spawn_ops = {ltask_on_end, "spawned task"};

static int l_spawn(lua_State *L)
{
	struct ltask *t;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	if (!script_is_bound(script_of(L)))
		return vm_raise(L, "core.spawn: not while the script loads");
	lua_settop(L, 1);
	t = ltask_start(L, 0, &spawn_ops);
	block_push_handle(L, t, &t->box, &task_type);
	return 1;
}

/* What the function returned; handle at 1. */
static int push_results(lua_State *L)
{
	lua_Integer n;

	lua_getiuservalue(L, 1, 1);
	if (lua_getiuservalue(L, -1, 1) != LUA_TTABLE) {
		lua_pushnil(L);
		lua_pushliteral(L, "failed");
		return 2;
	}
	lua_getfield(L, -1, "n");
	n = lua_tointeger(L, -1);
	lua_pop(L, 1);
	luaL_checkstack(L, (int)n, "too many results");
	for (lua_Integer i = 1; i <= n; i++)
		lua_rawgeti(L, -(int)i, i);
	return (int)n;
}

static void on_wait_cancel(struct wait *w)
{
	list_remove(&container_of(w, struct task_wait, w)->link);
}

static int on_wait_push(lua_State *L, struct wait *w)
{
	list_remove(&container_of(w, struct task_wait, w)->link);
	return push_results(L);
}

/* task:wait() */
static int l_wait(lua_State *L)
{
	struct ltask *t = box_get(L, 1, &task_type);
	struct task_wait *tw;

	lua_settop(L, 1);
	if (!t->task)
		return push_results(L);
	task_check_yield(L, "task:wait");
	if (task_current(L) == t->task)
		return vm_raise(L, "task:wait: a task cannot wait for "
				   "itself");
	tw = lua_newuserdatauv(L, sizeof(*tw), 0);
	*tw = (struct task_wait){
	    .w = {.cancel = on_wait_cancel, .push = on_wait_push}};
	list_append(&t->waiters, &tw->link);
	return task_suspend(L, &tw->w, "task:wait");
}

/* task:cancel(): ends it where it waits */
static int l_cancel(lua_State *L)
{
	struct ltask *t = box_get(L, 1, &task_type);

	if (!t->task)
		return 0;
	if (task_current(L) == t->task)
		return vm_raise(L, "task:cancel: a task cannot cancel "
				   "itself; return");
	ltask_cancel(t);
	return 0;
}

/* ---- sleep ---- */

struct sleep {
	struct wait w;
	struct timer timer;
	struct script *s;
};

static void on_time(struct timer *t, struct now now)
{
	struct sleep *sl = container_of(t, struct sleep, timer);

	sl->s->now = now;
	task_wake(&sl->w);
}

static void on_sleep_cancel(struct wait *w)
{
	struct sleep *sl = container_of(w, struct sleep, w);

	if (sl->s->core)
		timer_stop(core_timers(sl->s->core), &sl->timer);
}

static int on_sleep_push(lua_State *L, struct wait *w)
{
	(void)L;
	(void)w;
	return 0;
}

static int l_sleep(lua_State *L)
{
	struct script *s = script_of(L);
	int64_t us = script_us(L, 1, "sleep");
	struct sleep *sl;

	task_check_yield(L, "sleep");
	sl = lua_newuserdatauv(L, sizeof(*sl), 0);
	*sl = (struct sleep){
	    .w = {.cancel = on_sleep_cancel, .push = on_sleep_push}, .s = s};
	timer_init(&sl->timer, on_time);
	timer_arm(core_timers(script_core(L)), &sl->timer,
		  tick_add(s->now.mono, us));
	return task_suspend(L, &sl->w, "sleep");
}

void bind_task(lua_State *L)
{
	box_register(L, &task_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, l_spawn);
	lua_setfield(L, -2, "spawn");
	lua_pushcfunction(L, l_sleep);
	lua_setfield(L, -2, "sleep");
}
