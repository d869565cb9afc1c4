/*
 * One attempt: its client transaction, the policy's limits on it, Timer C, and
 * what its end means for the try or fork it belongs to.
 */
#include <string.h>
#include "proxy/context.h"

static void stop_timers(struct attempt *a)
{
	timer_stop(a->req->proxy->c.timers, &a->limit);
	timer_stop(a->req->proxy->c.timers, &a->timer_c);
}

void attempt_arm(struct attempt *a, enum limit kind, int64_t us, struct now now)
{
	struct timers *ts = a->req->proxy->c.timers;

	a->limit_kind = kind;
	if (us > 0)
		timer_arm(ts, &a->limit, tick_add(now.mono, us));
	else
		timer_stop(ts, &a->limit);
}

struct attempt *attempt_by_branch(struct request *r, const char *branch)
{
	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		if (memcmp(a->branch, branch, BRANCH_LEN) == 0)
			return a;
	}
	return NULL;
}

/* How it ended, for the metrics. That the caller hung up, that another branch
 * won and that it rang too long is no word on the server. */
static enum member_stat stat_of(const struct attempt *a)
{
	if (a->failed)
		return a->failed == OUTCOME_TIMEOUT ? STAT_TIMEOUT
						    : STAT_TRANSPORT;
	if (!a->res || a->res->local ||
	    (a->res->code == 487 && a->req->cancelled))
		return STAT_CANCELLED;
	if (a->res->code == 503)
		return STAT_503;
	return a->res->code < 300 ? STAT_OK : STAT_REJECTED;
}

static void report(struct attempt *a, bool moved, struct now now)
{
	const struct policy *policy = a->req->proxy->policy;
	struct hop place = launch_place(a);
	struct outcome o = {
	    .kind = a->res ? OUTCOME_RESPONSE : a->failed,
	    .res = a->res,
	    .cause = a->cause,
	    .addr = place.addr,
	    .transport = place.transport,
	    .member = a->target.member,
	    .provisional = a->got_1xx,
	    .moved = moved,
	};

	note_end(a, now);
	if (a->target.member && !moved)
		member_count(a->target.member, stat_of(a), 1);
	if (policy && policy->on_attempt && o.kind != OUTCOME_NONE)
		policy->on_attempt(policy->ctx, a->req, &o, a->took, now);
}

void attempt_close(struct attempt *a, struct now now)
{
	a->open = false;
	a->req->n_open--;
	attempt_uncount(a);
	a->took = tick_diff(now.mono, a->started);
	stop_timers(a);
	if (a->locate)
		locate_stop(&a->locate);
}

/* What has not left is no visit of its target: nobody knows the branch. */
static void forget_branch(struct attempt *a, const struct client *c)
{
	if (c->sends == 0)
		a->branch[0] = '\0';
}

void attempt_end(struct attempt *a, bool give_up, struct str reason,
		 struct now now)
{
	struct client *c = a->client;

	if (!a->open)
		return;
	attempt_close(a, now);
	if (give_up && c) {
		a->client = NULL;
		client_abandon(c, reason, now);
		forget_branch(a, c);
	}
	report(a, false, now);
}

/* Semantics 5: what each limit means. */
void attempt_on_limit(struct timer *t, struct now now)
{
	struct attempt *a = container_of(t, struct attempt, limit);
	struct request *r = a->req;

	if (a->limit_kind == LIMIT_RING) {
		a->res = response_local(r, a, 408, STR("Request Timeout"));
		attempt_end(a, true,
			    STR("Reason: SIP;cause=408;text=\"Ring time-out\""
				"\r\n"),
			    now);
	} else if (a->locate) {
		a->failed = OUTCOME_TRANSPORT;
		a->cause = CAUSE_DNS_TIMEOUT;
		attempt_end(a, false, STR_NONE, now);
	} else {
		a->failed = OUTCOME_TIMEOUT;
		a->cause = a->limit_kind == LIMIT_TIMEOUT ? CAUSE_SILENT
							  : CAUSE_NO_PROGRESS;
		launch_note(a, now);
		attempt_end(a, true, STR_NONE, now);
	}
	group_check(r, now);
}

/* 16.8: a branch that rings for ever is as good as a 408. */
void attempt_on_timer_c(struct timer *t, struct now now)
{
	struct attempt *a = container_of(t, struct attempt, timer_c);
	struct request *r = a->req;

	a->res = response_local(r, a, 408, STR("Request Timeout"));
	attempt_end(a, true, STR_NONE, now);
	group_check(r, now);
}

/* A server may send any number of them: what nobody watches is not kept. */
static void forward_ringing(struct attempt *a, struct msg *m, struct now now)
{
	struct request *r = a->req;
	struct response *res;
	struct edits e;

	if (!a->opts.watch) {
		edits_init(&e, m, r->proxy->c.scratch);
		edit_pop_value(&e, HDR_VIA);
		response_send(r, m, &e, m->status, now);
		return;
	}
	res = response_keep(r, a, m);
	if (!res) {
		count(r->proxy->c.counters, CNT_NOMEM);
		return;
	}
	response_watch(r, a, res, now);
	response_send(r, &res->msg, &res->edits, res->code, now);
}

static void on_provisional(struct attempt *a, struct msg *m, struct now now)
{
	struct request *r = a->req;
	bool first = !a->got_1xx;
	/* RFC 4320 4.1: nothing but 100 may answer a non-INVITE early; what a
	 * server says all the same is worth no more than its 100. */
	bool rings = m->status > 100 && r->msg.method_id == METHOD_INVITE;

	if (first || (rings && !a->ringing))
		note_provisional(a, m->status, now);
	a->got_1xx = true;
	trying_on_response(r, now);
	if (!rings) {
		if (first && !r->decided)
			attempt_arm(a, LIMIT_PROGRESS, a->opts.progress, now);
		return;
	}
	if (!a->ringing && !r->decided)
		attempt_arm(a, LIMIT_RING, a->opts.ring, now);
	a->ringing = true;
	/* 16.7 step 2 */
	timer_arm(r->proxy->c.timers, &a->timer_c,
		  tick_add(now.mono, r->proxy->c.settings->timer_c));
	if (!r->decided && !r->final_sent && !r->dropped)
		forward_ringing(a, m, now);
}

void attempt_on_response(struct attempt *a, struct client *c, struct msg *m,
			 const struct msg_key *key, struct now now)
{
	struct request *r = a->req;

	launch_heard(a);
	if (m->status < 200) {
		if (a->open)
			on_provisional(a, m, now);
		return;
	}
	if (m->status < 300) {
		response_on_2xx(r, a, c, m, key, now);
		group_check(r, now);
		return;
	}
	if (!a->open) {
		count(r->proxy->c.counters, CNT_LATE_FINAL);
		return;
	}
	a->res = response_keep(r, a, m);
	if (!a->res) {
		a->failed = OUTCOME_TRANSPORT;
		a->cause = CAUSE_NO_SOURCE;
	}
	/* Nobody has acknowledged it, so nobody has passed it on. */
	r->ceded = false;
	attempt_end(a, false, STR_NONE, now);
	/* 16.7 step 5: a 6xx ends the others */
	if (m->status >= 600 && !r->cancelled)
		attempts_cancel_others(r, a, now);
	group_check(r, now);
}

/* Twice the longest pause between two 2xx of a server (13.3.1.4). */
void attempt_await_repeat(struct attempt *a, struct now now)
{
	if (a->open && !a->req->cancelled)
		attempt_arm(a, LIMIT_TIMEOUT,
			    2 * a->req->proxy->c.settings->times.t2, now);
}

void attempt_cancel(struct attempt *a, struct str reason, struct now now)
{
	/* Nobody is to be blamed for what the caller does not want now. */
	timer_stop(a->req->proxy->c.timers, &a->limit);
	note_cancelling(a, now);
	if (a->client)
		client_cancel(a->client, reason, now);
}

void attempt_on_failure(struct attempt *a, const struct client *c,
			enum cause cause, struct now now)
{
	struct request *r = a->req;

	/* The transaction ends with this call. */
	a->client = NULL;
	forget_branch(a, c);
	if (a->open) {
		a->failed =
		    cause == CAUSE_SILENT ? OUTCOME_TIMEOUT : OUTCOME_TRANSPORT;
		a->cause = cause;
		launch_note(a, now);
		attempt_close(a, now);
		report(a, launch_again(a, now), now);
	}
	group_check(r, now);
}

void attempts_cancel_others(struct request *r, struct attempt *winner,
			    struct now now)
{
	struct str reason =
	    winner && winner->res && winner->res->code / 100 == 2
		? STR("Reason: SIP;cause=200;text=\"Call "
		      "completed elsewhere\"\r\n")
		: STR_NONE;

	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		if (a == winner || !a->open)
			continue;
		if (winner && winner->res && winner->res->code >= 600 &&
		    a->got_1xx) {
			/* wait for its final: it may still be a 2xx */
			attempt_cancel(a, reason, now);
			continue;
		}
		attempt_end(a, true, reason, now);
	}
}

/* Nobody answered: the last local failure speaks for the group (16.9). */
static struct outcome failure_of(const struct request *r)
{
	struct outcome o = {.kind = OUTCOME_TRANSPORT,
			    .cause = CAUSE_NO_SOURCE};

	list_each (it, &r->attempts) {
		const struct attempt *a =
		    container_of(it, struct attempt, link);

		if (a->group != r->group || !a->failed)
			continue;
		o.kind = a->failed;
		o.cause = a->cause;
		o.addr = a->target.hop.addr;
		o.member = a->target.member;
		o.provisional = a->got_1xx;
	}
	return o;
}

static struct outcome answered_by(struct response *res)
{
	return (struct outcome){.kind = OUTCOME_RESPONSE,
				.res = res,
				.addr = res->addr,
				.member = res->member};
}

/* Semantics 1: what a try returns once it has ended or is overtaken. */
void outcome_set(struct request *r)
{
	struct response *res;

	r->try_open = false;
	r->outcome_ready = true;
	if (r->answer) {
		r->outcome = answered_by(r->answer);
	} else if (r->decided) {
		r->outcome = (struct outcome){.kind = OUTCOME_CANCELLED};
	} else {
		res = response_best(r);
		r->outcome = res ? answered_by(res) : failure_of(r);
	}
	request_wake(r);
}

/* Something about the attempts has changed. */
void group_check(struct request *r, struct now now)
{
	if (r->cancelled)
		cancel_check(r, now);
	if (r->try_open && (r->n_open == 0 || r->decided))
		outcome_set(r);
	request_check_end(r);
}
