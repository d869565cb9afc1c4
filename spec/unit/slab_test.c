#include "util/slab.h"

#include <stdint.h>
#include <string.h>

#include "support/unit.h"

enum { MANY = 3000 };

struct block {
	unsigned char *p;
	struct slab *of;
	size_t n;
};

static struct block take(struct slabs *s, size_t n)
{
	struct block b = {.n = n};

	b.p = slabs_take(s, n, &b.of);
	return b;
}

/* Every block keeps its bytes, whatever the others do. */
TEST(blocks_of_all_sizes_are_whole_and_aligned)
{
	static struct block b[MANY];
	struct slabs s = {0};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < MANY; i++) {
			b[i] = take(&s, i + 1);
			CHECK(b[i].p && (uintptr_t)b[i].p % 16 == 0);
			CHECK(!b[i].of == (i + 1 > SLAB_BLOCK_MAX));
			memset(b[i].p, (int)i & 0xff, i + 1);
		}
		for (size_t i = 0; i < MANY; i++) {
			CHECK_INT(b[i].p[0], i & 0xff);
			CHECK_INT(b[i].p[i], i & 0xff);
			slabs_give(&s, b[i].of, b[i].p);
		}
	}
	slabs_fini(&s);
}

/* Many more than one slab has, given back in the order they were taken and in
 * the other: none is handed out twice. */
TEST(blocks_of_one_size)
{
	static struct block b[MANY];
	struct slabs s = {0};

	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < MANY; i++) {
			b[i] = take(&s, 100);
			memcpy(b[i].p, &i, sizeof(i));
		}
		for (size_t i = 0; i < MANY; i++) {
			struct block *at = &b[round % 2 ? MANY - 1 - i : i];
			size_t seen;

			memcpy(&seen, at->p, sizeof(seen));
			CHECK_INT(seen, at - b);
			slabs_give(&s, at->of, at->p);
		}
	}
	slabs_fini(&s);
}

static unsigned sizes_kept(const struct slabs *s)
{
	unsigned n = 0;

	for (unsigned kind = 0; kind < SLAB_KINDS; kind++)
		n += s->partial[kind] ? 1 : 0;
	return n;
}

/* What a burst leaves behind is given back: of all slabs one of each size is
 * kept (slabs_fini looks), and some for whatever comes. */
TEST(slabs_are_given_back)
{
	static struct block b[MANY];
	struct slabs s = {0};

	for (size_t i = 0; i < MANY; i++)
		b[i] = take(&s, 64 * (1 + i % 8));
	for (size_t i = 0; i < MANY; i++)
		slabs_give(&s, b[i].of, b[i].p);
	CHECK_INT(sizes_kept(&s), 8);
	CHECK_INT(s.spares, 9); /* 375 of each size: 17 slabs */
	slabs_fini(&s);
}

/* What one size no longer needs is there for another. */
TEST(a_slab_is_used_for_another_size)
{
	static struct block b[MANY];
	struct slabs s = {0};
	unsigned spares;

	for (size_t i = 0; i < MANY; i++)
		b[i] = take(&s, SLAB_BLOCK_MAX);
	for (size_t i = 0; i < MANY; i++)
		slabs_give(&s, b[i].of, b[i].p);
	CHECK_INT(s.spares, SLAB_SPARES); /* of a hundred */
	for (size_t i = 0; i < 100; i++) {
		b[i] = take(&s, 1024);
		memset(b[i].p, 1, 1024);
	}
	spares = s.spares;
	CHECK_INT(spares, SLAB_SPARES - 2); /* 63 in each */
	for (size_t i = 0; i < 100; i++)
		slabs_give(&s, b[i].of, b[i].p);
	CHECK_INT(s.spares, spares + 1);
	slabs_fini(&s);
	CHECK(!s.spare && !s.spares);
}

/* The last one back is the next one out, also of a slab that was full. */
TEST(the_last_one_back_is_used_first)
{
	static struct block b[MANY];
	struct slabs s = {0};
	struct block again;

	for (size_t i = 0; i < MANY; i++)
		b[i] = take(&s, 200);
	slabs_give(&s, b[7].of, b[7].p);
	again = take(&s, 200);
	CHECK(again.p == b[7].p);
	b[7] = again;
	for (size_t i = 0; i < MANY; i++)
		slabs_give(&s, b[i].of, b[i].p);
	slabs_fini(&s);
}

TEST(a_copy_goes_on)
{
	struct slabs s = {0}, copy;
	struct block a = take(&s, 10), b;

	copy = s;
	b = take(&copy, 10);
	slabs_give(&copy, a.of, a.p);
	slabs_give(&copy, b.of, b.p);
	slabs_fini(&copy);
}

TEST(another_size_may_be_no_better)
{
	struct slabs s = {0};
	struct block b = take(&s, 100);

	CHECK(slab_suits(b.of, 97) && slab_suits(b.of, 128));
	CHECK(!slab_suits(b.of, 96) && !slab_suits(b.of, 129));
	CHECK(!slab_suits(NULL, 100));
	slabs_give(&s, b.of, b.p);
	slabs_fini(&s);
}

TEST(none_when_it_is_off)
{
	struct slabs s = {.off = true};
	struct block b = take(&s, 100);

	CHECK(b.p && !b.of);
	slabs_give(&s, b.of, b.p);
	slabs_fini(&s);
}
