/*
 * Intrusive hash map. The caller embeds a node, computes the 64-bit hash
 * (keyed: see siphash.h) and compares keys; the map owns only its bucket
 * array. Several nodes with equal keys may be in it. Nothing may depend on the
 * order in which a map is walked.
 *
 * It doubles a few buckets at a time: all at once is 20 ms for a quarter of a
 * million nodes, each of which is somewhere else in memory.
 */
#ifndef UTIL_MAP_H
#define UTIL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "util/mem.h"

struct map_node {
	struct map_node *next;
	uint64_t hash;
};

struct map {
	struct mem *mem;
	struct map_node **bucket;
	size_t buckets; /* a power of two */
	size_t n;
	/* While it grows: half as many buckets, of which those before `moved`
	 * are empty for good. The others hold what will be in two each. */
	struct map_node **old;
	size_t moved;
};

typedef bool map_eq_fn(const struct map_node *node, const void *key);

int map_init(struct map *m, struct mem *mem); /* 0 or ERR_NOMEM */
void map_fini(struct map *m);                 /* asserts that it is empty */
struct map_node *map_find(const struct map *m, uint64_t hash, map_eq_fn *eq,
			  const void *key);
/* Cannot fail: growing the bucket array is an optimisation only. */
void map_add(struct map *m, struct map_node *node, uint64_t hash);
void map_remove(struct map *m, struct map_node *node); /* must be in it */
/* Ends growing, so that all nodes are in m->bucket: for who walks over it,
 * until the next map_add. */
void map_settle(struct map *m);
size_t map_bytes(const struct map *m); /* of its arrays */

#endif
