#include "util/redact.h"

#include <string.h>

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Of a letter only; without a branch. */
static char lower_letter(char c)
{
	return (char)(c | ('a' - 'A'));
}

static bool has_word(struct str s, size_t at, struct str word)
{
	return str_caseeq(str_sub(s, at, at + word.n), word);
}

/* The end of "sip:" or "sips:" at `at`, or 0. */
static size_t scheme_end(struct str s, size_t at)
{
	if (lower(s.p[at]) != 's')
		return 0;
	if (has_word(s, at, STR("sip:")))
		return at + 4;
	return has_word(s, at, STR("sips:")) ? at + 5 : 0;
}

/* Neither users nor passwords have these, however they are written. */
static bool ends_userinfo(char c)
{
	return (unsigned char)c <= ' ' || c == '<' || c == '>' || c == '"' ||
	       c == 127;
}

/* The password of the URI whose scheme ends at `at`. Another scheme before the
 * '@' means that this was a URI without a user. */
static bool find_password(struct str s, size_t at, size_t *begin_r,
			  size_t *end_r)
{
	size_t colon = 0;

	for (size_t i = at; i < s.n && !ends_userinfo(s.p[i]); i++) {
		if (s.p[i] == '@') {
			*begin_r = colon + 1;
			*end_r = i;
			return colon > 0 && i > colon + 1;
		}
		if (scheme_end(s, i))
			return false;
		if (s.p[i] == ':' && !colon)
			colon = i;
	}
	return false;
}

/* Is this the end of a header field? A line goes on in the next one that begins
 * with white space (RFC 3261 7.3.1). */
static bool ends_line(struct str s, size_t at)
{
	return s.p[at] == '\n' &&
	       !(at + 1 < s.n && (s.p[at + 1] == ' ' || s.p[at + 1] == '\t'));
}

/* After the '=' of a digest's parameter: its value without quotes. */
static bool find_value(struct str s, size_t at, size_t *begin_r, size_t *end_r)
{
	bool quoted;
	size_t i;

	while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
		at++;
	quoted = at < s.n && s.p[at] == '"';
	at += quoted;
	for (i = at; i < s.n; i++)
		if (quoted ? s.p[i] == '"' || ends_line(s, i)
			   : s.p[i] == ',' || (unsigned char)s.p[i] <= ' ')
			break;
	*begin_r = at;
	*end_r = i;
	return i > at;
}

static bool is_name(char c)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '_';
}

/* The end of "NAME =" at `at`, or 0. */
static size_t param_end(struct str s, size_t at, struct str name)
{
	if ((at && is_name(s.p[at - 1])) || !has_word(s, at, name))
		return 0;
	for (at += name.n; at < s.n && (s.p[at] == ' ' || s.p[at] == '\t');)
		at++;
	return at < s.n && s.p[at] == '=' ? at + 1 : 0;
}

bool redact_find(struct str s, size_t from, size_t *begin_r, size_t *end_r)
{
	for (size_t i = from; i < s.n; i++) {
		char c = lower_letter(s.p[i]);
		size_t end;

		if (c != 's' && c != 'r')
			continue; /* nearly all */
		end = scheme_end(s, i);
		if (end && find_password(s, end, begin_r, end_r))
			return true;
		if (c != 'r')
			continue;
		end = param_end(s, i, STR("response"));
		if (!end)
			end = param_end(s, i, STR("rspauth"));
		if (end && find_value(s, end, begin_r, end_r))
			return true;
	}
	return false;
}

/* Is there what any secret has? A password is in sip:user:HERE@, a digest after
 * an equals sign. Most texts have neither, and to look closer costs more than
 * all the rest of a step. */
static bool may_have_secret(struct str v)
{
	const char *colon;

	if (memchr(v.p, '=', v.n))
		return true;
	colon = memchr(v.p, ':', v.n);
	if (colon)
		colon = memchr(colon + 1, ':', v.n - (size_t)(colon + 1 - v.p));
	return colon && memchr(colon, '@', v.n - (size_t)(colon - v.p));
}

void redact_copy(char *p, struct str v, size_t n)
{
	size_t begin, end;

	if (!n)
		return;
	memcpy(p, v.p, n);
	if (!may_have_secret(v))
		return;
	for (size_t at = 0; redact_find(v, at, &begin, &end) && begin < n;
	     at = end)
		memset(p + begin, '*', (end < n ? end : n) - begin);
}

/* ---- messages ---- */

/* No secret has these; without them what is left would look like another one,
 * whose user name they end. */
static bool is_kept(char c)
{
	return c == '\r' || c == '\n' || c == '<' || c == '>' || c == '"' ||
	       c == 127;
}

static void mask(char *bytes, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++)
		if (!is_kept(bytes[i]))
			bytes[i] = '*';
}

/* The end of the line at `at`; in the header with what it is continued by. */
static size_t line_end(struct str s, size_t at, bool folds)
{
	for (; at < s.n; at++)
		if (folds ? ends_line(s, at) : s.p[at] == '\n')
			return at + 1;
	return s.n;
}

/* All but the scheme, unless that is one whose secret is known by name. */
static void mask_credentials(char *bytes, struct str line, size_t base)
{
	size_t at = 0;

	while (at < line.n && (unsigned char)line.p[at] <= ' ')
		at++;
	if (has_word(line, at, STR("Digest")))
		return; /* its response is found like everywhere */
	while (at < line.n && (unsigned char)line.p[at] > ' ')
		at++;
	mask(bytes, base + at, base + line.n);
}

static void mask_header(char *bytes, struct str s, size_t at, size_t end)
{
	struct str line = str_sub(s, at, end);
	size_t colon = str_find(line, ':');
	struct str name = str_trim(str_sub(line, 0, colon));

	if (str_caseeq(name, STR("Authorization")) ||
	    str_caseeq(name, STR("Proxy-Authorization")))
		mask_credentials(bytes, str_sub(line, colon + 1, line.n),
				 at + colon + 1);
}

/* What follows `mark` in the line, up to one of `stops` or its end. */
static void mask_after(char *bytes, struct str s, size_t at, size_t end,
		       struct str mark, const char *stops)
{
	for (; at + mark.n <= end; at++) {
		size_t i = at + mark.n;

		if (!has_word(s, at, mark))
			continue;
		while (i < end && s.p[i] && !strchr(stops, s.p[i]))
			i++;
		mask(bytes, at + mark.n, i);
	}
}

/* RFC 4568, RFC 4567, RFC 4566 5.12. */
static void mask_sdp(char *bytes, struct str s, size_t at, size_t end)
{
	if (has_word(s, at, STR("a=crypto:")))
		mask_after(bytes, s, at, end, STR("inline:"), " ;|\r\n");
	else if (has_word(s, at, STR("a=key-mgmt:")))
		mask_after(bytes, s, at + 11, end, STR(" "), "\r\n");
	else if (has_word(s, at, STR("k=")))
		mask_after(bytes, s, at, end, STR(":"), "\r\n");
}

void redact_message(char *bytes, size_t n)
{
	struct str s = {bytes, n};
	bool in_body = false;
	size_t at = 0, begin, end;

	while (at < n) {
		end = line_end(s, at, !in_body);
		if (in_body)
			mask_sdp(bytes, s, at, end);
		else
			mask_header(bytes, s, at, end);
		in_body = in_body || str_trim(str_sub(s, at, end)).n == 0;
		at = end;
	}
	for (at = 0; redact_find(s, at, &begin, &end); at = end)
		mask(bytes, begin, end);
}
