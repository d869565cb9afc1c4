/*
 * The heap of one core: blocks of slabs, with a byte counter, a limit and a
 * failure injector. Every lasting allocation of the core goes through one of
 * these, so that "all bytes came back" is a number a spec can assert, and so
 * that every allocation can be made to fail. It is not shared between threads.
 */
#ifndef UTIL_MEM_H
#define UTIL_MEM_H

#include <stddef.h>
#include <stdint.h>

#include "util/slab.h"

struct mem {
	size_t bytes;      /* live, as asked for */
	size_t blocks;     /* live */
	size_t limit;      /* 0: none; allocation beyond it fails */
	uint64_t calls;    /* allocations asked for since mem_init */
	uint64_t fail_at;  /* 0: never; else the call with this number fails
			    * (counted as `calls`), and all later ones too when
			    * fail_for is UINT64_MAX */
	uint64_t fail_for; /* how many calls fail in a row from fail_at on */
	struct slabs slabs;
};

void mem_init(struct mem *m);
/* NULL when memory ran out, over the limit, or a failure was injected. */
void *mem_alloc(struct mem *m, size_t n);
void *mem_zalloc(struct mem *m, size_t n);
/* As realloc; on failure NULL and the old block stays. To a smaller size only
 * an injected failure is one. */
void *mem_realloc(struct mem *m, void *p, size_t n);
void mem_free(struct mem *m, void *p); /* NULL is fine */

#endif
