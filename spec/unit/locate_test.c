#include "unit/dns_world.h"

#include <stdio.h>
#include <string.h>

#include "util/err.h"

static struct dns_world w;

#define CHECK_PLACES(lit)                                                      \
	do {                                                                   \
		char text[2048];                                               \
		CHECK_STR(str_from(dns_world_places(&w.found, text)), lit);    \
	} while (0)

static void find(const char *uri)
{
	struct locate_ask ask = dns_world_ask(uri);

	dns_world_locate(&w, &ask);
}

static const struct zone_line full[] = {
    {"full.example", DNS_NAPTR, 60, "20 10 s SIP+D2U - _sip._udp.u.example"},
    {"full.example", DNS_NAPTR, 60, "10 20 S sip+d2t - _sip._tcp.t.example"},
    {"full.example", DNS_NAPTR, 60, "10 10 s SIPS+D2T - _sips._tcp.s.example"},
    {"full.example", DNS_NAPTR, 60, "5 10 u E2U+sip !^.*$!sip:x! -"},
    {"_sip._udp.u.example", DNS_SRV, 60, "1 0 5070 a.example"},
    {"_sip._tcp.t.example", DNS_SRV, 60, "2 0 5080 b.example"},
    {"_sip._tcp.t.example", DNS_SRV, 60, "1 0 5080 a.example"},
    {"_sips._tcp.s.example", DNS_SRV, 60, "1 0 5061 a.example"},
    {"a.example", DNS_A, 60, "10.0.0.1"},
    {"a.example", DNS_AAAA, 60, "2001:db8::1"},
    {"b.example", DNS_A, 60, "10.0.0.2"},
    {"_sip._udp.srv.example", DNS_SRV, 60, "1 0 5070 a.example"},
    {"_sip._udp.srv.example", DNS_SRV, 60, "2 0 5070 gone.example"},
    {"_sip._tcp.srv.example", DNS_SRV, 60, "1 0 5060 b.example"},
    {"_sips._tcp.srv.example", DNS_SRV, 60, "1 0 5061 b.example"},
    {"_sip._udp.closed.example", DNS_SRV, 60, "0 0 0 "},
    {"closed.example", DNS_A, 60, "10.0.0.9"},
    {"flag-a.example", DNS_NAPTR, 60, "1 1 a SIP+D2T - b.example"},
    {"tls-only.example", DNS_NAPTR, 60,
     "1 1 s SIPS+D2T - _sips._tcp.s.example"},
    {"tls-only.example", DNS_A, 60, "10.0.0.9"},
    {0}};

TEST(addresses_need_no_look_up)
{
	dns_world_init(&w, full);
	find("sip:10.0.0.7");
	CHECK_PLACES("0 udp:10.0.0.7:5060 0");
	CHECK_INT(w.found.ttl, UINT32_MAX);
	find("sip:[2001:db8::7]:5070;transport=tcp");
	CHECK_PLACES("0 tcp:[2001:db8::7]:5070 0");
	find("sips:10.0.0.7");
	CHECK_PLACES("0 tls:10.0.0.7:5061 0");
	find("sip:full.example;maddr=10.0.0.7");
	CHECK_PLACES("0 udp:10.0.0.7:5060 0");
	CHECK_INT(w.questions, 0);
	dns_world_fini(&w);
}

/* RFC 3263 4.2. */
TEST(a_port_leaves_only_addresses)
{
	dns_world_init(&w, full);
	find("sip:A.Example.:5099");
	CHECK_PLACES("0 udp:[2001:db8::1]:5099 0, 0 udp:10.0.0.1:5099 0");
	CHECK_INT(w.questions, 2);
	CHECK_INT(w.found.ttl, 60);
	CHECK_STR(str_from(w.found.at[0].target), "a.example");
	find("sips:a.example:5099");
	CHECK_PLACES("0 tls:[2001:db8::1]:5099 0, 0 tls:10.0.0.1:5099 0");
	CHECK_INT(w.questions, 2);
	dns_world_fini(&w);
}

/* RFC 3263 4.1. */
TEST(naptr_then_srv_then_addresses)
{
	dns_world_init(&w, full);
	find("sip:full.example");
	CHECK_PLACES("0 tls:[2001:db8::1]:5061 0, 0 tls:10.0.0.1:5061 0, "
		     "1 tcp:[2001:db8::1]:5080 0, 1 tcp:10.0.0.1:5080 0, "
		     "2 tcp:10.0.0.2:5080 0, "
		     "3 udp:[2001:db8::1]:5070 0, 3 udp:10.0.0.1:5070 0");
	/* NAPTR, three SRV, two names in two families */
	CHECK_INT(w.questions, 8);
	dns_world_fini(&w);
}

TEST(only_what_we_can_speak)
{
	struct locate_ask ask;

	dns_world_init(&w, full);
	ask = dns_world_ask("sip:full.example");
	ask.usable4 = ask.usable6 = 1u << TRANSPORT_UDP;
	ask.usable6 = 0;
	dns_world_locate(&w, &ask);
	CHECK_PLACES("0 udp:10.0.0.1:5070 0");
	CHECK_INT(w.questions, 3);
	/* It has said how it is reached, and that is nothing for us. */
	ask = dns_world_ask("sip:tls-only.example");
	ask.usable4 = ask.usable6 = 1u << TRANSPORT_UDP;
	dns_world_locate(&w, &ask);
	CHECK_PLACES("");
	CHECK_INT(w.found.cause, CAUSE_DNS_NONE);
	ask = dns_world_ask("sip:a.example;transport=tls");
	ask.usable4 = ask.usable6 = 1u << TRANSPORT_UDP;
	dns_world_locate(&w, &ask);
	CHECK_INT(w.found.cause, CAUSE_DNS_NONE);
	dns_world_fini(&w);
}

TEST(only_through_our_listeners)
{
	struct locate_ask ask = dns_world_ask("sip:full.example");
	struct listeners ls = {.n = 2};

	ls.l[0].transport = TRANSPORT_UDP;
	ls.l[0].addr.family = ADDR_V4;
	ls.l[1].transport = TRANSPORT_TCP;
	ls.l[1].addr.family = ADDR_V6;
	dns_world_init(&w, full);
	locate_through(&ls, &ask);
	dns_world_locate(&w, &ask);
	CHECK_PLACES("0 tcp:[2001:db8::1]:5080 0, 1 udp:10.0.0.1:5070 0");
	dns_world_fini(&w);
}

TEST(sips_is_tls)
{
	dns_world_init(&w, full);
	find("sips:full.example");
	CHECK_PLACES("0 tls:[2001:db8::1]:5061 0, 0 tls:10.0.0.1:5061 0");
	find("sips:srv.example");
	CHECK_PLACES("0 tls:10.0.0.2:5061 0");
	CHECK_INT(dns_world_find(&w, "_sip._udp.srv.example", DNS_SRV), -1);
	find("sips:b.example");
	CHECK_PLACES("0 tls:10.0.0.2:5061 0");
	dns_world_fini(&w);
}

TEST(a_transport_skips_naptr)
{
	dns_world_init(&w, full);
	find("sip:srv.example;transport=tcp");
	CHECK_PLACES("0 tcp:10.0.0.2:5060 0");
	CHECK_INT(w.questions, 3);
	find("sip:b.example;transport=tls");
	CHECK_PLACES("0 tls:10.0.0.2:5061 0");
	dns_world_fini(&w);
}

/* RFC 3263 4.1. */
TEST(without_naptr_udp_tcp_tls)
{
	dns_world_init(&w, full);
	find("sip:srv.example");
	CHECK_PLACES("0 udp:[2001:db8::1]:5070 0, 0 udp:10.0.0.1:5070 0, "
		     "1 tcp:10.0.0.2:5060 0, 2 tls:10.0.0.2:5061 0");
	dns_world_fini(&w);
}

TEST(without_srv_the_host_itself)
{
	struct locate_ask ask;

	dns_world_init(&w, full);
	find("sip:b.example");
	CHECK_PLACES("0 udp:10.0.0.2:5060 0");
	ask = dns_world_ask("sip:b.example");
	ask.usable4 = ask.usable6 = 1u << TRANSPORT_TCP;
	dns_world_locate(&w, &ask);
	CHECK_PLACES("0 tcp:10.0.0.2:5060 0");
	find("sip:flag-a.example");
	CHECK_PLACES("0 tcp:10.0.0.2:5060 0");
	dns_world_fini(&w);
}

TEST(a_dot_means_no_service)
{
	struct locate_ask ask;

	dns_world_init(&w, full);
	ask = dns_world_ask("sip:closed.example");
	dns_world_locate(&w, &ask);
	CHECK_PLACES("");
	CHECK_INT(w.found.cause, CAUSE_DNS_NONE);
	CHECK_INT(w.found.ttl, 30);
	dns_world_fini(&w);
}

TEST(no_such_name)
{
	dns_world_init(&w, full);
	find("sip:nobody.example");
	CHECK_PLACES("");
	CHECK_INT(w.found.cause, CAUSE_DNS_NONE);
	CHECK_INT(w.found.ttl, 30);
	CHECK_INT(w.questions, 6);
	find("sip:nobody.example");
	CHECK_INT(w.questions, 6);
	dns_world_fini(&w);
}

TEST(what_cannot_be_a_name)
{
	static const char *const bad[] = {"",   ".",           "a..example",
					  ".a", "a b.example", "a\xff"};
	struct locate_ask ask = dns_world_ask("sip:x.example");

	dns_world_init(&w, full);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ask.host = str_from(bad[i]);
		dns_world_locate(&w, &ask);
		CHECK_INT(w.found.n, 0);
		CHECK_INT(w.found.cause, CAUSE_DNS_NONE);
		CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), 0);
	}
	CHECK_INT(w.questions, 0);
	dns_world_fini(&w);
}

static const struct zone_line weights[] = {
    {"_sip._udp.w.example", DNS_SRV, 60, "1 60 5060 a.example"},
    {"_sip._udp.w.example", DNS_SRV, 60, "1 20 5060 b.example"},
    {"_sip._udp.w.example", DNS_SRV, 60, "1 20 5060 c.example"},
    {"_sip._udp.w.example", DNS_SRV, 60, "1 0 5060 d.example"},
    {"_sip._udp.w.example", DNS_SRV, 60, "9 50 5060 e.example"},
    {"_sip._udp.z.example", DNS_SRV, 60, "1 0 5060 a.example"},
    {"_sip._udp.z.example", DNS_SRV, 60, "1 0 5060 b.example"},
    {"_sip._udp.z.example", DNS_SRV, 60, "1 0 5060 c.example"},
    {"_sip._udp.z.example", DNS_SRV, 60, "1 0 5060 d.example"},
    {"a.example", DNS_A, 60, "10.0.0.1"},
    {"b.example", DNS_A, 60, "10.0.0.2"},
    {"c.example", DNS_A, 60, "10.0.0.3"},
    {"d.example", DNS_A, 60, "10.0.0.4"},
    {"e.example", DNS_A, 60, "10.0.0.5"},
    {"five.example", DNS_A, 60, "10.0.0.3"},
    {"five.example", DNS_A, 60, "10.0.0.1"},
    {"five.example", DNS_A, 60, "10.0.0.2"},
    {0}};

/* How often each of four was the first, in 10000 seeds. */
static void count_firsts(const char *uri, unsigned first[6])
{
	struct locate_ask ask = dns_world_ask(uri);

	memset(first, 0, 6 * sizeof(*first));
	ask.usable6 = 0;
	dns_world_locate(&w, &ask);
	for (ask.seed = 0; ask.seed < 10000; ask.seed++) {
		CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), 0);
		CHECK(w.found.at[0].addr.ip[3] < 6);
		first[w.found.at[0].addr.ip[3]]++;
	}
}

TEST(weights_of_rfc_2782)
{
	unsigned n[6];

	dns_world_init(&w, weights);
	count_firsts("sip:w.example;transport=udp", n);
	CHECK(n[1] > 5700 && n[1] < 6200);
	CHECK(n[2] > 1800 && n[2] < 2200);
	CHECK(n[3] > 1800 && n[3] < 2200);
	CHECK(n[4] > 50 && n[4] < 160); /* 1 of 101 */
	CHECK_INT(n[5], 0);
	CHECK_INT(w.found.n, 5);
	CHECK_INT(w.found.at[4].addr.ip[3], 5);
	CHECK_INT(w.found.at[4].rank, 1);
	CHECK_INT(w.found.at[4].weight, 50);
	dns_world_fini(&w);
}

TEST(equal_weights_have_equal_chances)
{
	unsigned n[6];

	dns_world_init(&w, weights);
	count_firsts("sip:z.example;transport=udp", n);
	for (unsigned i = 1; i <= 4; i++)
		CHECK(n[i] > 2300 && n[i] < 2700);
	dns_world_fini(&w);
}

/* RFC 3263 4.4. */
TEST(the_seed_decides_not_the_order_of_the_answer)
{
	static const struct zone_line turned[] = {
	    {"five.example", DNS_A, 60, "10.0.0.1"},
	    {"five.example", DNS_A, 60, "10.0.0.2"},
	    {"five.example", DNS_A, 60, "10.0.0.3"},
	    {0}};
	struct locate_ask ask = dns_world_ask("sip:five.example:5060");
	static struct places here[16];
	bool differ = false;

	dns_world_init(&w, weights);
	dns_world_locate(&w, &ask);
	for (ask.seed = 0; ask.seed < 16; ask.seed++) {
		CHECK_INT(locate_now(w.rs, &ask, w.now, &here[ask.seed]), 0);
		differ = differ || !addr_eq(&here[ask.seed].at[0].addr,
					    &here[0].at[0].addr);
	}
	CHECK(differ);
	dns_world_fini(&w);
	dns_world_init(&w, turned);
	dns_world_locate(&w, &ask);
	for (ask.seed = 0; ask.seed < 16; ask.seed++) {
		CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), 0);
		for (unsigned i = 0; i < 3; i++)
			CHECK(addr_eq(&w.found.at[i].addr,
				      &here[ask.seed].at[i].addr));
	}
	dns_world_fini(&w);
}

TEST(now_is_what_the_cache_knows)
{
	struct locate_ask ask = dns_world_ask("sip:full.example");

	dns_world_init(&w, full);
	CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), ERR_STATE);
	CHECK_INT(w.questions, 0);
	dns_world_locate(&w, &ask);
	CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), 0);
	CHECK_INT(w.found.n, 7);
	CHECK_INT(w.found.ttl, 60);
	dns_world_run(&w, SECONDS(20));
	CHECK_INT(locate_now(w.rs, &ask, w.now, &w.found), 0);
	CHECK_INT(w.found.ttl, 40);
	dns_world_fini(&w);
}

/* The names of one step are asked for at once. */
/* RFC 7984. */
TEST(in_parallel)
{
	struct locate_ask ask = dns_world_ask("sip:srv.example");

	dns_world_init(&w, full);
	dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	CHECK_INT(w.n, 1);
	dns_world_answer(&w, 0); /* NAPTR: none */
	CHECK_INT(w.n, 3);
	dns_world_answer(&w, 0); /* _sip._udp */
	CHECK_INT(w.n, 6);
	CHECK(dns_world_find(&w, "a.example", DNS_AAAA) >= 0);
	CHECK(dns_world_find(&w, "gone.example", DNS_A) >= 0);
	dns_world_answer_all(&w);
	CHECK_INT(w.calls, 1);
	dns_world_fini(&w);
}

TEST(one_target_that_is_not_found_is_left_out)
{
	struct locate_ask ask = dns_world_ask("sip:srv.example;transport=udp");
	int i;

	dns_world_init(&w, full);
	ask.usable6 = 0;
	dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	dns_world_answer(&w, 0);
	i = dns_world_find(&w, "gone.example", DNS_A);
	CHECK(i >= 0);
	dns_world_fail(&w, (unsigned)i, ANSWER_FAILED);
	dns_world_answer_all(&w);
	CHECK_INT(w.calls, 1);
	CHECK_PLACES("0 udp:10.0.0.1:5070 0");
	CHECK_INT(w.found.ttl, 5); /* something is missing */
	dns_world_fini(&w);
}

TEST(the_deadline_gives_what_there_is)
{
	struct locate_ask ask = dns_world_ask("sip:srv.example;transport=udp");
	int i;

	dns_world_init(&w, full);
	ask.usable6 = 0;
	dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	dns_world_answer(&w, 0);
	i = dns_world_find(&w, "a.example", DNS_A);
	dns_world_answer(&w, (unsigned)i);
	dns_world_run(&w, MILLIS(1999));
	CHECK_INT(w.calls, 0);
	dns_world_run(&w, MILLIS(1));
	CHECK_INT(w.calls, 1);
	CHECK_PLACES("0 udp:10.0.0.1:5070 0");
	dns_world_answer_all(&w);
	dns_world_fini(&w);
}

TEST(silence_is_a_timeout)
{
	struct locate_ask ask = dns_world_ask("sip:full.example");

	dns_world_init(&w, full);
	dns_world_start(&w, &ask);
	dns_world_run(&w, SECONDS(2));
	CHECK_INT(w.calls, 1);
	CHECK_INT(w.found.n, 0);
	CHECK_INT(w.found.cause, CAUSE_DNS_TIMEOUT);
	CHECK(w.n > 0);
	dns_world_answer_all(&w); /* late: for the next one */
	CHECK_INT(w.calls, 1);
	dns_world_fini(&w);
}

TEST(a_resolver_that_never_answers_naptr)
{
	struct locate_ask ask = dns_world_ask("sip:srv.example");

	dns_world_init(&w, full);
	dns_world_start(&w, &ask);
	dns_world_run(&w, MILLIS(999));
	CHECK_INT(w.n, 1);
	dns_world_run(&w, MILLIS(1));
	while (w.n > 1)
		dns_world_answer(&w, 1);
	CHECK_INT(w.calls, 1);
	CHECK_INT(w.found.n, 4);
	dns_world_fini(&w);
	CHECK_INT(w.dropped, 1);
}

TEST(srv_that_cannot_be_found_out_does_not_lead_to_the_host)
{
	struct locate_ask ask = dns_world_ask("sip:b.example;transport=udp");

	dns_world_init(&w, full);
	dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	dns_world_fail(&w, 0, ANSWER_TIMEOUT);
	CHECK_INT(w.calls, 1);
	CHECK_INT(w.found.n, 0);
	CHECK_INT(w.found.cause, CAUSE_DNS_TIMEOUT);
	dns_world_fini(&w);
}

TEST(a_stopped_search_is_forgotten)
{
	struct locate_ask ask = dns_world_ask("sip:srv.example");
	struct locate *l;

	dns_world_init(&w, full);
	l = dns_world_start(&w, &ask);
	locate_stop(&l);
	CHECK(!l);
	l = dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	locate_stop(&l);
	dns_world_answer_all(&w);
	CHECK_INT(w.calls, 0);
	locate_stop(&l);
	dns_world_fini(&w);
}

/* Two who look for the same share the questions, and one may stop the other. */
static void on_found_stop(void *ctx, const struct places *found, struct now now)
{
	(void)found;
	(void)now;
	w.calls++;
	locate_stop(ctx);
}

TEST(a_result_stops_another_search)
{
	struct locate_ask ask = dns_world_ask("sip:a.example:1");
	struct locate *other;

	dns_world_init(&w, full);
	CHECK(locate_start(w.rs, &ask, on_found_stop, &other, w.now));
	other = dns_world_start(&w, &ask);
	dns_world_run(&w, 0);
	CHECK_INT(w.n, 2);
	dns_world_answer_all(&w);
	CHECK_INT(w.calls, 1);
	dns_world_fini(&w);
}

/* No zone makes a search ask without end. */
TEST(a_search_is_bounded)
{
	static struct zone_line many[3 * 40 + 1];
	static char text[3 * 40][64];
	unsigned n = 0;

	for (unsigned t = 0; t < 3; t++)
		for (unsigned i = 0; i < 40; i++, n++) {
			static const char *const names[] = {
			    "_sip._udp.many.example", "_sip._tcp.many.example",
			    "_sips._tcp.many.example"};

			snprintf(text[n], sizeof(text[n]), "%u 1 5060 t%u", i,
				 n);
			many[n] =
			    (struct zone_line){names[t], DNS_SRV, 60, text[n]};
		}
	dns_world_init(&w, many);
	find("sip:many.example");
	CHECK_INT(w.found.n, 0);
	CHECK_INT(w.questions, 1 + 3 + 2 * LOCATE_TARGETS);
	CHECK_INT(w.counters.v[CNT_DNS_DROPPED], 3 * 24);
	dns_world_fini(&w);
}

TEST(so_many_ways_by_naptr)
{
	static struct zone_line many[12 + 1];
	static char text[12][64];

	for (unsigned i = 0; i < 12; i++) {
		snprintf(text[i], sizeof(text[i]), "%u 1 s SIP+D2U - s%u", i,
			 i);
		many[i] =
		    (struct zone_line){"many.example", DNS_NAPTR, 60, text[i]};
	}
	dns_world_init(&w, many);
	find("sip:many.example");
	CHECK_INT(w.found.n, 0);
	CHECK_INT(w.questions, 1 + 8);
	CHECK(w.found.cause == CAUSE_DNS_NONE);
	dns_world_fini(&w);
}

/* Every allocation of a search may fail. */
TEST(no_memory)
{
	struct locate_ask ask = dns_world_ask("sip:full.example");

	for (uint64_t at = 1;; at++) {
		struct locate *l;
		bool failed;

		dns_world_init(&w, full);
		w.mem.fail_at = w.mem.calls + at;
		w.mem.fail_for = 1;
		l = locate_start(w.rs, &ask, on_found_stop,
				 &(struct locate *){0}, w.now);
		dns_world_run(&w, 0);
		dns_world_answer_all(&w);
		dns_world_run(&w, SECONDS(3));
		CHECK_INT(w.calls, l ? 1 : 0);
		failed = w.mem.calls >= w.mem.fail_at;
		dns_world_fini(&w);
		if (!failed)
			break;
		CHECK(at < 100);
	}
}
