/*
 * Where a request belongs (RFC 3261 16.4, semantics 13, 15, 17): Routes of ours
 * and of others, strict routers, cookies, members, strangers.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/cookie.h"
#include "proxy_world.h"

/* A node with a pool of two; its calls go to 10.0.0.1. */
static const struct zone_line no_names = {.name = NULL};

static struct pw *node(void)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1);
	pw_member(w, "a/2", SERVER2);
	return w;
}

/* "Route: <sip:10.0.0.100:5060;lr;t=COOKIE>" of the dialog c1, tag 1. */
static const char *our_route(struct pw *w, enum cookie_side side)
{
	static char text[256];
	char cookie[COOKIE_LEN];

	cookie_write(cookie, w->node->keys.now, STR("c1@192.0.2.7"), STR("1"),
		     side, member_id(STR("a/1")));
	snprintf(text, sizeof(text), "Route: <sip:" US ";lr;t=%.*s>\r\n",
		 COOKIE_LEN, cookie);
	return text;
}

/* In the dialog of alice (tag 1) with bob (u1) at 10.0.0.1. */
static const char *from_alice(const char *method, const char *uri,
			      const char *headers)
{
	return pw_request((struct pw_req){.method = method,
					  .uri = uri,
					  .branch = "z9hG4bKin1",
					  .to_tag = "u1",
					  .cseq = 2,
					  .headers = headers});
}

static const char *from_bob(const char *method, const char *uri,
			    const char *headers)
{
	static char text[4096];
	struct pw_req q = {.method = method,
			   .uri = uri,
			   .via = "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKb",
			   .from_tag = "u1",
			   .to_tag = "1",
			   .cseq = 70,
			   .headers = headers};

	snprintf(text, sizeof(text), "%s", pw_request(q));
	return text;
}

TEST(route_preloaded_by_a_phone_is_ours_to_remove)
{
	static const char *const routes[] = {
	    "Route: <sip:10.0.0.100;lr>\r\n",
	    "Route: <sip:10.0.0.100:5060>\r\n", /* even without lr */
	    "Route: <sip:10.0.0.100;lr>, <sip:10.0.0.100:5060;lr>\r\n",
	    "Route: <sip:10.0.0.100;lr>\r\nRoute: \"x\" <sip:10.0.0.100;lr>"
	    "\r\n"};

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		struct pw *w = node();

		pw_give(w, STRANGER,
			pw_request((struct pw_req){.headers = routes[i]}));
		CHECK_INT(w->asked, 1);
		EXPECT(w, SERVER1, "INVITE sip:bob@example.com SIP/2.0");
		HAS_NOT(pw_last(w), "\r\nRoute:");
		pw_answer(w, SERVER1, "INVITE", "200 OK");
		pw_close(w);
	}
}

TEST(route_foreign_from_a_stranger_is_403)
{
	static const char *const routes[] = {
	    "Route: <sip:198.51.100.1;lr>\r\n",
	    "Route: <sip:10.0.0.100;lr>, <sip:198.51.100.1;lr>\r\n",
	    "Route: <sip:10.0.0.1;lr>\r\n"};

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		struct pw *w = node();

		pw_give(w, STRANGER,
			pw_request((struct pw_req){.headers = routes[i]}));
		EXPECT(w, STRANGER, "SIP/2.0 403");
		QUIET(w);
		CHECK_INT(w->asked, 0);
		/* and its ACK is absorbed, without a transaction */
		pw_give(
		    w, STRANGER,
		    pw_request((struct pw_req){
			.method = "ACK",
			.to_tag =
			    strstr(pw_header(pw_last(w), "To"), ";tag=") + 5,
			.headers = routes[i]}));
		QUIET(w);
		CHECK_INT(pw_count(w, CNT_STRAY_ACK), 0);
		pw_close(w);
	}
}

TEST(route_foreign_from_a_member_is_followed)
{
	struct pw *w = node();
	const struct pw_sent *s;

	pw_give(w, SERVER1,
		pw_request((struct pw_req){
		    .uri = "sip:phone@198.51.100.7",
		    .headers = "Route: <sip:10.0.0.100;lr>, "
			       "<sip:198.51.100.1:5070;lr>\r\n"}));
	s = EXPECT(w, "198.51.100.1:5070", "INVITE sip:phone@198.51.100.7 SIP");
	HAS(s, "\r\nRoute: <sip:198.51.100.1:5070;lr>\r\n");
	/* the member is upstream */
	HAS(s, "Record-Route: <sip:10.0.0.100:5060;lr;t=1u");
	CHECK_INT(w->asked, 0);
	pw_answer(w, "198.51.100.1:5070", "INVITE", "200 OK");
	EXPECT(w, SERVER1, "SIP/2.0 200");
	pw_close(w);
}

TEST(route_from_a_member_goes_to_its_request_uri_and_not_to_the_pool)
{
	struct pw *w = node();

	pw_give(w, SERVER1,
		pw_request((struct pw_req){.uri = "sip:p@198.51.100.7:5071"}));
	EXPECT(w, "198.51.100.7:5071", "INVITE sip:p@198.51.100.7:5071 SIP");
	pw_answer(w, "198.51.100.7:5071", "INVITE", "486 Busy Here");
	EXPECT(w, "198.51.100.7:5071", "ACK");
	EXPECT(w, SERVER1, "SIP/2.0 486");
	CHECK_INT(w->asked, 0);
	pw_close(w);
}

TEST(route_from_a_member_to_ourselves_is_404_and_to_no_name_500)
{
	struct pw *w = node();

	pw_give(w, SERVER1,
		pw_request((struct pw_req){.uri = "sip:bob@10.0.0.100"}));
	EXPECT(w, SERVER1, "SIP/2.0 404");
	pw_give(w, SERVER1,
		pw_request((struct pw_req){.uri = "sip:bob@example.org",
					   .branch = "z9hG4bKother"}));
	w->zone = &no_names;
	pw_dns(w);
	EXPECT(w, SERVER1, "SIP/2.0 500");
	QUIET(w);
	pw_close(w);
}

TEST(route_of_a_member_can_be_the_scripts)
{
	struct pw *w = node();

	w->plan.follow = true;
	pw_give(w, SERVER1,
		pw_request((struct pw_req){.uri = "sip:p@198.51.100.7"}));
	CHECK_INT(w->asked, 1);
	CHECK_INT(request_kind(w->req), REQUEST_FROM_SERVER);
	CHECK(request_source(w->req) != NULL);
	EXPECT(w, "198.51.100.7:5060", "INVITE");
	pw_answer(w, "198.51.100.7:5060", "INVITE", "200 OK");
	pw_close(w);
}

/* What the script changes before it lets the request follow its route. */
TEST(route_followed_after_a_new_request_uri)
{
	struct pw *w = node();

	w->plan.follow = w->plan.silent = true;
	pw_give(w, SERVER1,
		pw_request((struct pw_req){.uri = "sip:p@198.51.100.7"}));
	edit_uri(request_edits(w->req), STR("sip:q@198.51.100.9:5077"));
	request_follow_route(w->req, w->now);
	EXPECT(w, "198.51.100.9:5077", "INVITE sip:q@198.51.100.9:5077 SIP");
	pw_answer(w, "198.51.100.9:5077", "INVITE", "200 OK");
	pw_close(w);
}

TEST(route_foreign_from_a_trusted_source_goes_to_the_script)
{
	struct pw *w = node();
	static struct addr_net net;

	addr_net_parse(STR("203.0.113.0/24"), &net);
	w->node->settings.trust = &net;
	w->node->settings.n_trust = 1;
	pw_give(w, STRANGER,
		pw_request((struct pw_req){
		    .headers = "Route: <sip:198.51.100.1;lr>\r\n"}));
	CHECK_INT(w->asked, 1);
	EXPECT(w, SERVER1, "INVITE");
	HAS(pw_last(w), "\r\nRoute: <sip:198.51.100.1;lr>\r\n");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	w->node->settings.trust = NULL;
	w->node->settings.n_trust = 0;
	pw_close(w);
}

TEST(route_in_dialog_with_a_cookie_in_both_directions)
{
	struct pw *w = node();

	/* a stranger's address: the cookie is what counts */
	pw_give(w, STRANGER,
		from_alice("BYE", "sip:bob@198.51.100.20:5090",
			   our_route(w, COOKIE_CALLEE)));
	EXPECT(w, "198.51.100.20:5090", "BYE sip:bob@198.51.100.20:5090 SIP");
	HAS_NOT(pw_last(w), "\r\nRoute:");
	HAS_NOT(pw_last(w), "Record-Route");
	pw_answer(w, "198.51.100.20:5090", "BYE", "200 OK");
	EXPECT(w, STRANGER, "SIP/2.0 200");
	/* the other side: the cookie verifies by the To tag */
	pw_give(w, "198.51.100.20:5090",
		from_bob("BYE", "sip:alice@203.0.113.5",
			 our_route(w, COOKIE_CALLEE)));
	EXPECT(w, STRANGER, "BYE sip:alice@203.0.113.5 SIP");
	pw_answer(w, STRANGER, "BYE", "200 OK");
	CHECK_INT(pw_count(w, CNT_BAD_COOKIE), 0);
	CHECK_INT(w->asked, 0);
	pw_close(w);
}

/* RFC 3261 20.34. */
TEST(route_in_dialog_follows_the_next_route)
{
	struct pw *w = node();
	char route[512];

	snprintf(route, sizeof(route),
		 "%.*s, <sip:198.51.100.30:5070;lr>, <sip:198.51.100.31;lr>"
		 "\r\n",
		 (int)strlen(our_route(w, COOKIE_CALLEE)) - 2,
		 our_route(w, COOKIE_CALLEE));
	pw_give(w, STRANGER, from_alice("INVITE", "sip:bob@10.9.9.9", route));
	EXPECT(w, "198.51.100.30:5070", "INVITE sip:bob@10.9.9.9 SIP");
	CHECK(strcmp(pw_header(pw_last(w), "Route"),
		     "<sip:198.51.100.30:5070;lr>, <sip:198.51.100.31;lr>") ==
	      0);
	pw_answer(w, "198.51.100.30:5070", "INVITE", "180 Ringing");
	pw_answer(w, "198.51.100.30:5070", "INVITE", "200 OK");
	CHECK(pw_find(w, STRANGER, "SIP/2.0 180") != NULL);
	CHECK(pw_find(w, STRANGER, "SIP/2.0 200") != NULL);
	pw_close(w);
}

/* 16.6 step 6: the next hop routes strictly. */
/* RFC 3261 16.12. */
TEST(route_to_a_strict_router)
{
	struct pw *w = node();
	char route[512];
	const struct pw_sent *s;

	snprintf(route, sizeof(route),
		 "%.*s, <sip:198.51.100.30:5070>, <sip:198.51.100.31;lr>\r\n",
		 (int)strlen(our_route(w, COOKIE_CALLEE)) - 2,
		 our_route(w, COOKIE_CALLEE));
	for (int ack = 0; ack < 2; ack++) {
		pw_give(
		    w, STRANGER,
		    from_alice(ack ? "ACK" : "BYE", "sip:bob@10.9.9.9", route));
		s = EXPECT(w, "198.51.100.30:5070",
			   ack ? "ACK sip:198.51.100.30:5070 SIP/2.0\r\n"
			       : "BYE sip:198.51.100.30:5070 SIP/2.0\r\n");
		HAS(s, "\r\nRoute: <sip:198.51.100.31;lr>\r\n");
		HAS(s, "\r\nRoute: <sip:bob@10.9.9.9>\r\n");
		CHECK(strstr(s->text, "Route: <sip:198.51.100.31;lr>") <
		      strstr(s->text, "Route: <sip:bob@10.9.9.9>"));
	}
	pw_answer(w, "198.51.100.30:5070", "BYE", "200 OK");
	pw_close(w);
}

/* 16.4: a strict router sent it: our URI is the Request-URI, the real one is
 * the last Route. */
/* RFC 3261 16.12. */
TEST(route_from_a_strict_router)
{
	struct pw *w = node();
	char uri[256], cookie[COOKIE_LEN + 1];

	snprintf(cookie, sizeof(cookie), "%s",
		 strstr(our_route(w, COOKIE_CALLEE), ";t=") + 3);
	snprintf(uri, sizeof(uri), "sip:10.0.0.100:5060;lr;t=%s", cookie);
	pw_give(w, STRANGER,
		from_alice("BYE", uri,
			   "Route: <sip:198.51.100.30;lr>, "
			   "<sip:bob@10.9.9.9;x=1>\r\n"));
	EXPECT(w, "198.51.100.30:5060", "BYE sip:bob@10.9.9.9;x=1 SIP/2.0\r\n");
	CHECK(strcmp(pw_header(pw_last(w), "Route"),
		     "<sip:198.51.100.30;lr>") == 0);
	pw_answer(w, "198.51.100.30:5060", "BYE", "200 OK");
	/* nothing but the last one */
	pw_give(w, STRANGER,
		pw_request((struct pw_req){
		    .method = "BYE",
		    .uri = uri,
		    .to_tag = "u1",
		    .branch = "z9hG4bKin2",
		    .headers = "Route: <sip:bob@10.9.9.9>\r\n"}));
	EXPECT(w, STRANGER, "SIP/2.0 200"); /* of the first */
	EXPECT(w, "10.9.9.9:5060", "BYE sip:bob@10.9.9.9 SIP/2.0\r\n");
	HAS_NOT(pw_last(w), "\r\nRoute");
	pw_answer(w, "10.9.9.9:5060", "BYE", "200 OK");
	pw_close(w);
}

TEST(route_double_record_route_is_removed_as_two)
{
	struct pw *w = node();
	char route[512], cookie[COOKIE_LEN + 1];

	snprintf(cookie, sizeof(cookie), "%s",
		 strstr(our_route(w, COOKIE_CALLEE), ";t=") + 3);
	listener_parse(STR("tcp:" US), &w->node->listeners.l[1],
		       &(const char *){NULL});
	w->node->listeners.n = 2;
	snprintf(route, sizeof(route),
		 "Route: <sip:" US ";transport=tcp;lr;t=%s>\r\n"
		 "Route: <sip:" US ";lr;t=%s>\r\n",
		 cookie, cookie);
	pw_give(w, STRANGER, from_alice("BYE", "sip:bob@10.9.9.9", route));
	EXPECT(w, "10.9.9.9:5060", "BYE");
	HAS_NOT(pw_last(w), "\r\nRoute");
	pw_answer(w, "10.9.9.9:5060", "BYE", "200 OK");
	pw_close(w);
}

/* The second value names the side to go on to, where that listener is ours and
 * can reach the next hop. */
TEST(route_double_record_route_says_the_listener)
{
	static const struct {
		const char *first, *second, *uri;
		unsigned away, listener;
	} cases[] = {
	    {"sip:10.0.0.100:5060", "sip:10.0.0.100:5080", "sip:bob@10.9.9.9",
	     0, 1},
	    {"sip:10.0.0.100:5080", "sip:10.0.0.100:5060", "sip:bob@10.9.9.9",
	     0, 0},
	    {"sip:10.0.0.100:5060", "sip:10.0.0.100:5080", "sip:bob@10.9.9.9",
	     1 << 1, 0},
	    {"sip:10.0.0.100:5060", "sip:10.0.0.100:5080;transport=tcp",
	     "sip:bob@10.9.9.9;transport=tcp", 0, 3},
	    {"sip:10.0.0.100:5060", "sip:10.0.0.100:5080;transport=tcp",
	     "sip:bob@10.9.9.9", 0, 0},
	    {"sip:10.0.0.100:5060", "sips:10.0.0.100:5080", "sip:bob@10.9.9.9",
	     0, 0},
	};
	static const char *const listen[] = {
	    "udp:10.0.0.100:5060", "udp:10.0.0.100:5080", "tcp:10.0.0.100:5060",
	    "tcp:10.0.0.100:5080"};
	const char *why;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pw *w = node();
		char route[512];
		const char *t = strstr(our_route(w, COOKIE_CALLEE), ";t=");

		for (unsigned k = 0; k < ARRAY_LEN(listen); k++)
			listener_parse(str_from(listen[k]),
				       &w->node->listeners.l[k], &why);
		w->node->listeners.n = ARRAY_LEN(listen);
		w->away = cases[i].away;
		snprintf(route, sizeof(route),
			 "Route: <%s;lr%.*s>\r\nRoute: <%s;lr%.*s>\r\n",
			 cases[i].first, COOKIE_LEN + 3, t, cases[i].second,
			 COOKIE_LEN + 3, t);
		pw_give(w, STRANGER, from_alice("BYE", cases[i].uri, route));
		HAS(pw_last(w), "BYE sip:bob@10.9.9.9");
		CHECK_INT(pw_last(w)->to.listener, cases[i].listener);
		pw_run(w, SECONDS(60));
		pw_close(w);
	}
}

TEST(route_in_dialog_with_a_forged_cookie)
{
	struct pw *w = node();
	char route[256];

	snprintf(route, sizeof(route), "%s", our_route(w, COOKIE_CALLEE));
	strstr(route, ";t=")[20] ^= 1;
	/* a stranger to a stranger: no */
	pw_give(w, STRANGER, from_alice("BYE", "sip:b@198.51.100.1", route));
	EXPECT(w, STRANGER, "SIP/2.0 481");
	CHECK_INT(pw_count(w, CNT_BAD_COOKIE), 1);
	/* with a foreign Route behind it: no */
	strcat(route, "Route: <sip:198.51.100.1;lr>\r\n");
	pw_give(w, STRANGER, from_alice("BYE", "sip:b@198.51.100.1", route));
	EXPECT(w, STRANGER, "SIP/2.0 403");
	/* towards a member: routed, and counted */
	*strstr(route, "Route: <sip:198") = '\0';
	pw_give(w, STRANGER, from_alice("BYE", "sip:b@10.0.0.1:5060", route));
	EXPECT(w, SERVER1, "BYE");
	pw_answer(w, SERVER1, "BYE", "200 OK");
	EXPECT(w, STRANGER, "SIP/2.0 200");
	/* from a member: too */
	pw_give(w, SERVER1, from_bob("BYE", "sip:alice@198.51.100.9", route));
	EXPECT(w, "198.51.100.9:5060", "BYE");
	pw_answer(w, "198.51.100.9:5060", "BYE", "200 OK");
	CHECK_INT(pw_count(w, CNT_BAD_COOKIE), 4);
	CHECK_INT(w->asked, 0);
	pw_close(w);
}

TEST(route_a_cookie_of_another_call_is_no_cookie)
{
	struct pw *w = node();

	pw_give(w, STRANGER,
		pw_request(
		    (struct pw_req){.method = "BYE",
				    .uri = "sip:b@198.51.100.1",
				    .to_tag = "u1",
				    .call_id = "other",
				    .headers = our_route(w, COOKIE_CALLEE)}));
	EXPECT(w, STRANGER, "SIP/2.0 481");
	QUIET(w);
	pw_close(w);
}

TEST(route_in_dialog_without_a_route)
{
	struct pw *w = node();
	static struct str domain = {"example.com", 11};

	/* nobody we know: 481, never the script */
	pw_give(w, STRANGER, from_alice("BYE", "sip:b@198.51.100.1", NULL));
	EXPECT(w, STRANGER, "SIP/2.0 481");
	/* a member */
	pw_give(w, STRANGER, from_alice("INFO", "sip:b@10.0.0.2:5060", NULL));
	EXPECT(w, SERVER2, "INFO");
	pw_answer(w, SERVER2, "INFO", "200 OK");
	EXPECT(w, STRANGER, "SIP/2.0 200");
	/* a served domain is no stranger */
	w->node->settings.domains = &domain;
	w->node->settings.n_domains = 1;
	pw_give(w, STRANGER, from_alice("UPDATE", "sip:b@example.com", NULL));
	w->zone = &no_names;
	pw_dns(w);
	EXPECT(w, STRANGER, "SIP/2.0 500");
	/* to us, and nobody wants it */
	pw_give(w, STRANGER, from_alice("NOTIFY", "sip:b@10.0.0.100", NULL));
	EXPECT(w, STRANGER, "SIP/2.0 481");
	QUIET(w);
	CHECK_INT(w->asked, 0);
	w->node->settings.domains = NULL;
	w->node->settings.n_domains = 0;
	pw_close(w);
}

TEST(route_in_dialog_from_a_member_needs_no_cookie)
{
	struct pw *w = node();

	pw_give(w, SERVER1, from_bob("INVITE", "sip:alice@192.0.2.7", NULL));
	EXPECT(w, ALICE, "INVITE sip:alice@192.0.2.7 SIP");
	pw_answer(w, ALICE, "INVITE", "200 OK");
	EXPECT(w, SERVER1, "SIP/2.0 200");
	pw_close(w);
}

TEST(route_in_dialog_failures)
{
	struct pw *w = node();

	/* INVITE: 500 */
	pw_give(w, SERVER1, from_bob("INVITE", "sip:alice@192.0.2.7", NULL));
	pw_run(w, SECONDS(32));
	CHECK(pw_find(w, SERVER1, "SIP/2.0 500") != NULL);
	/* others: silence (rule 7), counted */
	w->seen = w->n;
	pw_give(w, SERVER2,
		pw_request((struct pw_req){.method = "INFO",
					   .uri = "sip:alice@192.0.2.7",
					   .to_tag = "1",
					   .branch = "z9hG4bKinfo",
					   .call_id = "info"}));
	pw_run(w, SECONDS(64));
	CHECK(pw_find(w, SERVER2, "SIP/2.0 100") != NULL);
	CHECK(!pw_find(w, SERVER2, "SIP/2.0 408"));
	CHECK(!pw_find(w, SERVER2, "SIP/2.0 5"));
	CHECK_INT(pw_count(w, CNT_NONINVITE_TIMEOUT), 1);
	/* unless it is known before: 500 */
	pw_give(w, SERVER2,
		pw_request((struct pw_req){.method = "INFO",
					   .uri = "sip:alice@192.0.2.7",
					   .to_tag = "1",
					   .branch = "z9hG4bKinfo2",
					   .call_id = "info2"}));
	pw_icmp(w, ALICE, "INFO", CAUSE_ICMP_PORT);
	CHECK(pw_find(w, SERVER2, "SIP/2.0 500") != NULL);
	pw_close(w);
}

/* A re-INVITE from the far side, its CANCEL and its ACK of a failure. */
TEST(route_re_invite_cancelled)
{
	struct pw *w = node();

	pw_give(w, SERVER1, from_bob("INVITE", "sip:alice@192.0.2.7", NULL));
	pw_answer(w, ALICE, "INVITE", "180 Ringing");
	w->seen = w->n;
	pw_give(w, SERVER1, from_bob("CANCEL", "sip:alice@192.0.2.7", NULL));
	EXPECT(w, SERVER1, "SIP/2.0 200");
	EXPECT(w, ALICE, "CANCEL");
	pw_answer(w, ALICE, "CANCEL", "200 OK");
	pw_answer(w, ALICE, "INVITE", "487 Request Terminated");
	EXPECT(w, ALICE, "ACK");
	EXPECT(w, SERVER1, "SIP/2.0 487");
	pw_give(w, SERVER1, from_bob("ACK", "sip:alice@192.0.2.7", NULL));
	pw_run(w, SECONDS(2));
	QUIET(w);
	pw_close(w);
}

/* 16.4: an maddr that names us is no address of somebody else. */
TEST(route_maddr_of_ours_is_removed)
{
	struct pw *w = node();

	listener_parse(STR("udp:10.0.0.200:5080"), &w->node->listeners.l[1],
		       &(const char *){NULL});
	w->node->listeners.n = 2;
	pw_give(w, STRANGER,
		pw_request((struct pw_req){
		    .uri = "sip:bob@example.com;maddr=10.0.0.100;user=phone"}));
	EXPECT(w, SERVER1, "INVITE sip:bob@example.com;user=phone SIP/2.0\r\n");
	pw_answer(w, SERVER1, "INVITE", "486 Busy");
	pw_give(w, STRANGER,
		pw_request((struct pw_req){
		    .branch = "z9hG4bKma2",
		    .uri = "sip:bob@example.com:5080;transport=udp;"
			   "maddr=10.0.0.200"}));
	CHECK(pw_find(w, SERVER1, "INVITE sip:bob@example.com SIP"));
	pw_answer(w, SERVER1, "INVITE", "486 Busy");
	/* somebody else's stays */
	pw_give(w, STRANGER,
		pw_request((struct pw_req){
		    .branch = "z9hG4bKma3",
		    .uri = "sip:bob@example.com;maddr=10.0.0.101"}));
	CHECK(pw_find(w, SERVER1,
		      "INVITE sip:bob@example.com;maddr=10.0.0.101 SIP"));
	pw_answer(w, SERVER1, "INVITE", "486 Busy");
	pw_close(w);
}

/* A dialog that ends here: a script that answers calls itself has them. */
TEST(route_in_dialog_to_ourselves_is_the_scripts_if_it_wants_it)
{
	struct pw *w = node();

	w->plan.follow = w->plan.silent = true;
	pw_give(w, STRANGER, from_alice("BYE", "sip:10.0.0.100", NULL));
	CHECK_INT(w->asked, 1);
	CHECK_INT(request_kind(w->req), REQUEST_IN_DIALOG);
	request_reply(w->req, &(struct reply){.code = 200}, w->now);
	EXPECT(w, STRANGER, "SIP/2.0 200");
	request_done(w->req, w->now);
	pw_settle(w);
	/* to follow it would be to send it to ourselves */
	w->plan.silent = false;
	pw_give(w, STRANGER, from_alice("INFO", "sip:10.0.0.100", NULL));
	EXPECT(w, STRANGER, "SIP/2.0 404");
	pw_close(w);
}

/* Semantics 17: URIs a caller may have the script send to. */
/* RFC 3261 16.5. */
TEST(route_who_may_reach_what)
{
	struct pw *w = node();
	static struct str domain = {"example.com", 11};
	static struct addr_net net;
	struct request *r;

	w->plan.silent = true;
	w->node->settings.domains = &domain;
	w->node->settings.n_domains = 1;
	pw_give(w, STRANGER, pw_invite());
	r = w->req;
	CHECK(request_may_reach(r, STR("sip:x@EXAMPLE.com:5099")));
	CHECK(request_may_reach(r, STR("sip:x@10.0.0.2")));
	CHECK(!request_may_reach(r, STR("sip:x@10.0.0.3")));
	CHECK(!request_may_reach(r, STR("sip:example.com@198.51.100.1")));
	CHECK(!request_may_reach(r, STR("sip:x@example.com.evil.org")));
	CHECK(!request_may_reach(r, STR("tel:+491")));
	CHECK(!request_may_reach(r, STR("nonsense")));
	CHECK_INT(request_received(r).us, w->now.mono.us);
	CHECK(request_from(r)->addr.port == 5060);
	addr_net_parse(STR("203.0.113.0/24"), &net);
	w->node->settings.trust = &net;
	w->node->settings.n_trust = 1;
	CHECK(request_may_reach(r, STR("sip:x@198.51.100.1")));
	request_reply(r, &(struct reply){.code = 480}, w->now);
	request_done(r, w->now);
	w->node->settings.domains = NULL;
	w->node->settings.n_domains = 0;
	w->node->settings.trust = NULL;
	w->node->settings.n_trust = 0;
	pw_close(w);
}

/* ---- loops and spirals (RFC 5393) ---- */

/* What was sent to `at` comes back with another Request-URI, or the same. */
static void come_back(struct pw *w, const char *at, const char *uri,
		      const char *from)
{
	const struct pw_sent *s = pw_find(w, at, "INVITE");
	char text[4096];
	const char *rest = strstr(s->text, " SIP/2.0");

	if (uri)
		snprintf(text, sizeof(text), "INVITE %s%s", uri, rest);
	else
		snprintf(text, sizeof(text), "%s", s->text);
	pw_give(w, from, text);
}

/* RFC 3261 21.4.20, RFC 5393 4.1, 4.2.1, 4.2.2. */
TEST(route_loop_is_482)
{
	struct pw *w = pw_open(1);

	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	come_back(w, SERVER1, NULL, SERVER1);
	EXPECT(w, SERVER1, "SIP/2.0 482 Loop Detected\r\n");
	CHECK_INT(w->asked, 1);
	CHECK_INT(pw_count(w, CNT_LOOP), 1);
	pw_answer(w, SERVER1, "INVITE", "482 Loop Detected");
	pw_close(w);
}

TEST(route_spiral_is_no_loop_and_can_be_cancelled)
{
	struct pw *w = pw_open(1);

	w->plan.linger = true;
	pw_give(w, ALICE, pw_invite());
	w->plan.linger = false;
	EXPECT(w, SERVER1, "INVITE");
	w->plan.server[0] = SERVER2;
	come_back(w, SERVER1, "sip:carol@example.com", SERVER1);
	EXPECT(w, SERVER2, "INVITE sip:carol@example.com SIP");
	CHECK_INT(w->asked, 2);
	/* the second leg's answers pass twice through here */
	pw_answer(w, SERVER2, "INVITE", "180 Ringing");
	EXPECT(w, SERVER1, "SIP/2.0 100");
	EXPECT(w, SERVER1, "SIP/2.0 180");
	HAS(pw_last(w), "Via: SIP/2.0/UDP 10.0.0.100:5060;branch=z9hG4bK1");
	pw_give(w, SERVER1, pw_last(w)->text);
	EXPECT(w, ALICE, "SIP/2.0 100");
	EXPECT(w, ALICE, "SIP/2.0 180");
	CHECK_INT(pw_count_of(pw_last(w)->text, "Via: "), 1);
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, SERVER1, "CANCEL");
	pw_give(w, SERVER1, pw_last(w)->text);
	EXPECT(w, SERVER1, "SIP/2.0 200");
	EXPECT(w, SERVER2, "CANCEL sip:carol@example.com");
	pw_answer(w, SERVER2, "CANCEL", "200 OK");
	pw_answer(w, SERVER2, "INVITE", "487 Request Terminated");
	EXPECT(w, SERVER2, "ACK");
	EXPECT(w, SERVER1, "SIP/2.0 487");
	pw_give(w, SERVER1, pw_last(w)->text);
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 487");
	pw_run(w, SECONDS(60));
	pw_close(w);
}

/* A server that sends a call back unchanged as its own is routed otherwise
 * than the caller was: once. */
TEST(route_back_from_a_member_unchanged_is_a_spiral_once)
{
	struct pw *w = node();

	pw_give(w, STRANGER,
		pw_request((struct pw_req){.uri = "sip:p@198.51.100.7"}));
	EXPECT(w, SERVER1, "INVITE");
	come_back(w, SERVER1, NULL, SERVER1);
	EXPECT(w, "198.51.100.7:5060", "INVITE");
	come_back(w, "198.51.100.7:5060", NULL, SERVER1);
	EXPECT(w, SERVER1, "SIP/2.0 482");
	pw_answer(w, "198.51.100.7:5060", "INVITE", "200 OK");
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	pw_close(w);
}
