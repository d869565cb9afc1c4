#include "host/stream_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * What moves on a connection: the steps of coming up, bytes in, messages out.
 */

enum {
	/* Pieces of one connection before others get their turn. */
	READS = 4,
	/* Messages in one call of the kernel. */
	WRITES = 16,
};

/* For reading, in one turn of the loop, one connection at least. Seconds: well
 * below T1, since datagrams and timers have to wait for it. */
static const double TURN_S = 0.005;

/* ---- errors ---- */

enum cause stream_cause(const struct stream *s, int err)
{
	switch (err) {
	case ECONNREFUSED:
		return CAUSE_REFUSED;
	case ETIMEDOUT:
		return s->state == STREAM_CONNECTING ? CAUSE_CONNECT_TIMEOUT
						     : CAUSE_RESET;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case EACCES: /* prohibited, by a router or by our packet filter */
	case EPERM:
		return CAUSE_ICMP_HOST;
	case ENETUNREACH:
		/* Also what IPv4 says of a source that is elsewhere. */
		return s->hop.local.family == ADDR_NONE ||
			       source_is_local(&s->hop.local)
			   ? CAUSE_ICMP_NET
			   : CAUSE_NO_SOURCE;
	case ECONNRESET:
	case EPIPE:
		return CAUSE_RESET;
	default:
		/* No descriptor, port or memory, no such address: whatever it
		 * is, it is on our side. */
		return s->state == STREAM_CONNECTING ? CAUSE_NO_SOURCE
						     : CAUSE_RESET;
	}
}

static void fail_errno(struct stream *s, int err)
{
	stream_fail(s, stream_cause(s, err), strerror(err));
}

/* After SOCK_FAILED. */
static void fail(struct stream *s)
{
	if (!s->tls || tls_cause(s->tls) == CAUSE_NONE)
		fail_errno(s, errno);
	else
		stream_fail(s, tls_cause(s->tls), tls_why(s->tls));
}

/* ---- coming up ---- */

static void come_up(struct stream *s)
{
	ev_timer_stop(s->ss->conf.loop, &s->deadline);
	s->state = STREAM_UP;
	s->hop.local = sock_local(s->fd);
	s->tell_up = true;
	list_append(&s->ss->news, &s->news);
	stream_expect(s, EV_READ);
	stream_write(s);
}

/* An accepted one: its certificate may say who it is. */
static void take_identity(struct stream *s)
{
	const char *name = tls_identity(s->tls);

	stream_shaken(s);
	s->tls_name = name ? strdup(name) : NULL; /* without memory: nobody */
	s->hop.tls_name = s->tls_name;
}

static void shake(struct stream *s)
{
	enum sock_result r = tls_handshake(s->tls);

	switch (r) {
	case SOCK_WANT_READ:
	case SOCK_WANT_WRITE:
		stream_expect(s, r == SOCK_WANT_READ ? EV_READ : EV_WRITE);
		break;
	case SOCK_DONE:
		if (s->accepted)
			take_identity(s);
		come_up(s);
		break;
	default:
		fail(s);
	}
}

static void begin_shaking(struct stream *s)
{
	const struct tls_set *set = s->ss->conf.tls;

	if (set)
		s->tls = s->accepted
			     ? tls_accept(set, s->hop.listener, s->fd)
			     : tls_connect(set, s->hop.tls, s->fd, s->tls_name);
	if (!s->tls) {
		stream_fail(s, CAUSE_TLS_HANDSHAKE, "cannot begin with TLS");
		return;
	}
	s->state = STREAM_SHAKING;
	if (s->accepted) {
		list_append(&s->ss->guests, &s->guest);
		s->ss->n_guests++;
	}
	shake(s);
}

/* The kernel may choose the very port that nobody listens on, and then TCP's
 * simultaneous open succeeds. */
static bool is_own_echo(const struct stream *s)
{
	struct addr local = sock_local(s->fd);

	return addr_eq(&local, &s->hop.addr);
}

static void on_connected(struct stream *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (!err && is_own_echo(s))
		err = ECONNREFUSED;
	if (err)
		fail_errno(s, err);
	else if (s->hop.transport == TRANSPORT_TLS)
		begin_shaking(s);
	else
		come_up(s);
}

void stream_begin(struct stream *s)
{
	double limit = (double)s->ss->conf.limits->handshake / 1e6;

	if (s->hop.transport != TRANSPORT_TLS) {
		come_up(s);
		return;
	}
	ev_timer_set(&s->deadline, limit, 0.);
	ev_timer_start(s->ss->conf.loop, &s->deadline);
	begin_shaking(s);
}

/* ---- bytes in ---- */

static enum sock_result read_piece(struct stream *s, size_t *n_r)
{
	ssize_t n;

	if (s->tls)
		return tls_read(s->tls, s->ss->piece, STREAM_PIECE, n_r);
	do
		n = recv(s->fd, s->ss->piece, STREAM_PIECE, 0);
	while (n < 0 && errno == EINTR);
	*n_r = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return SOCK_DONE;
	if (n == 0)
		return SOCK_END;
	return errno == EAGAIN ? SOCK_WANT_READ : SOCK_FAILED;
}

/* A peer that ends its half has ended the connection: nothing in SIP needs the
 * other half alone. */
static void on_readable(struct stream *s)
{
	const struct streams_user *u = &s->ss->conf.user;

	s->is_behind = false;
	for (int i = 0; i < READS && s->state == STREAM_UP; i++) {
		size_t n;
		enum sock_result r = read_piece(s, &n);

		if (r == SOCK_DONE)
			u->receive(u->ctx, &s->hop,
				   (struct str){s->ss->piece, n},
				   (int64_t)((ev_time() - s->since) * 1e6));
		else if (r == SOCK_END)
			stream_fail(s, CAUSE_CLOSED, NULL);
		else if (r == SOCK_FAILED)
			fail(s);
		else
			return;
	}
	s->is_behind = true;
}

/* What still comes in is not wanted; but closing before it is read would reset
 * the connection, and with it our last answer. */
static void drain(struct stream *s)
{
	for (int i = 0; i < READS; i++) {
		size_t n;
		enum sock_result r = read_piece(s, &n);

		if (r == SOCK_END || r == SOCK_FAILED)
			stream_bury(s);
		if (r != SOCK_DONE)
			return;
	}
}

/* ---- messages out ---- */

static unsigned gather(const struct stream *s, struct iovec *iov)
{
	size_t skip = s->written;
	unsigned n = 0;

	list_each (it, &s->queue.list) {
		struct dgram *d = dgram_of(it);

		iov[n++] = (struct iovec){d->bytes + skip, d->n - skip};
		skip = 0;
		if (n == WRITES)
			break;
	}
	return n;
}

static enum sock_result write_some(struct stream *s, size_t *n_r)
{
	struct iovec iov[WRITES];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = gather(s, iov)};
	ssize_t n;

	if (s->tls)
		return tls_write(s->tls, iov[0].iov_base, iov[0].iov_len, n_r);
	do
		n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	*n_r = n > 0 ? (size_t)n : 0;
	if (n >= 0)
		return SOCK_DONE;
	return errno == EAGAIN ? SOCK_WANT_WRITE : SOCK_FAILED;
}

static void advance(struct stream *s, size_t n)
{
	struct list *first;

	s->written += n;
	while ((first = list_first(&s->queue.list)) != NULL &&
	       s->written >= dgram_of(first)->n) {
		s->written -= dgram_of(first)->n;
		free(dgram_queue_pop(&s->queue));
	}
}

/* Our half of a connection that is being closed ends when all is written. */
static void finish_half(struct stream *s)
{
	if (s->is_half)
		return;
	s->is_half = true;
	if (s->tls)
		tls_finish(s->tls);
	shutdown(s->fd, SHUT_WR);
}

void stream_write(struct stream *s)
{
	while (!list_empty(&s->queue.list)) {
		size_t n;
		enum sock_result r = write_some(s, &n);

		if (r == SOCK_FAILED) {
			fail(s);
			return;
		}
		if (r != SOCK_DONE) {
			stream_expect(s, r == SOCK_WANT_READ
					     ? EV_READ
					     : EV_READ | EV_WRITE);
			return;
		}
		advance(s, n);
	}
	stream_expect(s, EV_READ);
	if (s->state == STREAM_CLOSING)
		finish_half(s);
}

/* ---- the loop ---- */

static void step(struct stream *s, int events)
{
	if (list_linked(&s->news))
		stream_tell(s); /* that it is up, before its first bytes */
	switch (s->state) {
	case STREAM_CONNECTING:
		on_connected(s);
		break;
	case STREAM_SHAKING:
		shake(s);
		break;
	case STREAM_UP:
		if (events & EV_READ)
			on_readable(s);
		/* TLS may have waited for something to read before it wrote. */
		if (s->state == STREAM_UP && (events & EV_WRITE || s->tls))
			stream_write(s);
		break;
	case STREAM_CLOSING:
		drain(s);
		if (s->state == STREAM_CLOSING && events & EV_WRITE)
			stream_write(s);
		break;
	case STREAM_FAILED:
	case STREAM_DEAD:
		break;
	}
}

static void take_step(struct stream *s, int events)
{
	const struct streams_user *u = &s->ss->conf.user;

	u->begin(u->ctx);
	step(s, events);
	u->end(u->ctx); /* s may be gone */
}

void stream_on_io(struct ev_loop *loop, ev_io *io, int events)
{
	struct stream *s = io->data;

	if (s->state == STREAM_UP && events & EV_READ) {
		events &= ~EV_READ;
		if (!list_linked(&s->ready)) {
			if (!s->is_behind)
				s->since = ev_now(loop);
			list_append(&s->ss->ready, &s->ready);
		}
	}
	if (events)
		take_step(s, events);
}

/* Those that are left are first in the next turn of the loop, which comes at
 * once: they are still readable. */
void stream_on_turns(struct ev_loop *loop, ev_check *c, int events)
{
	struct streams *ss = c->data;
	struct list *first;
	double began = ev_time();

	(void)loop;
	(void)events;
	while ((first = list_first(&ss->ready)) != NULL) {
		list_remove(first);
		take_step(container_of(first, struct stream, ready), EV_READ);
		if (ev_time() - began > TURN_S)
			break;
	}
}

void stream_on_deadline(struct ev_loop *loop, ev_timer *t, int events)
{
	struct stream *s = t->data;
	const struct streams_user *u = &s->ss->conf.user;

	(void)loop;
	(void)events;
	u->begin(u->ctx);
	if (s->state == STREAM_SHAKING)
		stream_fail(s, CAUSE_TLS_HANDSHAKE,
			    "the handshake took too long");
	else
		stream_bury(s);
	u->end(u->ctx);
}
