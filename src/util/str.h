/*
 * A string is a pointer and a length; it is never NUL-terminated unless a
 * function says so, and it never owns its bytes: whoever hands out a str says
 * how long the bytes live. Nothing here allocates.
 */
#ifndef UTIL_STR_H
#define UTIL_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf: printf("%.*s", STR_FMT(s)). */
#define STR_FMT(s) (int)(s).n, (s).p

struct str str_from(const char *c); /* NULL gives STR_NONE */
struct str str_sub(struct str s, size_t from, size_t to); /* clamped to s */
bool str_eq(struct str a, struct str b);
bool str_caseeq(struct str a, struct str b); /* ASCII case only */
int str_cmp(struct str a, struct str b);     /* as memcmp, then length */
bool str_starts(struct str s, struct str prefix);
struct str str_trim(struct str s); /* SP HTAB CR LF at both ends */
/* Cuts the text before the first `sep` off *rest and returns it; without a
 * `sep` returns all of *rest and leaves it with p == NULL. */
struct str str_cut(struct str *rest, char sep);
/* Offset of the first `c`, or s.n when there is none. */
size_t str_find(struct str s, char c);
/* 1*DIGIT and nothing else, at most `max`. False leaves *out_r alone. */
bool str_u32(struct str s, uint32_t max, uint32_t *out_r);
bool str_hex64(struct str s, uint64_t *out_r); /* exactly 16 hex digits */
void str_put_hex(char *out, size_t digits, uint64_t v); /* lower case */
/* Decodes the UTF-8 sequence (RFC 3629: no surrogates, nothing overlong) that a
 * non-empty s begins with. Its length, or 0 when the bytes are none. */
size_t str_utf8(struct str s, uint32_t *code_r);
/* True when s is a non-empty RFC 3261 token. */
bool str_is_token(struct str s);

#endif
