#include "host/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host/icmp.h"
#include "host/join.h"
#include "host/sock.h"
#include "host/source.h"
#include "util/sanitized.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif

enum {
	/* RFC 3261 18.1.1: datagrams up to the largest there are. */
	SLOT = 65536,
	RCVBUF = 4 * 1024 * 1024,
	SNDBUF = 1024 * 1024,
	RETRIES = 3,
	CONTROL = CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		  CMSG_SPACE(sizeof(uint32_t)) +
		  CMSG_SPACE(sizeof(struct timespec)),
};

union control {
	struct cmsghdr align;
	char space[CONTROL];
};
_Static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		       CMSG_SPACE(sizeof(uint16_t)) <=
		   CONTROL,
	       "what is sent needs the least");
_Static_assert((int)UDP_BATCH <= (int)JOIN_WINDOW, "one look for a batch");

struct udp_batch {
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_in6 name[UDP_BATCH]; /* big enough for both */
	union control control[UDP_BATCH];
	char *space;
	unsigned used; /* slots of which the kernel wrote the lengths */
};

struct udp_batch *udp_batch_new(void)
{
	struct udp_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->space = malloc((size_t)UDP_BATCH * SLOT);
	if (!b->space) {
		free(b);
		return NULL;
	}
	for (size_t i = 0; i < UDP_BATCH; i++) {
		b->iov[i] = (struct iovec){b->space + i * SLOT, SLOT};
		b->m[i].msg_hdr.msg_name = &b->name[i];
		b->m[i].msg_hdr.msg_iov = &b->iov[i];
		b->m[i].msg_hdr.msg_iovlen = 1;
		b->m[i].msg_hdr.msg_control = &b->control[i];
	}
	b->used = UDP_BATCH;
	return b;
}

void udp_batch_free(struct udp_batch **b)
{
	if (!*b)
		return;
	free((*b)->space);
	free(*b);
	*b = NULL;
}

/* ---- open ---- */

static void set_options(struct udp *u, bool v6)
{
	socklen_t len = sizeof(u->rcvbuf);

	/* No SO_REUSEADDR: UDP has no lingering ports to wait for, and with it
	 * a second process would silently take the traffic of the first. */
	if (v6) {
		sock_set(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
		sock_set(u->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	} else {
		sock_set(u->fd, IPPROTO_IP, IP_RECVERR, 1);
		/* Many networks drop "fragmentation needed"; a message with DF
		 * would vanish there for ever. */
		sock_set(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	}
	if (u->is_any && v6)
		sock_set(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else if (u->is_any)
		sock_set(u->fd, IPPROTO_IP, IP_PKTINFO, 1);
	else
		sock_set_freebind(u->fd, v6);
	sock_set(u->fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
	sock_set(u->fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
	sock_set(u->fd, SOL_SOCKET, SO_SNDBUF, SNDBUF);
	sock_set(u->fd, SOL_SOCKET, SO_RCVBUF, RCVBUF);
	sock_set(u->fd, SOL_SOCKET, SO_RCVBUFFORCE,
		 RCVBUF); /* above rmem_max */
	getsockopt(u->fd, SOL_SOCKET, SO_RCVBUF, &u->rcvbuf, &len);
}

/* A kernel that does not know UDP_SEGMENT would not refuse it with a message:
 * it would send one long datagram. */
static bool can_join(int fd)
{
	int size;
	socklen_t len = sizeof(size);

	return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &len) == 0;
}

void udp_init(struct udp *u, const struct listener *l, unsigned index,
	      struct dgram_queue *faults)
{
	*u = (struct udp){
	    .fd = -1, .is_any = addr_is_any(&l->addr), .faults = faults};
	u->hop.listener = (uint16_t)index;
	u->hop.transport = TRANSPORT_UDP;
	if (!u->is_any)
		u->hop.local = l->addr;
	dgram_queue_init(&u->queue);
	sent_init(&u->sent);
	u->queue.reuses = !SANITIZED;
}

int udp_open(struct udp *u, const struct listener *l, unsigned index,
	     enum sock_sharing sharing, struct dgram_queue *faults, char *why,
	     size_t n)
{
	bool v6 = l->addr.family == ADDR_V6;
	int err;

	assert(l->transport == TRANSPORT_UDP);
	udp_init(u, l, index, faults);
	u->fd = socket(v6 ? AF_INET6 : AF_INET,
		       SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u->fd >= 0) {
		set_options(u, v6);
		u->joins = can_join(u->fd);
		if (sock_bind(u->fd, &l->addr, sharing) == 0)
			return 0;
	}
	err = errno;
	sock_cannot_listen(l, err, why, n);
	udp_close(u);
	return err;
}

void udp_close(struct udp *u)
{
	dgram_queue_fini(&u->queue);
	sent_fini(&u->sent);
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

/* ---- what was refused ---- */

/* It is read for what leaves together, and need not be exact. */
static int64_t coarse_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return SECONDS(t.tv_sec) + t.tv_nsec / 1000;
}

void udp_refused(struct udp *u, const struct refusal *why)
{
	if (u->sent.n)
		sent_refused(&u->sent, why, coarse_now(), &u->queue, u->faults);
}

void udp_tidy(struct udp *u)
{
	if (u->sent.n)
		sent_expire(&u->sent, &u->queue, coarse_now());
}

/* As icmp_drain. */
static unsigned drain(struct udp *u)
{
	struct list *it = u->faults->list.prev, *last;
	unsigned n = icmp_drain(u->fd, &u->hop, u->faults);

	/* Those that fail with them come behind. */
	for (last = u->faults->list.prev; it != last;) {
		const struct dgram *d = dgram_of(it = it->next);
		struct refusal why = {&d->hop.addr, d->cause, {d->bytes, d->n}};

		udp_refused(u, &why);
	}
	return n;
}

/* ---- receive ---- */

static int receive(struct udp *u, struct udp_batch *b)
{
	int n;

	for (size_t i = 0; i < b->used; i++) {
		b->m[i].msg_hdr.msg_namelen = sizeof(b->name[i]);
		b->m[i].msg_hdr.msg_controllen = sizeof(b->control[i]);
	}
	n = recvmmsg(u->fd, b->m, UDP_BATCH, MSG_DONTWAIT, NULL);
	b->used = n > 0 ? (unsigned)n : 0;
	return n;
}

unsigned udp_receive(struct udp *u, struct udp_batch *b)
{
	int n = receive(u, b);

	/* An error of a datagram that we sent comes before all datagrams, once.
	 * When there are none either, but the loop said so, the error was told
	 * by a send call; unread it would make the loop say so for ever. */
	if (n < 0) {
		bool is_told = errno != EAGAIN && errno != EWOULDBLOCK;

		if (drain(u) || is_told)
			n = receive(u, b);
	}
	return n > 0 ? (unsigned)n : 0;
}

static void local_v4(struct hop *hop, const void *data)
{
	struct in_pktinfo info;

	/* ipi_spec_dst is ipi_addr, except for a broadcast: then it is what may
	 * be used to answer. */
	memcpy(&info, data, sizeof(info));
	hop->local.family = ADDR_V4;
	memcpy(hop->local.ip, &info.ipi_spec_dst, 4);
}

static void local_v6(struct hop *hop, const void *data)
{
	struct in6_pktinfo info;

	memcpy(&info, data, sizeof(info));
	if (IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
		return;
	hop->local.family = ADDR_V6;
	memcpy(hop->local.ip, &info.ipi6_addr, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		hop->local.scope = info.ipi6_ifindex;
}

static void read_control(struct udp *u, struct msghdr *m, struct hop *hop)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			local_v4(hop, CMSG_DATA(c));
		} else if (c->cmsg_level == IPPROTO_IPV6 &&
			   c->cmsg_type == IPV6_PKTINFO) {
			local_v6(hop, CMSG_DATA(c));
		} else if (c->cmsg_level == SOL_SOCKET &&
			   c->cmsg_type == SO_RXQ_OVFL) {
			uint32_t total;

			memcpy(&total, CMSG_DATA(c), sizeof(total));
			u->stats.kernel += (uint32_t)(total - u->kernel_seen);
			u->kernel_seen = total;
		} else if (c->cmsg_level == SOL_SOCKET &&
			   c->cmsg_type == SO_TIMESTAMPNS) {
			struct timespec t;

			memcpy(&t, CMSG_DATA(c), sizeof(t));
			u->came = SECONDS(t.tv_sec) + t.tv_nsec / 1000;
		}
	}
}

bool udp_take(struct udp *u, struct udp_batch *b, unsigned i, struct hop *hop_r,
	      struct str *bytes_r)
{
	struct msghdr *m = &b->m[i].msg_hdr;

	u->stats.in++;
	u->came = 0;
	*hop_r = u->hop;
	read_control(u, m, hop_r);
	if (m->msg_flags & MSG_TRUNC) {
		u->stats.truncated++;
		return false;
	}
	addr_from_sockaddr(&hop_r->addr, m->msg_name);
	*bytes_r = (struct str){m->msg_iov->iov_base, b->m[i].msg_len};
	return true;
}

/* ---- send ---- */

void udp_send(struct udp *u, const struct hop *to, struct str bytes)
{
	if (dgram_queue_is_full(&u->queue))
		udp_flush(u);
	if (!dgram_queue_add(&u->queue, to, CAUSE_NONE, bytes))
		u->stats.overflow++;
}

struct out {
	struct mmsghdr m[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage name[UDP_BATCH];
	union control control[UDP_BATCH];
	uint8_t size[JOIN_WINDOW]; /* how many datagrams leave by each */
};

static void put_control(struct msghdr *m, union control *space, int level,
			int type, const void *data, size_t n)
{
	struct cmsghdr *c =
	    (struct cmsghdr *)(space->space + m->msg_controllen);

	if (!m->msg_controllen)
		memset(space, 0, sizeof(*space));
	m->msg_control = space;
	m->msg_controllen += CMSG_SPACE(n);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(n);
	memcpy(CMSG_DATA(c), data, n);
}

/* Names the source, on a socket that has several. */
static void put_source(struct msghdr *m, union control *space,
		       const struct addr *local)
{
	if (local->family == ADDR_V4) {
		struct in_pktinfo info = {.ipi_ifindex = 0};

		memcpy(&info.ipi_spec_dst, local->ip, 4);
		put_control(m, space, IPPROTO_IP, IP_PKTINFO, &info,
			    sizeof(info));
	} else if (local->family == ADDR_V6) {
		struct in6_pktinfo info = {.ipi6_ifindex = local->scope};

		memcpy(&info.ipi6_addr, local->ip, 16);
		put_control(m, space, IPPROTO_IPV6, IPV6_PKTINFO, &info,
			    sizeof(info));
	}
}

/* The kernel is to cut it into datagrams of that size. */
static void put_segment(struct msghdr *m, union control *space, size_t size)
{
	uint16_t n = (uint16_t)size;

	put_control(m, space, IPPROTO_UDP, UDP_SEGMENT, &n, sizeof(n));
}

/* How many sends the next batch has; see join_arrange. */
static unsigned arrange(struct udp *u, uint8_t size[JOIN_WINDOW])
{
	size_t n = u->queue.n;

	if (u->joins && (!u->gso || *u->gso) && n > 1)
		return join_arrange(&u->queue, UDP_BATCH, size);
	n = n < UDP_BATCH ? n : UDP_BATCH;
	memset(size, 1, JOIN_WINDOW);
	return (unsigned)n;
}

static unsigned fill(struct udp *u, struct out *o)
{
	unsigned all = arrange(u, o->size);
	struct list *it = u->queue.list.next;
	struct iovec *iov = o->iov;

	for (unsigned i = 0; i < all; i++) {
		const struct dgram *d = dgram_of(it);
		struct msghdr *m = &o->m[i].msg_hdr;
		const struct iovec *end = iov + o->size[i];

		*m = (struct msghdr){.msg_iov = iov, .msg_iovlen = o->size[i]};
		m->msg_name = &o->name[i];
		m->msg_namelen = addr_to_sockaddr(&d->hop.addr, m->msg_name);
		if (u->is_any)
			put_source(m, &o->control[i], &d->hop.local);
		if (o->size[i] > 1)
			put_segment(m, &o->control[i], d->n);
		do {
			struct dgram *each = dgram_of(it);

			*iov++ = (struct iovec){each->bytes, each->n};
			it = it->next;
		} while (iov < end);
	}
	return all;
}

static void fail_head(struct udp *u, enum cause cause)
{
	struct dgram *d = dgram_queue_pop(&u->queue);

	u->retries = 0;
	if (dgram_queue_is_full(u->faults)) {
		u->stats.overflow++;
		free(d);
		return;
	}
	d->cause = cause;
	dgram_queue_push(u->faults, d);
}

/* The head of the queue would leave from an address of this machine. */
static bool has_source(const struct udp *u)
{
	const struct dgram *d = dgram_of(list_first(&u->queue.list));
	const struct addr *local = u->is_any ? &d->hop.local : &u->hop.local;

	return local->family == ADDR_NONE || source_is_local(local);
}

/* What was refused together is sent one by one: whose fault it is, if any's,
 * is seen then. */
static void part_head(struct udp *u, unsigned n, int err)
{
	struct list *it = u->queue.list.next;

	/* A device that computes no checksums, or IPsec: it stays like that.
	 * Anything else is about one path, or what ICMP said: no stranger may
	 * end it for all. */
	if (err == EIO)
		u->joins = false;
	for (; n; n--, it = it->next)
		dgram_of(it)->is_alone = true;
	u->retries = 0;
}

/* The first `n` of the queue were not sent. False: try again when writable. */
static bool on_send_error(struct udp *u, unsigned n, int err)
{
	bool is_joined = n > 1;

	if (err == EINTR)
		return true;
	if (err == EAGAIN || err == EWOULDBLOCK)
		return false;
	if ((err == ENOBUFS || err == ENOMEM) && !is_joined) {
		/* The queue of the interface dropped it. That is not the peer's
		 * fault, and nobody will tell when there is room again. */
		free(dgram_queue_pop(&u->queue));
		u->stats.no_buffer++;
		u->retries = 0;
		return true;
	}
	if (icmp_may_be_stale(err) && u->retries < RETRIES) {
		/* With IP_RECVERR a send reports, and is dropped for, what ICMP
		 * said about a datagram to somebody else. */
		unsigned drained = drain(u);

		if (u->retries++ == 0 || drained)
			return true;
	}
	if (err == ECONNREFUSED) {
		/* Never this datagram's own error: an unconnected socket cannot
		 * be refused. More are arriving just now; let them. */
		u->retries = 0;
		return false;
	}
	if (is_joined)
		part_head(u, n, err);
	else
		fail_head(u, icmp_send_cause(err, has_source(u)));
	return true;
}

/* The first `n` of the queue have left. */
static void on_sent(struct udp *u, unsigned n)
{
	u->stats.out += n;
	if (n > 1)
		u->stats.joined += n;
	if (n > 1 && !dgram_is_response(dgram_of(u->queue.list.next))) {
		sent_add(&u->sent, &u->queue, n, coarse_now());
		return;
	}
	do
		dgram_queue_done(&u->queue);
	while (--n);
}

bool udp_flush(struct udp *u)
{
	struct out o;

	while (u->is_away && !list_empty(&u->queue.list))
		fail_head(u, CAUSE_NO_SOURCE);
	while (!list_empty(&u->queue.list)) {
		unsigned all = fill(u, &o);
		int n = sendmmsg(u->fd, o.m, all, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && !on_send_error(u, o.size[0], errno))
			return false;
		if (n > 0)
			u->retries = 0;
		for (int i = 0; i < n; i++)
			on_sent(u, o.size[i]);
		/* What stopped it the kernel has forgotten. It may have been an
		 * error of a datagram that is gone, of which udp_receive would
		 * not hear while there are others to read. */
		if (n > 0 && (unsigned)n < all)
			drain(u);
	}
	return true;
}
