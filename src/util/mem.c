#include "util/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "util/sanitized.h"

/* In front of every block, so that a free can take its bytes off the count. */
struct head {
	_Alignas(16) size_t n;
	struct slab *slab;
};

void mem_init(struct mem *m)
{
	*m = (struct mem){.slabs.off = SANITIZED};
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

static struct head *take(struct mem *m, size_t n)
{
	struct slab *slab;
	struct head *h = slabs_take(&m->slabs, sizeof(*h) + n, &slab);

	if (h)
		*h = (struct head){n, slab};
	return h;
}

void *mem_alloc(struct mem *m, size_t n)
{
	struct head *h = allowed(m, n) ? take(m, n) : NULL;

	if (!h)
		return NULL;
	m->bytes += n;
	m->blocks++;
	return h + 1;
}

void *mem_zalloc(struct mem *m, size_t n)
{
	void *p = mem_alloc(m, n);

	return p ? memset(p, 0, n) : NULL;
}

/* To a block of another size. NULL: there is none, the old one stays. */
static struct head *move(struct mem *m, struct head *h, size_t n)
{
	struct head *to = take(m, n);

	if (!to)
		return NULL;
	memcpy(to + 1, h + 1, n < h->n ? n : h->n);
	slabs_give(&m->slabs, h->slab, h);
	return to;
}

void *mem_realloc(struct mem *m, void *p, size_t n)
{
	struct head *h, *to;
	size_t old;

	if (!p)
		return mem_alloc(m, n);
	h = (struct head *)p - 1;
	old = h->n;
	assert(m->bytes >= old);
	if (!allowed(m, n > old ? n - old : 0))
		return NULL;
	if (!slab_suits(h->slab, sizeof(*h) + n)) {
		to = move(m, h, n);
		if (!to && n > old)
			return NULL;
		if (to)
			h = to;
	}
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
	slabs_give(&m->slabs, h->slab, h);
	if (!m->blocks)
		slabs_fini(&m->slabs);
}
