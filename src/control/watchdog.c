#include "control/watchdog.h"

#include <stdlib.h>

#include "control/control_int.h"
#include "util/err.h"

enum {
	BEAT_S = 1,
	STATUS_BEATS = 5,
	/* So many in the time after which a service manager kills us. */
	BEATS = 4,
	/* It is told of after a third of the time that it has, and after that
	 * at the latest. */
	TELL_SHARE = 3,
	TELL_S = 10,
};

/* Time is counted in beats that were missed, not by the clock: who was stopped
 * as a whole, with its machine perhaps, has no stuck worker. */
struct beat {
	unsigned question, missed;
	bool told;
};

static double limit(const struct control *c)
{
	return (double)c->plan->watchdog / 1e6;
}

_Noreturn void watchdog_abort(struct control *c, unsigned i, double seconds)
{
	logsink_say(c->log, LOG_ERROR, "watchdog", LOGF_INT("worker", i),
		    LOGF_NUM("seconds", seconds));
	logsink_free(&c->log); /* writes it */
	abort();
}

static void miss(struct control *c, unsigned i)
{
	struct beat *b = &c->watchdog.worker[i];
	double max = limit(c), seconds, tell = TELL_S;

	seconds = ++b->missed * c->watchdog.beat.repeat;
	if (max > 0 && max / TELL_SHARE < tell)
		tell = max / TELL_SHARE;
	if (!b->told && seconds >= tell) {
		b->told = true;
		logsink_say(c->log, LOG_ERROR, "worker.stuck",
			    LOGF_INT("worker", i),
			    LOGF_NUM("seconds", seconds));
	}
	if (max > 0 && seconds >= max)
		watchdog_abort(c, i, seconds);
}

static void hit(struct control *c, unsigned i)
{
	struct beat *b = &c->watchdog.worker[i];

	if (b->told)
		logsink_say(
		    c->log, LOG_WARN, "worker.unstuck", LOGF_INT("worker", i),
		    LOGF_NUM("seconds", b->missed * c->watchdog.beat.repeat));
	b->told = false;
	b->missed = 0;
	b->question = worker_beat(c->worker[i]);
}

/* "3 pools, 7/8 servers up, 214 calls": asked for in one beat, told in the
 * next. */
static void tell_status(struct control *c)
{
	char *text = worker_summary(c->worker[0]);

	if (atomic_load(&c->node->draining))
		stop_tell(c);
	else if (text)
		service_say(&c->service, "STATUS=%s, %zu call%s", text,
			    stop_load(c).calls,
			    stop_load(c).calls == 1 ? "" : "s");
	free(text);
	if (c->watchdog.beats++ % STATUS_BEATS == 0)
		worker_summarise(c->worker[0]);
}

static void on_beat(struct ev_loop *loop, ev_timer *t, int events)
{
	struct control *c = t->data;
	bool well = true;

	(void)loop;
	(void)events;
	for (unsigned i = 0; i < c->workers; i++) {
		if (worker_answered(c->worker[i],
				    c->watchdog.worker[i].question)) {
			hit(c, i);
		} else {
			well = false;
			miss(c, i);
		}
	}
	if (well && c->service.watchdog)
		service_say(&c->service, "WATCHDOG=1");
	if (c->service.fd >= 0)
		tell_status(c);
}

int watchdog_start(struct control *c)
{
	struct watchdog *w = &c->watchdog;
	double every = BEAT_S, wanted = (double)c->service.watchdog / 1e6;

	w->worker = calloc(c->workers, sizeof(*w->worker));
	if (!w->worker)
		return ERR_NOMEM;
	if (wanted > 0 && wanted / BEATS < every)
		every = wanted / BEATS;
	ev_timer_init(&w->beat, on_beat, 0., every);
	w->beat.data = c;
	ev_timer_start(c->loop, &w->beat);
	return 0;
}

void watchdog_free(struct control *c)
{
	free(c->watchdog.worker);
	c->watchdog.worker = NULL;
}
