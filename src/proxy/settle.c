/*
 * The ready list: outcomes are delivered from here, never from inside a verb,
 * and a response context whose work is done is freed here.
 */
#include "proxy/context.h"

void request_wake(struct request *r)
{
	if (!list_linked(&r->ready))
		list_append(&r->proxy->ready, &r->ready);
}

/* Nothing more will happen by itself, and the policy has let go. */
static bool is_idle(const struct request *r)
{
	return r->done && !r->try_open && !r->outcome_ready && !r->fresh &&
	       !r->held && !r->owed && r->n_open == 0;
}

void request_check_end(struct request *r)
{
	if (is_idle(r))
		request_wake(r);
}

void request_let_go(struct request *r)
{
	struct timers *ts = r->proxy->c.timers;

	trying_stop(r);
	cancel_stop(r);
	timer_stop(ts, &r->owe);
	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		timer_stop(ts, &a->limit);
		timer_stop(ts, &a->timer_c);
		if (a->locate)
			locate_stop(&a->locate);
		attempt_uncount(a);
	}
	steps_fini(&r->steps);
}

static void request_free(struct request *r, struct now now)
{
	struct proxy *p = r->proxy;
	struct arena *arena = r->arena;

	request_log(r, now);
	drain_note_end(r);
	note_done(r, now);
	if (r->policy && r->policy->on_free)
		r->policy->on_free(r->policy->ctx, r);
	request_let_go(r);
	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);
		struct client *c = a->client;

		a->client = NULL;
		if (c)
			client_disown(c, now);
	}
	if (r->server)
		server_disown(r->server, now);
	list_remove(&r->link);
	list_remove(&r->ready);
	p->n_requests--;
	arena_free(&arena);
}

/* The policy was taken away while it had the request. */
static void end_orphan(struct request *r, struct now now)
{
	struct reply reply = {.code = 500};

	if (!request_answered(r))
		request_reply(r, &reply, now);
	request_done(r, now);
}

static void begin(struct request *r, struct now now)
{
	r->fresh = false;
	if (r->follow) {
		request_follow_route(r, now);
		return;
	}
	r->policy = r->proxy->policy;
	if (r->policy)
		r->policy->on_request(r->policy->ctx, r, r->kind, now);
	else
		end_orphan(r, now);
}

static void deliver(struct request *r, struct now now)
{
	if (r->fresh) {
		begin(r, now);
		return;
	}
	if (r->outcome_ready) {
		r->outcome_ready = false;
		if (r->follow)
			follow_outcome(r, now);
		else if (r->policy)
			r->policy->on_outcome(r->policy->ctx, r, now);
		else
			end_orphan(r, now);
		/* it may have let go before */
		request_check_end(r);
		return;
	}
	if (!is_idle(r))
		return;
	if (r->final_sent || r->dropped)
		request_free(r, now);
	else if (!r->cancelled)
		response_owe(r, 500, now); /* whatever the policy forgot */
}

bool proxy_settle(struct proxy *p, struct now now)
{
	struct list *it = list_first(&p->ready);
	bool any = it != NULL;

	while ((it = list_first(&p->ready)) != NULL) {
		struct request *r = container_of(it, struct request, ready);

		list_remove(&r->ready);
		deliver(r, now);
	}
	return any;
}
