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

#include "udp_world.h"

static void check_answer_from(const char *bind_to, const char *reach,
			      const char *from)
{
	struct udp_world w;
	struct addr client, source;
	struct str bytes;
	struct hop hop;
	int fd = udp_world_peer(from, &client);

	udp_world_open(&w, bind_to, reach);
	udp_world_say(fd, &w.at, STR("hello"));
	CHECK(udp_world_receive(&w, &hop, &bytes));
	CHECK_STR(bytes, "hello");
	CHECK(addr_eq(&hop.addr, &client));
	CHECK(addr_ip_eq(&hop.local, &w.at));
	udp_send(&w.udp, &hop, STR("you too"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(udp_world_hear(fd, &source), 7);
	CHECK(addr_eq(&source, &w.at));
	close(fd);
	udp_world_close(&w);
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
	struct udp_world v4, v6;
	struct listener l = {.transport = TRANSPORT_UDP,
			     .addr = udp_world_addr("::")};

	udp_world_open(&v4, "0.0.0.0", "127.0.0.1");
	l.addr.port = v4.at.port;
	dgram_queue_init(&v6.faults);
	CHECK_INT(udp_open(&v6.udp, &l, 1, SOCK_ALONE, &v6.faults, v6.why,
			   sizeof(v6.why)),
		  0);
	udp_close(&v6.udp);
	udp_world_close(&v4);
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
	struct udp_world w;
	struct addr from;
	struct hop hop;
	struct str bytes;
	int64_t sent, read;
	int fd;

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	fd = udp_world_peer("127.0.0.1", &from);
	sent = wall();
	udp_world_say(fd, &w.at, STR("x"));
	usleep(20000);
	CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	CHECK(udp_take(&w.udp, w.batch, 0, &hop, &bytes));
	read = wall();
	CHECK(w.udp.came >= sent);
	CHECK(w.udp.came <= read - 20000);
	close(fd);
	udp_world_close(&w);
}

TEST(a_port_has_one_owner)
{
	struct udp_world w, second;
	struct listener l = {.transport = TRANSPORT_UDP};

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	l.addr = w.at;
	dgram_queue_init(&second.faults);
	CHECK_INT(udp_open(&second.udp, &l, 0, SOCK_ALONE, &second.faults,
			   second.why, sizeof(second.why)),
		  EADDRINUSE);
	CHECK(strstr(second.why, "udp:127.0.0.1:"));
	CHECK(strstr(second.why, "ss -lunp"));
	udp_world_close(&w);
}

TEST(largest_datagram_fits_and_an_empty_one_counts)
{
	static const char zeros[65507];
	struct udp_world w;
	struct addr client;
	struct str bytes;
	struct hop hop;
	int fd = udp_world_peer("127.0.0.1", &client), size = 1 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	udp_world_say(fd, &w.at, (struct str){zeros, sizeof(zeros)});
	CHECK(udp_world_receive(&w, &hop, &bytes));
	CHECK_INT(bytes.n, sizeof(zeros));
	udp_world_say(fd, &w.at, STR(""));
	CHECK(udp_world_receive(&w, &hop, &bytes));
	CHECK_INT(bytes.n, 0);
	CHECK_INT(w.udp.stats.in, 2);
	close(fd);
	udp_world_close(&w);
}

TEST(closed_port_is_told_with_what_was_sent)
{
	struct udp_world w;
	struct addr to;
	struct hop dead;
	char text[64];

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	dead = udp_world_dead(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(udp_world_fault(&w, &to, text, sizeof(text)),
		  CAUSE_ICMP_PORT);
	CHECK(addr_eq(&to, &dead.addr));
	CHECK_STR(str_from(text), "INVITE");
	udp_world_close(&w);
}

/* With IP_RECVERR the kernel answers a send with what ICMP said about an
 * earlier one, and drops it. */
TEST(an_error_about_one_peer_costs_no_datagram_to_another)
{
	struct udp_world w;
	struct addr to, from;
	struct hop dead, live;
	char text[64];
	int fd;

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	live = w.udp.hop;
	fd = udp_world_peer("127.0.0.1", &live.addr);
	dead = udp_world_dead(&w);
	for (int i = 0; i < 50; i++) {
		udp_send(&w.udp, &dead, STR("dead"));
		CHECK(udp_flush(&w.udp));
		udp_send(&w.udp, &live, STR("alive"));
		CHECK(udp_flush(&w.udp));
		CHECK_INT(udp_world_hear(fd, &from), 5);
		CHECK_INT(udp_world_fault(&w, &to, text, sizeof(text)),
			  CAUSE_ICMP_PORT);
		CHECK(addr_eq(&to, &dead.addr));
	}
	CHECK_INT(w.faults.n, 0);
	close(fd);
	udp_world_close(&w);
}

/* What came after the error is not kept waiting by it, nor it by that. */
TEST(an_error_and_a_datagram_are_read_in_one_turn)
{
	struct udp_world w;
	struct addr client;
	struct hop dead;
	int fd = udp_world_peer("127.0.0.1", &client);

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	dead = udp_world_dead(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	udp_world_say(fd, &w.at, STR("hello"));
	CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	CHECK_INT(w.faults.n, 1);
	CHECK_INT(udp_receive(&w.udp, w.batch), 0);
	close(fd);
	udp_world_close(&w);
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
	struct udp_world w;
	struct hop dead;

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	dead = udp_world_dead(&w);
	udp_send(&w.udp, &dead, STR("INVITE"));
	CHECK(udp_flush(&w.udp));
	CHECK_INT(pending_error(w.udp.fd), ECONNREFUSED);
	CHECK_INT(udp_receive(&w.udp, w.batch), 0);
	CHECK_INT(w.faults.n, 1);
	udp_world_close(&w);
}

/* The kernel says of a batch that it was sent in part, and forgets why. What
 * comes in meanwhile is no reason not to look: under load there is always
 * something. */
TEST(an_error_in_the_middle_of_a_batch_is_read)
{
	struct udp_world w;
	struct addr client;
	struct hop dead, alive;
	int fd = udp_world_peer("127.0.0.1", &client);

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	alive = dead = udp_world_dead(&w);
	alive.addr = client;
	udp_send(&w.udp, &dead, STR("INVITE"));
	udp_send(&w.udp, &alive, STR("200"));
	CHECK(udp_flush(&w.udp));
	for (int i = 0; i < 2; i++) {
		udp_world_say(fd, &w.at, STR("hello"));
		CHECK_INT(udp_receive(&w.udp, w.batch), 1);
	}
	CHECK_INT(w.faults.n, 1);
	CHECK_INT(w.udp.stats.out, 2);
	close(fd);
	udp_world_close(&w);
}

static enum cause send_and_fail(struct udp_world *w, const struct hop *hop,
				struct str bytes)
{
	struct addr to;
	char text[8];

	udp_send(&w->udp, hop, bytes);
	CHECK(udp_flush(&w->udp));
	CHECK(w->faults.n == 1); /* at once, not from the error queue */
	return udp_world_fault(w, &to, text, sizeof(text));
}

TEST(send_errors_are_causes)
{
	static const char zeros[65520];
	struct udp_world w;
	struct hop hop;

	udp_world_open(&w, "0.0.0.0", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = w.at;
	CHECK_INT(send_and_fail(&w, &hop, (struct str){zeros, sizeof(zeros)}),
		  CAUSE_TOO_BIG);
	hop.local = udp_world_addr("192.0.2.77"); /* nobody's */
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	udp_world_close(&w);
}

TEST(an_address_of_another_machine_is_bound_but_not_sent_from)
{
	struct udp_world w;
	struct hop hop;

	udp_world_open(&w, "192.0.2.77", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = udp_world_addr("127.0.0.1:9");
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	udp_world_close(&w);
}

TEST(ipv6_that_is_away_does_not_send)
{
	struct udp_world w;
	struct addr from;
	struct hop hop;
	int fd;

	udp_world_open(&w, "2001:db8::77", "::1");
	hop = w.udp.hop;
	fd = udp_world_peer("::1", &hop.addr);
	w.udp.is_away = true; /* the kernel would really send it */
	CHECK_INT(send_and_fail(&w, &hop, STR("x")), CAUSE_NO_SOURCE);
	CHECK(recv(fd, &from, sizeof(from), MSG_DONTWAIT) < 0);
	close(fd);
	udp_world_close(&w);
}

TEST(queue_is_bounded_and_keeps_the_order)
{
	struct udp_world w;
	struct hop hop;
	struct dgram *d;

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
	hop = w.udp.hop;
	hop.addr = w.at;
	for (int i = 0; i < DGRAM_QUEUE_MAX; i++)
		CHECK(dgram_queue_add(&w.udp.queue, &hop, CAUSE_NONE,
				      i ? STR("later") : STR("first")));
	CHECK(!dgram_queue_add(&w.udp.queue, &hop, CAUSE_NONE, STR("lost")));
	d = dgram_queue_pop(&w.udp.queue);
	CHECK_STR(((struct str){d->bytes, d->n}), "first");
	free(d);
	udp_world_close(&w);
}

/* Of any size, in turn: what is kept is used again and has the new bytes. */
TEST(memory_of_what_is_done_is_used_again)
{
	static char text[2 * DGRAM_ROOM];
	struct udp_world w;
	struct dgram *d;

	udp_world_open(&w, "127.0.0.1", "127.0.0.1");
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
	udp_world_close(&w);
}

static void check_two(struct udp_world *w, struct udp_batch *b,
		      const char *from)
{
	struct addr client;
	struct str bytes;
	struct hop hop;
	int fd = udp_world_peer(from, &client);

	for (int i = 0; i < 2; i++)
		udp_world_say(fd, &w->at, STR("hello"));
	CHECK_INT(udp_receive(&w->udp, b), 2);
	for (unsigned i = 0; i < 2; i++) {
		CHECK(udp_take(&w->udp, b, i, &hop, &bytes));
		CHECK(addr_eq(&hop.addr, &client));
		CHECK(addr_ip_eq(&hop.local, &w->at));
		CHECK(w->udp.came > 0);
	}
	close(fd);
}

/* What one socket needs less room for leaves the other all of it. */
TEST(a_batch_serves_sockets_of_both_families)
{
	struct udp_world v4, v6;

	udp_world_open(&v4, "127.0.0.1", "127.0.0.1");
	udp_world_open(&v6, "::", "::1");
	for (int round = 0; round < 2; round++) {
		check_two(&v4, v4.batch, "127.0.0.1");
		CHECK_INT(udp_receive(&v4.udp, v4.batch), 0);
		check_two(&v6, v4.batch, "::1");
	}
	udp_world_close(&v4);
	udp_world_close(&v6);
}
