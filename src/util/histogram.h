/*
 * How often something took how long: fixed buckets fit for SIP, from 5 ms to
 * 64 s (Timers B and F are 32 s). Adding costs a few comparisons.
 */
#ifndef UTIL_HISTOGRAM_H
#define UTIL_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 14 };

/* Zeroed is empty. */
struct histogram {
	uint64_t n[HISTOGRAM_BUCKETS + 1]; /* each alone; the last: longer */
	uint64_t sum;                      /* microseconds */
};

/* What took less than nothing took nothing. */
void histogram_add(struct histogram *h, int64_t us);
/* The most that belongs into bucket i, in microseconds. */
int64_t histogram_bound(unsigned i);

#endif
