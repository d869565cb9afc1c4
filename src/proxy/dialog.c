/*
 * Requests inside a dialog that this proxy ends as its caller would: the ACK
 * and the BYE after a 2xx nobody else will acknowledge, and the BYE of calls of
 * its own (RFC 3261 12.2.1.1, 13.2.2.4, 15.1.1).
 */
#include "message/field.h"
#include "proxy/context.h"
#include "proxy/token.h"

static bool is_ours(struct proxy *p, struct str value)
{
	struct nameaddr na;
	struct uri uri;

	return scan_nameaddr(value, &na, NULL) && scan_uri(na.uri, &uri) &&
	       listener_is_ours(p->c.listeners, &uri);
}

/*
 * The route set is the Record-Route upside down. Of a call we only forwarded,
 * what stands below our own value belongs to the caller's side.
 */
static struct str route_set(struct proxy *p, struct msg *m, bool forwarded)
{
	size_t n = field_count(m, HDR_RECORD_ROUTE), end = n;
	struct buf b;

	if (forwarded) {
		for (end = 0; end < n; end++)
			if (is_ours(p, field_value(m, HDR_RECORD_ROUTE, end)))
				break;
		if (end == n)
			return STR_NONE; /* not recorded: straight ahead */
	}
	if (end == 0)
		return STR_NONE;
	buf_arena(&b, p->c.scratch, 256);
	for (size_t i = end; i-- > 0;) {
		buf_put(&b, field_value(m, HDR_RECORD_ROUTE, i));
		if (i > 0)
			BUF_LIT(&b, ", ");
	}
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* Of a call that we forwarded to a phone behind its NAT our own value says how
 * that is reached (path.c), whatever its Contact is. */
static bool flow_of_phone(struct proxy *p, struct msg *m, struct hop *hop_r)
{
	size_t n = field_count(m, HDR_RECORD_ROUTE);
	struct nameaddr na;
	struct token t;
	struct uri uri;

	for (size_t i = 0; i < n; i++)
		if (scan_nameaddr(field_value(m, HDR_RECORD_ROUTE, i), &na,
				  NULL) &&
		    scan_uri(na.uri, &uri) &&
		    listener_is_ours(p->c.listeners, &uri))
			return token_read(uri.user, p->c.keys, &t) ==
				   TOKEN_OK &&
			       t.side == TOKEN_CALLEE &&
			       path_flow(p, &t, &uri, hop_r) == 0;
	return false;
}

static struct str value_of(struct msg *m, enum hdr_id id)
{
	const struct hdr *f = msg_first(m, id);

	return f ? msg_hdr_unfolded(m, f) : STR_NONE;
}

/* Where its requests go: what the URI leads to, or else, for a name that is not
 * known now or an address we have no way to, back where the answer came from.
 */
static struct hop next_hop(struct proxy *p, struct str uri, struct str call_id,
			   const struct hop *fallback, struct now now)
{
	struct way w = {.n = 0};
	struct locate_ask ask;
	enum cause cause;

	if (way_of_uri(p, uri, way_seed(p, call_id), p->c.scratch, now, &w,
		       &ask, &cause) != 0)
		return *fallback;
	way_identify_at(p, &w.hop[0]);
	return forward_choose_source(p, fallback, &w.hop[0]) ? w.hop[0]
							     : *fallback;
}

bool dialog_from_2xx(struct proxy *p, struct msg *m, const struct hop *fallback,
		     bool forwarded, struct dialog *out_r, struct now now)
{
	struct msg_key key;
	struct nameaddr na;
	struct uri uri;

	if (msg_key(m, &key) != MSG_OK)
		return false;
	out_r->local = value_of(m, HDR_FROM);
	out_r->remote = value_of(m, HDR_TO);
	out_r->call_id = key.call_id;
	out_r->from_tag = key.from_tag;
	out_r->cseq = key.cseq;
	if (field_count(m, HDR_CONTACT) == 0 ||
	    !scan_nameaddr(field_value(m, HDR_CONTACT, 0), &na, NULL))
		return false;
	out_r->target = na.uri;
	/* its headers would be a request of their author's (19.1.5) */
	if (scan_uri(na.uri, &uri))
		out_r->target = uri_without_headers(&uri);
	out_r->route = route_set(p, m, forwarded);
	if (arena_failed(p->c.scratch)) {
		count(p->c.counters, CNT_NOMEM);
		return false; /* the 2xx is repeated */
	}
	if (out_r->route.p && !scan_nameaddr(out_r->route, &na, NULL))
		return false;
	if (forwarded && flow_of_phone(p, m, &out_r->hop))
		return true;
	out_r->hop = next_hop(p, na.uri, key.call_id, fallback, now);
	return true;
}

static bool write_request(struct proxy *p, const struct dialog *d,
			  struct str method, uint32_t cseq,
			  char branch[BRANCH_LEN], struct buf *b)
{
	/* The To tells the forks below one branch apart. */
	struct upstream_id id = {.branch = method,
				 .host = d->remote,
				 .call_id = d->call_id,
				 .from_tag = d->from_tag,
				 .cseq = cseq};

	branch_write(branch, p->c.keys->now, &id, &d->hop, 0, 0);
	buf_put(b, method);
	buf_char(b, ' ');
	buf_put(b, d->target);
	BUF_LIT(b, " SIP/2.0\r\nVia: ");
	via_write(b, p->c.listeners, &d->hop, (struct str){branch, BRANCH_LEN});
	BUF_LIT(b, "\r\nMax-Forwards: 70\r\n");
	if (d->route.p) {
		BUF_LIT(b, "Route: ");
		buf_put(b, d->route);
		BUF_LIT(b, "\r\n");
	}
	BUF_LIT(b, "From: ");
	buf_put(b, d->local);
	BUF_LIT(b, "\r\nTo: ");
	buf_put(b, d->remote);
	BUF_LIT(b, "\r\nCall-ID: ");
	buf_put(b, d->call_id);
	BUF_LIT(b, "\r\nCSeq: ");
	buf_u64(b, cseq);
	buf_char(b, ' ');
	buf_put(b, method);
	BUF_LIT(b, "\r\nContent-Length: 0\r\n\r\n");
	return buf_ok(b);
}

void dialog_send_ack(struct proxy *p, const struct dialog *d, struct now now)
{
	char branch[BRANCH_LEN];
	struct buf b;

	(void)now;
	buf_arena(&b, p->c.scratch, 512);
	if (!write_request(p, d, STR("ACK"), d->cseq, branch, &b)) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	count_message(p->c.counters, CNT_SENT_REQUEST, d->hop.transport);
	p->c.host->send(p->c.host->ctx, &d->hop, buf_str(&b));
}

bool dialog_send_bye(struct proxy *p, const struct dialog *d, struct now now)
{
	char branch[BRANCH_LEN];
	struct buf b;

	buf_arena(&b, p->c.scratch, 512);
	if (!write_request(p, d, STR("BYE"), d->cseq + 1, branch, &b)) {
		count(p->c.counters, CNT_NOMEM);
		return false;
	}
	/* The branch is a function of the dialog: a repeated 2xx finds the BYE
	 * that is under way. */
	if (client_find(p->c.txns, (struct str){branch, BRANCH_LEN}, METHOD_BYE,
			STR("BYE")))
		return false;
	if (client_new(p->c.txns, NULL, NULL, METHOD_BYE, &d->hop, branch,
		       buf_str(&b), now))
		return true;
	count(p->c.counters, CNT_NOMEM);
	return false;
}
