/*
 * Who is shown what passes the wire: the log, all of it at log_level debug; the
 * collector of the settings, in packets of HEP3 (util/hep.h); and whom an
 * operator has named for a while. Decides and writes; the host sends.
 */
#ifndef CORE_CAPTURE_H
#define CORE_CAPTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include "util/addr.h"
#include "util/log.h"
#include "util/tick.h"

enum {
	CAPTURE_TEXT = 256, /* with NUL: a longer Call-ID is refused */
	/* Calls that a filter by user keeps in mind: of messages within a call
	 * only half have the user in From. */
	CAPTURE_CALLS = 64,
};

/* What an operator wants to see. At least one of both is not empty; all that
 * are not must fit. */
struct capture_filter {
	char call_id[CAPTURE_TEXT];
	char user[CAPTURE_TEXT]; /* of the From */
	struct addr collector;   /* none: into the log */
	tick_t until;
};

enum { CAPTURE_LOG = 1, CAPTURE_COLLECT = 2, CAPTURE_FILTER = 4 };

/* Of a node. */
struct capture {
	atomic_uint on; /* CAPTURE_*; while it is 0 nothing else is looked at */
	pthread_mutex_t lock; /* of the rest */
	struct capture_filter filter;
	enum log_level level;         /* of what it wants in the log */
	uint64_t call[CAPTURE_CALLS]; /* hashes of Call-IDs */
	unsigned calls;
};

struct node;

void capture_init(struct capture *t);
void capture_fini(struct capture *t);
/* Every message into the log, or not; by any thread, as the next. */
void capture_log(struct node *n, bool on);
/* What the filter wants in the log has this level from now on; until then it is
 * LOG_INFO. */
void capture_set_level(struct node *n, enum log_level level);
/* Replaces the filter there was; NULL ends it. */
void capture_set_filter(struct node *n, const struct capture_filter *f);
/* The node's settings have changed. */
void capture_on_settings(struct node *n);

static inline bool capture_is_on(struct capture *t)
{
	return atomic_load_explicit(&t->on, memory_order_relaxed) != 0;
}

#endif
