/*
 * How late we are: what the host knows of the time that messages and timers
 * have waited, for the proxy (proxy/overload.h).
 */
#include "core/core_int.h"

#include <assert.h>
#include "proxy/overload.h"

void core_came(struct core *c, struct now now, tick_t came)
{
	int64_t lag = tick_diff(now.mono, came);

	assert(!c->busy);
	/* Clocks are set: what has not come yet came just now. */
	if (lag <= 0)
		return;
	c->came = came;
	c->has_come = true;
	proxy_on_lag(c->proxy, lag, now);
}

tick_t late_came(const struct core *c)
{
	return c->has_come ? c->came : c->now.mono;
}

void late_note_input(struct core *c, const struct hop *from)
{
	bool own = from->transport == TRANSPORT_UDP && !c->is_post;
	unsigned queue = own ? from->listener : QUEUE_OTHER;
	struct delay d = {.all = tick_diff(c->now.mono, late_came(c))};

	d.elsewhere =
	    c->is_post ? d.all - tick_diff(c->now.mono, c->handed) : 0;
	proxy_on_delay(c->proxy, queue, &d, c->now);
}

void late_note_timers(struct core *c, struct now now)
{
	tick_t due = timers_next(c->timers);

	if (tick_before(due, now.mono))
		proxy_on_lag(c->proxy, tick_diff(now.mono, due), now);
}
