/*
 * What other threads have for a worker: messages from other workers, and the
 * wish that it stops. The owner is woken once however much is put in before it
 * looks.
 */
#ifndef HOST_MAILBOX_H
#define HOST_MAILBOX_H

#include <pthread.h>
#include "transport/host.h"
#include "util/list.h"

/* A worker that is this far behind will not catch up by queueing more. */
enum { MAILBOX_MAX = 16384 };

struct letter {
	struct list link;
	struct post post; /* its strings point into this letter */
	char bytes[];
};

struct mailbox {
	pthread_mutex_t lock;
	struct list list;
	size_t n;
	uint64_t lost;
};

void mailbox_init(struct mailbox *m);
void mailbox_fini(struct mailbox *m);
/* Copies the message. True: the box was empty, wake its owner. */
bool mailbox_put(struct mailbox *m, const struct post *post);
/* Moves everything into `out`; each letter is free()d by the caller. */
void mailbox_take(struct mailbox *m, struct list *out);

#endif
