/*
 * The life of a response context: verbs in every state (semantics 1), the ways
 * in which a policy may end, drop, two workers, and memory that runs out.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/places.h"
#include "proxy_world.h"

static int try_one(struct pw *w, const char *addr)
{
	struct target t = {.member = NULL};

	addr_parse(str_from(addr), &t.hop.addr);
	return request_try(w->req, &t, 1, &w->plan.opts, w->now);
}

static int reply(struct pw *w, int code)
{
	struct reply r = {.code = code};

	return request_reply(w->req, &r, w->now);
}

/* A policy that leaves all to the test. */
static struct pw *held(void)
{
	struct pw *w = pw_open(1);

	w->plan.silent = true;
	pw_give(w, ALICE, pw_invite());
	CHECK(w->req != NULL);
	return w;
}

TEST(life_one_verb_and_no_more)
{
	struct pw *w = held();

	CHECK(!request_answered(w->req));
	CHECK_INT(reply(w, 486), 0);
	EXPECT(w, ALICE, "SIP/2.0 486 Busy Here\r\n");
	CHECK(request_answered(w->req));
	CHECK(!request_decided(w->req));
	CHECK_INT(reply(w, 500), ERR_STATE);
	CHECK_INT(reply(w, 180), ERR_STATE);
	CHECK_INT(try_one(w, SERVER1), ERR_STATE);
	CHECK_INT(request_drop(w->req, STR("x"), w->now), ERR_STATE);
	QUIET(w);
	request_done(w->req, w->now);
	CHECK_INT(reply(w, 500), ERR_STATE);
	pw_ack(w, "z9hG4bKabc", "x");
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(life_verbs_while_a_try_is_open)
{
	struct pw *w = held();

	CHECK_INT(try_one(w, SERVER1), 0);
	CHECK_INT(try_one(w, SERVER2), ERR_STATE);
	CHECK_INT(reply(w, 486), ERR_STATE);
	CHECK_INT(request_drop(w->req, STR("x"), w->now), ERR_STATE);
	EXPECT(w, SERVER1, "INVITE");
	CHECK_INT(reply(w, 182), 0); /* a provisional is no verb */
	EXPECT(w, ALICE, "SIP/2.0 182 Queued\r\n");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	CHECK_INT(request_forward(w->req, w->last.res, false, w->now), 0);
	CHECK_INT(request_forward(w->req, w->last.res, false, w->now),
		  ERR_STATE);
	request_done(w->req, w->now);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(life_verbs_after_the_decision_are_counted_no_ops)
{
	struct pw *w = held();

	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	CHECK(request_decided(w->req) && request_answered(w->req));
	w->seen = w->n;
	CHECK_INT(reply(w, 500), 0);
	CHECK_INT(reply(w, 180), 0);
	CHECK_INT(request_drop(w->req, STR("x"), w->now), 0);
	CHECK_INT(pw_count(w, CNT_AFTER_DECIDED), 3);
	CHECK_INT(request_forward(w->req, w->last.res, false, w->now), 0);
	CHECK_INT(try_one(w, SERVER2), 0);
	CHECK_INT(w->outcomes, 1);
	pw_settle(w);
	CHECK_INT(w->outcomes, 2);
	CHECK_INT(w->code, 200);
	QUIET(w);
	request_done(w->req, w->now);
	pw_close(w);
}

TEST(life_a_response_forwarded_after_the_cancel_is_a_no_op)
{
	struct pw *w = held();

	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_cancel(w);
	CHECK(pw_find(w, ALICE, "SIP/2.0 487") != NULL);
	w->seen = w->n;
	CHECK_INT(request_forward(w->req, w->last.res, false, w->now), 0);
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_AFTER_DECIDED), 1);
	request_done(w->req, w->now);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(life_the_policy_may_keep_a_response_and_forward_it_later)
{
	struct pw *w = held();
	struct response *first;

	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "404 Not Found");
	first = w->last.res;
	pw_run(w, SECONDS(30));
	try_one(w, SERVER2);
	pw_run(w, SECONDS(30));
	CHECK_INT(w->last.kind, OUTCOME_TIMEOUT);
	CHECK(response_better(first, NULL) == first);
	CHECK_INT(request_forward(w->req, first, false, w->now), 0);
	CHECK(pw_find(w, ALICE, "SIP/2.0 404") != NULL);
	request_done(w->req, w->now);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(life_a_line_says_what_was_tried)
{
	struct pw *w = held();
	char text[256];
	struct buf b;

	pw_member(w, "a/1", SERVER1);
	for (int i = 0; i < 3; i++) {
		struct target t = {.member = NULL};

		addr_parse(i ? STR(SERVER2) : STR(SERVER1), &t.hop.addr);
		if (i == 0)
			t.member = proxy_member_at(core_proxy(w->core[0]),
						   &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
		if (i == 1)
			pw_run(w, SECONDS(2));
		else if (i == 0)
			pw_answer(w, SERVER1, "INVITE", "503 x");
	}
	buf_fixed(&b, text, sizeof(text));
	request_write_tried(w->req, &b);
	CHECK_STR(buf_str(&b),
		  "a/1:503:0.00,10.0.0.2:5060:silent:2.00,10.0.0.2:5060:-:"
		  "0.00");
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	request_done(w->req, w->now);
	pw_close(w);
}

TEST(life_drop_forgets_the_request)
{
	struct pw *w = held();

	CHECK_INT(request_drop(w->req, STR("scanner"), w->now), 0);
	CHECK(request_answered(w->req));
	request_done(w->req, w->now);
	pw_settle(w);
	CHECK_INT(w->freed, 1);
	CHECK_INT(pw_count(w, CNT_SCRIPT_DROP), 1);
	pw_run(w, SECONDS(10));
	QUIET(w); /* no 100 either */
	pw_give(w, ALICE, pw_invite());
	CHECK_INT(w->asked, 2); /* asked about again */
	request_drop(w->req, STR("scanner"), w->now);
	request_done(w->req, w->now);
	pw_close(w);
}

TEST(life_drop_after_a_100)
{
	struct pw *w = held();

	pw_run(w, SECONDS(4));
	EXPECT(w, ALICE, "SIP/2.0 100");
	CHECK_INT(request_drop(w->req, STR("x"), w->now), 0);
	pw_cancel(w); /* finds it, and changes nothing */
	EXPECT(w, ALICE, "SIP/2.0 200");
	request_done(w->req, w->now);
	pw_settle(w);
	CHECK_INT(w->freed, 1);
	QUIET(w);
	pw_close(w);
}

/* It has let go while a branch is open: the outcome is still delivered (the
 * policy owes an answer), then the context goes. */
TEST(life_done_while_a_try_is_open)
{
	struct pw *w = held();

	try_one(w, SERVER1);
	request_done(w->req, w->now);
	pw_settle(w);
	CHECK_INT(w->freed, 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	CHECK(pw_find(w, ALICE, "SIP/2.0 200") != NULL);
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(life_done_while_a_try_is_open_and_cancelled)
{
	struct pw *w = held();

	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	request_done(w->req, w->now);
	pw_cancel(w);
	CHECK_INT(w->freed, 0);
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	CHECK(pw_find(w, ALICE, "SIP/2.0 487") != NULL);
	CHECK_INT(w->freed, 1);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(life_a_200_of_the_policy_decides)
{
	struct pw *w = held();

	CHECK_INT(reply(w, 200), 0);
	EXPECT(w, ALICE, "SIP/2.0 200");
	CHECK(request_decided(w->req));
	CHECK_INT(try_one(w, SERVER1), 0);
	pw_settle(w);
	CHECK_INT(w->outcomes, 1);
	QUIET(w);
	request_done(w->req, w->now);
	pw_close(w);
}

/* 13.3.1.4: repeated until its ACK comes, even one with the INVITE's branch. */
TEST(life_a_200_of_the_policy_is_repeated_until_its_ack)
{
	static const char *const branches[] = {"z9hG4bKack", "z9hG4bKabc"};

	for (size_t i = 0; i < 2; i++) {
		struct pw *w = held();
		const struct pw_sent *s;

		reply(w, 200);
		s = EXPECT(w, ALICE, "SIP/2.0 200");
		request_done(w->req, w->now);
		pw_run(w, MILLIS(600));
		EXPECT_AT(w, MILLIS(500), ALICE, "SIP/2.0 200");
		pw_ack(w, branches[i], strstr(pw_header(s, "To"), ";tag=") + 5);
		pw_run(w, SECONDS(40));
		QUIET(w);
		CHECK_INT(pw_count(w, CNT_STRAY_ACK), 0);
		pw_close(w);
	}
}

TEST(life_many_calls_answered_by_the_policy_leave_nothing)
{
	struct pw *w = pw_open(1);

	w->plan.reply = 200;
	for (int i = 0; i < 60; i++) {
		char branch[32];

		snprintf(branch, sizeof(branch), "z9hG4bK%d", i);
		pw_give(w, ALICE,
			pw_request((struct pw_req){.branch = branch}));
	}
	w->plan.reply = 0;
	for (int i = 0; i < 60; i++) { /* as many as fit in the log */
		w->n = 0;
		pw_run(w, SECONDS(1));
	}
	pw_close(w);
}

TEST(life_of_a_policy_that_sleeps_for_minutes)
{
	struct pw *w = held();

	reply(w, 486);
	pw_run(w, SECONDS(300)); /* no ACK: timer H */
	CHECK_INT(w->freed, 0);
	CHECK_INT(try_one(w, SERVER1), ERR_STATE);
	request_done(w->req, w->now);
	pw_settle(w);
	CHECK_INT(w->freed, 1);
	pw_close(w);
}

TEST(life_ends_with_the_core)
{
	struct pw *w = held();

	w->plan.opts.watch = true;
	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_give(w, ALICE,
		pw_request((struct pw_req){.branch = "z9hG4bKsecond",
					   .call_id = "second"}));
	pw_free(w); /* nothing leaks, nothing is called */
}

/* Its timers lie in lists with those of transactions, which are freed later. */
TEST(life_ends_with_the_core_and_timers_of_one_millisecond)
{
	struct pw *w = held();

	w->plan.opts.timeout = SECONDS(32); /* as Timer B */
	try_one(w, SERVER1);
	pw_give(w, ALICE,
		pw_request((struct pw_req){.branch = "z9hG4bKsecond",
					   .call_id = "second"}));
	try_one(w, SERVER2);
	pw_cancel(w);
	pw_free(w);
}

/* A server that says 183 all the time costs no memory. */
TEST(life_of_a_chatty_server)
{
	struct pw *w = held();
	struct core_stats before, after;

	try_one(w, SERVER1);
	pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
	core_stats(w->core[0], &before);
	for (int i = 0; i < 200; i++)
		pw_answer(w, SERVER1, "INVITE", "183 Session Progress");
	core_stats(w->core[0], &after);
	CHECK_INT(after.bytes, before.bytes);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	core_stats(w->core[0], &before);
	for (int i = 0; i < 200; i++)
		pw_answer(w, SERVER1, "INVITE", "200 OK");
	core_stats(w->core[0], &after);
	CHECK_INT(after.bytes, before.bytes);
	request_done(w->req, w->now);
	pw_close(w);
}

/* ---- two workers ---- */

TEST(life_messages_go_to_the_worker_of_their_call)
{
	char id[2][16] = {"", ""};
	struct pw *w = pw_open(2);

	for (unsigned i = 0; !id[0][0] || !id[1][0]; i++) {
		char text[16];
		int n = snprintf(text, sizeof(text), "call%u", i);

		strcpy(id[branch_h8((struct str){text, (size_t)n}) % 2], text);
	}
	for (unsigned i = 0; i < 2; i++) {
		struct pw_req q = {.call_id = id[i],
				   .branch = i ? "z9hG4bK1" : "z9hG4bK0"};

		w->seen = w->n;
		pw_give(w, ALICE, pw_request(q)); /* at worker 0 */
		EXPECT(w, SERVER1, "INVITE");
		CHECK_INT(pw_last(w)->worker, i);
		pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
		EXPECT(w, SERVER2, "INVITE");
		CHECK_INT(pw_last(w)->worker, i);
		pw_answer(w, SERVER2, "INVITE", "180 Ringing");
		EXPECT(w, ALICE, "SIP/2.0 100");
		EXPECT(w, ALICE, "SIP/2.0 180");
		q.method = "CANCEL";
		pw_give(w, ALICE, pw_request(q));
		EXPECT(w, ALICE, "SIP/2.0 200");
		EXPECT(w, SERVER2, "CANCEL");
		pw_answer(w, SERVER2, "CANCEL", "200 OK");
		pw_answer(w, SERVER2, "INVITE", "487 Request Terminated");
		EXPECT(w, SERVER2, "ACK");
		EXPECT(w, ALICE, "SIP/2.0 487");
		CHECK_INT(pw_last(w)->worker, i);
		q.method = "ACK";
		q.to_tag = "x";
		pw_give(w, ALICE, pw_request(q));
		QUIET(w);
	}
	CHECK_INT(core_counters(w->core[0])->v[CNT_HANDOVER], 6);
	CHECK_INT(core_counters(w->core[1])->v[CNT_HANDOVER], 0);
	pw_close(w);
}
