#include "host/worker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "host/ask.h"
#include "host/worker_int.h"
#include "util/err.h"

enum {
	/* Sending fails, the core tries elsewhere, that fails: so often within
	 * one turn of the loop. */
	ROUNDS = 8,
	REFRESH_S = 5,
	/* For the last answers, when the socket takes no more. */
	LINGER_MS = 200,
};

/* ---- time ---- */

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* Wall time is read once per turn and moved along with the monotonic clock,
 * which is read for every entry: a slow script must not make the timers of the
 * next message early. */
struct now worker_now(const struct worker *w)
{
	int64_t mono = read_clock(CLOCK_MONOTONIC);

	return (struct now){{mono}, {mono + w->wall_offset}};
}

void worker_begin(struct worker *w)
{
	w->wall_offset =
	    read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC);
}

/* ---- sending, and what becomes of it ---- */

static void flush(struct worker *w)
{
	for (unsigned i = 0; i < w->ports; i++) {
		struct port *p = &w->port[i];

		if (list_empty(&p->udp.queue.list))
			continue;
		if (udp_flush(&p->udp))
			ev_io_stop(w->loop, &p->writable);
		else
			ev_io_start(w->loop, &p->writable);
	}
	streams_flush(w->streams);
}

static bool has_news(const struct worker *w)
{
	return !list_empty(&w->faults.list) || streams_have_news(w->streams) ||
	       dns_have_news(w->dns);
}

static void tell_faults(struct worker *w)
{
	/* Telling may make new ones; they are for the next round. */
	for (size_t n = w->faults.n; n; n--) {
		struct dgram *d = dgram_queue_pop(&w->faults);
		struct flow_event e = {
		    .kind = FLOW_ERROR,
		    .cause = d->cause,
		    .peer = d->hop,
		    .quoted = {d->bytes, d->n},
		};

		upkeep_on_fault(w, d);
		core_flow_event(w->core, worker_now(w), &e);
		free(d);
	}
}

void worker_settle(struct worker *w)
{
	for (int round = 0; round < ROUNDS; round++) {
		flush(w);
		if (!has_news(w))
			break;
		tell_faults(w);
		streams_tell(w->streams);
		dns_tell(w->dns);
	}
	flush(w); /* what is left is told in the next turn: see on_prepare */
	streams_reap(w->streams);
	worker_send_mail(w);
}

/* ---- the verbs ---- */

static void verb_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct worker *w = ctx;

	assert(to->listener < w->ports);
	if (to->transport == TRANSPORT_UDP)
		udp_send(&w->port[to->listener].udp, to, bytes);
	else
		streams_send(w->streams, to, bytes);
}

static void verb_open(void *ctx, const struct hop *flow)
{
	struct worker *w = ctx;

	assert(flow->listener < w->ports);
	streams_open(w->streams, flow);
}

static bool verb_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	struct worker *w = ctx;

	return streams_withdraw(w->streams, to, bytes);
}

static void verb_close(void *ctx, const struct hop *flow)
{
	struct worker *w = ctx;

	streams_close(w->streams, flow);
}

static void verb_query(void *ctx, struct query *q)
{
	struct worker *w = ctx;

	dns_query(w->dns, q);
}

static void verb_unquery(void *ctx, struct query *q)
{
	struct worker *w = ctx;

	dns_unquery(w->dns, q);
}

static bool verb_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	struct worker *w = ctx;

	return source_find(w->source, listener, to, out_r);
}

static void verb_post(void *ctx, unsigned worker, const struct post *msg)
{
	struct worker *w = ctx;

	assert(worker < w->conf.node->workers);
	worker_post(w, worker, msg);
}

static void verb_keep(void *ctx, struct str name, struct str bytes)
{
	struct worker *w = ctx;

	if (w->conf.state)
		statefile_keep(w->conf.state, name, bytes);
}

static void verb_log(void *ctx, const struct log_event *e)
{
	struct worker *w = ctx;

	logsink_write(w->conf.log, e);
}

static void verb_mirror(void *ctx, const struct addr *collector,
			struct str packet)
{
	struct worker *w = ctx;

	heps_send(&w->heps, core_counters(w->core), collector, packet);
}

/* ---- the loop ---- */

static void on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	struct worker *w = t->data;
	int64_t late = tick_diff(worker_now(w).mono, w->armed);

	(void)loop;
	(void)events;
	histogram_add(&core_counters(w->core)->hist[HIST_LOOP_LAG], late);
	w->armed = TICK_NEVER;
	worker_begin(w);
	upkeep_after_pause(w);
	core_expire(w->core, worker_now(w));
	worker_settle(w);
}

/* Before the loop sleeps: is there mail, and until when? What sockets gave has
 * been handled; what that is to send leaves with what the mail is to send. */
static void on_prepare(struct ev_loop *loop, ev_prepare *p, int events)
{
	struct worker *w = p->data;
	tick_t deadline, t;

	(void)events;
	worker_begin(w);
	worker_deliver_mail(w);
	deadline = core_deadline(w->core);
	t = worker_now(w).mono;
	succession_sweep(&w->scripts);
	if (has_news(w))
		deadline = t;
	if (deadline.us == w->armed.us)
		return;
	ev_timer_stop(loop, &w->timer);
	w->armed = deadline;
	if (deadline.us == TICK_NEVER.us)
		return;
	/* libev counts from the time it read last, which may be long ago. */
	ev_now_update(loop);
	ev_timer_set(&w->timer,
		     tick_before(t, deadline)
			 ? (double)tick_diff(deadline, t) / 1e6
			 : 0.,
		     0.);
	ev_timer_start(loop, &w->timer);
}

/* It has slept, if it did. */
static void on_check(struct ev_loop *loop, ev_check *c, int events)
{
	struct worker *w = c->data;

	(void)loop;
	(void)events;
	mailbox_wake(&w->mailbox);
}

static struct ask *next_ask(struct worker *w)
{
	struct list *it;

	pthread_mutex_lock(&w->asks_lock);
	it = list_first(&w->asks);
	if (it)
		list_remove(it);
	pthread_mutex_unlock(&w->asks_lock);
	return it ? container_of(it, struct ask, link) : NULL;
}

/* One, and then what has come from the network: however many ask, no call waits
 * for more than one of them. */
static void answer_ask(struct worker *w)
{
	struct ask *a = next_ask(w);

	if (!a)
		return;
	a->answer = script_ask(w->scripts.present, a->what, a->args,
			       worker_now(w), &a->ok);
	asks_return(a);
	worker_settle(w);
	ev_async_send(w->loop, &w->async); /* there may be more */
}

/* The control thread has the core until it says resume. */
static void rest(struct worker *w)
{
	worker_settle(w); /* what is to be sent does not rest with it */
	latch_post(&w->resting);
	latch_wait(&w->resume);
	/* What they say of TLS may be new. */
	memcpy(w->listeners.l, w->conf.node->listeners.l,
	       sizeof(w->listeners.l));
	dns_reload(w->dns);
	worker_begin(w);
	worker_settle(w);
}

static void on_async(struct ev_loop *loop, ev_async *a, int events)
{
	struct worker *w = a->data;

	(void)events;
	worker_begin(w);
	answer_ask(w);
	worker_answer(w);
	if (atomic_exchange(&w->summarise, false))
		worker_write_summary(w);
	if (atomic_exchange(&w->report, false))
		upkeep_report(w);
	if (atomic_exchange(&w->rest, false))
		rest(w);
	if (!atomic_load(&w->stop))
		return;
	worker_deliver_mail(w); /* before it answers what is open */
	ev_break(loop, EVBREAK_ALL);
}

/* ---- every few seconds ---- */

static void on_refresh(struct ev_loop *loop, ev_timer *t, int events)
{
	struct worker *w = t->data;

	(void)loop;
	(void)events;
	upkeep_addresses(w);
	upkeep_losses(w);
	for (unsigned i = 0; i < w->ports; i++)
		udp_tidy(&w->port[i].udp);
}

static void on_netlink(struct ev_loop *loop, ev_io *io, int events)
{
	struct worker *w = io->data;

	(void)loop;
	(void)events;
	source_drain(w->source);
	upkeep_addresses(w);
	streams_check_local(w->streams);
}

static void on_save(struct ev_loop *loop, ev_timer *t, int events)
{
	struct worker *w = t->data;

	(void)events;
	worker_begin(w);
	ev_timer_set(t, upkeep_save(w, worker_now(w)), 0.);
	ev_timer_start(loop, t);
}

/* ---- life ---- */

static void init_watchers(struct worker *w)
{
	ev_timer_init(&w->timer, on_timer, 0., 0.);
	ev_timer_init(&w->refresh, on_refresh, REFRESH_S, REFRESH_S);
	ev_timer_init(&w->save, on_save, 0., 0.);
	ev_prepare_init(&w->prepare, on_prepare);
	ev_check_init(&w->check, on_check);
	w->check.data = w;
	ev_async_init(&w->async, on_async);
	ev_io_init(&w->netlink, on_netlink, source_fd(w->source), EV_READ);
	w->timer.data = w->refresh.data = w->prepare.data = w;
	w->save.data = w;
	w->async.data = w->netlink.data = w;
	/* Messages first, housekeeping after them. */
	ev_set_priority(&w->refresh, EV_MINPRI);
	ev_set_priority(&w->save, EV_MINPRI);
	/* But of an address that has gone while we were stopped we know before
	 * what had come there is handled: it is another machine's to refuse. */
	ev_set_priority(&w->netlink, EV_MAXPRI);
}

struct worker *worker_new(const struct worker_conf *conf)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->conf = *conf;
	w->host = (struct host){
	    .ctx = w,
	    .listeners = &w->listeners,
	    .send = verb_send,
	    .open = verb_open,
	    .withdraw = verb_withdraw,
	    .close = verb_close,
	    .query = verb_query,
	    .unquery = verb_unquery,
	    .source = verb_source,
	    .post = verb_post,
	    .log = verb_log,
	    .keep = verb_keep,
	    .mirror = verb_mirror,
	};
	w->armed = TICK_NEVER;
	dgram_queue_init(&w->faults);
	heps_init(&w->heps, conf->log, conf->outages);
	mailbox_init(&w->mailbox);
	pthread_mutex_init(&w->asks_lock, NULL);
	list_init(&w->asks);
	latch_init(&w->started);
	latch_init(&w->go);
	latch_init(&w->resting);
	latch_init(&w->resume);
	latch_init(&w->answered);
	latch_init(&w->leave);
	w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	w->batch = udp_batch_new();
	w->source = source_new(&w->listeners);
	w->streams = worker_make_streams(w);
	w->dns = worker_make_dns(w);
	if (outbox_init(&w->outbox, conf->node->workers) != 0 || !w->batch ||
	    !w->streams || !w->dns) {
		worker_free(&w);
		return NULL;
	}
	w->scripts.present = conf->script;
	init_watchers(w);
	ev_async_start(w->loop, &w->async); /* others may send before we run */
	return w;
}

static int start(struct worker *w)
{
	int err;

	/* Without it limits cost more, and hold all the same. */
	if (w->conf.ticker)
		cputick_start(&w->cputick, w->conf.ticker);
	worker_begin(w);
	w->core = core_new(w->conf.node, w->conf.index, &w->host, w->conf.seed,
			   worker_now(w));
	if (!w->core)
		return ERR_NOMEM;
	ev_prepare_start(w->loop, &w->prepare);
	ev_check_start(w->loop, &w->check);
	ev_timer_start(w->loop, &w->refresh);
	if (source_fd(w->source) >= 0)
		ev_io_start(w->loop, &w->netlink);
	for (unsigned i = 0; i < w->ports; i++)
		if (w->port[i].udp.fd >= 0)
			ev_io_start(w->loop, &w->port[i].readable);
	streams_start(w->streams);
	err = script_bind(w->scripts.present, w->core, worker_now(w));
	if (!err && w->conf.state) {
		upkeep_restore(w, worker_now(w));
		ev_timer_start(w->loop, &w->save);
	}
	return err;
}

/* Answers what is open. */
static void stop(struct worker *w)
{
	worker_begin(w);
	worker_publish(w);
	succession_unbind(&w->scripts, worker_now(w));
	core_stop(w->core, worker_now(w));
	if (w->conf.state)
		upkeep_save(w, worker_now(w));
	flush(w);
	worker_send_mail(w);
}

/* Gives the answers a moment to leave, also those of other workers for which
 * the connection is here: by now all have stopped. */
static void finish(struct worker *w)
{
	latch_post(&w->answered);
	latch_wait(&w->leave);
	worker_deliver_answers(w);
	for (unsigned i = 0; i < w->ports; i++) {
		struct pollfd pfd = {w->port[i].udp.fd, POLLOUT, 0};

		if (!list_empty(&w->port[i].udp.queue.list) &&
		    poll(&pfd, 1, LINGER_MS) > 0)
			udp_flush(&w->port[i].udp);
	}
	streams_linger(w->streams, LINGER_MS);
}

static void run(void *arg)
{
	struct worker *w = arg;
	int err = start(w);

	w->error = err;
	latch_post(&w->started);
	if (!err) {
		latch_wait(&w->go);
		worker_settle(w);
		ev_run(w->loop, 0);
		stop(w);
		finish(w);
	}
	/* Handles point into the core, so they go before it. */
	succession_free(&w->scripts);
	core_free(&w->core);
	cputick_stop(&w->cputick);
}

void worker_go(struct worker *w)
{
	latch_post(&w->go);
}

int worker_start(struct worker *w)
{
	if (thread_start(&w->thread, run, w) != 0)
		return ERR_NOMEM;
	latch_wait(&w->started);
	if (w->error)
		worker_join(w);
	return w->error;
}

void worker_use_tls(struct worker *w, const struct tls_set *tls)
{
	streams_use_tls(w->streams, tls);
}

struct succession *worker_scripts(struct worker *w)
{
	return &w->scripts;
}

void worker_ask(struct worker *w, struct ask *a)
{
	pthread_mutex_lock(&w->asks_lock);
	list_append(&w->asks, &a->link);
	pthread_mutex_unlock(&w->asks_lock);
	ev_async_send(w->loop, &w->async);
}

void worker_report(struct worker *w)
{
	atomic_store(&w->report, true);
	ev_async_send(w->loop, &w->async);
}

void worker_free(struct worker **w)
{
	struct worker *worker = *w;

	*w = NULL;
	if (!worker)
		return;
	for (unsigned i = 0; i < worker->ports; i++)
		udp_close(&worker->port[i].udp);
	succession_free(&worker->scripts);
	streams_free(&worker->streams);
	dns_free(&worker->dns);
	dgram_queue_fini(&worker->faults);
	heps_close(&worker->heps);
	mailbox_fini(&worker->mailbox);
	outbox_fini(&worker->outbox);
	pthread_mutex_destroy(&worker->asks_lock);
	source_free(&worker->source);
	udp_batch_free(&worker->batch);
	if (worker->loop)
		ev_loop_destroy(worker->loop);
	latch_fini(&worker->started);
	latch_fini(&worker->go);
	latch_fini(&worker->resting);
	latch_fini(&worker->resume);
	latch_fini(&worker->answered);
	latch_fini(&worker->leave);
	free(worker_summary(worker));
	free(worker);
}
