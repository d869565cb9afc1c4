/*
 * A bump allocator: many small allocations with one lifetime, freed together.
 * Chunks come from the core's heap through a small cache. There is no free of
 * a single allocation. When a chunk cannot be had, arena_alloc returns NULL and
 * the arena remembers it (arena_failed), so that a caller that builds something
 * from many pieces may check once at the end.
 */
#ifndef UTIL_ARENA_H
#define UTIL_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include "util/mem.h"
#include "util/str.h"

struct arena_cache; /* spare chunks of one core; owned by the core */
struct arena;

struct arena_cache *arena_cache_new(struct mem *m);
void arena_cache_free(struct arena_cache **c); /* all arenas are gone */
/* Bytes of the heap that wait in spare chunks: held, but not in use. */
size_t arena_cache_bytes(const struct arena_cache *c);

/* Reserves the first chunk (4 kB); NULL when it cannot be had. */
struct arena *arena_new(struct arena_cache *c);
void arena_free(struct arena **a); /* NULL inside is fine */
void arena_reset(struct arena *a); /* keeps the first chunk, clears `failed` */

/* Aligned for any type. n = 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);
/* A copy followed by one NUL byte that is not counted; STR_NONE on failure. */
struct str arena_str(struct arena *a, struct str s);
bool arena_failed(const struct arena *a);
void arena_clear_failed(struct arena *a);
size_t arena_bytes(const struct arena *a); /* chunks held */

#endif
