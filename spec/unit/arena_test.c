#include "support/unit.h"
#include "util/arena.h"

#include <string.h>

#include "util/rand.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISONED(p) __asan_address_is_poisoned(p)
#else
#define POISONED(p) ((void)(p), 1)
#endif

struct world {
	struct mem mem;
	struct arena_cache *cache;
};

static void world_init(struct world *w)
{
	mem_init(&w->mem);
	w->cache = arena_cache_new(&w->mem);
	CHECK(w->cache != NULL);
}

static void world_fini(struct world *w)
{
	arena_cache_free(&w->cache);
	CHECK(!w->cache);
	CHECK_INT(w->mem.bytes, 0);
	CHECK_INT(w->mem.blocks, 0);
}

TEST(small_allocations_share_a_chunk)
{
	struct world w;
	struct arena *a;
	uint64_t calls;

	world_init(&w);
	a = arena_new(w.cache);
	calls = w.mem.calls;
	CHECK_INT(arena_bytes(a), 4096);
	for (int i = 0; i < 30; i++)
		memset(arena_alloc(a, 64), i, 64);
	CHECK_INT(w.mem.calls, calls);
	arena_free(&a);
	CHECK(!a);
	arena_free(&a);
	world_fini(&w);
}

TEST(alignment_and_empty)
{
	struct world w;
	struct arena *a;
	char *p, *q;

	world_init(&w);
	a = arena_new(w.cache);
	for (size_t n = 0; n < 40; n++)
		CHECK_INT((uintptr_t)arena_alloc(a, n) % 16, 0);
	p = arena_alloc(a, 0);
	q = arena_alloc(a, 0);
	CHECK(p && q && p != q);
	arena_free(&a);
	world_fini(&w);
}

TEST(chunks_double_up_to_a_size)
{
	static const size_t want[] = {4096,  8192,  16384, 32768,
				      65536, 65536, 65536};
	struct world w;
	struct arena *a;
	size_t step = 0, bytes;

	world_init(&w);
	a = arena_new(w.cache);
	bytes = arena_bytes(a);
	CHECK_INT(bytes, want[0]);
	while (step < 6) {
		CHECK(arena_alloc(a, 48) != NULL);
		if (arena_bytes(a) == bytes)
			continue;
		CHECK_INT(arena_bytes(a) - bytes, want[++step]);
		bytes = arena_bytes(a);
	}
	arena_free(&a);
	world_fini(&w);
}

TEST(large_requests_leave_the_chunk_alone)
{
	struct world w;
	struct arena *a;
	uint64_t calls;
	char *p;

	world_init(&w);
	a = arena_new(w.cache);
	CHECK(arena_alloc(a, 16) != NULL);
	p = arena_alloc(a, 1000000);
	memset(p, 1, 1000000);
	CHECK(arena_bytes(a) >= 1004096);
	CHECK(arena_bytes(a) < 1004096 + 100);
	calls = w.mem.calls;
	CHECK(arena_alloc(a, 2000) != NULL);
	CHECK_INT(w.mem.calls, calls);
	arena_free(&a);
	world_fini(&w);
}

TEST(reset_leaves_one_chunk_to_the_arena)
{
	struct world w;
	struct arena *a;
	size_t bytes;
	uint64_t calls;

	world_init(&w);
	a = arena_new(w.cache);
	bytes = w.mem.bytes;
	for (int i = 0; i < 500; i++)
		memset(arena_alloc(a, 200), 1, 200);
	CHECK(w.mem.bytes > bytes);
	arena_reset(a);
	/* the second is kept for whoever needs one, the larger are not */
	CHECK_INT(arena_cache_bytes(w.cache), 8192);
	CHECK_INT(w.mem.bytes, bytes + 8192);
	CHECK_INT(arena_bytes(a), 4096);
	calls = w.mem.calls;
	CHECK(arena_alloc(a, 3000) != NULL);
	CHECK_INT(w.mem.calls, calls);
	arena_free(&a);
	world_fini(&w);
}

TEST(strings_are_terminated)
{
	struct world w;
	struct arena *a;
	struct str s, e;

	world_init(&w);
	a = arena_new(w.cache);
	s = arena_str(a, STR("0123456789abcdef"));
	e = arena_str(a, STR_NONE);
	CHECK_STR(s, "0123456789abcdef");
	CHECK_INT(s.p[16], '\0');
	CHECK_STR(e, "");
	CHECK_INT(e.p[0], '\0');
	CHECK_STR(arena_str(a, STR("a\0b")), "a\0b");
	arena_free(&a);
	world_fini(&w);
}

TEST(zalloc_is_zero)
{
	struct world w;
	struct arena *a;
	char *p;

	world_init(&w);
	a = arena_new(w.cache);
	memset(arena_alloc(a, 500), 7, 500);
	arena_reset(a);
	p = arena_zalloc(a, 500);
	for (int i = 0; i < 500; i++)
		CHECK_INT(p[i], 0);
	arena_free(&a);
	world_fini(&w);
}

TEST(cache_keeps_some_chunks)
{
	enum { N = 80, KEPT = 64 };
	struct world w;
	struct arena *a[N];
	uint64_t calls;
	size_t own;

	world_init(&w);
	own = w.mem.bytes;
	for (int i = 0; i < N; i++)
		a[i] = arena_new(w.cache);
	CHECK_INT(arena_cache_bytes(w.cache), 0);
	for (int i = 0; i < N; i++)
		arena_free(&a[i]);
	CHECK_INT(arena_cache_bytes(w.cache), KEPT * 4096);
	CHECK_INT(w.mem.bytes - own, arena_cache_bytes(w.cache));
	calls = w.mem.calls;
	for (int i = 0; i < KEPT; i++)
		a[i] = arena_new(w.cache);
	CHECK_INT(w.mem.calls, calls);
	CHECK_INT(arena_cache_bytes(w.cache), 0);
	for (int i = 0; i < KEPT; i++)
		arena_free(&a[i]);
	world_fini(&w);
}

TEST(free_space_is_poisoned)
{
	struct world w;
	struct arena *a;
	char *p, *old;

	world_init(&w);
	a = arena_new(w.cache);
	p = arena_alloc(a, 13);
	CHECK(POISONED(p + 13));
	p = arena_alloc(a, 32);
	CHECK(POISONED(p + 32));
	CHECK(arena_alloc(a, 1) != NULL);
	CHECK(POISONED(p + 32));
	old = p;
	arena_reset(a);
	CHECK(POISONED(old));
	p = arena_alloc(a, 100);
	arena_free(&a);
	CHECK(POISONED(p));
	a = arena_new(w.cache);
	memset(arena_alloc(a, 1000), 1, 1000);
	arena_free(&a);
	world_fini(&w);
}

TEST(failure_is_remembered)
{
	struct world w;
	struct arena *a;

	world_init(&w);
	a = arena_new(w.cache);
	CHECK(!arena_failed(a));
	w.mem.fail_at = w.mem.calls + 1;
	CHECK(!arena_alloc(a, 5000));
	CHECK(arena_failed(a));
	CHECK(arena_alloc(a, 5000) != NULL);
	CHECK(arena_failed(a));
	arena_clear_failed(a);
	CHECK(!arena_failed(a));
	CHECK(!arena_alloc(a, SIZE_MAX));
	CHECK(arena_failed(a));
	arena_reset(a);
	CHECK(!arena_failed(a));
	CHECK(!arena_zalloc(a, SIZE_MAX - 20));
	CHECK(!arena_str(a, (struct str){"x", SIZE_MAX - 1}).p);
	CHECK(!arena_str(a, (struct str){"x", SIZE_MAX / 2}).p);
	arena_free(&a);
	world_fini(&w);
}

/* Fills arenas in a fixed way. Returns how many allocations failed, having
 * checked that what was had keeps its bytes. */
static int work(struct arena_cache *cache, uint64_t seed)
{
	struct {
		unsigned char *p;
		size_t n;
	} got[300];
	struct arena *a = arena_new(cache);
	struct rand r;
	int failed = 0;

	if (!a)
		return 1;
	rand_seed(&r, seed);
	for (size_t i = 0; i < 300; i++) {
		got[i].n = rand_below(&r, i % 10 ? 300 : 9000);
		got[i].p = arena_alloc(a, got[i].n);
		if (got[i].p)
			memset(got[i].p, (int)i, got[i].n);
		else
			failed++;
	}
	for (size_t i = 0; i < 300; i++)
		for (size_t k = 0; got[i].p && k < got[i].n; k++)
			CHECK_INT(got[i].p[k], (unsigned char)i);
	CHECK(arena_failed(a) == (failed > 0));
	arena_free(&a);
	return failed;
}

TEST(every_allocation_may_fail)
{
	static const uint64_t rows[] = {1, 3, UINT64_MAX};
	uint64_t calls;
	struct world w;

	world_init(&w);
	CHECK_INT(work(w.cache, 1), 0);
	calls = w.mem.calls;
	CHECK(calls > 5);
	world_fini(&w);
	for (int row = 0; row < 3; row++)
		for (uint64_t at = 2; at <= calls; at++) {
			world_init(&w);
			w.mem.fail_at = at;
			w.mem.fail_for = rows[row];
			CHECK(work(w.cache, 1) > 0);
			w.mem.fail_at = 0;
			CHECK_INT(work(w.cache, 1), 0);
			world_fini(&w);
		}
}

TEST(no_cache_without_memory)
{
	struct mem m;
	struct arena_cache *c;

	mem_init(&m);
	m.fail_at = 1;
	c = arena_cache_new(&m);
	CHECK(!c);
	arena_cache_free(&c);
	CHECK_INT(m.blocks, 0);
}
