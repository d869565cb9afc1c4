/*
 * What leaves together.
 */
#include <stdio.h>
#include <string.h>

#include "host/join.h"
#include "udp_world.h"
#include "util/rand.h"

enum { LENGTH = 200 };

/* ---- which ---- */

/* "r1a0": a response (or request, 'q') to peer 1 of call a, longer than others
 * by 0; of call '-' it has no Call-ID. */
static struct str text_of(const char *is, char *text)
{
	size_t n = LENGTH + (size_t)(is[3] - '0');
	int head = snprintf(text, LENGTH, "%s\r\n%s%c\r\nX: ",
			    is[0] == 'r' ? "SIP/2.0 200 OK" : "BYE sip:a",
			    is[2] == '-' ? "Y: " : "i:", is[2]);

	memset(text + head, '.', n - (size_t)head);
	return (struct str){text, n};
}

static void put(struct dgram_queue *q, const char *is)
{
	char text[2 * LENGTH];
	struct hop to = {.addr = udp_world_addr("192.0.2.1:5060")};

	to.addr.ip[3] = (uint8_t)is[1];
	CHECK(dgram_queue_add(q, &to, CAUSE_NONE, text_of(is, text)));
}

/* Several of them, with blanks between. */
static unsigned put_all(struct dgram_queue *q, const char *all)
{
	unsigned n = 0;

	dgram_queue_init(q);
	for (; *all; all += all[4] ? 5 : 4, n++)
		put(q, all);
	return n;
}

/* What was put is numbered by the order in which it was: a list of them. */
static void number(const struct dgram_queue *q, struct dgram **was)
{
	list_each (it, &q->list)
		*was++ = dgram_of(it);
}

static char number_of(const struct dgram *d, struct dgram *const *was)
{
	int i = 0;

	while (was[i] != d)
		i++;
	return (char)('0' + i);
}

/* "02 1": the first and the third leave together, and then the second. */
static void check_sends_of(struct dgram_queue *q, struct dgram **was,
			   const char *want)
{
	uint8_t size[JOIN_WINDOW];
	char got[2 * JOIN_WINDOW + 1], *p = got;
	struct list *it = q->list.next;
	unsigned sends = join_arrange(q, JOIN_WINDOW, size);

	it = q->list.next;
	for (unsigned i = 0; i < sends; i++) {
		if (i)
			*p++ = ' ';
		for (unsigned k = 0; k < size[i]; k++, it = it->next)
			*p++ = number_of(dgram_of(it), was);
	}
	*p = '\0';
	CHECK(it == &q->list);
	CHECK_INT(strcmp(got, want), 0);
	dgram_queue_fini(q);
}

static void check_sends(const char *all, const char *want)
{
	struct dgram *was[JOIN_WINDOW];
	struct dgram_queue q;

	put_all(&q, all);
	number(&q, was);
	check_sends_of(&q, was, want);
}

TEST(alike_are_of_one_length_and_to_one_peer)
{
	check_sends("r1a0", "0");
	check_sends("r1a0 r1b0 r1c0", "012");
	check_sends("r1a0 r1b1 r1c0", "02 1");
	check_sends("r1a0 r2b0 r1c0 r2d0", "02 13");
	check_sends("r1a0 r2b0 r1c1 r2d1", "0 1 2 3");
}

TEST(requests_leave_with_requests)
{
	check_sends("q1a0 q1b0 q1c0", "012");
	check_sends("r1a0 q1b0 r1c0 q1d0", "02 13");
	check_sends("q1a0 r1b0", "0 1");
}

TEST(what_is_of_one_call_keeps_its_order)
{
	check_sends("r1a0 r1a0 r1b0", "012");
	check_sends("r1a0 r1b1 r1b0", "0 1 2");
	check_sends("r1a0 q1b0 r1b0", "0 1 2");
	/* what comes then has a place */
	check_sends("r1a0 r1b1 r1b0 r1c0 r1d1", "0 14 23");
	/* who moved is overtaken by none either */
	check_sends("r1a0 r1b1 r1c0 r1d1 r1d0", "02 13 4");
	/* towards different peers there is no order */
	check_sends("r1a0 r2b0 r1b0", "02 1");
	check_sends("r1a0 q2b0 r1b0", "02 1");
}

TEST(what_has_no_call_is_not_passed_and_passes_nothing)
{
	check_sends("r1a0 r1-1 r1b0", "0 1 2");
	check_sends("r1a0 r1b1 r1-0", "0 1 2");
	check_sends("r1a0 r2-1 r1b0", "02 1");
	check_sends("r1a0 r1-0 r1b0", "012");
}

TEST(what_was_refused_together_leaves_alone)
{
	struct dgram *was[JOIN_WINDOW];
	struct dgram_queue q;

	put_all(&q, "r1a0 r1b0 r1c0 r1d0");
	number(&q, was);
	was[0]->is_alone = was[2]->is_alone = true;
	check_sends_of(&q, was, "0 13 2");
}

TEST(from_another_address_of_ours_is_another_send)
{
	struct dgram *was[JOIN_WINDOW];
	struct dgram_queue q;

	put_all(&q, "r1a0 r1b0 r1c0");
	number(&q, was);
	was[1]->hop.local = udp_world_addr("192.0.2.9:5060");
	check_sends_of(&q, was, "02 1");
}

/* A longer one might not fit into a packet. */
TEST(long_ones_leave_alone)
{
	static char text[JOIN_LONGEST + 2] = "SIP/2.0 200 OK\r\ni:a\r\n";
	uint8_t size[JOIN_WINDOW];
	struct hop to = {.addr = udp_world_addr("192.0.2.1:5060")};

	for (size_t n = JOIN_LONGEST; n <= JOIN_LONGEST + 1; n++) {
		struct dgram_queue q;

		dgram_queue_init(&q);
		for (int i = 0; i < 3; i++)
			dgram_queue_add(&q, &to, CAUSE_NONE,
					(struct str){text, n});
		CHECK_INT(join_arrange(&q, JOIN_WINDOW, size),
			  n == JOIN_LONGEST ? 1 : 3);
		dgram_queue_fini(&q);
	}
}

/* ---- any ---- */

static void put_any(struct dgram_queue *q, struct rand *r)
{
	char is[] = "r1a0";

	is[0] = rand_below(r, 2) ? 'r' : 'q';
	is[1] = (char)('1' + rand_below(r, 2));
	is[2] = (char)(rand_below(r, 16) ? 'a' + rand_below(r, 12) : '-');
	is[3] = (char)('0' + rand_below(r, 3));
	put(q, is);
}

static char call_of(const struct dgram *d)
{
	const char *at = memmem(d->bytes, d->n, "\r\ni:", 4);

	return at ? at[4] : '-';
}

static bool is_request(const struct dgram *d)
{
	return d->bytes[0] == 'B';
}

/* The later of two may leave first. */
static bool may_pass(const struct dgram *a, const struct dgram *b)
{
	return !addr_eq(&a->hop.addr, &b->hop.addr) ||
	       (call_of(a) != '-' && call_of(b) != '-' &&
		call_of(a) != call_of(b));
}

static void check_order(const struct dgram_queue *q, struct dgram *const *was)
{
	list_each (it, &q->list) {
		const struct dgram *d = dgram_of(it);

		for (struct list *b = it->next; b != &q->list; b = b->next)
			CHECK(number_of(d, was) < number_of(dgram_of(b), was) ||
			      may_pass(d, dgram_of(b)));
	}
}

static void check_alike(const struct dgram_queue *q, const uint8_t *size,
			unsigned sends, unsigned n)
{
	struct list *it = q->list.next;

	for (unsigned i = 0; i < sends; i++) {
		const struct dgram *first = dgram_of(it);

		CHECK(size[i] > 0);
		for (unsigned k = 0; k < size[i]; k++, n--, it = it->next) {
			const struct dgram *d = dgram_of(it);

			CHECK(is_request(d) == is_request(first));
			CHECK(d->n == first->n);
			CHECK(addr_eq(&d->hop.addr, &first->hop.addr));
		}
	}
	CHECK_INT(n, 0);
}

TEST(any_queue_keeps_all_and_their_order)
{
	enum { MANY = JOIN_WINDOW + 8 };
	struct dgram *was[MANY];
	uint8_t size[JOIN_WINDOW];
	unsigned joined = 0;
	struct rand r;

	rand_seed(&r, 7);
	for (int round = 0; round < 500; round++) {
		struct dgram_queue q;
		unsigned n = 1 + (unsigned)rand_below(&r, MANY), sends;

		dgram_queue_init(&q);
		for (unsigned i = 0; i < n; i++)
			put_any(&q, &r);
		number(&q, was);
		sends = join_arrange(&q, JOIN_WINDOW, size);
		check_order(&q, was);
		/* those beyond the window stay where they were */
		if (n > JOIN_WINDOW)
			CHECK(dgram_of(q.list.prev) == was[n - 1]);
		n = n < JOIN_WINDOW ? n : JOIN_WINDOW;
		check_alike(&q, size, sends, n);
		joined += n - sends;
		dgram_queue_fini(&q);
	}
	CHECK(joined > 1000);
}
