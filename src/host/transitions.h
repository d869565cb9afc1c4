/*
 * What has changed lately, whatever the log level is: the events of the log
 * that are transitions (of servers, pools and the script), as JSON, in a ring
 * of a few hundred with numbers. For the control API; and each is handed on to
 * whoever pages someone. Used by any thread.
 */
#ifndef HOST_TRANSITIONS_H
#define HOST_TRANSITIONS_H

#include "util/log.h"

enum { TRANSITIONS_KEPT = 200 };

struct transitions;

/* A transition as it happens. All is borrowed. */
struct transition {
	const char *event;           /* "server.health" */
	struct str pool, server, to; /* STR_NONE: it has none */
	struct str from;
	struct str json; /* one object, without its number */
};

typedef void transition_fn(void *ctx, const struct transition *t);

/* NULL when memory ran out. `fn`, which may be NULL, is told of each, in the
 * thread where it happens, in order; it must not log. */
struct transitions *transitions_new(transition_fn *fn, void *ctx);
void transitions_free(struct transitions **t);
bool is_transition(const struct log_event *e);
/* Of an event of the log; ignores what is no transition. What there is no
 * memory for is left out. */
void transitions_note(struct transitions *t, const struct log_event *e,
		      wall_t ts);
/* {"last":N,"events":[{"seq":...},...]}: those that came after number `since`,
 * oldest first; all of them when
 * there is no such number, as after a restart. malloc'd, the caller's; NULL
 * when memory ran out. */
char *transitions_since(struct transitions *t, uint64_t since);

#endif
