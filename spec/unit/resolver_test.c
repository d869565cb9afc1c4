#include "unit/dns_world.h"

#include <string.h>

#include "util/err.h"

static const struct zone_line zone[] = {
    {"a.example", DNS_A, 60, "10.0.0.1"},
    {"short.example", DNS_A, 1, "10.0.0.2"},
    {"zero.example", DNS_A, 0, "10.0.0.3"},
    {"long.example", DNS_A, 1000000, "10.0.0.4"},
    {0}};

static struct dns_world w;
static unsigned woken;

static void on_lookup(struct lookup *l, struct now now)
{
	(void)now;
	CHECK(l->outcome != LOOK_PENDING);
	woken++;
}

static enum look begin(struct lookup *l, const char *name)
{
	memset(l, 0, sizeof(*l));
	l->fn = on_lookup;
	CHECK_INT(lookup_begin(l, w.rs, name, DNS_A, true, w.now), 0);
	return l->outcome;
}

/* Looks, has what is asked answered, and says what came out. */
static enum look look(const char *name)
{
	struct lookup l;

	begin(&l, name);
	if (l.outcome == LOOK_PENDING)
		dns_world_answer_all(&w);
	lookup_end(&l, w.rs);
	return l.outcome;
}

static bool is_asked(const char *name)
{
	return dns_world_find(&w, name, DNS_A) >= 0;
}

static uint64_t counted(enum counter c)
{
	return w.counters.v[c];
}

TEST(kept_for_its_ttl)
{
	dns_world_init(&w, zone);
	CHECK_INT(look("a.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 1);
	dns_world_run(&w, SECONDS(47));
	CHECK_INT(look("a.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 1);
	dns_world_run(&w, SECONDS(13));
	CHECK_INT(look("a.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 2);
	CHECK_INT(counted(CNT_DNS_A_FOUND), 2);
	CHECK_INT(counted(CNT_DNS_A_CACHED), 1);
	dns_world_fini(&w);
}

TEST(asked_again_before_it_runs_out)
{
	struct lookup l;

	dns_world_init(&w, zone);
	look("a.example");
	dns_world_run(&w, SECONDS(48));
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	lookup_end(&l, w.rs);
	CHECK(is_asked("a.example"));
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	lookup_end(&l, w.rs);
	CHECK_INT(w.n, 1);
	dns_world_answer_all(&w);
	dns_world_run(&w, SECONDS(40));
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK_INT(lookup_ttl(&l, w.now), 20);
	lookup_end(&l, w.rs);
	CHECK_INT(w.questions, 2);
	dns_world_fini(&w);
}

TEST(ttl_is_clamped)
{
	struct lookup l;

	dns_world_init(&w, zone);
	w.limits.ttl_min = SECONDS(10);
	look("short.example");
	dns_world_run(&w, SECONDS(7));
	CHECK_INT(look("short.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 1);
	look("long.example");
	CHECK_INT(begin(&l, "long.example"), LOOK_FOUND);
	CHECK_INT(lookup_ttl(&l, w.now), 3600);
	lookup_end(&l, w.rs);
	dns_world_fini(&w);
}

TEST(ttl_0_is_for_who_waits_now)
{
	struct lookup one, two;
	unsigned n;

	dns_world_init(&w, zone);
	CHECK_INT(begin(&one, "zero.example"), LOOK_PENDING);
	CHECK_INT(begin(&two, "zero.example"), LOOK_PENDING);
	dns_world_answer_all(&w);
	CHECK_INT(woken, 2);
	CHECK_INT(two.outcome, LOOK_FOUND);
	CHECK(lookup_records(&two, &n) != NULL);
	CHECK_INT(n, 1);
	CHECK_INT(lookup_ttl(&two, w.now), 0);
	lookup_end(&one, w.rs);
	lookup_end(&two, w.rs);
	CHECK_INT(begin(&one, "zero.example"), LOOK_PENDING);
	CHECK_INT(w.questions, 2);
	/* nor is it served when nobody answers any more */
	dns_world_fail_all(&w, ANSWER_TIMEOUT);
	CHECK_INT(one.outcome, LOOK_FAILED);
	lookup_end(&one, w.rs);
	dns_world_fini(&w);
}

TEST(one_question_for_all)
{
	struct lookup l[3];

	dns_world_init(&w, zone);
	woken = 0;
	for (int i = 0; i < 3; i++)
		CHECK_INT(begin(&l[i], "a.example"), LOOK_PENDING);
	CHECK_INT(w.questions, 1);
	lookup_end(&l[1], w.rs); /* it no longer waits */
	dns_world_answer_all(&w);
	CHECK_INT(woken, 2);
	lookup_end(&l[0], w.rs);
	lookup_end(&l[2], w.rs);
	dns_world_fini(&w);
}

/* RFC 2308 5. */
TEST(that_there_is_nothing_is_known_for_a_while)
{
	dns_world_init(&w, zone);
	CHECK_INT(look("nobody.example"), LOOK_NONE);
	dns_world_run(&w, SECONDS(23)); /* of 30, though SOA says 60 */
	CHECK_INT(look("nobody.example"), LOOK_NONE);
	CHECK_INT(w.questions, 1);
	dns_world_run(&w, SECONDS(7));
	CHECK_INT(look("nobody.example"), LOOK_NONE);
	CHECK_INT(w.questions, 2);
	CHECK_INT(counted(CNT_DNS_A_NONE), 2);
	dns_world_fini(&w);
}

/* RFC 8767 5. */
TEST(what_has_run_out_is_served_while_nobody_answers)
{
	struct lookup l;

	dns_world_init(&w, zone);
	look("a.example");
	dns_world_run(&w, SECONDS(61));
	/* the first one waits, and then takes it */
	CHECK_INT(begin(&l, "a.example"), LOOK_PENDING);
	dns_world_run(&w, SECONDS(1));
	CHECK(lookup_take_stale(&l, w.rs, w.now));
	CHECK_INT(l.outcome, LOOK_FOUND);
	CHECK(l.stale);
	lookup_end(&l, w.rs);
	/* those behind it do not */
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK(l.stale);
	lookup_end(&l, w.rs);
	dns_world_fail_all(&w, ANSWER_TIMEOUT);
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK(l.stale);
	CHECK_INT(lookup_ttl(&l, w.now), 30);
	lookup_end(&l, w.rs);
	CHECK_INT(w.n, 0);
	/* every 30 s it is tried again, and nobody waits for it */
	dns_world_run(&w, SECONDS(30));
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	lookup_end(&l, w.rs);
	CHECK(is_asked("a.example"));
	dns_world_answer_all(&w);
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK(!l.stale);
	lookup_end(&l, w.rs);
	CHECK_INT(counted(CNT_DNS_A_STALE), 4);
	dns_world_fini(&w);
}

TEST(a_failure_gives_who_waits_what_has_run_out)
{
	struct lookup l;

	dns_world_init(&w, zone);
	look("a.example");
	dns_world_run(&w, SECONDS(61));
	CHECK_INT(begin(&l, "a.example"), LOOK_PENDING);
	w.servfail = true;
	dns_world_answer_all(&w);
	CHECK_INT(l.outcome, LOOK_FOUND);
	CHECK(l.stale);
	lookup_end(&l, w.rs);
	CHECK_INT(counted(CNT_DNS_A_SERVFAIL), 1);
	dns_world_fini(&w);
}

TEST(not_for_ever)
{
	dns_world_init(&w, zone);
	look("a.example");
	dns_world_run(&w, SECONDS(60 + 3600));
	w.servfail = true;
	CHECK_INT(look("a.example"), LOOK_FAILED);
	w.servfail = false;
	dns_world_run(&w, SECONDS(1));
	CHECK_INT(look("a.example"), LOOK_FOUND);
	dns_world_fini(&w);
}

/* No answer, and no answer of use, leave alone what is known. */
TEST(a_bad_answer_does_not_poison)
{
	struct lookup l;

	dns_world_init(&w, zone);
	look("a.example");
	dns_world_run(&w, SECONDS(50));
	begin(&l, "a.example"); /* refreshes */
	lookup_end(&l, w.rs);
	dns_world_reply(&w, 0, STR("bad"));
	CHECK_INT(counted(CNT_DNS_A_MALFORMED), 1);
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK(!l.stale);
	CHECK_INT(lookup_ttl(&l, w.now), 10);
	lookup_end(&l, w.rs);
	CHECK_STR(str_from(w.log), "dns.bad ");
	dns_world_fini(&w);
}

/* RFC 9520: with nothing to serve a failure is known too, for 1, 2, 4, 8 s. */
TEST(failures_are_remembered_shortly)
{
	static const int pause[] = {1, 2, 4, 8, 8};
	struct lookup l;

	dns_world_init(&w, zone);
	w.servfail = true;
	for (size_t i = 0; i < ARRAY_LEN(pause); i++) {
		CHECK_INT(begin(&l, "a.example"), LOOK_PENDING);
		dns_world_answer_all(&w);
		lookup_end(&l, w.rs);
		dns_world_run(&w, SECONDS(pause[i]) - 1);
		CHECK_INT(begin(&l, "a.example"), LOOK_FAILED);
		lookup_end(&l, w.rs);
		dns_world_run(&w, 1);
	}
	w.servfail = false;
	CHECK_INT(look("a.example"), LOOK_FOUND);
	dns_world_fini(&w);
}

TEST(that_the_resolver_is_gone_and_back_is_said_once)
{
	struct lookup l[4];

	dns_world_init(&w, zone);
	begin(&l[0], "a.example");
	dns_world_fail_all(&w, ANSWER_TIMEOUT);
	CHECK_STR(str_from(w.log), "");
	begin(&l[1], "b.example");
	begin(&l[2], "c.example");
	dns_world_fail_all(&w, ANSWER_FAILED);
	CHECK_STR(str_from(w.log), "dns.down ");
	begin(&l[3], "d.example");
	dns_world_answer_all(&w);
	CHECK_STR(str_from(w.log), "dns.down dns.up ");
	for (int i = 0; i < 4; i++)
		lookup_end(&l[i], w.rs);
	/* and what failed before may be asked at once */
	CHECK_INT(look("a.example"), LOOK_FOUND);
	CHECK_INT(counted(CNT_DNS_A_TIMEOUT), 1);
	CHECK_INT(counted(CNT_DNS_A_UNREACHABLE), 2);
	dns_world_fini(&w);
}

/* A zone whose servers are dead is not the resolver's fault: it has answered
 * something since. */
TEST(a_dead_zone_is_no_dead_resolver)
{
	struct lookup l[5];

	dns_world_init(&w, zone);
	begin(&l[0], "a.example");
	begin(&l[1], "b.example");
	dns_world_run(&w, SECONDS(1));
	begin(&l[2], "c.example");
	dns_world_answer(&w, 2);
	dns_world_run(&w, SECONDS(1));
	dns_world_fail_all(&w, ANSWER_TIMEOUT);
	CHECK_STR(str_from(w.log), "");
	/* nor does the next one who answers end their pause */
	begin(&l[3], "d.example");
	dns_world_answer_all(&w);
	CHECK_INT(look("a.example"), LOOK_FAILED);
	CHECK_STR(str_from(w.log), "");
	dns_world_run(&w, SECONDS(1));
	lookup_end(&l[0], w.rs);
	begin(&l[0], "a.example");
	begin(&l[4], "e.example");
	dns_world_fail_all(&w, ANSWER_TIMEOUT);
	CHECK_STR(str_from(w.log), "dns.down ");
	for (int i = 0; i < 5; i++)
		lookup_end(&l[i], w.rs);
	dns_world_fini(&w);
}

/* There are names for which nobody is asked: that says nothing of those who
 * could be. */
TEST(a_name_nobody_is_asked_for_is_not_there)
{
	struct lookup l[3];

	dns_world_init(&w, zone);
	begin(&l[0], "a.onion");
	begin(&l[1], "b.onion");
	dns_world_fail_all(&w, ANSWER_NO_NAME);
	CHECK_INT(l[0].outcome, LOOK_NONE);
	CHECK_INT(l[1].outcome, LOOK_NONE);
	CHECK_INT(counted(CNT_DNS_A_NONE), 2);
	CHECK_INT(begin(&l[2], "a.onion"), LOOK_NONE);
	CHECK_STR(str_from(w.log), "");
	for (int i = 0; i < 3; i++)
		lookup_end(&l[i], w.rs);
	dns_world_fini(&w);
}

/* Nothing is known of it and nobody asks: it takes no one's place. */
TEST(a_name_that_is_not_asked_for_is_not_kept)
{
	struct lookup l;

	dns_world_init(&w, zone);
	w.limits.names = 1;
	CHECK_INT(look("a.example"), LOOK_FOUND);
	CHECK_INT(lookup_begin(&l, w.rs, "b.example", DNS_A, false, w.now), 0);
	CHECK_INT(l.outcome, LOOK_PENDING);
	lookup_end(&l, w.rs);
	CHECK_INT(resolver_names(w.rs), 0);
	dns_world_fini(&w);
}

TEST(the_longest_unused_goes)
{
	struct lookup busy;

	dns_world_init(&w, zone);
	w.limits.names = 3;
	look("a.example");
	look("short.example");
	look("long.example");
	CHECK_INT(begin(&busy, "a.example"), LOOK_FOUND);
	look("nobody.example");
	CHECK_INT(resolver_names(w.rs), 3);
	w.questions = 0;
	CHECK_INT(look("long.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 0);
	lookup_end(&busy, w.rs);
	CHECK_INT(look("short.example"), LOOK_FOUND);
	CHECK_INT(w.questions, 1);
	dns_world_fini(&w);
}

TEST(no_room_when_all_are_in_use)
{
	struct lookup one, two;

	dns_world_init(&w, zone);
	w.limits.names = 1;
	CHECK_INT(begin(&one, "a.example"), LOOK_PENDING);
	two.fn = on_lookup;
	CHECK_INT(lookup_begin(&two, w.rs, "b.example", DNS_A, true, w.now),
		  ERR_LIMIT);
	CHECK_INT(counted(CNT_DNS_CACHE_FULL), 1);
	dns_world_answer_all(&w);
	lookup_end(&one, w.rs);
	dns_world_fini(&w);
}

TEST(bytes_of_the_cache_are_spare)
{
	size_t before;

	dns_world_init(&w, zone);
	before = w.mem.bytes - resolver_spare_bytes(w.rs);
	look("a.example");
	look("nobody.example");
	CHECK_INT(w.mem.bytes - resolver_spare_bytes(w.rs), before);
	CHECK_INT(resolver_names(w.rs), 2);
	dns_world_fini(&w);
}

/* The new server decides, and the old answers help while it is silent. */
TEST(another_server_is_asked)
{
	struct lookup held, l;

	dns_world_init(&w, zone);
	look("a.example");
	begin(&held, "a.example");
	resolver_expire(w.rs, w.now);
	CHECK_INT(held.outcome, LOOK_FOUND);
	lookup_end(&held, w.rs);
	CHECK_INT(begin(&l, "a.example"), LOOK_PENDING);
	dns_world_run(&w, SECONDS(1));
	CHECK(lookup_take_stale(&l, w.rs, w.now));
	lookup_end(&l, w.rs);
	dns_world_answer_all(&w);
	CHECK_INT(begin(&l, "a.example"), LOOK_FOUND);
	CHECK(!l.stale);
	lookup_end(&l, w.rs);
	CHECK_INT(w.questions, 2);
	dns_world_fini(&w);
}

TEST(an_answer_to_nobody)
{
	struct query stray = {.name = "a.example", .type = DNS_A};
	struct answer timeout = {.status = ANSWER_TIMEOUT};

	dns_world_init(&w, zone);
	CHECK(!resolver_on_answer(w.rs, &stray, &timeout, w.now));
	look("a.example");
	CHECK(!resolver_on_answer(w.rs, &stray, &timeout, w.now));
	dns_world_fini(&w);
}

TEST(free_takes_questions_back)
{
	dns_world_init(&w, zone);
	{
		struct lookup l;

		begin(&l, "a.example");
		lookup_end(&l, w.rs);
	}
	CHECK_INT(w.n, 1);
	dns_world_fini(&w);
	CHECK_INT(w.dropped, 1);
}
