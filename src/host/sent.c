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
static bool is_quoted(const struct dgram *d, const struct addr *to,
		      struct str quoted)
{
	size_t n = quoted.n < d->n ? quoted.n : d->n;

	return addr_eq(&d->hop.addr, to) && memcmp(d->bytes, quoted.p, n) == 0;
}

/* Gives what comes behind them. */
static struct list *repeat_others(struct sent *s, struct dgram_queue *q,
				  struct list *first)
{
	unsigned others = dgram_of(first)->together - 1u;
	struct list *it = first->next;

	dgram_queue_keep(q, take(s, first));
	for (; others; others--) {
		struct list *next = it->next;
		struct dgram *d = take(s, it);

		d->is_alone = true;
		dgram_queue_push(q, d);
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

void sent_refused(struct sent *s, struct dgram_queue *q, const struct addr *to,
		  struct str quoted, int64_t now)
{
	struct list *first;

	sent_expire(s, q, now);
	if (!has_via(quoted))
		return;
	for (first = s->list.next; first != &s->list;)
		first = is_quoted(dgram_of(first), to, quoted)
			    ? repeat_others(s, q, first)
			    : behind(first);
}
