/*
 * The small blocks of one Lua state. Lua frees and asks for the same few sizes
 * all the time, and tells the size of what it frees: free blocks wait in a list
 * for each size. In a sanitised build there are no lists, so that the use of a
 * freed block is seen.
 */
#ifndef LUA_SMALL_H
#define LUA_SMALL_H

#include <stddef.h>

enum {
	SMALL_STEP = 16,
	SMALL_MAX = 512, /* bytes; larger blocks are the C library's */
	SMALL_KINDS = SMALL_MAX / SMALL_STEP,
	SMALL_SPARE = 1024, /* free blocks kept of one size: 8 MB if of all */
};

struct small {
	void *free[SMALL_KINDS];
	unsigned n[SMALL_KINDS];
};

/* As realloc(p, n), n > 0, where p (or NULL) has `old` bytes. */
void *small_realloc(struct small *s, void *p, size_t old, size_t n);
void small_free(struct small *s, void *p, size_t n); /* NULL is fine */
void small_fini(struct small *s);                    /* what waits */

#endif
