#include "lua/small.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support/malloc_fail.h"
#include "support/unit.h"

/* Every block keeps its bytes, whatever the others do. */
TEST(blocks_of_all_sizes)
{
	enum { N = 2 * SMALL_MAX };
	struct small s = {0};
	unsigned char *p[N];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < N; i++) {
			p[i] = small_realloc(&s, NULL, 0, i + 1);
			CHECK(p[i] && (uintptr_t)p[i] % SMALL_STEP == 0);
			memset(p[i], (int)i & 0xff, i + 1);
		}
		for (size_t i = 0; i < N; i++) {
			CHECK_INT(p[i][0], i & 0xff);
			CHECK_INT(p[i][i], i & 0xff);
			small_free(&s, p[i], i + 1);
		}
	}
	small_free(&s, NULL, 0);
	small_fini(&s);
}

TEST(a_block_grows_and_shrinks)
{
	struct small s = {0};
	unsigned char *p = small_realloc(&s, NULL, 0, 1);
	size_t old = 1;

	*p = 0;
	for (size_t n = 2; n < 4 * SMALL_MAX; n += n / 2) {
		p = small_realloc(&s, p, old, n);
		for (size_t i = 0; i < old; i++)
			CHECK_INT(p[i], i & 0xff);
		for (size_t i = old; i < n; i++)
			p[i] = (unsigned char)i;
		old = n;
	}
	for (size_t n = old / 3; n > 0; old = n, n /= 3) {
		p = small_realloc(&s, p, old, n);
		for (size_t i = 0; i < n; i++)
			CHECK_INT(p[i], i & 0xff);
	}
	small_free(&s, p, old);
	small_fini(&s);
}

/* No block is handed out twice, however many there are. */
TEST(blocks_of_one_size_are_distinct)
{
	enum { N = 3000 };
	static size_t *p[N];
	struct small s = {0};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < N; i++) {
			p[i] = small_realloc(&s, NULL, 0, 40);
			*p[i] = i;
		}
		for (size_t i = 0; i < N; i++) {
			CHECK_INT(*p[i], i);
			small_free(&s, p[i], 40);
		}
	}
	small_fini(&s);
	for (int i = 0; i < SMALL_KINDS; i++)
		CHECK(s.partial[i] == NULL);
	CHECK(s.idle == NULL);
}

/* Takes so many blocks of one size; frees all, or all but one in so many, the
 * number of which is returned. */
static size_t burst(struct small *s, void **p, size_t n, size_t size,
		    size_t one_in)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		CHECK(p[i] = small_realloc(s, NULL, 0, size));
	for (size_t i = 0; i < n; i++) {
		if (one_in && i % one_in == 0)
			p[left++] = p[i];
		else
			small_free(s, p[i], size);
	}
	return left;
}

/* A script that holds many blocks of one size after the other takes no more
 * memory than for the size of which there were most. */
TEST(what_one_size_took_is_there_for_others)
{
	enum { BYTES = 2 << 20, PIECES = BYTES / SMALL_PIECE };
	static void *p[BYTES / SMALL_STEP];
	struct small s = {0};

	for (size_t n = SMALL_STEP; n <= SMALL_MAX; n += SMALL_STEP) {
		burst(&s, p, BYTES / n, n, 0);
		/* a piece has a head, and an end that is no whole block */
		CHECK(s.used + s.kept <= PIECES / 8 * 9 + SMALL_KINDS);
	}
	CHECK_INT(s.used, SMALL_KINDS);
	CHECK(s.kept <= SMALL_KEPT);
	small_fini(&s);
}

/* And what is left of a burst keeps its pieces, and few others. */
TEST(no_more_pieces_are_kept_than_are_in_use)
{
	enum { N = 100000, SIZE = 64, EACH = 1000 };
	static void *p[N];
	struct small s = {0};
	size_t left = burst(&s, p, N, SIZE, EACH);

	CHECK_INT(left, N / EACH);
	CHECK(s.used >= left && s.used <= left + 1);
	CHECK(s.kept <= SMALL_KEPT);
	for (size_t i = 0; i < left; i++)
		small_free(&s, p[i], SIZE);
	CHECK_INT(s.used, 1);
	small_fini(&s);
}

/* Whatever is asked for then: nothing has changed. */
TEST(without_memory_a_block_stays)
{
	static const size_t other[] = {20, 200, 2000};
	struct small s = {0};

	for (size_t size = 100; size < 3000; size += 900) {
		char *p = small_realloc(&s, NULL, 0, size);

		memset(p, 'x', size);
		for (size_t i = 0; i < 3; i++) {
			malloc_fail(1, 1);
			CHECK(!small_realloc(&s, p, size, other[i]));
			malloc_fail(0, 0);
			CHECK(p[0] == 'x' && p[size - 1] == 'x');
		}
		small_free(&s, p, size);
	}
	small_fini(&s);
}
