#include "host/sent.h"

#include <stdlib.h>
#include <string.h>

void sent_init(struct sent *s)
{
	s->n = 0;
	list_init(&s->list);
}

static struct dgram *take(struct sent *s, struct list *link)
{
	list_remove(link);
	s->n--;
	return dgram_of(link);
}

void sent_fini(struct sent *s)
{
	while (!list_empty(&s->list))
		free(take(s, s->list.next));
}

static void forget_oldest(struct sent *s, struct dgram_queue *q)
{
	for (unsigned n = dgram_of(s->list.next)->together; n; n--)
		dgram_queue_keep(q, take(s, s->list.next));
}

void sent_add(struct sent *s, struct dgram_queue *q, unsigned n, int64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		struct dgram *d = dgram_queue_pop(q);

		d->together = i ? 0 : (uint8_t)n;
		d->left_at = now;
		list_append(&s->list, &d->link);
	}
	s->n += n;
	while (s->n > SENT_MAX)
		forget_oldest(s, q);
}

static bool is_too_old(const struct dgram *d, int64_t now)
{
	return now - d->left_at > SENT_LIFE;
}

void sent_expire(struct sent *s, struct dgram_queue *q, int64_t now)
{
	while (s->n && is_too_old(dgram_of(s->list.next), now))
		forget_oldest(s, q);
}

/* The line of the request and that of the Via, which we write first. */
static bool has_via(struct str quoted)
{
	str_cut(&quoted, '\n');
	str_cut(&quoted, '\n');
	return quoted.p;
}

/* What was refused while it was in one piece is quoted beyond its end. */
static bool is_quoted(const struct dgram *d, const struct refusal *why)
{
	size_t n = why->quoted.n < d->n ? why->quoted.n : d->n;

	return d->hop.addr.port == why->to->port &&
	       addr_ip_eq(&d->hop.addr, why->to) &&
	       memcmp(d->bytes, why->quoted.p, n) == 0;
}

/* Behind the first the second is quoted, or its beginning. */
static bool was_one_piece(const struct dgram *first, struct str quoted)
{
	const struct dgram *second = dgram_of(first->link.next);
	size_t n = quoted.n > first->n ? quoted.n - first->n : 0;

	if (n > second->n)
		n = second->n;
	return n && memcmp(second->bytes, quoted.p + first->n, n) == 0;
}

static bool is_true_of_all(const struct dgram *first, const struct refusal *why,
			   int64_t now)
{
	return was_one_piece(first, why->quoted) ||
	       (why->cause != CAUSE_ICMP_PORT &&
		now - first->left_at > SENT_AT_ONCE);
}

/* The first is told already. The others have failed for that cause, or, without
 * one, are sent again. Gives what comes behind them. */
static struct list *part(struct sent *s, struct list *first, enum cause cause,
			 struct dgram_queue *q, struct dgram_queue *faults)
{
	unsigned others = dgram_of(first)->together - 1u;
	struct list *it = first->next;

	dgram_queue_keep(q, take(s, first));
	for (; others; others--) {
		struct list *next = it->next;
		struct dgram *d = take(s, it);

		d->cause = cause;
		d->is_alone = true;
		if (cause == CAUSE_NONE)
			dgram_queue_push(q, d);
		else if (!dgram_queue_is_full(faults))
			dgram_queue_push(faults, d);
		else /* there are thousands like it */
			dgram_queue_keep(q, d);
		it = next;
	}
	return it;
}

static struct list *behind(struct list *first)
{
	for (unsigned n = dgram_of(first)->together; n; n--)
		first = first->next;
	return first;
}

void sent_refused(struct sent *s, const struct refusal *why, int64_t now,
		  struct dgram_queue *q, struct dgram_queue *faults)
{
	struct list *it;

	sent_expire(s, q, now);
	if (!has_via(why->quoted))
		return;
	for (it = s->list.next; it != &s->list;) {
		const struct dgram *first = dgram_of(it);
		bool all = is_true_of_all(first, why, now);

		it = is_quoted(first, why)
			 ? part(s, it, all ? why->cause : CAUSE_NONE, q, faults)
			 : behind(it);
	}
}
