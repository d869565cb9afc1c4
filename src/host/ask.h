/*
 * Questions of operators to workers (lua/script.h, script_ask): put on the
 * control thread, answered by the worker between two entries of its core,
 * brought back to the control thread. A worker that does not answer in time is
 * not waited for.
 */
#ifndef HOST_ASK_H
#define HOST_ASK_H

#include <ev.h>
#include "lua/console.h"
#include "util/list.h"

struct asks;
struct worker;

/* A question on its way. */
struct ask {
	struct list link; /* the worker's, or that of answered ones */
	struct list all;
	struct asks *asks;
	struct console_call *call; /* NULL: it took too long */
	ev_tstamp deadline;
	unsigned worker;
	bool ok;
	char *answer;          /* malloc'd */
	struct str what, args; /* in the same memory */
	char text[];
};

/* NULL when memory ran out. Control thread, as all but asks_return. */
struct asks *asks_new(struct ev_loop *loop);
/* Asks the worker; `call` is answered. */
void asks_put(struct asks *as, struct worker *w, unsigned index,
	      struct str what, struct str args, struct console_call *call);
/* The worker has filled in ok and answer; its thread. */
void asks_return(struct ask *a);
/* After the workers have ended. */
void asks_free(struct asks **as);

#endif
