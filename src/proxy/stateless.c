/*
 * What needs no transaction: error replies that keep no state (so that a flood
 * of rubbish costs none), the answer to OPTIONS, and the ACK for a 2xx, which
 * is forwarded along its route set by any node, whether it saw the INVITE or
 * not.
 */
#include "proxy/context.h"

enum { REPLY_RATE = 2000, REPLY_BURST = 4000 }; /* stateless errors a second */

static bool take_token(struct proxy *p, struct now now)
{
	int64_t gained =
	    tick_diff(now.mono, p->reply_refill) * REPLY_RATE / SECONDS(1);

	if (gained > 0) {
		p->reply_tokens += gained;
		p->reply_refill = now.mono;
		if (p->reply_tokens > REPLY_BURST)
			p->reply_tokens = REPLY_BURST;
	}
	if (p->reply_tokens <= 0)
		return false;
	p->reply_tokens--;
	return true;
}

static void send_stateless(struct proxy *p, const struct msg *m,
			   const struct msg_key *key, const struct hop *from,
			   struct reply *reply)
{
	struct upstream_id up = upstream_id(key, from);
	char tag[TAG_LEN];
	struct buf b;

	/* The tag is a function of the request, so that a retransmission gets
	 * the same answer, and so that its ACK is recognised as ours. */
	branch_to_tag(tag, p->c.key, &up);
	reply->to_tag = (struct str){tag, TAG_LEN};
	reply->via = via_mark_received(p->c.scratch, &key->via, from);
	buf_arena(&b, p->c.scratch, 512);
	if (!reply->via.p || reply_write(m, reply, &b) != 0) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	count(p->c.counters, CNT_SENT_RESPONSE);
	p->c.host->send(p->c.host->ctx, from, buf_str(&b));
}

void stateless_reply(struct proxy *p, const struct msg *m,
		     const struct msg_key *key, const struct hop *from,
		     int code, struct str reason, struct str headers,
		     struct now now)
{
	struct reply reply = {
	    .code = code, .reason = reason, .headers = headers};

	if (m->method_id == METHOD_ACK)
		return; /* 17: never answered */
	if (!take_token(p, now)) {
		count(p->c.counters, CNT_REPLY_LIMITED);
		return;
	}
	send_stateless(p, m, key, from, &reply);
}

void options_reply(struct proxy *p, const struct msg *m,
		   const struct msg_key *key, const struct hop *from,
		   struct now now)
{
	struct reply reply = {.code = 200};
	struct buf b;

	(void)now;
	buf_arena(&b, p->c.scratch, 256);
	BUF_LIT(&b, "Allow: ");
	p->policy->allow(p->policy->ctx, &b);
	BUF_LIT(&b, "\r\nAccept: application/sdp\r\n");
	reply.headers = buf_ok(&b) ? buf_str(&b) : STR_NONE;
	send_stateless(p, m, key, from, &reply);
}

/* An ACK for a final we made ourselves without a transaction. */
static bool acks_our_reply(struct proxy *p, const struct msg_key *key,
			   const struct hop *from)
{
	struct upstream_id up = upstream_id(key, from);
	char tag[TAG_LEN];

	branch_to_tag(tag, p->c.key, &up);
	return str_eq(key->to_tag, (struct str){tag, TAG_LEN});
}

static int add_via(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, const struct hop *hop,
		   struct edits *e)
{
	struct upstream_id up = upstream_id(key, from);
	struct str marked = via_mark_received(p->c.scratch, &key->via, from);
	char branch[BRANCH_LEN];
	struct buf b;
	int err;

	branch_write(branch, p->c.key, &up, hop, 0, loop_hash(p, m, key, from));
	buf_arena(&b, p->c.scratch, 128);
	via_write(&b, p->c.listeners, hop, (struct str){branch, BRANCH_LEN});
	if (!marked.p || !buf_ok(&b))
		return ERR_NOMEM;
	err = edit_replace_value(e, HDR_VIA, marked);
	return err ? err : edit_prepend(e, STR("Via"), buf_str(&b));
}

static int write_ack(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, const struct target *to,
		     const struct route *route, struct edits *e,
		     struct buf *out)
{
	const struct hdr *f = msg_first(m, HDR_MAX_FORWARDS);
	uint32_t left = 71;
	char hops[12];
	struct buf b;
	int err;

	if (f && (!str_u32(msg_hdr_value(m, f), 255, &left) || left == 0))
		return ERR_LIMIT;
	buf_fixed(&b, hops, sizeof(hops));
	buf_u64(&b, left - 1);
	err = edit_set(e, STR("Max-Forwards"), buf_str(&b));
	if (!err)
		err = shared_edit(e, route->uri, to);
	if (!err && route->next_is_strict)
		err = forward_strictly(e, route->uri, route->next);
	if (!err)
		err = add_via(p, m, key, from, &to->hop, e);
	return err ? err : edits_write(e, out);
}

/* Where the ACK for a 2xx goes: to the phone's flow, to where its 2xx came from
 * (semantics 16), else along its route set. 0 or ERR_*. */
static int ack_target(struct proxy *p, const struct msg_key *key,
		      const struct hop *from, const struct route *route,
		      const struct edits *e, struct target *out_r)
{
	struct uri next;
	int err;

	*out_r = (struct target){.hop = route->flow};
	if (route->has_flow)
		return 0;
	err = shared_move_ack(p, key, route, e, out_r);
	if (err == ERR_NOTFOUND)
		err = scan_uri(route->next, &next) &&
			      hop_of_uri(&next, &out_r->hop)
			  ? 0
			  : ERR_NOTFOUND;
	if (!err && !forward_choose_source(p, from, &out_r->hop))
		err = ERR_UNREACHABLE;
	return err;
}

void stateless_ack(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, struct now now)
{
	const struct member *source = proxy_member_at(p, &from->addr);
	struct edits e;
	struct route route;
	struct target to;
	struct buf b;
	int err = ERR_NOTFOUND;

	(void)now;
	/* with the branch of its INVITE it would pass for the ACK of a failure,
	 * too */
	if (answered_on_ack(p, key) || acks_our_reply(p, key, from))
		return;
	edits_init(&e, m, p->c.scratch);
	route = route_request(p, m, key, from, source, &e);
	if (route.kind == ROUTE_FOLLOW && route.in_dialog)
		err = ack_target(p, key, from, &route, &e, &to);
	buf_arena(&b, p->c.scratch, m->raw.n + 256);
	if (!err)
		err = write_ack(p, m, key, from, &to, &route, &e, &b);
	if (err) {
		count(p->c.counters,
		      err == ERR_NOMEM ? CNT_NOMEM : CNT_STRAY_ACK);
		return;
	}
	count(p->c.counters, CNT_SENT_REQUEST);
	p->c.host->send(p->c.host->ctx, &to.hop, buf_str(&b));
}
