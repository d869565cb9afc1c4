#include "util/slab.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "util/list.h"

/* Sizes: every 32 bytes up to 512, then every 128. */
enum { FINE = 32, FINE_MAX = 512, COARSE = 128, NONE = SLAB_KINDS };
static_assert(FINE_MAX / FINE + (SLAB_BLOCK_MAX - FINE_MAX) / COARSE ==
		  SLAB_KINDS,
	      "kinds");

struct slab {
	_Alignas(16) struct chain link;
	void *free;        /* came back; each begins with the next one */
	char *fresh, *end; /* never handed out */
	unsigned kind, used;
};

static unsigned kind_of(size_t n)
{
	if (n > SLAB_BLOCK_MAX)
		return NONE;
	if (n <= FINE_MAX)
		return (unsigned)((n - 1) / FINE);
	return (unsigned)(FINE_MAX / FINE + (n - FINE_MAX - 1) / COARSE);
}

static size_t size_of(unsigned kind)
{
	enum { FINES = FINE_MAX / FINE };

	return kind < FINES ? (kind + 1) * (size_t)FINE
			    : FINE_MAX + (kind - FINES + 1) * (size_t)COARSE;
}

static struct slab *at_link(struct chain *link)
{
	return link ? container_of(link, struct slab, link) : NULL;
}

static void put_first(struct slabs *s, struct slab *b)
{
	chain_prepend(&s->partial[b->kind], &b->link);
}

static void take_out(struct slabs *s, struct slab *b)
{
	chain_remove(&s->partial[b->kind], &b->link);
}

static struct slab *add(struct slabs *s, unsigned kind)
{
	struct slab *b = at_link(s->spare);

	if (b) {
		chain_remove(&s->spare, &b->link);
		s->spares--;
	} else {
		b = malloc(SLAB_BYTES);
	}
	if (!b)
		return NULL;
	*b = (struct slab){.kind = kind, .fresh = (char *)(b + 1)};
	b->end = (char *)b + SLAB_BYTES;
	put_first(s, b);
	return b;
}

static bool is_full(const struct slab *b)
{
	return !b->free && (size_t)(b->end - b->fresh) < size_of(b->kind);
}

void *slabs_take(struct slabs *s, size_t n, struct slab **of_r)
{
	unsigned kind = s->off ? NONE : kind_of(n);
	struct slab *b;
	void *p;

	*of_r = NULL;
	if (kind == NONE)
		return malloc(n);
	b = at_link(s->partial[kind]);
	if (!b)
		b = add(s, kind);
	if (!b)
		return NULL;
	p = b->free;
	if (p) {
		memcpy(&b->free, p, sizeof(p));
	} else {
		p = b->fresh;
		b->fresh += size_of(kind);
	}
	b->used++;
	if (is_full(b))
		take_out(s, b);
	*of_r = b;
	return p;
}

void slabs_give(struct slabs *s, struct slab *of, void *p)
{
	if (!of) {
		free(p);
		return;
	}
	assert(of->used > 0);
	if (is_full(of))
		put_first(s, of);
	memcpy(p, &of->free, sizeof(p));
	of->free = p;
	if (--of->used || chain_is_alone(&of->link))
		return;
	take_out(s, of);
	if (s->spares == SLAB_SPARES) {
		free(of);
		return;
	}
	chain_prepend(&s->spare, &of->link);
	s->spares++;
}

bool slab_suits(const struct slab *of, size_t n)
{
	return of && kind_of(n) == of->kind;
}

void slabs_fini(struct slabs *s)
{
	struct slab *b;

	for (unsigned kind = 0; kind < SLAB_KINDS; kind++) {
		b = at_link(s->partial[kind]);
		assert(!b || (!b->used && !b->link.next));
		free(b);
	}
	while ((b = at_link(s->spare))) {
		chain_remove(&s->spare, &b->link);
		free(b);
	}
	*s = (struct slabs){.off = s->off};
}

void slabs_return_pages(void)
{
	mallopt(M_MMAP_THRESHOLD, SLAB_BYTES);
}
