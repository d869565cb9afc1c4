#include "host/sock.h"
#include "host/steer.h"
#include "host/worker_int.h"

/*
 * The sockets of a worker: what comes from them goes to its core.
 */

enum {
	/* Batches of one socket before others get their turn. */
	BATCHES = 4,
};

/* ---- datagrams ---- */

/* The kernel stamps what comes with the wall time. */
static void receive(struct worker *w, struct port *p, const struct hop *from,
		    struct str bytes)
{
	struct now now = worker_now(w);
	int64_t waited = p->udp.came ? now.wall.us - p->udp.came : 0;

	core_came(w->core, now, tick_add(now.mono, -waited));
	core_receive(w->core, now, from, bytes);
}

static void receive_batch(struct worker *w, struct port *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct hop from;
		struct str bytes;

		if (!udp_take(&p->udp, w->batch, i, &from, &bytes))
			continue;
		upkeep_after_pause(w);
		receive(w, p, &from, bytes);
	}
}

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
	struct port *p = io->data;
	struct worker *w = p->worker;

	(void)loop;
	(void)events;
	worker_begin(w);
	for (int i = 0; i < BATCHES; i++) {
		unsigned n = udp_receive(&p->udp, w->batch);

		receive_batch(w, p, n);
		if (n < UDP_BATCH)
			break;
		worker_settle(w);
	}
	/* Who waits for it begins now; what is sent leaves before the loop
	 * sleeps. */
	worker_send_mail(w);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int events)
{
	struct port *p = io->data;

	(void)loop;
	(void)events;
	worker_begin(p->worker);
	worker_settle(p->worker);
	if (list_empty(&p->udp.queue.list))
		ev_io_stop(p->worker->loop, &p->writable);
}

/* ---- streams ---- */

static void on_begin(void *ctx)
{
	worker_begin(ctx);
}

static void streams_receive(void *ctx, const struct hop *from, struct str bytes,
			    int64_t waited)
{
	struct worker *w = ctx;
	struct now now = worker_now(w);

	core_came(w->core, now, tick_add(now.mono, -waited));
	core_receive(w->core, now, from, bytes);
}

static void streams_event(void *ctx, const struct flow_event *e)
{
	struct worker *w = ctx;

	core_flow_event(w->core, worker_now(w), e);
}

static void on_end(void *ctx)
{
	worker_settle(ctx);
}

struct streams *worker_make_streams(struct worker *w)
{
	struct streams_conf conf = {
	    .loop = w->loop,
	    .listeners = &w->listeners,
	    .limits = &w->conf.node->settings.streams,
	    .source = w->source,
	    .faults = &w->faults,
	    .log = w->conf.log,
	    .tls = w->conf.tls,
	    .worker = w->conf.index,
	    .user = {.ctx = w,
		     .begin = on_begin,
		     .receive = streams_receive,
		     .event = streams_event,
		     .end = on_end},
	};

	return w->loop && w->source ? streams_new(&conf) : NULL;
}

/* ---- names ---- */

static void on_answer(void *ctx, struct query *q, const struct answer *a)
{
	struct worker *w = ctx;

	core_answer(w->core, worker_now(w), q, a);
}

struct dns *worker_make_dns(struct worker *w)
{
	struct dns_conf conf = {
	    .loop = w->loop,
	    .limits = &w->conf.node->settings.dns,
	    .log = w->conf.log,
	    .user = {.ctx = w,
		     .begin = on_begin,
		     .answer = on_answer,
		     .end = on_end},
	};

	return w->loop ? dns_new(&conf) : NULL;
}

/* ---- listening ---- */

/* Each worker has sockets of its own: the kernel gives what comes from one peer
 * to one of them. */
static enum sock_sharing sharing(const struct worker *w)
{
	if (w->conf.node->workers == 1)
		return SOCK_ALONE;
	return w->conf.index == 0 ? SOCK_SHARES : SOCK_JOINS;
}

/* It is said once. */
static void say_open(struct worker *w, unsigned i, int receive_buffer)
{
	const struct listener *l = &w->listeners.l[i];
	struct log_field f[] = {
	    LOGF_STR("transport",
		     str_from(transport_name((enum transport)l->transport))),
	    LOGF_ADDR("listener", &l->addr),
	    LOGF_INT("receive_buffer", receive_buffer),
	};
	struct log_event e = {LOG_INFO, "listener.open", f,
			      receive_buffer ? 3 : 2};

	if (w->conf.index == 0)
		logsink_write(w->conf.log, &e);
}

static int listen_udp(struct worker *w, struct port *p, unsigned i, char *why,
		      size_t n)
{
	const struct listener *l = &w->listeners.l[i];
	int err = udp_open(&p->udp, l, i, sharing(w), &w->faults, why, n);

	if (err)
		return err;
	p->udp.gso = &w->conf.node->settings.udp_gso;
	/* Once all sockets are there: it tells them apart by their order. Where
	 * the kernel will not, more is handed over. */
	if (w->conf.index > 0 && w->conf.index == w->conf.node->workers - 1)
		steer_responses(p->udp.fd, w->conf.node->workers);
	ev_io_init(&p->readable, on_readable, p->udp.fd, EV_READ);
	ev_io_init(&p->writable, on_writable, p->udp.fd, EV_WRITE);
	p->readable.data = p->writable.data = p;
	say_open(w, i, p->udp.rcvbuf);
	return 0;
}

static int listen_stream(struct worker *w, struct port *p, unsigned i,
			 char *why, size_t n)
{
	const struct listener *l = &w->listeners.l[i];
	int err = streams_listen(w->streams, i, sharing(w), why, n);

	udp_init(&p->udp, l, i, &w->faults); /* nothing is ever in it */
	if (err)
		return err;
	say_open(w, i, 0);
	return 0;
}

/* Port 0 is whichever the system chose; what we call ourselves names it. */
static void note_port(struct worker *w, unsigned i)
{
	struct listener *l = &w->listeners.l[i];
	struct udp *u = &w->port[i].udp;

	if (l->addr.port)
		return;
	l->addr.port = l->transport == TRANSPORT_UDP
			   ? sock_local(u->fd).port
			   : streams_port(w->streams, i);
	/* For the other workers, and for whoever is to be told. */
	w->conf.node->listeners.l[i].addr.port = l->addr.port;
	if (!u->is_any)
		u->hop.local.port = l->addr.port;
}

int worker_listen(struct worker *w, char *why, size_t n)
{
	struct listeners *ls = &w->listeners;

	*ls = w->conf.node->listeners;
	while (w->ports < ls->n) {
		struct port *p = &w->port[w->ports];
		int err = (ls->l[w->ports].transport == TRANSPORT_UDP
			       ? listen_udp
			       : listen_stream)(w, p, w->ports, why, n);

		if (err)
			return err;
		note_port(w, w->ports);
		p->worker = w;
		w->ports++;
	}
	upkeep_addresses(w);
	return 0;
}
