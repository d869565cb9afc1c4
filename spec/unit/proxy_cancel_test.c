/*
 * The caller's CANCEL in every state (semantics 3, RFC 3261 9.2 and 16.10).
 */
#include <string.h>
#include "proxy_world.h"

static struct pw *called(void)
{
	struct pw *w = pw_open(1);

	w->plan.opts.timeout = SECONDS(20);
	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	return w;
}

TEST(cancel_before_any_1xx_ends_at_once_and_leaves_a_stub)
{
	struct pw *w = called();
	const struct pw_sent *s;
	const char *tag;

	pw_cancel(w);
	s = EXPECT(w, ALICE, "SIP/2.0 200 OK\r\n");
	tag = strstr(pw_header(s, "To"), ";tag=");
	HAS(s, "CSeq: 1 CANCEL\r\n");
	EXPECT(w, ALICE, "SIP/2.0 487 Request Terminated\r\n");
	/* 9.2: the same To tag in both */
	CHECK(strcmp(tag, strstr(pw_header(pw_last(w), "To"), ";tag=")) == 0);
	CHECK_INT(w->last.kind, OUTCOME_CANCELLED);
	CHECK_INT(w->freed, 1);
	pw_ack(w, "z9hG4bKabc", tag + 5);
	pw_run(w, SECONDS(4));
	QUIET(w); /* the INVITE is not repeated */
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	EXPECT(w, SERVER1, "CANCEL");
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	QUIET(w);
	pw_close(w);
}

TEST(cancel_after_100_or_180_waits_for_the_server)
{
	static const char *const first[] = {"100 Trying", "180 Ringing"};

	for (size_t i = 0; i < 2; i++) {
		struct pw *w = called();

		pw_answer(w, SERVER1, "INVITE", first[i]);
		w->seen = w->n;
		pw_cancel(w);
		EXPECT(w, ALICE, "SIP/2.0 200");
		EXPECT(w, SERVER1, "CANCEL");
		CHECK_INT(w->last.kind, OUTCOME_CANCELLED);
		pw_answer(w, SERVER1, "CANCEL", "200 OK");
		/* what rings on the way is not news any more */
		pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
		QUIET(w);
		CHECK_INT(w->freed, 0);
		pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
		EXPECT(w, SERVER1, "ACK");
		EXPECT(w, ALICE, "SIP/2.0 487");
		QUIET(w);
		CHECK_INT(w->freed, 1);
		pw_ack(w, "z9hG4bKabc", "x");
		pw_close(w);
	}
}

TEST(cancel_while_the_policy_sleeps_between_tries)
{
	struct pw *w = pw_open(1);

	w->plan.pause = true;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(3));
	w->seen = w->n;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	CHECK_INT(w->outcomes, 1);
	CHECK(request_decided(w->req));
	pw_run(w, SECONDS(40)); /* the transaction is gone by now */
	pw_wake(w);
	QUIET(w); /* no branch starts any more */
	CHECK_INT(w->outcomes, 2);
	CHECK_INT(w->last.kind, OUTCOME_CANCELLED);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(cancel_crossed_by_a_200_lets_the_200_win)
{
	struct pw *w = called();

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_cancel(w);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_answer(w, SERVER1, "CANCEL", "481 Call/Transaction Does Not Exist");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_run(w, SECONDS(60));
	QUIET(w); /* no 487 */
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(cancel_crossed_by_a_failure_gives_487_all_the_same)
{
	struct pw *w = called();

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_cancel(w);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	QUIET(w);
	pw_close(w);
}

TEST(cancel_crossed_by_a_2xx_after_the_487_ends_that_call)
{
	struct pw *w = called();

	pw_cancel(w);
	pw_ack(w, "z9hG4bKabc", "x");
	w->seen = w->n;
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Contact: <sip:bob@10.0.0.1>\r\n");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, SERVER1, "BYE");
	QUIET(w);
	pw_close(w);
}

TEST(cancel_after_a_final_is_answered_and_means_nothing)
{
	struct pw *w = called();

	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	CHECK_INT(w->freed, 1);
	w->seen = w->n;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_close(w);
}

TEST(cancel_after_a_2xx_does_not_touch_the_call)
{
	struct pw *w = called();

	w->plan.linger = true;
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	w->seen = w->n;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), "CSeq: 1 CANCEL");
	QUIET(w);
	pw_wake(w);
	pw_close(w);
}

TEST(cancel_repeated_is_answered_again_and_nothing_else)
{
	struct pw *w = called();

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER1, "CANCEL");
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_close(w);
}

TEST(cancel_is_over_after_64_t1_at_the_latest)
{
	struct pw *w = called();
	int64_t at;

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(7));
	w->seen = w->n;
	at = w->now.mono.us - w->start;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER1, "CANCEL");
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_run(w, SECONDS(32) - 1);
	QUIET(w);
	pw_run(w, 1);
	EXPECT_AT(w, at + SECONDS(32), ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* The policy's own limits end with the CANCEL: a server is not blamed for
 * being slow with a call that nobody wants. */
TEST(cancel_stops_the_limits_of_the_try)
{
	struct pw *w = pw_open(1);

	w->plan.opts.progress = SECONDS(3);
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "100 Trying");
	pw_cancel(w);
	pw_run(w, SECONDS(10));
	CHECK(strcmp(w->told, "") == 0);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	CHECK(strcmp(w->told, "10.0.0.1:487 ") == 0);
	pw_close(w);
}

TEST(cancel_of_a_fork_waits_only_for_those_that_spoke)
{
	struct pw *w = pw_open(1);

	w->plan.fork = true;
	w->plan.opts.timeout = 0;
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER1, "CANCEL");
	QUIET(w);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_run(w, SECONDS(1));
	QUIET(w);
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	EXPECT(w, SERVER2, "CANCEL");
	pw_close(w);
}

/* RFC 3326: the reason goes on to those who ring. */
TEST(cancel_hands_on_its_reason)
{
	struct pw *w = called();

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_give(w, ALICE,
		pw_request((struct pw_req){
		    .method = "CANCEL",
		    .headers = "Reason: SIP;cause=200;text=\"elsewhere\"\r\n"
			       "Reason: Q.850;cause=16\r\n"}));
	HAS(pw_find(w, SERVER1, "CANCEL"),
	    "Reason: SIP;cause=200;text=\"elsewhere\"\r\n"
	    "Reason: Q.850;cause=16\r\n");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(cancel_without_a_transaction_is_481)
{
	struct pw *w = pw_open(1);

	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 481");
	QUIET(w);
	pw_close(w);
}

TEST(cancel_of_a_non_invite_does_nothing_to_it)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_request((struct pw_req){.method = "OPTIONS"}));
	EXPECT(w, SERVER1, "OPTIONS");
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), "CSeq: 1 CANCEL");
	pw_answer(w, SERVER1, "OPTIONS", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), "CSeq: 1 OPTIONS");
	QUIET(w);
	pw_close(w);
}

/* The CANCEL towards the server has what its INVITE had (9.1). */
TEST(cancel_is_made_of_the_invite_as_it_was_sent)
{
	struct pw *w = called();
	const struct pw_sent *invite = pw_find(w, SERVER1, "INVITE"), *cancel;

	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_cancel(w);
	cancel = pw_find(w, SERVER1, "CANCEL");
	CHECK(strcmp(pw_header(invite, "Via"), pw_header(cancel, "Via")) == 0);
	CHECK_INT(pw_count_of(cancel->text, "Via: "), 1);
	CHECK(strcmp(pw_header(cancel, "To"), "<sip:bob@example.com>") == 0);
	HAS(cancel, "CSeq: 1 CANCEL\r\n");
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* Its script has ended and let go before the phone stopped ringing. */
TEST(cancel_of_a_request_whose_policy_lingers)
{
	struct pw *w = called();

	w->plan.linger = true;
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_cancel(w);
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_ack(w, "z9hG4bKabc", "x");
	pw_run(w, SECONDS(100));
	CHECK_INT(w->freed, 0);
	pw_wake(w);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}
