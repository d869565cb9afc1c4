/*
 * One worker's core: it is told the time and given bytes, and asks the host
 * (transport/host.h) for everything else. It never reads a clock, a file or a
 * socket; its randomness comes from the seed it was given. Cores of one node
 * share the struct node and nothing else. A core is used by one thread.
 *
 * Each entry runs to completion: timers due, the input, then whatever became
 * ready (outcomes, Lua coroutines). No entry may be called from inside a host
 * verb. After each entry ask core_deadline() again.
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include "core/node.h"
#include "proxy/proxy.h"
#include "transport/host.h"
#include "util/counters.h"
#include "util/rand.h"
#include "util/timer.h"

struct core;

/* What runs on top (the Lua half). */
struct core_user {
	struct list link; /* the core's */
	void *ctx;
	struct policy policy;
	/* Runs what is ready; true when something ran. Called after each entry,
	 * again until nothing is left. */
	bool (*drain)(void *ctx, struct now now);
	/* POST_SCRIPT from another worker. */
	void (*on_post)(void *ctx, struct str topic, struct str payload,
			struct now now);
};

/* NULL when memory ran out. `host` is borrowed for the core's life. */
struct core *core_new(struct node *node, unsigned worker,
		      const struct host *host, const uint8_t seed[16],
		      struct now now);
void core_free(struct core **c);
/* The last entry before core_free when the process ends: requests that are not
 * answered yet get 503, and whoever rings for one a CANCEL. What is lost on its
 * way is not repeated. */
void core_stop(struct core *c, struct now now);
/* While the node drains (node.draining): would core_stop leave nobody in the
 * middle of something? Before an entry or after one. */
bool core_is_quiet(const struct core *c, struct now now);
/* Who gets what comes from now on; NULL: requests get 503. The users before it
 * keep the requests they began, and run, until they are dropped. Borrowed until
 * then. Between two entries, as all of these. */
void core_set_user(struct core *c, struct core_user *user);
/* It is going, the present one or an earlier one: what it has not decided will
 * be answered 500. */
void core_drop_user(struct core *c, struct core_user *user);
/* The present one, or NULL. */
struct core_user *core_user(const struct core *c);
/* The node's settings have changed. */
void core_on_settings(struct core *c);
/* Its keys have; while nobody is in the core. */
void core_on_keys(struct core *c);

/* What the next entry is given has been waiting on this machine since then; not
 * said: it comes just now. */
void core_came(struct core *c, struct now now, tick_t came);
/* A datagram, or a piece of a stream as it came. Bytes are borrowed. */
void core_receive(struct core *c, struct now now, const struct hop *from,
		  struct str bytes);
void core_flow_event(struct core *c, struct now now,
		     const struct flow_event *e);
void core_answer(struct core *c, struct now now, struct query *q,
		 const struct answer *a);
void core_post(struct core *c, struct now now, const struct post *msg);
/* The calls that are up, as bytes for core_restore_calls: malloc'd, the
 * caller's; NULL when memory ran out. They are saved then: has anything changed
 * since? */
char *core_save_calls(struct core *c, struct now now, size_t *n_r);
bool core_calls_changed(const struct core *c);
/* After the script is bound, which declares the servers, and before the first
 * message. `bytes` may be what several cores saved, of this node or another
 * process with its key. 0; ERR_SYNTAX: something in it is damaged, ERR_NOMEM;
 * what came before that was restored. */
int core_restore_calls(struct core *c, struct now now, struct str bytes);
/* Closes every connection, as if the peers had: for specs that do not. */
void core_close_flows(struct core *c, struct now now);
/* Forgets the calls that are up, as if nobody had ever made them: for specs
 * that do not hang up. */
void core_forget_calls(struct core *c, struct now now);
/* Timers due, and what they make ready. */
void core_expire(struct core *c, struct now now);
/* When core_expire wants to be called: TICK_NEVER when idle. */
tick_t core_deadline(const struct core *c);

/* ---- for what runs on top ---- */
struct node *core_node(const struct core *c);
unsigned core_worker(const struct core *c);
struct mem *core_mem(struct core *c);
struct arena *core_scratch(struct core *c);
struct arena_cache *core_arenas(struct core *c);
struct timers *core_timers(struct core *c);
struct resolver *core_resolver(struct core *c);
struct proxy *core_proxy(struct core *c);
const struct host *core_host(const struct core *c);
struct rand *core_rand(struct core *c);
struct counters *core_counters(struct core *c);
struct now core_now(const struct core *c); /* of the entry that is running */

/* What is alive, for specs and status. */
struct core_stats {
	size_t bytes; /* of the core's heap, spare arena chunks excluded */
	size_t servers, clients, requests, timers;
	size_t calls;      /* that are up (proxy/calls.h) */
	uint64_t begun;    /* requests that a script was given, ever */
	size_t overloaded; /* 1: it refuses what is new, or did just now */
	size_t flows;      /* connections, also those being opened */
};
void core_stats(const struct core *c, struct core_stats *out_r);

#endif
