/*
 * The connections that workers share: which one is found, and by whom.
 */
#include "transport/directory.h"

#include "support/unit.h"

static struct directory *make(void)
{
	struct directory *d = directory_new((struct sipkey){1, 2});

	CHECK(d);
	return d;
}

static struct hop phone(enum transport t, uint64_t conn)
{
	struct hop h = {.transport = (uint8_t)t, .listener = 1, .conn = conn};

	CHECK(addr_parse(STR("192.0.2.7:32768"), &h.addr));
	CHECK(addr_parse(STR("10.0.0.100:5060"), &h.local));
	return h;
}

TEST(it_finds_who_is_there_until_he_leaves)
{
	struct directory *d = make();
	struct hop a = phone(TRANSPORT_TCP, 7), to = a;
	struct directory_entry *e = directory_enter(d, &a);

	CHECK(e);
	to.conn = 0;
	CHECK_INT(directory_find(d, &to), 7);
	to.local = (struct addr){.family = ADDR_NONE};
	CHECK_INT(directory_find(d, &to), 7); /* from any of ours */
	directory_leave(d, e);
	CHECK_INT(directory_find(d, &to), 0);
	directory_free(&d);
	CHECK(!d);
}

TEST(it_finds_no_other)
{
	struct directory *d = make();
	struct hop a = phone(TRANSPORT_TCP, 7), to;
	struct directory_entry *e = directory_enter(d, &a);

	to = a;
	to.transport = TRANSPORT_TLS;
	CHECK_INT(directory_find(d, &to), 0);
	to = a;
	to.listener = 2;
	CHECK_INT(directory_find(d, &to), 0);
	to = a;
	to.addr.port++;
	CHECK_INT(directory_find(d, &to), 0);
	to = a;
	CHECK(addr_parse(STR("10.0.0.101:5060"), &to.local));
	CHECK_INT(directory_find(d, &to), 0);
	directory_leave(d, e);
	directory_free(&d);
}

TEST(it_asks_for_the_name_that_was_proved)
{
	struct directory *d = make();
	struct hop a = phone(TRANSPORT_TLS, 7), b = phone(TRANSPORT_TLS, 8);
	struct hop to = a;
	char name[] = "a.example";
	struct directory_entry *first, *second;

	second = directory_enter(d, &b); /* nobody in particular */
	to.tls_name = "A.Example";
	CHECK_INT(directory_find(d, &to), 0);
	a.tls_name = name;
	first = directory_enter(d, &a);
	name[0] = 'x'; /* it has a copy */
	CHECK_INT(directory_find(d, &to), 7);
	to.tls_name = "b.example";
	CHECK_INT(directory_find(d, &to), 0);
	directory_leave(d, first);
	to.tls_name = NULL;
	CHECK_INT(directory_find(d, &to), 8);
	directory_leave(d, second);
	directory_free(&d);
}

TEST(without_other_workers_there_is_none)
{
	struct hop a = phone(TRANSPORT_TCP, 7);

	CHECK(!directory_enter(NULL, &a));
	directory_leave(NULL, NULL);
	CHECK_INT(directory_find(NULL, &a), 0);
}
