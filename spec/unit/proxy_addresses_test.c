/*
 * A target with several addresses (semantics 12): in which order they are
 * tried, what moves a try on and what ends it, and what is remembered.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/places.h"
#include "proxy_world.h"

enum { PLACES = 4 };

/* A server with addresses 10.0.0.1, .2, ... that the next request goes to. */
struct multi {
	struct pw *w;
	struct member *m;
	struct server_places places;
};

static void tell(struct multi *s)
{
	CHECK_INT(proxy_set_places(core_proxy(s->w->core[0]), s->m, &s->places),
		  0);
}

static struct multi multi(unsigned n)
{
	struct multi s = {.w = pw_open(1), .places.n = n};

	s.m = pw_member(s.w, "a/1", SERVER1);
	s.w->plan.silent = true;
	for (unsigned i = 0; i < n; i++) {
		s.places.at[i].addr = s.m->places.at[0].addr;
		s.places.at[i].addr.ip[3] = (uint8_t)(i + 1);
		s.places.at[i].rank = (uint16_t)i;
	}
	tell(&s);
	return s;
}

static void try(struct multi *s, struct pw_req q)
{
	struct target t = {.member = s->m};

	pw_give(s->w, ALICE, pw_request(q));
	CHECK_INT(request_try(s->w->req, &t, 1, &s->w->plan.opts, s->w->now),
		  0);
}

static void invite(struct multi *s)
{
	try(s, (struct pw_req){.method = "INVITE"});
}

/* The caller gets 480 and the request ends. */
static void finish(struct multi *s)
{
	struct reply reply = {.code = 480};

	pw_settle(s->w);
	request_reply(s->w->req, &reply, s->w->now);
	request_done(s->w->req, s->w->now);
	pw_run(s->w, SECONDS(40));
}

static void end(struct multi *s)
{
	if (s->w->req)
		finish(s);
	pw_close(s->w);
}

TEST(addresses_are_tried_one_after_the_other)
{
	struct multi s = multi(3);
	struct pw *w = s.w;
	char first[PW_TEXT];

	invite(&s);
	strcpy(first, pw_header(EXPECT(w, SERVER1, "INVITE"), "Via"));
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	/* in the same moment, as another branch of the same try */
	EXPECT_AT(w, 0, SERVER2, "INVITE");
	CHECK(strcmp(first, pw_header(pw_last(w), "Via")) != 0);
	CHECK_INT(w->outcomes, 0);
	pw_icmp(w, SERVER2, "INVITE", CAUSE_ICMP_HOST);
	EXPECT_AT(w, 0, SERVER3, "INVITE");
	pw_answer(w, SERVER3, "INVITE", "486 Busy Here");
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->code, 486);
	CHECK_STR(str_from(w->told),
		  "10.0.0.1:icmp_port 10.0.0.2:icmp_host 10.0.0.3:486 ");
	CHECK_INT(w->moved, 2);
	end(&s);
}

TEST(addresses_run_out)
{
	struct multi s = multi(2);
	struct pw *w = s.w;

	invite(&s);
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	pw_icmp(w, SERVER2, "INVITE", CAUSE_ICMP_NET);
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TRANSPORT);
	CHECK_INT(w->last.cause, CAUSE_ICMP_NET);
	CHECK_INT(w->last.addr.ip[3], 2); /* the last one tried */
	CHECK_INT(w->moved, 1);
	CHECK_INT(atomic_load(&s.m->fact[FACT_INFLIGHT]), 0);
	end(&s);
}

/* The server is counted once: it takes one call, wherever. */
TEST(addresses_of_one_server_take_one_call)
{
	struct multi s = multi(2);

	invite(&s);
	pw_icmp(s.w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	CHECK_INT(atomic_load(&s.m->fact[FACT_INFLIGHT]), 1);
	CHECK_INT(atomic_load(&s.m->fact[FACT_SETUP]), 1);
	CHECK(load_rate(&s.m->load, s.w->now.mono) == 1.0);
	pw_answer(s.w, SERVER2, "INVITE", "200 OK");
	CHECK_INT(atomic_load(&s.m->fact[FACT_CALLS]), 1);
	CHECK_INT(atomic_load(&s.m->fact[FACT_INFLIGHT]), 0);
	request_done(s.w->req, s.w->now);
	pw_run(s.w, SECONDS(40));
	pw_close(s.w);
}

TEST(addresses_share_the_timeout)
{
	struct multi s = multi(2);
	struct pw *w = s.w;

	invite(&s); /* 2 s */
	pw_run(w, MILLIS(1500));
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	pw_run(w, MILLIS(499));
	CHECK_INT(w->outcomes, 0);
	pw_run(w, MILLIS(1));
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK_INT(w->last.addr.ip[3], 2);
	end(&s);
}

TEST(addresses_after_a_1xx_are_no_alternative)
{
	struct multi s = multi(2);
	struct pw *w = s.w;

	try(&s, (struct pw_req){.method = "REGISTER"});
	EXPECT(w, SERVER1, "REGISTER");
	pw_answer(w, SERVER1, "REGISTER", "100 Trying");
	pw_icmp(w, SERVER1, "REGISTER", CAUSE_ICMP_PORT);
	QUIET(w);
	CHECK_INT(w->last.cause, CAUSE_ICMP_PORT);
	CHECK_INT(w->moved, 0);
	end(&s);
}

TEST(addresses_end_with_a_cancel)
{
	struct multi s = multi(2);
	struct pw *w = s.w;

	invite(&s);
	EXPECT(w, SERVER1, "INVITE");
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200 OK");
	EXPECT(w, ALICE, "SIP/2.0 487 ");
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	QUIET(w);
	pw_ack(w, "z9hG4bKabc", "x");
	request_done(w->req, w->now);
	pw_run(w, SECONDS(70));
	pw_close(w);
}

/* Silence uses up the time of its try; the next request begins elsewhere. */
TEST(addresses_that_were_silent_come_last_for_a_while)
{
	struct multi s = multi(2);
	struct pw *w = s.w;

	invite(&s);
	pw_run(w, SECONDS(2));
	CHECK_INT(w->last.cause, CAUSE_SILENT);
	CHECK_INT(w->moved, 0);
	request_reply(w->req, &(struct reply){.code = 480}, w->now);
	request_done(w->req, w->now);
	pw_settle(w);
	pw_ack(w, "z9hG4bKabc", "x");

	w->seen = w->n;
	try(&s, (struct pw_req){.branch = "z9hG4bKb", .call_id = "2@x"});
	EXPECT(w, SERVER2, "INVITE");
	/* all that is left then */
	pw_icmp(w, SERVER2, "INVITE", CAUSE_ICMP_PORT);
	EXPECT(w, SERVER1, "INVITE");
	pw_answer(w, SERVER1, "INVITE", "503 x");
	finish(&s);

	/* and it has answered */
	w->seen = w->n;
	try(&s, (struct pw_req){.branch = "z9hG4bKc", .call_id = "3@x"});
	EXPECT(w, SERVER1, "INVITE");
	pw_answer(w, SERVER1, "INVITE", "503 x");
	end(&s);
}

TEST(addresses_that_are_down_come_last)
{
	struct multi s = multi(3);
	struct pw *w = s.w;

	s.places.at[0].is_down = s.places.at[1].is_down = true;
	tell(&s);
	invite(&s);
	EXPECT(w, SERVER3, "INVITE");
	pw_icmp(w, SERVER3, "INVITE", CAUSE_ICMP_PORT);
	EXPECT(w, SERVER1, "INVITE");
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	EXPECT(w, SERVER2, "INVITE");
	pw_answer(w, SERVER2, "INVITE", "486 x");
	end(&s);
}

/* Which address of equal rank n calls begin with. */
static void spread(const uint16_t weight[PLACES], int n, int hits[PLACES])
{
	struct multi s = multi(PLACES);
	struct pw *w = s.w;

	for (unsigned i = 0; i < PLACES; i++) {
		s.places.at[i].rank = 0;
		s.places.at[i].weight = weight[i];
		hits[i] = 0;
	}
	tell(&s);
	for (int i = 0; i < n; i++) {
		char call_id[32], branch[32];
		const char *to[] = {SERVER1, SERVER2, SERVER3, "10.0.0.4:5060"};

		w->n = w->seen = 0;
		snprintf(call_id, sizeof(call_id), "%d@x", i);
		snprintf(branch, sizeof(branch), "z9hG4bK%d", i);
		try(&s, (struct pw_req){.method = "OPTIONS",
					.call_id = call_id,
					.branch = branch});
		for (int k = 0; k < PLACES; k++) {
			if (!pw_find(w, to[k], "OPTIONS"))
				continue;
			hits[k]++;
			pw_answer(w, to[k], "OPTIONS", "200 OK");
		}
		request_done(w->req, w->now);
		pw_run(w, SECONDS(40));
	}
	pw_close(w);
}

/* RFC 2782. */
TEST(addresses_of_one_rank_are_taken_by_weight)
{
	static const uint16_t weight[PLACES] = {60, 30, 10, 0};
	int hits[PLACES];

	spread(weight, 1000, hits);
	CHECK_INT(hits[0] + hits[1] + hits[2] + hits[3], 1000);
	CHECK(hits[0] > 540 && hits[0] < 660);
	CHECK(hits[1] > 240 && hits[1] < 360);
	CHECK(hits[2] > 60 && hits[2] < 140);
	CHECK(hits[3] < 30);
}

TEST(addresses_without_weight_are_taken_alike)
{
	static const uint16_t weight[PLACES] = {0};
	int hits[PLACES];

	spread(weight, 1000, hits);
	for (int i = 0; i < PLACES; i++)
		CHECK(hits[i] > 190 && hits[i] < 310);
}

/* Whatever the order in which DNS gave them: two nodes choose alike, and so
 * does one for all requests of a call. */
TEST(addresses_are_chosen_by_the_call)
{
	char first[ADDR_TEXT];

	for (int turn = 0; turn < 4; turn++) {
		struct multi s = multi(PLACES);
		struct server_places p = s.places;

		for (int i = 0; i < PLACES; i++) {
			s.places.at[i] = p.at[(i + turn) % PLACES];
			s.places.at[i].rank = 0;
			s.places.at[i].weight = (uint16_t)(p.at[0].rank + 1);
		}
		tell(&s);
		invite(&s);
		if (turn == 0)
			addr_text(&s.w->sent[0].to.addr, first);
		EXPECT(s.w, first, "INVITE");
		pw_answer(s.w, first, "INVITE", "486 x");
		end(&s);
	}
}

TEST(addresses_may_not_be_known)
{
	struct multi s = multi(2);

	s.places.n = 0;
	tell(&s);
	invite(&s);
	pw_settle(s.w);
	CHECK_INT(s.w->outcomes, 1);
	CHECK_INT(s.w->last.kind, OUTCOME_TRANSPORT);
	CHECK_INT(s.w->last.cause, CAUSE_DNS_NONE);
	QUIET(s.w);
	end(&s);
}

/* No listener for the family of the first: the server has another one. */
TEST(addresses_without_a_source_are_passed_over)
{
	struct multi s = multi(2);

	CHECK(addr_parse(STR("[2001:db8::1]:5060"), &s.places.at[0].addr));
	tell(&s);
	invite(&s);
	EXPECT(s.w, SERVER2, "INVITE");
	pw_answer(s.w, SERVER2, "INVITE", "486 x");
	end(&s);
}

/* As many targets as a request may have, each with all its addresses. */
TEST(addresses_do_not_use_up_the_tries)
{
	struct multi s = multi(3);
	struct pw *w = s.w;
	struct target t = {.member = s.m};

	/* no listener for any of them */
	for (unsigned i = 0; i < s.places.n; i++)
		CHECK(addr_parse(STR("[2001:db8::1]:5060"),
				 &s.places.at[i].addr));
	tell(&s);
	pw_give(w, ALICE, pw_request((struct pw_req){.branch = "z9hG4bKn"}));
	for (int i = 0; i < PROXY_MAX_ATTEMPTS; i++) {
		CHECK_INT(request_try(w->req, &t, 1, &w->plan.opts, w->now), 0);
		pw_settle(w);
	}
	CHECK_INT(request_try(w->req, &t, 1, &w->plan.opts, w->now), ERR_LIMIT);
	end(&s);
}
