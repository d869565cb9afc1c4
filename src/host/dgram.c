#include "host/dgram.h"

#include <stdlib.h>
#include <string.h>

void dgram_queue_init(struct dgram_queue *q)
{
	*q = (struct dgram_queue){.n = 0};
	list_init(&q->list);
	list_init(&q->spare);
}

static struct dgram *take_spare(struct dgram_queue *q)
{
	struct list *last = q->spare.prev;

	if (list_empty(&q->spare))
		return NULL;
	list_remove(last);
	q->spares--;
	return dgram_of(last);
}

void dgram_queue_fini(struct dgram_queue *q)
{
	struct dgram *d;

	while ((d = dgram_queue_pop(q)) != NULL || (d = take_spare(q)) != NULL)
		free(d);
}

bool dgram_queue_is_full(const struct dgram_queue *q)
{
	return q->n >= DGRAM_QUEUE_MAX || q->bytes >= DGRAM_QUEUE_BYTES;
}

static struct dgram *make(struct dgram_queue *q, size_t n)
{
	size_t room = q->reuses && n < DGRAM_ROOM ? DGRAM_ROOM : n;
	struct dgram *d = room == DGRAM_ROOM ? take_spare(q) : NULL;

	if (d)
		return d;
	d = malloc(sizeof(*d) + room);
	if (d)
		d->room = room;
	return d;
}

bool dgram_queue_add(struct dgram_queue *q, const struct hop *hop,
		     enum cause cause, struct str bytes)
{
	struct dgram *d;

	if (dgram_queue_is_full(q))
		return false;
	d = make(q, bytes.n);
	if (!d)
		return false;
	d->hop = *hop;
	d->hop.tls_name = NULL; /* borrowed, and nothing to do with UDP */
	d->cause = cause;
	d->is_alone = false;
	d->call_id = STR_NONE;
	d->n = bytes.n;
	if (bytes.n)
		memcpy(d->bytes, bytes.p, bytes.n);
	dgram_queue_push(q, d);
	return true;
}

void dgram_queue_push(struct dgram_queue *q, struct dgram *d)
{
	list_append(&q->list, &d->link);
	q->n++;
	q->bytes += d->n;
}

static struct dgram *take(struct dgram_queue *q, struct list *link)
{
	struct dgram *d = dgram_of(link);

	list_remove(link);
	q->n--;
	q->bytes -= d->n;
	return d;
}

struct dgram *dgram_queue_pop(struct dgram_queue *q)
{
	struct list *first = list_first(&q->list);

	return first ? take(q, first) : NULL;
}

void dgram_queue_keep(struct dgram_queue *q, struct dgram *d)
{
	if (!q->reuses || d->room != DGRAM_ROOM || q->spares == DGRAM_SPARES) {
		free(d);
		return;
	}
	list_append(&q->spare, &d->link);
	q->spares++;
}

void dgram_queue_done(struct dgram_queue *q)
{
	dgram_queue_keep(q, dgram_queue_pop(q));
}

bool dgram_queue_drop(struct dgram_queue *q, struct str bytes)
{
	list_each (it, &q->list) {
		struct dgram *d = dgram_of(it);

		if (str_eq((struct str){d->bytes, d->n}, bytes)) {
			free(take(q, it));
			return true;
		}
	}
	return false;
}

bool dgram_is_response(const struct dgram *d)
{
	return str_starts((struct str){d->bytes, d->n}, STR("SIP/2.0 "));
}
