/*
 * What workers have for each other. A sender collects what one batch of its own
 * yields for another worker in a parcel and hands that over as a whole: one
 * exchange of a pointer, and one wake if the other sleeps. Neither side ever
 * waits for the other, and emptied parcels go back to whom they came from.
 */
#ifndef HOST_MAILBOX_H
#define HOST_MAILBOX_H

#include <stdatomic.h>
#include "transport/host.h"

enum {
	/* Bytes that may wait in a box, whole parcels counted: of what came as
	 * a datagram and will be repeated, and of what came over a connection
	 * and will not. What has no limit is little, and must not be lost. */
	MAILBOX_DATAGRAMS = 64 * 1024 * 1024,
	MAILBOX_MOST = 4 * MAILBOX_DATAGRAMS,
};

struct parcel;

/* Parcels that any thread puts down and one picks up, all at once. */
struct stack {
	_Atomic(struct parcel *) top;
};

struct mailbox {
	struct stack stack;
	atomic_size_t bytes; /* that wait */
};

/* What is to leave for one of them, newest first. */
struct batch {
	struct parcel *newest, *oldest;
	size_t bytes;
};

/* Of one worker, and used by it alone but for `back`. */
struct outbox {
	struct stack back; /* what others have emptied */
	struct parcel *spare;
	struct batch *to; /* one for each worker */
	unsigned n;
};

void mailbox_init(struct mailbox *m);
void mailbox_fini(struct mailbox *m); /* nobody sends any more */
/* ERR_NOMEM, or 0 */
int outbox_init(struct outbox *o, unsigned workers);
void outbox_fini(struct outbox *o); /* nobody has a parcel of it any more */

/* Copies the message for the worker whose box that is; it leaves with
 * outbox_send. False: it is lost, there is no room. */
bool outbox_put(struct outbox *o, unsigned worker, struct mailbox *to,
		const struct post *post);
/* Hands over what there is for that worker. True: its owner sleeps, and nobody
 * else wakes it: do. */
bool outbox_send(struct outbox *o, unsigned worker, struct mailbox *to);

/* All that is there, oldest first; NULL when there is nothing. The receiver
 * reads each with parcel_next and gives it back. */
struct parcel *mailbox_take(struct mailbox *m);
/* The message at *at, which starts with 0 and is moved on; NULL at the end.
 * Valid until mailbox_return. */
const struct post *parcel_next(const struct parcel *p, size_t *at);
/* Gives it back to its sender; the one after it. */
struct parcel *mailbox_return(struct mailbox *m, struct parcel *p);
/* Its owner is about to wait: whoever puts something in is to wake it. False:
 * there is something in it. */
bool mailbox_sleep(struct mailbox *m);
/* It has woken, for whatever reason: it will look by itself. */
void mailbox_wake(struct mailbox *m);
/* Hands `fn` at most so many parcels and returns them: first those in *left,
 * which were taken before, then what is in the box. True: there may be more, in
 * either. False: both were empty when it looked last. */
bool mailbox_some(struct mailbox *m, struct parcel **left, int most,
		  void (*fn)(void *ctx, const struct parcel *p), void *ctx);

#endif
