#include "host/hep.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	/* The kernel takes a burst of calls before any of it has left. */
	SEND_BUFFER = 1024 * 1024,
	/* An outage is over after so long, and so many: where nobody listens
	 * every other datagram seems to be taken. */
	UP_S = 2,
	UP_GOOD = 3,
};

static int64_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

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

/* ---- outages ---- */

static void failed(struct heps *h, struct hep_way *w, struct counters *c,
		   int err)
{
	count(c, counter_of(err));
	w->lost++;
	w->good = 0;
	w->failed = seconds();
	if (w->down)
		return;
	w->down = true;
	logsink_say(h->log, LOG_WARN, "hep.down",
		    LOGF_ADDR("collector", &w->to),
		    LOGF_STR("reason", str_from(reason_of(err))),
		    LOGF_STR("error", str_from(strerror(err))));
}

static void went_well(struct heps *h, struct hep_way *w, struct counters *c)
{
	count(c, CNT_HEP_SENT);
	if (!w->down || ++w->good < UP_GOOD || seconds() - w->failed < UP_S)
		return;
	w->down = false;
	logsink_say(h->log, LOG_INFO, "hep.up", LOGF_ADDR("collector", &w->to),
		    LOGF_INT("dropped", (int64_t)w->lost));
	w->lost = 0;
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
		if (send(w->fd, packet.p, packet.n, MSG_NOSIGNAL) >= 0) {
			went_well(h, w, c);
			return;
		}
		failed(h, w, c, errno);
		if (errno != ECONNREFUSED)
			return;
	}
}

void heps_init(struct heps *h, struct logsink *log)
{
	memset(h, 0, sizeof(*h));
	h->log = log;
	for (size_t i = 0; i < HEP_COLLECTORS; i++)
		h->way[i].fd = -1;
}

void heps_close(struct heps *h)
{
	for (size_t i = 0; i < HEP_COLLECTORS; i++)
		close_way(&h->way[i]);
}
