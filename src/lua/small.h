/*
 * The small blocks of one Lua state. Lua frees and asks for the same few sizes
 * all the time, and tells the size of what it frees. Blocks are cut from
 * pieces, each for one size, and the block that came back last goes out first.
 * A piece of which all blocks are back may serve another size, so what a script
 * held in blocks of one size is there for others. Of such pieces as many are
 * kept as are in use, or SMALL_KEPT; the rest goes back to the C library.
 */
#ifndef LUA_SMALL_H
#define LUA_SMALL_H

#include <stdbool.h>
#include <stddef.h>

#include "util/chain.h"

enum {
	SMALL_STEP = 16,
	SMALL_MAX = 512, /* bytes; larger blocks are the C library's */
	SMALL_KINDS = SMALL_MAX / SMALL_STEP,
	SMALL_PIECE = 4096, /* bytes; a power of two */
	SMALL_KEPT = 256,   /* a megabyte: more than most scripts take */
};

/* Zero is empty. */
struct small {
	struct chain *partial[SMALL_KINDS]; /* pieces that have a free block */
	struct chain *idle;
	size_t used, kept; /* pieces: with a size; idle */
	bool off;          /* all blocks are the C library's */
};

/* As realloc(p, n), n > 0, where p (or NULL) has `old` bytes. When memory ran
 * out: NULL, also for fewer bytes than before, and p stays as it is. */
void *small_realloc(struct small *s, void *p, size_t old, size_t n);
void small_free(struct small *s, void *p, size_t n); /* NULL is fine */
void small_fini(struct small *s);                    /* all blocks are back */

#endif
