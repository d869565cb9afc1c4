#include "util/str.h"

#include <assert.h>
#include <string.h>

struct str str_from(const char *c)
{
	return c ? (struct str){c, strlen(c)} : STR_NONE;
}

struct str str_sub(struct str s, size_t from, size_t to)
{
	if (!s.p)
		return STR_NONE;
	if (to > s.n)
		to = s.n;
	if (from > to)
		from = to;
	return (struct str){s.p + from, to - from};
}

bool str_eq(struct str a, struct str b)
{
	/* memcmp must not see NULL, not even for no bytes. */
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static unsigned char lower(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

bool str_caseeq(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (a.p[i] != b.p[i] && lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

int str_cmp(struct str a, struct str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && str_eq(str_sub(s, 0, prefix.n), prefix);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
	while (s.n && is_space(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_space(s.p[s.n - 1]))
		s.n--;
	return s;
}

size_t str_find(struct str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

struct str str_cut(struct str *rest, char sep)
{
	size_t at = str_find(*rest, sep);
	struct str head = str_sub(*rest, 0, at);

	if (at == rest->n)
		*rest = STR_NONE;
	else
		*rest = str_sub(*rest, at + 1, rest->n);
	return head;
}

bool str_u32(struct str s, uint32_t max, uint32_t *out_r)
{
	uint64_t v = 0;

	if (!s.n)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
		if (v > max)
			return false;
	}
	*out_r = (uint32_t)v;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_hex64(struct str s, uint64_t *out_r)
{
	uint64_t v = 0;

	if (s.n != 16)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		int d = hex_digit(s.p[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*out_r = v;
	return true;
}

void str_put_hex(char *out, size_t digits, uint64_t v)
{
	assert(digits <= 16);
	for (size_t i = digits; i-- > 0; v >>= 4)
		out[i] = "0123456789abcdef"[v & 15];
}

/* RFC 3261 section 25.1: alphanum / "-" "." "!" "%" "*" "_" "+" "`" "'" "~" */
static bool is_token_char(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9'))
		return true;
	return c && strchr("-.!%*_+`'~", c);
}

bool str_is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_token_char(s.p[i]))
			return false;
	return s.n > 0;
}

size_t str_utf8(struct str s, uint32_t *code_r)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint8_t lead = (uint8_t)s.p[0];
	uint32_t code;
	size_t n;

	if (lead < 0x80) {
		*code_r = lead;
		return 1;
	}
	n = lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
	if (!n || n > s.n)
		return 0;
	code = lead & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (c >> 6 != 2)
			return 0;
		code = code << 6 | (c & 0x3f);
	}
	if (code < least[n] || code > 0x10ffff || code >> 11 == 0xd800 >> 11)
		return 0;
	*code_r = code;
	return n;
}
