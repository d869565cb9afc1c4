/*
 * Which of the datagrams that wait may leave together: the kernel takes several
 * of one length to one peer in one call and cuts them apart behind its own
 * stack (UDP_SEGMENT), so that the way through it is paid for once. In an
 * overload most of what leaves are refusals, as alike as that; in a burst of
 * calls the requests to one server are.
 *
 * Responses leave with responses and requests with requests: only of these it
 * matters that an ICMP error may come for the first alone (host/sent.h).
 */
#ifndef HOST_JOIN_H
#define HOST_JOIN_H

#include "host/dgram.h"

enum {
	/* How many datagrams are looked at, and the longest that are joined: it
	 * fits into every path of IPv6 (1280, less both headers). A longer one
	 * than its path takes would be refused, not fragmented. */
	JOIN_WINDOW = 32,
	JOIN_LONGEST = 1232,
};

/* Moves those of the first `max` (at most JOIN_WINDOW) of the queue together
 * that leave together. Writes into size[i] how many the i-th send is of, in the
 * order of the queue; returns how many sends there are. What is of one call
 * keeps its order towards a peer. */
unsigned join_arrange(struct dgram_queue *q, unsigned max,
		      uint8_t size[JOIN_WINDOW]);

#endif
