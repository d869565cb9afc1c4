/* A read position in a text, and the small steps of RFC 3261 section 25.1 that
 * the scanners of this layer are made of. For those files alone. */
#ifndef MESSAGE_CUR_H
#define MESSAGE_CUR_H

#include "message/chars.h"
#include "util/str.h"

struct cur {
	const char *p, *end;
};

static inline struct cur cur_of(struct str s)
{
	const char *p = s.p ? s.p : "";

	return (struct cur){p, p + s.n};
}

static inline bool cur_end(const struct cur *c)
{
	return c->p == c->end;
}

static inline bool cur_at(const struct cur *c, char ch)
{
	return c->p < c->end && *c->p == ch;
}

static inline bool cur_take(struct cur *c, char ch)
{
	if (!cur_at(c, ch))
		return false;
	c->p++;
	return true;
}

static inline struct str cur_since(const struct cur *c, const char *from)
{
	return (struct str){from, (size_t)(c->p - from)};
}

/* True when there was any. */
static inline bool cur_space(struct cur *c)
{
	const char *from = c->p;

	while (c->p < c->end && ch_is_space(*c->p))
		c->p++;
	return c->p > from;
}

/* SWS ch SWS, as SLASH, COLON, SEMI and EQUAL are; if ch is not there the white
 * space is left alone. */
static inline bool cur_sep(struct cur *c, char ch)
{
	const char *from = c->p;

	cur_space(c);
	if (!cur_take(c, ch)) {
		c->p = from;
		return false;
	}
	cur_space(c);
	return true;
}

static inline struct str cur_token(struct cur *c)
{
	const char *from = c->p;

	while (c->p < c->end && ch_is_token(*c->p))
		c->p++;
	return cur_since(c, from);
}

/* quoted-string, at its first quote. False when it does not end. */
bool cur_quoted(struct cur *c);
/* host, checked; empty when there is none. */
struct str cur_host(struct cur *c);
/* 1*DIGIT, 1-65535; 0 when it is not. */
uint16_t cur_port(struct cur *c);

enum cur_param { CUR_PARAM_NONE, CUR_PARAM_ONE, CUR_PARAM_BAD };
/* SEMI name [ EQUAL value ]. The value, STR_NONE without '=', is a quoted
 * string or any run of visible characters but ; , " < > (more than gen-value
 * allows: it is passed on as it is). */
enum cur_param cur_param(struct cur *c, struct str *name_r,
			 struct str *value_r);

#endif
