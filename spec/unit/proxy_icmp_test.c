/*
 * Errors from the network, matched by our branch in what they quote: they end
 * an attempt at once, and nothing else.
 */
#include <string.h>
#include "proxy_world.h"

/* RFC 3261 16.9, 17.1.4, 18.4. */
TEST(icmp_about_an_invite_ends_the_attempt)
{
	static const enum cause causes[] = {CAUSE_ICMP_PORT, CAUSE_ICMP_HOST,
					    CAUSE_ICMP_NET};

	for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
		struct pw *w = pw_open(1);

		pw_give(w, ALICE, pw_invite());
		EXPECT(w, SERVER1, "INVITE");
		pw_icmp(w, SERVER1, "INVITE", causes[i]);
		EXPECT(w, SERVER2, "INVITE"); /* in the same entry */
		CHECK_INT(w->last.kind, OUTCOME_TRANSPORT);
		CHECK_INT(w->last.cause, causes[i]);
		CHECK_INT(pw_count(w, CNT_ICMP_MATCHED), 1);
		/* again, for its retransmission: nobody's */
		pw_icmp(w, SERVER1, "INVITE", causes[i]);
		CHECK_INT(pw_count(w, CNT_ICMP_STRAY), 1);
		pw_answer(w, SERVER2, "INVITE", "200 OK");
		CHECK_INT(w->code, 200);
		pw_close(w);
	}
}

TEST(icmp_after_a_1xx_is_about_an_older_copy)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	CHECK_INT(w->outcomes, 0);
	CHECK_INT(pw_count(w, CNT_ICMP_STRAY), 1);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	CHECK_INT(w->code, 200);
	pw_close(w);
}

TEST(icmp_from_somewhere_else_is_not_believed)
{
	struct pw *w = pw_open(1);
	struct flow_event e = {.kind = FLOW_ERROR, .cause = CAUSE_ICMP_PORT};
	struct pw_sent s;

	pw_give(w, ALICE, pw_invite());
	s = *pw_last(w);
	e.peer = s.to;
	addr_parse(STR("10.0.0.66:5060"), &e.peer.addr);
	e.quoted = str_from(s.text);
	core_flow_event(w->core[0], w->now, &e);
	CHECK_INT(w->outcomes, 0);
	e.peer = s.to;
	/* cut inside the branch, or before it: it proves nothing */
	for (size_t n = 0; n < 120; n++) {
		e.quoted.n = n;
		core_flow_event(w->core[0], w->now, &e);
	}
	CHECK_INT(w->outcomes, 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

TEST(icmp_about_an_ack_a_cancel_or_a_response_changes_nothing)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_icmp(w, ALICE, "SIP/2.0 180", CAUSE_ICMP_PORT);
	pw_cancel(w);
	pw_icmp(w, SERVER1, "CANCEL", CAUSE_ICMP_PORT);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_icmp(w, SERVER1, "ACK", CAUSE_ICMP_PORT);
	pw_icmp(w, ALICE, "SIP/2.0 487", CAUSE_ICMP_PORT);
	QUIET(w);
	CHECK_INT(w->outcomes, 1);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(icmp_about_a_stub_changes_nothing)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	CHECK_INT(w->outcomes, 1);
	w->seen = w->n;
	pw_answer(w, SERVER1, "INVITE", "200 OK"); /* it lives again */
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_close(w);
}

TEST(icmp_about_the_ack_of_a_2xx_or_a_stateless_answer)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1);
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "ACK",
					   .uri = "sip:bob@10.0.0.1",
					   .to_tag = "u1"}));
	pw_icmp(w, SERVER1, "ACK", CAUSE_ICMP_PORT);
	pw_give(w, ALICE, pw_request((struct pw_req){.max_forwards = "0"}));
	pw_icmp(w, ALICE, "SIP/2.0 483", CAUSE_ICMP_PORT);
	CHECK_INT(pw_count(w, CNT_ICMP_STRAY), 2);
	pw_close(w);
}

TEST(icmp_about_a_request_that_is_no_invite)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	/* it goes on being sent after a 100, and may fail then */
	pw_answer(w, SERVER1, "REGISTER", "100 Trying");
	pw_icmp(w, SERVER1, "REGISTER", CAUSE_ICMP_PORT);
	CHECK_INT(w->last.cause, CAUSE_ICMP_PORT);
	CHECK(w->last.provisional);
	pw_answer(w, SERVER2, "REGISTER", "200 OK");
	CHECK_INT(w->code, 200);
	pw_close(w);
}

TEST(icmp_about_a_method_of_no_standard)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_request((struct pw_req){.method = "FROBNICATE"}));
	pw_icmp(w, SERVER1, "FROBNICATE", CAUSE_ICMP_PORT);
	CHECK_INT(w->last.cause, CAUSE_ICMP_PORT);
	pw_answer(w, SERVER2, "FROBNICATE", "200 OK");
	CHECK_INT(w->code, 200);
	pw_close(w);
}
