#include "support/malloc_fail.h"
#include "support/unit.h"
#include "util/mem.h"
#include "util/rand.h"

#include <string.h>

TEST(counts_what_is_live)
{
	struct mem m;
	void *a, *b;

	mem_init(&m);
	a = mem_alloc(&m, 100);
	b = mem_zalloc(&m, 28);
	CHECK(a && b);
	CHECK_INT(m.bytes, 128);
	CHECK_INT(m.blocks, 2);
	CHECK_INT(m.calls, 2);
	mem_free(&m, a);
	CHECK_INT(m.bytes, 28);
	mem_free(&m, b);
	mem_free(&m, NULL);
	CHECK_INT(m.bytes, 0);
	CHECK_INT(m.blocks, 0);
	CHECK_INT(m.calls, 2);
}

TEST(blocks_are_aligned_and_whole)
{
	struct mem m;

	mem_init(&m);
	for (size_t n = 0; n < 70; n++) {
		char *p = mem_alloc(&m, n);

		CHECK(p != NULL);
		CHECK_INT((uintptr_t)p % 16, 0);
		memset(p, 1, n);
		mem_free(&m, p);
	}
	CHECK_INT(m.blocks, 0);
}

TEST(zalloc_is_zero)
{
	struct mem m;
	char *p;

	mem_init(&m);
	p = mem_alloc(&m, 64);
	memset(p, 7, 64);
	mem_free(&m, p);
	p = mem_zalloc(&m, 64);
	for (int i = 0; i < 64; i++)
		CHECK_INT(p[i], 0);
	mem_free(&m, p);
}

TEST(realloc_keeps_the_bytes)
{
	struct mem m;
	char *p;

	mem_init(&m);
	p = mem_realloc(&m, NULL, 4);
	memcpy(p, "abc", 4);
	p = mem_realloc(&m, p, 4000);
	CHECK_STR(str_from(p), "abc");
	CHECK_INT(m.bytes, 4000);
	p = mem_realloc(&m, p, 2);
	CHECK(p[0] == 'a' && p[1] == 'b');
	CHECK_INT(m.bytes, 2);
	CHECK_INT(m.blocks, 1);
	CHECK_INT(m.calls, 3);
	p = mem_realloc(&m, p, 0);
	CHECK(p != NULL);
	CHECK_INT(m.blocks, 1);
	mem_free(&m, p);
	CHECK_INT(m.bytes, 0);
}

TEST(limit)
{
	struct mem m;
	char *p, *q;

	mem_init(&m);
	m.limit = 100;
	p = mem_alloc(&m, 60);
	CHECK(p != NULL);
	CHECK(!mem_alloc(&m, 41));
	CHECK(!mem_zalloc(&m, SIZE_MAX));
	q = mem_alloc(&m, 40);
	CHECK(q != NULL);
	CHECK(!mem_realloc(&m, p, 61));
	CHECK(!mem_alloc(&m, 1));
	CHECK_INT(m.bytes, 100);
	/* A limit that was lowered stops growth, not shrinking. */
	m.limit = 10;
	p = mem_realloc(&m, p, 50);
	CHECK(p != NULL);
	CHECK_INT(m.bytes, 90);
	mem_free(&m, p);
	mem_free(&m, q);
	CHECK_INT(m.blocks, 0);
}

TEST(absurd_sizes_fail)
{
	struct mem m;
	void *p;

	mem_init(&m);
	CHECK(!mem_alloc(&m, SIZE_MAX));
	CHECK(!mem_alloc(&m, SIZE_MAX - 15));
	CHECK(!mem_zalloc(&m, SIZE_MAX / 2 + 1));
	p = mem_alloc(&m, 8);
	CHECK(!mem_realloc(&m, p, SIZE_MAX));
	CHECK_INT(m.bytes, 8);
	CHECK_INT(m.calls, 5);
	mem_free(&m, p);
}

TEST(fail_at_one_call)
{
	struct mem m;
	void *a, *b;

	mem_init(&m);
	m.fail_at = 2;
	a = mem_alloc(&m, 1);
	CHECK(a != NULL);
	CHECK(!mem_alloc(&m, 1));
	b = mem_alloc(&m, 1);
	CHECK(b != NULL);
	CHECK_INT(m.calls, 3);
	mem_free(&m, a);
	mem_free(&m, b);
}

TEST(fail_for_some_calls)
{
	struct mem m;
	char *p;

	mem_init(&m);
	m.fail_at = 2;
	m.fail_for = 3;
	p = mem_alloc(&m, 2);
	p[0] = 'x';
	CHECK(!mem_zalloc(&m, 1));
	CHECK(!mem_realloc(&m, p, 100));
	CHECK(!mem_realloc(&m, p, 1));
	CHECK_INT(p[0], 'x');
	CHECK_INT(m.bytes, 2);
	p = mem_realloc(&m, p, 3);
	CHECK(p != NULL);
	mem_free(&m, p);
}

TEST(fail_for_ever)
{
	struct mem m;

	mem_init(&m);
	m.fail_at = 1;
	m.fail_for = UINT64_MAX;
	for (int i = 0; i < 100; i++)
		CHECK(!mem_alloc(&m, 1));
	m.fail_at = 0;
	mem_free(&m, mem_alloc(&m, 1));
	CHECK_INT(m.blocks, 0);
}

struct held {
	unsigned char *p;
	size_t n;
	unsigned char fill;
};

/* Its bytes are what they were, so far as they are still there. */
static void check_held(const struct held *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK_INT(h->p[i], h->fill);
}

static void change(struct mem *m, struct held *h, size_t n, bool fails)
{
	size_t old = h->p ? h->n : 0;
	void *p = mem_realloc(m, h->p, n);

	CHECK(p || fails);
	if (!p) {
		CHECK(!h->p || n > old); /* to less it never fails */
		return;
	}
	h->p = p;
	check_held(h, n < old ? n : old);
	h->n = n;
	h->fill++;
	memset(h->p, h->fill, n);
}

/* As in a build without a sanitizer: blocks of slabs, and of the C library. */
TEST(slabs_against_a_model)
{
	enum { N = 300, STEPS = 60000 };
	static struct held held[N];
	size_t bytes, blocks;
	struct rand r;
	struct mem m;

	mem_init(&m);
	m.slabs.off = false;
	rand_seed(&r, 5);
	for (int step = 0; step < STEPS; step++) {
		struct held *h = &held[rand_below(&r, N)];
		size_t most = rand_below(&r, 8) ? 600 : 6000;
		bool fails = rand_below(&r, 10) == 0;

		if (h->p && rand_below(&r, 3) == 0) {
			check_held(h, h->n);
			mem_free(&m, h->p);
			*h = (struct held){.fill = h->fill};
			continue;
		}
		malloc_fail(fails, 1);
		change(&m, h, rand_below(&r, most), fails);
		malloc_fail(0, 0);
	}
	bytes = blocks = 0;
	for (size_t i = 0; i < N; i++) {
		bytes += held[i].n;
		blocks += held[i].p != NULL;
	}
	CHECK_INT(m.bytes, bytes);
	CHECK_INT(m.blocks, blocks);
	for (size_t i = 0; i < N; i++)
		mem_free(&m, held[i].p);
	CHECK_INT(m.bytes, 0);
}
