#include "lua/small.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/list.h"

/* Begins a page, so that the piece of a block is found by its address. */
struct small_piece {
	_Alignas(SMALL_STEP) struct chain link;
	void *free;          /* came back; each begins with the next one */
	char *fresh;         /* never handed out, up to the end */
	unsigned used, most; /* blocks: out; there are */
	size_t kind;
};

enum {
	/* The C library's, before each: so one page follows the other. */
	LIBRARY_HEAD = 16,
	PIECE_BYTES = SMALL_PIECE - LIBRARY_HEAD,
	PIECE_ROOM = PIECE_BYTES - sizeof(struct small_piece),
};

/* SMALL_KINDS: too large for a piece. */
static size_t kind_of(const struct small *s, size_t n)
{
	assert(n > 0);
	return !s->off && n <= SMALL_MAX ? (n - 1) / SMALL_STEP : SMALL_KINDS;
}

static size_t size_of(size_t kind)
{
	return (kind + 1) * SMALL_STEP;
}

static struct small_piece *piece_of(void *p)
{
	return (struct small_piece *)((uintptr_t)p &
				      ~(uintptr_t)(SMALL_PIECE - 1));
}

/* ---- pieces ---- */

static struct small_piece *at_link(struct chain *link)
{
	return link ? container_of(link, struct small_piece, link) : NULL;
}

static void put_first(struct small *s, struct small_piece *piece)
{
	chain_prepend(&s->partial[piece->kind], &piece->link);
}

static void take_out(struct small *s, struct small_piece *piece)
{
	chain_remove(&s->partial[piece->kind], &piece->link);
}

static struct small_piece *take_idle(struct small *s)
{
	struct small_piece *piece = at_link(s->idle);

	chain_remove(&s->idle, s->idle);
	s->kept--;
	return piece;
}

static struct small_piece *add(struct small *s, size_t kind)
{
	struct small_piece *piece;
	void *page;

	if (s->idle)
		page = take_idle(s);
	else if (posix_memalign(&page, SMALL_PIECE, PIECE_BYTES) != 0)
		return NULL;
	piece = page;
	*piece = (struct small_piece){
	    .fresh = (char *)(piece + 1),
	    .most = (unsigned)(PIECE_ROOM / size_of(kind)),
	    .kind = kind,
	};
	put_first(s, piece);
	s->used++;
	return piece;
}

/* All of its blocks are back. One is kept for each size, or every block that
 * comes and goes alone would make a piece. */
static void retire(struct small *s, struct small_piece *piece)
{
	if (chain_is_alone(&piece->link))
		return;
	take_out(s, piece);
	s->used--;
	chain_prepend(&s->idle, &piece->link);
	s->kept++;
	/* Two, so that there are fewer when fewer are in use. */
	for (int i = 0; i < 2 && s->kept > SMALL_KEPT && s->kept > s->used; i++)
		free(take_idle(s));
}

/* ---- blocks ---- */

static void *take(struct small *s, size_t n)
{
	size_t kind = kind_of(s, n);
	struct small_piece *piece;
	void *p;

	if (kind == SMALL_KINDS)
		return malloc(n);
	piece = at_link(s->partial[kind]);
	if (!piece)
		piece = add(s, kind);
	if (!piece)
		return NULL;
	p = piece->free;
	if (p) {
		memcpy(&piece->free, p, sizeof(p));
	} else {
		p = piece->fresh;
		piece->fresh += size_of(kind);
	}
	if (++piece->used == piece->most)
		take_out(s, piece);
	return p;
}

static void give(struct small *s, void *p)
{
	struct small_piece *piece = piece_of(p);

	assert(piece->used > 0);
	memcpy(p, &piece->free, sizeof(p));
	piece->free = p;
	if (piece->used-- == piece->most)
		put_first(s, piece);
	if (!piece->used)
		retire(s, piece);
}

void small_free(struct small *s, void *p, size_t n)
{
	if (!p || kind_of(s, n) == SMALL_KINDS)
		free(p);
	else
		give(s, p);
}

void *small_realloc(struct small *s, void *p, size_t old, size_t n)
{
	void *q;

	if (!p)
		return take(s, n);
	if (kind_of(s, old) == kind_of(s, n))
		return kind_of(s, n) == SMALL_KINDS ? realloc(p, n) : p;
	q = take(s, n);
	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	small_free(s, p, old);
	return q;
}

void small_fini(struct small *s)
{
	for (size_t kind = 0; kind < SMALL_KINDS; kind++) {
		struct small_piece *piece = at_link(s->partial[kind]);

		assert(!piece || (!piece->used && !piece->link.next));
		free(piece);
	}
	while (s->idle)
		free(take_idle(s));
	*s = (struct small){.off = s->off};
}
