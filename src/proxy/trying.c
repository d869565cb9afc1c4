/*
 * When to say 100 Trying (RFC 3261 21.1.1, semantics 11). It is the commit
 * point: from then on the caller no longer retransmits, so a proxy that dies
 * after it loses the call, and one that dies before it loses nothing. Hence as
 * late as allowed.
 */
#include "proxy/context.h"

/* RFC 3261 17.2.1: a 100 within 200 ms. */
enum { TRYING_MS = 200 };

static void send_100(struct request *r, struct now now)
{
	struct reply reply = {.code = 100, .via = r->via};
	struct buf b;

	if (r->final_sent || r->dropped || r->server->code >= 100)
		return;
	buf_arena(&b, r->proxy->c.scratch, 512);
	if (reply_write(&r->msg, &reply, &b) == 0) {
		server_respond(r->server, buf_str(&b), 100, now);
		return;
	}
	count(r->proxy->c.counters, CNT_NOMEM);
	timer_arm(r->proxy->c.timers, &r->trying,
		  tick_add(now.mono, MILLIS(TRYING_MS)));
}

static void on_trying(struct timer *t, struct now now)
{
	send_100(container_of(t, struct request, trying), now);
}

static bool commits_late(const struct request *r)
{
	return r->proxy->c.settings->trying == TRYING_COMMIT &&
	       !transport_reliable(r->from.transport);
}

void trying_init(struct request *r, struct now now)
{
	const struct proxy_conf *c = &r->proxy->c;
	/* 7*T1 is when Timer E reaches T2: RFC 4320 4.1 allows a 100 to a
	 * non-INVITE only then; for INVITE it is the last moment before the
	 * caller's fourth retransmission. */
	int64_t wait = 7 * c->settings->times.t1;

	timer_init(&r->trying, on_trying);
	if (r->msg.method_id == METHOD_INVITE && !commits_late(r))
		wait = MILLIS(TRYING_MS);
	timer_arm(c->timers, &r->trying, tick_add(now.mono, wait));
}

void trying_on_attempt(struct request *r, struct now now)
{
	tick_t at = tick_add(now.mono, MILLIS(TRYING_MS));

	if (r->msg.method_id != METHOD_INVITE || !commits_late(r))
		return;
	if (timer_armed(&r->trying) && tick_before(at, r->trying.deadline))
		timer_arm(r->proxy->c.timers, &r->trying, at);
}

void trying_on_response(struct request *r, struct now now)
{
	if (r->msg.method_id != METHOD_INVITE || !commits_late(r))
		return;
	if (timer_armed(&r->trying)) {
		trying_stop(r);
		send_100(r, now);
	}
}

void trying_stop(struct request *r)
{
	timer_stop(r->proxy->c.timers, &r->trying);
}
