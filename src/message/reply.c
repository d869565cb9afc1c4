#include "message/reply.h"
#include <string.h>
#include "message/chars.h"
#include "util/err.h"
#include "util/list.h"

static const struct {
	int code;
	const char *text;
} phrases[] = {
    {100, "Trying"},
    {180, "Ringing"},
    {181, "Call Is Being Forwarded"},
    {182, "Queued"},
    {183, "Session Progress"},
    {199, "Early Dialog Terminated"},
    {200, "OK"},
    {202, "Accepted"},
    {204, "No Notification"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Moved Temporarily"},
    {305, "Use Proxy"},
    {380, "Alternative Service"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {410, "Gone"},
    {412, "Conditional Request Failed"},
    {413, "Request Entity Too Large"},
    {414, "Request-URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Unsupported URI Scheme"},
    {417, "Unknown Resource-Priority"},
    {420, "Bad Extension"},
    {421, "Extension Required"},
    {422, "Session Interval Too Small"},
    {423, "Interval Too Brief"},
    {424, "Bad Location Information"},
    {428, "Use Identity Header"},
    {429, "Provide Referrer Identity"},
    {430, "Flow Failed"},
    {433, "Anonymity Disallowed"},
    {436, "Bad Identity Info"},
    {437, "Unsupported Credential"},
    {438, "Invalid Identity Header"},
    {439, "First Hop Lacks Outbound Support"},
    {440, "Max-Breadth Exceeded"},
    {469, "Bad Info Package"},
    {470, "Consent Needed"},
    {480, "Temporarily Unavailable"},
    {481, "Call/Transaction Does Not Exist"},
    {482, "Loop Detected"},
    {483, "Too Many Hops"},
    {484, "Address Incomplete"},
    {485, "Ambiguous"},
    {486, "Busy Here"},
    {487, "Request Terminated"},
    {488, "Not Acceptable Here"},
    {489, "Bad Event"},
    {491, "Request Pending"},
    {493, "Undecipherable"},
    {494, "Security Agreement Required"},
    {500, "Server Internal Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Server Time-out"},
    {505, "Version Not Supported"},
    {513, "Message Too Large"},
    {555, "Push Notification Service Not Supported"},
    {580, "Precondition Failure"},
    {600, "Busy Everywhere"},
    {603, "Decline"},
    {604, "Does Not Exist Anywhere"},
    {606, "Not Acceptable"},
    {607, "Unwanted"},
    {608, "Rejected"},
};

struct str reply_phrase(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
		if (phrases[i].code == code)
			return str_from(phrases[i].text);
	return STR("Unknown");
}

static bool is_there(const struct msg *m, enum hdr_id id)
{
	const struct hdr *h = msg_first(m, id);

	return h && h->value_len;
}

/* What CANCEL, ACK and every response repeat. */
static bool has_identity(const struct msg *m)
{
	return !m->no_answer && msg_first(m, HDR_VIA) &&
	       is_there(m, HDR_FROM) && is_there(m, HDR_TO) &&
	       is_there(m, HDR_CALL_ID) && is_there(m, HDR_CSEQ);
}

/* Each of them, and not twice. */
static bool is_sound(const struct msg *m)
{
	static const enum hdr_id ids[] = {HDR_FROM, HDR_TO, HDR_CALL_ID,
					  HDR_CSEQ};

	if (!has_identity(m))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		if (msg_next(m, msg_first(m, ids[i])))
			return false;
	return true;
}

bool reply_can_answer(const struct msg *m)
{
	struct via via;

	if (!m->is_request || m->method_id == METHOD_ACK || !has_identity(m))
		return false;
	return scan_via(msg_hdr_value(m, msg_first(m, HDR_VIA)), &via, NULL) ||
	       via.host.n > 0;
}

static void put_field(struct buf *out, const struct msg *m, const struct hdr *h)
{
	buf_put(out, str_sub(m->raw, h->off, h->off + h->len));
}

static void put_all(struct buf *out, const struct msg *m, enum hdr_id id)
{
	for (const struct hdr *h = msg_first(m, id); h; h = msg_next(m, h))
		put_field(out, m, h);
}

/* Of what should be there once, and is not, the first: a response with two of
 * them would be as wrong as the request. */
static void put_first(struct buf *out, const struct msg *m, enum hdr_id id)
{
	put_field(out, m, msg_first(m, id));
}

/* All Via lines as received, with the topmost value replaced if asked for. */
static void put_vias(struct buf *out, const struct msg *m, struct str via)
{
	const struct hdr *h = msg_first(m, HDR_VIA);
	struct str value, list = msg_hdr_value(m, h);

	if (!via.p || !scan_list(&list, &value)) {
		put_all(out, m, HDR_VIA);
		return;
	}
	size_t from = (size_t)(value.p - m->raw.p), to = from + value.n;

	buf_put(out, str_sub(m->raw, h->off, from));
	buf_put(out, via);
	buf_put(out, str_sub(m->raw, to, h->off + h->len));
	while ((h = msg_next(m, h)))
		put_field(out, m, h);
}

static bool has_tag(struct str to)
{
	struct nameaddr na;
	struct str tag;

	/* a To that cannot be read is sent back untouched */
	return !scan_nameaddr(to, &na, NULL) ||
	       scan_param(na.params, STR("tag"), &tag);
}

static void put_to(struct buf *out, const struct msg *m, struct str tag)
{
	const struct hdr *h = msg_first(m, HDR_TO);

	if (!tag.n || has_tag(msg_hdr_value(m, h))) {
		put_field(out, m, h);
		return;
	}
	buf_put(out, str_sub(m->raw, h->off, h->value_off + h->value_len));
	BUF_LIT(out, ";tag=");
	buf_put(out, tag);
	BUF_LIT(out, "\r\n");
}

static int result(const struct buf *out)
{
	if (buf_ok(out))
		return 0;
	return out->arena ? ERR_NOMEM : ERR_LIMIT;
}

/* RFC 3261 8.2.6 */
int reply_write(const struct msg *request, const struct reply *r,
		struct buf *out)
{
	const struct msg *m = request;

	if (!has_identity(m))
		return ERR_STATE;
	BUF_LIT(out, "SIP/2.0 ");
	buf_u64(out, (uint64_t)r->code);
	buf_char(out, ' ');
	if (!r->brief)
		buf_put(out, r->reason.p ? r->reason : reply_phrase(r->code));
	BUF_LIT(out, "\r\n");
	put_vias(out, m, r->via);
	if (r->record_route)
		put_all(out, m, HDR_RECORD_ROUTE);
	put_first(out, m, HDR_FROM);
	put_to(out, m, r->code == 100 ? STR_NONE : r->to_tag);
	put_first(out, m, HDR_CALL_ID);
	put_first(out, m, HDR_CSEQ);
	if (r->code == 100)
		put_all(out, m, HDR_TIMESTAMP);
	buf_put(out, r->headers);
	if (!r->brief) {
		BUF_LIT(out, "Content-Length: ");
		buf_u64(out, r->body.n);
		BUF_LIT(out, "\r\n");
	}
	BUF_LIT(out, "\r\n");
	buf_put(out, r->body);
	return result(out);
}

/* The topmost Via value, on a line of its own. */
static void put_top_via(struct buf *out, const struct msg *m)
{
	struct str value = STR_NONE;
	struct str list = msg_hdr_value(m, msg_first(m, HDR_VIA));

	scan_list(&list, &value);
	BUF_LIT(out, "Via: ");
	buf_put(out, value);
	BUF_LIT(out, "\r\n");
}

static void put_cseq(struct buf *out, const struct msg *m, struct str method)
{
	struct str v = msg_hdr_value(m, msg_first(m, HDR_CSEQ));
	size_t n = 0;

	while (n < v.n && ch_is_digit(v.p[n]))
		n++;
	BUF_LIT(out, "CSeq: ");
	buf_put(out, str_sub(v, 0, n));
	buf_char(out, ' ');
	buf_put(out, method);
	BUF_LIT(out, "\r\n");
}

/* A request of the same transaction: `to` has the To that it carries. */
static int write_sibling(const struct msg *sent, struct str method,
			 const struct msg *to, struct str headers,
			 struct buf *out)
{
	if (!sent->is_request || !sent->uri.p || !is_sound(sent) ||
	    !is_there(to, HDR_TO))
		return ERR_STATE;
	buf_put(out, method);
	buf_char(out, ' ');
	buf_put(out, sent->uri);
	BUF_LIT(out, " SIP/2.0\r\n");
	put_top_via(out, sent);
	put_all(out, sent, HDR_ROUTE);
	BUF_LIT(out, "Max-Forwards: 70\r\n");
	put_all(out, sent, HDR_FROM);
	put_first(out, to, HDR_TO);
	put_all(out, sent, HDR_CALL_ID);
	put_cseq(out, sent, method);
	buf_put(out, headers);
	BUF_LIT(out, "Content-Length: 0\r\n\r\n");
	return result(out);
}

/* RFC 3261 9.1 */
int reply_write_cancel(const struct msg *sent, struct str headers,
		       struct buf *out)
{
	return write_sibling(sent, STR("CANCEL"), sent, headers, out);
}

/* RFC 3261 17.1.1.3 */
int reply_write_ack(const struct msg *sent, const struct msg *response,
		    struct buf *out)
{
	return write_sibling(sent, STR("ACK"), response, STR_NONE, out);
}

int reply_write_image(const struct msg *sent, struct buf *out)
{
	static const enum hdr_id ids[] = {HDR_ROUTE, HDR_FROM,
					  HDR_TO,    HDR_CALL_ID,
					  HDR_CSEQ,  HDR_MAX_FORWARDS};

	if (!sent->is_request || !is_sound(sent))
		return ERR_STATE;
	buf_put(out, str_sub(sent->raw, 0, sent->headers_off));
	put_top_via(out, sent);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		put_all(out, sent, ids[i]);
	BUF_LIT(out, "\r\n");
	return result(out);
}
