#include "lua/small.h"

#include <stdlib.h>
#include <string.h>

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
			CHECK(p[i] != NULL);
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
		CHECK(s.free[i] == NULL);
}
