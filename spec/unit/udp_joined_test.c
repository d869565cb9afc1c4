/*
 * What leaves together, on the loopback interface: whoever gets them
 * cannot tell, and what the kernel refuses is no loss.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/send_fail.h"
#include "udp_world.h"

enum { LENGTH = 200 };

struct net {
	struct udp_world w;
	int fd;
	struct hop to; /* the peer who has fd */
	bool asks;     /* requests, not answers */
};

static void set_up(struct net *n, const char *bind_to, const char *at)
{
	int size = 4 << 20;

	udp_world_open(&n->w, bind_to, at);
	n->asks = false;
	n->to = n->w.udp.hop;
	n->fd = udp_world_peer(at, &n->to.addr);
	setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	send_fail(0, 0, 0);
	CHECK(n->w.udp.joins); /* Linux 4.18 */
}

static void tear_down(struct net *n)
{
	send_fail(0, 0, 0);
	close(n->fd);
	udp_world_close(&n->w);
}

/* Of one length whatever the number is. */
static struct str message(const struct net *n, int i, char *text)
{
	int length =
	    snprintf(text, LENGTH,
		     "%s\r\n"
		     "Call-ID: %06d@192.0.2.1\r\nContent-Length: 0\r\n\r\n",
		     n->asks ? "INVITE sip:bob@192.0.2.9 SIP/2.0"
			     : "SIP/2.0 503 Service Unavailable",
		     i);

	return (struct str){text, (size_t)length};
}

static void send_messages(struct net *n, int from, int to)
{
	char text[LENGTH];

	for (int i = from; i < to; i++)
		udp_send(&n->w.udp, &n->to, message(n, i, text));
}

static void check_heard(struct net *n, struct str want)
{
	static char got[65536];
	struct addr from;
	int bytes = udp_world_read(n->fd, &from, got);

	CHECK_INT(bytes, want.n);
	CHECK(memcmp(got, want.p, want.n) == 0);
	CHECK(addr_eq(&from, &n->w.at));
}

/* Each is a datagram of its own, in order, and there is nothing else. */
static void check_messages(struct net *n, int from, int to)
{
	char text[LENGTH];

	for (int i = from; i < to; i++)
		check_heard(n, message(n, i, text));
	CHECK(recv(n->fd, text, 1, MSG_DONTWAIT) < 0);
}

static void check_twenty(const char *bind_to, const char *at)
{
	struct net n;

	set_up(&n, bind_to, at);
	n.to.local = n.w.at;
	send_messages(&n, 0, 20);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 20);
	CHECK_INT(n.w.udp.stats.out, 20);
	CHECK_INT(n.w.udp.stats.joined, 20);
	CHECK_INT(send_fail(0, 0, 0), 1);
	CHECK_INT(n.w.udp.queue.n + n.w.udp.queue.bytes, 0);
	tear_down(&n);
}

TEST(who_gets_them_cannot_tell)
{
	check_twenty("127.0.0.1", "127.0.0.1");
	check_twenty("::1", "::1");
	/* with their source beside the length */
	check_twenty("0.0.0.0", "127.0.0.1");
	check_twenty("0.0.0.0", "127.0.0.5");
	check_twenty("::", "::1");
}

TEST(hundreds_leave_at_once)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	send_messages(&n, 0, 200);
	CHECK_INT(n.w.udp.queue.n, 200);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 200);
	CHECK_INT(n.w.udp.stats.out, 200);
	CHECK_INT(n.w.udp.stats.joined, 200);
	CHECK_INT(send_fail(0, 0, 0), (200 + UDP_BATCH - 1) / UDP_BATCH);
	tear_down(&n);
}

TEST(two_are_enough)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	send_messages(&n, 0, 1);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 1);
	CHECK_INT(n.w.udp.stats.joined, 0);
	send_messages(&n, 1, 3);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 1, 3);
	CHECK_INT(n.w.udp.stats.joined, 2);
	tear_down(&n);
}

/* All but one of them are as long as each other. */
TEST(a_call_rings_before_it_is_answered)
{
	static const char *const say[] = {
	    "SIP/2.0 180 Ringing\r\nCall-ID: a\r\n\r\n",
	    "SIP/2.0 180 Ringing\r\nCall-ID: b\r\n\r\n",
	    "SIP/2.0 486 Busy\r\nCall-ID: c\r\n\r\n",
	    "SIP/2.0 200 Is OK  \r\nCall-ID: b\r\n\r\n",
	    "SIP/2.0 200 Is OK  \r\nCall-ID: a\r\n\r\n",
	    "SIP/2.0 200 Is OK  \r\nCall-ID: c\r\n\r\n",
	};
	static const int heard[] = {0, 1, 3, 4, 2, 5};
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	for (size_t i = 0; i < ARRAY_LEN(say); i++)
		udp_send(&n.w.udp, &n.to, str_from(say[i]));
	CHECK(udp_flush(&n.w.udp));
	for (size_t i = 0; i < ARRAY_LEN(say); i++)
		check_heard(&n, str_from(say[heard[i]]));
	CHECK_INT(n.w.udp.stats.out, 6);
	CHECK_INT(n.w.udp.stats.joined, 4);
	tear_down(&n);
}

TEST(a_kernel_that_cannot_is_not_asked)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	n.w.udp.joins = false;
	send_messages(&n, 0, 20);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 20);
	CHECK_INT(n.w.udp.stats.joined, 0);
	tear_down(&n);
}

TEST(an_operator_says_whether)
{
	bool gso = false;
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	n.w.udp.gso = &gso;
	send_messages(&n, 0, 20);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 20);
	CHECK_INT(n.w.udp.stats.out, 20);
	CHECK_INT(n.w.udp.stats.joined, 0);
	gso = true;
	send_messages(&n, 20, 40);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 20, 40);
	CHECK_INT(n.w.udp.stats.joined, 20);
	tear_down(&n);
}

/* ---- what is refused together ---- */

/* The kernel does not cut apart what has no checksum. */
TEST(what_a_kernel_refuses_leaves_one_by_one)
{
	struct net n;
	int on = 1;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	setsockopt(n.w.udp.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on));
	send_messages(&n, 0, 70);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 70);
	CHECK(send_fail(0, 0, 0) > 0);
	CHECK_INT(n.w.udp.stats.out, 70);
	CHECK_INT(n.w.udp.stats.joined, 0);
	CHECK(n.w.udp.joins); /* to another peer it may do */
	CHECK_INT(n.w.faults.n, 0);
	tear_down(&n);
}

/* What is sent after a refusal of what is joined, of which 20 come first and
 * then 20 more: all is there, `joined` of them joined. */
static void check_refused_of(bool asks, int err, unsigned times,
			     unsigned joined, bool joins)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	n.asks = asks;
	send_fail(err, times, 2);
	for (int i = 0; i < 40; i += 20) {
		send_messages(&n, i, i + 20);
		CHECK(udp_flush(&n.w.udp));
		check_messages(&n, i, i + 20);
	}
	CHECK_INT(n.w.udp.stats.out, 40);
	CHECK_INT(n.w.udp.stats.joined, joined);
	CHECK_INT(n.w.udp.stats.no_buffer, 0);
	CHECK_INT(n.w.udp.joins, joins);
	CHECK_INT(n.w.faults.n, 0);
	CHECK_INT(n.w.udp.retries, 0);
	/* of what left alone nobody else can be told */
	CHECK_INT(n.w.udp.sent.n, asks ? joined : 0);
	tear_down(&n);
}

static void check_refused(int err, unsigned times, unsigned joined, bool joins)
{
	check_refused_of(false, err, times, joined, joins);
	check_refused_of(true, err, times, joined, joins);
}

TEST(a_refusal_of_all_is_one_of_none)
{
	/* no checksums by the device, or IPsec: for ever */
	check_refused(EIO, 1, 0, false);
	check_refused(EINVAL, 1, 20, true);
	check_refused(EINVAL, 9, 0, true);
	/* no memory for so much in one piece, or no room for it */
	check_refused(ENOBUFS, 1, 20, true);
	check_refused(ENOMEM, 1, 20, true);
	/* this may be about another datagram: it is tried once more */
	check_refused(EMSGSIZE, 1, 40, true);
	check_refused(EMSGSIZE, 2, 20, true);
	check_refused(EOPNOTSUPP, 1, 40, true);
	check_refused(EHOSTUNREACH, 2, 20, true);
	check_refused(EINTR, 3, 40, true);
}

TEST(what_was_refused_is_joined_with_nothing_new)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	send_messages(&n, 0, 3);
	send_fail(EINVAL, 1, 2);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 0, 3);
	send_messages(&n, 3, 6);
	send_fail(EAGAIN, 1, 1);
	CHECK(!udp_flush(&n.w.udp)); /* it waits, and more comes */
	CHECK_INT(n.w.udp.queue.n, 3);
	send_messages(&n, 6, 9);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 3, 9);
	CHECK_INT(n.w.udp.stats.out, 9);
	CHECK_INT(n.w.udp.stats.joined, 6);
	tear_down(&n);
}

/* Whatever else there is in the queue is not touched by it. */
TEST(what_is_beside_leaves_once)
{
	static const char first[] = "BYE sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n";
	static const char last[] = "BYE sip:ab SIP/2.0\r\nCall-ID: y\r\n\r\n";
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	udp_send(&n.w.udp, &n.to, STR(first));
	send_messages(&n, 0, 10);
	udp_send(&n.w.udp, &n.to, STR(last));
	send_fail(EINVAL, 1, 2);
	CHECK(udp_flush(&n.w.udp));
	check_heard(&n, STR(first));
	for (int i = 0; i < 10; i++) {
		char text[LENGTH];

		check_heard(&n, message(&n, i, text));
	}
	check_heard(&n, STR(last));
	CHECK_INT(n.w.udp.stats.out, 12);
	tear_down(&n);
}

/* One alone, then twenty together, which the socket has no room for now. */
TEST(what_waits_in_the_middle_leaves_later)
{
	struct net n;

	for (int asks = 0; asks < 2; asks++) {
		static const char one[] = "OPTIONS sip:a SIP/2.0\r\n\r\n";

		set_up(&n, "127.0.0.1", "127.0.0.1");
		n.asks = asks;
		udp_send(&n.w.udp, &n.to, STR(one));
		send_messages(&n, 0, 20);
		send_fail(EAGAIN, 1, 2);
		CHECK(!udp_flush(&n.w.udp));
		CHECK_INT(n.w.udp.queue.n, 20);
		CHECK_INT(n.w.udp.stats.out, 1);
		CHECK(udp_flush(&n.w.udp));
		check_heard(&n, STR(one));
		check_messages(&n, 0, 20);
		CHECK_INT(n.w.udp.stats.out, 21);
		CHECK_INT(n.w.udp.sent.n, asks ? 20 : 0);
		tear_down(&n);
	}
}

/* The interface has no room for any of them: each is counted, none twice. */
TEST(what_the_interface_drops_is_counted)
{
	struct net n;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	send_messages(&n, 0, 10);
	send_fail(ENOBUFS, 1 + 4, 1);
	CHECK(udp_flush(&n.w.udp));
	check_messages(&n, 4, 10);
	CHECK_INT(n.w.udp.stats.no_buffer, 4);
	CHECK_INT(n.w.udp.stats.out, 6);
	tear_down(&n);
}

static void check_each_fails(struct net *n, int total, enum cause cause)
{
	char text[LENGTH], got[LENGTH];
	struct addr to;

	CHECK_INT(n->w.faults.n, total);
	for (int i = 0; i < total; i++) {
		CHECK_INT(udp_world_fault(&n->w, &to, got, sizeof(got)), cause);
		CHECK(str_eq(str_from(got), message(n, i, text)));
	}
	CHECK_INT(n->w.udp.stats.out, 0);
	CHECK_INT(n->w.udp.queue.n + n->w.udp.sent.n, 0);
}

TEST(each_fails_for_a_reason_of_its_own)
{
	struct net n;

	set_up(&n, "0.0.0.0", "127.0.0.1");
	n.to.local = udp_world_addr("192.0.2.77"); /* nobody's */
	send_messages(&n, 0, 10);
	CHECK(udp_flush(&n.w.udp));
	check_each_fails(&n, 10, CAUSE_NO_SOURCE);
	tear_down(&n);
	set_up(&n, "::1", "::1");
	n.w.udp.is_away = true;
	send_messages(&n, 0, 10);
	CHECK(udp_flush(&n.w.udp));
	check_each_fails(&n, 10, CAUSE_NO_SOURCE);
	tear_down(&n);
	set_up(&n, "127.0.0.1", "127.0.0.1");
	n.asks = true;
	send_messages(&n, 0, 10);
	send_fail(EHOSTUNREACH, 100, 1); /* no route */
	CHECK(udp_flush(&n.w.udp));
	check_each_fails(&n, 10, CAUSE_ICMP_HOST);
	tear_down(&n);
}

/* What the network has said until now. */
static void check_told(struct net *n, const struct addr *dead)
{
	char text[LENGTH], got[LENGTH];
	struct addr to;
	struct str first = message(n, 0, text);

	udp_receive(&n->w.udp, n->w.batch);
	CHECK(n->w.faults.n > 0);
	while (n->w.faults.n) {
		CHECK_INT(udp_world_fault(&n->w, &to, got, sizeof(got)),
			  CAUSE_ICMP_PORT);
		CHECK(addr_eq(&to, dead));
		CHECK(str_starts(str_from(got), first));
	}
}

/* An error about those who are gone is told once at least, quotes the first of
 * them, and costs nobody else anything. */
TEST(a_closed_port_is_told)
{
	struct net n;
	struct hop live;

	set_up(&n, "127.0.0.1", "127.0.0.1");
	live = n.to;
	for (int i = 0; i < 3; i++) {
		struct hop dead = udp_world_dead(&n.w);

		n.to = dead;
		send_messages(&n, 0, 20);
		CHECK(udp_flush(&n.w.udp));
		check_told(&n, &dead.addr);
		/* and when it was not read before the next ones leave */
		send_messages(&n, 0, 20);
		CHECK(udp_flush(&n.w.udp));
		n.to = live;
		send_messages(&n, 0, 20);
		CHECK(udp_flush(&n.w.udp));
		check_messages(&n, 0, 20);
		check_told(&n, &dead.addr);
	}
	CHECK_INT(n.w.udp.stats.out, 9 * 20);
	tear_down(&n);
}
