#include "host/join.h"

#include <assert.h>

#include "message/peek.h"

/* What the kernel takes at a time: older ones 64 segments, and what a datagram
 * may be long. */
_Static_assert(JOIN_WINDOW <= 64, "UDP_MAX_SEGMENTS");
_Static_assert(JOIN_LONGEST < 65000 / JOIN_WINDOW, "one IP datagram");

/* A send that others may join. */
struct open_send {
	struct dgram *last;
	unsigned index;
};

static bool may_join(const struct dgram *d)
{
	return !d->is_alone && d->n <= JOIN_LONGEST;
}

static bool is_alike(const struct dgram *a, const struct dgram *b)
{
	return a->n == b->n && addr_eq(&a->hop.addr, &b->hop.addr) &&
	       addr_eq(&a->hop.local, &b->hop.local) &&
	       dgram_is_response(a) == dgram_is_response(b);
}

/* The latest send that a datagram is like: for an earlier one it would overtake
 * all the same, and more. */
static struct open_send *find(struct open_send *open, unsigned n,
			      const struct dgram *d)
{
	while (n--)
		if (is_alike(open[n].last, d))
			return &open[n];
	return NULL;
}

static struct str call_id(struct dgram *d)
{
	if (!d->call_id.p)
		d->call_id = msg_peek_call_id((struct str){d->bytes, d->n});
	return d->call_id;
}

/* Are they, or may they be, of one call? */
static bool may_be_related(struct dgram *a, struct dgram *b)
{
	struct str id = call_id(a), other = call_id(b);

	return !id.n || !other.n || str_eq(id, other);
}

/* Behind `last` there may be what is not to be overtaken. */
static bool may_move(struct dgram *last, struct dgram *d)
{
	struct list *it = last->link.next;

	for (; it != &d->link; it = it->next) {
		struct dgram *between = dgram_of(it);

		if (addr_eq(&between->hop.addr, &d->hop.addr) &&
		    may_be_related(between, d))
			return false;
	}
	return true;
}

static void move_behind(struct dgram *last, struct dgram *d)
{
	struct list *next = last->link.next;

	if (next == &d->link)
		return;
	list_remove(&d->link);
	list_append(next, &d->link); /* that is: before it */
}

unsigned join_arrange(struct dgram_queue *q, unsigned max,
		      uint8_t size[JOIN_WINDOW])
{
	struct open_send open[JOIN_WINDOW];
	unsigned sends = 0, opened = 0;

	assert(max <= JOIN_WINDOW);
	list_each_safe (it, &q->list) {
		struct dgram *d = dgram_of(it);
		struct open_send *s;

		if (max-- == 0)
			break;
		if (may_join(d)) {
			s = find(open, opened, d);
			if (s && may_move(s->last, d)) {
				move_behind(s->last, d);
				s->last = d;
				size[s->index]++;
				continue;
			}
			open[opened++] = (struct open_send){d, sends};
		}
		size[sends++] = 1;
	}
	return sends;
}
