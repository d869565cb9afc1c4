/*
 * The caller's CANCEL (RFC 3261 16.10, 9.2; semantics 3): answered at once, no
 * branch starts after it, and 487 as soon as no phone can still be answered.
 */
#include "proxy/context.h"

static void answer_cancel(struct proxy *p, struct msg *m,
			  const struct msg_key *key, const struct hop *from,
			  const struct request *r, struct now now)
{
	struct server *s = server_new(p->c.txns, m, key, from);
	struct upstream_id up = r ? r->up : upstream_id(key, from);
	char tag[TAG_LEN];
	struct reply reply = {.code = 200};
	struct buf b;

	if (!s) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	/* The same To tag as the final of the INVITE (9.2): CANCEL shares its
	 * Via, Call-ID, From tag and CSeq number, which is what the tag is made
	 * of; only a NAT may have moved it. */
	branch_to_tag(tag, r ? r->sign : p->c.keys->now, &up);
	reply.to_tag = (struct str){tag, TAG_LEN};
	reply.via = via_mark_received(p->c.scratch, &key->via, from);
	buf_arena(&b, p->c.scratch, 512);
	if (reply_write(m, &reply, &b) == 0)
		server_respond(s, buf_str(&b), 200, now);
	server_disown(s, now);
}

void cancel_stop(struct request *r)
{
	timer_stop(r->proxy->c.timers, &r->cancel_end);
}

/* Branches that rang are waited for: their 2xx may cross the CANCEL. */
void cancel_check(struct request *r, struct now now)
{
	if (!r->final_sent && !r->dropped && !r->owed && r->n_open == 0)
		response_owe(r, 487, now);
}

static void give_up_open(struct request *r, bool rung_too, struct str reason,
			 struct now now)
{
	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		if (!a->open)
			continue;
		if (a->got_1xx && !rung_too)
			attempt_cancel(a, reason, now);
		else
			attempt_end(a, true, reason, now);
	}
}

static void on_cancel_end(struct timer *t, struct now now)
{
	struct request *r = container_of(t, struct request, cancel_end);

	give_up_open(r, true, STR_NONE, now);
	group_check(r, now);
}

/* RFC 3326: why it is cancelled, for those who ring. */
struct str cancel_reason(struct proxy *p, const struct msg *m)
{
	const struct hdr *f = msg_find(m, STR("Reason"));
	struct buf b;

	buf_arena(&b, p->c.scratch, 128);
	for (; f; f = msg_find_next(m, f, STR("Reason"))) {
		BUF_LIT(&b, "Reason: ");
		buf_put(&b, msg_hdr_unfolded(m, f));
		BUF_LIT(&b, "\r\n");
	}
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

static void cancel_request(struct request *r, struct str reason, struct now now)
{
	if (r->decided || r->final_sent || r->dropped)
		return;
	r->decided = r->cancelled = true;
	response_cede(r);
	note_step(r, STEP_CANCEL, now);
	timer_init(&r->cancel_end, on_cancel_end);
	timer_arm(r->proxy->c.timers, &r->cancel_end,
		  tick_add(now.mono, 64 * r->proxy->c.settings->times.t1));
	give_up_open(r, false, reason, now);
	group_check(r, now);
}

void cancel_on_request(struct proxy *p, struct msg *m,
		       const struct msg_key *key, const struct hop *from,
		       struct now now)
{
	struct server *s = server_find_cancelled(p->c.txns, m, key, from);
	struct request *r;

	if (!s && orphan_cancel(p, m, key, from, now))
		return;
	if (!s) {
		stateless_reply(p, m, key, from, 481, STR_NONE, STR_NONE, now);
		return;
	}
	r = request_of(s);
	answer_cancel(p, m, key, from, r, now);
	s->cancelled = true;
	/* CANCEL means nothing to anything but an INVITE (9.1). */
	if (r && s->invite)
		cancel_request(r, cancel_reason(p, m), now);
}
