/*
 * What leaves the proxy, byte by byte (RFC 3261 16.6): Via, Record-Route,
 * Max-Forwards, Request-URI, and everything else as it came.
 */
#include <string.h>
#include <stdio.h>
#include "proxy_world.h"
#include "proxy/cookie.h"

/* A request with much that an edit could harm. */
static const char odd[] =
    "INVITE sip:%62ob@example.com;x=1 SIP/2.0\r\n"
    "v:SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKabc,\r\n"
    " SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKdef;received=192.0.2.98\r\n"
    "max-forwards:  12 \r\n"
    "f: \"A, l\\\"ice\" <sip:alice@example.com>;tag=1\r\n"
    "T:<sip:bob@example.com>\r\n"
    "i : c1@192.0.2.7\r\n"
    "CSeq: 0001   INVITE\r\n"
    "X-Odd:  a,\r\n\tb\r\n"
    "m: <sip:alice@192.0.2.7>\r\n"
    "Record-Route: <sip:192.0.2.50;lr>\r\n"
    "x-odd:\r\n"
    "l: 7\r\n"
    "\r\n"
    "\x01\x02 v=0\r";

/* RFC 3261 16.6 steps 1 and 5, 7.4, 23. */
TEST(forward_edits_only_what_it_must)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	char want[3000], via[256], cookie[64];

	pw_give(w, ALICE, odd);
	s = EXPECT(w, SERVER1, "INVITE");
	strcpy(via, pw_header(s, "Via"));
	snprintf(cookie, sizeof(cookie), "%.34s", strstr(s->text, ";t=") + 3);
	snprintf(
	    want, sizeof(want),
	    "INVITE sip:%%62ob@example.com;x=1 SIP/2.0\r\n"
	    "Via: %s\r\n"
	    "v:SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKabc;received=192.0.2.7"
	    ";rport=5060,\r\n"
	    " SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKdef;received=192.0.2.98\r\n"
	    "Max-Forwards: 11\r\n"
	    "f: \"A, l\\\"ice\" <sip:alice@example.com>;tag=1\r\n"
	    "T:<sip:bob@example.com>\r\n"
	    "i : c1@192.0.2.7\r\n"
	    "CSeq: 0001   INVITE\r\n"
	    "X-Odd:  a,\r\n\tb\r\n"
	    "m: <sip:alice@192.0.2.7>\r\n"
	    "Record-Route: <sip:10.0.0.100:5060;lr;t=%s>\r\n"
	    "Record-Route: <sip:192.0.2.50;lr>\r\n"
	    "x-odd:\r\n"
	    "l: 7\r\n"
	    "\r\n"
	    "\x01\x02 v=0\r",
	    via, cookie);
	CHECK(strncmp(via, "SIP/2.0/UDP 10.0.0.100:5060;rport;branch=z9hG4bK1",
		      49) == 0);
	unit_check_str(__FILE__, __LINE__, "the request", str_from(s->text),
		       str_from(want));
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

TEST(forward_a_response_without_our_via_and_else_as_it_came)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	char text[3000], want[3000], via[256];

	pw_give(w, ALICE, pw_invite());
	snprintf(via, sizeof(via), "%s",
		 pw_header(pw_find(w, SERVER1, "INVITE"), "Via"));
	for (int form = 0; form < 3; form++) {
		static const char rest[] =
		    "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKabc;received=::1";
		static const char head[] = "SIP/2.0 183  Moving  along\r\n";
		static const char tail[] =
		    "f:<sip:alice@example.com>;tag=1\r\n"
		    "To:  <sip:bob@example.com>;tag=u1\r\n"
		    "Call-id: c1@192.0.2.7\r\nCSeq: 1 INVITE\r\n"
		    "X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc";

		if (form == 0) { /* two lines */
			snprintf(text, sizeof(text), "%sVia: %s\r\nv: %s\r\n%s",
				 head, via, rest, tail);
			snprintf(want, sizeof(want), "%sv: %s\r\n%s", head,
				 rest, tail);
		} else if (form == 1) { /* one line */
			snprintf(text, sizeof(text), "%sVIA: %s,%s\r\n%s", head,
				 via, rest, tail);
			snprintf(want, sizeof(want), "%sVIA: %s\r\n%s", head,
				 rest, tail);
		} else { /* folded */
			snprintf(text, sizeof(text),
				 "%sVia: %s ,\r\n  %s\r\n%s", head, via, rest,
				 tail);
			snprintf(want, sizeof(want), "%sVia: %s\r\n%s", head,
				 rest, tail);
		}
		pw_give(w, SERVER1, text);
		s = pw_last(w);
		unit_check_str(__FILE__, __LINE__, "the response",
			       str_from(s->text), str_from(want));
	}
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

/* RFC 3261 20.22. */
TEST(forward_max_forwards)
{
	struct pw *w = pw_open(1);

	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_request((struct pw_req){.max_forwards = ""}));
	CHECK(strcmp(pw_header(pw_last(w), "Max-Forwards"), "70") == 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_give(w, ALICE,
		pw_request((struct pw_req){
		    .max_forwards = "1", .branch = "z9hG4bKmf1", .cseq = 2}));
	CHECK(strcmp(pw_header(pw_last(w), "Max-Forwards"), "0") == 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	w->seen = w->n;
	pw_give(w, ALICE,
		pw_request((struct pw_req){
		    .max_forwards = "0", .branch = "z9hG4bKmf2", .cseq = 3}));
	EXPECT(w, ALICE, "SIP/2.0 483 Too Many Hops\r\n");
	pw_give(w, ALICE,
		pw_request((struct pw_req){
		    .max_forwards = "256", .branch = "z9hG4bKmf3", .cseq = 4}));
	EXPECT(w, ALICE, "SIP/2.0 400 ");
	QUIET(w);
	pw_close(w);
}

TEST(forward_each_attempt_starts_from_the_request_as_received)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *a, *b;

	w->plan.server[0] = "sip:carol@10.0.0.1";
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "503 Full");
	a = pw_find(w, SERVER1, "INVITE sip:carol@10.0.0.1 SIP/2.0\r\n");
	b = pw_find(w, SERVER2, "INVITE sip:bob@example.com SIP/2.0\r\n");
	CHECK(a && b);
	CHECK_INT(pw_count_of(b->text, "Via: "), 2);
	CHECK_INT(pw_count_of(b->text, "Record-Route: "), 1);
	HAS(b, "Max-Forwards: 69\r\n");
	CHECK(strcmp(pw_header(a, "Via"), pw_header(b, "Via")) != 0);
	pw_answer(w, SERVER2, "INVITE", "200 OK");
	pw_close(w);
}

/* Semantics 21: the address the request arrived on, unless family or transport
 * differ; then both doors are in the Record-Route. */
static const struct pw_sent *through(struct pw *w, unsigned in, const char *to)
{
	w->plan.server[0] = to;
	pw_give_via(w, in, w->node->listeners.l[in].transport, ALICE,
		    pw_request((struct pw_req){
			.via = in == 2 ? "SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKq"
				       : NULL}));
	return pw_last(w);
}

static void add_listeners(struct pw *w)
{
	const char *why;

	listener_parse(STR("udp:10.0.0.200:5080"), &w->node->listeners.l[1],
		       &why);
	listener_parse(STR("tcp:10.0.0.100:5060"), &w->node->listeners.l[2],
		       &why);
	listener_parse(STR("udp:[2001:db8::100]:5060"),
		       &w->node->listeners.l[3], &why);
	w->node->listeners.n = 4;
}

TEST(forward_leaves_by_the_door_it_came_in)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;

	add_listeners(w);
	s = through(w, 1, SERVER1);
	CHECK_INT(s->to.listener, 1);
	HAS(s, "Via: SIP/2.0/UDP 10.0.0.200:5080;");
	CHECK_INT(pw_count_of(s->text, "Record-Route"), 1);
	HAS(s, "Record-Route: <sip:10.0.0.200:5080;lr;t=");
	pw_answer(w, SERVER1, "INVITE", "486 Busy");
	pw_ack(w, "z9hG4bKabc", "u1");
	pw_close(w);
}

/* RFC 3261 20.30. */
TEST(forward_records_both_doors_when_transport_or_family_differ)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;

	add_listeners(w);
	s = through(w, 2, SERVER1); /* TCP in, UDP out */
	HAS(s, "Via: SIP/2.0/UDP 10.0.0.100:5060;");
	HAS(s, "Record-Route: <sip:10.0.0.100:5060;lr;t=");
	HAS(s, "Record-Route: <sip:10.0.0.100:5060;transport=tcp;lr;t=");
	CHECK(strstr(s->text, "5060;lr;t=") <
	      strstr(s->text, "5060;transport=tcp;lr;t="));
	pw_answer(w, SERVER1, "INVITE", "486 Busy");
	pw_run(w, SECONDS(60));

	s = through(w, 0, "tcp:" SERVER1); /* UDP in, TCP out */
	HAS(s, "Via: SIP/2.0/TCP 10.0.0.100:5060;");
	CHECK(strstr(s->text, "5060;lr;t=") >
	      strstr(s->text, "5060;transport=tcp;lr;t="));
	pw_give_via(w, 2, TRANSPORT_TCP, SERVER1,
		    pw_answer_text(w, SERVER1, "INVITE", "486 x", NULL, NULL));
	pw_run(w, SECONDS(60));

	s = through(w, 0, "[2001:db8::1]:5060");
	HAS(s, "Via: SIP/2.0/UDP [2001:db8::100]:5060;");
	HAS(s, "Record-Route: <sip:[2001:db8::100]:5060;lr;t=");
	HAS(s, "Record-Route: <sip:10.0.0.100:5060;lr;t=");
	CHECK_INT(s->to.listener, 3);
	pw_answer(w, "[2001:db8::1]:5060", "INVITE", "486 Busy");
	pw_close(w);
}

/* Two virtual addresses, each with all transports: a request goes on from the
 * one it came to, and where it cannot, from one that is here. */
TEST(forward_stays_with_a_virtual_address_across_transports)
{
	static const char *const listen[] = {
	    "udp:10.0.0.100:5060",      "udp:10.0.0.200:5060",
	    "tcp:10.0.0.100:5060",      "tcp:10.0.0.200:5060",
	    "udp:[2001:db8::100]:5060", "udp:[2001:db8::200]:5060"};
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	const char *why;

	for (unsigned i = 0; i < ARRAY_LEN(listen); i++)
		listener_parse(str_from(listen[i]), &w->node->listeners.l[i],
			       &why);
	w->node->listeners.n = ARRAY_LEN(listen);
	s = through(w, 1, "tcp:" SERVER1);
	CHECK_INT(s->to.listener, 3);
	HAS(s, "Via: SIP/2.0/TCP 10.0.0.200:5060;");
	HAS(s, "Record-Route: <sip:10.0.0.200:5060;transport=tcp;lr;t=");
	HAS(s, "Record-Route: <sip:10.0.0.200:5060;lr;t=");
	pw_give_via(w, 3, TRANSPORT_TCP, SERVER1,
		    pw_answer_text(w, SERVER1, "INVITE", "486 x", NULL, NULL));
	pw_run(w, SECONDS(60));

	w->away = 1 << 4;
	s = through(w, 1, "[2001:db8::1]:5060");
	CHECK_INT(s->to.listener, 5);
	HAS(s, "Via: SIP/2.0/UDP [2001:db8::200]:5060;");
	pw_answer(w, "[2001:db8::1]:5060", "INVITE", "486 Busy");
	pw_run(w, SECONDS(60));

	w->away = 3 << 4;
	through(w, 1, "[2001:db8::1]:5060");
	CHECK_INT(w->last.cause, CAUSE_NO_SOURCE);
	pw_close(w);
}

/* RFC 3261 18.1.1. */
TEST(forward_names_itself_as_advertised)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;

	strcpy(w->node->listeners.l[0].advertise, "sip.example.net");
	pw_give(w, ALICE, pw_invite());
	s = pw_last(w);
	HAS(s, "Via: SIP/2.0/UDP sip.example.net;rport;");
	HAS(s, "Record-Route: <sip:sip.example.net;lr;t=");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	CHECK(pw_find(w, ALICE, "SIP/2.0 200") != NULL);
	pw_close(w);
}

TEST(forward_without_a_listener_or_source_is_no_source)
{
	struct pw *w = pw_open(1);

	w->plan.server[0] = "[2001:db8::1]:5060"; /* no listener */
	w->plan.server[1] = "tcp:" SERVER2;
	w->plan.server[2] = "255.255.255.255:5060";
	pw_give(w, ALICE, pw_invite());
	CHECK_INT(w->outcomes, 3);
	CHECK_INT(w->last.kind, OUTCOME_TRANSPORT);
	CHECK_INT(w->last.cause, CAUSE_NO_SOURCE);
	EXPECT(w, ALICE, "SIP/2.0 500");
	CHECK(strcmp(w->told, "") == 0); /* never a server's failure */
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* Too big for a datagram with what is added: not a server's fault either. */
TEST(forward_what_has_grown_too_big_says_so)
{
	struct pw *w = pw_open(1);
	static char text[70000];
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), "%s", pw_invite());
	text[n - 2] = '\0';
	text[n - 2 - strlen("Content-Length: 0\r\n")] = '\0';
	n = strlen(text);
	n += (size_t)sprintf(text + n, "Content-Length: %d\r\n\r\n",
			     65400 - (int)n);
	memset(text + n, 'x', 65535 - n);
	text[n + (size_t)(65400 - ((int)n - 25))] = '\0';
	pw_give(w, ALICE, text);
	CHECK_INT(w->outcomes, 2);
	CHECK_INT(w->last.cause, CAUSE_TOO_BIG);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

/* Semantics 4: what a target changes is that attempt's only. */
/* RFC 3261 16.6 steps 2 and 7, RFC 3327 5.3. */
TEST(forward_a_target_that_replaces_the_host_or_adds_a_path)
{
	static const struct {
		const char *uri, *host, *start;
	} cases[] = {
	    {"sip:bob@example.com", "h.example",
	     "INVITE sip:bob@h.example SIP/2.0\r\n"},
	    {"sip:bob:pw@example.com:5066;x=1", "[2001:db8::1]:5070",
	     "INVITE sip:bob:pw@[2001:db8::1]:5070;x=1 SIP/2.0\r\n"},
	    {"sip:[2001:db8::5]:5061", "10.1.1.1",
	     "INVITE sip:10.1.1.1 SIP/2.0\r\n"},
	    {"sip:example.com@example.com;maddr=1.2.3.4", "example.org",
	     "INVITE sip:example.com@example.org;maddr=1.2.3.4 SIP/2.0\r\n"},
	    {"tel:+49301234", "10.1.1.1", "INVITE tel:+49301234 SIP/2.0\r\n"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pw *w = pw_open(1);
		struct target t = {
		    .host = str_from(cases[i].host),
		    .route = STR("<sip:10.0.0.9;lr>, <sip:10.0.0.10;lr>")};

		w->plan.silent = true;
		pw_give(w, ALICE,
			pw_request((struct pw_req){.uri = cases[i].uri}));
		addr_parse(STR(SERVER1), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
		EXPECT(w, SERVER1, cases[i].start);
		HAS(pw_last(w),
		    "\r\nRoute: <sip:10.0.0.9;lr>, <sip:10.0.0.10;lr>\r\n");
		pw_answer(w, SERVER1, "INVITE", "503 x");
		t.host = t.route = STR_NONE;
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
		HAS(pw_last(w), cases[i].uri);
		HAS_NOT(pw_last(w), "\r\nRoute");
		pw_answer(w, SERVER1, "INVITE", "200 OK");
		request_done(w->req, w->now);
		pw_close(w);
	}
}

/* 16.6 step 4: a sips URI, or a sips route, is recorded as sips. */
TEST(forward_records_sips_over_tls_as_sips)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;
	const char *why;

	listener_parse(STR("tls:10.0.0.100:5061"), &w->node->listeners.l[1],
		       &why);
	w->node->listeners.n = 2;
	w->plan.silent = true;
	pw_give_via(w, 1, TRANSPORT_TLS, ALICE,
		    pw_request((struct pw_req){
			.uri = "sips:bob@example.com",
			.via = "SIP/2.0/TLS 192.0.2.7;branch=z9hG4bKq"}));
	{
		struct target t = {.hop.transport = TRANSPORT_TLS};

		addr_parse(STR("10.0.0.1:5061"), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
	}
	s = pw_find(w, "10.0.0.1:5061", "INVITE");
	HAS(s, "Record-Route: <sips:flow1-"); /* its own connection */
	HAS(s, "@10.0.0.100:5061;lr;t=");
	CHECK_INT(pw_count_of(s->text, "Record-Route"), 1);
	pw_run(w, SECONDS(3));
	request_reply(w->req, &(struct reply){.code = 480}, w->now);
	request_done(w->req, w->now);
	pw_close(w);
}

/* Methods that make no dialog, and pools that do not want it. */
TEST(forward_records_no_route_where_no_dialog_begins)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1)->record_route = false;
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	HAS_NOT(pw_last(w), "Record-Route");
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	pw_give(w, ALICE, pw_invite());
	HAS_NOT(pw_last(w), "Record-Route");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "SUBSCRIBE",
					   .branch = "z9hG4bKs"}));
	HAS_NOT(pw_last(w), "Record-Route");
	pw_answer(w, SERVER1, "SUBSCRIBE", "202 Accepted");
	w->plan.server[0] = SERVER2;
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "SUBSCRIBE",
					   .branch = "z9hG4bKs2"}));
	HAS(pw_last(w), "Record-Route: <sip:10.0.0.100:5060;lr;t=1n");
	pw_answer(w, SERVER2, "SUBSCRIBE", "202 Accepted");
	pw_close(w);
}

TEST(forward_the_cookie_names_member_and_side)
{
	struct pw *w = pw_open(1);
	struct cookie c;
	const struct pw_sent *s;
	uint64_t id = pw_member(w, "a/1", SERVER1)->id;
	char text[COOKIE_LEN + 1];

	pw_give(w, ALICE, pw_invite());
	s = pw_last(w);
	snprintf(text, sizeof(text), "%s", strstr(s->text, ";t=") + 3);
	CHECK(cookie_read(str_from(text), &w->node->keys, STR("c1@192.0.2.7"),
			  STR("1"), STR("u1"), &c));
	CHECK_INT(c.side, COOKIE_CALLEE);
	CHECK(c.id == id && c.from_caller);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}

/* RFC 3581 and 18.2.1: the answer goes where the request came from, and what
 * the caller claims about that is not believed. */
TEST(forward_marks_where_the_request_came_from)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *s;

	pw_give(w, "203.0.113.9:40000",
		pw_request((struct pw_req){
		    .via = "SIP/2.0/UDP pc33.example.com;received=1.2.3.4;rport"
			   ";branch=z9hG4bKabc;x=\"a;b\""}));
	s = pw_last(w);
	HAS(s, "Via: SIP/2.0/UDP pc33.example.com;branch=z9hG4bKabc;x=\"a;b\";"
	       "received=203.0.113.9;rport=40000\r\n");
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	CHECK(pw_find(w, "203.0.113.9:40000", "SIP/2.0 486") != NULL);
	pw_close(w);
}

TEST(forward_the_same_request_gives_the_same_bytes_on_another_node)
{
	struct pw *a = pw_open(1), *b = pw_open(1);

	b->now.mono.us += SECONDS(77);
	pw_give(a, ALICE, pw_invite());
	/* another node starts with another server */
	b->plan.server[0] = SERVER2;
	b->plan.server[1] = SERVER1;
	pw_give(b, ALICE, pw_invite());
	pw_answer(b, SERVER2, "INVITE", "503 Full");
	CHECK(strcmp(pw_find(a, SERVER1, "INVITE")->text,
		     pw_find(b, SERVER1, "INVITE")->text) == 0);
	pw_answer(a, SERVER1, "INVITE", "200 OK");
	pw_answer(b, SERVER1, "INVITE", "200 OK");
	pw_close(a);
	pw_close(b);
}

/* RFC 3261 17.1.1.3: the ACK of a failure is the INVITE's as it was sent. */
TEST(forward_the_ack_of_a_failure_has_the_branch_and_uri_of_its_invite)
{
	struct pw *w = pw_open(1);
	const struct pw_sent *invite, *ack;

	w->plan.server[0] = "sip:carol@10.0.0.1";
	pw_give(w, ALICE, pw_invite());
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	invite = pw_find(w, SERVER1, "INVITE");
	ack = pw_find(w, SERVER1, "ACK sip:carol@10.0.0.1 SIP/2.0\r\n");
	CHECK(ack != NULL);
	CHECK(strcmp(pw_header(invite, "Via"), pw_header(ack, "Via")) == 0);
	CHECK_INT(pw_count_of(ack->text, "Via: "), 1);
	HAS(ack, "To: <sip:bob@example.com>;tag=u1\r\n");
	HAS(ack, "CSeq: 1 ACK\r\n");
	pw_close(w);
}

/* RFC 2543: no branch, matched by the old rules, forwarded with ours. */
TEST(forward_a_request_of_rfc_2543)
{
	static const char *const vias[] = {
	    "SIP/2.0/UDP 192.0.2.7", "SIP/2.0/UDP 192.0.2.7;branch=1",
	    "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK"};

	for (size_t i = 0; i < ARRAY_LEN(vias); i++) {
		struct pw *w = pw_open(1);
		struct pw_req q = {.via = vias[i]};

		pw_give(w, ALICE, pw_request(q));
		pw_give(w, ALICE, pw_request(q));
		CHECK_INT(w->asked, 1);
		CHECK_INT(w->n, 1);
		pw_answer(w, SERVER1, "INVITE", "180 Ringing");
		w->seen = w->n;
		q.method = "CANCEL";
		pw_give(w, ALICE, pw_request(q));
		EXPECT(w, ALICE, "SIP/2.0 200");
		EXPECT(w, SERVER1, "CANCEL");
		pw_answer(w, SERVER1, "CANCEL", "200 OK");
		pw_answer(w, SERVER1, "INVITE", "487 x");
		EXPECT(w, SERVER1, "ACK");
		EXPECT(w, ALICE, "SIP/2.0 487");
		q.method = "ACK";
		q.to_tag = strstr(pw_header(pw_last(w), "To"), ";tag=") + 5;
		pw_give(w, ALICE, pw_request(q));
		pw_run(w, SECONDS(3));
		QUIET(w); /* no 487 again: the ACK was understood */
		CHECK_INT(pw_count(w, CNT_STRAY_ACK), 0);
		pw_close(w);
	}
}

TEST(forward_a_branch_that_is_still_in_use_is_not_used_twice)
{
	struct pw *w = pw_open(1);
	const char *first;
	char branch[64];

	/* tried, given up, dropped; the caller asks again */
	w->plan.silent = true;
	for (int i = 0; i < 2; i++) {
		struct target t = {.member = NULL};

		pw_give(w, ALICE,
			pw_request((struct pw_req){.method = "REGISTER"}));
		addr_parse(STR(SERVER1), &t.hop.addr);
		request_try(w->req, &t, 1, &w->plan.opts, w->now);
		first = strstr(pw_last(w)->text, "branch=");
		if (i == 0) {
			snprintf(branch, sizeof(branch), "%.60s", first);
			pw_run(w, SECONDS(2));
			request_drop(w->req, STR("test"), w->now);
			request_done(w->req, w->now);
			pw_settle(w);
			continue;
		}
		CHECK(strncmp(branch, first, strlen(branch)) != 0);
	}
	CHECK_INT(w->asked, 2);
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	CHECK_INT(w->code, 200);
	request_done(w->req, w->now);
	pw_close(w);
}
