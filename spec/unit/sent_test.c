/*
 * Requests that left together and were refused together: each fails.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "udp_world.h"
#include "util/rand.h"

enum { SHORT = 200, LONG = 1200, LENGTH = LONG + 100 };

/* Of one length whatever the number is. */
static struct str request(int i, char *text)
{
	int n = snprintf(text, SHORT,
			 "INVITE sip:bob@192.0.2.9 SIP/2.0\r\n"
			 "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK%06d\r\n"
			 "Call-ID: %06d@192.0.2.1\r\n"
			 "Content-Length: 0\r\n\r\n",
			 i, i);

	return (struct str){text, (size_t)n};
}

static int number_of(struct str quoted)
{
	static const char key[] = "branch=z9hG4bK";
	const char *at = memmem(quoted.p, quoted.n, key, sizeof(key) - 1);
	char digits[7];

	CHECK(at != NULL);
	snprintf(digits, sizeof(digits), "%.6s", at + sizeof(key) - 1);
	return atoi(digits);
}

/* ---- what is remembered ---- */

struct memory {
	struct dgram_queue queue, faults;
	struct sent sent;
	struct hop to;
};

static void set_up(struct memory *m)
{
	dgram_queue_init(&m->queue);
	dgram_queue_init(&m->faults);
	sent_init(&m->sent);
	m->to = (struct hop){.addr = udp_world_addr("192.0.2.1:5060")};
}

static void tear_down(struct memory *m)
{
	sent_fini(&m->sent);
	dgram_queue_fini(&m->queue);
	dgram_queue_fini(&m->faults);
}

/* Those from `first` on leave in one send. */
static void leave(struct memory *m, int first, int n, int64_t now)
{
	char text[LENGTH];

	CHECK_INT(m->queue.n, 0);
	for (int i = first; i < first + n; i++)
		CHECK(dgram_queue_add(&m->queue, &m->to, CAUSE_NONE,
				      request(i, text)));
	sent_add(&m->sent, &m->queue, (unsigned)n, now);
	CHECK_INT(m->queue.n + m->queue.bytes, 0);
}

/* There are these and no others, in order. */
static void check_queue(struct memory *m, struct dgram_queue *q, int first,
			int n, enum cause cause)
{
	CHECK_INT(q->n, n);
	for (int i = first; i < first + n; i++) {
		struct dgram *d = dgram_of(q->list.next);
		char text[LENGTH];

		CHECK(str_eq((struct str){d->bytes, d->n}, request(i, text)));
		CHECK(addr_eq(&d->hop.addr, &m->to.addr));
		CHECK_INT(d->cause, cause);
		CHECK(d->is_alone);
		dgram_queue_done(q);
	}
}

/* These leave again, each alone, and nothing else happens. */
static void check_again(struct memory *m, int first, int n)
{
	check_queue(m, &m->queue, first, n, CAUSE_NONE);
	CHECK_INT(m->faults.n, 0);
}

/* These have failed, and nothing leaves again. */
static void check_failed(struct memory *m, int first, int n, enum cause cause)
{
	check_queue(m, &m->faults, first, n, cause);
	CHECK_INT(m->queue.n, 0);
}

static void refuse_for(struct memory *m, enum cause cause, struct str quoted,
		       int64_t now)
{
	struct refusal why = {&m->to.addr, cause, quoted};

	sent_refused(&m->sent, &why, now, &m->queue, &m->faults);
}

static void refuse_bytes(struct memory *m, struct str quoted, int64_t now)
{
	refuse_for(m, CAUSE_ICMP_PORT, quoted, now);
}

static void refuse(struct memory *m, int i, int64_t now)
{
	char text[LENGTH];

	refuse_bytes(m, request(i, text), now);
}

TEST(the_others_are_sent_again_once)
{
	struct memory m;

	set_up(&m);
	leave(&m, 0, 4, 0);
	leave(&m, 4, 2, 0);
	leave(&m, 6, 3, 0);
	refuse(&m, 4, 0);
	check_again(&m, 5, 1);
	CHECK_INT(m.sent.n, 7);
	refuse(&m, 6, 0);
	check_again(&m, 7, 2);
	refuse(&m, 0, 0);
	check_again(&m, 1, 3);
	CHECK_INT(m.sent.n, 0);
	for (int i = 0; i < 9; i++)
		refuse(&m, i, 0);
	check_again(&m, 0, 0);
	tear_down(&m);
}

/* The others were cut apart from the first: each has an answer of its own. */
TEST(another_than_the_first_says_nothing)
{
	struct memory m;

	set_up(&m);
	leave(&m, 0, 4, 0);
	for (int i = 1; i < 5; i++)
		refuse(&m, i, 0);
	check_again(&m, 0, 0);
	CHECK_INT(m.sent.n, 4);
	tear_down(&m);
}

/* The same bytes, again in company. */
TEST(a_retransmission_has_company_of_its_own)
{
	struct memory m;
	char text[LENGTH];

	set_up(&m);
	leave(&m, 0, 2, 0);
	leave(&m, 5, 3, 0);
	dgram_queue_add(&m.queue, &m.to, CAUSE_NONE, request(0, text));
	dgram_queue_add(&m.queue, &m.to, CAUSE_NONE, request(2, text));
	sent_add(&m.sent, &m.queue, 2, 0);
	refuse(&m, 0, 0);
	check_again(&m, 1, 2);
	CHECK_INT(m.sent.n, 3);
	tear_down(&m);
}

TEST(it_is_about_where_it_was_sent)
{
	struct memory m;

	set_up(&m);
	leave(&m, 0, 3, 0);
	m.to.addr.port++;
	refuse(&m, 0, 0);
	m.to.addr = udp_world_addr("192.0.2.2:5060");
	refuse(&m, 0, 0);
	check_again(&m, 0, 0);
	CHECK_INT(m.sent.n, 3);
	tear_down(&m);
}

/* Two requests, behind each other. */
static struct str piece(int first, char *text)
{
	struct str all = request(first, text);

	request(first + 1, text + all.n);
	all.n *= 2;
	return all;
}

/* A router quotes as little as 8 bytes; what was one piece is quoted beyond the
 * first of them, and then all have failed. */
TEST(a_quote_may_end_anywhere)
{
	char text[2 * LENGTH];
	struct str all = piece(0, text);
	size_t via = (size_t)(strstr(text, "Call-ID") - text);

	for (size_t n = 0; n <= all.n; n++) {
		struct memory m;
		char quoted[2 * LENGTH];

		set_up(&m);
		leave(&m, 0, 3, 0);
		memcpy(quoted, text, n);
		refuse_bytes(&m, (struct str){quoted, n}, 0);
		if (n > all.n / 2)
			check_failed(&m, 1, 2, CAUSE_ICMP_PORT);
		else
			check_again(&m, 1, n < via ? 0 : 2);
		tear_down(&m);
	}
}

/* More than there was. */
TEST(a_quote_may_be_longer)
{
	char text[4 * LENGTH];
	struct str all = piece(0, text);
	struct memory m;

	memset(text + all.n, 'x', all.n);
	all.n *= 2;
	set_up(&m);
	leave(&m, 0, 2, 0);
	refuse_bytes(&m, all, 0);
	check_failed(&m, 1, 1, CAUSE_ICMP_PORT);
	tear_down(&m);
}

/* What a router puts behind its quote (RFC 4884) is not the second of them. */
TEST(a_quote_may_have_something_else_behind_it)
{
	char text[2 * LENGTH];
	struct str one = request(0, text);
	struct memory m;

	memcpy(text + one.n, "\x20\0\x12\x34", 4);
	one.n += 4;
	set_up(&m);
	leave(&m, 0, 3, 0);
	refuse_bytes(&m, one, 0);
	check_again(&m, 1, 2);
	tear_down(&m);
}

/* The kernel looks for a neighbour for seconds; sent again they would have to
 * wait for another look. What is said at once may be a filter's, which refuses
 * some and not others. */
TEST(an_unreachable_host_is_one_for_all)
{
	static const enum cause causes[] = {CAUSE_ICMP_HOST, CAUSE_ICMP_NET};
	char text[LENGTH];
	struct str first = request(0, text);

	for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
		struct memory m;

		set_up(&m);
		leave(&m, 0, 4, 0);
		refuse_for(&m, causes[i], first, SENT_AT_ONCE);
		check_again(&m, 1, 3);
		leave(&m, 0, 4, 0);
		refuse_for(&m, causes[i], first, SENT_AT_ONCE + 1);
		check_failed(&m, 1, 3, causes[i]);
		CHECK_INT(m.sent.n, 0);
		leave(&m, 0, 4, 0);
		refuse_for(&m, CAUSE_ICMP_PORT, first, SENT_AT_ONCE + 1);
		check_again(&m, 1, 3);
		tear_down(&m);
	}
}

/* Whoever waits there has all his copies in memory, and hears of it as often;
 * with too many to tell nothing is lost but time. */
TEST(there_may_be_too_many_to_tell)
{
	struct memory m;
	char text[2 * LENGTH];
	struct str all = piece(0, text);

	set_up(&m);
	for (int i = 0; i < DGRAM_QUEUE_MAX - 2; i++)
		CHECK(dgram_queue_add(&m.faults, &m.to, CAUSE_ICMP_PORT,
				      STR("x")));
	leave(&m, 0, 32, 0);
	refuse_bytes(&m, all, 0);
	CHECK_INT(m.faults.n, DGRAM_QUEUE_MAX);
	CHECK_INT(m.queue.n + m.sent.n, 0);
	tear_down(&m);
}

TEST(the_oldest_make_room)
{
	struct memory m;

	set_up(&m);
	m.queue.reuses = true;
	for (int i = 0; i < 50; i++) {
		leave(&m, 10 * i, 10, 0);
		CHECK(m.sent.n <= SENT_MAX);
	}
	CHECK_INT(m.sent.n, SENT_MAX / 10 * 10);
	CHECK_INT(m.queue.spares, 10); /* of those that made room last */
	refuse(&m, 500 - 10 * (SENT_MAX / 10 + 1), 0);
	check_again(&m, 0, 0);
	refuse(&m, 500 - 10 * (SENT_MAX / 10), 0);
	check_again(&m, 501 - 10 * (SENT_MAX / 10), 9);
	tear_down(&m);
}

TEST(the_old_are_forgotten)
{
	struct memory m;

	set_up(&m);
	leave(&m, 0, 3, 5);
	leave(&m, 3, 2, 6);
	refuse(&m, 0, SENT_LIFE + 6);
	check_again(&m, 0, 0);
	CHECK_INT(m.sent.n, 2);
	sent_expire(&m.sent, &m.queue, SENT_LIFE + 6);
	CHECK_INT(m.sent.n, 2);
	refuse(&m, 3, SENT_LIFE + 6);
	check_again(&m, 4, 1);
	leave(&m, 0, 3, 5);
	sent_expire(&m.sent, &m.queue, SENT_LIFE + 6);
	CHECK_INT(m.sent.n, 0);
	tear_down(&m);
}

/* Any part of a quote, or a lie, for any reason, early or late; `n` have left
 * with the first that it is about, or none. */
static void refuse_anyhow(struct memory *m, struct rand *r, int first, int n)
{
	char text[2 * LENGTH];
	struct str quoted = piece(first, text);
	size_t one = quoted.n / 2, lie = rand_below(r, 4 * (uint32_t)quoted.n);
	size_t via = (size_t)(strstr(text, "Call-ID") - text);
	bool late = rand_below(r, 2), port = rand_below(r, 2);
	enum cause cause = port ? CAUSE_ICMP_PORT : CAUSE_ICMP_HOST;

	quoted.n = rand_below(r, (uint32_t)quoted.n + 1);
	if (lie < quoted.n)
		text[lie] ^= 1;
	refuse_for(m, cause, quoted, late ? SENT_AT_ONCE + 1 : 0);
	if (!n || quoted.n < via || lie < (quoted.n < one ? quoted.n : one))
		check_again(m, 0, 0);
	else if ((late && !port) || (quoted.n > one && lie >= quoted.n))
		check_failed(m, first + 1, n - 1, cause);
	else
		check_again(m, first + 1, n - 1);
}

/* Against a list of what has left: any sends, any refusals. */
TEST(any_of_them)
{
	enum { MANY = 20000 };
	static int size[MANY]; /* by the number of the first; 0 once refused */
	struct memory m;
	struct rand r;
	int next = 0, ended = 0;

	rand_seed(&r, 3);
	set_up(&m);
	while (next < MANY - 32) {
		int n = 2 + (int)rand_below(&r, 31);
		int i = next + n - 1 - (int)rand_below(&r, 90);
		unsigned before;

		leave(&m, next, n, 0);
		size[next] = n;
		next += n;
		if (i < 0)
			continue;
		before = m.sent.n;
		refuse_anyhow(&m, &r, i, size[i]);
		CHECK(m.sent.n == before ||
		      before - m.sent.n == (unsigned)size[i]);
		if (m.sent.n != before)
			size[i] = 0;
		ended += m.sent.n != before;
	}
	CHECK(ended > 20);
	tear_down(&m);
}

/* ---- the network ---- */

/* In turn of so many lengths from `least` on. */
static void queue_requests(struct udp *u, const struct hop *to, int n,
			   size_t least, int lengths)
{
	char text[LENGTH];

	for (int i = 0; i < n; i++) {
		struct str one = request(i, text);

		memset(text + one.n, '.', sizeof(text) - one.n);
		one.n = least + (size_t)(i % lengths);
		udp_send(u, to, one);
	}
}

/* Each of `n` requests is told to have failed, once. */
static void check_each_fails(struct udp_world *w, const struct hop *dead, int n)
{
	bool *told = calloc((size_t)n, sizeof(*told));

	for (int k = 0; k < n; k++) {
		struct addr to;
		char text[LENGTH];
		int i;

		CHECK(udp_flush(&w->udp));
		CHECK_INT(udp_world_fault(w, &to, text, sizeof(text)),
			  CAUSE_ICMP_PORT);
		CHECK(addr_eq(&to, &dead->addr));
		i = number_of(str_from(text));
		CHECK(i >= 0 && i < n && !told[i]);
		told[i] = true;
	}
	CHECK_INT(w->faults.n + w->udp.queue.n, 0);
	free(told);
}

static void check_closed_at(const char *bind_to, const char *at, int n,
			    size_t least, int lengths)
{
	struct udp_world w;
	struct hop dead;

	udp_world_open(&w, bind_to, at);
	dead = w.udp.hop;
	close(udp_world_peer(at, &dead.addr));
	queue_requests(&w.udp, &dead, n, least, lengths);
	check_each_fails(&w, &dead, n);
	CHECK(n == 1 || w.udp.stats.joined > 0);
	/* A quote is of 548 bytes, or, by IPv6, of 1232: of a long one it shows
	 * the beginning. Of short ones that were in one piece it shows that,
	 * and nothing has to leave again. */
	CHECK(n == 1 || (w.udp.stats.out == (uint64_t)n) == (least == SHORT));
	udp_world_close(&w);
}

static void check_closed(const char *bind_to, const char *at, int n,
			 int lengths)
{
	check_closed_at(bind_to, at, n, SHORT, lengths);
	check_closed_at(bind_to, at, n, LONG, lengths);
}

TEST(each_of_them_finds_a_closed_port)
{
	static const int sizes[] = {1, 2, 3, 20, UDP_BATCH, UDP_BATCH + 1, 200};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		check_closed("127.0.0.1", "127.0.0.1", sizes[i], 1);
		check_closed("0.0.0.0", "127.0.0.1", sizes[i], 1);
		check_closed("::1", "::1", sizes[i], 1);
		check_closed("::", "::1", sizes[i], 1);
	}
}

/* The first of several sends is refused before the second has left. */
TEST(several_sends_at_a_time_are_refused)
{
	for (int lengths = 2; lengths <= 4; lengths++) {
		check_closed("127.0.0.1", "127.0.0.1", 20, lengths);
		check_closed("127.0.0.1", "127.0.0.1", 200, lengths);
		check_closed("::", "::1", 100, lengths);
	}
}

/* Sockets that share a port, as those of workers do: the kernel tells one of
 * them, by the addresses, what it has to say of all. */
struct workers {
	struct dgram_queue faults;
	struct udp_batch *batch;
	struct udp udp[4];
};

static void workers_open(struct workers *w)
{
	struct listener l = {.transport = TRANSPORT_UDP,
			     .addr = udp_world_addr("127.0.0.1")};
	char why[512];

	dgram_queue_init(&w->faults);
	w->batch = udp_batch_new();
	for (int i = 0; i < 4; i++) {
		CHECK_INT(udp_open(&w->udp[i], &l, 0,
				   i ? SOCK_JOINS : SOCK_SHARES, &w->faults,
				   why, sizeof(why)),
			  0);
		l.addr = sock_local(w->udp[i].fd);
	}
}

static void workers_close(struct workers *w)
{
	for (int i = 0; i < 4; i++)
		udp_close(&w->udp[i]);
	udp_batch_free(&w->batch);
	dgram_queue_fini(&w->faults);
}

/* What one of them is told, and who it was. */
static struct dgram *workers_hear(struct workers *w, int *i_r)
{
	struct pollfd p[4];

	for (int i = 0; i < 4; i++)
		p[i] = (struct pollfd){w->udp[i].fd, POLLIN, 0};
	poll(p, 4, w->faults.n ? 0 : 1000);
	for (int i = 0; i < 4 && !w->faults.n; i++) {
		udp_receive(&w->udp[i], w->batch);
		*i_r = i;
	}
	return dgram_queue_pop(&w->faults);
}

/* Gives how many of `n` that `from` sends another is told of, or tells. */
static int told_others(struct workers *w, int from, const struct hop *dead,
		       int n, size_t length)
{
	int others = 0, hears = from;
	bool told[20] = {false};

	queue_requests(&w->udp[from], dead, n, length, 1);
	for (int k = 0; k < n; k++) {
		struct str quoted;
		struct dgram *d;
		int i;

		CHECK(udp_flush(&w->udp[from]));
		d = workers_hear(w, &hears);
		CHECK(d != NULL);
		CHECK_INT(d->cause, CAUSE_ICMP_PORT);
		quoted = (struct str){d->bytes, d->n};
		i = number_of(quoted);
		CHECK(i >= 0 && i < n && !told[i]);
		told[i] = true;
		if (hears != from) {
			struct refusal why = {&d->hop.addr, d->cause, quoted};

			others++;
			udp_refused(&w->udp[from], &why);
		}
		free(d);
	}
	CHECK_INT(w->faults.n + w->udp[from].queue.n, 0);
	return others;
}

TEST(another_socket_is_told)
{
	enum { ROUNDS = 16, EACH = 20 };
	struct workers w;
	int others = 0;

	workers_open(&w);
	for (int round = 0; round < ROUNDS; round++) {
		struct hop dead = w.udp[0].hop;

		close(udp_world_peer("127.0.0.1", &dead.addr));
		others += told_others(&w, round % 4, &dead, EACH,
				      round % 8 < 4 ? SHORT : LONG);
	}
	/* of four sockets one is told, of whichever the request was */
	CHECK(others % EACH == 0 && others > 0);
	workers_close(&w);
}
