/*
 * Requests that left together (host/join.h). Where nothing cuts them apart
 * before they are refused (this machine itself, a bridge between containers)
 * the network says so once for all, of the first; but each has to fail at once
 * (RFC 3261 18.4). So they are remembered for a while, and when the first of a
 * send comes back the others either have failed with it, or are sent again,
 * alone: each gets an error of its own, and a server that had them sees a
 * retransmission.
 *
 * They have failed with it when the quote goes on behind the first: they were
 * one piece. A long request fills the quote, and then nobody knows: a filter
 * may have refused one of many, and a balancer that knows calls may have
 * brought each to another server. But what comes late is of a neighbour that
 * was looked for, and sent again they would wait as long once more; who has had
 * an answer since is not believed to have failed (proxy/flow.c).
 */
#ifndef HOST_SENT_H
#define HOST_SENT_H

#include "host/dgram.h"

enum {
	/* So many stay in memory when the last has been added. Where they may
	 * be refused together the answer takes no time, or, from one worker to
	 * another, a turn. */
	SENT_MAX = 128,
	/* Microseconds. The kernel looks for a neighbour for three seconds
	 * before it says that there is none. */
	SENT_LIFE = 4000000,
	/* Later than that an unreachable host is one that was looked for. */
	SENT_AT_ONCE = 100000,
};

struct sent {
	struct list list; /* of dgram, oldest first, a send behind the other */
	unsigned n;
};

/* What the network did not deliver, and why. */
struct refusal {
	const struct addr *to;
	enum cause cause;
	struct str quoted;
};

void sent_init(struct sent *s);
void sent_fini(struct sent *s); /* frees all it has */
/* The first `n` of the queue have left in one send, at a time in microseconds;
 * they move here. What is forgotten for them gives its memory to the queue. */
void sent_add(struct sent *s, struct dgram_queue *q, unsigned n, int64_t now);
/* If what is quoted was the first of a send, the others are put at the end of
 * `faults` for the same cause, or at the end of `q`, to be sent again. Without
 * a whole topmost Via, by which the core would know it, nothing happens. */
void sent_refused(struct sent *s, const struct refusal *why, int64_t now,
		  struct dgram_queue *q, struct dgram_queue *faults);
/* Forgets those that are too old. */
void sent_expire(struct sent *s, struct dgram_queue *q, int64_t now);

#endif
