/*
 * Watching the workers, on the control thread: asks each of them for a sign of
 * life once a second, tells the service manager that all is well while they
 * answer, logs who does not, and ends the process that cannot be saved: a
 * thread that is stuck in a call of C can be neither interrupted nor freed.
 */
#ifndef CONTROL_WATCHDOG_H
#define CONTROL_WATCHDOG_H

#include <ev.h>

struct control;

struct watchdog {
	ev_timer beat;
	unsigned long beats;
	struct beat *worker;
};

/* 0 or ERR_NOMEM; watchdog_free in any case. */
int watchdog_start(struct control *c);
void watchdog_free(struct control *c);
/* Worker i has not answered for so long: says so, and does not return. */
_Noreturn void watchdog_abort(struct control *c, unsigned i, double seconds);

#endif
