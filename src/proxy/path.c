/*
 * What brings later requests back through us: Record-Route in the requests that
 * make dialogs (RFC 3261 16.6 step 4, 20.30) and Path in a REGISTER (RFC 3327).
 * Both are one URI of ours, or two when the request leaves by another door than
 * it came in; the one that faces a phone carries its flow token.
 */
#include "message/field.h"
#include "proxy/context.h"
#include "proxy/token.h"

/* INVITE; SUBSCRIBE and NOTIFY: RFC 6665; REFER: RFC 3515. */
static bool makes_dialog(const struct request *r)
{
	switch (r->msg.method_id) {
	case METHOD_INVITE:
	case METHOD_SUBSCRIBE:
	case METHOD_REFER:
	case METHOD_NOTIFY:
		return !r->route.in_dialog;
	default:
		return false;
	}
}

/* A token for the flow to this hop. */
static void write_token(struct proxy *p, const struct hop *hop,
			enum token_side side, struct buf *b)
{
	const struct listener *l = &p->c.listeners->l[hop->listener];
	struct token t = {.side = side,
			  .transport = hop->transport,
			  .local = hop->local.family ? hop->local : l->addr,
			  .peer = hop->addr,
			  .conn = hop->conn};

	t.local.port = l->addr.port;
	token_write(b, p->c.keys->now, &t);
}

/* One of our URIs: how it is addressed from the side of `hop`. */
struct own_uri {
	const struct hop *hop;
	enum token_side token; /* of the flow to `hop` */
	bool sips;
	struct str cookie; /* STR_NONE in a Path */
};

static struct str write_uri(struct proxy *p, const struct own_uri *u)
{
	bool sips = u->sips && u->hop->transport == TRANSPORT_TLS;
	struct buf b;

	buf_arena(&b, p->c.scratch, 256);
	if (sips)
		BUF_LIT(&b, "<sips:");
	else
		BUF_LIT(&b, "<sip:");
	if (u->token) {
		write_token(p, u->hop, u->token, &b);
		buf_char(&b, '@');
	}
	listener_write_host(p->c.listeners, u->hop, &b);
	if (u->hop->transport != TRANSPORT_UDP && !sips) {
		BUF_LIT(&b, ";transport=");
		buf_put(&b, str_from(transport_name(
				(enum transport)u->hop->transport)));
	}
	BUF_LIT(&b, ";lr");
	if (u->cookie.p) {
		BUF_LIT(&b, ";t=");
		buf_put(&b, u->cookie);
	}
	buf_char(&b, '>');
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* Puts them on top of the header: the side it came from first, the side of the
 * next hop above it; one value when both are the same door. */
static int add_uris(struct proxy *p, struct edits *e, enum hdr_id id,
		    struct own_uri in, struct own_uri out)
{
	struct own_uri plain_in = in, plain_out = out;
	struct str below, above;
	bool same;

	plain_in.token = plain_out.token = TOKEN_NO_SIDE;
	below = write_uri(p, &plain_in);
	above = write_uri(p, &plain_out);
	same = str_eq(below, above);
	if (same && in.token)
		out = in;
	if (in.token)
		below = write_uri(p, &in);
	if (out.token)
		above = write_uri(p, &out);
	if (!below.p || !above.p)
		return ERR_NOMEM;
	if (!same) {
		int err = edit_add_first(e, id, below);

		if (err)
			return err;
	}
	return edit_add_first(e, id, above);
}

/* Its Contact is where it came from: no NAT stands before that. The port may be
 * another, since many a gateway sends from one and listens on another; a
 * connection, though, cannot be opened to a port that was only dialled from. */
static bool contact_is_source(const struct request *r)
{
	struct nameaddr na;
	struct uri uri;
	struct hop hop;

	return r->from.transport == TRANSPORT_UDP &&
	       scan_nameaddr(field_value(&r->msg, HDR_CONTACT, 0), &na, NULL) &&
	       scan_uri(na.uri, &uri) && hop_of_uri(&uri, &hop) &&
	       addr_ip_eq(&hop.addr, &r->from.addr);
}

/* A client that has shown no certificate: nobody could open a TLS connection to
 * it and know whom he has reached (RFC 5922). Its own is the only way back. */
static bool is_tls_client(const struct request *r)
{
	return r->from.transport == TRANSPORT_TLS && !r->from.tls_name;
}

/* It came straight from a phone that the server's requests in the dialog find
 * by its flow alone: over TLS, or behind a NAT to a pool with Path. With
 * another proxy between us and the phone that one's Record-Route says the way.
 */
static bool is_from_phone(const struct request *r, const struct member *to)
{
	if (r->source || field_count(&r->msg, HDR_VIA) != 1)
		return false;
	return is_tls_client(r) ||
	       (to && to->path != MEMBER_PATH_NONE && !contact_is_source(r));
}

static int add_record_route(struct request *r, const struct attempt *att,
			    struct edits *e)
{
	struct proxy *p = r->proxy;
	const struct member *to = att->target.member;
	const struct member *m = to ? to : r->source;
	struct own_uri in = {.hop = &r->from}, out = {.hop = &att->target.hop};
	char cookie[COOKIE_LEN];

	/* Who calls a phone by its token could not reach it again without. */
	if (m && !m->record_route && !att->target.flow)
		return 0;
	cookie_write(cookie, r->sign, r->key.call_id, r->key.from_tag,
		     to  ? COOKIE_CALLEE
		     : m ? COOKIE_CALLER
			 : COOKIE_NONE,
		     m ? m->id : 0);
	in.cookie = out.cookie = (struct str){cookie, COOKIE_LEN};
	in.sips = out.sips = forward_is_sips(r, att);
	if (att->target.flow)
		out.token = TOKEN_CALLEE;
	else if (is_from_phone(r, to))
		in.token = TOKEN_CALLER;
	return add_uris(p, e, HDR_RECORD_ROUTE, in, out);
}

static bool supports_path(const struct request *r)
{
	size_t n = field_count(&r->msg, HDR_SUPPORTED);

	for (size_t i = 0; i < n; i++)
		if (str_caseeq(field_value(&r->msg, HDR_SUPPORTED, i),
			       STR("path")))
			return true;
	return false;
}

/* RFC 3327 5.2, semantics 14. */
static int add_path(struct request *r, const struct attempt *att,
		    struct edits *e)
{
	const struct member *to = att->target.member;
	struct own_uri in = {.hop = &r->from, .token = TOKEN_PATH};
	struct own_uri out = {.hop = &att->target.hop};
	bool supported = supports_path(r);
	int err;

	if (!to || to->path == MEMBER_PATH_NONE ||
	    (to->path == MEMBER_PATH_SUPPORTED && !supported))
		return 0;
	err = add_uris(r->proxy, e, HDR_PATH, in, out);
	/* Registrars refuse a Path from a phone that does not know of it (5.3);
	 * the phone only ignores the one in its answer. */
	if (!err && !supported)
		err = edit_add(e, STR("Supported"), STR("path"));
	return err;
}

int path_add(struct request *r, const struct attempt *att, struct edits *e)
{
	if (r->msg.method_id == METHOD_REGISTER)
		return add_path(r, att, e);
	return makes_dialog(r) ? add_record_route(r, att, e) : 0;
}

int path_flow(struct proxy *p, const struct token *t, const struct uri *uri,
	      struct hop *out_r)
{
	const struct listeners *ls = p->c.listeners;
	enum transport tp = (enum transport)t->transport;
	int l = listener_of_addr(ls, tp, &t->local);
	struct hop hop = {.transport = t->transport,
			  .addr = t->peer,
			  .local = t->local,
			  .conn = t->conn};

	if (listener_is_our_addr(ls, tp, &t->peer))
		return ERR_STATE;
	if (t->conn && !flows_may_have(p->c.txns->flows, t->conn))
		return ERR_NOTFOUND;
	if (l < 0) {
		/* A public name may belong to another machine by now, whose
		 * addresses are others. */
		l = listener_of_name(ls, tp, uri->host,
				     uri->port ? uri->port
					       : transport_port(tp));
		hop.local.family = ADDR_NONE;
	}
	if (l < 0)
		return ERR_NOTFOUND;
	hop.listener = (uint16_t)l;
	if ((hop.local.family == ADDR_NONE || addr_is_any(&hop.local)) &&
	    !p->c.host->source(p->c.host->ctx, hop.listener, &hop.addr,
			       &hop.local))
		return ERR_NOTFOUND;
	*out_r = hop;
	return 0;
}

int request_path(struct request *r, struct target *t)
{
	struct proxy *p = r->proxy;
	struct str next, rest = t->route;
	struct nameaddr na;
	struct uri uri;
	struct token token;

	for (t->route = STR_NONE; rest.n; rest = next) {
		if (!scan_nameaddr(rest, &na, &next) || !scan_uri(na.uri, &uri))
			return ERR_SYNTAX;
		if (!listener_is_ours(p->c.listeners, &uri)) {
			t->route = rest;
			break;
		}
		switch (token_read(uri.user, p->c.keys, &token)) {
		case TOKEN_NONE:
			break;
		case TOKEN_BAD:
			count(p->c.counters, CNT_BAD_TOKEN);
			return ERR_NOTFOUND;
		case TOKEN_OK:
			if (path_flow(p, &token, &uri, &t->hop) != 0) {
				count(p->c.counters, CNT_FLOW_GONE);
				return ERR_NOTFOUND;
			}
			t->flow = true;
			break;
		}
	}
	if (!t->flow)
		t->next = t->route.p ? uri.text : t->uri;
	return 0;
}
