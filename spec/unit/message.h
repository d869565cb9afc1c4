/* What the tests of the message layer share: a heap, an arena, a message. */
#ifndef UNIT_MESSAGE_H
#define UNIT_MESSAGE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/msg.h"
#include "support/unit.h"
#include "util/list.h"

struct fixture {
	struct mem mem;
	struct arena_cache *cache;
	struct arena *arena;
	struct msg m;
};

static inline void fixture_init(struct fixture *f)
{
	mem_init(&f->mem);
	f->cache = arena_cache_new(&f->mem);
	CHECK(f->cache != NULL);
	f->arena = arena_new(f->cache);
	CHECK(f->arena != NULL);
}

static inline void fixture_fini(struct fixture *f)
{
	arena_free(&f->arena);
	arena_cache_free(&f->cache);
	CHECK_INT(f->mem.bytes, 0);
}

/* Indexes a copy that ends where it ends, so that a sanitiser sees a step over
 * the end. The copy lives in the arena. */
static inline enum msg_bad fixture_index(struct fixture *f, struct str text)
{
	char *p = arena_alloc(f->arena, text.n);

	CHECK(p != NULL);
	memcpy(p, text.p, text.n);
	return msg_index(&f->m, f->arena, (struct str){p, text.n});
}

/* Makes every allocation fail that does not fit into the first chunk, and
 * leaves the arena with that many pieces of 16 bytes taken. False when so many
 * do not fit. */
static inline bool fixture_starve(struct fixture *f, size_t taken)
{
	arena_reset(f->arena);
	f->mem.fail_at = f->mem.calls + 1;
	f->mem.fail_for = UINT64_MAX;
	while (taken--)
		if (!arena_alloc(f->arena, 16))
			return false;
	return true;
}

/* Torture message `name` of RFC 4475 into `space`. */
static inline struct str torture_read(const char *name, char *space, size_t cap)
{
	char path[128];
	FILE *in;
	size_t n;

	snprintf(path, sizeof(path), "spec/fixtures/torture/%s.dat", name);
	in = fopen(path, "rb");
	CHECK(in != NULL);
	n = fread(space, 1, cap, in);
	CHECK(feof(in));
	fclose(in);
	return (struct str){space, n};
}

#endif
