#include "lua/script_int.h"

#include "lua/vm_int.h"

/*
 * The life of a script on a core: attached, started, the core's user, retired
 * when another one takes over, ended.
 */

static int run_hook(lua_State *L)
{
	int *ref = lua_touserdata(L, 1);

	vm_push_ref(L, *ref);
	lua_call(L, 0, 0);
	return 0;
}

/* The hooks of start and stop go through all servers that there are, and it is
 * not the script that runs in them: what limits a handler is no measure. */
static int call_hook(struct script *s, enum hook hook, const char *where)
{
	struct vm_conf *conf = &s->vm->conf, handlers = *conf;
	int err;

	if (s->hook[hook] == LUA_NOREF)
		return 0;
	conf->cpu_us = SECONDS(10);
	conf->memory_entry = 0;
	conf->instructions = conf->load_instructions;
	err = vm_do(s->vm, run_hook, &s->hook[hook], where,
		    "start a task for it");
	conf->cpu_us = handlers.cpu_us;
	conf->memory_entry = handlers.memory_entry;
	conf->instructions = handlers.instructions;
	return err;
}

static void on_kick(struct timer *t, struct now now)
{
	(void)t;
	(void)now; /* the entry itself is what was wanted */
}

void script_kick(struct script *s)
{
	/* Not at once: what makes itself ready again and again must not stop
	 * the clock. */
	if (s->core && !timer_armed(&s->kick))
		timer_arm(core_timers(s->core), &s->kick,
			  tick_add(s->now.mono, MILLIS(1)));
}

static void cancel_tasks(struct script *s, bool all)
{
	list_each_safe (it, &s->tasks) {
		struct ltask *t = container_of(it, struct ltask, link);

		if (all || !t->in_request)
			ltask_cancel(t);
	}
}

const struct script *script_heir(const struct script *s)
{
	const struct core_user *u = core_user(s->core);

	return u && u->drain == s->user.drain ? u->ctx : NULL;
}

/* ---- it begins ---- */

int script_attach(struct script *s, struct core *core,
		  const struct script *before, struct now now)
{
	int err;

	s->now = now;
	s->core = core;
	s->node = core_node(core);
	s->before = before;
	s->generation = s->node->generation + (before ? 1 : 0);
	timer_init(&s->kick, on_kick);
	err = facts_bind(s);
	if (err) {
		s->core = NULL;
		return err;
	}
	s->phase = SCRIPT_BOUND;
	counters_bind(s);
	return 0;
}

int script_start(struct script *s, char *err, size_t errlen)
{
	timers_bind(s);
	if (call_hook(s, HOOK_START, "the start") == 0)
		return 0;
	script_copy_error(s, err, errlen);
	return ERR_CONFIG;
}

void script_inherit(struct script *s, const struct script *before)
{
	counters_inherit(s, before);
}

void script_take_over(struct script *s)
{
	s->before = NULL;
	s->user = policy_user(s);
	s->is_user = true;
	core_set_user(s->core, &s->user);
	if (sched_is_ready(s->vm))
		script_kick(s);
}

int script_bind(struct script *s, struct core *core, struct now now)
{
	char why[1];
	int err = script_attach(s, core, NULL, now);

	if (err)
		return err;
	script_take_over(s);
	err = script_start(s, why, sizeof(why));
	if (err) {
		script_failed(s, "the start");
		script_unbind(s, now);
	} else if (sched_is_ready(s->vm)) {
		script_kick(s);
	}
	return err;
}

/* ---- and ends ---- */

static void call_stop(struct script *s)
{
	if (s->is_user && s->phase == SCRIPT_BOUND &&
	    call_hook(s, HOOK_STOP, "the stop") != 0)
		script_failed(s, "the stop");
}

void script_retire(struct script *s, struct now now)
{
	s->now = now;
	call_stop(s);
	s->phase = SCRIPT_RETIRED;
	s->quiet = true;
	timers_stop(s);
	cancel_tasks(s, false);
	owns_sweep(s);
	counters_keep(s);
	if (sched_is_ready(s->vm))
		script_kick(s);
}

bool script_is_over(const struct script *s)
{
	return s->phase == SCRIPT_RETIRED && list_empty(&s->calls);
}

bool script_is_idle(const struct script *s)
{
	return list_empty(&s->calls);
}

void script_unbind(struct script *s, struct now now)
{
	if (!script_is_bound(s))
		return;
	s->now = now;
	call_stop(s);
	if (s->is_user && s->phase != SCRIPT_RETIRED)
		counters_keep(s);
	s->phase = SCRIPT_STOPPING;
	s->quiet = true;
	timers_stop(s);
	cancel_tasks(s, true);
	policy_stop(s);
	/* What was cancelled runs its to-be-closed variables; what those start
	 * ends here as well. */
	if (s->is_user)
		sched_drain(s->vm, 0);
	cancel_tasks(s, true);
	owns_stop(s);
	timer_stop(core_timers(s->core), &s->kick);
	if (s->is_user)
		core_drop_user(s->core, &s->user);
	s->is_user = false;
	s->core = NULL;
	s->phase = SCRIPT_UNBOUND;
}

void script_quiesce(struct script *s, struct now now)
{
	if (!script_is_bound(s))
		return;
	s->now = now;
	s->quiet = true;
	timers_stop(s);
	cancel_tasks(s, false);
	if (sched_is_ready(s->vm))
		script_kick(s);
}
