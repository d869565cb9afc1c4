/*
 * Responses that no transaction here waits for. Their request was sent by a
 * node that has died since, or by the process before this one; the branch and
 * the caller's Via below it say so under our key, and who the caller is
 * (semantics 19, 20). RFC 6026 7.3, 8.9 would have them dropped, which is right
 * where anybody could send one: here each has a MAC.
 *
 * When the other node is alive, and only the network believes that the address
 * is here (split brain), its transaction must hear of it, or it would take the
 * server for silent: so it is given a copy (nodes.c). An answer goes up from
 * here as well. A refusal may mean another server to its policy: that goes up
 * from here only when it comes again, because nobody has acknowledged it.
 *
 * What is only passed on leaves no state. A failure of an INVITE does: we ACK
 * it, as the dead node would have, and repeat it until the caller does.
 */
#include <string.h>
#include "message/field.h"
#include "proxy/context.h"

struct orphan {
	struct proxy *p;
	struct msg *m;
	const struct msg_key *key;
	const struct hop *from;
	struct msg_key up; /* as the caller's own: its Via on top */
	struct hop hop;    /* to the caller */
};

/* ---- whose it is ---- */

static bool second_via(const struct msg *m, const struct msg_key *key,
		       struct via *out_r)
{
	struct str rest = key->via_rest;

	if (!rest.n) {
		const struct hdr *f = msg_next(m, msg_first(m, HDR_VIA));

		rest = f ? msg_hdr_value(m, f) : STR_NONE;
	}
	return rest.n && scan_via(rest, out_r, NULL);
}

static bool is_authentic(const struct proxy *p, const struct msg_key *key,
			 const struct branch *b, const struct via *second)
{
	struct upstream_id up = upstream_id_echoed(key, second);

	return branch_verify(b, p->c.keys, &up);
}

/* Over TLS whoever is connected to has to prove that he is the sent-by. NULL
 * when memory ran out. */
static const char *tls_name(struct proxy *p, struct str host)
{
	if (host.n > 2 && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	return arena_str(p->c.scratch, host).p;
}

/* RFC 3261 18.2.2, RFC 3581 4: where the request came from. Of a connection
 * only the other end is left, which may listen where its sent-by says. */
static bool find_caller(struct orphan *o)
{
	const struct via *via = &o->up.via;
	int t = transport_parse(via->transport);

	if (t < 0 || !addr_parse_ip(via->received, &o->hop.addr))
		return false;
	o->hop.transport = (uint8_t)t;
	if (t == TRANSPORT_UDP)
		o->hop.addr.port = via->rport;
	else
		o->hop.addr.port =
		    via->port ? via->port : transport_port((enum transport)t);
	if (t == TRANSPORT_TLS) {
		o->hop.tls_name = tls_name(o->p, via->host);
		if (!o->hop.tls_name)
			return false; /* who is there would not be asked */
	}
	return forward_choose_source(o->p, o->from, &o->hop);
}

/* The server of the call, as our Record-Route says; NULL: none, or not known.
 */
static struct member *member_of(const struct orphan *o)
{
	struct proxy *p = o->p;
	size_t n = field_count(o->m, HDR_RECORD_ROUTE);

	for (size_t i = 0; i < n; i++) {
		struct str value = field_value(o->m, HDR_RECORD_ROUTE, i);
		struct nameaddr na;
		struct cookie c;
		struct uri uri;
		struct str t;
		struct member *m;

		if (!scan_nameaddr(value, &na, NULL) ||
		    !scan_uri(na.uri, &uri) ||
		    !listener_is_ours(p->c.listeners, &uri) ||
		    !scan_param(uri.params, STR("t"), &t) ||
		    !cookie_read(t, p->c.keys, o->key->call_id,
				 o->key->from_tag, o->key->to_tag, &c))
			continue;
		m = c.side == COOKIE_CALLEE ? members_by_id(p->c.members, c.id)
					    : NULL;
		return m && m->declared ? m : NULL;
	}
	return NULL;
}

/* ---- passing it on ---- */

/* 16.7 steps 3 and 6, without a policy: a 503 speaks for one server, and is
 * none of this proxy's. */
static int write_up(const struct orphan *o, struct buf *b, int *code_r)
{
	struct proxy *p = o->p;
	struct edits e;
	int err;

	*code_r = o->m->status;
	edits_init(&e, o->m, p->c.scratch);
	err = edit_pop_value(&e, HDR_VIA);
	if (!err && *code_r == 503) {
		*code_r = 500;
		edit_remove(&e, STR("Retry-After"));
		err = edit_status(&e, *code_r, reply_phrase(*code_r));
	}
	buf_arena(b, p->c.scratch, o->m->raw.n + 64);
	return err ? err : forward_put(p, &e, &o->hop, b);
}

static bool pass_on(const struct orphan *o, enum counter kind)
{
	struct proxy *p = o->p;
	struct buf b;
	int code;

	if (write_up(o, &b, &code) != 0) {
		count(p->c.counters, CNT_NOMEM);
		return false;
	}
	count(p->c.counters, kind);
	txns_send(p->c.txns, &o->hop, buf_str(&b), CNT_SENT_RESPONSE);
	return true;
}

static void pass_answer(const struct orphan *o, struct now now)
{
	struct proxy *p = o->p;
	struct member *m = member_of(o);

	if (!pass_on(o, CNT_ORPHAN_ANSWER))
		return; /* it comes again */
	note_takeover(p, o->key->call_id, o->m->status, m, now);
	shared_on_2xx(p, m, false, o->key, now);
	calls_on_2xx(&p->calls, m, 0, o->m, o->key, now);
}

static void pass_other(const struct orphan *o, struct now now)
{
	struct proxy *p = o->p;

	if (!pass_on(o, CNT_ORPHAN_OTHER))
		return;
	note_takeover(p, o->key->call_id, o->m->status, NULL, now);
	calls_on_final(&p->calls, o->key, o->m->method_id, o->m->status, now);
	if (o->m->method_id == METHOD_UPDATE && o->m->status / 100 == 2)
		calls_on_2xx(&p->calls, NULL, 0, o->m, o->key, now);
}

/* ---- the failure of an INVITE ---- */

static void put_image(const struct orphan *o, struct str uri, struct buf *b)
{
	const struct hdr *from = msg_first(o->m, HDR_FROM);
	const struct hdr *to = msg_first(o->m, HDR_TO);

	buf_arena(b, o->p->c.scratch, 512);
	BUF_LIT(b, "INVITE ");
	buf_put(b, uri);
	BUF_LIT(b, " SIP/2.0\r\nVia: ");
	buf_put(b, o->key->via.text);
	BUF_LIT(b, "\r\nMax-Forwards: 70\r\nFrom: ");
	buf_put(b, msg_hdr_unfolded(o->m, from));
	BUF_LIT(b, "\r\nTo: ");
	buf_put(b, msg_hdr_unfolded(o->m, to));
	BUF_LIT(b, "\r\nCall-ID: ");
	buf_put(b, o->key->call_id);
	BUF_LIT(b, "\r\nCSeq: ");
	buf_u64(b, o->key->cseq);
	BUF_LIT(b, " INVITE\r\n\r\n");
}

static bool is_message(const struct orphan *o, const struct buf *b)
{
	struct msg m;

	return buf_ok(b) &&
	       msg_index(&m, o->p->c.scratch, buf_str(b)) == MSG_OK;
}

/* What an ACK is made of (17.1.1.3), without the request: it is matched by its
 * branch (17.2.3). The Request-URI was most likely that of To; one that cannot
 * be any (too long, with headers) is that of who answered. */
static bool write_image(const struct orphan *o, struct buf *b)
{
	const struct hdr *to = msg_first(o->m, HDR_TO);
	struct nameaddr na;
	struct buf uri;

	if (scan_nameaddr(msg_hdr_unfolded(o->m, to), &na, NULL)) {
		put_image(o, na.uri, b);
		if (is_message(o, b))
			return true;
	}
	buf_arena(&uri, o->p->c.scratch, ADDR_TEXT);
	BUF_LIT(&uri, "sip:");
	addr_write(&uri, &o->from->addr);
	put_image(o, buf_str(&uri), b);
	return buf_ok(&uri) && is_message(o, b);
}

/* ACKs it, and absorbs what repeats it. */
static bool acknowledge(const struct orphan *o, struct server *up,
			struct now now)
{
	char branch[BRANCH_LEN];
	struct buf b;

	memcpy(branch, o->key->via.branch.p, BRANCH_LEN);
	if (write_image(o, &b) && client_adopt(o->p->c.txns, up, o->from,
					       branch, buf_str(&b), o->m, now))
		return true;
	count(o->p->c.counters, CNT_NOMEM);
	return false;
}

static void pass_failure(const struct orphan *o, struct now now)
{
	struct proxy *p = o->p;
	struct server *s;
	struct buf b;
	int code;

	if (write_up(o, &b, &code) != 0) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	count(p->c.counters, CNT_ORPHAN_FAILURE);
	note_takeover(p, o->key->call_id, code, member_of(o), now);
	s = server_adopt(p->c.txns, &o->up, &o->hop);
	/* Without a transaction nothing repeats it: it is not acknowledged
	 * then, so that the server does. */
	if (!s) {
		txns_send(p->c.txns, &o->hop, buf_str(&b), CNT_SENT_RESPONSE);
		return;
	}
	acknowledge(o, s, now);
	calls_on_final(&p->calls, o->key, METHOD_INVITE, code, now);
	if (server_respond(s, buf_str(&b), code, now) == ERR_NOMEM)
		count(p->c.counters, CNT_NOMEM);
}

/* ---- when its request came here, too ---- */

/* Who has copied a request, with its Via, is not answered in its caller's
 * place. Of a connection only the address is left. */
static bool is_of(const struct server *s, const struct hop *caller)
{
	return addr_ip_eq(&s->from.addr, &caller->addr);
}

/* The caller has repeated the INVITE to this node, whose policy is at it with
 * another server than the dead one's was. An answer is one all the same; for
 * the rest our own attempts speak. */
static void overtake(const struct orphan *o, struct server *s, struct now now)
{
	struct proxy *p = o->p;
	struct request *r = request_of(s);
	struct member *m = member_of(o);
	struct client past = {.up = s, .hop = *o->from, .peer = m};
	struct str branch = {o->key->via.branch.p, BRANCH_LEN};
	struct attempt *a;

	if (!r) {
		late_on_response(p, &past, o->m, o->key, now);
		return;
	}
	a = attempt_by_branch(r, branch.p);
	if (!a)
		a = attempt_adopt(r, branch, o->from, m, now);
	if (!a) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	response_on_2xx(r, a, &past, o->m, o->key, now);
	group_check(r, now);
}

bool orphan_overtake(struct proxy *p, const struct client *c, struct msg *m,
		     struct now now)
{
	struct msg_key key;
	struct orphan o = {.p = p, .m = m, .key = &key, .from = &c->hop};
	struct server *s;

	if (msg_key(m, &key) != MSG_OK)
		return false;
	o.up = key;
	if (!second_via(m, &key, &o.up.via))
		return false;
	s = server_find(p->c.txns, m, &o.up, &c->hop);
	if (!s || s == c->up || s->yielded || !request_of(s) ||
	    !is_of(s, &c->up->from))
		return false;
	overtake(&o, s, now);
	return true;
}

static void beside_own(const struct orphan *o, struct server *s, struct now now)
{
	if (o->m->status / 100 == 2 && !is_of(s, &o->hop)) {
		pass_answer(o, now);
		return;
	}
	if (o->m->status / 100 == 2) {
		count(o->p->c.counters, CNT_ORPHAN_ANSWER);
		overtake(o, s, now);
		return;
	}
	count(o->p->c.counters, CNT_ORPHAN_ABSORBED);
	if (o->m->status >= 300)
		acknowledge(o, s, now);
}

/* ---- */

static void on_invite(const struct orphan *o, struct now now)
{
	/* In the form of a request of its caller's, as far as that matters to
	 * matching. */
	struct server *s = server_find(o->p->c.txns, o->m, &o->up, o->from);

	if (s)
		beside_own(o, s, now);
	else if (o->m->status >= 300)
		pass_failure(o, now);
	else if (o->m->status >= 200)
		pass_answer(o, now);
	else if (o->m->status > 100)
		pass_on(o, CNT_ORPHAN_PROVISIONAL);
	else
		count(o->p->c.counters, CNT_ORPHAN_ABSORBED); /* 16.7 step 5 */
}

static void on_other(const struct orphan *o, struct now now)
{
	/* RFC 4320 4.1 and 4.2; and what came again here is answered by its
	 * own. */
	if (o->m->status == 408)
		count(o->p->c.counters, CNT_NONINVITE_TIMEOUT);
	else if (o->m->status < 200 ||
		 server_find(o->p->c.txns, o->m, &o->up, o->from))
		count(o->p->c.counters, CNT_ORPHAN_ABSORBED);
	else
		pass_other(o, now);
}

static bool is_wanted(const struct settings *s, enum method method)
{
	return s->stateless_relay == RELAY_ALL ||
	       (s->stateless_relay == RELAY_INVITE && method == METHOD_INVITE);
}

/* Is what is held back now sure to come once more? By the server, which repeats
 * the final of an INVITE until the ACK, or of another request when its caller
 * repeats that; neither does over a connection. */
static bool comes_again(const struct orphan *o)
{
	int t = transport_parse(o->up.via.transport);

	if (transport_reliable((enum transport)o->from->transport))
		return false;
	return o->m->method_id == METHOD_INVITE || t == TRANSPORT_UDP;
}

/* Another node has seen it, or is to see it first. */
static bool is_anothers(const struct orphan *o, uint64_t mac, struct now now)
{
	struct proxy *p = o->p;

	if (nodes_sent(p, o->from)) {
		count(p->c.counters, CNT_ORPHAN_ABSORBED);
		return true;
	}
	return nodes_hand_over(p, o->m, now) && o->m->status >= 300 &&
	       comes_again(o) && !nodes_had(p, mac, now);
}

void orphan_response(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, struct now now)
{
	struct orphan o = {
	    .p = p, .m = m, .key = key, .from = from, .up = *key};
	struct branch b;

	/* Without a second Via it was for a request of our own. */
	if (!is_wanted(p->c.settings, m->method_id) ||
	    !branch_parse(key->via.branch, &b) ||
	    !second_via(m, key, &o.up.via)) {
		count(p->c.counters, CNT_STRAY_RESPONSE);
		return;
	}
	if (!is_authentic(p, key, &b, &o.up.via)) {
		count(p->c.counters, CNT_FORGED_BRANCH);
		return;
	}
	if (is_anothers(&o, b.mac, now))
		return;
	if (!find_caller(&o))
		count(p->c.counters, CNT_STRAY_RESPONSE);
	else if (m->method_id == METHOD_INVITE)
		on_invite(&o, now);
	else
		on_other(&o, now);
}
