/*
 * How an attempt leaves (RFC 3261 16.6 steps 7 to 11): for which address of its
 * target, by which transport, from which address of ours. One that fails fast
 * is followed by another attempt at the next address, within the time that the
 * try has left; silence uses that up (semantics 12).
 */
#include <string.h>
#include "proxy/context.h"

/* ---- what it counts at its server ---- */

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

	return m && m->record_route && request_is_initial(a->req) &&
		       a->req->msg.method_id == METHOD_INVITE
		   ? m
		   : NULL;
}

static void attempt_count(struct attempt *a, bool first, struct now now)
{
	struct member *m = a->target.member;

	if (!m || !request_is_initial(a->req))
		return;
	a->counted = true;
	add_open(a, 1);
	if (a->req->msg.method_id != METHOD_INVITE) {
		a->target.units = 0; /* only calls take resources */
		return;
	}
	if (first)
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

	if (!a) {
		count(r->proxy->c.counters, CNT_NOMEM);
		return NULL;
	}
	a->owner.kind = OWNER_ATTEMPT;
	a->req = r;
	a->target = *t;
	a->number = ++r->n_attempts;
	a->group = r->group;
	a->opts = r->opts;
	a->started = now.mono;
	timer_init(&a->limit, attempt_on_limit);
	timer_init(&a->timer_c, attempt_on_timer_c);
	list_append(&r->attempts, &a->link);
	return a;
}

struct attempt *attempt_adopt(struct request *r, struct str branch,
			      const struct hop *to, struct member *m,
			      struct now now)
{
	struct target t = {.hop = *to, .member = m};
	struct attempt *a;

	t.hop.tls_name = NULL; /* borrowed, and nothing is sent there */
	a = attempt_new(r, &t, now);
	if (a)
		memcpy(a->branch, branch.p, BRANCH_LEN);
	return a;
}

/* The target's slices move into the arena of the request. False: without memory
 * one is missing, and it would be another target. */
static bool keep_target(struct attempt *a)
{
	struct target *t = &a->target;
	struct str *field[] = {&t->uri, &t->host, &t->route, &t->top_route,
			       &t->next};

	for (size_t i = 0; i < ARRAY_LEN(field); i++) {
		if (!field[i]->p)
			continue;
		*field[i] = arena_str(a->req->arena, *field[i]);
		if (!field[i]->p)
			return false;
	}
	return true;
}

/* It could not even be sent. */
static void fail_unsent(struct attempt *a, enum cause cause, struct now now)
{
	a->failed = OUTCOME_TRANSPORT;
	a->cause = cause;
	note_attempt(a, now);
	note_end(a, now);
}

/* Nor to another address of its server, which is all that is heard of it. */
static void count_unsent(const struct attempt *a)
{
	if (a->target.member)
		member_count(a->target.member, STAT_TRANSPORT, 1);
}

/* ---- time ---- */

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

/* How long to wait for any response, wherever. For INVITE never longer than
 * Timer B, which ends the transaction: given up a moment earlier it becomes a
 * stub, and a 2xx to the last retransmission is still met (semantics 2). */
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

/* What is left of it; 0: there is no limit, less: nothing is left. */
static int64_t time_left(const struct attempt *a, struct now now)
{
	int64_t us = silence_limit(a);

	if (us > 0) {
		us -= tick_diff(now.mono, a->way->began);
		if (us <= 0)
			us = -1;
	}
	return us;
}

/* ---- what is known of addresses ---- */

/* Whoever takes connections and then says nothing is as silent by UDP. That
 * there is no connection says nothing of an address that was chosen for UDP. */
struct hop launch_place(const struct attempt *a)
{
	struct hop hop = a->target.hop;

	if (a->for_size && (a->res || a->cause == CAUSE_SILENT ||
			    a->cause == CAUSE_NO_PROGRESS))
		hop.transport = TRANSPORT_UDP;
	return hop;
}

void launch_heard(struct attempt *a)
{
	struct hop hop = a->target.hop;

	if (a->for_size)
		hop.transport = TRANSPORT_UDP;
	if (a->way && a->way->n > 1)
		shun_end(&a->req->proxy->shunned, SHUN_FAILED, &hop);
}

void launch_note(struct attempt *a, struct now now)
{
	struct hop hop = launch_place(a);

	if (a->way && a->way->n > 1 && !a->got_1xx &&
	    (!a->for_size || hop.transport == TRANSPORT_UDP) &&
	    a->cause != CAUSE_NO_SOURCE && a->cause != CAUSE_TOO_BIG)
		shun_add(&a->req->proxy->shunned, SHUN_FAILED, &hop, now.mono);
}

/* ---- leaving ---- */

/* RFC 3261 26.2.2, RFC 5630 3: what asks for sips goes by TLS or not at all.
 * True: it may go. */
static bool is_safe(struct attempt *a)
{
	struct request *r = a->req;
	const struct host *host = r->proxy->c.host;
	struct log_field f[] = {LOGF_STR("method", r->msg.method),
				LOGF_STR("call_id", r->key.call_id),
				LOGF_ADDR("to", &a->target.hop.addr)};
	struct log_event e = {LOG_WARN, "sips.insecure", f, ARRAY_LEN(f)};

	if (a->target.hop.transport == TRANSPORT_TLS || !forward_is_sips(r, a))
		return true;
	if (!r->told_sips)
		host->log(host->ctx, &e);
	r->told_sips = true;
	return false;
}

static int write(struct attempt *a, struct now now, struct str *bytes_r)
{
	size_t udp_max = a->req->proxy->c.settings->udp_max;
	int err = forward_write(a->req, a, bytes_r);

	if (err || !(bytes_r->n > udp_max || a->way->by_tcp) ||
	    !way_by_tcp(a->req->proxy, a->way, now, &a->target.hop))
		return err;
	a->for_size = true;
	return forward_write(a->req, a, bytes_r);
}

/* 0, or why it cannot: nothing was sent. */
static enum cause leave(struct attempt *a, struct now now)
{
	struct request *r = a->req;
	struct proxy *p = r->proxy;
	int64_t left = time_left(a, now);
	struct str bytes;
	int err;

	if (left < 0)
		return CAUSE_DNS_TIMEOUT; /* the look-up has used it up */
	if (!a->target.flow &&
	    !forward_go_on(p, &r->from, r->route.door, &a->target.hop))
		return CAUSE_NO_SOURCE;
	if (!is_safe(a))
		return CAUSE_NO_SOURCE;
	err = write(a, now, &bytes);
	if (err) {
		if (err == ERR_NOMEM)
			count(p->c.counters, CNT_NOMEM);
		return err == ERR_LIMIT ? CAUSE_TOO_BIG : CAUSE_NO_SOURCE;
	}
	/* Armed before Timer B, so that in one millisecond it comes first. */
	attempt_arm(a, LIMIT_TIMEOUT, left, now);
	a->client =
	    client_new(p->c.txns, r->server, &a->owner, r->msg.method_id,
		       &a->target.hop, a->branch, bytes, now);
	if (!a->client) {
		count(p->c.counters, CNT_NOMEM);
		timer_stop(p->c.timers, &a->limit);
		return CAUSE_NO_SOURCE;
	}
	return CAUSE_NONE;
}

/* It is under way; `had`: the server that has counted this try already. */
static void account(struct attempt *a, const struct member *had, struct now now)
{
	struct request *r = a->req;
	struct proxy *p = r->proxy;

	note_attempt(a, now);
	a->open = true;
	r->n_open++;
	attempt_count(a, a->target.member != had, now);
	a->client->peer = attempt_call_member(a);
	a->client->cost = a->target.units;
	trying_on_attempt(r, now);
	/* step 11: Timer C */
	if (r->msg.method_id == METHOD_INVITE)
		timer_arm(p->c.timers, &a->timer_c,
			  tick_add(now.mono, p->c.settings->timer_c));
}

static bool may_go_on(struct attempt *a, struct now now)
{
	const struct request *r = a->req;

	return !a->got_1xx && !r->decided && !r->final_sent && !r->dropped &&
	       way_goes_on(r->proxy, a->way, &a->target.hop, a->for_size,
			   a->cause, now) &&
	       time_left(a, now) >= 0;
}

/* The same target again, for another address. */
static struct attempt *repeat(const struct attempt *before, struct now now)
{
	struct attempt *a = attempt_new(before->req, &before->target, now);

	if (!a)
		return NULL;
	a->group = before->group;
	a->opts = before->opts;
	a->breadth = before->breadth;
	a->way = before->way;
	return a;
}

static void take_hop(struct attempt *a)
{
	struct target *t = &a->target;

	t->hop = a->way->hop[a->way->next++];
	if (!a->way->mixed)
		return;
	/* Where its route leads may be a server of ours: what becomes of the
	 * request says something about it. */
	t->member = follow_member(a->req, &t->hop.addr);
	if (t->member)
		way_identify(t->member, &t->hop);
}

/* To the next address for which it can leave; the attempt that has left, or
 * NULL. */
static struct attempt *go(struct attempt *a, const struct member *had,
			  struct now now)
{
	while (a) {
		enum cause cause;

		take_hop(a);
		cause = leave(a, now);
		if (cause == CAUSE_NONE) {
			account(a, had, now);
			break;
		}
		fail_unsent(a, cause, now);
		a = may_go_on(a, now) ? repeat(a, now) : NULL;
	}
	return a;
}

bool launch_again(struct attempt *before, struct now now)
{
	const struct member *m = before->target.member;
	struct attempt *a = may_go_on(before, now) ? repeat(before, now) : NULL;

	a = go(a, m, now);
	return a && a->target.member == m;
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

/* ---- where to ---- */

static uint64_t seed_of(const struct attempt *a)
{
	return a->opts.seed ? a->opts.seed
			    : way_seed(a->req->proxy, a->req->key.call_id);
}

/* It was open while the look-up went on. */
static void on_located(void *ctx, const struct places *found, struct now now)
{
	struct attempt *a = ctx;
	struct request *r = a->req;
	int err;

	a->locate = NULL;
	attempt_close(a, now);
	err = way_of_found(r->proxy, a->target.next, found, seed_of(a),
			   r->arena, now, a->way);
	if (err == ERR_NOTFOUND) {
		fail_unsent(a, found->cause, now);
	} else if (err) {
		count(r->proxy->c.counters, CNT_NOMEM);
		fail_unsent(a, CAUSE_NO_SOURCE, now);
	} else if (!go(a, NULL, now)) {
		count_unsent(a);
	}
	group_check(r, now);
}

/* The policy's time runs, and the caller may cancel; nothing is sent yet. */
static int look_up(struct attempt *a, const struct locate_ask *ask,
		   struct now now)
{
	struct request *r = a->req;

	a->locate = locate_start(r->proxy->c.resolver, ask, on_located, a, now);
	if (!a->locate)
		return ERR_NOMEM;
	a->open = true;
	r->n_open++;
	attempt_arm(a, LIMIT_TIMEOUT, time_left(a, now), now);
	return 0;
}

/* 0: the way is known, or being looked up (a->locate). ERR_NOTFOUND, with the
 * reason in *cause_r; ERR_NOMEM. */
static int find_way(struct attempt *a, struct now now, enum cause *cause_r)
{
	struct request *r = a->req;
	struct target *t = &a->target;
	struct locate_ask ask;
	uint64_t seed = seed_of(a);
	int err;

	*cause_r = CAUSE_DNS_NONE;
	if (t->hop.addr.family != ADDR_NONE) {
		if (t->member)
			way_identify(t->member, &t->hop);
		a->way->fixed = !t->member || t->member->fixed_transport;
		return way_of_hop(r->arena, &t->hop, a->way);
	}
	if (t->member)
		return way_of_member(r->proxy, t->member, seed, r->arena,
				     now.mono, a->way);
	err = way_of_uri(r->proxy, t->next, seed, r->arena, now, a->way, &ask,
			 cause_r);
	return err == ERR_STATE ? look_up(a, &ask, now) : err;
}

void launch(struct request *r, const struct target *t, size_t i, size_t n,
	    struct now now)
{
	struct attempt *a = attempt_new(r, t, now);
	bool whole = a && keep_target(a);
	enum cause cause;
	int err;

	if (!a || !take_breadth(a, i, n))
		return;
	a->way = whole ? arena_zalloc(r->arena, sizeof(*a->way)) : NULL;
	if (a->way) {
		a->way->began = now.mono;
		a->way->mixed = t->by_route && !t->member && !t->flow;
	}
	err = a->way ? find_way(a, now, &cause) : ERR_NOMEM;
	if (err == ERR_NOMEM) {
		count(r->proxy->c.counters, CNT_NOMEM);
		fail_unsent(a, CAUSE_NO_SOURCE, now);
	} else if (err) {
		fail_unsent(a, cause, now);
	} else if (a->locate || go(a, NULL, now)) {
		return;
	}
	count_unsent(a);
}
