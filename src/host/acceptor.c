#include "host/stream_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/keyfile.h"

/*
 * A listening socket. Whom it accepts is the core's to judge, once it is told
 * that the connection is up.
 */

enum {
	/* Connections before others get their turn. */
	ACCEPTS = 16,
	/* Without descriptors: until it is worth another try. Seconds. */
	PAUSE_S = 1,
	/* Descriptors that are not for who connects, or a quarter where there
	 * are few: without any no server is reached, no name and no route
	 * looked up, no snapshot written. */
	RESERVE = 128,
	/* TLS handshakes at once; the core does not know of them yet, so its
	 * own limits do not hold. */
	SHAKING_MAX = 512,
};

/* ---- listening ---- */

static int open_socket(const struct listener *l, enum sock_sharing sharing)
{
	bool v6 = l->addr.family == ADDR_V6;
	int fd = socket(v6 ? AF_INET6 : AF_INET,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -1;
	/* A restart must not wait for the connections of the one before. */
	sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (v6)
		sock_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (!addr_is_any(&l->addr))
		sock_set_freebind(fd, v6);
	if (sock_bind(fd, &l->addr, sharing) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* ---- accepting ---- */

static void say(const struct acceptor *a, enum log_level level,
		const char *state, const char *reason)
{
	const struct listener *l = &a->ss->conf.listeners->l[a->listener];

	logsink_say(a->ss->conf.log, level, "listener.accepting",
		    LOGF_ADDR("listener", &l->addr),
		    LOGF_STR("state", str_from(state)),
		    LOGF_STR("reason", str_from(reason)));
}

/* The queue of the kernel stays as it is, and readable: not to look at it for a
 * while is all that can be done. */
static void pause_accepting(struct acceptor *a, int err)
{
	ev_io_stop(a->ss->conf.loop, &a->io);
	ev_timer_set(&a->resume, PAUSE_S, 0.);
	ev_timer_start(a->ss->conf.loop, &a->resume);
	a->ss->stats.pauses++;
	if (!a->is_paused)
		say(a, LOG_ERROR, "paused", strerror(err));
	a->is_paused = true;
}

static void on_resume(struct ev_loop *loop, ev_timer *t, int events)
{
	struct acceptor *a = t->data;

	(void)events;
	ev_io_start(loop, &a->io);
}

/* Is there room for one more TLS handshake, of this peer? */
static bool has_room(const struct streams *ss, const struct addr *peer)
{
	struct addr holder = addr_holder(peer);
	unsigned n = 0;

	if (ss->n_guests >= SHAKING_MAX)
		return false;
	if (ss->n_guests < ss->conf.limits->per_source)
		return true;
	list_each (it, &ss->guests) {
		const struct stream *s =
		    container_of(it, const struct stream, guest);

		struct addr other = addr_holder(&s->hop.addr);

		n += addr_ip_eq(&other, &holder);
	}
	return n < ss->conf.limits->per_source;
}

static void welcome(struct acceptor *a, int fd, const struct sockaddr *sa)
{
	struct streams *ss = a->ss;
	struct hop hop = {.listener = (uint16_t)a->listener,
			  .worker = (uint8_t)ss->conf.worker};
	struct stream *s;
	uint64_t random;

	keyfile_random(&random, sizeof(random));
	hop.transport = ss->conf.listeners->l[a->listener].transport;
	hop.conn = conn_make(ss->conf.worker, true, random);
	addr_from_sockaddr(&hop.addr, sa);
	if (hop.transport == TRANSPORT_TLS && !has_room(ss, &hop.addr)) {
		ss->stats.refused++;
		close(fd);
		return;
	}
	s = stream_new(ss, fd, &hop, true);
	if (s)
		stream_begin(s);
	else
		close(fd);
}

/* The kernel gives out the lowest that is free. */
static bool is_reserved(int fd)
{
	struct rlimit l;
	rlim_t n;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur == RLIM_INFINITY)
		return false;
	n = l.rlim_cur / 4 < RESERVE ? l.rlim_cur / 4 : RESERVE;
	return (rlim_t)fd >= l.rlim_cur - n;
}

/* False: enough for this turn. */
static bool accept_one(struct acceptor *a)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(a->fd, (struct sockaddr *)&sa, &len,
			 SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0 && is_reserved(fd)) {
		close(fd);
		pause_accepting(a, EMFILE);
		return false;
	}
	if (fd >= 0) {
		if (a->is_paused)
			say(a, LOG_INFO, "resumed", "");
		a->is_paused = false;
		welcome(a, fd, (struct sockaddr *)&sa);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
	    errno == ENOMEM)
		pause_accepting(a, errno);
	/* What else it says is about a connection that is gone already. */
	return errno != EAGAIN && ev_is_active(&a->io);
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int events)
{
	struct acceptor *a = io->data;
	const struct streams_user *u = &a->ss->conf.user;
	int n = 0;

	(void)loop;
	(void)events;
	u->begin(u->ctx);
	while (n < ACCEPTS && accept_one(a))
		n++;
	u->end(u->ctx);
}

/* ---- life ---- */

int streams_listen(struct streams *ss, unsigned listener,
		   enum sock_sharing sharing, char *why, size_t n)
{
	const struct listener *l = &ss->conf.listeners->l[listener];
	struct acceptor *a = calloc(1, sizeof(*a));
	int err = ENOMEM;

	if (a) {
		a->fd = open_socket(l, sharing);
		err = a->fd < 0 ? errno : 0;
	}
	if (err) {
		free(a);
		return sock_cannot_listen(l, err, why, n);
	}
	a->ss = ss;
	a->listener = listener;
	ev_io_init(&a->io, on_acceptable, a->fd, EV_READ);
	ev_timer_init(&a->resume, on_resume, 0., 0.);
	a->io.data = a->resume.data = a;
	/* Those we have come before new ones. */
	ev_set_priority(&a->io, EV_MINPRI);
	list_append(&ss->acceptors, &a->link);
	return 0;
}

uint16_t streams_port(const struct streams *ss, unsigned listener)
{
	list_each (it, &ss->acceptors) {
		const struct acceptor *a =
		    container_of(it, const struct acceptor, link);

		if (a->listener == listener)
			return sock_local(a->fd).port;
	}
	return 0;
}

void streams_start(struct streams *ss)
{
	list_each (it, &ss->acceptors)
		ev_io_start(ss->conf.loop,
			    &container_of(it, struct acceptor, link)->io);
}

void acceptor_free(struct acceptor *a)
{
	ev_io_stop(a->ss->conf.loop, &a->io);
	ev_timer_stop(a->ss->conf.loop, &a->resume);
	list_remove(&a->link);
	close(a->fd);
	free(a);
}
