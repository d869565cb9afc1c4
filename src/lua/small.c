#include "lua/small.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* SMALL_KINDS: too large for a list. */
static size_t kind_of(const struct small *s, size_t n)
{
	assert(n > 0);
	return !s->off && n <= SMALL_MAX ? (n - 1) / SMALL_STEP : SMALL_KINDS;
}

struct small_piece {
	_Alignas(SMALL_STEP) struct small_piece *next;
};

static void give(struct small *s, size_t kind, void *p)
{
	memcpy(p, &s->free[kind], sizeof(p));
	s->free[kind] = p;
}

/* Cuts a new piece into blocks; the lowest is the next one to go. */
static void add_piece(struct small *s, size_t kind)
{
	size_t size = (kind + 1) * SMALL_STEP;
	struct small_piece *piece = malloc(SMALL_PIECE);
	char *first = (char *)(piece + 1), *p;

	if (!piece)
		return;
	piece->next = s->pieces;
	s->pieces = piece;
	p = first + (SMALL_PIECE - sizeof(*piece)) / size * size;
	while (p != first) {
		p -= size;
		give(s, kind, p);
	}
}

static void *take(struct small *s, size_t n)
{
	size_t kind = kind_of(s, n);
	void *p;

	if (kind == SMALL_KINDS)
		return malloc(n);
	if (!s->free[kind])
		add_piece(s, kind);
	p = s->free[kind];
	if (p)
		memcpy(&s->free[kind], p, sizeof(p)); /* the next one */
	return p;
}

void small_free(struct small *s, void *p, size_t n)
{
	size_t kind = p ? kind_of(s, n) : SMALL_KINDS;

	if (kind == SMALL_KINDS)
		free(p);
	else
		give(s, kind, p);
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
	while (s->pieces) {
		struct small_piece *piece = s->pieces;

		s->pieces = piece->next;
		free(piece);
	}
	*s = (struct small){.off = s->off};
}
