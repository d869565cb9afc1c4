/*
 * Requests that are no INVITE (semantics 7, RFC 4320): one final in time or
 * none, no 408, no 1xx but a late 100.
 */
#include <string.h>
#include "proxy_world.h"

static struct pw *asked(const char *method)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_request((struct pw_req){.method = method}));
	EXPECT(w, SERVER1, method);
	return w;
}

TEST(noninvite_is_answered_and_its_repetitions_too)
{
	struct pw *w = asked("REGISTER");

	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	QUIET(w); /* absorbed */
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	QUIET(w);
	CHECK_INT(w->asked, 1);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(noninvite_repeated_during_failover_is_absorbed)
{
	struct pw *w = asked("REGISTER");

	pw_run(w, SECONDS(2));
	w->seen = w->n;
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	QUIET(w);
	pw_answer(w, SERVER1, "REGISTER", "200 OK"); /* given up */
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_LATE_FINAL), 1);
	pw_answer(w, SERVER2, "REGISTER", "401 Unauthorized");
	EXPECT(w, ALICE, "SIP/2.0 401");
	CHECK_INT(w->asked, 1);
	pw_close(w);
}

/* RFC 4320 4.3. */
TEST(noninvite_final_after_64_t1_is_not_sent)
{
	static const char *const status[] = {"200 OK", "404 Not Found"};

	for (size_t i = 0; i < 2; i++) {
		struct pw *w = pw_open(1);

		w->plan.opts.timeout = SECONDS(20);
		pw_give(w, ALICE,
			pw_request((struct pw_req){.method = "REGISTER"}));
		pw_run(w, SECONDS(32) - 1);
		w->seen = w->n;
		if (i)
			pw_run(w, 1);
		pw_answer(w, SERVER2, "REGISTER", status[i]);
		if (i)
			QUIET(w);
		else
			EXPECT(w, ALICE, "SIP/2.0 200");
		CHECK_INT(pw_count(w, CNT_NONINVITE_TIMEOUT), i);
		pw_run(w, SECONDS(1));
		CHECK_INT(w->freed, 1);
		pw_close(w);
	}
}

/* RFC 4320 4.3. */
TEST(noninvite_own_answer_after_64_t1_is_not_sent)
{
	struct pw *w = pw_open(1);

	w->plan.opts.timeout = SECONDS(16);
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	pw_run(w, SECONDS(40)); /* both silent: the policy replies 500 */
	CHECK_INT(w->outcomes, 2);
	CHECK(!pw_find(w, ALICE, "SIP/2.0 5"));
	CHECK_INT(pw_count(w, CNT_NONINVITE_TIMEOUT), 1);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

/* RFC 4320 4.2: not ours, and not anybody else's. */
TEST(noninvite_408_of_a_server_goes_nowhere)
{
	struct pw *w = asked("OPTIONS");

	pw_answer(w, SERVER1, "OPTIONS", "408 Request Timeout");
	QUIET(w);
	CHECK_INT(w->code, 408);
	CHECK_INT(pw_count(w, CNT_NONINVITE_TIMEOUT), 1);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

/* RFC 3261 8.2.6.1. */
TEST(noninvite_what_the_policy_may_not_reply)
{
	struct pw *w = pw_open(1);
	static const int bad[] = {408, 180, 183};

	w->plan.silent = true;
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "OPTIONS"}));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK_INT(request_reply(w->req, &(struct reply){.code = bad[i]},
					w->now),
			  ERR_STATE);
	/* a 100 is said when it may be, whatever the policy thinks */
	CHECK_INT(request_reply(w->req, &(struct reply){.code = 100}, w->now),
		  0);
	QUIET(w);
	CHECK(!request_answered(w->req));
	CHECK_INT(request_reply(w->req, &(struct reply){.code = 404}, w->now),
		  0);
	EXPECT(w, ALICE, "SIP/2.0 404");
	CHECK_INT(request_reply(w->req, &(struct reply){.code = 404}, w->now),
		  ERR_STATE);
	request_done(w->req, w->now);
	QUIET(w);
	pw_close(w);
}

TEST(noninvite_1xx_of_a_server_are_not_forwarded)
{
	struct pw *w = asked("OPTIONS");

	pw_answer(w, SERVER1, "OPTIONS", "100 Trying");
	pw_answer(w, SERVER1, "OPTIONS", "183 Session Progress");
	QUIET(w);
	pw_answer(w, SERVER1, "OPTIONS", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	QUIET(w);
	pw_close(w);
}

TEST(noninvite_fork_takes_the_first_2xx_and_nothing_after)
{
	struct pw *w = pw_open(1);

	w->plan.fork = true;
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "MESSAGE"}));
	w->seen = w->n;
	pw_answer(w, SERVER1, "MESSAGE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_answer(w, SERVER2, "MESSAGE", "200 OK");
	pw_answer(w, SERVER2, "MESSAGE", "404 Not Found");
	pw_run(w, SECONDS(10));
	QUIET(w); /* no CANCEL either, and no repetition */
	CHECK_INT(w->outcomes, 1);
	pw_close(w);
}

TEST(noninvite_method_of_no_standard)
{
	struct pw *w = asked("FROBNICATE");

	pw_answer(w, SERVER1, "FROBNICATE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	HAS(pw_last(w), "CSeq: 1 FROBNICATE");
	pw_close(w);
}

TEST(noninvite_policy_that_still_works_when_its_transaction_is_gone)
{
	struct pw *w = pw_open(1);

	w->plan.linger = true;
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "OPTIONS"}));
	pw_answer(w, SERVER1, "OPTIONS", "200 OK");
	pw_run(w, SECONDS(100));
	CHECK_INT(w->freed, 0);
	CHECK_INT(request_reply(w->req, &(struct reply){.code = 200}, w->now),
		  0); /* decided: a counted no-op */
	CHECK_INT(request_reply(w->req, &(struct reply){.code = 100}, w->now),
		  0);
	CHECK_INT(request_drop(w->req, STR("x"), w->now), 0);
	CHECK_INT(pw_count(w, CNT_AFTER_DECIDED), 3);
	pw_wake(w);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}
