/*
 * What bounds an attempt (semantics 5), Timer C (RFC 3261 16.6 step 11, 16.8),
 * and when 100 Trying is said (semantics 11): exact times.
 */
#include <string.h>
#include "proxy_world.h"

static struct pw *with(struct try_opts opts)
{
	struct pw *w = pw_open(1);

	w->plan.opts = opts;
	return w;
}

static int64_t since(const struct pw *w)
{
	return w->now.mono.us - w->start;
}

TEST(limits_timeout_is_literal_and_any_response_ends_it)
{
	struct pw *w =
	    with((struct try_opts){.timeout = MILLIS(1300), .retransmits = -1});

	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(1300) - 1);
	CHECK_INT(w->outcomes, 0);
	pw_run(w, 1);
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK_INT(w->last.cause, CAUSE_SILENT);
	CHECK(!w->last.provisional);
	pw_answer(w, SERVER2, "INVITE", "100 Trying");
	pw_run(w, SECONDS(60));
	CHECK_INT(w->outcomes, 1); /* 100 counts, and no progress is asked */
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	CHECK_INT(w->code, 486);
	pw_close(w);
}

TEST(limits_progress_runs_from_the_first_100)
{
	struct pw *w = with((struct try_opts){
	    .timeout = SECONDS(4), .progress = SECONDS(12), .retransmits = -1});

	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(3));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	pw_run(w, SECONDS(5));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	pw_run(w, SECONDS(7) - 1);
	CHECK_INT(w->outcomes, 0);
	pw_run(w, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK_INT(w->last.cause, CAUSE_NO_PROGRESS);
	CHECK(w->last.provisional);
	CHECK(pw_find(w, SERVER1, "CANCEL") != NULL);
	CHECK(strcmp(w->told, "10.0.0.1:no_progress ") == 0);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_close(w);
}

TEST(limits_ring_runs_from_the_first_18x_and_is_not_restarted)
{
	struct pw *w = with((struct try_opts){.timeout = SECONDS(4),
					      .progress = SECONDS(12),
					      .ring = SECONDS(185),
					      .retransmits = -1});

	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	pw_run(w, SECONDS(10));
	for (int i = 0; i < 18; i++) {
		pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
		pw_run(w, SECONDS(10));
	}
	CHECK_INT(w->outcomes, 0);
	pw_run(w, SECONDS(5) - 1);
	CHECK_INT(w->outcomes, 0);
	w->seen = w->n;
	pw_run(w, 1);
	CHECK_INT(w->last.kind, OUTCOME_RESPONSE);
	CHECK_INT(w->code, 408);
	EXPECT(w, SERVER1, "CANCEL");
	HAS(pw_find(w, SERVER1, "CANCEL"), "Reason: SIP;cause=408");
	EXPECT_AT(w, SECONDS(195), ALICE, "SIP/2.0 408 Request Timeout");
	/* and no backup is rung after three minutes */
	CHECK(!pw_find(w, SERVER2, "INVITE"));
	pw_ack(w, "z9hG4bKabc", "x");
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_close(w);
}

/* T1 * (2^(n+1) - 1), also when it is Timer A's very millisecond. */
TEST(limits_retransmits_of_an_invite)
{
	static const int64_t ends[] = {MILLIS(500), MILLIS(1500), MILLIS(3500),
				       MILLIS(7500)};

	for (int n = 0; n < 4; n++) {
		struct pw *w = with((struct try_opts){.retransmits = n});
		int sent = 0;

		pw_give(w, ALICE, pw_invite());
		pw_run(w, ends[n] - 1);
		CHECK_INT(w->outcomes, 0);
		pw_run(w, 1);
		CHECK_INT(w->outcomes, 1);
		CHECK_INT(w->last.cause, CAUSE_SILENT);
		for (size_t i = 0; i < w->n; i++)
			sent += w->sent[i].to.addr.ip[3] == 1;
		CHECK_INT(sent, n + 1);
		pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
		pw_close(w);
	}
}

TEST(limits_retransmits_of_others_stop_growing_at_t2)
{
	static const int64_t ends[] = {MILLIS(500),   MILLIS(1500),
				       MILLIS(3500),  MILLIS(7500),
				       MILLIS(11500), MILLIS(15500)};

	for (int n = 0; n < 6; n++) {
		struct pw *w = with((struct try_opts){.retransmits = n});

		pw_give(w, ALICE,
			pw_request((struct pw_req){.method = "REGISTER"}));
		pw_run(w, ends[n] - 1);
		CHECK_INT(w->outcomes, 0);
		pw_run(w, 1);
		CHECK_INT(w->outcomes, 1);
		pw_answer(w, SERVER2, "REGISTER", "200 OK");
		pw_close(w);
	}
}

TEST(limits_retransmits_take_the_same_time_on_tcp)
{
	struct pw *w = with((struct try_opts){.retransmits = 1});
	const char *why;

	listener_parse(STR("tcp:" US), &w->node->listeners.l[1], &why);
	w->node->listeners.n = 2;
	w->plan.server[0] = "tcp:" SERVER1;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(1500) - 1);
	CHECK_INT(w->outcomes, 0);
	CHECK_INT(w->n, 2); /* the INVITE once, the 100 */
	pw_run(w, 1);
	CHECK_INT(w->outcomes, 1);
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_close(w);
}

/* A 100 has answered it: what is still repeated is no sign of silence. */
TEST(limits_retransmits_of_others_end_with_a_100)
{
	struct pw *w = with((struct try_opts){.retransmits = 1});

	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	pw_run(w, MILLIS(600));
	pw_answer(w, SERVER1, "REGISTER", "100 Trying");
	w->seen = w->n;
	pw_run(w, SECONDS(6));
	CHECK_INT(w->outcomes, 0);
	EXPECT_AT(w, MILLIS(1500), SERVER1, "REGISTER");
	EXPECT_AT(w, MILLIS(3500), ALICE, "SIP/2.0 100");
	EXPECT_AT(w, MILLIS(5500), SERVER1, "REGISTER");
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_close(w);
}

TEST(limits_none_leaves_timer_b)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(32) - 1);
	CHECK_INT(w->outcomes, 0);
	pw_run(w, 1);
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK_INT(w->last.cause, CAUSE_SILENT);
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_close(w);
}

/* RFC 3261 16.7 step 2. */
TEST(limits_timer_c_is_restarted_by_18x_but_not_by_100)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(200));
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(100));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	w->seen = w->n;
	pw_run(w, SECONDS(140) - 1);
	QUIET(w);
	pw_run(w, 1);
	EXPECT_AT(w, SECONDS(440), SERVER1, "CANCEL");
	EXPECT(w, ALICE, "SIP/2.0 408");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_close(w);
}

TEST(limits_timer_c_counts_from_the_request_when_only_100_came)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(20));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	w->seen = w->n;
	pw_run(w, SECONDS(220));
	EXPECT_AT(w, SECONDS(240), SERVER1, "CANCEL");
	EXPECT(w, ALICE, "SIP/2.0 408");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(limits_timer_c_of_one_fork_leaves_the_other)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->plan.fork = true;
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(100));
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(140));
	CHECK(pw_find(w, SERVER1, "CANCEL") != NULL);
	CHECK_INT(w->outcomes, 0);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	w->seen = w->n;
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_close(w);
}

/* ---- 100 Trying ---- */

TEST(trying_at_the_first_response_of_a_server)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(50));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	EXPECT(w, SERVER1, "INVITE");
	EXPECT_AT(w, MILLIS(50), ALICE, "SIP/2.0 100 Trying\r\n");
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	pw_run(w, SECONDS(1));
	QUIET(w);
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_close(w);
}

TEST(trying_200_ms_after_the_first_attempt_left)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->plan.silent = true;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(700)); /* a script that asks somebody first */
	QUIET(w);
	{
		struct target t = {.member = NULL};

		addr_parse(STR(SERVER1), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
	}
	pw_run(w, MILLIS(400));
	EXPECT_AT(w, MILLIS(700), SERVER1, "INVITE");
	EXPECT_AT(w, MILLIS(900), ALICE, "SIP/2.0 100");
	QUIET(w);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	request_done(w->req, w->now);
	pw_close(w);
}

TEST(trying_at_3_5_s_when_nothing_left)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});
	struct reply reply = {.code = 480};

	w->plan.silent = true;
	pw_give(w, ALICE, pw_invite());
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(3500) - 1);
	QUIET(w);
	pw_run(w, 1);
	EXPECT_AT(w, MILLIS(3500), ALICE, "SIP/2.0 100");
	/* an attempt from here on makes no second one */
	pw_give(w, ALICE, pw_invite());
	EXPECT(w, ALICE, "SIP/2.0 100"); /* the retransmission's answer */
	CHECK_INT(request_reply(w->req, &reply, w->now), 0);
	EXPECT(w, ALICE, "SIP/2.0 480");
	request_done(w->req, w->now);
	pw_ack(w, "z9hG4bKabc", "x");
	CHECK_INT(w->asked, 1);
	pw_close(w);
}

TEST(trying_rfc_mode_is_200_ms_after_receipt)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->node->settings.trying = TRYING_RFC;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(150));
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	EXPECT(w, SERVER1, "INVITE");
	pw_run(w, MILLIS(50) - 1);
	QUIET(w);
	pw_run(w, 1);
	EXPECT_AT(w, MILLIS(200), ALICE, "SIP/2.0 100");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_close(w);
}

TEST(trying_rfc_mode_says_none_after_a_180)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});

	w->node->settings.trying = TRYING_RFC;
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	EXPECT(w, SERVER1, "INVITE");
	EXPECT(w, ALICE, "SIP/2.0 180");
	pw_run(w, SECONDS(1));
	QUIET(w);
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_close(w);
}

TEST(trying_to_a_tcp_caller_is_200_ms_after_receipt)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});
	const char *why;

	listener_parse(STR("tcp:" US), &w->node->listeners.l[1], &why);
	w->node->listeners.n = 2;
	w->plan.silent = true;
	pw_give_via(w, 1, TRANSPORT_TCP, ALICE,
		    pw_request((struct pw_req){
			.via = "SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKt"}));
	pw_run(w, MILLIS(200));
	EXPECT_AT(w, MILLIS(200), ALICE, "SIP/2.0 100");
	CHECK_INT(pw_last(w)->to.transport, TRANSPORT_TCP);
	request_reply(w->req, &(struct reply){.code = 480}, w->now);
	request_done(w->req, w->now);
	pw_close(w);
}

TEST(trying_is_hop_by_hop_and_has_no_tag)
{
	struct pw *w = with((struct try_opts){.retransmits = -1});
	const struct pw_sent *s;

	pw_give(w, ALICE,
		pw_request((struct pw_req){.headers = "Timestamp: 54\r\n"}));
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	s = pw_find(w, ALICE, "SIP/2.0 100");
	CHECK(strcmp(pw_header(s, "To"), "<sip:bob@example.com>") == 0);
	HAS(s, "Timestamp: 54\r\n");
	CHECK_INT(pw_count_of(s->text, "Via: "), 1);
	HAS_NOT(s, "Record-Route");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_close(w);
}

TEST(trying_to_a_non_invite_only_when_timer_e_reaches_t2)
{
	for (int rfc = 0; rfc < 2; rfc++) {
		struct pw *w = with((struct try_opts){.retransmits = -1});

		w->node->settings.trying = rfc ? TRYING_RFC : TRYING_COMMIT;
		w->plan.server[1] = NULL;
		pw_give(w, ALICE,
			pw_request((struct pw_req){.method = "MESSAGE"}));
		pw_answer(w, SERVER1, "MESSAGE", "100 Trying");
		pw_answer(w, SERVER1, "MESSAGE", "180 Ringing");
		CHECK(!pw_find(w, ALICE, "SIP/2.0 1"));
		pw_run(w, MILLIS(3500) - 1);
		CHECK(!pw_find(w, ALICE, "SIP/2.0 1"));
		pw_run(w, 1);
		CHECK_INT(pw_find(w, ALICE, "SIP/2.0 100")->at, MILLIS(3500));
		CHECK_INT(since(w), MILLIS(3500));
		pw_answer(w, SERVER1, "MESSAGE", "200 OK");
		CHECK(pw_find(w, ALICE, "SIP/2.0 200") != NULL);
		pw_close(w);
	}
}
