/*
 * Timers of one core: a hierarchical wheel of milliseconds. Arming and
 * stopping cost O(1) and allocate nothing. The wheel never reads a clock:
 * every call is told the time. A timer fires at the first whole millisecond at
 * or after its deadline; timers of one millisecond fire in the order in which
 * they were armed.
 */
#ifndef UTIL_TIMER_H
#define UTIL_TIMER_H

#include <stdbool.h>
#include "util/list.h"
#include "util/mem.h"
#include "util/tick.h"

struct timer;
typedef void timer_fn(struct timer *t, struct now now);

struct timer {
	struct list link; /* linked while armed */
	tick_t deadline;
	timer_fn *fn;
	uint64_t due; /* what the wheel made of the deadline; its own */
};

struct timers; /* owned by the core */

struct timers *timers_new(struct mem *m, tick_t start);
void timers_free(struct timers **ts); /* armed timers are just forgotten */

void timer_init(struct timer *t, timer_fn *fn);
/* Re-arms when armed already. A deadline in the past fires at the next run. */
void timer_arm(struct timers *ts, struct timer *t, tick_t deadline);
void timer_stop(struct timers *ts, struct timer *t); /* idle: does nothing */
bool timer_armed(const struct timer *t);

/* When to call timers_run next: TICK_NEVER when nothing is armed. It is exact:
 * something fires at that time. Not before the time last told to timers_run. */
tick_t timers_next(const struct timers *ts);
/* Fires everything due at now.mono. A function may arm and stop any timer and
 * free its own. Timers armed by a function for a time not after now fire in
 * the same run. Does nothing when a later time was told before. */
void timers_run(struct timers *ts, struct now now);
size_t timers_count(const struct timers *ts); /* armed */

#endif
