/*
 * A Lua state for unit tests: a script given as text, run as tasks, its
 * outcomes recorded. What scripts find besides the environment: task(fn, ...)
 * starts a task; note(text) appends to a record; wait() suspends until
 * luavm_wake; direct(fn) calls without yielding and gives ok, message; tick()
 * fires the ticker, if there is one.
 */
#ifndef SUPPORT_LUAVM_H
#define SUPPORT_LUAVM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua/box.h"
#include "lua/sched.h"
#include "lua/ticker.h"
#include "lua/vm.h"
#include "support/unit.h"

enum { LUAVM_WAITS = 64 };

struct luavm_file {
	const char *name, *text;
};

struct luavm {
	struct mem mem;
	struct vm *vm;
	struct vm_conf conf;
	const char *script;
	const struct luavm_file *files; /* of require; ends with NULL */
	uint64_t seed;
	int64_t cpu; /* what cpu_us says; advances by cpu_step */
	int64_t cpu_step;
	char record[8192]; /* of note, print and log, one per line */
	/* the last task that ended, and how many did */
	enum task_outcome outcome;
	enum vm_limit limit; /* of the last that was condemned */
	char trace[8192];
	int results, ended, errors, condemned;
	struct task *last; /* started */
	struct luavm_wait {
		struct wait w;
		struct luavm *t;
		int answer;
		bool cancelled;
	} wait[LUAVM_WAITS];
	int waits, cancels;
};

static inline void luavm_note(struct luavm *t, struct str s)
{
	size_t at = strlen(t->record);

	if (s.n > sizeof(t->record) - 2 - at)
		s.n = sizeof(t->record) - 2 - at;
	memcpy(t->record + at, s.p, s.n);
	t->record[at + s.n] = '\n';
	t->record[at + s.n + 1] = '\0';
}

static inline struct str luavm_loader(void *ctx, const char *name,
				      const char **file_r, const char **why_r)
{
	struct luavm *t = ctx;

	(void)file_r;
	if (strcmp(name, "script.lua") == 0)
		return str_from(t->script);
	for (const struct luavm_file *f = t->files; f && f->name; f++)
		if (strcmp(f->name, name) == 0)
			return str_from(f->text);
	*why_r = "no such file";
	return STR_NONE;
}

static inline void luavm_log(void *ctx, enum log_level level,
			     struct str message, struct str trace)
{
	(void)level;
	(void)trace;
	luavm_note(ctx, message);
}

static inline double luavm_mono(void *ctx)
{
	(void)ctx;
	return 12.5;
}

static inline double luavm_wall(void *ctx)
{
	(void)ctx;
	return 1700000000.75;
}

static inline uint64_t luavm_rand(void *ctx)
{
	struct luavm *t = ctx;

	t->seed = t->seed * 6364136223846793005u + 1442695040888963407u;
	return t->seed ^ t->seed >> 29;
}

static inline int64_t luavm_cpu(void *ctx)
{
	struct luavm *t = ctx;

	return t->cpu += t->cpu_step;
}

static inline void luavm_on_end(lua_State *L, struct task *task, void *owner,
				const struct task_end *end)
{
	struct luavm *t = owner;

	(void)L;
	(void)task;
	t->ended++;
	t->errors += end->outcome == TASK_ERROR;
	t->condemned += end->outcome == TASK_CONDEMNED;
	t->outcome = end->outcome;
	if (end->outcome == TASK_CONDEMNED)
		t->limit = end->limit;
	t->results = end->n;
	snprintf(t->trace, sizeof(t->trace), "%s", end->trace);
}

static const struct task_ops luavm_ops = {luavm_on_end, "test"};

static inline struct luavm *luavm_of(lua_State *L)
{
	return vm_ctx(L);
}

static inline int luavm_task(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	luavm_of(L)->last =
	    sched_spawn(L, lua_gettop(L) - 1, &luavm_ops, luavm_of(L));
	return 0;
}

static inline int luavm_note_fn(lua_State *L)
{
	struct str s;

	s.p = luaL_checklstring(L, 1, &s.n);
	luavm_note(luavm_of(L), s);
	return 0;
}

static inline void luavm_on_cancel(struct wait *w)
{
	struct luavm_wait *lw = (struct luavm_wait *)(void *)w;

	lw->cancelled = true;
	lw->t->cancels++;
}

static inline int luavm_on_push(lua_State *L, struct wait *w)
{
	struct luavm_wait *lw = (struct luavm_wait *)(void *)w;

	if (lw->answer < 0)
		return luaL_error(L, "answer %d", lw->answer);
	lua_pushinteger(L, lw->answer);
	return 1;
}

static inline int luavm_wait_fn(lua_State *L)
{
	struct luavm *t = luavm_of(L);
	struct luavm_wait *w = &t->wait[t->waits % LUAVM_WAITS];

	task_check_yield(L, "wait");
	t->waits++;
	*w = (struct luavm_wait){.t = t};
	w->w.cancel = luavm_on_cancel;
	w->w.push = luavm_on_push;
	return task_suspend(L, &w->w, "wait");
}

static inline int luavm_direct(lua_State *L)
{
	int err = vm_call(L, lua_gettop(L) - 1, 0, "a policy function",
			  "choose there, wait elsewhere");

	lua_pushinteger(L, err);
	lua_pushstring(L, vm_error(vm_of(L)));
	return 2;
}

static inline int luavm_tick(lua_State *L)
{
	ticker_fire(luavm_of(L)->conf.host.ticker);
	return 0;
}

static inline int luavm_open(lua_State *L)
{
	lua_pushcfunction(L, luavm_tick);
	vm_set_global(L, "tick");
	lua_pushcfunction(L, luavm_task);
	vm_set_global(L, "task");
	lua_pushcfunction(L, luavm_note_fn);
	vm_set_global(L, "note");
	lua_pushcfunction(L, luavm_wait_fn);
	vm_set_global(L, "wait");
	lua_pushcfunction(L, luavm_direct);
	vm_set_global(L, "direct");
	return 0;
}

/* What can be changed before luavm_start: t->conf, t->files. */
static inline void luavm_init(struct luavm *t)
{
	memset(t, 0, sizeof(*t));
	mem_init(&t->mem);
	t->seed = 1;
	t->conf = (struct vm_conf){
	    .host = {.ctx = t,
		     .loader = luavm_loader,
		     .log = luavm_log,
		     .mono = luavm_mono,
		     .wall = luavm_wall,
		     .rand = luavm_rand},
	    .mem = &t->mem,
	    .memory = 64 << 20,
	    .memory_entry = 16 << 20,
	    .instructions = 1000000,
	    .load_instructions = 5000000,
	    .collect_every = unit_collect_every(),
	};
}

/* Makes the state and loads the script; the error of loading. */
static inline int luavm_start(struct luavm *t, const char *script)
{
	int err;

	t->script = script;
	t->vm = vm_new(&t->conf);
	CHECK(t->vm != NULL);
	err = vm_do(t->vm, luavm_open, NULL, "the set-up", NULL);
	CHECK_INT(err, 0);
	return vm_load(t->vm, "script.lua");
}

/* Frees it and checks that nothing is left. */
static inline void luavm_end(struct luavm *t)
{
	vm_free(&t->vm);
	CHECK_INT(t->mem.bytes, 0);
	CHECK_INT(t->mem.blocks, 0);
}

/* Loads a script that must load, and runs the tasks it starts. */
static inline void luavm_run(struct luavm *t, const char *script)
{
	int err = luavm_start(t, script);

	if (err)
		printf("%s\n", vm_error(t->vm));
	CHECK_INT(err, 0);
	while (sched_drain(t->vm, 0))
		;
}

static inline void luavm_wake(struct luavm *t, int i, int answer)
{
	t->wait[i].answer = answer;
	task_wake(&t->wait[i].w);
	sched_drain(t->vm, 0);
}

#define CHECK_HAS(text, part) CHECK(strstr((text), (part)) != NULL)

#endif
