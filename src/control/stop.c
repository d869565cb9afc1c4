#include "control/stop.h"

#include <stdio.h>
#include <stdlib.h>

#include "control/control_int.h"
#include "util/err.h"

/* How often it is looked whether the workers are quiet, and first; seconds. */
static const double look_first = 0.01, look_again = 0.1;
/* What a service manager is to allow beyond stop_timeout: for the last answers,
 * and the snapshot. */
enum { EXTEND_S = 15 };

struct worker_load stop_load(const struct control *c)
{
	struct worker_load all = {.quiet = true};

	for (unsigned i = 0; i < c->workers; i++) {
		struct worker_load one = worker_load(c->worker[i]);

		all.requests += one.requests;
		all.calls += one.calls;
		all.quiet = all.quiet && one.quiet;
	}
	return all;
}

static void ask_all(struct control *c)
{
	for (unsigned i = 0; i < c->workers; i++)
		c->stop.question[i] = worker_beat(c->worker[i]);
}

static bool all_answered(const struct control *c)
{
	for (unsigned i = 0; i < c->workers; i++)
		if (!worker_answered(c->worker[i], c->stop.question[i]))
			return false;
	return true;
}

/* One who does not answer is asked no more, and waited for to the end. */
static void on_look(struct ev_loop *loop, ev_timer *t, int events)
{
	struct control *c = t->data;

	(void)events;
	if (ev_now(loop) >= c->stop.until) {
		ev_break(loop, EVBREAK_ALL);
	} else if (all_answered(c)) {
		if (stop_load(c).quiet)
			ev_break(loop, EVBREAK_ALL);
		else
			ask_all(c);
	}
}

int stop_init(struct control *c)
{
	ev_timer_init(&c->stop.look, on_look, look_first, look_again);
	c->stop.look.data = c;
	c->stop.question = calloc(c->workers, sizeof(*c->stop.question));
	return c->stop.question ? 0 : ERR_NOMEM;
}

void stop_free(struct control *c)
{
	free(c->stop.question);
	c->stop.question = NULL;
}

void stop_tell(const struct control *c)
{
	struct worker_load load = stop_load(c);
	char limit[64] = "";

	if (c->stop.begun)
		snprintf(limit, sizeof(limit), ", %.0f s left",
			 c->stop.until - ev_now(c->loop));
	service_say(&c->service,
		    "STATUS=Draining: %zu open request%s, %zu call%s up%s",
		    load.requests, load.requests == 1 ? "" : "s", load.calls,
		    load.calls == 1 ? "" : "s", limit);
}

bool stop_drain(struct control *c, bool on, const char *by)
{
	struct worker_load load = stop_load(c);

	if (c->stop.begun && !on)
		return false;
	if (atomic_exchange(&c->node->draining, on) != on)
		logsink_say(c->log, LOG_WARN, "drain",
			    LOGF_STR("state", on ? STR("on") : STR("off")),
			    LOGF_STR("by", str_from(by)),
			    LOGF_INT("requests", (int64_t)load.requests),
			    LOGF_INT("calls", (int64_t)load.calls));
	return true;
}

static void log_stop(struct control *c, const char *by, double wait)
{
	logsink_say(c->log, LOG_INFO, "stop", LOGF_STR("by", str_from(by)),
		    LOGF_NUM("wait", wait));
}

void stop_begin(struct control *c, const char *by)
{
	double wait = (double)c->plan->stop_timeout / 1e6;

	if (c->stop.begun || wait <= 0) {
		stop_now(c, by);
		return;
	}
	log_stop(c, by, wait);
	stop_drain(c, true, by);
	service_say(&c->service, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
		    (long long)SECONDS(EXTEND_S) + c->plan->stop_timeout);
	ev_now_update(c->loop);
	c->stop.begun = true;
	c->stop.began = ev_now(c->loop);
	c->stop.until = c->stop.began + wait;
	stop_tell(c);
	ask_all(c);
	ev_timer_start(c->loop, &c->stop.look);
}

/* Whoever asks once more does not want to wait: without a watcher the next
 * signal ends the process. */
void stop_now(struct control *c, const char *by)
{
	log_stop(c, by, 0);
	if (!c->stop.begun) {
		service_say(&c->service, "STOPPING=1");
		ev_now_update(c->loop);
		c->stop.began = ev_now(c->loop);
	}
	c->stop.begun = true;
	ev_timer_stop(c->loop, &c->stop.look);
	ev_signal_stop(c->loop, &c->term);
	ev_signal_stop(c->loop, &c->interrupt);
	ev_break(c->loop, EVBREAK_ALL);
}

void stop_log(struct control *c)
{
	struct worker_load load = stop_load(c);
	int64_t ms;

	ev_now_update(c->loop);
	ms = (int64_t)((ev_now(c->loop) - c->stop.began) * 1e3);
	logsink_say(c->log, LOG_INFO, "stopped",
		    LOGF_NUM("seconds", (double)ms / 1e3),
		    LOGF_INT("requests", (int64_t)load.requests),
		    LOGF_INT("calls", (int64_t)load.calls));
}
