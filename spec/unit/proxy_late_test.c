/*
 * A 2xx that comes late (semantics 2, RFC 6026): it goes up whatever the policy
 * is doing, and after a final of our own the call is ended, never left alone.
 */
#include <string.h>
#include "proxy_world.h"

/* INVITE at 0, again at 0.5 and 1.5; 100 at 0.2; the backup at 2.0. */
static struct pw *failed_over(void)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	EXPECT_AT(w, 0, SERVER1, "INVITE");
	EXPECT_AT(w, MILLIS(200), ALICE, "SIP/2.0 100");
	EXPECT_AT(w, MILLIS(500), SERVER1, "INVITE");
	EXPECT_AT(w, MILLIS(1500), SERVER1, "INVITE");
	EXPECT_AT(w, SECONDS(2), SERVER2, "INVITE");
	QUIET(w);
	return w;
}

TEST(late_2xx_while_the_backup_rings_goes_up_and_ends_the_ringing)
{
	struct pw *w = failed_over();

	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	EXPECT(w, ALICE, "SIP/2.0 180");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER2, "CANCEL sip:bob@example.com SIP/2.0\r\n");
	HAS(pw_last(w), "Reason: SIP;cause=200;text=\"Call completed "
			"elsewhere\"\r\n");
	QUIET(w);
	CHECK_INT(w->code, 200);
	CHECK_INT(w->last.addr.ip[3], 1);
	CHECK_INT(w->freed, 1);
	pw_answer(w, SERVER2, "CANCEL", "200 OK");
	pw_answer(w, SERVER2, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER2, "ACK");
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_LATE_2XX_FORWARD), 1);
	pw_close(w);
}

TEST(late_2xx_gives_the_backup_that_has_not_spoken_no_cancel_until_it_does)
{
	struct pw *w = failed_over();

	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_run(w, SECONDS(3));
	QUIET(w); /* no retransmission to it either */
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	EXPECT(w, SERVER2, "CANCEL");
	HAS(pw_last(w), "Reason: SIP;cause=200");
	QUIET(w);
	pw_close(w);
}

TEST(late_2xx_between_two_tries_is_what_the_next_try_returns)
{
	struct pw *w = pw_open(1);

	w->plan.pause = true;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(3));
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_wake(w);
	QUIET(w); /* no branch started */
	CHECK_INT(w->outcomes, 2);
	CHECK_INT(w->code, 200);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

/* RFC 3261 12.2.1.1, 13.2.2.4, 15.1.1. */
TEST(late_2xx_after_our_own_final_is_acked_and_ended)
{
	struct pw *w = failed_over();
	const struct pw_sent *s;

	pw_run(w, SECONDS(2));
	w->seen = w->n - 1;
	EXPECT_AT(w, SECONDS(4), ALICE, "SIP/2.0 500");
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Contact: <sip:bob@10.0.0.1:5066>\r\n");
	s = EXPECT(w, "10.0.0.1:5066", "ACK sip:bob@10.0.0.1:5066 SIP/2.0\r\n");
	HAS(s, "CSeq: 1 ACK\r\n");
	HAS(s, "To: <sip:bob@example.com>;tag=u1\r\n");
	HAS(s, "From: <sip:alice@example.com>;tag=1\r\n");
	s = EXPECT(w, "10.0.0.1:5066", "BYE sip:bob@10.0.0.1:5066 SIP/2.0\r\n");
	HAS(s, "CSeq: 2 BYE\r\n");
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_LATE_2XX_BYE), 1);
	/* Again: the ACK is repeated, the BYE is under way. */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Contact: <sip:bob@10.0.0.1:5066>\r\n");
	EXPECT(w, "10.0.0.1:5066", "ACK");
	QUIET(w);
	pw_answer(w, "10.0.0.1:5066", "BYE", "200 OK");
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_STRAY_RESPONSE), 0);
	pw_close(w);
}

/* Two phones behind one proxy of the server's, both answered. */
TEST(late_2xx_of_two_forks_below_one_branch_end_both_dialogs)
{
	struct pw *w = failed_over();
	const char *below = "Record-Route: <sip:10.0.0.1:5060;lr>, "
			    "<sip:10.0.0.100:5060;lr>\r\n"
			    "Contact: <sip:bob@10.9.9.9>\r\n";

	pw_run(w, SECONDS(2));
	w->seen = w->n;
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "fork1", below);
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER1, "BYE");
	HAS(pw_last(w), ";tag=fork1");
	HAS(pw_last(w), "Route: <sip:10.0.0.1:5060;lr>\r\n");
	HAS_NOT(pw_last(w), "10.0.0.100:5060;lr");
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "fork2", below);
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER1, "BYE");
	HAS(pw_last(w), ";tag=fork2");
	QUIET(w);
	pw_close(w);
}

TEST(late_2xx_after_our_own_final_with_forward_goes_up)
{
	struct pw *w = failed_over();

	w->node->settings.late_answer = LATE_FORWARD;
	pw_run(w, SECONDS(2));
	w->seen = w->n;
	CHECK_INT(w->freed, 1);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_LATE_2XX_FORWARD), 1);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	CHECK_INT(pw_count(w, CNT_LATE_2XX_FORWARD), 1);
	/* Our 500 is not repeated beside it. */
	pw_run(w, SECONDS(10));
	QUIET(w);
	pw_close(w);
}

TEST(late_2xx_while_the_policy_lingers_after_its_final)
{
	for (int forward = 0; forward < 2; forward++) {
		struct pw *w = failed_over();

		w->node->settings.late_answer =
		    forward ? LATE_FORWARD : LATE_BYE;
		w->plan.linger = true;
		pw_run(w, SECONDS(2));
		pw_ack(w, "z9hG4bKabc", "x");
		CHECK_INT(w->freed, 0);
		w->seen = w->n;
		for (int i = 0; i < 2; i++) {
			pw_answer_full(w, SERVER2, "INVITE", "200 OK", "u2",
				       "Contact: <sip:bob@10.0.0.2>\r\n");
			EXPECT(w, forward ? ALICE : SERVER2,
			       forward ? "SIP/2.0 200" : "ACK");
			if (!forward && i == 0)
				EXPECT(w, SERVER2, "BYE");
		}
		QUIET(w);
		CHECK_INT(pw_count(w, forward ? CNT_LATE_2XX_FORWARD
					      : CNT_LATE_2XX_BYE),
			  1);
		pw_wake(w);
		CHECK_INT(w->freed, 1);
		pw_close(w);
	}
}

/* RFC 3261 16.7 steps 5 and 9. */
TEST(late_2xx_from_two_branches_both_go_up)
{
	struct pw *w = failed_over();

	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), ";tag=u2");
	CHECK_INT(w->freed, 1);
	/* the context is gone; a second answer is the caller's to end */
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), ";tag=u1");
	QUIET(w);
	pw_close(w);
}

TEST(late_2xx_repeated_goes_up_each_time_and_nothing_else_does)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	w->seen = w->n;
	for (int i = 0; i < 3; i++) {
		pw_answer(w, SERVER1, "INVITE", "200 OK");
		EXPECT(w, ALICE, "SIP/2.0 200");
		pw_run(w, SECONDS(4));
	}
	/* the caller's INVITE again: absorbed, no second call */
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	QUIET(w);
	CHECK_INT(w->asked, 1);
	pw_close(w);
}

/* What on_response did to the first 2xx holds for its repetitions, too. */
TEST(late_2xx_repeated_keeps_the_edits_of_the_first)
{
	struct pw *w = pw_open(1);

	w->plan.opts.watch = true;
	w->plan.edit = "seen";
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	HAS(pw_last(w), "X-Edit: seen\r\n");
	w->seen = w->n;
	for (int i = 0; i < 3; i++) {
		pw_answer(w, SERVER1, "INVITE", "200 OK");
		EXPECT(w, ALICE, "SIP/2.0 200");
		HAS(pw_last(w), "X-Edit: seen\r\n");
		pw_run(w, SECONDS(4));
	}
	CHECK_INT(w->watched, 2);
	pw_close(w);
}

TEST(late_2xx_of_a_watched_attempt_is_seen_before_it_passes)
{
	struct pw *w = pw_open(1);

	w->plan.opts.watch = true;
	w->plan.edit = "seen";
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	HAS(pw_find(w, ALICE, "SIP/2.0 200"), "X-Edit: seen\r\n");
	pw_close(w);
}

TEST(late_2xx_of_a_dropped_request_is_ended)
{
	struct pw *w = pw_open(1);

	w->plan.silent = true;
	pw_give(w, ALICE, pw_invite());
	{
		struct target t = {.member = NULL};

		addr_parse(STR(SERVER1), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
	}
	pw_run(w, SECONDS(2));
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK_INT(request_drop(w->req, STR("test"), w->now), 0);
	request_done(w->req, w->now);
	pw_settle(w);
	CHECK_INT(w->freed, 1);
	w->seen = w->n;
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Contact: <sip:bob@10.0.0.1>\r\n");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER1, "BYE");
	QUIET(w);
	pw_close(w);
}

TEST(late_second_2xx_while_the_policy_lingers)
{
	struct pw *w = pw_open(1);

	w->plan.fork = w->plan.linger = true;
	pw_give(w, ALICE, pw_invite());
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), ";tag=u2");
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.addr.ip[3], 1);
	/* each is repeated as its own */
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	HAS(pw_last(w), ";tag=u1");
	CHECK_INT(w->n, 5);
	pw_wake(w);
	pw_close(w);
}

/* Not recorded: what stands in Record-Route is not known to be below us. */
/* RFC 3261 12.2.1.1. */
TEST(late_2xx_of_a_call_without_our_record_route_is_ended_directly)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1)->record_route = false;
	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	w->seen = w->n;
	/* a Contact that is a name: back to where the INVITE went */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Record-Route: <sip:10.0.0.77;lr>\r\n"
		       "Contact: <sip:bob@pbx.example.com>\r\n");
	EXPECT(w, SERVER1, "ACK sip:bob@pbx.example.com SIP/2.0\r\n");
	EXPECT(w, SERVER1, "BYE sip:bob@pbx.example.com SIP/2.0\r\n");
	HAS_NOT(pw_last(w), "\r\nRoute");
	/* without a Contact there is nobody to say BYE to */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u9", "");
	QUIET(w);
	pw_answer(w, SERVER1, "BYE", "200 OK");
	pw_close(w);
}

TEST(late_failure_of_an_abandoned_branch_is_acked_and_goes_nowhere)
{
	struct pw *w = failed_over();

	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER1, "ACK");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER1, "ACK");
	QUIET(w);
	CHECK_INT(w->outcomes, 1);
	pw_answer(w, SERVER2, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER2, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 486");
	pw_close(w);
}

TEST(late_1xx_of_an_abandoned_branch_makes_it_cancelled_and_is_not_forwarded)
{
	struct pw *w = failed_over();

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	EXPECT(w, SERVER1, "CANCEL");
	pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
	QUIET(w);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	QUIET(w);
	pw_close(w);
}

TEST(late_2xx_while_a_6xx_waits_for_the_other_branch)
{
	struct pw *w = pw_open(1);

	w->plan.fork = true;
	w->plan.opts.timeout = 0;
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "603 Decline");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER2, "CANCEL");
	QUIET(w);
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	CHECK_INT(w->code, 200);
	pw_close(w);
}

/* 16.7 step 3: without a further Via it was not for anybody behind us. */
TEST(late_or_not_a_response_without_the_callers_via_is_dropped)
{
	struct pw *w = pw_open(1);
	char text[4096];
	char *second, *after;

	pw_give(w, ALICE, pw_invite());
	w->seen = w->n;
	strcpy(text,
	       pw_answer_text(w, SERVER1, "INVITE", "200 OK", NULL, NULL));
	second = strstr(strstr(text, "Via: ") + 5, "Via: ");
	after = strstr(second, "\r\n") + 2;
	memmove(second, after, strlen(after) + 1);
	pw_give(w, SERVER1, text);
	QUIET(w);
	CHECK_INT(w->outcomes, 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_close(w);
}
