#include "host/stream_int.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/tick.h"

enum {
	/* What a peer that vanished may cost: Timer B is three times that. */
	USER_TIMEOUT_MS = 10000,
	/* NATs and firewalls forget after minutes; SIP's own keep-alives are
	 * the phone's business. Seconds. */
	KEEP_IDLE = 60,
	KEEP_INTERVAL = 10,
	/* For the last answer on a connection that the core closes. */
	CLOSE_S = 2,
	/* Who gets that: the core counts those no more. */
	CLOSING_MAX = 1000,
};

/* ---- a connection ---- */

static void set_options(int fd)
{
	sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	sock_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
	sock_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE);
	sock_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL);
	sock_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

struct stream *stream_new(struct streams *ss, int fd, const struct hop *hop,
			  bool accepted)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->hop = *hop;
	s->hop.tls_name = NULL;
	if (hop->tls_name) {
		s->tls_name = strdup(hop->tls_name);
		if (!s->tls_name) {
			free(s);
			return NULL;
		}
		s->hop.tls_name = s->tls_name;
	}
	s->ss = ss;
	s->fd = fd;
	s->accepted = accepted;
	dgram_queue_init(&s->queue);
	ev_init(&s->io, stream_on_io);
	ev_init(&s->deadline, stream_on_deadline);
	s->io.data = s->deadline.data = s;
	/* Datagrams first: a stream keeps what it has. */
	ev_set_priority(&s->io, -1);
	list_append(&ss->all, &s->link);
	map_add(&ss->map, &s->node, hop->conn);
	if (fd >= 0) {
		set_options(fd);
		ss->stats.open++;
	}
	return s;
}

static void stream_free(struct stream *s)
{
	stream_drop(s);
	list_remove(&s->link);
	dgram_queue_fini(&s->queue);
	free(s->tls_name);
	free(s->why);
	free(s);
}

void stream_expect(struct stream *s, int events)
{
	if (ev_is_active(&s->io) &&
	    (s->io.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(s->ss->conf.loop, &s->io);
	ev_io_set(&s->io, s->fd, events);
	ev_io_start(s->ss->conf.loop, &s->io);
}

void stream_shaken(struct stream *s)
{
	if (!list_linked(&s->guest))
		return;
	list_remove(&s->guest);
	s->ss->n_guests--;
}

void stream_drop(struct stream *s)
{
	ev_io_stop(s->ss->conf.loop, &s->io);
	ev_timer_stop(s->ss->conf.loop, &s->deadline);
	list_remove(&s->dirty);
	list_remove(&s->ready);
	stream_shaken(s);
	tls_free(&s->tls);
	if (s->fd < 0)
		return;
	close(s->fd);
	s->fd = -1;
	s->ss->stats.open--;
}

static void tell_later(struct stream *s)
{
	if (!list_linked(&s->news))
		list_append(&s->ss->news, &s->news);
}

void stream_fail(struct stream *s, enum cause cause, const char *why)
{
	if (s->state == STREAM_CLOSING) {
		stream_bury(s);
		return;
	}
	assert(s->state < STREAM_FAILED);
	s->why = why ? strdup(why) : NULL; /* without memory: no words */
	stream_drop(s);
	s->state = STREAM_FAILED;
	s->cause = cause;
	s->tell_down = true;
	tell_later(s);
}

/* It is no longer found by its number. */
static void forget(struct stream *s)
{
	map_remove(&s->ss->map, &s->node);
	list_remove(&s->news);
	s->tell_up = s->tell_down = false;
}

void stream_bury(struct stream *s)
{
	assert(s->state != STREAM_DEAD);
	if (s->state == STREAM_CLOSING)
		s->ss->n_closing--;
	else
		forget(s);
	s->ss->stats.unsent += s->queue.n;
	stream_drop(s);
	s->state = STREAM_DEAD;
	list_remove(&s->link);
	list_append(&s->ss->dead, &s->link);
}

/* ---- opening ---- */

static int bind_to(int fd, const struct addr *local)
{
	struct sockaddr_storage sa;
	struct addr a = *local;

	if (local->family == ADDR_NONE)
		return 0;
	a.port = 0;
	/* The port is chosen when connecting, for that peer: not one per
	 * address of ours and for all peers. */
	sock_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return bind(fd, (struct sockaddr *)&sa,
		    addr_to_sockaddr(&a, (struct sockaddr *)&sa));
}

static int connect_to(int fd, const struct hop *hop)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(&hop->addr, (struct sockaddr *)&sa);

	if (bind_to(fd, &hop->local) < 0)
		return errno;
	if (connect(fd, (struct sockaddr *)&sa, len) == 0 ||
	    errno == EINPROGRESS)
		return 0;
	return errno;
}

/* A socket for the flow; -1 with errno. */
static int make_socket(const struct hop *flow)
{
	int domain = flow->addr.family == ADDR_V6 ? AF_INET6 : AF_INET;

	return socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* An address that is elsewhere must not be used: IPv6 would send from it. */
static bool is_away(const struct streams *ss, const struct hop *flow)
{
	return flow->local.family != ADDR_NONE && ss->conf.source &&
	       !source_has(ss->conf.source, flow->listener);
}

void streams_open(struct streams *ss, const struct hop *flow)
{
	int fd = make_socket(flow), err = fd < 0 ? errno : 0;
	struct stream *s = stream_new(ss, fd, flow, false);

	if (!s) {
		/* Without memory for the bad news there is the deadline. */
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!err && is_away(ss, flow))
		err = EADDRNOTAVAIL;
	if (!err)
		err = connect_to(fd, flow);
	if (err)
		stream_fail(s, stream_cause(s, err), strerror(err));
	else
		stream_expect(s, EV_WRITE);
}

/* ---- sending ---- */

static bool eq_conn(const struct map_node *node, const void *key)
{
	const struct stream *s = container_of(node, struct stream, node);

	return s->hop.conn == *(const uint64_t *)key;
}

static struct stream *find(const struct streams *ss, uint64_t conn)
{
	struct map_node *n = map_find(&ss->map, conn, eq_conn, &conn);

	return n ? container_of(n, struct stream, node) : NULL;
}

static void give_back(struct streams *ss, const struct hop *to,
		      enum cause cause, struct str bytes)
{
	if (!dgram_queue_add(ss->conf.faults, to, cause, bytes))
		ss->stats.unsent++;
}

void streams_send(struct streams *ss, const struct hop *to, struct str bytes)
{
	size_t limit = ss->conf.limits->queue;
	struct stream *s = find(ss, to->conn);
	bool fits;

	if (!s) {
		give_back(ss, to, CAUSE_CLOSED, bytes);
		return;
	}
	/* The core may have more to say in one go than may wait. */
	if (s->state == STREAM_UP && s->queue.bytes + bytes.n > limit)
		stream_write(s);
	fits = dgram_queue_add(&s->queue, to, CAUSE_NONE, bytes);
	if (!fits)
		give_back(ss, to, CAUSE_RESET, bytes);
	if (s->state == STREAM_FAILED)
		return; /* comes back with the others */
	if (!fits || s->queue.bytes > limit)
		stream_fail(s, CAUSE_RESET, "too much waits to be sent");
	else if (!list_linked(&s->dirty))
		list_append(&ss->dirty, &s->dirty);
}

bool streams_withdraw(struct streams *ss, const struct hop *to,
		      struct str bytes)
{
	struct stream *s = find(ss, to->conn);

	return s && s->state < STREAM_UP && dgram_queue_drop(&s->queue, bytes);
}

void streams_flush(struct streams *ss)
{
	struct list *first;

	while ((first = list_first(&ss->dirty)) != NULL) {
		struct stream *s = container_of(first, struct stream, dirty);

		list_remove(&s->dirty);
		if (s->state == STREAM_UP || s->state == STREAM_CLOSING)
			stream_write(s);
	}
}

/* ---- closing ---- */

void streams_close(struct streams *ss, const struct hop *flow)
{
	struct stream *s = find(ss, flow->conn);

	if (!s)
		return;
	if (s->state != STREAM_UP || list_empty(&s->queue.list) ||
	    ss->n_closing == CLOSING_MAX) {
		if (s->state == STREAM_UP && s->tls)
			tls_finish(s->tls);
		stream_bury(s);
		return;
	}
	forget(s);
	s->state = STREAM_CLOSING;
	ss->n_closing++;
	ev_timer_set(&s->deadline, CLOSE_S, 0.);
	ev_timer_start(ss->conf.loop, &s->deadline);
}

void streams_check_local(struct streams *ss)
{
	list_each_safe (it, &ss->all) {
		struct stream *s = container_of(it, struct stream, link);
		const struct listeners *ls = ss->conf.listeners;
		bool here = s->fd < 0;

		for (unsigned i = 0; i < ls->owns && !here; i++)
			here = addr_ip_eq(&ls->own[i], &s->hop.local);
		if (!here && s->hop.local.family != ADDR_NONE &&
		    !source_is_local(&s->hop.local))
			stream_fail(s, CAUSE_NO_SOURCE, "our address has gone");
	}
}

void streams_use_tls(struct streams *ss, const struct tls_set *tls)
{
	ss->conf.tls = tls;
}

/* ---- telling ---- */

static void tell_down(struct stream *s)
{
	const struct streams_user *u = &s->ss->conf.user;
	struct flow_event e = {.kind = FLOW_ERROR,
			       .cause = s->cause,
			       .accepted = s->accepted,
			       .peer = s->hop};
	struct dgram *d;

	forget(s);
	while ((d = dgram_queue_pop(&s->queue)) != NULL) {
		e.quoted = (struct str){d->bytes, d->n};
		u->event(u->ctx, &e);
		free(d);
	}
	e.kind = FLOW_DOWN;
	e.quoted = STR_NONE;
	e.text = str_from(s->why);
	u->event(u->ctx, &e);
	s->state = STREAM_DEAD;
	list_remove(&s->link);
	list_append(&s->ss->dead, &s->link);
}

void stream_tell(struct stream *s)
{
	const struct streams_user *u = &s->ss->conf.user;

	list_remove(&s->news);
	if (s->tell_up) {
		struct flow_event e = {
		    .kind = FLOW_UP, .accepted = s->accepted, .peer = s->hop};

		s->tell_up = false;
		u->event(u->ctx, &e);
	}
	if (s->tell_down)
		tell_down(s);
}

bool streams_have_news(const struct streams *ss)
{
	return !list_empty(&ss->news);
}

void streams_tell(struct streams *ss)
{
	struct list now, *first;

	/* Telling makes more; that is for the next time. */
	list_init(&now);
	while ((first = list_first(&ss->news)) != NULL) {
		list_remove(first);
		list_append(&now, first);
	}
	while ((first = list_first(&now)) != NULL)
		stream_tell(container_of(first, struct stream, news));
}

void streams_reap(struct streams *ss)
{
	struct list *first;

	while ((first = list_first(&ss->dead)) != NULL)
		stream_free(container_of(first, struct stream, link));
}

/* ---- all of them ---- */

struct streams *streams_new(const struct streams_conf *conf)
{
	struct streams *ss = calloc(1, sizeof(*ss));

	if (!ss)
		return NULL;
	ss->conf = *conf;
	mem_init(&ss->mem);
	list_init(&ss->all);
	list_init(&ss->dead);
	list_init(&ss->dirty);
	list_init(&ss->news);
	list_init(&ss->acceptors);
	list_init(&ss->guests);
	list_init(&ss->ready);
	ev_check_init(&ss->turns, stream_on_turns);
	ss->turns.data = ss;
	/* After everything that says who is ready. */
	ev_set_priority(&ss->turns, EV_MINPRI);
	ss->piece = malloc(STREAM_PIECE);
	if (ss->piece && map_init(&ss->map, &ss->mem) == 0) {
		ev_check_start(conf->loop, &ss->turns);
		return ss;
	}
	free(ss->piece);
	free(ss);
	return NULL;
}

void streams_free(struct streams **ssp)
{
	struct streams *ss = *ssp;
	struct list *first;

	*ssp = NULL;
	if (!ss)
		return;
	while ((first = list_first(&ss->acceptors)) != NULL)
		acceptor_free(container_of(first, struct acceptor, link));
	while ((first = list_first(&ss->all)) != NULL)
		stream_bury(container_of(first, struct stream, link));
	streams_reap(ss);
	ev_check_stop(ss->conf.loop, &ss->turns);
	map_fini(&ss->map);
	free(ss->piece);
	free(ss);
}

/* Until it takes more, or `ms` are over. */
static bool wait_writable(struct stream *s, int ms)
{
	struct pollfd p = {s->fd, POLLOUT, 0};

	return poll(&p, 1, ms) > 0;
}

void streams_linger(struct streams *ss, int ms)
{
	streams_flush(ss);
	list_each_safe (it, &ss->all) {
		struct stream *s = container_of(it, struct stream, link);

		if (s->fd < 0 || s->state < STREAM_UP ||
		    list_empty(&s->queue.list))
			continue;
		if (wait_writable(s, ms))
			stream_write(s);
		else
			ms = 0; /* one wait is enough for all */
	}
}

void streams_stats(const struct streams *ss, struct streams_stats *out_r)
{
	*out_r = ss->stats;
}
