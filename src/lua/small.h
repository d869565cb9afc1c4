/*
 * The small blocks of one Lua state. Lua frees and asks for the same few sizes
 * all the time, and tells the size of what it frees: free blocks wait in a list
 * for each size, and new ones are cut from larger pieces, which are kept until
 * the state ends.
 */
#ifndef LUA_SMALL_H
#define LUA_SMALL_H

#include <stdbool.h>
#include <stddef.h>

enum {
	SMALL_STEP = 16,
	SMALL_MAX = 512, /* bytes; larger blocks are the C library's */
	SMALL_KINDS = SMALL_MAX / SMALL_STEP,
	SMALL_PIECE = 4096,
};

struct small_piece;

/* Zero is empty. */
struct small {
	void *free[SMALL_KINDS];
	struct small_piece *pieces;
	bool off; /* all blocks are the C library's */
};

/* As realloc(p, n), n > 0, where p (or NULL) has `old` bytes. */
void *small_realloc(struct small *s, void *p, size_t old, size_t n);
void small_free(struct small *s, void *p, size_t n); /* NULL is fine */
void small_fini(struct small *s);                    /* all blocks are back */

#endif
