#include "lua/script_int.h"

#include <string.h>

/*
 * core.every and core.after. A timer is a block, anchored while it runs or a
 * run of it does.
 */

struct ltimer {
	struct list link; /* script.timers, while anchored */
	struct timer timer;
	struct script *s;
	struct box *box;
	struct ltask *running;
	int anchor, fn;
	int64_t period;
	double jitter;
	bool repeats;
	bool active;
};

/* ---- its end ---- */

/* Without a reference left it may be collected at once. */
static void release(struct ltimer *lt)
{
	int anchor = lt->anchor;

	if (lt->active || lt->running)
		return;
	list_remove(&lt->link);
	lt->anchor = LUA_NOREF;
	vm_unref(lt->s->vm, anchor);
}

static void stop(struct ltimer *lt)
{
	struct script *s = lt->s;

	if (!lt->active)
		return;
	lt->active = false;
	s->n_timers--;
	if (s->core)
		timer_stop(core_timers(s->core), &lt->timer);
	vm_unref(s->vm, lt->fn);
	lt->fn = LUA_NOREF;
}

void ltimer_run_ended(struct ltimer *lt)
{
	lt->running = NULL;
	release(lt);
}

void timers_stop(struct script *s)
{
	list_each_safe (it, &s->timers) {
		struct ltimer *lt = container_of(it, struct ltimer, link);

		stop(lt);
		release(lt);
	}
}

/* ---- running ---- */

static const struct task_ops timer_ops = {ltask_on_end, "timer"};

static int start_run(lua_State *L)
{
	struct ltimer *lt = lua_touserdata(L, 1);
	struct ltask *t;

	vm_push_ref(L, lt->fn);
	t = ltask_start(L, 0, &timer_ops);
	t->timer = lt;
	lt->running = t;
	return 0;
}

static void arm(struct ltimer *lt, tick_t from)
{
	struct script *s = lt->s;
	int64_t us = lt->period;

	if (lt->jitter > 0)
		us += (int64_t)((double)us * lt->jitter *
				(2 * rand_unit(&s->rand) - 1));
	timer_arm(core_timers(s->core), &lt->timer, tick_add(from, us));
}

static void on_time(struct timer *timer, struct now now)
{
	struct ltimer *lt = container_of(timer, struct ltimer, timer);
	struct script *s = lt->s;
	int err = 0;

	s->now = now;
	if (lt->repeats) {
		/* From when it was due: no drift. Unless that is long past. */
		tick_t from = timer->deadline;

		if (tick_diff(now.mono, from) > lt->period)
			from = now.mono;
		arm(lt, from);
	}
	if (!lt->running)
		err = vm_do(s->vm, start_run, lt, "the start of a task", NULL);
	if (err)
		script_failed(s, "timer");
	if (!lt->repeats) {
		stop(lt);
		release(lt);
	}
}

void timers_bind(struct script *s)
{
	list_each (it, &s->timers) {
		struct ltimer *lt = container_of(it, struct ltimer, link);

		arm(lt, s->now.mono);
	}
}

/* ---- the API ---- */

static int l_cancel(lua_State *L);

static const luaL_Reg methods[] = {{"cancel", l_cancel}, {NULL, NULL}};

static const struct box_type timer_type = {.name = "tandem.Timer",
					   .gone = "the timer is gone",
					   .methods = methods,
					   .values = 1};

static int l_cancel(lua_State *L)
{
	struct ltimer *lt = box_get(L, 1, &timer_type);

	if (!lt->active)
		return 0;
	stop(lt);
	release(lt);
	return 0;
}

/* Function at 2. Leaves the handle. */
static int make(lua_State *L, int64_t period, double jitter, bool repeats)
{
	struct script *s = script_of(L);
	struct ltimer *lt;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lt = lua_newuserdatauv(L, sizeof(*lt), 0);
	memset(lt, 0, sizeof(*lt));
	lt->s = s;
	lt->period = period;
	lt->jitter = jitter;
	lt->repeats = repeats;
	lt->fn = lt->anchor = LUA_NOREF;
	timer_init(&lt->timer, on_time);
	lua_pushvalue(L, -1);
	block_push_handle(L, lt, &lt->box, &timer_type);
	lua_insert(L, -2); /* handle, block */
	if (s->quiet) {
		lua_pop(L, 1);
		return 1;
	}
	lua_pushvalue(L, 2);
	lt->fn = vm_ref(L);
	lt->anchor = vm_ref(L);
	lt->active = true;
	s->n_timers++;
	list_append(&s->timers, &lt->link);
	if (s->core)
		arm(lt, s->now.mono);
	return 1;
}

/* core.every(seconds, fn[, jitter]) */
static int l_every(lua_State *L)
{
	int64_t us = script_us(L, 1, "every");
	lua_Number jitter = luaL_optnumber(L, 3, 0);

	if (us < 1000)
		return vm_raise(L, "every: at least a millisecond");
	if (!(jitter >= 0 && jitter < 1))
		return vm_raise(L, "every: jitter: a fraction below 1");
	return make(L, us, jitter, true);
}

/* core.after(seconds, fn) */
static int l_after(lua_State *L)
{
	return make(L, script_us(L, 1, "after"), 0, false);
}

void bind_timer(lua_State *L)
{
	box_register(L, &timer_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, l_every);
	lua_setfield(L, -2, "every");
	lua_pushcfunction(L, l_after);
	lua_setfield(L, -2, "after");
}
