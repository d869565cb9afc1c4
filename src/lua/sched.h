/*
 * Tasks: coroutines that C starts, suspends and wakes. Nothing here is ever
 * resumed from inside another Lua call: a wake only appends to the ready
 * queue, which the core drains at the end of each of its entries. First woken,
 * first run.
 *
 * Coroutines are pooled. One that ended well is reused; one that failed has
 * its pending to-be-closed variables run and is then reused or left to the
 * collector; one that was condemned is left alone, nothing of it ever runs
 * again, its to-be-closed variables included.
 */
#ifndef LUA_SCHED_H
#define LUA_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <lua.h>
#include "lua/vm.h"

struct task;

/* Why a task is not running. The binding embeds it in what it waits for, sets
 * both functions and gives it to task_suspend; a suspended task has exactly
 * one. Its memory must live until push or cancel was called; exactly one of
 * them is, once. */
struct wait {
	/* The task is gone (cancelled, or its vm is freed), woken or not:
	 * forget about it. No Lua here. */
	void (*cancel)(struct wait *w);
	/* The task was woken and runs again: this is the rest of the
	 * lua_CFunction that suspended it. Runs in the task, protected; pushes
	 * and returns results as a lua_CFunction does, may raise, may suspend
	 * again (return task_suspend(...)). The stack holds what it held when
	 * task_suspend was called. */
	int (*push)(lua_State *L, struct wait *w);
	/* Set by task_suspend, NULL when no task waits. Read only. */
	struct task *task;
	bool woken;
};

enum task_outcome { TASK_OK, TASK_ERROR, TASK_CONDEMNED };

struct task_end {
	enum task_outcome outcome;
	enum vm_limit limit; /* TASK_CONDEMNED: which */
	/* Message and traceback, NUL-terminated, also for TASK_CONDEMNED;
	 * "" for TASK_OK. Valid until the callback returns. */
	const char *trace;
	/* TASK_OK: the results are at 1..n of co; copy with lua_xmove(co, L,
	 * n) after lua_checkstack. */
	lua_State *co;
	int n;
};

struct task_ops {
	/* Called once, from sched_drain, unless the task was cancelled. The
	 * task is no longer valid afterwards. L is the main thread, protected:
	 * an error raised here is logged and goes no further, so do the C work
	 * first. May be NULL. */
	void (*on_end)(lua_State *L, struct task *t, void *owner,
		       const struct task_end *end);
	const char *what; /* for log lines: "route", "timer" */
};

/* Starts a task with the function below nargs arguments at the top of L (any
 * thread; pops them). It runs in the next sched_drain. Protected callers only:
 * raises when memory or tasks_max ran out, and then nothing was started. */
struct task *sched_spawn(lua_State *L, int nargs, const struct task_ops *ops,
			 void *owner);

/* Runs what is ready, in order, and what that makes ready, but at most `max`
 * resumes (0: 10000). Returns true when something is ready still: call again
 * soon. Not from inside Lua. */
bool sched_drain(struct vm *vm, size_t max);
bool sched_is_ready(const struct vm *vm);
size_t sched_tasks(const struct vm *vm);  /* alive */
size_t sched_pooled(const struct vm *vm); /* idle coroutines */

/* The end of a lua_CFunction: return task_suspend(L, w, "req:try"). Raises,
 * leaving w untouched, when the caller cannot yield (a policy function, a sort
 * comparison, while loading, ...); the text names `what` and the place. To
 * know before doing work, call task_check_yield first. */
int task_suspend(lua_State *L, struct wait *w, const char *what);
void task_check_yield(lua_State *L, const char *what);

/* Makes the waiting task ready. Does nothing when it already is, or when no
 * task waits: what is there before task_suspend need not be waited for.
 * Callable anywhere, never runs Lua, never fails. */
void task_wake(struct wait *w);

/* Ends a task from outside: its wait is cancelled now, on_end is not called,
 * the pointer is invalid. Its to-be-closed variables run in the next drain.
 * Callable anywhere; a task that is just running ends at its next suspension.
 * *t becomes NULL; NULL inside is fine. */
void task_cancel(struct task **t);

/* The task that runs in L; NULL when none does (an entry through vm_do). */
struct task *task_current(lua_State *L);
void *task_owner(const struct task *t);
void task_set_owner(struct task *t, void *owner);
const char *task_what(const struct task *t);

#endif
