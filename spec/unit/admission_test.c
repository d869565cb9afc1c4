/*
 * How many connections there may be: of all workers, of one source.
 */
#include "transport/admission.h"

#include <pthread.h>
#include "support/malloc_fail.h"
#include "support/unit.h"

static struct stream_limits few(uint32_t per_source, uint32_t connections)
{
	struct stream_limits l;

	stream_limits_init(&l);
	l.per_source = per_source;
	l.connections = connections;
	return l;
}

static struct addr at(const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

static struct admission *make(void)
{
	struct admission *a = admission_new((struct sipkey){1, 2});

	CHECK(a);
	return a;
}

TEST(a_source_has_as_many_as_it_may)
{
	struct admission *a = make();
	struct stream_limits l = few(2, 100);
	struct addr port1 = at("192.0.2.7:1"), port2 = at("192.0.2.7:2");
	struct addr other = at("192.0.2.8:1");
	struct source *s[3], *none;

	CHECK_INT(admission_accept(a, &port1, &l, &s[0]), ADMIT_OK);
	CHECK_INT(admission_accept(a, &port2, &l, &s[1]), ADMIT_OK);
	CHECK(s[0] && s[0] == s[1]);
	CHECK_INT(admission_accept(a, &port1, &l, &none), ADMIT_SOURCE_FULL);
	CHECK(!none);
	CHECK_INT(admission_accept(a, &other, &l, &s[2]), ADMIT_OK);
	admission_leave(a, s[0]);
	CHECK_INT(admission_accept(a, &port2, &l, &s[0]), ADMIT_OK);
	for (size_t i = 0; i < 3; i++)
		admission_leave(a, s[i]);
	admission_free(&a);
	CHECK(!a);
}

TEST(a_slash_64_is_one_source)
{
	struct admission *a = make();
	struct stream_limits l = few(1, 100);
	struct addr one = at("[2001:db8::1]:5060"), two = at("[2001:db8::2]:1");
	struct addr far = at("[2001:db8:0:1::1]:5060");
	struct source *s, *t;

	CHECK_INT(admission_accept(a, &one, &l, &s), ADMIT_OK);
	CHECK_INT(admission_accept(a, &two, &l, &t), ADMIT_SOURCE_FULL);
	CHECK_INT(admission_accept(a, &far, &l, &t), ADMIT_OK);
	admission_leave(a, s);
	admission_leave(a, t);
	admission_free(&a);
}

TEST(the_last_tenth_is_for_ours)
{
	struct admission *a = make();
	struct stream_limits l = few(100, 10);
	struct addr peer = at("192.0.2.7:1");
	struct source *s[9], *none;

	for (size_t i = 0; i < 9; i++)
		CHECK_INT(admission_accept(a, &peer, &l, &s[i]), ADMIT_OK);
	CHECK_INT(admission_accept(a, &peer, &l, &none), ADMIT_FULL);
	CHECK(admission_open(a, &l));
	CHECK(!admission_open(a, &l));
	admission_leave(a, NULL);
	CHECK(admission_open(a, &l));
	/* A limit that a reload has lowered ends nothing. */
	l = few(1, 5);
	CHECK(!admission_open(a, &l));
	CHECK_INT(admission_accept(a, &peer, &l, &none), ADMIT_FULL);
	admission_leave(a, NULL);
	for (size_t i = 0; i < 9; i++)
		admission_leave(a, s[i]);
	admission_free(&a);
}

TEST(without_memory_nobody_is_counted)
{
	struct admission *a = make();
	struct stream_limits l = few(1, 10);
	struct addr peer = at("192.0.2.7:1");
	struct source *s;

	malloc_fail(1, UINT64_MAX);
	CHECK_INT(admission_accept(a, &peer, &l, &s), ADMIT_NOMEM);
	CHECK(!s);
	malloc_fail(0, 0);
	CHECK_INT(admission_accept(a, &peer, &l, &s), ADMIT_OK);
	admission_leave(a, s);
	admission_free(&a);
	malloc_fail(1, UINT64_MAX);
	CHECK(!admission_new((struct sipkey){1, 2}));
	malloc_fail(2, 1); /* the table of it */
	CHECK(!admission_new((struct sipkey){1, 2}));
	malloc_fail(0, 0);
}

enum { TURNS = 2000 };

struct worker {
	pthread_t thread;
	struct admission *a;
	struct addr peer;
	unsigned got;
};

static void *come_and_go(void *p)
{
	struct worker *w = p;
	struct stream_limits l = few(1, 100);
	struct source *s;

	for (unsigned i = 0; i < TURNS; i++) {
		if (admission_accept(w->a, &w->peer, &l, &s) == ADMIT_OK) {
			w->got++;
			admission_leave(w->a, s);
		}
		if (admission_open(w->a, &l))
			admission_leave(w->a, NULL);
	}
	return NULL;
}

/* One source at all of them, with a limit of one: what is counted twice, or
 * lost, is there at the end (admission_free asserts). */
TEST(workers_count_together)
{
	struct admission *a = make();
	struct worker w[3];
	unsigned got = 0;

	for (size_t i = 0; i < 3; i++) {
		w[i] = (struct worker){.a = a, .peer = at("192.0.2.7:1")};
		CHECK(!pthread_create(&w[i].thread, NULL, come_and_go, &w[i]));
	}
	for (size_t i = 0; i < 3; i++) {
		CHECK(!pthread_join(w[i].thread, NULL));
		got += w[i].got;
	}
	CHECK(got > 0 && got <= 3 * TURNS);
	admission_free(&a);
}
