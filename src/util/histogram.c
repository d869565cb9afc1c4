#include "util/histogram.h"

#include <assert.h>
#include "util/tick.h"

static const int64_t BOUNDS[HISTOGRAM_BUCKETS] = {
    MILLIS(5),   MILLIS(10),  MILLIS(25),  MILLIS(50), MILLIS(100),
    MILLIS(250), MILLIS(500), SECONDS(1),  SECONDS(2), SECONDS(4),
    SECONDS(8),  SECONDS(16), SECONDS(32), SECONDS(64)};

void histogram_add(struct histogram *h, int64_t us)
{
	unsigned i = 0;

	if (us < 0)
		us = 0;
	while (i < HISTOGRAM_BUCKETS && us > BOUNDS[i])
		i++;
	h->n[i]++;
	h->sum += (uint64_t)us;
}

int64_t histogram_bound(unsigned i)
{
	assert(i < HISTOGRAM_BUCKETS);
	return BOUNDS[i];
}
