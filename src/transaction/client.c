#include <assert.h>
#include <string.h>

#include "transaction/inner.h"

static void on_retransmit(struct timer *timer, struct now now);
static void on_end(struct timer *timer, struct now now);
static void on_flow_down(struct flow_link *l, enum cause cause, bool sent,
			 struct now now);

/* ---- matching (RFC 3261 17.1.3) ---- */

struct probe {
	struct str branch;
	enum method method;
	struct str text;
};

/* An unknown method is compared as it stands at the start of the request, as
 * long as we have it; the branch names the request well enough after that. */
static bool same_method(const struct client *c, const struct probe *p)
{
	struct str line = c->image;

	if (c->method != p->method)
		return false;
	return c->method != METHOD_OTHER || !c->image.p ||
	       str_eq(str_cut(&line, ' '), p->text);
}

static bool is_match(const struct map_node *node, const void *key)
{
	const struct client *c = container_of(node, struct client, node);
	const struct probe *p = key;
	struct str branch = {c->branch, BRANCH_LEN};

	/* Ours are hexadecimal: an echo in capitals is the same number. */
	return str_caseeq(branch, p->branch) && same_method(c, p);
}

/* T tells branches apart, and is shorter than the text. It is a keyed hash, but
 * callers are shown it and could collect those that fall together: what the
 * table goes by is hashed with the key of this process. */
static uint64_t hash_branch(const struct txns *t, uint64_t branch_t)
{
	struct siphash h;

	siphash_init(&h, t->map_key);
	siphash_u64(&h, branch_t);
	return siphash_end(&h);
}

struct client *client_find(struct txns *t, struct str branch, enum method m,
			   struct str method_text)
{
	struct probe p = {branch, m, method_text};
	struct map_node *node;
	uint64_t h;

	if (!branch_t(branch, &h))
		return NULL;
	node = map_find(&t->clients, hash_branch(t, h), is_match, &p);
	return node ? container_of(node, struct client, node) : NULL;
}

/* ---- a life ---- */

static bool is_reliable(const struct client *c)
{
	return transport_reliable((enum transport)c->hop.transport);
}

static void end_after(struct client *c, int64_t us, struct now now)
{
	timer_arm(c->txns->timers, &c->end, tick_add(now.mono, us));
}

static void retransmit_after(struct client *c, int64_t us, struct now now)
{
	timer_arm(c->txns->timers, &c->retransmit, tick_add(now.mono, us));
}

/* The name of the TLS peer is in the block, behind the struct. */
static struct client *create(struct txns *t, enum method method,
			     const struct hop *hop,
			     const char branch[BRANCH_LEN], struct str bytes)
{
	size_t tls = hop->tls_name ? strlen(hop->tls_name) + 1 : 0;
	struct client *c = mem_zalloc(t->mem, sizeof(*c) + tls);
	uint64_t h = 0;

	if (!c)
		return NULL;
	if (owned_set(t->mem, &c->image, bytes) < 0) {
		mem_free(t->mem, c);
		return NULL;
	}
	c->state = CLIENT_CALLING;
	c->method = method;
	c->invite = method == METHOD_INVITE;
	c->hop = *hop;
	if (tls)
		c->hop.tls_name = memcpy(c + 1, hop->tls_name, tls);
	memcpy(c->branch, branch, BRANCH_LEN);
	c->txns = t;
	timer_init(&c->retransmit, on_retransmit);
	timer_init(&c->end, on_end);
	c->pinned = hop->conn != 0;
	c->flow.on_down = on_flow_down;
	branch_t((struct str){branch, BRANCH_LEN}, &h);
	map_add(&t->clients, &c->node, hash_branch(t, h));
	t->n_clients++;
	return c;
}

static void send(struct client *c)
{
	struct txns *t = c->txns;

	c->hop.conn = txns_send(t, &c->hop, c->image, CNT_SENT_REQUEST);
	c->sends++;
	flows_link(t->flows, &c->flow, c->hop.conn);
	flows_expect(&c->flow);
	c->reused = flows_was_quiet(&c->flow);
}

/* Sends the request, timers A or E, B or F (17.1.1.2, 17.1.2.2). */
static void start(struct client *c, struct now now)
{
	struct txns *t = c->txns;

	send(c);
	c->interval = t->times.t1;
	if (!is_reliable(c))
		retransmit_after(c, c->interval, now);
	end_after(c, 64 * t->times.t1, now);
}

struct client *client_new(struct txns *t, struct server *up, void *owner,
			  enum method method, const struct hop *hop,
			  const char branch[BRANCH_LEN], struct str bytes,
			  struct now now)
{
	struct client *c;

	assert(method != METHOD_ACK);
	c = create(t, method, hop, branch, bytes);
	if (!c)
		return NULL;
	c->owner = owner;
	c->up = up;
	if (up)
		list_append(&up->clients, &c->up_link);
	start(c, now);
	return c;
}

struct client *client_adopt(struct txns *t, struct server *up,
			    const struct hop *hop,
			    const char branch[BRANCH_LEN], struct str image,
			    const struct msg *final, struct now now)
{
	struct client *c = create(t, METHOD_INVITE, hop, branch, image);

	if (!c)
		return NULL;
	c->up = up;
	if (up)
		list_append(&up->clients, &c->up_link);
	c->state = CLIENT_COMPLETED;
	c->code = final->status;
	c->abandoned = true;
	client_ack(c, final);
	end_after(c, is_reliable(c) ? 0 : 64 * t->times.t1, now); /* timer D */
	return c;
}

static void retire(struct client *c)
{
	struct txns *t = c->txns;

	assert(c->state != CLIENT_TERMINATED);
	c->state = CLIENT_TERMINATED;
	map_remove(&t->clients, &c->node);
	timer_stop(t->timers, &c->retransmit);
	timer_stop(t->timers, &c->end);
	flows_unlink(&c->flow);
}

/* No final: timers B and F, transport errors (17.1.4). */
static void fail(struct client *c, enum cause cause, struct now now)
{
	struct txns *t = c->txns;

	retire(c);
	if (c->owner)
		t->user.on_failure(t->user.ctx, c, cause, now);
	client_bury(c);
}

/* Timers B, D, F, K, M, and the end of a stub. */
static void on_end(struct timer *timer, struct now now)
{
	struct client *c = container_of(timer, struct client, end);

	if (c->state <= CLIENT_PROCEEDING) {
		fail(c, CAUSE_SILENT, now);
		return;
	}
	retire(c);
	client_bury(c);
}

/* What still waits for its connection is not wanted any more: nobody has seen
 * it, unless somebody rings, who has it from an earlier process. Before the
 * image changes. */
static void withdraw(struct client *c)
{
	if (c->sends && flows_withdraw(&c->flow, c->image) && !c->got_1xx)
		c->sends--;
}

static void send_anew(struct client *c)
{
	c->hop.conn = 0;
	count(c->txns->counters, CNT_RETRANS_OUT);
	send(c);
}

/* A CANCEL that found its connection closed, or perished with it, may go over
 * another, once: what rings would ring on. */
static void cancel_again(struct client *c)
{
	if (is_reliable(c) && !c->pinned && c->sends == 1)
		send_anew(c);
}

/* A connection that had fallen quiet may have been dead for long (the peer was
 * started anew, its address moved), which nobody learns but by sending. That is
 * no word of the server's: the request goes over a new connection, once. Its
 * branch is the same, so that a peer who has it after all sees a
 * retransmission. */
static bool was_stale(const struct client *c, enum cause cause)
{
	return (cause == CAUSE_RESET || cause == CAUSE_CLOSED) && c->owner &&
	       c->state == CLIENT_CALLING && c->reused && !c->pinned &&
	       !c->cancel_wanted && c->sends == 1;
}

/* It may have arrived: who waits is told, but a late answer is still met. */
static void lose(struct client *c, enum cause cause, struct now now)
{
	struct txns *t = c->txns;

	t->user.on_failure(t->user.ctx, c, cause, now);
	client_abandon(c, STR_NONE, now);
}

/* The last copy has not left. */
static bool is_unsent(const struct client *c, enum cause cause)
{
	return is_reliable(c) || cause == CAUSE_NO_SOURCE ||
	       cause == CAUSE_TOO_BIG;
}

/* An earlier copy may have arrived. When it is our address that has gone,
 * another node has this very branch, and a stub of ours could cancel its call;
 * a connection may also be one too many. What is no INVITE is only absorbed,
 * where nothing else does: the caller's transaction ends with our final (timer
 * J) when it came on a connection. */
static bool may_have_arrived(const struct client *c, enum cause cause)
{
	if (c->sends < (is_unsent(c, cause) ? 1 : 2))
		return false;
	if (!c->invite)
		return c->up && transport_reliable(
				    (enum transport)c->up->from.transport);
	return cause != CAUSE_NO_SOURCE || is_reliable(c);
}

/* It could not leave, and yet somebody rings, who has it from an earlier
 * process: the final comes over a connection of the server's. */
static bool is_met(const struct client *c)
{
	return is_reliable(c) && c->owner && c->got_1xx;
}

void client_on_error(struct client *c, enum cause cause, struct now now)
{
	if (c->state > CLIENT_PROCEEDING || is_met(c))
		return;
	/* The end of its connection, which is told next, decides. */
	if (was_stale(c, cause) && c->flow.flow)
		return;
	/* A stub goes on. */
	if (was_stale(c, cause)) {
		send_anew(c);
		return;
	}
	if (c->owner && c->sends && is_unsent(c, cause))
		c->sends--;
	if (c->owner && may_have_arrived(c, cause))
		lose(c, cause, now);
	else if (c->owner)
		fail(c, cause, now);
	/* The address had gone before: whether it rings on is for another node
	 * to say, and not for a CANCEL that goes out when it is back. */
	else if (c->method == METHOD_CANCEL && cause == CAUSE_NO_SOURCE &&
		 c->sends == 1)
		fail(c, cause, now);
	else if (c->method == METHOD_CANCEL)
		cancel_again(c);
}

/* The connection that was used has ended. Without any response that is a
 * failure; after a 1xx the final comes over one that the server opens
 * (18.2.2), and what has to be said yet goes over one of ours. */
static void on_flow_down(struct flow_link *l, enum cause cause, bool sent,
			 struct now now)
{
	struct client *c = container_of(l, struct client, flow);

	if (!c->pinned)
		c->hop.conn = 0;
	if (c->state > CLIENT_PROCEEDING)
		return;
	if (!sent || c->method == METHOD_CANCEL || was_stale(c, cause))
		client_on_error(c, cause, now);
	else if (c->owner && c->state == CLIENT_CALLING)
		lose(c, cause, now);
}

/* ---- CANCEL (9.1) ---- */

/* The CANCEL is a transaction of its own, with the same branch. Without memory
 * it is tried again, since the server may never say another word. */
static void send_cancel(struct client *c, struct str reason, struct now now)
{
	struct txns *t = c->txns;
	struct str bytes = client_write_cancel(c, reason);
	struct client *x = NULL;

	if (bytes.p)
		x = create(t, METHOD_CANCEL, &c->hop, c->branch, bytes);
	if (!x) {
		count(t->counters, CNT_NOMEM);
		if (reason.n)
			client_shrink(c, reason);
		retransmit_after(c, t->times.t1, now);
		return;
	}
	x->pinned = c->pinned;
	start(x, now);
	c->cancel_sent = true;
	timer_stop(t->timers, &c->retransmit);
	/* 64*T1 after the CANCEL nothing can be expected (9.1); for an owner
	 * the time is counted from its request. */
	if (!c->owner)
		end_after(c, 64 * t->times.t1, now);
}

/* Not before a provisional response (9.1); until then nothing is sent. */
static void want_cancel(struct client *c, struct str reason, struct now now)
{
	timer_stop(c->txns->timers, &c->retransmit);
	withdraw(c);
	if (!c->cancel_sent)
		end_after(c, 64 * c->txns->times.t1, now);
	c->cancel_wanted = true;
	if (!c->got_1xx)
		client_shrink(c, reason);
	else if (!c->cancel_sent)
		send_cancel(c, reason, now);
}

void client_cancel(struct client *c, struct str reason, struct now now)
{
	if (c->invite && c->state <= CLIENT_PROCEEDING && !c->cancel_wanted)
		want_cancel(c, reason, now);
}

void client_abandon(struct client *c, struct str reason, struct now now)
{
	c->owner = NULL;
	if (c->state > CLIENT_PROCEEDING || c->abandoned)
		return;
	c->abandoned = true;
	if (c->invite)
		want_cancel(c, reason, now);
	else
		withdraw(c);
	if (c->sends == 0)
		end_after(c, 0, now); /* nobody will answer */
	if (c->invite || c->sends == 0)
		return;
	/* What still comes is absorbed, not taken for a stray response. */
	timer_stop(c->txns->timers, &c->retransmit);
	client_drop_image(c);
	end_after(c, 64 * c->txns->times.t1, now);
}

void client_disown(struct client *c, struct now now)
{
	client_abandon(c, STR_NONE, now);
}

/* ---- retransmission (timers A and E) ---- */

static bool may_repeat(const struct client *c)
{
	if (c->invite)
		return c->state == CLIENT_CALLING && !c->cancel_wanted;
	return c->state <= CLIENT_PROCEEDING && !c->abandoned;
}

static void repeat(struct client *c, struct now now)
{
	struct txns *t = c->txns;
	bool go = true;

	if (c->owner)
		go = t->user.on_retransmit(t->user.ctx, c, now);
	if (!may_repeat(c))
		return; /* given up meanwhile */
	if (go) {
		count(t->counters, CNT_RETRANS_OUT);
		send(c);
	}
	c->interval *= 2;
	if (!c->invite &&
	    (c->state == CLIENT_PROCEEDING || c->interval > t->times.t2))
		c->interval = t->times.t2;
	retransmit_after(c, c->interval, now);
}

static void on_retransmit(struct timer *timer, struct now now)
{
	struct client *c = container_of(timer, struct client, retransmit);

	if (c->cancel_wanted)
		send_cancel(c, STR_NONE, now);
	else
		repeat(c, now);
}

/* ---- responses ---- */

static void tell(struct client *c, struct msg *m, const struct msg_key *key,
		 struct now now)
{
	struct txns *t = c->txns;

	t->user.on_response(t->user.ctx, c, m, key, now);
}

static void on_1xx(struct client *c, struct msg *m, const struct msg_key *key,
		   struct now now)
{
	bool first = c->state == CLIENT_CALLING;

	if (c->state > CLIENT_PROCEEDING) {
		count(c->txns->counters, CNT_STRAY_RESPONSE);
		return;
	}
	c->state = CLIENT_PROCEEDING;
	c->got_1xx = true;
	if (c->invite && first) {
		timer_stop(c->txns->timers, &c->retransmit);
		if (!c->cancel_wanted) {
			/* From here on time is the user's (16.6 step 11). */
			timer_stop(c->txns->timers, &c->end);
			client_shrink(c, STR_NONE);
		}
	}
	if (c->cancel_wanted && !c->cancel_sent)
		send_cancel(c, STR_NONE, now);
	if (c->owner)
		tell(c, m, key, now);
}

/* RFC 6026 7.2, 8.5: every 2xx is the user's, also when nobody waits for it. */
static void on_invite_2xx(struct client *c, struct msg *m,
			  const struct msg_key *key, struct now now)
{
	struct txns *t = c->txns;

	if (c->state <= CLIENT_PROCEEDING) {
		c->state = CLIENT_ACCEPTED;
		c->code = m->status;
		timer_stop(t->timers, &c->retransmit);
		client_drop_image(c);
		end_after(c, 64 * t->times.t1, now); /* timer M */
	}
	tell(c, m, key, now);
}

static void on_invite_failure(struct client *c, struct msg *m,
			      const struct msg_key *key, struct now now)
{
	struct txns *t = c->txns;

	if (c->state == CLIENT_ACCEPTED) {
		count(t->counters, CNT_LATE_FINAL);
		return;
	}
	if (c->state == CLIENT_COMPLETED) {
		count(t->counters, CNT_RETRANS_IN);
		client_ack(c, m);
		return;
	}
	c->state = CLIENT_COMPLETED;
	c->code = m->status;
	timer_stop(t->timers, &c->retransmit);
	client_ack(c, m);
	/* Timer D. */
	end_after(c, is_reliable(c) ? 0 : 64 * t->times.t1, now);
	if (c->owner)
		tell(c, m, key, now);
	else if (!c->cancel_sent)
		count(t->counters, CNT_LATE_FINAL);
}

static void on_final(struct client *c, struct msg *m, const struct msg_key *key,
		     struct now now)
{
	struct txns *t = c->txns;

	if (c->state == CLIENT_COMPLETED) {
		count(t->counters, CNT_RETRANS_IN);
		return;
	}
	c->state = CLIENT_COMPLETED;
	c->code = m->status;
	timer_stop(t->timers, &c->retransmit);
	client_drop_image(c);
	end_after(c, is_reliable(c) ? 0 : t->times.t4, now); /* timer K */
	if (c->owner)
		tell(c, m, key, now);
	else if (c->method != METHOD_CANCEL)
		count(t->counters, CNT_LATE_FINAL);
}

static void note_status(struct client *c, int status)
{
	if (c->heard != status)
		c->times = 0;
	c->heard = (uint16_t)status;
	if (c->times < UINT16_MAX)
		c->times++;
}

/* Its CANCEL comes too late (9.1), if it waits yet. */
static void withdraw_cancel(const struct client *c, struct now now)
{
	struct str branch = {c->branch, BRANCH_LEN};
	struct client *x =
	    client_find(c->txns, branch, METHOD_CANCEL, STR_NONE);

	if (!x)
		return;
	withdraw(x);
	if (x->sends == 0)
		end_after(x, 0, now);
}

void client_on_response(struct client *c, struct msg *m,
			const struct msg_key *key, struct now now)
{
	assert(!m->is_request && c->state != CLIENT_TERMINATED);
	flows_answered(&c->flow);
	note_status(c, m->status);
	/* An earlier process has asked it. */
	if (m->status >= 200 && c->state <= CLIENT_PROCEEDING) {
		withdraw(c);
		if (c->cancel_sent)
			withdraw_cancel(c, now);
	}
	if (m->status < 200)
		on_1xx(c, m, key, now);
	else if (!c->invite)
		on_final(c, m, key, now);
	else if (m->status < 300)
		on_invite_2xx(c, m, key, now);
	else
		on_invite_failure(c, m, key, now);
}
