/*
 * What keeps no state: refusals and their ACKs, the ACK of a 2xx on any node,
 * OPTIONS to ourselves, and what is dropped (RFC 3261 16.3, 16.11, 18.1.2).
 */
#include <stdio.h>
#include <string.h>
#include "proxy/cookie.h"
#include "proxy_world.h"

static const char *cookie_route(struct pw *w)
{
	static char text[256];
	char cookie[COOKIE_LEN];

	cookie_write(cookie, w->node->keys.now, STR("c1@192.0.2.7"), STR("1"),
		     COOKIE_CALLEE, 0);
	snprintf(text, sizeof(text), "Route: <sip:" US ";lr;t=%.*s>\r\n",
		 COOKIE_LEN, cookie);
	return text;
}

/* This node never saw the INVITE. */
TEST(stateless_ack_of_a_2xx_follows_its_route)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	struct pw_req q = {.method = "ACK",
			   .uri = "sip:bob@10.0.0.1:5066",
			   .branch = "z9hG4bKack",
			   .to_tag = "u1",
			   .headers = cookie_route(w)};

	pw_give(w, STRANGER, pw_request(q));
	s = EXPECT(w, "10.0.0.1:5066", "ACK sip:bob@10.0.0.1:5066 SIP/2.0\r\n");
	HAS(s, "Max-Forwards: 69\r\n");
	HAS(s, "received=203.0.113.5;rport=5060");
	HAS_NOT(s, "\r\nRoute");
	CHECK_INT(pw_count_of(s->text, "Via: "), 2);
	HAS(s, "branch=z9hG4bK1");
	/* again: the same bytes */
	pw_give(w, STRANGER, pw_request(q));
	CHECK(strcmp(pw_last(w)->text, s->text) == 0);
	/* Max-Forwards counts here as well */
	q.max_forwards = "0";
	w->seen = w->n;
	pw_give(w, STRANGER, pw_request(q));
	QUIET(w);
	CHECK_INT(w->asked, 0);
	pw_close(w);
}

TEST(stateless_ack_of_a_2xx_with_its_transaction_alive)
{
	struct pw *w = pw_open(1);
	static const char *const branches[] = {"z9hG4bKnew", "z9hG4bKabc"};

	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	w->seen = w->n;
	/* some clients reuse the branch of the INVITE */
	for (size_t i = 0; i < 2; i++) {
		pw_give(
		    w, ALICE,
		    pw_request((struct pw_req){.method = "ACK",
					       .uri = "sip:bob@10.0.0.1:5066",
					       .branch = branches[i],
					       .to_tag = "u1",
					       .headers = cookie_route(w)}));
		EXPECT(w, "10.0.0.1:5066", "ACK");
		QUIET(w);
	}
	pw_close(w);
}

TEST(stateless_ack_that_belongs_to_nobody_is_dropped)
{
	struct pw *w = pw_open(1);
	struct pw_req q = {
	    .method = "ACK", .uri = "sip:x@198.51.100.1", .to_tag = "u1"};

	pw_give(w, STRANGER, pw_request(q)); /* no Route */
	q.headers = "Route: <sip:198.51.100.1;lr>\r\n";
	pw_give(w, STRANGER, pw_request(q)); /* a foreign one */
	q.headers = "Route: <sip:" US ";lr;t=1nabc>\r\n";
	pw_give(w, STRANGER, pw_request(q)); /* a forged one */
	q.headers = NULL;
	q.uri = "sip:" US;
	pw_give(w, STRANGER, pw_request(q)); /* for us */
	q.to_tag = NULL;
	q.uri = "sip:bob@example.com";
	pw_give(w, STRANGER, pw_request(q)); /* no dialog */
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_STRAY_ACK), 5);
	pw_close(w);
}

/* Loose, between members, without a cookie (record_route = false). */
TEST(stateless_ack_to_a_member_needs_no_cookie)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1);
	pw_give(w, STRANGER,
		pw_request((struct pw_req){.method = "ACK",
					   .uri = "sip:bob@10.0.0.1",
					   .to_tag = "u1"}));
	EXPECT(w, SERVER1, "ACK");
	QUIET(w);
	pw_close(w);
}

struct refusal {
	struct pw_req q;
	const char *starts, *has;
};

static const struct refusal refusals[] = {
    {{.uri = "http://example.com"}, "SIP/2.0 416 Unsupported URI Scheme", ""},
    {{.max_forwards = "0"}, "SIP/2.0 483 Too Many Hops\r\n", ""},
    {{.headers = "Proxy-Require: foo, bar\r\n"},
     "SIP/2.0 420 Bad Extension\r\n",
     "Unsupported: foo, bar\r\n"},
    {{.headers = "Contact: <sip:a@b\r\n"}, "SIP/2.0 400 Bad Contact", ""},
    {{.headers = "Route: <sip:\r\n"}, "SIP/2.0 400 Bad Route", ""},
    {{.max_forwards = "x"}, "SIP/2.0 400 Bad Max-Forwards", ""},
    {{.cseq_method = "BYE"}, "SIP/2.0 400 ", ""},
    {{.headers = "Max-Forwards: 7\r\n"}, "SIP/2.0 400 Duplicate header", ""},
    {{.headers = "Content-Length: 10\r\n"}, "SIP/2.0 400 ", ""},
};

/* RFC 3261 8.2.6.2, 8.2.7, 16.3 steps 1 to 5; 20.40. */
TEST(stateless_refusals_and_their_acks)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		struct pw *w = pw_open(1);
		struct pw_req ack = {.method = "ACK"};
		const struct pw_sent *s;
		char text[4000];

		pw_give(w, ALICE, pw_request(refusals[i].q));
		s = EXPECT(w, ALICE, refusals[i].starts);
		HAS(s, refusals[i].has);
		CHECK_INT(pw_count_of(pw_header(s, "To"), ";tag="), 1);
		strcpy(text, s->text);
		/* repeated: the same answer */
		pw_give(w, ALICE, pw_request(refusals[i].q));
		s = EXPECT(w, ALICE, refusals[i].starts);
		CHECK(strcmp(text, s->text) == 0);
		/* its ACK is ours, and goes nowhere */
		ack.to_tag = strstr(pw_header(s, "To"), ";tag=") + 5;
		pw_give(w, ALICE, pw_request(ack));
		QUIET(w);
		CHECK_INT(pw_count(w, CNT_STRAY_ACK), 0);
		CHECK_INT(w->asked, 0);
		pw_close(w);
	}
}

/* RFC 3261 8.2.2.1, 16.3 step 2, 19.1.6. */
TEST(stateless_known_schemes)
{
	static const char *const uris[] = {"sip:bob@example.com", "SIP:b@c",
					   "tel:+4930123;phone-context=x"};

	for (size_t i = 0; i < ARRAY_LEN(uris); i++) {
		struct pw *w = pw_open(1);

		pw_give(w, ALICE, pw_request((struct pw_req){.uri = uris[i]}));
		CHECK_INT(w->asked, 1);
		pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
		pw_close(w);
	}
}

TEST(stateless_refusals_are_limited)
{
	struct pw *w = pw_open(1);
	int sent = 0;

	for (int i = 0; i < 700; i++) {
		w->n = 0;
		pw_give(w, ALICE,
			pw_request((struct pw_req){.max_forwards = "0"}));
		sent += w->n == 1;
	}
	CHECK_INT(sent, 700);
	for (int i = 0; i < 5000; i++) {
		w->n = 0;
		pw_give(w, ALICE,
			pw_request((struct pw_req){.max_forwards = "0"}));
		sent += w->n == 1;
	}
	CHECK(sent < 5000);
	CHECK_INT(pw_count(w, CNT_REPLY_LIMITED), 5700 - sent);
	w->n = w->seen = 0;
	w->now.mono.us += SECONDS(1);
	pw_give(w, ALICE, pw_request((struct pw_req){.max_forwards = "0"}));
	EXPECT(w, ALICE, "SIP/2.0 483");
	pw_close(w);
}

/* RFC 3261 11.2. */
TEST(stateless_options_to_ourselves)
{
	struct pw *w = pw_open(1);
	struct pw_req q = {.method = "OPTIONS", .uri = "sip:" US};

	pw_give(w, STRANGER, pw_request(q));
	EXPECT(w, STRANGER, "SIP/2.0 200 OK\r\n");
	HAS(pw_last(w), "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n");
	/* RFC 3261 11: also at the end of its hops */
	q.max_forwards = "0";
	pw_give(w, STRANGER, pw_request(q));
	EXPECT(w, STRANGER, "SIP/2.0 200 OK\r\n");
	/* to somebody behind us: the script's */
	q.max_forwards = NULL;
	q.uri = "sip:bob@" US;
	pw_give(w, ALICE, pw_request(q));
	EXPECT(w, SERVER1, "OPTIONS sip:bob@10.0.0.100:5060");
	pw_answer(w, SERVER1, "OPTIONS", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_close(w);
}

/* RFC 3261 16.7 step 1, RFC 6026 7.3. */
TEST(stateless_responses_that_are_not_ours_are_dropped)
{
	struct pw *w = pw_open(1);
	char text[4096];

	pw_give(w, ALICE, pw_invite());
	w->seen = w->n;
	/* another sent-by on top */
	strcpy(text,
	       pw_answer_text(w, SERVER1, "INVITE", "200 OK", NULL, NULL));
	memcpy(strstr(text, "10.0.0.100:5060"), "10.0.0.101:5060", 15);
	pw_give(w, SERVER1, text);
	CHECK_INT(pw_count(w, CNT_VIA_NOT_OURS), 1);
	/* another branch */
	strcpy(text,
	       pw_answer_text(w, SERVER1, "INVITE", "200 OK", NULL, NULL));
	strstr(text, "branch=z9hG4bK")[20] ^= 1;
	pw_give(w, SERVER1, text);
	CHECK_INT(pw_count(w, CNT_FORGED_BRANCH), 1);
	/* another method, which is no transaction's here either */
	w->node->settings.stateless_relay = RELAY_INVITE;
	strcpy(text,
	       pw_answer_text(w, SERVER1, "INVITE", "200 OK", NULL, NULL));
	memcpy(strstr(text, "1 INVITE"), "1 UPDATE", 8);
	pw_give(w, SERVER1, text);
	CHECK_INT(pw_count(w, CNT_STRAY_RESPONSE), 1);
	QUIET(w);
	/* in capitals it is still our branch; and from another address, as a
	 * server with two interfaces answers */
	strcpy(text,
	       pw_answer_text(w, SERVER1, "INVITE", "200 OK", NULL, NULL));
	for (char *c = strstr(text, "branch=z9hG4bK") + 7; *c != '\r'; c++)
		*c = *c >= 'a' && *c <= 'f' ? (char)(*c - 32) : *c;
	pw_give(w, "10.0.0.77:5099", text);
	EXPECT(w, ALICE, "SIP/2.0 200");
	pw_close(w);
}

/* RFC 3261 21.5.4. */
TEST(stateless_without_a_policy_everything_is_503)
{
	struct pw *w = pw_open(1);

	core_drop_user(w->core[0], &w->user[0]);
	pw_give(w, ALICE, pw_invite());
	EXPECT(w, ALICE, "SIP/2.0 503");
	HAS(pw_last(w), "Retry-After: 5\r\n");
	pw_close(w);
}

/* The policy goes while a request is open: it is answered all the same. */
TEST(stateless_policy_taken_away_from_an_open_request)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	core_drop_user(w->core[0], &w->user[0]);
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	CHECK_INT(w->outcomes, 0);
	CHECK(pw_find(w, ALICE, "SIP/2.0 500") != NULL);
	CHECK_INT(w->freed, 0);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* RFC 3261 8.2.1, 20.5. */
TEST(stateless_405_lists_what_is_taken)
{
	struct pw *w = pw_open(1);

	w->plan.refuse = "PUBLISH";
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "PUBLISH"}));
	EXPECT(w, ALICE, "SIP/2.0 405");
	HAS(pw_last(w), "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n");
	pw_close(w);
}
