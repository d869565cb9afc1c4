/*
 * Taking nothing new: what begins a dialog, or belongs to none, is refused, so
 * that all the rest can end. And when it has.
 */
#include "proxy/context.h"

/*
 * A caller that has another proxy goes there at once (RFC 3261 21.5.4). One
 * that has not shall be back soon: a restart takes a second. And an upstream
 * that asks again too early is sent on again, which costs it one round trip.
 */
#define RETRY_AFTER STR("Retry-After: 5\r\n")

enum {
	/* In T1, since the last answer to a request that began something: a
	 * 2xx that was lost has been repeated twice (after T1 and 3 T1), and
	 * its ACK has come by. */
	QUIET = 4,
	/* And no longer for requests inside of dialogs, of which there is
	 * always one under way while many calls are up. */
	QUIET_AT_LAST = 8
};

bool drain_is_on(const struct proxy *p)
{
	return p->c.draining && atomic_load(p->c.draining);
}

static bool drains(struct proxy *p, struct now now)
{
	bool on = drain_is_on(p);

	if (on && !p->drains)
		p->drains_since = now.mono;
	p->drains = on;
	return on;
}

static bool is_announced(const struct proxy *p, struct now now)
{
	return tick_diff(now.mono, p->drains_since) >=
	       p->c.settings->drain_notice;
}

bool drain_refuses(struct proxy *p, const struct msg *m,
		   const struct msg_key *key, struct now now)
{
	if (key->to_tag.n || !drains(p, now))
		return false;
	/* Whoever checks us learns it first. */
	return m->method_id == METHOD_OPTIONS || is_announced(p, now);
}

void drain_refuse(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from,
		  struct now now)
{
	/* Keeps no state and has a limit, as all of these: whoever floods us
	 * meanwhile is answered less and less. */
	stateless_reply(p, m, key, from, 503, STR_NONE, RETRY_AFTER, now);
}

void drain_note_end(struct request *r)
{
	tick_t end = tick_add(r->received, r->took);

	if (request_is_initial(r) && r->final_sent &&
	    tick_before(r->proxy->settled, end))
		r->proxy->settled = end;
}

/* Does somebody wait for an answer of ours? Where its address has gone to
 * another machine, that one has been passing on what comes from the servers. */
static bool is_awaited(const struct request *r)
{
	return !r->final_sent && !r->dropped &&
	       forward_has_source(r->proxy, &r->from);
}

bool proxy_is_quiet(struct proxy *p, struct now now)
{
	tick_t last = p->settled;
	bool others = false;

	if (drains(p, now) && !is_announced(p, now))
		return false;
	if (p->answers.n || p->n_parked || p->n_undelivered)
		return false;
	list_each (it, &p->requests) {
		struct request *r = container_of(it, struct request, link);
		tick_t end = tick_add(r->received, r->took);

		if (!request_is_initial(r))
			others = others || !r->final_sent;
		else if (is_awaited(r))
			return false;
		else if (r->final_sent && tick_before(last, end))
			last = end;
	}
	return tick_diff(now.mono, last) >=
	       (others ? QUIET_AT_LAST : QUIET) * p->c.settings->times.t1;
}
