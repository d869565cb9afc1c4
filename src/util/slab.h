/*
 * Blocks cut from slabs: one slab has blocks of one size, and the block that
 * came back last goes out first, while it is still in the processor's cache. A
 * slab of which all blocks are back, unless it is the only one of its size with
 * room, is there for any size again; when enough of them wait for that, it is
 * returned, so what a flood took is there for others. Whoever holds a block
 * keeps its slab beside it. Larger blocks are the C library's. For one thread.
 */
#ifndef UTIL_SLAB_H
#define UTIL_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include "util/chain.h"

enum {
	/* With what the C library adds, whole pages: see slabs_return_pages. */
	SLAB_BYTES = 65536 - 32,
	SLAB_BLOCK_MAX = 2048,
	SLAB_KINDS = 28, /* sizes */
	SLAB_SPARES = 32,
};

struct slab;

/* Zero is empty. May be copied, and then used instead. */
struct slabs {
	struct chain *partial[SLAB_KINDS]; /* slabs that have a free block */
	struct chain *spare;               /* slabs of no block */
	unsigned spares;
	bool off; /* no block is of a slab */
};

/* A block of n bytes, aligned for any type, n > 0. *of_r is its slab; NULL: it
 * is of none. NULL when memory ran out. */
void *slabs_take(struct slabs *s, size_t n, struct slab **of_r);
void slabs_give(struct slabs *s, struct slab *of, void *p);
/* A block for n bytes of another size would be no better than one of this. */
bool slab_suits(const struct slab *of, size_t n);
void slabs_fini(struct slabs *s); /* all blocks are back; usable again */
/* Asks the C library, once for the process, to take memory for a slab from the
 * kernel and give it back there, wherever it is. From its heap only what is at
 * the end would go back, and one block there keeps all before it. */
void slabs_return_pages(void);

#endif
