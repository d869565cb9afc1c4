#include "message/msg_start.h"
#include <string.h>
#include "message/chars.h"
#include "message/scan.h"

static const struct str methods[METHOD_COUNT] = {
    [METHOD_OTHER] = {"", 0},
#define M(name) [METHOD_##name] = {#name, sizeof(#name) - 1}
    M(INVITE),
    M(ACK),
    M(CANCEL),
    M(BYE),
    M(OPTIONS),
    M(REGISTER),
    M(PRACK),
    M(UPDATE),
    M(INFO),
    M(SUBSCRIBE),
    M(NOTIFY),
    M(REFER),
    M(MESSAGE),
    M(PUBLISH),
#undef M
};

enum method method_id(struct str name)
{
	for (int i = 1; i < METHOD_COUNT; i++)
		if (methods[i].n == name.n &&
		    !memcmp(methods[i].p, name.p, name.n))
			return (enum method)i;
	return METHOD_OTHER;
}

struct str method_name(enum method m)
{
	return methods[m];
}

/* How many bytes at p are a SIP-Version, "SIP" "/" 1*DIGIT "." 1*DIGIT (in any
 * case: 7.1), or 0. */
static size_t version_len(const char *p, const char *end)
{
	const char *q = p + 4;

	if (end - p < 7 || !str_caseeq((struct str){p, 4}, STR("SIP/")))
		return 0;
	for (int part = 0; part < 2; part++) {
		const char *digits = q;

		while (q < end && ch_is_digit(*q))
			q++;
		if (q == digits)
			return 0;
		if (part == 0 && (q == end || *q++ != '.'))
			return 0;
	}
	return (size_t)(q - p);
}

static enum msg_bad check_version(const char *p, size_t n)
{
	return n == 7 && !memcmp(p + 4, "2.0", 3) ? MSG_OK : MSG_BAD_VERSION;
}

/* SIP-Version SP 3DIGIT SP Reason-Phrase; the reason may be missing, with or
 * without its SP (7.2). */
static enum msg_bad status_line(struct msg *m, struct str line, size_t vlen)
{
	const char *p = line.p + vlen, *end = line.p + line.n;

	if (end - p < 4 || *p++ != ' ')
		return MSG_BAD_STATUS;
	for (int i = 0; i < 3; i++)
		if (!ch_is_digit(p[i]))
			return MSG_BAD_STATUS;
	if (p[0] < '1' || p[0] > '6' || (end - p > 3 && p[3] != ' '))
		return MSG_BAD_STATUS;
	m->status = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
	p += end - p > 3 ? 4 : 3;
	m->reason = (struct str){p, (size_t)(end - p)};
	return check_version(line.p, vlen);
}

/* 19.1.1: a Request-URI has no headers. One that is let through could become a
 * header field further on (RFC 4475 3.1.2.11). */
static bool has_headers(struct str text)
{
	struct uri uri;

	return str_find(text, '?') < text.n && scan_uri(text, &uri) &&
	       uri.headers.p;
}

/* Not a full check (scan_uri does that when it is used): a scheme, and nothing
 * that could end the URI for another reader of the line. */
static enum msg_bad check_uri(struct str uri)
{
	size_t i = scan_scheme(uri);

	if (!i || i + 1 >= uri.n)
		return MSG_BAD_URI;
	while (++i < uri.n)
		if (!ch_is(uri.p[i], CH_URI))
			return MSG_BAD_URI;
	if (uri.n > MSG_MAX_URI)
		return MSG_URI_TOO_LONG;
	return has_headers(uri) ? MSG_BAD_URI : MSG_OK;
}

/* Method SP Request-URI SP SIP-Version; exactly one SP each (7.1). */
static enum msg_bad request_line(struct msg *m, struct str line)
{
	const char *end = line.p + line.n, *version, *p;
	enum msg_bad bad = MSG_OK;
	size_t vlen;

	while (end > line.p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	for (version = end; version > line.p && version[-1] != ' '; version--)
		;
	vlen = version_len(version, end);
	if (version == line.p || !vlen || version + vlen != end)
		return MSG_NOT_SIP;
	m->is_request = true;
	if (end != line.p + line.n)
		bad = MSG_BAD_START;
	p = memchr(line.p, ' ', line.n);
	struct str method = {line.p, (size_t)(p - line.p)};
	if (!str_is_token(method) || method.n > MSG_MAX_KEY)
		return bad ? bad : MSG_BAD_METHOD;
	m->method = method;
	m->method_id = method_id(method);
	if (version - p < 3) /* no URI between the spaces */
		return MSG_BAD_START;
	struct str uri = {p + 1, (size_t)(version - p - 2)};
	if (uri.p[0] == ' ' || uri.p[uri.n - 1] == ' ')
		return MSG_BAD_START;
	if (bad)
		return bad;
	m->uri = uri;
	bad = check_uri(uri);
	if (bad == MSG_BAD_URI)
		m->uri = STR_NONE;
	return bad ? bad : check_version(version, vlen);
}

enum msg_bad msg_start_line(struct msg *m, struct str line)
{
	size_t vlen = version_len(line.p, line.p + line.n);

	return vlen ? status_line(m, line, vlen) : request_line(m, line);
}
