#include "proxy/steps.h"

#include <string.h>
#include "util/list.h"
#include "util/redact.h"

/*
 * An item is its kind in one byte and
 *   step  the word in one byte, microseconds as a varint
 *   int   a varint of its absolute value and the sign (zigzag)
 *   str   the length as a varint, the bytes
 *   addr  transport and family in a byte each, port in two, the address
 */

enum { VARINT = 10, ADDR_HEAD = 5 };

static const char *const words[] = {
#define X(id, word) word,
    STEP_LIST(X)
#undef X
};

const char *step_word(enum step s)
{
	return (size_t)s < ARRAY_LEN(words) ? words[s] : "?";
}

void steps_init(struct steps *s, struct mem *m, tick_t began)
{
	s->mem = m;
	s->p = s->first;
	s->n = 0;
	s->cap = STEPS_FIRST;
	s->began = began;
	s->cut = false;
}

void steps_fini(struct steps *s)
{
	if (s->mem && s->p != s->first)
		mem_free(s->mem, s->p);
	s->mem = NULL;
	s->p = NULL;
	s->n = s->cap = 0;
}

/* ---- writing ---- */

/* To the heap, or to more of it. */
static bool grow(struct steps *s, size_t n)
{
	size_t cap = s->cap;
	bool is_first = s->p == s->first;
	char *p;

	while (cap < s->n + n)
		cap *= 2;
	if (cap > STEPS_MAX)
		return false;
	p = mem_realloc(s->mem, is_first ? NULL : s->p, cap);
	if (!p)
		return false;
	if (is_first)
		memcpy(p, s->first, s->n);
	s->p = p;
	s->cap = (uint32_t)cap;
	return true;
}

static char *reserve_more(struct steps *s, size_t n)
{
	if (!s->mem || s->cut)
		return NULL;
	if (grow(s, n))
		return s->p + s->n;
	s->cut = true;
	s->cap = 0; /* what comes is left out, however short it is */
	return NULL;
}

/* Room for n bytes more; NULL: there is none. */
static inline char *reserve(struct steps *s, size_t n)
{
	return s->n + n <= s->cap ? s->p + s->n : reserve_more(s, n);
}

static char *put_varint(char *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (char)(v | 0x80);
	*p++ = (char)v;
	return p;
}

static void wrote(struct steps *s, const char *end)
{
	s->n = (uint32_t)(end - s->p);
}

bool steps_add(struct steps *s, enum step what, tick_t now)
{
	int64_t us = tick_diff(now, s->began);
	char *p = reserve(s, 2 + VARINT);

	if (!p)
		return false;
	*p++ = STEPS_STEP;
	*p++ = (char)what;
	wrote(s, put_varint(p, us > 0 ? (uint64_t)us : 0));
	return true;
}

void steps_int(struct steps *s, int64_t v)
{
	char *p = reserve(s, 1 + VARINT);

	if (!p)
		return;
	*p++ = STEPS_INT;
	wrote(s, put_varint(p, (uint64_t)v << 1 ^ (uint64_t)(v >> 63)));
}

void steps_str(struct steps *s, struct str v)
{
	size_t n = v.n < STEPS_TEXT ? v.n : STEPS_TEXT;
	char *p = reserve(s, 1 + VARINT + n);

	if (!p)
		return;
	*p++ = STEPS_STR;
	p = put_varint(p, n);
	redact_copy(p, v, n);
	wrote(s, p + n);
}

static size_t ip_size(uint8_t family)
{
	return family == ADDR_V4 ? 4 : family == ADDR_V6 ? 16 : 0;
}

static void put_addr(struct steps *s, const struct addr *a, uint8_t transport)
{
	size_t n = ip_size(a->family);
	char *p = reserve(s, ADDR_HEAD + n);

	if (!p)
		return;
	p[0] = STEPS_ADDR;
	p[1] = (char)transport;
	p[2] = (char)a->family;
	p[3] = (char)(a->port >> 8);
	p[4] = (char)a->port;
	memcpy(p + ADDR_HEAD, a->ip, n);
	wrote(s, p + ADDR_HEAD + n);
}

void steps_peer(struct steps *s, const struct hop *hop)
{
	put_addr(s, &hop->addr, hop->transport);
}

void steps_local(struct steps *s, const struct hop *hop)
{
	put_addr(s, &hop->local, hop->transport);
}

/* ---- reading ---- */

static bool take_varint(struct str *rest, uint64_t *v_r)
{
	*v_r = 0;
	for (unsigned i = 0; i < VARINT && i < rest->n; i++) {
		uint8_t c = (uint8_t)rest->p[i];

		*v_r |= (uint64_t)(c & 0x7f) << (7 * i);
		if (c < 0x80) {
			*rest = str_sub(*rest, i + 1, rest->n);
			return true;
		}
	}
	return false;
}

static bool take_step(struct str *rest, struct steps_item *out)
{
	uint64_t us;

	if (!rest->n)
		return false;
	out->step = (enum step)(uint8_t)rest->p[0];
	*rest = str_sub(*rest, 1, rest->n);
	if (!take_varint(rest, &us))
		return false;
	out->v = (int64_t)us;
	return out->step < STEP_N;
}

static bool take_int(struct str *rest, struct steps_item *out)
{
	uint64_t v;

	if (!take_varint(rest, &v))
		return false;
	out->v = (int64_t)(v >> 1 ^ (0 - (v & 1)));
	return true;
}

static bool take_str(struct str *rest, struct steps_item *out)
{
	uint64_t n;

	if (!take_varint(rest, &n) || n > rest->n)
		return false;
	out->text = str_sub(*rest, 0, (size_t)n);
	*rest = str_sub(*rest, (size_t)n, rest->n);
	return true;
}

static bool take_addr(struct str *rest, struct steps_item *out)
{
	const uint8_t *p = (const uint8_t *)rest->p;
	size_t n;

	if (rest->n < ADDR_HEAD - 1)
		return false;
	n = ip_size(p[1]);
	if (rest->n < ADDR_HEAD - 1 + n)
		return false;
	out->transport = (enum transport)p[0];
	out->addr.family = p[1];
	out->addr.port = (uint16_t)(p[2] << 8 | p[3]);
	memcpy(out->addr.ip, p + ADDR_HEAD - 1, n);
	*rest = str_sub(*rest, ADDR_HEAD - 1 + n, rest->n);
	return true;
}

bool steps_read(struct str *rest, struct steps_item *out_r)
{
	memset(out_r, 0, sizeof(*out_r));
	if (!rest->n)
		return false;
	out_r->kind = (enum steps_kind)(uint8_t)rest->p[0];
	*rest = str_sub(*rest, 1, rest->n);
	switch (out_r->kind) {
	case STEPS_STEP:
		return take_step(rest, out_r);
	case STEPS_INT:
		return take_int(rest, out_r);
	case STEPS_STR:
		return take_str(rest, out_r);
	case STEPS_ADDR:
		return take_addr(rest, out_r);
	}
	return false;
}

void steps_write(struct str steps, struct buf *out)
{
	struct steps_item i;
	bool first = true;

	while (steps_read(&steps, &i)) {
		if (i.kind != STEPS_STEP)
			buf_char(out, ' ');
		else if (!first)
			BUF_LIT(out, "; ");
		first = false;
		if (i.kind == STEPS_STEP)
			buf_printf(out, "%.3f %s", (double)i.v / 1e6,
				   step_word(i.step));
		else if (i.kind == STEPS_INT)
			buf_printf(out, "%lld", (long long)i.v);
		else if (i.kind == STEPS_STR)
			buf_put(out, i.text.n ? i.text : STR("-"));
		else if (i.addr.family == ADDR_NONE)
			buf_char(out, '-');
		else
			addr_write(out, &i.addr);
	}
}
