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

enum { LENGTH = 300, LINES = 100 };

/* Of one length whatever the number is. */
static struct str request(int i, char *text)
{
	int n = snprintf(text, LENGTH,
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
	struct dgram_queue queue;
	struct sent sent;
	struct hop to;
};

static void set_up(struct memory *m)
{
	dgram_queue_init(&m->queue);
	sent_init(&m->sent);
	m->to = (struct hop){.addr = udp_world_addr("192.0.2.1:5060")};
}

static void tear_down(struct memory *m)
{
	sent_fini(&m->sent);
	dgram_queue_fini(&m->queue);
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

/* These leave again, each alone, and nothing else does. */
static void check_again(struct memory *m, int first, int n)
{
	CHECK_INT(m->queue.n, n);
	for (int i = first; i < first + n; i++) {
		struct dgram *d = dgram_of(m->queue.list.next);
		char text[LENGTH];

		CHECK(str_eq((struct str){d->bytes, d->n}, request(i, text)));
		CHECK(addr_eq(&d->hop.addr, &m->to.addr));
		CHECK(d->is_alone);
		dgram_queue_done(&m->queue);
	}
}

static void refuse_bytes(struct memory *m, struct str quoted, int64_t now)
{
	sent_refused(&m->sent, &m->queue, &m->to.addr, quoted, now);
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

/* A router quotes as little as 8 bytes; what was one piece is quoted beyond the
 * first of them. */
TEST(a_quote_may_end_anywhere)
{
	char text[2 * LENGTH];
	struct str all = request(0, text);
	size_t via = (size_t)(strstr(text, "Call-ID") - text);

	request(1, text + all.n);
	all.n *= 2;
	for (size_t n = 0; n <= all.n; n++) {
		struct memory m;
		char quoted[2 * LENGTH];

		set_up(&m);
		leave(&m, 0, 3, 0);
		memcpy(quoted, text, n);
		refuse_bytes(&m, (struct str){quoted, n}, 0);
		check_again(&m, 1, n < via ? 0 : 2);
		tear_down(&m);
	}
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

/* Against a list of what has left: any sends, any refusals. */
TEST(any_of_them)
{
	enum { MANY = 2000 };
	static int size[MANY]; /* by the number of the first; 0 once refused */
	struct memory m;
	struct rand r;
	int next = 0, again = 0;

	rand_seed(&r, 3);
	set_up(&m);
	while (next < MANY - 32) {
		int n = 2 + (int)rand_below(&r, 31);
		int i = next + n - 1 - (int)rand_below(&r, 90);

		leave(&m, next, n, 0);
		size[next] = n;
		next += n;
		if (i < 0)
			continue;
		refuse(&m, i, 0);
		check_again(&m, i + 1, size[i] ? size[i] - 1 : 0);
		again += size[i];
		size[i] = 0;
	}
	CHECK(again > 20);
	tear_down(&m);
}

/* ---- the network ---- */

/* In turn of so many lengths. */
static void queue_requests(struct udp *u, const struct hop *to, int n,
			   int lengths)
{
	char text[LENGTH];

	for (int i = 0; i < n; i++) {
		struct str one = request(i, text);

		memset(text + one.n, '.', (size_t)lengths);
		one.n += (size_t)(i % lengths);
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

static void check_closed(const char *bind_to, const char *at, int n,
			 int lengths)
{
	struct udp_world w;
	struct hop dead;

	udp_world_open(&w, bind_to, at);
	dead = w.udp.hop;
	close(udp_world_peer(at, &dead.addr));
	queue_requests(&w.udp, &dead, n, lengths);
	check_each_fails(&w, &dead, n);
	CHECK(n == 1 || w.udp.stats.joined > 0);
	udp_world_close(&w);
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

/* Gives how many of `n` that `from` sends another is told of. */
static int told_others(struct workers *w, int from, const struct hop *dead,
		       int n)
{
	int others = 0, hears = from;
	bool told[20] = {false};

	queue_requests(&w->udp[from], dead, n, 1);
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
			others++;
			udp_refused(&w->udp[from], &d->hop.addr, quoted);
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
		others += told_others(&w, round % 4, &dead, EACH);
	}
	/* of four sockets one is told, of whichever the request was */
	CHECK(others % EACH == 0 && others > 0);
	workers_close(&w);
}
