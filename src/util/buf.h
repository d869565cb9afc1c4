/*
 * An append-only writer into a caller's fixed space or an arena. Overflow and
 * lack of memory are sticky: write everything, then ask buf_ok() once.
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stdbool.h>
#include "util/arena.h"
#include "util/str.h"

struct buf {
	char *p;
	size_t n, cap;
	struct arena *arena; /* NULL: fixed space */
	bool bad;
};

void buf_fixed(struct buf *b, char *space, size_t cap);
/* Grows in the arena; `hint` is the first capacity. */
void buf_arena(struct buf *b, struct arena *a, size_t hint);
void buf_put(struct buf *b, struct str s);
void buf_char(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t v); /* decimal */
void buf_hex(struct buf *b, size_t digits, uint64_t v);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool buf_ok(const struct buf *b);
struct str buf_str(const struct buf *b); /* what was written so far */

#define BUF_LIT(b, lit) buf_put((b), STR(lit))

#endif
