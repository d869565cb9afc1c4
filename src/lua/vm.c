#include "lua/vm_int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "util/err.h"
#include "util/sanitized.h"

/* ---- messages ------------------------------------------------------------ */

void vm_log(struct vm *vm, enum log_level level, const char *message,
	    const char *trace)
{
	if (vm->conf.host.log)
		vm->conf.host.log(vm->conf.host.ctx, level, str_from(message),
				  str_from(trace));
}

/* Adds a copy, cut to fit. */
static void put(char *text, size_t cap, struct str s)
{
	size_t at = strlen(text), n = s.n;

	if (n > cap - 1 - at)
		n = cap - 1 - at;
	memcpy(text + at, s.p, n);
	text[at + n] = '\0';
}

static int to_text(lua_State *L)
{
	env_tolstring(L, 1, NULL);
	return 1;
}

static bool is_script(const struct vm *vm, const lua_Debug *ar)
{
	const struct vm_host *h = &vm->conf.host;

	return ar->source[0] == '@' &&
	       !(h->is_own && h->is_own(h->ctx, ar->source + 1));
}

static bool find_where(lua_State *L, int level, lua_Debug *ar)
{
	for (; lua_getstack(L, level, ar); level++) {
		lua_getinfo(L, "Sl", ar);
		if (is_script(vm_of(L), ar))
			return true;
	}
	return false;
}

bool vm_where(lua_State *L, int level)
{
	lua_Debug ar;

	if (!find_where(L, level, &ar))
		return false;
	lua_pushfstring(L, "%s:%d", ar.source + 1, ar.currentline);
	return true;
}

void vm_write_where(lua_State *L, int level, struct buf *out)
{
	lua_Debug ar;

	if (!find_where(L, level, &ar))
		return;
	buf_put(out, str_from(ar.source + 1));
	buf_char(out, ':');
	buf_u64(out, (uint64_t)ar.currentline);
}

int vm_raise(lua_State *L, const char *format, ...)
{
	va_list ap;

	if (vm_where(L, 1)) {
		lua_pushliteral(L, ": ");
		lua_concat(L, 2);
	} else {
		luaL_where(L, 1);
	}
	va_start(ap, format);
	lua_pushvfstring(L, format, ap);
	va_end(ap);
	lua_concat(L, 2);
	return lua_error(L);
}

/* The error value at the top of L becomes a string. */
static void stringify(lua_State *L)
{
	const char *type = luaL_typename(L, -1);

	if (lua_type(L, -1) == LUA_TSTRING)
		return;
	if (!vm_condemned(L)) {
		lua_pushcfunction(L, to_text);
		lua_insert(L, -2);
		if (lua_pcall(L, 1, 1, 0) == LUA_OK)
			return;
	}
	lua_pop(L, 1);
	lua_pushfstring(L, "(error object is a %s value)", type);
}

/* Whatever says of itself what it is says where it comes from, if it wants. */
static bool is_mute(lua_State *L)
{
	if (lua_type(L, -1) == LUA_TSTRING)
		return false;
	if (luaL_getmetafield(L, -1, "__tostring") == LUA_TNIL)
		return true;
	lua_pop(L, 1);
	return false;
}

/* The line that is being run: lua_error adds it to strings only. */
static void put_place(lua_State *of, int level, char *text, size_t cap)
{
	char place[LUA_IDSIZE + 16];
	lua_Debug ar;

	for (int i = level; lua_getstack(of, i, &ar); i++) {
		if (!lua_getinfo(of, "Sl", &ar) || ar.currentline <= 0)
			continue;
		snprintf(place, sizeof(place), "%s:%d: ", ar.short_src,
			 ar.currentline);
		put(text, cap, str_from(place));
		return;
	}
}

void vm_describe(lua_State *L, lua_State *of, int level, char *text, size_t cap)
{
	int top = lua_gettop(L);
	struct str s;

	text[0] = '\0';
	if (!lua_checkstack(L, LUA_MINSTACK) || !lua_checkstack(of, 1)) {
		put(text, cap, STR("(no room on the stack to say more)"));
		return;
	}
	lua_pushvalue(of, -1);
	if (of != L)
		lua_xmove(of, L, 1);
	if (is_mute(L))
		put_place(of, level, text, cap);
	stringify(L);
	s.p = lua_tolstring(L, -1, &s.n);
	put(text, cap, s);
	luaL_traceback(L, of, NULL, level);
	s.p = lua_tolstring(L, -1, &s.n);
	put(text, cap, STR("\n"));
	put(text, cap, s);
	lua_settop(L, top);
}

/* An error that is passed on keeps the traceback it was first seen with. */
static bool is_described(lua_State *L, const struct vm *vm)
{
	size_t n;
	const char *s;

	if (lua_type(L, -1) != LUA_TSTRING)
		return false;
	s = lua_tolstring(L, -1, &n);
	return strncmp(vm->err, s, n) == 0 && vm->err[n] == '\n';
}

int vm_on_error(lua_State *L)
{
	struct vm *vm = vm_of(L);

	if (!is_described(L, vm))
		vm_describe(L, L, 1, vm->err, sizeof(vm->err));
	return 1;
}

const char *vm_error(const struct vm *vm)
{
	return vm->err;
}

enum vm_limit vm_error_limit(const struct vm *vm)
{
	return vm->err_limit;
}

/* ---- entries ------------------------------------------------------------- */

struct place {
	const char *where, *instead;
};

static struct place enter(struct vm *vm, lua_State *L, struct place p)
{
	struct place before = {vm->where, vm->instead};

	if (vm->depth == 0) {
		limit_begin(vm, L);
	} else {
		assert(vm->e.running == L);
		vm->depth++;
	}
	vm->where = p.where;
	vm->instead = p.instead;
	vm->err[0] = '\0';
	vm->err_limit = VM_LIMIT_NONE;
	return before;
}

/* The message handler was not called, or could not do its work. */
static void say_briefly(struct vm *vm, int status)
{
	if (vm->err_limit)
		snprintf(vm->err, sizeof(vm->err), VM_STOPPED,
			 vm_limit_name(vm->err_limit));
	else
		put(vm->err, sizeof(vm->err),
		    status == LUA_ERRMEM ? STR("not enough memory")
					 : STR("error in an error handler"));
}

/* What lua_pcall said, as one of ours. */
static int leave(struct vm *vm, struct place before, int status)
{
	vm->where = before.where;
	vm->instead = before.instead;
	if (status != LUA_OK) {
		vm->err_limit = vm->e.limit;
		if (!vm->err[0])
			say_briefly(vm, status);
	}
	if (vm->depth == 1)
		limit_end(vm);
	else
		vm->depth--;
	if (status == LUA_OK)
		return 0;
	return vm->err_limit ? ERR_LIMIT : ERR_STATE;
}

int vm_do(struct vm *vm, lua_CFunction fn, void *arg, const char *where,
	  const char *instead)
{
	lua_State *L = vm->depth > 0 ? vm->e.running : vm->L;
	struct place before;
	int status;

	before = enter(vm, L, (struct place){where, instead});
	if (!lua_checkstack(L, 4))
		return leave(vm, before, LUA_ERRMEM);
	lua_pushcfunction(L, vm_on_error);
	lua_pushcfunction(L, fn);
	lua_pushlightuserdata(L, arg);
	status = lua_pcall(L, 1, 0, -3);
	lua_pop(L, status == LUA_OK ? 1 : 2);
	return leave(vm, before, status);
}

int vm_call(lua_State *L, int nargs, int nresults, const char *where,
	    const char *instead)
{
	struct vm *vm = vm_of(L);
	int base = lua_gettop(L) - nargs;
	struct place before;
	int status;

	luaL_checkstack(L, 4, "in a callback");
	lua_pushcfunction(L, vm_on_error);
	lua_insert(L, base);
	before = enter(vm, L, (struct place){where, instead});
	status = lua_pcall(L, nargs, nresults, base);
	if (status != LUA_OK)
		lua_pop(L, 1);
	lua_remove(L, base);
	return leave(vm, before, status);
}

void vm_steady(lua_State *L, int nargs, int nresults, const char *where,
	       const char *instead)
{
	struct vm *vm = vm_of(L);
	struct place before = {vm->where, vm->instead};

	vm->where = where;
	vm->instead = instead;
	lua_call(L, nargs, nresults);
	vm->where = before.where;
	vm->instead = before.instead;
}

/* ---- the state ----------------------------------------------------------- */

static int on_panic(lua_State *L)
{
	const char *s = lua_tostring(L, -1);

	/* Unreachable as long as the rule in vm.h is kept; Lua aborts. */
	vm_log(vm_of(L), LOG_ERROR, s ? s : "unprotected error in Lua", "");
	return 0;
}

static void on_warn(void *ud, const char *message, int more)
{
	(void)more;
	vm_log(ud, LOG_WARN, message, "");
}

static int set_up(lua_State *L)
{
	struct vm *vm = vm_of(L);

	lua_newtable(L);
	vm->refs_table = luaL_ref(L, LUA_REGISTRYINDEX);
	env_open(L);
	return 0;
}

/* A step, of which there is one for each 8 kB that are allocated, looks at
 * SPEED values for each value (16 bytes) of these: at 10 000, in less than 1
 * ms. With 200 it was ten times that, and every call had to wait so long when
 * 20 000 coroutines were held. A cycle is over when the heap has grown by
 * 1/SPEED or so. In a test of what is referenced a cycle follows the other, a
 * step at (nearly) every allocation. */
static void tune(const struct vm *vm)
{
	enum {
		PAUSE = 180,
		SPEED = 20,
		NO_PAUSE = 1,
		FAST = 200,
		SMALL_STEP_LOG2 = 6
	};

	if (vm->conf.collect_every)
		lua_gc(vm->L, LUA_GCINC, NO_PAUSE, FAST, SMALL_STEP_LOG2);
	else
		lua_gc(vm->L, LUA_GCINC, PAUSE, SPEED, 0);
}

struct vm *vm_new(const struct vm_conf *conf)
{
	struct vm *vm = mem_zalloc(conf->mem, sizeof(*vm));
	int err;

	if (!vm)
		return NULL;
	vm->conf = *conf;
	if (!vm->conf.match_steps)
		vm->conf.match_steps = 1000000;
	if (!vm->conf.tasks_max)
		vm->conf.tasks_max = 100000;
	if (!vm->conf.pool_max)
		vm->conf.pool_max = 256;
	mem_init(&vm->mem);
	vm->mem.limit = conf->memory;
	vm->small.off = SANITIZED;
	sched_init(vm);
	list_init(&vm->boxes);
	vm->L = lua_newstate(limit_alloc, vm);
	if (!vm->L) {
		small_fini(&vm->small);
		mem_free(conf->mem, vm);
		return NULL;
	}
	*(struct vm **)lua_getextraspace(vm->L) = vm;
	lua_atpanic(vm->L, on_panic);
	lua_setwarnf(vm->L, on_warn, vm);
	tune(vm);
	vm->loading = true;
	err = vm_do(vm, set_up, NULL, "the set-up", NULL);
	vm->loading = false;
	if (err)
		vm_free(&vm);
	return vm;
}

void vm_free(struct vm **slot)
{
	struct vm *vm = *slot;

	*slot = NULL;
	if (!vm)
		return;
	assert(!vm_inside(vm));
	sched_fini(vm);
	lua_close(vm->L);
	box_fini(vm);
	small_fini(&vm->small);
	assert(vm->mem.bytes == 0 && vm->mem.blocks == 0);
	mem_free(vm->conf.mem, vm);
}

struct vm *vm_of(lua_State *L)
{
	return *(struct vm **)lua_getextraspace(L);
}

void *vm_ctx(lua_State *L)
{
	return vm_of(L)->conf.host.ctx;
}

void vm_set_limits(struct vm *vm, size_t memory, size_t memory_entry,
		   uint64_t instructions, int64_t cpu_us)
{
	vm->mem.limit = memory;
	vm->conf.memory_entry = memory_entry;
	vm->conf.instructions = instructions;
	vm->conf.cpu_us = cpu_us;
}

lua_State *vm_main(const struct vm *vm)
{
	return vm->L;
}

bool vm_inside(const struct vm *vm)
{
	return vm->depth > 0 || vm->sched.draining;
}

bool vm_loading(const struct vm *vm)
{
	return vm->loading;
}

bool vm_full(const struct vm *vm)
{
	return vm->full;
}

size_t vm_bytes(const struct vm *vm)
{
	return vm->mem.bytes;
}

struct mem *vm_mem(struct vm *vm)
{
	return &vm->mem;
}

void vm_idle(struct vm *vm)
{
	assert(!vm_inside(vm));
	lua_gc(vm->L, LUA_GCSTEP, 0);
}

void vm_collect(struct vm *vm)
{
	assert(!vm_inside(vm));
	lua_gc(vm->L, LUA_GCCOLLECT);
}

/* ---- references ---------------------------------------------------------- */

int vm_ref(lua_State *L)
{
	struct vm *vm = vm_of(L);
	int ref;

	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs_table);
	lua_insert(L, -2);
	ref = luaL_ref(L, -2);
	lua_pop(L, 1);
	if (ref != LUA_REFNIL)
		vm->refs++;
	return ref;
}

void vm_push_ref(lua_State *L, int ref)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->refs_table);
	lua_rawgeti(L, -1, ref);
	lua_remove(L, -2);
}

void vm_unref(struct vm *vm, int ref)
{
	lua_State *L = vm->depth > 0 ? vm->e.running : vm->L;

	if (ref == LUA_NOREF || ref == LUA_REFNIL)
		return;
	/* Writes only to slots that exist, so it cannot raise; the room it
	 * needs is what every C function has left over. */
	if (!lua_checkstack(L, 4))
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs_table);
	luaL_unref(L, -1, ref);
	lua_pop(L, 1);
	vm->refs--;
}

size_t vm_refs(const struct vm *vm)
{
	return vm->refs;
}
