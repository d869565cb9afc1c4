#include "util/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* In front of every block, so that a free can take its bytes off the count.
 * One malloc per block: a sanitizer sees the bounds of each. */
struct head {
	_Alignas(16) size_t n;
};

void mem_init(struct mem *m)
{
	*m = (struct mem){0};
}

static bool injected(const struct mem *m)
{
	uint64_t row = m->fail_for ? m->fail_for : 1;

	return m->fail_at && m->calls >= m->fail_at &&
	       m->calls - m->fail_at < row;
}

/* Counts a call that wants `more` bytes; false when it is to fail. */
static bool allowed(struct mem *m, size_t more)
{
	m->calls++;
	if (injected(m) || more > SIZE_MAX / 2)
		return false;
	return !m->limit || !more ||
	       (m->bytes <= m->limit && more <= m->limit - m->bytes);
}

static void *account(struct mem *m, struct head *h, size_t n)
{
	if (!h)
		return NULL;
	h->n = n;
	m->bytes += n;
	m->blocks++;
	return h + 1;
}

void *mem_alloc(struct mem *m, size_t n)
{
	if (!allowed(m, n))
		return NULL;
	return account(m, malloc(sizeof(struct head) + n), n);
}

void *mem_zalloc(struct mem *m, size_t n)
{
	if (!allowed(m, n))
		return NULL;
	return account(m, calloc(1, sizeof(struct head) + n), n);
}

void *mem_realloc(struct mem *m, void *p, size_t n)
{
	struct head *h;
	size_t old;

	if (!p)
		return mem_alloc(m, n);
	h = (struct head *)p - 1;
	old = h->n;
	assert(m->bytes >= old);
	if (!allowed(m, n > old ? n - old : 0))
		return NULL;
	h = realloc(h, sizeof(*h) + n);
	if (!h)
		return NULL;
	h->n = n;
	m->bytes = m->bytes - old + n;
	return h + 1;
}

void mem_free(struct mem *m, void *p)
{
	struct head *h;

	if (!p)
		return;
	h = (struct head *)p - 1;
	assert(m->blocks > 0 && m->bytes >= h->n);
	m->blocks--;
	m->bytes -= h->n;
	free(h);
}
