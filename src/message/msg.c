#include "message/msg.h"
#include <string.h>
#include "message/chars.h"
#include "message/msg_start.h"
#include "util/buf.h"

static const struct {
	int code;
	struct str text;
} bads[MSG_BAD_COUNT] = {
#define X(name, code, text) [name] = {code, {text, sizeof(text) - 1}},
    MSG_BAD_LIST(X)
#undef X
};

int msg_bad_code(enum msg_bad bad)
{
	return bads[bad].code;
}

struct str msg_bad_text(enum msg_bad bad)
{
	return bads[bad].text;
}

/* The state of one msg_index. */
struct walk {
	struct msg *m;
	const char *p, *end; /* what is left */
	uint32_t cap;        /* of m->h */
	enum msg_bad bad;    /* the first problem */
};

static void note(struct walk *w, enum msg_bad bad)
{
	if (w->bad == MSG_OK)
		w->bad = bad;
}

/* What of CR, LF and NUL is in a line where it may not be. */
enum taint {
	CLEAN,
	QUOTED_NUL, /* only what the grammar knows: "\" NUL, 25.1 quoted-pair */
	TAINTED
};

/* Takes one line, a header with its folds, off what is left. Leaves its end
 * without CRLF in *eol_r. False when no CRLF comes any more. */
static bool take_line(struct walk *w, bool folds, const char **eol_r,
		      enum taint *taint_r)
{
	const char *p = w->p;

	*taint_r = CLEAN;
	for (;;) {
		p = ch_find_break(p, w->end);
		if (w->end - p < 2)
			return false;
		if (p[0] != '\r' || p[1] != '\n') {
			bool quoted = !*p && p > w->p && p[-1] == '\\';

			if (!quoted || *taint_r == CLEAN)
				*taint_r = quoted ? QUOTED_NUL : TAINTED;
			p++;
			continue;
		}
		*eol_r = p;
		p += 2;
		if (!folds || p == w->end || (*p != ' ' && *p != '\t'))
			break;
	}
	w->p = p;
	return true;
}

/* Room for one more header: false when memory ran out. */
static bool grow(struct walk *w)
{
	uint32_t cap = w->cap ? w->cap * 2 : 32;

	if (w->m->n < w->cap)
		return true;
	struct hdr *h = arena_alloc(w->m->arena, cap * sizeof(*h));
	if (!h)
		return false;
	if (w->m->n)
		memcpy(h, w->m->h, w->m->n * sizeof(*h));
	w->m->h = h;
	w->cap = cap;
	return true;
}

static bool is_copied(enum hdr_id id) /* into every response: 8.2.6.2 */
{
	return id == HDR_VIA || id == HDR_FROM || id == HDR_TO ||
	       id == HDR_CALL_ID || id == HDR_CSEQ;
}

/* A second one of these changes what the message means, so it is an error;
 * of other headers that may occur once the first is used. */
static bool is_strictly_single(enum hdr_id id)
{
	return id == HDR_FROM || id == HDR_TO || id == HDR_CALL_ID ||
	       id == HDR_CSEQ || id == HDR_CONTENT_LENGTH ||
	       id == HDR_MAX_FORWARDS;
}

/* The header name at the start of a line: MSG_OK, and how long it is and where
 * the value starts. HCOLON = *( SP / HTAB ) ":" SWS */
static enum msg_bad read_name(const char *line, const char *eol,
			      const char **name_end_r, const char **value_r)
{
	const char *p = line;

	while (p < eol && ch_is_token(*p))
		p++;
	*name_end_r = p;
	while (p < eol && (*p == ' ' || *p == '\t'))
		p++;
	if (p < eol && *p == ':' && *name_end_r > line) {
		*value_r = p + 1;
		return MSG_OK;
	}
	/* A line that starts with a space is a fold of the start line. */
	if (p < eol && !(*line == ' ' || *line == '\t') &&
	    memchr(p, ':', (size_t)(eol - p)))
		return MSG_BAD_HEADER_NAME;
	return MSG_BAD_HEADER;
}

static enum msg_bad add_header(struct walk *w, const char *line,
			       const char *eol, enum taint taint)
{
	struct msg *m = w->m;
	const char *name_end, *value;
	enum msg_bad bad = read_name(line, eol, &name_end, &value);

	if (bad)
		return taint == CLEAN ? bad : MSG_BAD_CHAR;
	enum hdr_id id = hdr_id((struct str){line, (size_t)(name_end - line)});
	if (taint == TAINTED)
		bad = MSG_BAD_CHAR;
	else if (w->p - line > MSG_MAX_LINE)
		bad = MSG_LINE_TOO_LONG;
	if (bad) {
		m->no_answer |= is_copied(id);
		return bad;
	}
	if (!grow(w))
		return MSG_NOMEM;
	while (value < eol && ch_is_space(*value))
		value++;
	while (eol > value && ch_is_space(eol[-1]))
		eol--;
	m->h[m->n] = (struct hdr){
	    .off = (uint32_t)(line - m->raw.p),
	    .len = (uint32_t)(w->p - line),
	    .name_len = (uint16_t)(name_end - line),
	    .id = (uint16_t)id,
	    .value_off = (uint32_t)(value - m->raw.p),
	    .value_len = (uint32_t)(eol - value),
	};
	if (m->first[id] < 0)
		m->first[id] = (int16_t)m->n;
	else if (is_strictly_single(id))
		bad = MSG_DUPLICATE;
	m->n++;
	return taint == CLEAN ? bad : MSG_BAD_CHAR;
}

/* Indexes headers up to the empty line. False when it has to stop early. */
static bool read_headers(struct walk *w)
{
	struct msg *m = w->m;
	enum msg_bad bad;
	enum taint taint;
	const char *eol;

	for (;;) {
		const char *line = w->p;

		m->headers_end = (uint32_t)(line - m->raw.p);
		if (w->end - line >= 2 && line[0] == '\r' && line[1] == '\n') {
			w->p += 2;
			return true;
		}
		if (m->n == MSG_MAX_HEADERS) {
			note(w, MSG_TOO_MANY_HEADERS);
			return false;
		}
		if (!take_line(w, true, &eol, &taint)) {
			note(w, taint == CLEAN ? MSG_NO_END : MSG_BAD_CHAR);
			return false;
		}
		bad = add_header(w, line, eol, taint);
		if (bad == MSG_NOMEM) {
			w->bad = bad;
			return false;
		}
		if (bad)
			note(w, bad);
	}
}

/* 1*DIGIT; a number over max is reported as max. */
static bool read_length(struct str s, size_t max, size_t *out_r)
{
	size_t v = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (!ch_is_digit(s.p[i]))
			return false;
		v = v * 10 + (size_t)(s.p[i] - '0');
		if (v > max)
			v = max;
	}
	*out_r = v;
	return s.n > 0;
}

static void read_body(struct walk *w)
{
	struct msg *m = w->m;
	const struct hdr *h = msg_first(m, HDR_CONTENT_LENGTH);
	size_t rest = (size_t)(w->end - w->p), n = rest;

	if (h) {
		m->has_length = true;
		if (!read_length(msg_hdr_value(m, h), rest + 1, &n)) {
			note(w, MSG_BAD_LENGTH);
			n = rest;
		} else if (n > rest) {
			note(w, MSG_SHORT_BODY);
			n = rest;
		}
	}
	m->body = (struct str){w->p, n};
	m->raw.n = (size_t)(w->p - m->raw.p) + n;
}

static void clear(struct msg *m, struct arena *a)
{
	memset(m, 0, sizeof(*m));
	memset(m->first, 0xff, sizeof(m->first)); /* -1 */
	m->arena = a;
}

enum msg_bad msg_index(struct msg *m, struct arena *a, struct str raw)
{
	struct walk w = {.m = m, .p = raw.p};
	enum taint taint;
	const char *eol;

	clear(m, a);
	if (!raw.n)
		return MSG_EMPTY;
	w.end = raw.p + raw.n;
	while (w.p < w.end && (*w.p == '\r' || *w.p == '\n'))
		w.p++;
	if (w.p == w.end)
		return MSG_EMPTY;
	m->raw = (struct str){w.p, (size_t)(w.end - w.p)};
	if (m->raw.n > MSG_MAX_BYTES)
		note(&w, MSG_TOO_BIG);
	if (!take_line(&w, false, &eol, &taint)) {
		clear(m, a);
		return MSG_NOT_SIP;
	}
	enum msg_bad bad =
	    msg_start_line(m, (struct str){m->raw.p, (size_t)(eol - m->raw.p)});
	if (bad == MSG_NOT_SIP) {
		clear(m, a);
		return bad;
	}
	note(&w, taint == CLEAN ? bad : MSG_BAD_CHAR);
	m->headers_off = (uint32_t)(w.p - m->raw.p);
	if (read_headers(&w))
		read_body(&w);
	else if (w.bad == MSG_NOMEM)
		clear(m, a);
	return w.bad;
}

/* The same place in a copy of the bytes. */
static struct str moved(struct str s, const char *from, const char *to)
{
	return s.p ? (struct str){to + (s.p - from), s.n} : s;
}

bool msg_copy(struct msg *out_r, const struct msg *m, struct arena *a)
{
	struct str raw = arena_str(a, m->raw);
	struct hdr *h = arena_alloc(a, m->n * sizeof(*h));

	if (!raw.p || !h)
		return false;
	if (m->n)
		memcpy(h, m->h, m->n * sizeof(*h));
	*out_r = *m;
	out_r->raw = raw;
	out_r->h = h;
	out_r->arena = a;
	out_r->cache = NULL;
	out_r->method = moved(m->method, m->raw.p, raw.p);
	out_r->uri = moved(m->uri, m->raw.p, raw.p);
	out_r->reason = moved(m->reason, m->raw.p, raw.p);
	out_r->body = moved(m->body, m->raw.p, raw.p);
	return true;
}

struct str msg_hdr_name(const struct msg *m, const struct hdr *h)
{
	return (struct str){m->raw.p + h->off, h->name_len};
}

struct str msg_hdr_value(const struct msg *m, const struct hdr *h)
{
	return (struct str){m->raw.p + h->value_off, h->value_len};
}

struct str msg_unfold(struct arena *a, struct str value)
{
	if (!value.n || !memchr(value.p, '\n', value.n))
		return value;
	char *out = arena_alloc(a, value.n);
	size_t n = 0, i = 0;

	if (!out)
		return STR_NONE;
	while (i < value.n) {
		char c = value.p[i++];

		if (c != '\r' && c != '\n') {
			out[n++] = c;
			continue;
		}
		/* [*WSP CRLF] 1*WSP, RFC 3261 25.1 LWS */
		while (n && ch_is_space(out[n - 1]))
			n--;
		while (i < value.n && ch_is_space(value.p[i]))
			i++;
		out[n++] = ' ';
	}
	return (struct str){out, n};
}

struct str msg_hdr_unfolded(const struct msg *m, const struct hdr *h)
{
	return msg_unfold(m->arena, msg_hdr_value(m, h));
}

const struct hdr *msg_first(const struct msg *m, enum hdr_id id)
{
	return m->first[id] < 0 ? NULL : &m->h[m->first[id]];
}

const struct hdr *msg_next(const struct msg *m, const struct hdr *h)
{
	for (const struct hdr *it = h + 1; it < m->h + m->n; it++)
		if (it->id == h->id)
			return it;
	return NULL;
}

static const struct hdr *find_from(const struct msg *m, const struct hdr *it,
				   struct str name)
{
	enum hdr_id id = hdr_id(name);

	for (; it < m->h + m->n; it++) {
		if (it->id != id)
			continue;
		if (id != HDR_OTHER || str_caseeq(msg_hdr_name(m, it), name))
			return it;
	}
	return NULL;
}

const struct hdr *msg_find(const struct msg *m, struct str name)
{
	return m->n ? find_from(m, m->h, name) : NULL;
}

const struct hdr *msg_find_next(const struct msg *m, const struct hdr *h,
				struct str name)
{
	return find_from(m, h + 1, name);
}
