#include "lua/script_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua/vm_int.h"

/* Defaults, of which a script may ask for others (sip.settings { lua }). */
enum {
	MEMORY = 256 * 1000 * 1000,
	MEMORY_ENTRY = 16 * 1000 * 1000,
	BURST_US = 50 * 1000,
	/* The same as BURST_US at 100 million VM instructions a second: the
	 * budget where nobody looks at a clock. */
	INSTRUCTIONS = 5 * 1000 * 1000,
};

/* Declarations of 100 000 servers load in a fraction of this. */
#define LOAD_INSTRUCTIONS ((uint64_t)10 * 1000 * 1000 * 1000)

/* ---- what the VM asks ---- */

static bool is_own_file(void *ctx, const char *file)
{
	const struct script *s = ctx;

	list_each (it, &s->own_files) {
		const struct own_file *f =
		    container_of(it, const struct own_file, link);

		if (str_eq(f->name, str_from(file)))
			return true;
	}
	return false;
}

static void note_own_file(struct script *s, const char *name)
{
	struct own_file *f;

	if (strcmp(name, "tandem") != 0 && strncmp(name, "tandem.", 7) != 0)
		return;
	f = arena_zalloc(s->arena, sizeof(*f));
	if (!f)
		return;
	f->name = arena_str(s->arena, str_from(s->shown));
	list_append(&s->own_files, &f->link);
}

static struct str host_loader(void *ctx, const char *name, const char **file_r,
			      const char **why_r)
{
	struct script *s = ctx;
	const struct loader *l = &s->conf.loader;
	bool is_module = !s->main_file;
	char *bytes = NULL;
	size_t n = 0;

	s->main_file = false;
	free(s->bytes);
	s->bytes = NULL;
	snprintf(s->shown, sizeof(s->shown), "%s", name);
	if (!l->load || !l->load(l->ctx, name, is_module, &bytes, &n, s->shown,
				 sizeof(s->shown))) {
		*why_r = "no such file";
		return STR_NONE;
	}
	s->bytes = bytes;
	*file_r = s->shown;
	if (is_module)
		note_own_file(s, name);
	return (struct str){bytes ? bytes : "", n};
}

static double host_mono(void *ctx)
{
	struct script *s = ctx;

	return (double)s->now.mono.us / 1e6;
}

static double host_wall(void *ctx)
{
	struct script *s = ctx;

	return (double)s->now.wall.us / 1e6;
}

static uint64_t host_rand(void *ctx)
{
	struct script *s = ctx;

	return rand_u64(&s->rand);
}

static int64_t host_cpu(void *ctx)
{
	struct script *s = ctx;

	return s->conf.cpu_us(s->conf.cpu_ctx);
}

static void host_log(void *ctx, enum log_level level, struct str message,
		     struct str trace)
{
	struct log_field f[] = {LOGF_STR("message", message),
				LOGF_STR("trace", trace)};
	struct log_event e = {level,
			      level <= LOG_WARN ? "lua.warn" : "script.print",
			      f, trace.n ? 2 : 1};

	script_log(ctx, &e);
}

/* ---- making one ---- */

static bool make_vm(struct script *s)
{
	struct vm_conf conf = {
	    .host = {.ctx = s,
		     .loader = host_loader,
		     .log = host_log,
		     .mono = host_mono,
		     .wall = host_wall,
		     .rand = host_rand,
		     .cpu_us = s->conf.cpu_us ? host_cpu : NULL,
		     .is_own = is_own_file},
	    .mem = &s->mem,
	    .memory = MEMORY,
	    .instructions = LOAD_INSTRUCTIONS,
	    .load_instructions = LOAD_INSTRUCTIONS,
	};

	s->vm = vm_new(&conf);
	return s->vm != NULL;
}

/* The limits of handlers, once all is declared. */
static void set_limits(struct script *s)
{
	struct vm_conf *c = &s->vm->conf;
	int64_t burst = s->lua_burst ? s->lua_burst : BURST_US;

	c->memory_entry = MEMORY_ENTRY;
	c->cpu_us = burst;
	c->instructions = (uint64_t)burst * (INSTRUCTIONS / BURST_US);
	if (s->lua_memory)
		vm_mem(s->vm)->limit = s->lua_memory;
}

static struct script *script_new(const struct script_conf *conf)
{
	struct script *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->conf = *conf;
	s->now = conf->now;
	mem_init(&s->mem);
	rand_seed_bytes(&s->rand, conf->seed);
	for (int i = 0; i < HOOK_N; i++)
		s->hook[i] = LUA_NOREF;
	list_init(&s->handlers);
	list_init(&s->calls);
	list_init(&s->timers);
	list_init(&s->tasks);
	list_init(&s->facts);
	list_init(&s->owns);
	list_init(&s->counters);
	list_init(&s->own_files);
	s->arenas = arena_cache_new(&s->mem);
	s->arena = s->arenas ? arena_new(s->arenas) : NULL;
	if (s->arena)
		s->conf.path = arena_str(s->arena, str_from(conf->path)).p;
	if (!s->arena || !s->conf.path || !make_vm(s))
		script_free(&s);
	return s;
}

static int open_core(lua_State *L)
{
	static void (*const binds[])(lua_State *) = {
	    bind_core, bind_request, bind_response, bind_member, bind_timer,
	    bind_task, bind_own,     bind_shared,   bind_json,   bind_uri,
	    bind_ruri, bind_counter, bind_sticky};

	lua_newtable(L);
	for (size_t i = 0; i < ARRAY_LEN(binds); i++)
		binds[i](L);
	vm_set_module(L, "tandem.core");
	return 0;
}

static int finish(lua_State *L)
{
	struct script *s = lua_touserdata(L, 1);

	if (s->hook[HOOK_FINISH] == LUA_NOREF)
		return luaL_error(L,
				  "%s: nothing is declared: the script does "
				  "not require \"tandem\"",
				  s->conf.path);
	vm_push_ref(L, s->hook[HOOK_FINISH]);
	lua_call(L, 0, 1);
	plan_read(L, lua_gettop(L), s);
	return 0;
}

/* The message without the traceback, which is of no use to who declares. */
static void copy_error(const struct vm *vm, char *err, size_t errlen)
{
	const char *text = vm_error(vm);
	const char *end = strstr(text, "\nstack traceback:");
	size_t n = end ? (size_t)(end - text) : strlen(text);

	snprintf(err, errlen, "%.*s", (int)n, text);
}

struct script *script_load(const struct script_conf *conf, char *err,
			   size_t errlen)
{
	struct script *s = script_new(conf);
	int status;

	if (!s) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	status = vm_do(s->vm, open_core, NULL, "the set-up", NULL);
	s->main_file = true;
	if (!status)
		status = vm_load(s->vm, conf->path);
	if (!status)
		status = vm_do(s->vm, finish, s, "the end of loading", NULL);
	free(s->bytes);
	s->bytes = NULL;
	if (status) {
		copy_error(s->vm, err, errlen);
		script_free(&s);
		return NULL;
	}
	set_limits(s);
	s->phase = SCRIPT_LOADED;
	return s;
}

void script_free(struct script **sp)
{
	struct script *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	if (script_is_bound(s))
		script_unbind(s, s->now);
	facts_release(s);
	vm_free(&s->vm);
	free(s->bytes);
	arena_free(&s->arena);
	if (s->arenas)
		arena_cache_free(&s->arenas);
	free(s);
}

const struct plan *script_plan(const struct script *s)
{
	return &s->plan;
}

/* ---- the node ---- */

static void free_lists(struct node *node)
{
	struct settings *t = &node->settings;

	for (size_t i = 0; i < t->n_domains; i++)
		mem_free(&node->mem, (void *)(uintptr_t)t->domains[i].p);
	mem_free(&node->mem, t->domains);
	mem_free(&node->mem, t->trust);
	t->domains = NULL;
	t->trust = NULL;
	t->n_domains = t->n_trust = 0;
}

static int copy_trust(const struct script *s, struct node *node)
{
	struct settings *t = &node->settings;
	size_t bytes = s->n_trust * sizeof(*t->trust);

	if (!s->n_trust)
		return 0;
	t->trust = mem_alloc(&node->mem, bytes);
	if (!t->trust)
		return ERR_NOMEM;
	memcpy(t->trust, s->trust, bytes);
	t->n_trust = s->n_trust;
	return 0;
}

static int copy_domains(const struct script *s, struct node *node)
{
	struct settings *t = &node->settings;

	if (!s->n_domains)
		return 0;
	t->domains = mem_zalloc(&node->mem, s->n_domains * sizeof(*t->domains));
	if (!t->domains)
		return ERR_NOMEM;
	for (size_t i = 0; i < s->n_domains; i++) {
		char *p = mem_alloc(&node->mem, s->domains[i].n);

		if (!p)
			return ERR_NOMEM;
		memcpy(p, s->domains[i].p, s->domains[i].n);
		t->domains[i] = (struct str){p, s->domains[i].n};
		t->n_domains++;
	}
	return 0;
}

int script_apply(const struct script *s, struct node *node)
{
	struct settings *t = &node->settings;
	int err;

	free_lists(node);
	t->times = s->plan.times;
	t->trying = s->plan.trying;
	t->late_answer = s->plan.late_answer;
	memcpy(node->listeners.l, s->plan.listener, sizeof(s->plan.listener));
	node->listeners.n = s->plan.listeners;
	err = copy_trust(s, node);
	if (!err)
		err = copy_domains(s, node);
	return err;
}

/* ---- the core ---- */

static int run_hook(lua_State *L)
{
	int *ref = lua_touserdata(L, 1);

	vm_push_ref(L, *ref);
	lua_call(L, 0, 0);
	return 0;
}

static int call_hook(struct script *s, enum hook hook, const char *where)
{
	int err;

	if (s->hook[hook] == LUA_NOREF)
		return 0;
	err = vm_do(s->vm, run_hook, &s->hook[hook], where,
		    "start a task for it");
	if (err)
		script_failed(s, where);
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

int script_bind(struct script *s, struct core *core, struct now now)
{
	struct core_user user = policy_user(s);
	int err;

	s->now = now;
	s->core = core;
	s->node = core_node(core);
	timer_init(&s->kick, on_kick);
	err = facts_bind(s);
	if (err) {
		s->core = NULL;
		return err;
	}
	s->phase = SCRIPT_BOUND;
	counters_bind(s);
	core_set_user(core, &user);
	timers_bind(s);
	if (call_hook(s, HOOK_START, "the start") != 0) {
		script_unbind(s, now);
		return ERR_CONFIG;
	}
	if (sched_is_ready(s->vm))
		script_kick(s);
	return 0;
}

static void cancel_tasks(struct script *s, bool all)
{
	list_each_safe (it, &s->tasks) {
		struct ltask *t = container_of(it, struct ltask, link);

		if (all || !t->in_request)
			ltask_cancel(t);
	}
}

void script_unbind(struct script *s, struct now now)
{
	if (!script_is_bound(s))
		return;
	s->now = now;
	call_hook(s, HOOK_STOP, "the stop");
	s->phase = SCRIPT_STOPPING;
	s->quiet = true;
	timers_stop(s);
	cancel_tasks(s, true);
	policy_stop(s);
	/* What was cancelled runs its to-be-closed variables; what those start
	 * ends here as well. */
	sched_drain(s->vm, 0);
	cancel_tasks(s, true);
	owns_stop(s);
	counters_keep(s);
	timer_stop(core_timers(s->core), &s->kick);
	core_set_user(s->core, NULL);
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

void script_collect(struct script *s)
{
	vm_collect(s->vm);
}

void script_stats(const struct script *s, struct script_stats *out_r)
{
	out_r->tasks = sched_tasks(s->vm);
	out_r->timers = s->n_timers;
	out_r->lua_bytes = vm_bytes(s->vm);
	out_r->errors = s->errors;
}

struct lua_State *script_lua(struct script *s)
{
	return vm_main(s->vm);
}

/* ---- helpers of the bindings ---- */

struct script *script_of(lua_State *L)
{
	return vm_of(L)->conf.host.ctx;
}

bool script_is_bound(const struct script *s)
{
	return s->core != NULL;
}

struct core *script_core(lua_State *L)
{
	struct script *s = script_of(L);

	if (!s->core)
		luaL_error(L, "not possible while the script loads");
	return s->core;
}

int64_t script_us(lua_State *L, int idx, const char *what)
{
	lua_Number n = luaL_checknumber(L, idx);

	if (!(n >= 0 && n <= 1e9)) /* 30 years, and NaN */
		luaL_error(L, "%s: a number of seconds expected, got %f", what,
			   n);
	return (int64_t)(n * 1e6 + 0.5);
}

struct str script_str(lua_State *L, int idx)
{
	struct str s;

	s.p = luaL_checklstring(L, idx, &s.n);
	return s;
}

struct str script_tostr(lua_State *L, int idx)
{
	struct str s = STR_NONE;

	if (lua_type(L, idx) == LUA_TSTRING)
		s.p = lua_tolstring(L, idx, &s.n);
	return s;
}

void script_push(lua_State *L, struct str s)
{
	if (s.p)
		lua_pushlstring(L, s.p, s.n);
	else
		lua_pushnil(L);
}

int script_raise(lua_State *L, const char *what, int err)
{
	return vm_raise(L, "%s: %s", what, err_text(err));
}
