/*
 * One attempt: its client transaction, the policy's limits on it, Timer C, and
 * what its end means for the try or fork it belongs to.
 */
#include <string.h>
#include "proxy/context.h"

static void on_limit(struct timer *t, struct now now);
static void on_timer_c(struct timer *t, struct now now);

static void stop_timers(struct attempt *a)
{
	timer_stop(a->req->proxy->c.timers, &a->limit);
	timer_stop(a->req->proxy->c.timers, &a->timer_c);
}

static void arm_limit(struct attempt *a, enum limit kind, int64_t us,
		      struct now now)
{
	struct timers *ts = a->req->proxy->c.timers;

	a->limit_kind = kind;
	if (us > 0)
		timer_arm(ts, &a->limit, tick_add(now.mono, us));
	else
		timer_stop(ts, &a->limit);
}

/* Semantics 5: when retransmission n + 1 would be sent; the same time on
 * reliable transports. Non-INVITE intervals stop growing at T2. */
static int64_t retransmits_time(const struct request *r, int n)
{
	const struct txn_times *times = &r->proxy->c.settings->times;
	int64_t interval = times->t1, sum = 0;

	for (int i = 0; i <= n && sum < 64 * times->t1; i++) {
		sum += interval;
		interval *= 2;
		if (r->msg.method_id != METHOD_INVITE && interval > times->t2)
			interval = times->t2;
	}
	return sum;
}

/* ---- what it counts at its server ---- */

/* The first request of a dialog or a request outside of one. */
static bool is_initial(const struct request *r)
{
	return r->key.to_tag.n == 0;
}

static void add_open(struct attempt *a, int64_t n)
{
	struct member *m = a->target.member;

	atomic_fetch_add(&m->fact[FACT_INFLIGHT], n);
	if (a->req->msg.method_id == METHOD_INVITE)
		atomic_fetch_add(&m->fact[FACT_SETUP], n);
}

/* Without Record-Route its BYE would not pass here. */
struct member *attempt_call_member(const struct attempt *a)
{
	struct member *m = a->target.member;

	return m && m->record_route && is_initial(a->req) &&
		       a->req->msg.method_id == METHOD_INVITE
		   ? m
		   : NULL;
}

static void attempt_count(struct attempt *a, struct now now)
{
	struct member *m = a->target.member;

	if (!m || !is_initial(a->req))
		return;
	a->counted = true;
	add_open(a, 1);
	if (a->req->msg.method_id != METHOD_INVITE) {
		a->target.units = 0; /* only calls take resources */
		return;
	}
	load_begin(&m->load, now.mono);
	load_take(&m->load, a->target.units);
}

void attempt_uncount(struct attempt *a)
{
	if (!a->counted)
		return;
	a->counted = false;
	add_open(a, -1);
	load_give(&a->target.member->load, a->target.units);
}

/* ---- */

static struct attempt *attempt_new(struct request *r, const struct target *t,
				   struct now now)
{
	struct attempt *a = arena_zalloc(r->arena, sizeof(*a));

	if (!a)
		return NULL;
	a->owner.kind = OWNER_ATTEMPT;
	a->req = r;
	a->target = *t;
	a->target.uri = t->uri.p ? arena_str(r->arena, t->uri) : STR_NONE;
	a->target.host = t->host.p ? arena_str(r->arena, t->host) : STR_NONE;
	a->target.route = t->route.p ? arena_str(r->arena, t->route) : STR_NONE;
	a->target.top_route =
	    t->top_route.p ? arena_str(r->arena, t->top_route) : STR_NONE;
	a->number = ++r->n_attempts;
	a->group = r->group;
	a->opts = r->opts;
	a->started = now.mono;
	timer_init(&a->limit, on_limit);
	timer_init(&a->timer_c, on_timer_c);
	list_append(&r->attempts, &a->link);
	return a;
}

/* It could not even be sent. */
static void fail_unsent(struct attempt *a, enum cause cause)
{
	a->failed = OUTCOME_TRANSPORT;
	a->cause = cause;
}

/* How long to wait for any response. For INVITE never longer than Timer B,
 * which ends the transaction: given up a moment earlier it becomes a stub, and
 * a 2xx to the last retransmission is still met (semantics 2). */
static int64_t silence_limit(const struct attempt *a)
{
	const struct request *r = a->req;
	int64_t timer_b = 64 * r->proxy->c.settings->times.t1;
	int64_t us = a->opts.retransmits >= 0
			 ? retransmits_time(r, a->opts.retransmits)
			 : a->opts.timeout;

	if (r->msg.method_id == METHOD_INVITE && (us <= 0 || us > timer_b))
		return timer_b;
	return us;
}

/* RFC 5393 5.3.3: the header is there from the first fork on. False: there is
 * no breadth left for this branch, and 440 is what it gets. */
static bool take_breadth(struct attempt *a, size_t i, size_t n)
{
	struct request *r = a->req;
	uint32_t breadth = forward_breadth(r, i, n);

	if (n > 1 || msg_find(&r->msg, STR("Max-Breadth")))
		a->breadth = breadth;
	if (breadth)
		return true;
	a->res = response_local(r, a, 440, STR_NONE);
	return false;
}

void attempt_start(struct request *r, const struct target *t, size_t i,
		   size_t n, struct now now)
{
	struct proxy *p = r->proxy;
	struct attempt *a = attempt_new(r, t, now);
	struct str bytes;
	int err;

	if (!a) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	if (!take_breadth(a, i, n))
		return;
	if (!t->flow && !forward_choose_source(p, &r->from, &a->target.hop)) {
		fail_unsent(a, CAUSE_NO_SOURCE);
		return;
	}
	err = forward_write(r, a, &bytes);
	if (err) {
		if (err == ERR_NOMEM)
			count(p->c.counters, CNT_NOMEM);
		fail_unsent(a,
			    err == ERR_LIMIT ? CAUSE_TOO_BIG : CAUSE_NO_SOURCE);
		return;
	}
	/* Armed before Timer B, so that in one millisecond it comes first. */
	arm_limit(a, LIMIT_TIMEOUT, silence_limit(a), now);
	a->client =
	    client_new(p->c.txns, r->server, &a->owner, r->msg.method_id,
		       &a->target.hop, a->branch, bytes, now);
	if (!a->client) {
		count(p->c.counters, CNT_NOMEM);
		timer_stop(p->c.timers, &a->limit);
		fail_unsent(a, CAUSE_NO_SOURCE);
		return;
	}
	a->open = true;
	r->n_open++;
	attempt_count(a, now);
	a->client->peer = attempt_call_member(a);
	a->client->cost = a->target.units;
	trying_on_attempt(r, now);
	/* step 11: Timer C */
	if (r->msg.method_id == METHOD_INVITE)
		timer_arm(p->c.timers, &a->timer_c,
			  tick_add(now.mono, p->c.settings->timer_c));
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

static void report(struct attempt *a, struct now now)
{
	const struct policy *policy = a->req->proxy->policy;
	struct outcome o = {
	    .kind = a->res ? OUTCOME_RESPONSE : a->failed,
	    .res = a->res,
	    .cause = a->cause,
	    .addr = a->target.hop.addr,
	    .transport = a->target.hop.transport,
	    .member = a->target.member,
	    .provisional = a->got_1xx,
	};

	if (policy && policy->on_attempt && o.kind != OUTCOME_NONE)
		policy->on_attempt(policy->ctx, a->req, &o, a->took, now);
}

void attempt_end(struct attempt *a, bool give_up, struct str reason,
		 struct now now)
{
	struct client *c = a->client;

	if (!a->open)
		return;
	a->open = false;
	a->req->n_open--;
	attempt_uncount(a);
	a->took = tick_diff(now.mono, a->started);
	stop_timers(a);
	if (give_up && c) {
		a->client = NULL;
		client_abandon(c, reason, now);
	}
	report(a, now);
}

/* Semantics 5: what each limit means. */
static void on_limit(struct timer *t, struct now now)
{
	struct attempt *a = container_of(t, struct attempt, limit);
	struct request *r = a->req;

	if (a->limit_kind == LIMIT_RING) {
		a->res = response_local(r, a, 408, STR("Request Timeout"));
		attempt_end(a, true,
			    STR("Reason: SIP;cause=408;text=\"Ring time-out\""
				"\r\n"),
			    now);
	} else {
		a->failed = OUTCOME_TIMEOUT;
		a->cause = a->limit_kind == LIMIT_TIMEOUT ? CAUSE_SILENT
							  : CAUSE_NO_PROGRESS;
		attempt_end(a, true, STR_NONE, now);
	}
	group_check(r, now);
}

/* 16.8: a branch that rings for ever is as good as a 408. */
static void on_timer_c(struct timer *t, struct now now)
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

	a->got_1xx = true;
	trying_on_response(r, now);
	if (!rings) {
		if (first && !r->decided)
			arm_limit(a, LIMIT_PROGRESS, a->opts.progress, now);
		return;
	}
	if (!a->ringing && !r->decided)
		arm_limit(a, LIMIT_RING, a->opts.ring, now);
	a->ringing = true;
	timer_arm(r->proxy->c.timers, &a->timer_c,
		  tick_add(now.mono, r->proxy->c.settings->timer_c));
	if (!r->decided && !r->final_sent && !r->dropped)
		forward_ringing(a, m, now);
}

void attempt_on_response(struct attempt *a, struct client *c, struct msg *m,
			 struct now now)
{
	struct request *r = a->req;

	if (m->status < 200) {
		if (a->open)
			on_provisional(a, m, now);
		return;
	}
	if (m->status < 300) {
		response_on_2xx(r, a, c, m, now);
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
		arm_limit(a, LIMIT_TIMEOUT,
			  2 * a->req->proxy->c.settings->times.t2, now);
}

void attempt_cancel(struct attempt *a, struct str reason, struct now now)
{
	/* Nobody is to be blamed for what the caller does not want now. */
	timer_stop(a->req->proxy->c.timers, &a->limit);
	if (a->client)
		client_cancel(a->client, reason, now);
}

void attempt_on_failure(struct attempt *a, enum cause cause, struct now now)
{
	struct request *r = a->req;

	/* The transaction ends with this call. */
	a->client = NULL;
	if (a->open) {
		a->failed =
		    cause == CAUSE_SILENT ? OUTCOME_TIMEOUT : OUTCOME_TRANSPORT;
		a->cause = cause;
		attempt_end(a, false, STR_NONE, now);
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

/* Nobody answered: the last local failure speaks for the group. */
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
