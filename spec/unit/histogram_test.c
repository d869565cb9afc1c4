/* Where a duration is counted. */
#include "support/unit.h"
#include "util/histogram.h"
#include "util/tick.h"

TEST(histogram_counts_up_to_each_bound)
{
	struct histogram h = {{0}, 0};

	histogram_add(&h, 0);
	histogram_add(&h, MILLIS(5));
	histogram_add(&h, MILLIS(5) + 1);
	histogram_add(&h, SECONDS(64));
	histogram_add(&h, SECONDS(64) + 1);
	histogram_add(&h, SECONDS(3600));
	CHECK_INT(h.n[0], 2);
	CHECK_INT(h.n[1], 1);
	CHECK_INT(h.n[HISTOGRAM_BUCKETS - 1], 1);
	CHECK_INT(h.n[HISTOGRAM_BUCKETS], 2);
	CHECK_INT(h.sum,
		  2 * MILLIS(5) + 1 + 2 * SECONDS(64) + 1 + SECONDS(3600));
}

TEST(histogram_takes_a_clock_that_went_back_for_nothing)
{
	struct histogram h = {{0}, 0};

	histogram_add(&h, -SECONDS(1));
	CHECK_INT(h.n[0], 1);
	CHECK_INT(h.sum, 0);
}

TEST(histogram_bounds_grow_from_5_ms_to_64_s)
{
	CHECK_INT(histogram_bound(0), MILLIS(5));
	CHECK_INT(histogram_bound(HISTOGRAM_BUCKETS - 1), SECONDS(64));
	for (unsigned i = 1; i < HISTOGRAM_BUCKETS; i++)
		CHECK(histogram_bound(i) > histogram_bound(i - 1));
}
