/*
 * What needs no transaction (RFC 3261 8.2.7, 16.11): error replies that keep no
 * state (so that a flood of rubbish costs none), and the answer to OPTIONS
 * (11.2).
 */
#include "proxy/context.h"

/* The address it came from may be somebody else's, who is to get what we send:
 * so that is no more than half as much again. */
bool stateless_amplifies(size_t request, const struct hop *from, size_t reply)
{
	return from->transport == TRANSPORT_UDP && 2 * reply > 3 * request;
}

static bool amplifies(const struct msg *m, const struct hop *from,
		      const struct buf *reply)
{
	return stateless_amplifies(m->raw.n, from, buf_str(reply).n);
}

static int write_reply(struct proxy *p, const struct msg *m,
		       const struct reply *reply, struct buf *b)
{
	buf_arena(b, p->c.scratch, 512);
	return arena_failed(p->c.scratch) ? ERR_NOMEM
					  : reply_write(m, reply, b);
}

bool stateless_write(struct proxy *p, const struct msg *m,
		     const struct hop *from, struct reply *reply, struct buf *b)
{
	int err = write_reply(p, m, reply, b);

	/* what an OPTIONS is told only should be there (11.2) */
	if (!err && reply->code == 200 && amplifies(m, from, b)) {
		reply->headers = STR_NONE;
		err = write_reply(p, m, reply, b);
	}
	if (!err && amplifies(m, from, b)) {
		reply->brief = true;
		err = write_reply(p, m, reply, b);
	}
	if (err) {
		count(p->c.counters, CNT_NOMEM);
		return false;
	}
	if (amplifies(m, from, b)) {
		count(p->c.counters, CNT_REPLY_AMPLIFIES);
		return false;
	}
	return true;
}

void stateless_send(struct proxy *p, const struct hop *to, enum method method,
		    int code, struct str bytes)
{
	count_message(p->c.counters, CNT_SENT_RESPONSE, to->transport);
	count_response(p->c.counters, method, code);
	p->c.host->send(p->c.host->ctx, to, bytes);
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
	if (!reply->to_tag.p) {
		branch_to_tag(tag, p->c.keys->now, &up);
		reply->to_tag = (struct str){tag, TAG_LEN};
	}
	/* A Via that cannot be read goes back as it came. */
	if (key->via.text.p)
		reply->via = via_mark_received(p->c.scratch, &key->via, from);
	if (stateless_write(p, m, from, reply, &b))
		stateless_send(p, from, m->method_id, reply->code, buf_str(&b));
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
	if (!tokens_take(&p->replies, 1, now.mono)) {
		count(p->c.counters, CNT_REPLY_LIMITED);
		return;
	}
	note_refused(p, m, key, from, code, reason, now);
	send_stateless(p, m, key, from, &reply);
}

void stateless_shed(struct proxy *p, const struct msg *m,
		    const struct msg_key *key, const struct hop *from,
		    struct str tag, struct str headers)
{
	struct reply reply = {.code = 503, .to_tag = tag, .headers = headers};

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
