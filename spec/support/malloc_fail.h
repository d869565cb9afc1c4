/*
 * Lack of memory where there is no struct mem to inject it: the unit tests are
 * linked with malloc, calloc, realloc, posix_memalign and strdup of our own (ld
 * --wrap), which fail when told to. What libraries allocate is not touched.
 */
#ifndef SUPPORT_MALLOC_FAIL_H
#define SUPPORT_MALLOC_FAIL_H

#include <stdint.h>

/* The at-th call from now on fails, and `row` in all; 0: none. Gives how many
 * there have been since the last call of this. */
uint64_t malloc_fail(uint64_t at, uint64_t row);

#endif
