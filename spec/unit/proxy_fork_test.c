/*
 * Several branches at once: the best response (RFC 3261 16.7 step 6),
 * challenges merged (step 7), 2xx and 6xx, 503 (semantics 8, 9).
 */
#include <string.h>
#include "proxy_world.h"

static struct pw *forked(unsigned n)
{
	static const char *const server[] = {SERVER1, SERVER2, SERVER3};
	struct pw *w = pw_open(1);

	w->plan.fork = true;
	w->plan.opts.timeout = SECONDS(4);
	memset(w->plan.server, 0, sizeof(w->plan.server));
	memcpy(w->plan.server, server, n * sizeof(server[0]));
	pw_give(w, ALICE, pw_invite());
	for (unsigned i = 0; i < n; i++)
		EXPECT(w, server[i], "INVITE");
	return w;
}

static void best_of(const char *a, const char *b, const char *c, int best)
{
	struct pw *w = forked(3);

	pw_answer(w, SERVER1, "INVITE", a);
	pw_answer(w, SERVER2, "INVITE", b);
	/* a 6xx waits for nobody who is silent */
	CHECK_INT(w->outcomes, b[0] == '6');
	if (c)
		pw_answer(w, SERVER3, "INVITE", c);
	else
		pw_run(w, SECONDS(4));
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->code, best);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(fork_the_best_response)
{
	best_of("503 x", "486 x", "500 x", 486);
	best_of("302 x", "486 x", "500 x", 302);
	best_of("404 x", "486 x", "401 x", 401);
	best_of("404 x", "484 x", "415 x", 415);
	best_of("503 x", "500 x", "502 x", 500);
	best_of("500 x", "603 x", "401 x", 603);
	best_of("302 x", "600 x", "404 x", 600);
	/* silence never beats an answer, whatever it is */
	best_of("503 x", "503 x", NULL, 503);
	best_of("404 x", "480 x", NULL, 404);
}

TEST(fork_all_silent_is_a_timeout)
{
	struct pw *w = forked(2);

	pw_run(w, SECONDS(4));
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* RFC 3261 16.2, 16.7 steps 5 and 10. */
TEST(fork_2xx_goes_up_at_once_and_the_others_are_cancelled)
{
	struct pw *w = forked(3);

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER1, "CANCEL");
	QUIET(w); /* the third has not spoken */
	CHECK_INT(w->code, 200);
	CHECK_INT(w->freed, 1);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	QUIET(w);
	pw_close(w);
}

TEST(fork_both_answer_without_a_1xx)
{
	struct pw *w = forked(2);

	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_close(w);
}

/* RFC 3261 16.7 steps 5 and 10. */
TEST(fork_6xx_cancels_the_others_and_waits_for_them)
{
	struct pw *w = forked(3);

	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "603 Decline");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER2, "CANCEL");
	QUIET(w);
	CHECK_INT(w->outcomes, 0);
	pw_answer(w, SERVER2, "CANCEL", "200 OK");
	pw_answer(w, SERVER2, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER2, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 603");
	/* the one that was silent is not waited for, nor repeated */
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_run(w, SECONDS(3));
	QUIET(w);
	pw_close(w);
}

TEST(fork_6xx_does_not_wait_longer_than_64_t1)
{
	struct pw *w = forked(2);

	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	pw_answer(w, SERVER1, "INVITE", "603 Decline");
	pw_run(w, SECONDS(32) - 1);
	CHECK_INT(w->outcomes, 0);
	pw_run(w, 1);
	CHECK_INT(w->code, 603);
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_close(w);
}

/* RFC 3261 16.7 step 7. */
TEST(fork_challenges_go_up_together)
{
	struct pw *w = forked(3);
	const struct pw_sent *s;

	pw_answer_full(w, SERVER1, "INVITE", "407 x", NULL,
		       "Proxy-Authenticate: Digest realm=\"one\", "
		       "nonce=\"1\"\r\n");
	pw_answer_full(w, SERVER2, "INVITE", "401 x", NULL,
		       "WWW-Authenticate: Digest realm=\"two\"\r\n"
		       "WWW-Authenticate: Digest realm=\"three\"\r\n");
	pw_answer(w, SERVER3, "INVITE", "404 x");
	s = pw_find(w, ALICE, "SIP/2.0 401");
	CHECK(s != NULL);
	HAS(s, "Proxy-Authenticate: Digest realm=\"one\", nonce=\"1\"\r\n");
	CHECK_INT(pw_count_of(s->text, "realm=\"two\""), 1);
	CHECK_INT(pw_count_of(s->text, "realm=\"three\""), 1);
	pw_ack(w, "z9hG4bKabc", "u2");
	pw_close(w);
}

/* RFC 3261 16.6 steps 8 and 10. */
TEST(fork_8_to_one_address_have_8_branches)
{
	struct pw *w = pw_open(1);
	const char *via[8];

	w->plan.fork = true;
	for (int i = 0; i < 8; i++)
		w->plan.server[i] = i % 2 ? "sip:b@10.0.0.1" : "sip:a@10.0.0.1";
	pw_give(w, ALICE, pw_invite());
	CHECK_INT(w->n, 8);
	for (int i = 0; i < 8; i++) {
		via[i] = strstr(w->sent[i].text, "branch=");
		for (int k = 0; k < i; k++)
			CHECK(strncmp(via[i], via[k], 60) != 0);
		CHECK(strncmp(w->sent[i].text,
			      i % 2 ? "INVITE sip:b@10.0.0.1 SIP"
				    : "INVITE sip:a@10.0.0.1 SIP",
			      25) == 0);
	}
	CHECK_INT(request_try(w->req, NULL, 9, &w->plan.opts, w->now),
		  ERR_LIMIT);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

TEST(fork_503_goes_up_as_500_without_retry_after)
{
	for (int keep = 0; keep < 2; keep++) {
		struct pw *w = pw_open(1);
		const struct pw_sent *s;

		w->plan.server[1] = NULL;
		w->plan.keep_503 = keep;
		pw_give(w, ALICE, pw_invite());
		pw_answer_full(w, SERVER1, "INVITE", "503 Full", NULL,
			       "Retry-After: 30\r\nWarning: 399 a \"b\"\r\n");
		s = pw_find(w, ALICE,
			    keep ? "SIP/2.0 503 Full\r\n"
				 : "SIP/2.0 500 Server Internal "
				   "Error\r\n");
		CHECK(s != NULL);
		CHECK_INT(pw_count_of(s->text, "Retry-After"), keep);
		HAS(s, "Warning: 399 a \"b\"\r\n");
		HAS(s, ";tag=u1\r\n");
		CHECK_INT(w->code, 503);
		pw_ack(w, "z9hG4bKabc", "u1");
		pw_close(w);
	}
}

TEST(fork_503_with_another_status_of_the_policy_is_left_alone)
{
	struct pw *w = pw_open(1);

	w->plan.silent = true;
	pw_give(w, ALICE, pw_invite());
	{
		struct target t = {.member = NULL};

		addr_parse(STR(SERVER1), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
	}
	pw_answer(w, SERVER1, "INVITE", "503 Full");
	edit_status(&w->last.res->edits, 480, STR("Later"));
	CHECK_INT(request_forward(w->req, w->last.res, false, w->now), 0);
	CHECK(pw_find(w, ALICE, "SIP/2.0 480 Later\r\n") != NULL);
	request_done(w->req, w->now);
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_close(w);
}

/* RFC 5393 5.3.3: what a request may still fork into is shared out. */
TEST(fork_shares_the_breadth)
{
	static const struct {
		const char *given, *got[3];
	} cases[] = {{NULL, {"20", "20", "20"}},
		     {"Max-Breadth: 8\r\n", {"3", "3", "2"}},
		     {"Max-Breadth: 2\r\n", {"1", "1", NULL}}};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		static const char *const to[] = {SERVER1, SERVER2, SERVER3};
		struct pw *w = pw_open(1);

		w->plan.fork = true;
		w->plan.server[2] = SERVER3;
		pw_give(w, ALICE,
			pw_request((struct pw_req){.headers = cases[i].given}));
		for (size_t k = 0; k < 3; k++) {
			if (!cases[i].got[k]) {
				CHECK(!pw_find(w, to[k], "INVITE"));
				continue;
			}
			CHECK(strcmp(pw_header(pw_find(w, to[k], "INVITE"),
					       "Max-Breadth"),
				     cases[i].got[k]) == 0);
			pw_answer(w, to[k], "INVITE", "500 x");
		}
		CHECK_INT(w->code, 500);
		pw_ack(w, "z9hG4bKabc", "x");
		pw_close(w);
	}
}

TEST(fork_without_breadth_is_440)
{
	struct pw *w = pw_open(1);

	w->plan.server[1] = NULL;
	pw_give(w, ALICE,
		pw_request((struct pw_req){.headers = "Max-Breadth: 0\r\n"}));
	EXPECT(w, ALICE, "SIP/2.0 440 Max-Breadth Exceeded\r\n");
	QUIET(w);
	pw_ack(w, "z9hG4bKabc", "x");
	/* one branch alone takes what there is, and adds no header */
	pw_give(w, ALICE,
		pw_request((struct pw_req){.headers = "Max-Breadth: 5\r\n",
					   .branch = "z9hG4bKmb"}));
	CHECK(strcmp(pw_header(pw_last(w), "Max-Breadth"), "5") == 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

/* Different To tags are forks for the caller; nothing is rewritten. */
TEST(fork_18x_of_a_second_server_keeps_its_to_tag)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
	HAS(pw_last(w), ";tag=u1\r\n");
	pw_answer(w, SERVER1, "INVITE", "503 Full");
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	CHECK(pw_find(w, ALICE, "SIP/2.0 180") == pw_last(w));
	HAS(pw_last(w), ";tag=u2\r\n");
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	pw_close(w);
}

/* RFC 3261 16.7 step 4. */
TEST(fork_3xx_is_an_ordinary_response)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_answer_full(w, SERVER1, "INVITE", "302 Moved", NULL,
		       "Contact: <sip:bob@10.0.0.9>\r\n");
	HAS(pw_find(w, ALICE, "SIP/2.0 302 Moved\r\n"),
	    "Contact: <sip:bob@10.0.0.9>\r\n");
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_close(w);
}

/* The policy is told of every branch once, also of those it gave up. */
TEST(fork_every_attempt_is_reported_once)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	CHECK(strcmp(w->told, "10.0.0.1:silent 10.0.0.2:486 ") == 0);
	pw_ack(w, "z9hG4bKabc", "u2");
	pw_close(w);
}
