#include "lua/sched.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "lua/vm_int.h"

enum state {
	TASK_IDLE,    /* in the pool, or being made */
	TASK_NEW,     /* ready: function and arguments on its stack */
	TASK_RUNNING, /* in no list */
	TASK_WAITING, /* wait is set */
	TASK_WOKEN,   /* ready; wait is set */
	TASK_CLOSING, /* ready: cancelled, its coroutine is to be closed */
};

enum { DRAIN_MAX = 10000 };

struct task {
	struct list node;
	struct vm *vm;
	lua_State *co;
	struct wait *wait;
	const struct task_ops *ops;
	void *owner;
	int nargs;
	struct task_end end;
	enum state state;
	bool cancelled; /* while running */
};

/* Registry: light userdata of the thread -> the thread. */
static const char threads_key = 0;
static const struct task_ops no_ops = {NULL, "cancelled task"};

#define TASK_OF(n) container_of(n, struct task, node)

void sched_init(struct vm *vm)
{
	list_init(&vm->sched.ready);
	list_init(&vm->sched.waiting);
	list_init(&vm->sched.idle);
}

static void move(struct task *t, struct list *to, enum state state)
{
	list_remove(&t->node);
	if (to)
		list_append(to, &t->node);
	t->state = state;
}

/* ---- coroutines ---------------------------------------------------------- */

/* A new idle task. [-0, +0, m] */
static struct task *make(lua_State *L)
{
	struct vm *vm = vm_of(L);
	struct task *t;
	lua_State *co;

	luaL_checkstack(L, 4, "to start a task");
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &threads_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &threads_key);
	}
	co = lua_newthread(L);
	lua_rawsetp(L, -2, co);
	t = mem_zalloc(vm->conf.mem, sizeof(*t));
	if (!t) {
		lua_pushnil(L);
		lua_rawsetp(L, -2, co);
		luaL_error(L, "not enough memory for a task");
	}
	lua_pop(L, 1);
	t->vm = vm;
	t->co = co;
	return t;
}

/* Leaves the coroutine to the collector. Cannot fail: the slot exists. */
static void drop(struct task *t)
{
	struct vm *vm = t->vm;
	lua_State *L = vm->L;

	list_remove(&t->node);
	if (lua_checkstack(L, 2)) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &threads_key);
		lua_pushnil(L);
		lua_rawsetp(L, -2, t->co);
		lua_pop(L, 1);
	}
	mem_free(vm->conf.mem, t);
}

/* The coroutine has ended, and can start another function. */
static void recycle(struct task *t)
{
	struct sched *s = &t->vm->sched;

	lua_settop(t->co, 0);
	if (s->pooled >= t->vm->conf.pool_max) {
		drop(t);
		return;
	}
	t->owner = NULL;
	t->cancelled = false;
	move(t, &s->idle, TASK_IDLE);
	s->pooled++;
}

/* Runs the pending to-be-closed variables of a coroutine that has not ended
 * well, with a budget of their own. False when that was spent. */
static bool close_thread(struct task *t)
{
	struct vm *vm = t->vm;
	enum vm_limit limit;

	limit_begin(vm, t->co);
	lua_resetthread(t->co);
	limit = vm->e.limit;
	limit_end(vm);
	return limit == VM_LIMIT_NONE;
}

/* ---- start, suspend, wake, cancel ---------------------------------------- */

static struct task *take(lua_State *L)
{
	struct vm *vm = vm_of(L);
	struct list *n = list_first(&vm->sched.idle);

	if (vm->sched.tasks >= vm->conf.tasks_max)
		luaL_error(L, "too many tasks (%d)", (int)vm->conf.tasks_max);
	if (!n)
		return make(L);
	list_remove(n);
	vm->sched.pooled--;
	return TASK_OF(n);
}

struct task *sched_spawn(lua_State *L, int nargs, const struct task_ops *ops,
			 void *owner)
{
	struct task *t = take(L);

	if (!lua_checkstack(t->co, nargs + 1 + LUA_MINSTACK)) {
		recycle(t);
		luaL_error(L, "not enough memory for a task");
	}
	lua_xmove(L, t->co, nargs + 1);
	t->ops = ops;
	t->owner = owner;
	t->nargs = nargs;
	t->vm->sched.tasks++;
	move(t, &t->vm->sched.ready, TASK_NEW);
	return t;
}

struct task *task_current(lua_State *L)
{
	struct task *t = vm_of(L)->sched.current;

	return t && t->co == L ? t : NULL;
}

static void refuse_yield(lua_State *L, const char *what)
{
	struct vm *vm = vm_of(L);

	if (vm->where)
		vm_raise(L, "%s cannot wait in %s%s%s", what, vm->where,
			 vm->instead ? ": " : "",
			 vm->instead ? vm->instead : "");
	vm_raise(L,
		 "%s cannot wait in a function that a library calls "
		 "(table.sort, string.gsub, __tostring, __close of a failed "
		 "task): call it outside",
		 what);
}

void task_check_yield(lua_State *L, const char *what)
{
	if (!task_current(L) || !lua_isyieldable(L))
		refuse_yield(L, what);
}

static int resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct wait *w = (struct wait *)ctx;

	(void)status;
	task_current(L)->wait = NULL;
	w->task = NULL;
	w->woken = false;
	return w->push(L, w);
}

int task_suspend(lua_State *L, struct wait *w, const char *what)
{
	struct task *t = task_current(L);

	task_check_yield(L, what);
	assert(!t->wait && !w->task && w->cancel && w->push);
	t->wait = w;
	w->task = t;
	w->woken = false;
	return lua_yieldk(L, 0, (lua_KContext)w, resumed);
}

void task_wake(struct wait *w)
{
	struct task *t = w->task;

	if (!t || w->woken)
		return;
	assert(t->state == TASK_WAITING);
	w->woken = true;
	move(t, &t->vm->sched.ready, TASK_WOKEN);
}

static void cancel_wait(struct task *t)
{
	struct wait *w = t->wait;

	if (!w)
		return;
	t->wait = NULL;
	w->task = NULL;
	w->woken = false;
	w->cancel(w);
}

void task_cancel(struct task **slot)
{
	struct task *t = *slot;

	*slot = NULL;
	if (!t)
		return;
	t->ops = &no_ops;
	t->owner = NULL;
	if (t->state == TASK_RUNNING) {
		t->cancelled = true;
		return;
	}
	assert(t->state != TASK_IDLE && t->state != TASK_CLOSING);
	move(t, &t->vm->sched.ready, TASK_CLOSING);
	cancel_wait(t);
}

void *task_owner(const struct task *t)
{
	return t->owner;
}

void task_set_owner(struct task *t, void *owner)
{
	t->owner = owner;
}

const char *task_what(const struct task *t)
{
	return t->ops->what;
}

/* ---- running ------------------------------------------------------------- */

/* main: its light userdata is the ended task; text to sched.trace. */
static int describe(lua_State *L)
{
	struct task *t = lua_touserdata(L, 1);
	struct sched *s = &t->vm->sched;

	if (t->end.outcome == TASK_CONDEMNED) {
		lua_pushfstring(L, VM_STOPPED, vm_limit_name(t->end.limit));
		luaL_traceback(L, t->co, lua_tostring(L, -1), 0);
		strncpy(s->trace, lua_tostring(L, -1), sizeof(s->trace) - 1);
	} else {
		vm_describe(L, t->co, 0, s->trace, sizeof(s->trace));
	}
	return 0;
}

/* Does not raise; __tostring of an error object runs with a budget of its
 * own. */
static void describe_safely(lua_State *L, struct task *t)
{
	struct sched *s = &t->vm->sched;
	struct entry before = t->vm->e; /* what vm_spent tells */
	int status;

	memset(s->trace, 0, sizeof(s->trace));
	limit_begin(t->vm, L);
	lua_pushcfunction(L, describe);
	lua_pushlightuserdata(L, t);
	status = lua_pcall(L, 1, 0, 0);
	limit_end(t->vm);
	t->vm->e = before;
	if (status == LUA_OK)
		return;
	lua_pop(L, 1);
	if (s->trace[0])
		return;
	if (t->end.limit)
		snprintf(s->trace, sizeof(s->trace), VM_STOPPED,
			 vm_limit_name(t->end.limit));
	else
		strcpy(s->trace, "not enough memory");
}

/* The coroutine is pooled or dropped. Should closing it raise, for lack of
 * memory, then the second try drops it. */
static void dispose(struct task *t)
{
	struct sched *s = &t->vm->sched;
	enum task_outcome outcome = t->end.outcome;
	bool usable = outcome != TASK_CONDEMNED;

	s->ending = t;
	t->end.outcome = TASK_CONDEMNED;
	if (usable && (outcome == TASK_ERROR || lua_status(t->co) != LUA_OK))
		usable = close_thread(t);
	s->ending = NULL;
	s->tasks--;
	if (usable)
		recycle(t);
	else
		drop(t);
}

static void finish(lua_State *L, struct task *t)
{
	struct sched *s = &t->vm->sched;

	s->ending = t;
	cancel_wait(t);
	if (t->end.outcome != TASK_OK)
		describe_safely(L, t);
	t->end.trace = t->end.outcome == TASK_OK ? "" : s->trace;
	if (t->ops->on_end)
		t->ops->on_end(L, t, t->owner, &t->end); /* may raise */
	else if (t->end.outcome != TASK_OK)
		vm_log(t->vm, LOG_ERROR, t->ops->what, s->trace);
	dispose(t);
}

static void run(lua_State *L, struct task *t)
{
	struct vm *vm = t->vm;
	struct sched *s = &vm->sched;
	int status, n;

	n = t->state == TASK_NEW ? t->nargs : 0;
	move(t, NULL, TASK_RUNNING);
	s->current = t;
	limit_begin(vm, t->co);
	status = lua_resume(t->co, L, n, &n);
	t->end = (struct task_end){.co = t->co};
	if (status != LUA_OK && vm->e.limit) {
		t->end.outcome = TASK_CONDEMNED;
		t->end.limit = vm->e.limit;
	} else if (status == LUA_OK) {
		t->end.n = n;
	} else if (status != LUA_YIELD) {
		t->end.outcome = TASK_ERROR;
	}
	limit_end(vm);
	s->current = NULL;
	if (status == LUA_YIELD && !t->end.limit && !t->cancelled) {
		assert(t->wait);
		move(t, &s->waiting, TASK_WAITING);
		return;
	}
	finish(L, t);
}

static int drain(lua_State *L)
{
	struct sched *s = &vm_of(L)->sched;
	struct list *n;
	struct task *t;

	while (s->left > 0 && (n = list_first(&s->ready))) {
		s->left--;
		t = TASK_OF(n);
		if (t->state != TASK_CLOSING) {
			run(L, t);
			continue;
		}
		t->end = (struct task_end){.outcome = TASK_OK};
		list_remove(&t->node);
		dispose(t);
	}
	return 0;
}

/* An error that on_end let out. */
static void log_escaped(struct vm *vm, lua_State *L)
{
	const char *text = "error at the end of a task";

	if (lua_type(L, -1) == LUA_TSTRING)
		text = lua_tostring(L, -1);
	vm_log(vm, LOG_ERROR, text, "");
}

bool sched_drain(struct vm *vm, size_t max)
{
	struct sched *s = &vm->sched;
	lua_State *L = vm->L;
	bool stuck = false;

	assert(!vm_inside(vm));
	if (list_empty(&s->ready))
		return false;
	s->draining = true;
	s->left = max ? max : DRAIN_MAX;
	while (!stuck) {
		lua_pushcfunction(L, drain);
		if (lua_pcall(L, 0, 0, 0) == LUA_OK)
			break;
		log_escaped(vm, L);
		lua_pop(L, 1);
		if (vm->depth > 0)
			limit_end(vm);
		stuck = !s->ending;
		if (s->ending)
			dispose(s->ending);
	}
	s->draining = false;
	return !list_empty(&s->ready);
}

bool sched_is_ready(const struct vm *vm)
{
	return !list_empty(&vm->sched.ready);
}

size_t sched_tasks(const struct vm *vm)
{
	return vm->sched.tasks;
}

size_t sched_pooled(const struct vm *vm)
{
	return vm->sched.pooled;
}

/* ---- the end of the state ------------------------------------------------ */

static void free_all(struct vm *vm, struct list *head)
{
	struct list *n;

	while ((n = list_first(head))) {
		struct task *t = TASK_OF(n);

		list_remove(n);
		cancel_wait(t);
		mem_free(vm->conf.mem, t);
	}
}

void sched_fini(struct vm *vm)
{
	free_all(vm, &vm->sched.waiting);
	free_all(vm, &vm->sched.ready);
	free_all(vm, &vm->sched.idle);
}
