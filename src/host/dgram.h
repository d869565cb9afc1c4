/*
 * Datagrams that wait: to be sent, or, with a cause, to be told to the core as
 * a flow event. A queue owns what is in it and is used by one thread.
 */
#ifndef HOST_DGRAM_H
#define HOST_DGRAM_H

#include "transport/host.h"
#include "util/list.h"

struct dgram {
	struct list link;
	struct hop hop;   /* where it goes, or would have gone */
	enum cause cause; /* why it failed; CAUSE_NONE while it waits */
	bool is_alone;    /* not to be sent together with others */
	/* Once it has left, see host/sent.h: with how many, itself counted, if
	 * it was the first of them, else 0; and when. */
	uint8_t together;
	int64_t left_at;
	size_t n, room;
	struct str call_id; /* when it was looked for; in `bytes` */
	char bytes[];
};

/* Neither number is a promise to anybody: beyond them the network is so far
 * behind that a retransmission will be the better copy. */
enum { DGRAM_QUEUE_MAX = 4096, DGRAM_QUEUE_BYTES = 4 * 1024 * 1024 };

/* Of datagrams up to that size so many leave their memory to later ones, in a
 * queue that reuses it. */
enum { DGRAM_ROOM = 2048, DGRAM_SPARES = 64 };

struct dgram_queue {
	struct list list;
	size_t n, bytes;
	bool reuses; /* set it after dgram_queue_init */
	struct list spare;
	size_t spares;
};

void dgram_queue_init(struct dgram_queue *q);
void dgram_queue_fini(struct dgram_queue *q); /* frees all it has */
bool dgram_queue_is_full(const struct dgram_queue *q);
/* Copies the bytes to the end; false when it is full or memory ran out. */
bool dgram_queue_add(struct dgram_queue *q, const struct hop *hop,
		     enum cause cause, struct str bytes);
void dgram_queue_push(struct dgram_queue *q, struct dgram *d); /* takes d */
struct dgram *dgram_queue_pop(struct dgram_queue *q); /* free() it; or NULL */
/* Nobody needs it any more, and it is in no queue: keeps its memory for this
 * one, or frees it. */
void dgram_queue_keep(struct dgram_queue *q, struct dgram *d);
/* The same with the first one, which must be there. */
void dgram_queue_done(struct dgram_queue *q);
/* Takes the first with these bytes out and frees it; false: there is none. */
bool dgram_queue_drop(struct dgram_queue *q, struct str bytes);
bool dgram_is_response(const struct dgram *d);
static inline struct dgram *dgram_of(struct list *link)
{
	return container_of(link, struct dgram, link);
}

#endif
