/*
 * What an operator looks at for a while, and which then ends by itself: another
 * log level, and the messages of one call or user (core/capture.h).
 */
#ifndef CONTROL_OBSERVE_H
#define CONTROL_OBSERVE_H

#include <ev.h>

#include "core/capture.h"
#include "lua/console.h"

struct control;

struct observe {
	ev_timer level_end, trace_end;
	int level; /* enum log_level; -1: none is set */
	bool tracing;
	struct capture_filter filter;
};

void observe_init(struct control *c);
void observe_free(struct control *c);
/* The level that is set for now, or -1. */
int observe_level(const struct control *c);

/* Verbs of the control API (control/verbs.h).
 * log_level LEVEL SECONDS WHO: an empty LEVEL ends what was set. */
void observe_set_level(struct control *c, const struct str *arg, size_t n,
		       struct console_call *call);
/* trace CALL-ID USER COLLECTOR SECONDS WHO: without a COLLECTOR into the log;
 * without CALL-ID and USER what is traced ends. */
void observe_trace(struct control *c, const struct str *arg, size_t n,
		   struct console_call *call);

#endif
