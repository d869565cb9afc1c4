/*
 * Pages someone: runs a program of the operator for each transition, with the
 * transition on its standard input. One at a time, in a thread of its own that
 * nobody waits for; what comes faster than it can be told is left out, counted,
 * and said in the next one.
 */
#ifndef CONTROL_NOTIFIER_H
#define CONTROL_NOTIFIER_H

#include "host/logsink.h"
#include "host/transitions.h"

enum {
	/* Waiting for their turn; beyond it the oldest is left out: what was
	 * told last is how it is now. */
	NOTIFIER_QUEUE = 100,
	/* At the end of the process what is left gets so long. */
	NOTIFIER_END_MS = 2000,
};

/* What became of them. X(id, label) */
#define NOTIFY_LIST(X)                                                         \
	X(NOTIFY_OK, "ok")                                                     \
	X(NOTIFY_FAILED, "failed")                                             \
	X(NOTIFY_TIMEOUT, "timeout")                                           \
	X(NOTIFY_SKIPPED, "skipped")

enum notify_result {
#define X(id, label) id,
	NOTIFY_LIST(X)
#undef X
	    NOTIFY_N
};

const char *notify_result_text(enum notify_result r);

struct notifier;

/* NULL when memory ran out. Programs get the environment of now. */
struct notifier *notifier_new(struct logsink *log);
/* Kills the program that runs when the queue is not empty soon enough. */
void notifier_free(struct notifier **n);
/* From now on this program (an absolute path; NULL: none, and what waits is
 * left out), at most so often a minute, each for so many microseconds. */
void notifier_set(struct notifier *n, const char *program, unsigned per_minute,
		  int64_t timeout);
/* Ignores what is no news: what was found at the start, and a server that is
 * only about to change (falling, rising). By any thread; copies. */
void notifier_put(struct notifier *n, const struct transition *t);
void notifier_counts(struct notifier *n, uint64_t out_r[NOTIFY_N]);

#endif
