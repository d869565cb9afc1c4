/*
 * A pattern, translated: what strpat.c writes and strmatch.c reads. Not for
 * others.
 */
#ifndef LUA_STRPAT_H
#define LUA_STRPAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op {
	OP_CHAR, /* a */
	OP_ANY,
	OP_SET,      /* set */
	OP_OPEN,     /* a: which capture */
	OP_POSITION, /* a */
	OP_CLOSE,    /* a */
	OP_BACKREF,  /* a: digit */
	OP_BALANCE,  /* a, b */
	OP_FRONTIER, /* set */
	OP_END,      /* $ */
	OP_DONE,
	OP_BAD, /* set: enum bad */
};

/* How often: once; 0 or 1; any number, as many as possible; at least one; any
 * number, as few as possible. */
enum times { ONCE, OPTIONAL, MANY, SOME, FEW };

enum bad {
	BAD_ESCAPE,
	BAD_SET,
	BAD_BALANCE,
	BAD_FRONTIER,
	BAD_CLOSE,
	BAD_CAPTURES,
	BAD_BACKREF,
};

struct item {
	uint8_t op, times, a, b;
	uint32_t set;
};

/* A place where the matcher could have gone on differently. */
struct frame {
	const struct item *item;
	const char *s; /* MANY: where its run begins; else where to go on */
	size_t n;      /* MANY: its length now */
};

static inline bool set_has(const uint64_t *set, unsigned char c)
{
	return set[c >> 6] >> (c & 63) & 1;
}

#endif
