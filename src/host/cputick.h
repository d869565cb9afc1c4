/*
 * Fires a ticker (lua/ticker.h) while this thread works: every few milliseconds
 * of its own processor time, by a signal to it alone (SIGVTALRM). A thread that
 * sleeps is not woken.
 */
#ifndef HOST_CPUTICK_H
#define HOST_CPUTICK_H

#include <stdbool.h>
#include <time.h>

#include "lua/ticker.h"

struct cputick {
	struct ticker *ticker; /* borrowed */
	timer_t timer;
	bool is_on;
};

/* For the calling thread. False, and the ticker stays what it is, where the
 * system has no such timer left. */
bool cputick_start(struct cputick *c, struct ticker *ticker);
/* In the same thread. Fine when it was never started. */
void cputick_stop(struct cputick *c);

#endif
