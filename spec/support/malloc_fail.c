#include "support/malloc_fail.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **p_r, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **p_r, size_t alignment, size_t n);
char *__wrap_strdup(const char *s);

/* Of the thread that asks: others go on. */
static _Thread_local uint64_t calls, fail_at, fail_for;

uint64_t malloc_fail(uint64_t at, uint64_t row)
{
	uint64_t n = calls;

	calls = 0;
	fail_at = at;
	fail_for = row;
	return n;
}

static bool fails(void)
{
	calls++;
	return fail_at && calls >= fail_at && calls - fail_at < fail_for;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

int __wrap_posix_memalign(void **p_r, size_t alignment, size_t n)
{
	return fails() ? ENOMEM : __real_posix_memalign(p_r, alignment, n);
}

char *__wrap_strdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *copy = __wrap_malloc(n);

	return copy ? memcpy(copy, s, n) : NULL;
}
