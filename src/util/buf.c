#include "util/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_fixed(struct buf *b, char *space, size_t cap)
{
	*b = (struct buf){.p = space, .cap = cap};
}

void buf_arena(struct buf *b, struct arena *a, size_t hint)
{
	*b = (struct buf){.arena = a};
	b->p = arena_alloc(a, hint);
	if (b->p)
		b->cap = hint;
	else
		b->bad = true;
}

/* Makes room for n more bytes. The old space stays behind in the arena, so
 * what a caller got from buf_str() before stays valid. */
static bool reserve(struct buf *b, size_t n)
{
	size_t cap;
	char *p;

	if (b->bad)
		return false;
	if (n <= b->cap - b->n)
		return true;
	if (!b->arena || n > SIZE_MAX / 4 || b->cap > SIZE_MAX / 4) {
		b->bad = true;
		return false;
	}
	cap = b->cap < 32 ? 64 : b->cap * 2;
	if (cap < b->n + n)
		cap = b->n + n;
	p = arena_alloc(b->arena, cap);
	if (!p) {
		b->bad = true;
		return false;
	}
	if (b->n)
		memcpy(p, b->p, b->n);
	b->p = p;
	b->cap = cap;
	return true;
}

void buf_put(struct buf *b, struct str s)
{
	if (!s.n || !reserve(b, s.n))
		return;
	memcpy(b->p + b->n, s.p, s.n);
	b->n += s.n;
}

void buf_char(struct buf *b, char c)
{
	if (reserve(b, 1))
		b->p[b->n++] = c;
}

void buf_u64(struct buf *b, uint64_t v)
{
	char text[20];
	size_t i = sizeof(text);

	do {
		text[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	buf_put(b, (struct str){text + i, sizeof(text) - i});
}

void buf_hex(struct buf *b, size_t digits, uint64_t v)
{
	char text[16];

	assert(digits <= sizeof(text));
	str_put_hex(text, digits, v);
	buf_put(b, (struct str){text, digits});
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert(len >= 0);
	if ((size_t)len < sizeof(text)) {
		buf_put(b, (struct str){text, (size_t)len});
		return;
	}
	/* Long text goes straight to its place; vsnprintf wants room for its
	 * NUL there, too. */
	if (!reserve(b, (size_t)len + 1))
		return;
	va_start(ap, fmt);
	vsnprintf(b->p + b->n, (size_t)len + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)len;
}

bool buf_ok(const struct buf *b)
{
	return !b->bad;
}

struct str buf_str(const struct buf *b)
{
	return (struct str){b->p, b->n};
}
