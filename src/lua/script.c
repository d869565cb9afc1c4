#include "lua/script_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua/vm_int.h"
#include "message/scan.h"

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
	struct script *s = ctx;
	size_t n = strlen(file);

	if (strcmp(file, s->conf.path) == 0)
		return false;
	list_each (it, &s->own_files) {
		const struct own_file *f =
		    container_of(it, const struct own_file, link);

		if (f->name.n != n || memcmp(f->name.p, file, n) != 0)
			continue;
		/* It will be asked of the same few again and again. */
		list_remove(it);
		list_append(s->own_files.next, it);
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

static bool host_give_up(void *ctx)
{
	const struct script *s = ctx;

	return s->conf.give_up && atomic_load(s->conf.give_up);
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
	    .collect_every = s->conf.collect_every,
	    .host = {.ctx = s,
		     .loader = host_loader,
		     .log = host_log,
		     .mono = host_mono,
		     .wall = host_wall,
		     .rand = host_rand,
		     .cpu_us = s->conf.cpu_us ? host_cpu : NULL,
		     .ticker = s->conf.ticker,
		     .give_up = host_give_up,
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
	error_rate_init(&s->error_rate);
	mem_init(&s->mem);
	rand_seed_bytes(&s->rand, conf->seed);
	for (int i = 0; i < HOOK_N; i++)
		s->hook[i] = LUA_NOREF;
	list_init(&s->handlers);
	list_init(&s->calls);
	list_init(&s->timers);
	list_init(&s->tasks);
	list_init(&s->facts);
	list_init(&s->rooms);
	list_init(&s->owns);
	list_init(&s->counters);
	list_init(&s->own_files);
	list_init(&s->data_files);
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
	    bind_ruri, bind_counter, bind_metrics,  bind_sticky, bind_join,
	    bind_tls,  bind_locate,  bind_why};

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
void script_copy_error(const struct script *s, char *err, size_t errlen)
{
	const char *text = vm_error(s->vm);
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
		script_copy_error(s, err, errlen);
		script_free(&s);
		return NULL;
	}
	set_limits(s);
	s->conf.give_up = NULL;
	s->conf.overrides = s->conf.edit = STR_NONE; /* no longer ours */
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

/* ---- questions ---- */

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

const char *script_data_file(const struct script *s, size_t i)
{
	list_each (it, &s->data_files)
		if (i-- == 0)
			return container_of(it, const struct data_file, link)
			    ->name;
	return NULL;
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
		vm_raise(L, "not possible while the script loads");
	return s->core;
}

int64_t script_us(lua_State *L, int idx, const char *what)
{
	lua_Number n = luaL_checknumber(L, idx);

	if (!(n >= 0 && n <= 1e9)) /* 30 years, and NaN */
		vm_raise(L, "%s: a number of seconds expected, got %f", what,
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

void script_push_params(lua_State *L, struct str params)
{
	struct str name, value;

	lua_newtable(L);
	while (scan_next_param(&params, &name, &value)) {
		script_push(L, name);
		script_push(L, value.p ? value : STR(""));
		lua_settable(L, -3);
	}
}

int script_raise(lua_State *L, const char *what, int err)
{
	return vm_raise(L, "%s: %s", what, err_text(err));
}
