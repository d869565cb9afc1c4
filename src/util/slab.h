/*
 * Blocks cut from slabs: one slab has blocks of one size, and the block that
 * came back last goes out first, while it is still in the processor's cache. A
 * slab of which all blocks are back is returned unless it is the only one with
 * room, so what a flood of one size took is there for others. Whoever holds a
 * block keeps its slab beside it. Larger blocks are the C library's. For one
 * thread.
 */
#ifndef UTIL_SLAB_H
#define UTIL_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include "util/chain.h"

enum {
	SLAB_BYTES = 65536,
	SLAB_BLOCK_MAX = 2048,
	SLAB_KINDS = 28, /* sizes */
};

struct slab;

/* Zero is empty. May be copied, and then used instead. */
struct slabs {
	struct chain *partial[SLAB_KINDS]; /* slabs that have a free block */
	bool off;                          /* no block is of a slab */
};

/* A block of n bytes, aligned for any type, n > 0. *of_r is its slab; NULL: it
 * is of none. NULL when memory ran out. */
void *slabs_take(struct slabs *s, size_t n, struct slab **of_r);
void slabs_give(struct slabs *s, struct slab *of, void *p);
/* A block for n bytes of another size would be no better than one of this. */
bool slab_suits(const struct slab *of, size_t n);
void slabs_fini(struct slabs *s); /* all blocks are back; usable again */

#endif
