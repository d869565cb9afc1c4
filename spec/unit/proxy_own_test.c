/*
 * Requests of our own (checks, sip.request): how they look, how they end, what
 * happens to a call that was answered too late, and that answers find the
 * worker that asked.
 */
#include <stdio.h>
#include <string.h>
#include "proxy_world.h"

static void on_end(void *ctx, struct own *o, const struct response *res,
		   enum cause cause, struct now now)
{
	struct pw *w = ctx;

	(void)now;
	CHECK(o == w->own);
	w->own_ends++;
	w->own_code = res ? res->code : 0;
	w->own_cause = cause;
}

static struct own *ask(struct pw *w, unsigned worker, const char *method,
		       int64_t timeout)
{
	struct own_conf conf = {.method = str_from(method),
				.uri = STR("sip:10.0.0.1"),
				.timeout = timeout,
				.ctx = w,
				.on_end = on_end};

	addr_parse(STR(SERVER1), &conf.hop.addr);
	w->own = own_new(core_proxy(w->core[worker]), &conf, w->now);
	CHECK(w->own != NULL);
	return w->own;
}

/* RFC 3261 8.1.1, 8.1.1.7, 8.1.2. */
TEST(own_request_looks_like_one)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	struct own_conf conf = {
	    .method = STR("MESSAGE"),
	    .uri = STR("sip:bob@10.0.0.1"),
	    .from = STR("\"check\" <sip:check@example.com>"),
	    .to = STR("<sip:bob@example.com>"),
	    .headers = STR("Content-Type: text/plain\r\nX: y\r\n"),
	    .body = STR("hello"),
	    .ctx = w,
	    .on_end = on_end};

	addr_parse(STR(SERVER1), &conf.hop.addr);
	w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
	s = EXPECT(w, SERVER1,
		   "MESSAGE sip:bob@10.0.0.1 SIP/2.0\r\nVia: "
		   "SIP/2.0/UDP 10.0.0.100:5060;rport;branch=");
	HAS(s, "\r\nMax-Forwards: 70\r\n");
	HAS(s, "\r\nFrom: \"check\" <sip:check@example.com>;tag=");
	HAS(s, "\r\nTo: <sip:bob@example.com>\r\n");
	HAS(s, "\r\nCSeq: 1 MESSAGE\r\n");
	HAS(s, "\r\nContent-Type: text/plain\r\nX: y\r\n");
	HAS(s, "\r\nContent-Length: 5\r\n\r\nhello");
	HAS_NOT(s, "Contact");
	pw_answer(w, SERVER1, "MESSAGE", "202 Accepted");
	pw_settle(w);
	CHECK_INT(w->own_ends, 1);
	CHECK_INT(w->own_code, 202);
	QUIET(w);
	pw_close(w);
}

TEST(own_failures_come_later_and_once)
{
	struct pw *w = pw_open(1);

	w->no_source = true;
	ask(w, 0, "OPTIONS", SECONDS(1));
	CHECK_INT(w->own_ends, 0); /* never from inside own_new */
	pw_run(w, SECONDS(5));
	CHECK_INT(w->own_ends, 1);
	CHECK_INT(w->own_cause, CAUSE_NO_SOURCE);
	QUIET(w);
	own_free(&w->own, w->now);
	w->no_source = false;

	ask(w, 0, "OPTIONS", SECONDS(1));
	EXPECT(w, SERVER1, "OPTIONS");
	pw_icmp(w, SERVER1, "OPTIONS", CAUSE_ICMP_PORT);
	pw_run(w, SECONDS(5));
	CHECK_INT(w->own_ends, 2);
	CHECK_INT(w->own_cause, CAUSE_ICMP_PORT);
	QUIET(w);
	own_free(&w->own, w->now);

	ask(w, 0, "OPTIONS", SECONDS(1));
	pw_run(w, SECONDS(1) - 1);
	CHECK_INT(w->own_ends, 2);
	pw_run(w, 1);
	CHECK_INT(w->own_ends, 3);
	CHECK_INT(w->own_cause, CAUSE_SILENT);
	pw_answer(w, SERVER1, "OPTIONS", "200 OK"); /* too late */
	pw_run(w, SECONDS(40));
	CHECK_INT(w->own_ends, 3);
	pw_close(w);
}

/* RFC 3261 12.2.1.1, 15.1.1. */
TEST(own_invite_is_acked_and_ended_by_a_bye_in_its_dialog)
{
	struct pw *w = pw_open(1);
	const char *headers = "Record-Route: <sip:10.0.0.8:5070;lr>, "
			      "<sip:10.0.0.9;lr>\r\n"
			      "Contact: <sip:bob@10.0.0.3:5066>\r\n";
	struct own_conf bye = {.method = STR("BYE"), .ctx = w};
	const struct pw_sent *s;
	struct own *invite = ask(w, 0, "INVITE", SECONDS(32)), *end;
	char from[256];

	s = EXPECT(w, SERVER1, "INVITE sip:10.0.0.1 SIP");
	HAS(s, "Contact: <sip:10.0.0.100:5060>\r\n");
	strcpy(from, pw_header(s, "From"));
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1", headers);
	s = EXPECT(w, "10.0.0.9:5060", "ACK sip:bob@10.0.0.3:5066 SIP");
	CHECK(strcmp(pw_header(s, "Route"), "<sip:10.0.0.9;lr>, "
					    "<sip:10.0.0.8:5070;lr>") == 0);
	CHECK(strcmp(pw_header(s, "From"), from) == 0);
	HAS(s, "CSeq: 1 ACK");
	pw_settle(w);
	CHECK_INT(w->own_code, 200);
	/* its ACK was lost */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1", headers);
	EXPECT(w, "10.0.0.9:5060", "ACK");
	QUIET(w);
	CHECK_INT(w->own_ends, 1);
	/* another phone picked up as well: that dialog is ended */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u2", headers);
	EXPECT(w, "10.0.0.9:5060", "ACK");
	EXPECT(w, "10.0.0.9:5060", "BYE");
	HAS(pw_last(w), ";tag=u2");
	pw_answer(w, "10.0.0.9:5060", "BYE", "200 OK");

	bye.dialog = invite;
	bye.on_end = on_end;
	end = own_new(core_proxy(w->core[0]), &bye, w->now);
	CHECK(end != NULL);
	s = EXPECT(w, "10.0.0.9:5060", "BYE sip:bob@10.0.0.3:5066 SIP");
	HAS(s, "CSeq: 2 BYE");
	HAS(s, ";tag=u1\r\n");
	CHECK(strcmp(pw_header(s, "From"), from) == 0);
	w->own = end;
	pw_answer(w, "10.0.0.9:5060", "BYE", "200 OK");
	pw_settle(w);
	CHECK_INT(w->own_ends, 2);
	own_free(&invite, w->now);
	pw_close(w);
}

/* A script that forgets the BYE, or is gone before it: no ghost call. */
TEST(own_call_that_nobody_ended_is_ended_when_it_is_freed)
{
	struct pw *w = pw_open(1);
	struct own_conf bye = {
	    .method = STR("BYE"), .ctx = w, .on_end = on_end};
	const char *headers = "Contact: <sip:bob@10.0.0.1>\r\n";
	struct own *invite = ask(w, 0, "INVITE", SECONDS(32)), *end;

	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1", headers);
	pw_settle(w);
	own_free(&invite, w->now);
	HAS(pw_find(w, SERVER1, "BYE"), "CSeq: 2 BYE");
	pw_answer(w, SERVER1, "BYE", "200 OK");

	invite = ask(w, 0, "INVITE", SECONDS(32));
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u2", headers);
	pw_settle(w);
	bye.dialog = invite;
	end = own_new(core_proxy(w->core[0]), &bye, w->now);
	CHECK(end != NULL);
	own_free(&end, w->now); /* nobody knows whether it got there */
	own_free(&invite, w->now);
	HAS(pw_last(w), "CSeq: 3 BYE");
	HAS(pw_last(w), ";tag=u2");
	pw_answer(w, SERVER1, "BYE", "200 OK");
	w->own = NULL;
	pw_close(w);
}

/* RFC 3261 8.1.3.5 */
TEST(own_request_is_repeated_with_the_same_identity)
{
	struct pw *w = pw_open(1);
	struct own_conf conf = {.method = STR("REGISTER"),
				.uri = STR("sip:10.0.0.1"),
				.call_id = STR("0123456789abcdef"),
				.from_tag = STR("t1"),
				.cseq = 2,
				.ctx = w,
				.on_end = on_end};

	addr_parse(STR(SERVER1), &conf.hop.addr);
	w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
	HAS(pw_last(w), "\r\nCall-ID: 0123456789abcdef\r\n");
	HAS(pw_last(w), ">;tag=t1\r\n");
	HAS(pw_last(w), "\r\nCSeq: 2 REGISTER\r\n");
	HAS_NOT(pw_last(w), "Contact");
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	pw_close(w);
}

/* RFC 3261 8.1.3.3 */
TEST(own_response_with_another_via_is_for_nobody)
{
	struct pw *w = pw_open(1);
	char text[4096];
	char *after;

	ask(w, 0, "OPTIONS", SECONDS(4));
	strcpy(text,
	       pw_answer_text(w, SERVER1, "OPTIONS", "200 OK", NULL, NULL));
	after = strstr(strstr(text, "Via: "), "\r\n") + 2;
	memmove(after + strlen("Via: SIP/2.0/UDP 192.0.2.7\r\n"), after,
		strlen(after) + 1);
	memcpy(after, "Via: SIP/2.0/UDP 192.0.2.7\r\n",
	       strlen("Via: SIP/2.0/UDP 192.0.2.7\r\n"));
	pw_give(w, SERVER1, text);
	pw_settle(w);
	CHECK_INT(w->own_ends, 0);
	CHECK_INT(pw_count(w, CNT_PARSE), 1);
	pw_answer(w, SERVER1, "OPTIONS", "200 OK");
	pw_settle(w);
	CHECK_INT(w->own_code, 200);
	pw_close(w);
}

/* Semantics 21: the virtual address while it is ours, then the named one, then
 * any other. */
TEST(own_request_leaves_from_an_address_that_is_ours)
{
	static const unsigned away[] = {0, 1, 5}, from[] = {0, 2, 1};
	struct pw *w = pw_open(1);
	struct own_conf conf = {.method = STR("OPTIONS"),
				.uri = STR("sip:10.0.0.1"),
				.ctx = w,
				.on_end = on_end};
	struct listeners *ls = &w->node->listeners;

	listener_parse(STR("udp:10.0.0.101:5060"), &ls->l[1],
		       &(const char *){NULL});
	listener_parse(STR("udp:10.0.0.102:5060"), &ls->l[2],
		       &(const char *){NULL});
	ls->n = 3;
	addr_parse(STR(SERVER1), &conf.hop.addr);
	addr_parse(STR("10.0.0.102:5060"), &conf.source);
	for (unsigned i = 0; i < 3; i++) {
		w->away = away[i];
		w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
		CHECK_INT(pw_last(w)->to.listener, from[i]);
		pw_answer(w, SERVER1, "OPTIONS", "200 OK");
		pw_settle(w);
		own_free(&w->own, w->now);
	}
	w->away = 7;
	w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
	pw_settle(w);
	CHECK_INT(w->own_cause, CAUSE_NO_SOURCE);
	pw_close(w);
}

TEST(own_invite_that_is_refused_is_acked_below)
{
	struct pw *w = pw_open(1);

	ask(w, 0, "INVITE", SECONDS(32));
	EXPECT(w, SERVER1, "INVITE");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER1, "ACK");
	pw_settle(w);
	CHECK_INT(w->own_code, 486);
	pw_close(w);
}

TEST(own_invite_out_of_time_is_cancelled_and_a_late_2xx_ended)
{
	struct pw *w = pw_open(1);

	ask(w, 0, "INVITE", SECONDS(5));
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_run(w, SECONDS(5));
	CHECK_INT(w->own_ends, 1);
	EXPECT(w, SERVER1, "CANCEL");
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	/* a proxy in front of it records its route: all of it is followed */
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "u1",
		       "Record-Route: <sip:10.0.0.9;lr>\r\n"
		       "Contact: <sip:bob@10.0.0.3:5066>\r\n");
	EXPECT(w, "10.0.0.9:5060", "ACK sip:bob@10.0.0.3:5066");
	HAS(pw_find(w, "10.0.0.9:5060", "ACK"), "Route: <sip:10.0.0.9;lr>\r\n");
	EXPECT(w, "10.0.0.9:5060", "BYE sip:bob@10.0.0.3:5066");
	QUIET(w);
	CHECK_INT(w->own_ends, 1);
	pw_answer(w, "10.0.0.9:5060", "BYE", "200 OK");
	pw_close(w);
}

TEST(own_invite_without_a_timeout_ends_after_64_t1_all_the_same)
{
	struct pw *w = pw_open(1);

	ask(w, 0, "INVITE", 0);
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(32) - 1);
	CHECK_INT(w->own_ends, 0);
	pw_run(w, 1);
	CHECK_INT(w->own_ends, 1);
	CHECK(pw_find(w, SERVER1, "CANCEL") != NULL);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 x");
	pw_close(w);
}

TEST(own_request_freed_while_open_is_cancelled)
{
	struct pw *w = pw_open(1);

	ask(w, 0, "INVITE", SECONDS(32));
	pw_answer(w, SERVER1, "INVITE", "180 Ringing");
	own_free(&w->own, w->now);
	CHECK(pw_find(w, SERVER1, "CANCEL") != NULL);
	pw_answer(w, SERVER1, "CANCEL", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "487 x");
	CHECK_INT(w->own_ends, 0);
	pw_close(w);
}

/* Answers come to worker 0 first, whoever asked. */
TEST(own_answers_find_the_worker_that_asked)
{
	for (unsigned i = 0; i < 20; i++) {
		struct pw *w = pw_open(2);

		ask(w, i % 2, "OPTIONS", SECONDS(1));
		CHECK_INT(pw_last(w)->worker, i % 2);
		pw_answer(w, SERVER1, "OPTIONS", "200 OK");
		pw_settle(w);
		CHECK_INT(w->own_code, 200);
		own_free(&w->own, w->now);
		/* and so does an ICMP error */
		ask(w, i % 2, "OPTIONS", SECONDS(1));
		pw_icmp(w, SERVER1, "OPTIONS", CAUSE_ICMP_PORT);
		pw_settle(w);
		CHECK_INT(w->own_cause, CAUSE_ICMP_PORT);
		pw_close(w);
	}
}

TEST(own_contact_names_the_transport)
{
	struct pw *w = pw_open(1);
	struct own_conf conf = {.method = STR("OPTIONS"),
				.hop.transport = TRANSPORT_TCP,
				.uri = STR("sip:10.0.0.1"),
				.ctx = w,
				.on_end = on_end};

	listener_parse(STR("tcp:" US), &w->node->listeners.l[1],
		       &(const char *){NULL});
	w->node->listeners.n = 2;
	addr_parse(STR(SERVER1), &conf.hop.addr);
	w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
	HAS(pw_last(w), "Contact: <sip:10.0.0.100:5060;transport=tcp>\r\n");
	HAS(pw_last(w), "Via: SIP/2.0/TCP 10.0.0.100:5060;");
	pw_close(w);
}
