#include "support/unit.h"
#include "util/rand.h"

TEST(known_outputs)
{
	/* xoshiro256** from the state 1, 2, 3, 4. */
	static const uint64_t want[] = {
	    11520,
	    0,
	    1509978240,
	    1215971899390074240,
	};
	struct rand r = {.s = {1, 2, 3, 4}};

	for (int i = 0; i < 4; i++)
		CHECK(rand_u64(&r) == want[i]);
}

TEST(seed_is_spread)
{
	/* SplitMix64 from 0. */
	struct rand r;

	rand_seed(&r, 0);
	CHECK(r.s[0] == 0xe220a8397b1dcdafu);
	CHECK(r.s[1] == 0x6e789e6aa1b965f4u);
	CHECK(r.s[2] == 0x06c45d188009454fu);
	CHECK(r.s[3] == 0xf88bb8a8724c81ecu);
}

TEST(one_seed_one_run)
{
	uint8_t seed[16] = {1, 2, 3};
	struct rand a, b, c;

	rand_seed(&a, 5);
	rand_seed(&b, 5);
	rand_seed(&c, 6);
	for (int i = 0; i < 100; i++) {
		uint64_t v = rand_u64(&a);

		CHECK(v == rand_u64(&b));
		CHECK(v != rand_u64(&c));
	}
	rand_seed_bytes(&a, seed);
	rand_seed_bytes(&b, seed);
	seed[15]++; /* every byte counts */
	rand_seed_bytes(&c, seed);
	for (int i = 0; i < 100; i++) {
		uint64_t v = rand_u64(&a);

		CHECK(v == rand_u64(&b));
		CHECK(v != rand_u64(&c));
	}
}

TEST(below_is_in_range_and_even)
{
	int seen[6] = {0};
	struct rand r;

	rand_seed(&r, 1);
	for (int i = 0; i < 60000; i++) {
		uint64_t v = rand_below(&r, 6);

		CHECK(v < 6);
		seen[v]++;
	}
	for (int i = 0; i < 6; i++)
		CHECK(seen[i] > 9500 && seen[i] < 10500);
	for (int i = 0; i < 100; i++)
		CHECK_INT(rand_below(&r, 1), 0);
}

TEST(below_a_large_bound_is_even)
{
	/* Taking the remainder alone would make the lower half twice as
	 * likely. */
	const uint64_t n = 3ull << 62;
	int low = 0;
	struct rand r;

	rand_seed(&r, 2);
	for (int i = 0; i < 30000; i++) {
		uint64_t v = rand_below(&r, n);

		CHECK(v < n);
		low += v < 1ull << 62;
	}
	CHECK(low > 9500 && low < 10500);
	CHECK(rand_below(&r, UINT64_MAX) < UINT64_MAX);
}

TEST(unit_interval)
{
	double sum = 0, min = 1, max = 0;
	struct rand r;

	rand_seed(&r, 4);
	for (int i = 0; i < 100000; i++) {
		double v = rand_unit(&r);

		CHECK(v >= 0 && v < 1);
		sum += v;
		min = v < min ? v : min;
		max = v > max ? v : max;
	}
	CHECK(sum > 49500 && sum < 50500);
	CHECK(min < 0.001 && max > 0.999);
}
