#include "host/mailbox.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "util/err.h"

enum {
	/* A batch of datagrams of usual size; what is larger has a parcel of
	 * its own. */
	PARCEL = 32 * 1024,
	/* Kept by a sender for the next batches. */
	SPARES = 16,
};

struct parcel {
	struct parcel *next;
	struct outbox *home;
	size_t size, used; /* of bytes */
	alignas(max_align_t) char bytes[];
};

/* In a parcel: what is pointed to follows, and then the next one. */
struct letter {
	struct post post;
	size_t size;
};

/* ---- the stacks ---- */

/* On top of a box whose owner sleeps, and nothing is under it. */
static struct parcel *sleeper(void)
{
	static const struct parcel sign;

	return (struct parcel *)&sign;
}

/* A chain of them. True: whoever picks it up sleeps. */
static bool put_down(struct stack *s, struct parcel *first, struct parcel *last)
{
	struct parcel *top =
	    atomic_load_explicit(&s->top, memory_order_relaxed);

	do
		last->next = top == sleeper() ? NULL : top;
	while (!atomic_compare_exchange_weak_explicit(
	    &s->top, &top, first, memory_order_release, memory_order_relaxed));
	return top == sleeper();
}

/* Newest first. */
static struct parcel *pick_up(struct stack *s)
{
	struct parcel *top =
	    atomic_load_explicit(&s->top, memory_order_relaxed);

	if (!top || top == sleeper())
		return NULL;
	return atomic_exchange_explicit(&s->top, NULL, memory_order_acquire);
}

static void free_all(struct parcel *p)
{
	while (p) {
		struct parcel *next = p->next;

		free(p);
		p = next;
	}
}

/* ---- life ---- */

void mailbox_init(struct mailbox *m)
{
	atomic_init(&m->stack.top, NULL);
	atomic_init(&m->bytes, 0);
}

void mailbox_fini(struct mailbox *m)
{
	free_all(pick_up(&m->stack));
}

int outbox_init(struct outbox *o, unsigned workers)
{
	atomic_init(&o->back.top, NULL);
	o->spare = NULL;
	o->n = workers;
	o->to = calloc(workers, sizeof(*o->to));
	return o->to ? 0 : ERR_NOMEM;
}

void outbox_fini(struct outbox *o)
{
	for (unsigned i = 0; o->to && i < o->n; i++)
		free_all(o->to[i].newest);
	free(o->to);
	o->to = NULL;
	free_all(o->spare);
	o->spare = NULL;
	free_all(pick_up(&o->back));
}

/* ---- sending ---- */

/* What has come back, but for more than is ever used again. */
static void collect_spares(struct outbox *o)
{
	struct parcel *p = pick_up(&o->back);

	for (unsigned n = 0; p && n < SPARES; n++) {
		struct parcel *next = p->next;

		p->next = o->spare;
		o->spare = p;
		p = next;
	}
	free_all(p);
}

static struct parcel *parcel_new(struct outbox *o, size_t least)
{
	size_t size = least > PARCEL ? least : PARCEL;
	struct parcel *p;

	if (!o->spare)
		collect_spares(o);
	p = o->spare;
	if (p && size == PARCEL) {
		o->spare = p->next;
	} else {
		p = malloc(sizeof(*p) + size);
		if (!p)
			return NULL;
		p->size = size;
	}
	p->home = o;
	p->used = 0;
	return p;
}

static size_t letter_size(const struct post *post, size_t who)
{
	const size_t unit = alignof(struct letter);
	size_t n = sizeof(struct letter) + who + post->topic.n + post->bytes.n;

	return (n + unit - 1) / unit * unit;
}

static struct str append(char **at, struct str s)
{
	struct str copy = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

static void write_letter(struct parcel *p, const struct post *post,
			 struct str who, size_t size)
{
	struct letter *l = (struct letter *)(p->bytes + p->used);
	char *at = (char *)(l + 1);

	l->post = *post;
	l->size = size;
	l->post.from.tls_name = who.n ? append(&at, who).p : NULL;
	l->post.topic = append(&at, post->topic);
	l->post.bytes = append(&at, post->bytes);
	p->used += size;
}

/* Somebody who is that far behind will not catch up by waiting for more. */
static bool has_room(struct mailbox *to, const struct post *post)
{
	size_t bytes = atomic_load_explicit(&to->bytes, memory_order_relaxed);
	bool stream = transport_reliable((enum transport)post->from.transport);

	if (post->kind != POST_DATAGRAM && post->kind != POST_SEND)
		return true;
	return bytes < (stream ? MAILBOX_MOST : MAILBOX_DATAGRAMS);
}

static bool add_parcel(struct outbox *o, struct batch *b, size_t least)
{
	struct parcel *p = parcel_new(o, least);

	if (!p)
		return false;
	p->next = b->newest;
	b->newest = p;
	if (!b->oldest)
		b->oldest = p;
	b->bytes += p->size;
	return true;
}

bool outbox_put(struct outbox *o, unsigned worker, struct mailbox *to,
		const struct post *post)
{
	/* Whom a client has proved to be goes along with what it sent. */
	const char *name = post->from.tls_name;
	struct str who = {name, name ? strlen(name) + 1 : 0};
	size_t size = letter_size(post, who.n);
	struct batch *b = &o->to[worker];

	if (!has_room(to, post))
		return false;
	if ((!b->newest || b->newest->size - b->newest->used < size) &&
	    !add_parcel(o, b, size))
		return false;
	write_letter(b->newest, post, who, size);
	return true;
}

bool outbox_send(struct outbox *o, unsigned worker, struct mailbox *to)
{
	struct batch b = o->to[worker];

	if (!b.newest)
		return false;
	o->to[worker] = (struct batch){NULL, NULL, 0};
	/* Before: its owner may take it, and subtract, at once. */
	atomic_fetch_add_explicit(&to->bytes, b.bytes, memory_order_relaxed);
	return put_down(&to->stack, b.newest, b.oldest);
}

/* ---- receiving ---- */

struct parcel *mailbox_take(struct mailbox *m)
{
	struct parcel *p = pick_up(&m->stack), *oldest = NULL;

	while (p) {
		struct parcel *next = p->next;

		p->next = oldest;
		oldest = p;
		p = next;
	}
	return oldest;
}

const struct post *parcel_next(const struct parcel *p, size_t *at)
{
	const struct letter *l = (const struct letter *)(p->bytes + *at);

	if (*at >= p->used)
		return NULL;
	*at += l->size;
	return &l->post;
}

struct parcel *mailbox_return(struct mailbox *m, struct parcel *p)
{
	struct parcel *next = p->next;

	atomic_fetch_sub_explicit(&m->bytes, p->size, memory_order_relaxed);
	if (p->size == PARCEL)
		put_down(&p->home->back, p, p);
	else
		free(p);
	return next;
}

bool mailbox_sleep(struct mailbox *m)
{
	struct parcel *top = NULL;

	return atomic_compare_exchange_strong_explicit(
		   &m->stack.top, &top, sleeper(), memory_order_relaxed,
		   memory_order_relaxed) ||
	       top == sleeper();
}

void mailbox_wake(struct mailbox *m)
{
	struct parcel *top = sleeper();

	if (atomic_load_explicit(&m->stack.top, memory_order_relaxed) == top)
		atomic_compare_exchange_strong_explicit(
		    &m->stack.top, &top, NULL, memory_order_relaxed,
		    memory_order_relaxed);
}

bool mailbox_some(struct mailbox *m, struct parcel **left, int most,
		  void (*fn)(void *ctx, const struct parcel *p), void *ctx)
{
	for (int n = 0; n < most; n++) {
		if (!*left)
			*left = mailbox_take(m);
		if (!*left)
			return false;
		fn(ctx, *left);
		*left = mailbox_return(m, *left);
	}
	return true;
}
