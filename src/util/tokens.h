/*
 * A token bucket: so many a second on average, so many at once.
 */
#ifndef UTIL_TOKENS_H
#define UTIL_TOKENS_H

#include <stdbool.h>
#include <stdint.h>
#include "util/tick.h"

struct tokens {
	int64_t rate, burst; /* a second; at most in the bucket */
	int64_t left;
	tick_t filled;
};

/* It begins full. */
void tokens_init(struct tokens *t, int64_t rate, int64_t burst);
/* Takes n, or none of them: false. */
bool tokens_take(struct tokens *t, int64_t n, tick_t now);

#endif
