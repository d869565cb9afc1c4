#include "host/worker_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * What the control thread does with a worker that runs: lets it rest, stops it,
 * and asks for signs of life without waiting for them; and what the worker
 * answers.
 */

/* Whoever waits for a worker gives up after that. */
enum { REST_S = 5, JOIN_S = 5 };

static int64_t mono_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* ---- in the control thread ---- */

unsigned worker_beat(struct worker *w)
{
	unsigned question = atomic_load(&w->life.asked) + 1;

	atomic_store(&w->life.asked_at, mono_us());
	atomic_store(&w->life.asked, question);
	ev_async_send(w->loop, &w->async);
	return question;
}

bool worker_answered(const struct worker *w, unsigned question)
{
	return (int)(atomic_load(&w->life.answered) - question) >= 0;
}

struct worker_load worker_load(const struct worker *w)
{
	return (struct worker_load){atomic_load(&w->life.requests),
				    atomic_load(&w->life.calls),
				    atomic_load(&w->life.quiet)};
}

void worker_summarise(struct worker *w)
{
	atomic_store(&w->summarise, true);
	ev_async_send(w->loop, &w->async);
}

char *worker_summary(struct worker *w)
{
	return atomic_exchange(&w->summary, NULL);
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	ev_async_send(w->loop, &w->async);
}

void worker_leave(struct worker *w)
{
	latch_post(&w->leave);
}

bool worker_rest(struct worker *w)
{
	atomic_store(&w->rest, true);
	ev_async_send(w->loop, &w->async);
	if (latch_wait_for(&w->resting, REST_S))
		return true;
	if (atomic_exchange(&w->rest, false))
		return false;    /* it has not seen it */
	latch_wait(&w->resting); /* it has, just now */
	return true;
}

void worker_resume(struct worker *w)
{
	latch_post(&w->resume);
}

bool worker_stopped(struct worker *w)
{
	return latch_wait_for(&w->answered, JOIN_S);
}

bool worker_join(struct worker *w)
{
	return thread_join(&w->thread, JOIN_S);
}

/* ---- in the worker ---- */

void worker_publish(struct worker *w)
{
	struct life *l = &w->life;
	struct core_stats core;

	core_stats(w->core, &core);
	atomic_store(&l->requests, core.requests);
	atomic_store(&l->calls, core.calls);
	/* What comes after this look is refused. */
	atomic_store(&l->quiet, atomic_load(&w->conf.node->draining) &&
				    core_is_quiet(w->core, worker_now(w)));
}

void worker_answer(struct worker *w)
{
	struct life *l = &w->life;
	unsigned question = atomic_load(&l->asked);
	int64_t at = atomic_load(&l->asked_at);

	if (question == atomic_load(&l->answered))
		return;
	histogram_add(&core_counters(w->core)->hist[HIST_LOOP_LAG],
		      worker_now(w).mono.us - at);
	worker_publish(w);
	atomic_store(&l->answered, question);
}

/* The Lua half gives a JSON string of letters, digits and blanks. */
void worker_write_summary(struct worker *w)
{
	bool ok;
	char *text = script_ask(w->scripts.present, STR("summary"), STR_NONE,
				worker_now(w), &ok);
	size_t n = text ? strlen(text) : 0;

	if (ok && n >= 2) {
		memmove(text, text + 1, n);
		text[n - 2] = '\0';
		free(atomic_exchange(&w->summary, text));
	} else {
		free(text);
	}
	worker_settle(w);
}
