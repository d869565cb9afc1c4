#include "lua/vm_int.h"

#include <assert.h>
#include <stdlib.h>

#include "lua/ticker.h"

const char *vm_limit_name(enum vm_limit limit)
{
	switch (limit) {
	case VM_LIMIT_INSTRUCTIONS:
		return "instructions";
	case VM_LIMIT_CPU:
		return "cpu";
	case VM_LIMIT_MEMORY:
		return "memory";
	case VM_LIMIT_NONE:
		break;
	}
	return "none";
}

static void on_count(lua_State *L, lua_Debug *ar);

static bool over(size_t bytes, size_t more, size_t limit)
{
	return limit && (bytes > limit || more > limit - bytes);
}

static uint64_t budget(const struct vm *vm)
{
	return vm->loading ? vm->conf.load_instructions : vm->conf.instructions;
}

static bool work_is_spent(const struct vm *vm)
{
	uint64_t max = budget(vm);

	return max && vm->e.spent + vm->e.work > max;
}

/* Brings the next hook forward to the next instruction. As safe as in a signal
 * handler, which is what lua_sethook is documented for. */
static void hurry(struct vm *vm)
{
	if (vm->e.hurry || !vm->e.running)
		return;
	vm->e.hurry = true;
	lua_sethook(vm->e.running, on_count, LUA_MASKCOUNT, 1);
}

void limit_condemn(struct vm *vm, enum vm_limit limit)
{
	if (vm->depth == 0 || vm->e.limit)
		return;
	vm->e.limit = limit;
	hurry(vm);
}

static void add_work(struct vm *vm, uint64_t work)
{
	uint64_t most = UINT64_MAX / 4;

	if (vm->depth == 0)
		return;
	if (work > most || vm->e.work > most)
		vm->e.work = most;
	else
		vm->e.work += work;
	if (vm->e.work >= VM_HURRY || work_is_spent(vm))
		hurry(vm);
}

/* ---- memory ------------------------------------------------------------- */

static bool fails_by_order(struct mem *m)
{
	uint64_t row = m->fail_for ? m->fail_for : 1;

	m->calls++;
	return m->fail_at && m->calls >= m->fail_at &&
	       m->calls - m->fail_at < row;
}

static size_t entry_limit(const struct vm *vm)
{
	size_t most = vm->conf.memory_entry;

	if (!most || vm->depth == 0 || vm->loading)
		return 0;
	return vm->e.bytes_at_start + most;
}

/* Over a limit. Mostly the first refusal makes Lua collect all garbage and ask
 * the same again; so only the second is one. Other refusals in between are the
 * collector's, which can do without, or those of luaL_Buffer, which raises an
 * ordinary error: a few of them are forgiven. */
static void refuse(struct vm *vm, const void *p, size_t n)
{
	bool again = vm->refused && vm->refused_p == p && vm->refused_n == n;

	if (!vm->refused) {
		vm->refused = true;
		vm->refused_p = p;
		vm->refused_n = n;
	}
	if (!again && ++vm->e.refusals < VM_REFUSALS_MAX)
		return;
	vm->refused = false;
	if (over(vm->mem.bytes, n, vm->mem.limit))
		vm->full = true;
	limit_condemn(vm, VM_LIMIT_MEMORY);
}

static void granted(struct vm *vm, const void *p, size_t n)
{
	if (!vm->refused || vm->refused_p != p || vm->refused_n != n)
		return;
	vm->refused = false;
	/* Saved by a collection; but one for every few allocations is no
	 * way to live. */
	if (vm->mem.limit && vm->mem.bytes > vm->mem.limit / 8 * 7)
		vm->full = true;
}

/* The hash part of a table: when it grows depends on the hash seed, which
 * differs from run to run. The instructions that fill it are charged for. */
static bool is_hash_part(const void *p, size_t osize, size_t nsize)
{
	size_t node = 3 * sizeof(void *), n = nsize / node;

	return !p && osize == 0 && nsize % node == 0 && (n & (n - 1)) == 0;
}

void *limit_alloc(void *ud, void *p, size_t osize, size_t nsize)
{
	struct vm *vm = ud;
	struct mem *m = &vm->mem;
	size_t old = p ? osize : 0; /* without a block osize is its type */
	size_t more = nsize > old ? nsize - old : 0;
	void *q;

	if (nsize == 0) {
		small_free(&vm->small, p, old);
		m->bytes -= old;
		m->blocks -= p ? 1 : 0;
		return NULL;
	}
	if (more && fails_by_order(m))
		return NULL;
	if (more && (over(m->bytes, more, m->limit) ||
		     over(m->bytes, more, entry_limit(vm)))) {
		refuse(vm, p, nsize);
		return NULL;
	}
	q = small_realloc(&vm->small, p, old, nsize);
	if (!q)
		return NULL;
	m->bytes = m->bytes - old + nsize;
	m->blocks += p ? 0 : 1;
	granted(vm, p, nsize);
	if (more >= VM_CHARGED_FROM && !is_hash_part(p, osize, nsize))
		add_work(vm, more / VM_BYTES_PER_UNIT);
	return q;
}

/* ---- work and time ------------------------------------------------------- */

static void check_load(struct vm *vm)
{
	const struct vm_host *host = &vm->conf.host;

	if (vm->loading && host->give_up && host->give_up(host->ctx))
		limit_condemn(vm, VM_LIMIT_INSTRUCTIONS);
}

static void check_cpu(struct vm *vm)
{
	int64_t now;

	check_load(vm);
	if (!vm->conf.host.cpu_us || !vm->conf.cpu_us || vm->loading)
		return;
	now = vm->conf.host.cpu_us(vm->conf.host.ctx);
	if (!vm->e.cpu_known) {
		/* Asking costs more than most handlers take: the first hook is
		 * soon enough. */
		vm->e.cpu_known = true;
		vm->e.cpu_at_start = now;
	} else if (now - vm->e.cpu_at_start > vm->conf.cpu_us) {
		limit_condemn(vm, VM_LIMIT_CPU);
	}
}

static void on_count(lua_State *L, lua_Debug *ar)
{
	struct vm *vm = vm_of(L);

	(void)ar;
	if (vm->depth == 0)
		return;
	vm->e.counting = true;
	if (!vm->e.limit) {
		vm->e.spent += VM_STEP + vm->e.work;
		vm->e.work = 0;
		/* A vararg function that calls itself with one argument more
		 * copies half the stack per instruction. */
		if (work_is_spent(vm) || lua_gettop(L) > VM_FRAME_MAX)
			limit_condemn(vm, VM_LIMIT_INSTRUCTIONS);
		else
			check_cpu(vm);
	}
	if (!vm->e.limit) {
		if (vm->e.hurry)
			limit_arm(vm, L);
		return;
	}
	if (lua_isyieldable(L))
		lua_yield(L, 0); /* returns; the VM yields after the hook */
	else
		limit_raise(L);
}

/* The thread's ticker, if this entry needs no hook before it has fired. */
static struct ticker *ticker_of(const struct vm *vm)
{
	struct ticker *t = vm->conf.host.ticker;

	return t && !vm->loading && atomic_load(&t->live) &&
		       pthread_equal(t->owner, pthread_self())
		   ? t
		   : NULL;
}

void ticker_begin(struct ticker *t)
{
	t->owner = pthread_self();
	atomic_store(&t->live, true);
}

void ticker_end(struct ticker *t)
{
	atomic_store(&t->live, false);
}

void ticker_fire(struct ticker *t)
{
	struct vm *vm = atomic_load(&t->inside);

	if (!vm)
		return;
	vm->e.hurry = true;
	lua_sethook(vm->e.running, on_count, LUA_MASKCOUNT, 1);
}

void limit_arm(struct vm *vm, lua_State *L)
{
	vm->e.running = L;
	vm->e.hurry = vm->e.limit != VM_LIMIT_NONE;
	if (vm->e.hurry || vm->e.counting || !ticker_of(vm))
		lua_sethook(L, on_count, LUA_MASKCOUNT,
			    vm->e.hurry ? 1 : VM_STEP);
	else if (lua_gethookmask(L)) /* of an entry before */
		lua_sethook(L, NULL, 0, 0);
}

void limit_begin(struct vm *vm, lua_State *L)
{
	assert(vm->depth == 0);
	if (vm->conf.collect_every && ++vm->entries >= vm->conf.collect_every) {
		vm->entries = 0;
		lua_gc(L, LUA_GCCOLLECT);
	}
	vm->depth = 1;
	vm->refused = false;
	vm->where = vm->instead = NULL; /* an error may have left vm_steady */
	vm->e = (struct entry){.bytes_at_start = vm->mem.bytes};
	limit_arm(vm, L);
	if (ticker_of(vm)) /* last: what it needs is there */
		atomic_store_explicit(&vm->conf.host.ticker->inside, vm,
				      memory_order_release);
}

void limit_end(struct vm *vm)
{
	assert(vm->depth == 1);
	if (ticker_of(vm))
		atomic_store(&vm->conf.host.ticker->inside, NULL);
	/* A release keeps back what comes before it, not what follows: no tick
	 * may find the state inside, and nothing running. */
	atomic_signal_fence(memory_order_seq_cst);
	vm->depth = 0;
	vm->e.spent += vm->e.work;
	vm->e.work = 0;
	vm->e.running = NULL;
}

/* From the hook the innermost function is that of the script; from one of C it
 * is that one, which has no lines. */
int limit_raise(lua_State *L)
{
	struct vm *vm = vm_of(L);

	luaL_where(L, 0);
	if (!*lua_tostring(L, -1))
		luaL_where(L, 1);
	lua_pushfstring(L, "%s" VM_STOPPED, lua_tostring(L, -1),
			vm_limit_name(vm->e.limit));
	return lua_error(L);
}

void vm_charge(lua_State *L, uint64_t work)
{
	struct vm *vm = vm_of(L);

	add_work(vm, work);
	if (vm->depth == 0)
		return;
	if (!vm->e.limit && work_is_spent(vm))
		limit_condemn(vm, VM_LIMIT_INSTRUCTIONS);
	if (vm->e.limit)
		limit_raise(L);
}

bool vm_condemned(lua_State *L)
{
	struct vm *vm = vm_of(L);

	return vm->depth > 0 && vm->e.limit != VM_LIMIT_NONE;
}

uint64_t vm_spent(const struct vm *vm)
{
	return vm->e.spent + vm->e.work;
}
