#include "host/hep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* The kernel takes a burst of calls before any of it has left. */
	SEND_BUFFER = 1024 * 1024,
};

static const char *reason_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return "refused";
	case EAGAIN:
	case ENOBUFS:
		return "full";
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return "unreachable";
	default:
		return "other";
	}
}

static enum counter counter_of(int err)
{
	switch (*reason_of(err)) {
	case 'r':
		return CNT_HEP_REFUSED;
	case 'f':
		return CNT_HEP_FULL;
	case 'u':
		return CNT_HEP_UNREACHABLE;
	default:
		return CNT_HEP_OTHER;
	}
}

/* ---- what becomes of packets ---- */

static void failed(struct heps *h, struct hep_way *w, struct counters *c,
		   int err)
{
	count(c, counter_of(err));
	outages_failed(h->outages, &w->to, &w->seen, h->log, reason_of(err),
		       err);
}

static void went_well(struct heps *h, struct hep_way *w, struct counters *c)
{
	count(c, CNT_HEP_SENT);
	outages_went_well(h->outages, &w->to, &w->seen, h->log);
}

/* ---- sockets ---- */

static int open_way(const struct addr *to)
{
	struct sockaddr_storage ss = {0};
	socklen_t n = addr_to_sockaddr(to, (struct sockaddr *)&ss);
	int size = SEND_BUFFER;
	int fd =
	    socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	/* Connected: only so is it told that nobody listens. */
	if (connect(fd, (struct sockaddr *)&ss, n) == 0)
		return fd;
	close(fd);
	return -1;
}

static void close_way(struct hep_way *w)
{
	if (w->to.family != ADDR_NONE && w->fd >= 0)
		close(w->fd);
	memset(w, 0, sizeof(*w));
	w->fd = -1;
}

/* The one that leads there, or the one that was used the longest ago. */
static struct hep_way *way_to(struct heps *h, const struct addr *to)
{
	struct hep_way *oldest = &h->way[0];

	for (size_t i = 0; i < HEP_COLLECTORS; i++) {
		struct hep_way *w = &h->way[i];

		if (w->to.family != ADDR_NONE && addr_eq(&w->to, to))
			return w;
		if (w->used < oldest->used)
			oldest = w;
	}
	close_way(oldest);
	oldest->to = *to;
	return oldest;
}

void heps_send(struct heps *h, struct counters *c, const struct addr *to,
	       struct str packet)
{
	struct hep_way *w = way_to(h, to);

	w->used = ++h->uses;
	if (w->fd < 0)
		w->fd = open_way(to);
	if (w->fd < 0) {
		failed(h, w, c, errno);
		return;
	}
	/* A refusal is what became of an earlier one: this one is still to be
	 * sent. */
	for (int tries = 0; tries < 2; tries++) {
		int err;

		if (send(w->fd, packet.p, packet.n, MSG_NOSIGNAL) >= 0) {
			went_well(h, w, c);
			return;
		}
		err = errno;
		failed(h, w, c, err);
		if (err != ECONNREFUSED)
			return;
	}
}

void heps_init(struct heps *h, struct logsink *log, struct outages *outages)
{
	memset(h, 0, sizeof(*h));
	h->log = log;
	h->outages = outages;
	for (size_t i = 0; i < HEP_COLLECTORS; i++)
		h->way[i].fd = -1;
}

void heps_close(struct heps *h)
{
	for (size_t i = 0; i < HEP_COLLECTORS; i++)
		close_way(&h->way[i]);
}
