#include "support/unit.h"
#include "util/buf.h"

#include <string.h>

TEST(fixed_space_fits_exactly)
{
	char space[8];
	struct buf b;

	memset(space, '#', sizeof(space));
	buf_fixed(&b, space, 6);
	CHECK_INT(buf_str(&b).n, 0);
	buf_put(&b, STR("abc"));
	buf_put(&b, STR_NONE);
	buf_char(&b, 'd');
	buf_printf(&b, "%d", 42);
	CHECK(buf_ok(&b));
	CHECK_STR(buf_str(&b), "abcd42");
	CHECK_INT(space[6], '#');
}

TEST(overflow_is_sticky)
{
	char space[8];
	struct buf b;

	buf_fixed(&b, space, 4);
	BUF_LIT(&b, "abc");
	BUF_LIT(&b, "de");
	CHECK(!buf_ok(&b));
	CHECK_STR(buf_str(&b), "abc");
	buf_char(&b, 'd');
	buf_u64(&b, 1);
	buf_hex(&b, 1, 1);
	buf_printf(&b, "x");
	CHECK(!buf_ok(&b));
	CHECK_STR(buf_str(&b), "abc");
}

TEST(no_space_at_all)
{
	struct buf b;

	buf_fixed(&b, NULL, 0);
	buf_put(&b, STR(""));
	CHECK(buf_ok(&b));
	buf_char(&b, 'x');
	CHECK(!buf_ok(&b));
}

TEST(numbers)
{
	char space[200];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	buf_u64(&b, 0);
	buf_char(&b, ' ');
	buf_u64(&b, 10);
	buf_char(&b, ' ');
	buf_u64(&b, UINT64_MAX);
	buf_char(&b, ' ');
	buf_hex(&b, 4, 0xabcdef);
	buf_hex(&b, 0, 1);
	buf_hex(&b, 16, 0x123);
	CHECK(buf_ok(&b));
	CHECK_STR(buf_str(&b),
		  "0 10 18446744073709551615 cdef0000000000000123");
}

TEST(grows_in_the_arena)
{
	struct mem m;
	struct arena_cache *c;
	struct arena *a;
	struct buf b;
	struct str before;

	mem_init(&m);
	c = arena_cache_new(&m);
	a = arena_new(c);
	for (size_t hint = 0; hint < 70; hint += 23) {
		buf_arena(&b, a, hint);
		BUF_LIT(&b, "begin");
		before = buf_str(&b);
		for (int i = 0; i < 3000; i++)
			buf_char(&b, (char)('a' + i % 26));
		CHECK(buf_ok(&b));
		CHECK_INT(buf_str(&b).n, 3005);
		CHECK_STR(before, "begin");
		for (int i = 0; i < 3000; i++)
			CHECK_INT(buf_str(&b).p[5 + i], 'a' + i % 26);
	}
	arena_free(&a);
	arena_cache_free(&c);
	CHECK_INT(m.bytes, 0);
}

TEST(long_printf)
{
	struct mem m;
	struct arena_cache *c;
	struct arena *a;
	struct buf b;
	char space[600];

	mem_init(&m);
	c = arena_cache_new(&m);
	a = arena_new(c);
	for (int n = 250; n < 262; n++) {
		buf_arena(&b, a, 1);
		buf_printf(&b, "<%*d>", n, 7);
		CHECK(buf_ok(&b));
		CHECK_INT(buf_str(&b).n, n + 2);
		CHECK_STR(str_sub(buf_str(&b), (size_t)n - 1, 999), " 7>");
	}
	buf_fixed(&b, space, sizeof(space));
	buf_printf(&b, "%500d", 1);
	CHECK_INT(buf_str(&b).n, 500);
	buf_printf(&b, "%500d", 1);
	CHECK(!buf_ok(&b));
	CHECK_INT(buf_str(&b).n, 500);
	arena_free(&a);
	arena_cache_free(&c);
}

TEST(no_memory_is_sticky)
{
	struct mem m;
	struct arena_cache *c;
	struct arena *a;
	struct buf b;

	mem_init(&m);
	c = arena_cache_new(&m);
	a = arena_new(c);
	buf_arena(&b, a, 16);
	BUF_LIT(&b, "0123456789abcdef");
	m.fail_at = m.calls + 1;
	m.fail_for = UINT64_MAX;
	for (int i = 0; i < 5000; i++)
		buf_char(&b, 'x');
	CHECK(!buf_ok(&b));
	CHECK(buf_str(&b).n >= 16);
	CHECK_STR(str_sub(buf_str(&b), 0, 16), "0123456789abcdef");
	m.fail_at = 0;
	buf_char(&b, 'x');
	CHECK(!buf_ok(&b));
	buf_arena(&b, a, SIZE_MAX);
	CHECK(!buf_ok(&b));
	buf_put(&b, STR("a"));
	CHECK_INT(buf_str(&b).n, 0);
	arena_free(&a);
	arena_cache_free(&c);
	CHECK_INT(m.bytes, 0);
}
