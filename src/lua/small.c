#include "lua/small.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define LISTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LISTS 0
#endif
#endif
#ifndef LISTS
#define LISTS 1
#endif

/* SMALL_KINDS: too large for a list. */
static size_t kind_of(size_t n)
{
	assert(n > 0);
	return LISTS && n <= SMALL_MAX ? (n - 1) / SMALL_STEP : SMALL_KINDS;
}

static void *take(struct small *s, size_t n)
{
	size_t kind = kind_of(n);
	void *p;

	if (kind == SMALL_KINDS)
		return malloc(n);
	p = s->free[kind];
	if (!p)
		return malloc((kind + 1) * SMALL_STEP);
	memcpy(&s->free[kind], p, sizeof(p)); /* the next one */
	s->n[kind]--;
	return p;
}

void small_free(struct small *s, void *p, size_t n)
{
	size_t kind = p ? kind_of(n) : SMALL_KINDS;

	if (kind == SMALL_KINDS || s->n[kind] == SMALL_SPARE) {
		free(p);
		return;
	}
	memcpy(p, &s->free[kind], sizeof(p));
	s->free[kind] = p;
	s->n[kind]++;
}

void *small_realloc(struct small *s, void *p, size_t old, size_t n)
{
	void *q;

	if (!p)
		return take(s, n);
	if (kind_of(old) == kind_of(n))
		return kind_of(n) == SMALL_KINDS ? realloc(p, n) : p;
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
		while (s->n[kind])
			free(take(s, (kind + 1) * SMALL_STEP));
	}
}
