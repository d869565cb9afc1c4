/*
 * Requests that left together (host/join.h). Where nothing cuts them apart
 * before they are refused (the loopback interface, a bridge between containers)
 * the network says so once for all, of the first; but each has to fail at once
 * (RFC 3261 18.4). So they are remembered for a while, and when the first of a
 * send comes back the others are sent again, alone: each gets an error of its
 * own, and a server that had them sees a retransmission.
 *
 * That the others failed as well is not to be concluded from the first: where
 * they were cut apart, a balancer that knows calls may have brought each to
 * another server.
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
};

struct sent {
	struct list list; /* of dgram, oldest first, a send behind the other */
	unsigned n;
};

void sent_init(struct sent *s);
void sent_fini(struct sent *s); /* frees all it has */
/* The first `n` of the queue have left in one send, at a time in microseconds;
 * they move here. What is forgotten for them gives its memory to the queue. */
void sent_add(struct sent *s, struct dgram_queue *q, unsigned n, int64_t now);
/* The network has not delivered what began with those bytes: the others of its
 * send are put at the end of the queue, if it was the first. Without a whole
 * topmost Via, by which the core would know it, nothing happens. */
void sent_refused(struct sent *s, struct dgram_queue *q, const struct addr *to,
		  struct str quoted, int64_t now);
/* Forgets those that are too old. */
void sent_expire(struct sent *s, struct dgram_queue *q, int64_t now);

#endif
