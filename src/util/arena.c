#include "util/arena.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "util/sanitized.h"

/* In a sanitised build the space that is not handed out is poisoned, and some
 * stays so between two allocations: running over the end of one is seen. */
#if SANITIZED
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
enum { REDZONE = 16 };
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { REDZONE = 0 };
#endif

enum {
	ALIGN = 16,
	FIRST = 4096,    /* the chunk an arena starts with */
	LARGEST = 65536, /* chunks double up to this */
	KINDS = 2,       /* of chunks that are kept: FIRST, 2 * FIRST bytes */
	SPARE_MAX = 64,  /* of each kind, for the next arenas */
};

struct chunk {
	_Alignas(ALIGN) struct chunk *next;
	size_t size; /* this head included */
};

struct arena_cache {
	struct mem *mem;
	struct chunk *spare[KINDS];
	size_t spares[KINDS];
	size_t arenas; /* alive */
};

/* Lies at the start of its first chunk. */
struct arena {
	struct chunk first;
	struct arena_cache *cache;
	struct chunk *more; /* all chunks but the first */
	char *p, *end;      /* free space of the current chunk */
	size_t next_size;
	size_t bytes;
	bool failed;
};

struct arena_cache *arena_cache_new(struct mem *m)
{
	struct arena_cache *c = mem_zalloc(m, sizeof(*c));

	if (c)
		c->mem = m;
	return c;
}

/* KINDS: not to be kept. */
static unsigned kind_of(size_t size)
{
	return size == FIRST ? 0 : size == 2 * FIRST ? 1 : KINDS;
}

static struct chunk *chunk_take(struct arena_cache *c, size_t size)
{
	unsigned kind = kind_of(size);
	struct chunk *k;

	if (kind < KINDS && c->spare[kind]) {
		k = c->spare[kind];
		c->spare[kind] = k->next;
		c->spares[kind]--;
		return k;
	}
	k = mem_alloc(c->mem, size);
	if (k)
		k->size = size;
	return k;
}

static void chunk_give(struct arena_cache *c, struct chunk *k)
{
	unsigned kind = kind_of(k->size);

	if (kind == KINDS || c->spares[kind] == SPARE_MAX) {
		UNPOISON(k, k->size);
		mem_free(c->mem, k);
		return;
	}
	k->next = c->spare[kind];
	c->spare[kind] = k;
	c->spares[kind]++;
	POISON(k + 1, k->size - sizeof(*k));
}

void arena_cache_free(struct arena_cache **cp)
{
	struct arena_cache *c = *cp;

	if (!c)
		return;
	assert(c->arenas == 0);
	for (unsigned kind = 0; kind < KINDS; kind++) {
		while (c->spare[kind]) {
			struct chunk *k = c->spare[kind];

			c->spare[kind] = k->next;
			UNPOISON(k, k->size);
			mem_free(c->mem, k);
		}
	}
	mem_free(c->mem, c);
	*cp = NULL;
}

size_t arena_cache_bytes(const struct arena_cache *c)
{
	return c->spares[0] * FIRST + c->spares[1] * 2 * FIRST;
}

static void start(struct arena *a)
{
	a->more = NULL;
	a->p = (char *)(a + 1);
	a->end = (char *)a + a->first.size;
	a->next_size = 2 * FIRST;
	a->bytes = a->first.size;
	a->failed = false;
	POISON(a->p, (size_t)(a->end - a->p));
}

struct arena *arena_new(struct arena_cache *c)
{
	struct chunk *k = chunk_take(c, FIRST);
	struct arena *a;

	if (!k)
		return NULL;
	UNPOISON(k, sizeof(*a));
	a = (struct arena *)k;
	a->cache = c;
	start(a);
	c->arenas++;
	return a;
}

static void free_more(struct arena *a)
{
	while (a->more) {
		struct chunk *k = a->more;

		a->more = k->next;
		chunk_give(a->cache, k);
	}
}

void arena_free(struct arena **ap)
{
	struct arena *a = *ap;
	struct arena_cache *c;

	if (!a)
		return;
	c = a->cache;
	assert(c->arenas > 0);
	free_more(a);
	c->arenas--;
	chunk_give(c, &a->first);
	*ap = NULL;
}

void arena_reset(struct arena *a)
{
	free_more(a);
	start(a);
}

/* Links a new chunk of that size; NULL marks the arena as failed. */
static struct chunk *add_chunk(struct arena *a, size_t size)
{
	struct chunk *k = chunk_take(a->cache, size);

	if (!k) {
		a->failed = true;
		return NULL;
	}
	POISON(k + 1, size - sizeof(*k));
	k->next = a->more;
	a->more = k;
	a->bytes += size;
	return k;
}

/* Space that the current chunk does not have. A request that would fill most
 * of a new chunk gets one of its own, so that the rest of the current one is
 * not lost. */
static char *alloc_slow(struct arena *a, size_t size)
{
	struct chunk *k;
	char *p;

	if (size > a->next_size / 2) {
		k = add_chunk(a, sizeof(*k) + size);
		return k ? (char *)(k + 1) : NULL;
	}
	k = add_chunk(a, a->next_size);
	if (!k)
		return NULL;
	p = (char *)(k + 1);
	a->p = p + size;
	a->end = (char *)k + k->size;
	if (a->next_size < LARGEST)
		a->next_size *= 2;
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t size;
	char *p;

	if (n > SIZE_MAX / 4) {
		a->failed = true;
		return NULL;
	}
	size = (n ? n + ALIGN - 1 : ALIGN) / ALIGN * ALIGN + REDZONE;
	if (size <= (size_t)(a->end - a->p)) {
		p = a->p;
		a->p += size;
	} else {
		p = alloc_slow(a, size);
		if (!p)
			return NULL;
	}
	UNPOISON(p, n);
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	return p ? memset(p, 0, n) : NULL;
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (!p)
		return STR_NONE;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return (struct str){p, s.n};
}

bool arena_failed(const struct arena *a)
{
	return a->failed;
}

void arena_clear_failed(struct arena *a)
{
	a->failed = false;
}

size_t arena_bytes(const struct arena *a)
{
	return a->bytes;
}
