/*
 * Time as the core is told it. Monotonic ticks drive every timer; wall time is
 * for display and for expiry dates only. They are different types so that they
 * cannot be mixed by accident. Unit: microseconds.
 */
#ifndef UTIL_TICK_H
#define UTIL_TICK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	int64_t us;
} tick_t; /* monotonic, any epoch */

typedef struct {
	int64_t us;
} wall_t; /* since 1970-01-01T00:00Z */

struct now {
	tick_t mono;
	wall_t wall;
};

#define TICK_NEVER ((tick_t){INT64_MAX})
#define SECONDS(n) ((int64_t)(n)*1000000)
#define MILLIS(n)  ((int64_t)(n)*1000)

static inline tick_t tick_add(tick_t t, int64_t us)
{
	return (tick_t){t.us + us};
}

static inline int64_t tick_diff(tick_t later, tick_t earlier)
{
	return later.us - earlier.us;
}

static inline bool tick_before(tick_t a, tick_t b)
{
	return a.us < b.us;
}

#endif
