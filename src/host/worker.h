/*
 * A worker: one thread with its loop, its core and its script, and the sockets
 * it reads. It implements the host boundary (transport/host.h) and calls the
 * core's entries, never one from inside a verb: what goes wrong while sending
 * is told after the batch.
 */
#ifndef HOST_WORKER_H
#define HOST_WORKER_H

#include "host/logsink.h"
#include "host/statefile.h"
#include "lua/generation.h"

struct worker;
struct tls_set; /* host/tls.h */
struct ask;     /* host/ask.h */
struct outages; /* host/outages.h */

struct worker_conf {
	struct node *node;
	struct script *script; /* owned from worker_new on, if that succeeds */
	unsigned index;
	struct logsink *log;
	uint8_t seed[16];
	const struct tls_set *tls;
	struct statefile *state; /* where calls are kept; or NULL */
	struct ticker *ticker;   /* borrowed; its scripts have it too */
	struct outages *outages; /* borrowed; the same for all */
	/* All workers of the node, filled in before the first one starts. */
	struct worker *const *peers;
};

/* NULL when memory ran out. */
struct worker *worker_new(const struct worker_conf *conf);
/* Binds the node's listeners, worker 0 first: it takes their ports for all of
 * them. 0, or an errno with an explanation in why[n]. */
int worker_listen(struct worker *w, char *why, size_t n);
/* Starts the thread and waits until the script is bound to its core. 0 or
 * ERR_*. Signals must be blocked by the caller. */
int worker_start(struct worker *w);
/* Once all have started, or one could not: it begins to work. Until then none
 * changes what the others bind to. */
void worker_go(struct worker *w);
/* Asks it to stop; from any thread: open requests are answered. */
void worker_stop(struct worker *w);
/* Waits until it has. False when that takes longer than anything it may still
 * do. */
bool worker_stopped(struct worker *w);
/* Once all have stopped: what they have for each other goes out, and the
 * threads end. */
void worker_leave(struct worker *w);
/* Asks it for a sign of life; returns the number of the question. From the
 * control thread. */
unsigned worker_beat(struct worker *w);
bool worker_answered(const struct worker *w, unsigned question);
/* What it said last; from any thread. */
struct worker_load {
	size_t requests, calls; /* open; up */
	/* Everything that began before it drained has come to its end
	 * (core_is_quiet). */
	bool quiet;
};
struct worker_load worker_load(const struct worker *w);
/* Has it write down how its servers are, for worker_summary; from any thread.
 */
void worker_summarise(struct worker *w);
/* What it wrote, as a line for people: malloc'd, the caller's. NULL: nothing
 * since the last time. */
char *worker_summary(struct worker *w);
/* Waits until it rests between two entries: its core and scripts may be used by
 * the caller until worker_resume. False when it does not come to that for
 * seconds: then it goes on. */
bool worker_rest(struct worker *w);
void worker_resume(struct worker *w);
/* Certificates for new connections; while it rests. */
void worker_use_tls(struct worker *w, const struct tls_set *tls);
struct succession *worker_scripts(struct worker *w);
/* Asks it to log what is alive in it; from any thread. */
void worker_report(struct worker *w);
/* Has it answer a question, and give it to asks_return; from any thread. One
 * that has ended does not. */
void worker_ask(struct worker *w, struct ask *a);
/* Waits for the thread to end. False when that takes longer than anything it
 * may still do. */
bool worker_join(struct worker *w);
void worker_free(struct worker **w);

#endif
