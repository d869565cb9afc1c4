/*
 * The UDP socket on the loopback interface, without a loop: what the kernel
 * really does, and that the traps it sets are avoided.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host/udp.h"
#include "support/unit.h"

struct world {
	struct dgram_queue faults;
	struct udp udp;
	struct udp_batch *batch;
	struct addr at; /* where to reach the socket */
	char why[512];
};

static struct addr addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

/* The port that the kernel gave a socket. */
static uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct addr a;

	CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&sa);
	return a.port;
}

static void open_on(struct world *w, const char *bind_to, const char *reach)
{
	struct listener l = {.transport = TRANSPORT_UDP, .addr = addr(bind_to)};

	dgram_queue_init(&w->faults);
	w->batch = udp_batch_new();
	CHECK_INT(udp_open(&w->udp, &l, 0, SOCK_ALONE, &w->faults, w->why,
			   sizeof(w->why)),
		  0);
	w->at = addr(reach);
	w->at.port = port_of(w->udp.fd);
}

static void close_all(struct world *w)
{
	udp_close(&w->udp);
	udp_batch_free(&w->batch);
	dgram_queue_fini(&w->faults);
}

static int peer(const char *text, struct addr *a_r)
{
	struct sockaddr_storage sa;
	unsigned len;
	int fd;

	*a_r = addr(text);
	len = addr_to_sockaddr(a_r, (struct sockaddr *)&sa);
	fd = socket(a_r->family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0);
	a_r->port = port_of(fd);
	return fd;
}

static void say(int fd, const struct addr *to, struct str bytes)
{
	struct sockaddr_storage sa;
	unsigned len = addr_to_sockaddr(to, (struct sockaddr *)&sa);

	CHECK_INT(sendto(fd, bytes.p, bytes.n, 0, (struct sockaddr *)&sa, len),
		  bytes.n);
}

/* How many bytes arrive within a second, -1 for nothing. */
static int hear(int fd, struct addr *from_r)
{
	static const int second = 1000;
	struct pollfd p = {fd, POLLIN, 0};
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char bytes[65536];
	ssize_t n;

	if (poll(&p, 1, second) <= 0)
		return -1;
	n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sa, &len);
	addr_from_sockaddr(from_r, (struct sockaddr *)&sa);
	return (int)n;
}

/* Waits for one datagram. */
static bool receive(struct world *w, struct hop *hop_r, struct str *bytes_r)
{
	struct pollfd p = {w->udp.fd, POLLIN, 0};

	return poll(&p, 1, 1000) > 0 && udp_receive(&w->udp, w->batch) == 1 &&
	       udp_take(&w->udp, w->batch, 0, hop_r, bytes_r);
}

/* A hop to an address nobody listens on. */
static struct hop dead_hop(const struct world *w)
{
	struct hop hop = w->udp.hop;
	int fd = peer("127.0.0.1", &hop.addr);

	close(fd);
	return hop;
}

/* What the network said so far, one by one. */
static enum cause next_fault(struct world *w, struct addr *to_r, char *text,
			     size_t n)
{
	struct pollfd p = {w->udp.fd, POLLIN, 0};
	struct dgram *d;
	enum cause cause;

	if (!w->faults.n) {
		poll(&p, 1, 1000);
		udp_receive(&w->udp, w->batch);
	}
	d = dgram_queue_pop(&w->faults);
	if (!d)
		return CAUSE_NONE;
	*to_r = d->hop.addr;
	snprintf(text, n, "%.*s", (int)d->n, d->bytes);
	cause = d->cause;
	free(d);
	return cause;
}

static void check_answer_from(const char *bind_to, const char *reach,
			      const char *from)
{
	struct world w;
	struct addr client, source;
	struct str bytes;
	struct hop hop;
	int fd = peer(from, &client);

	open_on(&w, bind_to, reach);
	say(fd, &w.at, STR("hello"));
	CHECK(receive(&w, &hop, &bytes));
	CHECK_STR(bytes, "hello");
	CHECK(addr_eq(&hop.addr, &client));
	CHECK(addr_ip_eq(&hop.local, &w.at));
	udp_send(&w.udp, &hop, STR("you too"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(hear(fd, &source), 7);
	CHECK(addr_eq(&source, &w.at));
	close(fd);
	close_all(&w);
}

TEST(answers_come_from_the_address_that_was_asked)
{
	check_answer_from("127.0.0.1", "127.0.0.1", "127.0.0.1");
	check_answer_from("0.0.0.0", "127.0.0.1", "127.0.0.1");
	check_answer_from("0.0.0.0", "127.0.0.5", "127.0.0.1");
	check_answer_from("::1", "::1", "::1");
	check_answer_from("::", "::1", "::1");
}

TEST(wildcards_of_both_families_share_a_port)
{
	struct world v4, v6;
	struct listener l = {.transport = TRANSPORT_UDP, .addr = addr("::")};

	open_on(&v4, "0.0.0.0", "127.0.0.1");
	l.addr.port = v4.at.port;
	dgram_queue_init(&v6.faults);
	CHECK_INT(udp_open(&v6.udp, &l, 1, SOCK_ALONE, &v6.faults, v6.why,
			   sizeof(v6.why)),
		  0);
	udp_close(&v6.udp);
	close_all(&v4);
}

/* Microseconds since 1970. */
static int64_t wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

TEST(it_is_known_how_long_a_datagram_has_waited)
{
	struct world w;
	struct addr from;
	struct hop hop;
	struct str bytes;
	int64_t sent, read;
	int fd;

	open_on(&w, "127.0.0.1", "127.0.0.1");
	fd = peer("127.0.0.1", &from);
	sent = wall();
	say(fd, &w.at, STR("x"));
	usleep(20000);
	CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	CHECK(udp_take(&w.udp, w.batch, 0, &hop, &bytes));
	read = wall();
	CHECK(w.udp.came >= sent);
	CHECK(w.udp.came <= read - 20000);
	close(fd);
	close_all(&w);
}

TEST(a_port_has_one_owner)
{
	struct world w, second;
	struct listener l = {.transport = TRANSPORT_UDP};

	open_on(&w, "127.0.0.1", "127.0.0.1");
	l.addr = w.at;
	dgram_queue_init(&second.faults);
	CHECK_INT(udp_open(&second.udp, &l, 0, SOCK_ALONE, &second.faults,
			   second.why, sizeof(second.why)),
		  EADDRINUSE);
	CHECK(strstr(second.why, "udp:127.0.0.1:"));
	CHECK(strstr(second.why, "ss -lunp"));
	close_all(&w);
}

TEST(largest_datagram_fits_and_an_empty_one_counts)
{
	static const char zeros[65507];
	struct world w;
	struct addr client;
	struct str bytes;
	struct hop hop;
	int fd = peer("127.0.0.1", &client), size = 1 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	open_on(&w, "127.0.0.1", "127.0.0.1");
	say(fd, &w.at, (struct str){zeros, sizeof(zeros)});
	CHECK(receive(&w, &hop, &bytes));
	CHECK_INT(bytes.n, sizeof(zeros));
	say(fd, &w.at, STR(""));
	CHECK(receive(&w, &hop, &bytes));
	CHECK_INT(bytes.n, 0);
	CHECK_INT(w.udp.stats.in, 2);
	close(fd);
	close_all(&w);
}

TEST(closed_port_is_told_with_what_was_sent)
{
	struct world w;
	struct addr to;
	struct hop dead;
	char text[64];

	open_on(&w, "127.0.0.1", "127.0.0.1");
	dead = dead_hop(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(next_fault(&w, &to, text, sizeof(text)), CAUSE_ICMP_PORT);
	CHECK(addr_eq(&to, &dead.addr));
	CHECK_STR(str_from(text), "INVITE");
	close_all(&w);
}

/* With IP_RECVERR the kernel answers a send with what ICMP said about an
 * earlier one, and drops it. */
TEST(an_error_about_one_peer_costs_no_datagram_to_another)
{
	struct world w;
	struct addr to, from;
	struct hop dead, live;
	char text[64];
	int fd;

	open_on(&w, "127.0.0.1", "127.0.0.1");
	live = w.udp.hop;
	fd = peer("127.0.0.1", &live.addr);
	dead = dead_hop(&w);
	for (int i = 0; i < 50; i++) {
		udp_send(&w.udp, &dead, STR("dead"));
		CHECK(udp_flush(&w.udp));
		udp_send(&w.udp, &live, STR("alive"));
		CHECK(udp_flush(&w.udp));
		CHECK_INT(hear(fd, &from), 5);
		CHECK_INT(next_fault(&w, &to, text, sizeof(text)),
			  CAUSE_ICMP_PORT);
		CHECK(addr_eq(&to, &dead.addr));
	}
	CHECK_INT(w.faults.n, 0);
	close(fd);
	close_all(&w);
}

/* What came after the error is not kept waiting by it, nor it by that. */
TEST(an_error_and_a_datagram_are_read_in_one_turn)
{
	struct world w;
	struct addr client;
	struct hop dead;
	int fd = peer("127.0.0.1", &client);

	open_on(&w, "127.0.0.1", "127.0.0.1");
	dead = dead_hop(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	say(fd, &w.at, STR("hello"));
	CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	CHECK_INT(w.faults.n, 1);
	CHECK_INT(udp_receive(&w.udp, w.batch), 0);
	close(fd);
	close_all(&w);
}

static int pending_error(int fd)
{
	int err;
	socklen_t len = sizeof(err);

	CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0);
	return err;
}

/* Somebody else was told of the error: the queue has it still, and a loop
 * would find the socket readable for ever. */
TEST(an_error_that_was_told_elsewhere_is_read)
{
	struct world w;
	struct hop dead;

	open_on(&w, "127.0.0.1", "127.0.0.1");
	dead = dead_hop(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(pending_error(w.udp.fd), ECONNREFUSED);
	CHECK_INT(udp_receive(&w.udp, w.batch), 0);
	CHECK_INT(w.faults.n, 1);
	close_all(&w);
}

/* The kernel says of a batch that it was sent in part, and forgets why. What
 * comes in meanwhile is no reason not to look: under load there is always
 * something. */
TEST(an_error_in_the_middle_of_a_batch_is_read)
{
	struct world w;
	struct addr client;
	struct hop dead, alive;
	int fd = peer("127.0.0.1", &client);

	open_on(&w, "127.0.0.1", "127.0.0.1");
	alive = dead = dead_hop(&w);
	alive.addr = client;
	udp_send(&w.udp, &dead, STR("INVITE"));
	udp_send(&w.udp, &alive, STR("200"));
	CHECK(udp_flush(&w.udp));
	for (int i = 0; i < 2; i++) {
		say(fd, &w.at, STR("hello"));
		CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	}
	CHECK_INT(w.faults.n, 1);
	CHECK_INT(w.udp.stats.out, 2);
	close(fd);
	close_all(&w);
}

static enum cause send_and_fail(struct world *w, const struct hop *hop,
				struct str bytes)
{
	struct addr to;
	char text[8];

	udp_send(&w->udp, hop, bytes);
	CHECK(udp_flush(&w->udp));
	CHECK(w->faults.n == 1); /* at once, not from the error queue */
	return next_fault(w, &to, text, sizeof(text));
}

TEST(send_errors_are_causes)
{
	static const char zeros[65520];
	struct world w;
	struct hop hop;

	open_on(&w, "0.0.0.0", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = w.at;
	CHECK_INT(send_and_fail(&w, &hop, (struct str){zeros, sizeof(zeros)}),
		  CAUSE_TOO_BIG);
	hop.local = addr("192.0.2.77"); /* nobody's */
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	close_all(&w);
}

TEST(an_address_of_another_machine_is_bound_but_not_sent_from)
{
	struct world w;
	struct hop hop;

	open_on(&w, "192.0.2.77", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = addr("127.0.0.1:9");
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	close_all(&w);
}

TEST(ipv6_that_is_away_does_not_send)
{
	struct world w;
	struct addr from;
	struct hop hop;
	int fd;

	open_on(&w, "2001:db8::77", "::1");
	hop = w.udp.hop;
	fd = peer("::1", &hop.addr);
	w.udp.is_away = true; /* the kernel would really send it */
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	CHECK(recv(fd, &from, sizeof(from), MSG_DONTWAIT) < 0);
	close(fd);
	close_all(&w);
}

TEST(queue_is_bounded_and_keeps_the_order)
{
	struct world w;
	struct hop hop;
	struct dgram *d;

	open_on(&w, "127.0.0.1", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = w.at;
	for (int i = 0; i < DGRAM_QUEUE_MAX; i++)
		CHECK(dgram_queue_add(&w.udp.queue, &hop, CAUSE_NONE,
				      i ? STR("later") : STR("first")));
	CHECK(!dgram_queue_add(&w.udp.queue, &hop, CAUSE_NONE, STR("lost")));
	d = dgram_queue_pop(&w.udp.queue);
	CHECK_STR(((struct str){d->bytes, d->n}), "first");
	free(d);
	close_all(&w);
}

/* Of any size, in turn: what is kept is used again and has the new bytes. */
TEST(memory_of_what_is_done_is_used_again)
{
	static char text[2 * DGRAM_ROOM];
	struct world w;
	struct dgram *d;

	open_on(&w, "127.0.0.1", "127.0.0.1");
	w.udp.queue.reuses = true;
	for (int round = 0; round < 3; round++) {
		memset(text, 'a' + round, sizeof(text));
		for (size_t i = 0; i < 2 * DGRAM_SPARES; i++)
			CHECK(dgram_queue_add(&w.udp.queue, &w.udp.hop,
					      CAUSE_NONE,
					      (struct str){text, 30 * i}));
		for (size_t i = 0; i < 2 * DGRAM_SPARES; i++) {
			d = dgram_of(list_first(&w.udp.queue.list));
			CHECK_INT(d->n, 30 * i);
			CHECK(memcmp(d->bytes, text, d->n) == 0);
			dgram_queue_done(&w.udp.queue);
		}
		CHECK_INT(w.udp.queue.n + w.udp.queue.bytes, 0);
		CHECK_INT(w.udp.queue.spares, DGRAM_SPARES);
	}
	close_all(&w);
}
