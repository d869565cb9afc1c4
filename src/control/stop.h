/*
 * Ending, on the control thread: draining first, so that nobody is interrupted
 * in the middle of a call set-up, and then all of it.
 */
#ifndef CONTROL_STOP_H
#define CONTROL_STOP_H

#include <ev.h>
#include <stdbool.h>

struct control;
struct worker_load; /* host/worker.h */

struct stop {
	ev_timer look;
	bool begun;
	double began, until; /* time of the loop */
	unsigned *question;  /* of each worker */
};

/* 0 or ERR_NOMEM; stop_free in any case. */
int stop_init(struct control *c);
/* Takes nothing new from now on; off: takes calls again, unless it ends. False:
 * it ends, and there is no way back. `by`: who wants it, for the log. */
bool stop_drain(struct control *c, bool on, const char *by);
/* Drains, and leaves the loop when the workers are quiet, after the script's
 * stop_timeout at the latest. When that is under way already: now. */
void stop_begin(struct control *c, const char *by);
/* Leaves the loop: what is open is answered. */
void stop_now(struct control *c, const char *by);
/* What is open and up, of all workers, when they last said; a line of it for
 * the service manager. */
struct worker_load stop_load(const struct control *c);
void stop_tell(const struct control *c);
/* The workers have ended: says how. */
void stop_log(struct control *c);
void stop_free(struct control *c);

#endif
