/*
 * Path, flow tokens and shared dialogs where a simulated network does not get:
 * connections, several transports, names, strict routers, the verbs themselves.
 */
#include <stdio.h>
#include <string.h>
#include "proxy/cookie.h"
#include "proxy/token.h"
#include "proxy_world.h"

/* Listeners for UDP and TCP, a pool with Path at 10.0.0.1, which is called. */
static struct pw *node(void)
{
	struct pw *w = pw_open(1);
	const char *why;

	listener_parse(STR("tcp:10.0.0.100:5060"), &w->node->listeners.l[1],
		       &why);
	w->node->listeners.n = 2;
	pw_member(w, "a/1", SERVER1)->path = MEMBER_PATH_ALWAYS;
	w->plan.server[0] = SERVER1;
	return w;
}

/* From ALICE over her TCP connection. */
static void give_tcp(struct pw *w, const char *text)
{
	pw_give_via(w, 1, TRANSPORT_TCP, ALICE, text);
}

static const char *tcp_request(const char *method)
{
	return pw_request(
	    (struct pw_req){.method = method,
			    .via = "SIP/2.0/TCP 192.168.1.2;branch=z9hG4bKt"});
}

/* The Path of a phone that has registered over TCP, as a Route line. */
static const char *registered(struct pw *w)
{
	static char route[512];
	const struct pw_sent *s;
	const char *below;

	give_tcp(w, tcp_request("REGISTER"));
	s = EXPECT(w, SERVER1, "REGISTER");
	below = strstr(strstr(s->text, "Path: ") + 1, "Path: ");
	CHECK(below != NULL);
	CHECK(strcmp(pw_header(s, "Path"), "<sip:10.0.0.100:5060;lr>") == 0);
	snprintf(route, sizeof(route), "Route: %s, %.*s\r\n",
		 pw_header(s, "Path"), (int)strcspn(below + 6, "\r"),
		 below + 6);
	CHECK(strstr(route, ", <sip:flow1-p01") != NULL);
	CHECK(strstr(route, "@10.0.0.100:5060;transport=tcp;lr>") != NULL);
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	return route;
}

static const char *invite_by(const char *route)
{
	return pw_request(
	    (struct pw_req){.uri = "sip:phone@192.168.1.2",
			    .via = "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKs",
			    .from_tag = "s",
			    .headers = route});
}

/* RFC 3327 5.3. */
TEST(path_leads_back_over_the_connection)
{
	struct pw *w = node();
	const struct pw_sent *s;

	pw_give(w, SERVER1, invite_by(registered(w)));
	s = EXPECT(w, ALICE, "INVITE sip:phone@192.168.1.2 SIP");
	CHECK(s->to.conn == pw_conn(1, ALICE));
	CHECK_INT(s->to.transport, TRANSPORT_TCP);
	CHECK_INT(s->to.listener, 1);
	HAS(s, "Via: SIP/2.0/TCP 10.0.0.100:5060;");
	HAS_NOT(s, "\r\nRoute:");
	/* both doors, and the token at the phone's */
	HAS(s, "Record-Route: <sip:flow1-d01");
	HAS(s, "Record-Route: <sip:10.0.0.100:5060;lr;t=1u");
	CHECK_INT(w->asked, 1); /* the REGISTER */
	give_tcp(w, pw_answer_text(w, ALICE, "INVITE", "486 x", NULL, NULL));
	EXPECT(w, ALICE, "ACK");
	EXPECT(w, SERVER1, "SIP/2.0 486");
	pw_close(w);
}

/* RFC 5626 5.3.1. */
TEST(path_over_a_connection_that_has_ended_is_430)
{
	struct pw *w = node();

	pw_give(w, SERVER1, invite_by(registered(w)));
	EXPECT(w, ALICE, "INVITE");
	pw_icmp(w, ALICE, "INVITE", CAUSE_CLOSED);
	EXPECT(w, SERVER1, "SIP/2.0 430 Flow Failed");
	CHECK_INT(pw_count(w, CNT_FLOW_GONE), 1);
	pw_close(w);
}

TEST(path_over_a_connection_known_to_be_gone_is_430_at_once)
{
	struct pw *w = node();
	const char *route = registered(w);

	pw_down(w, pw_conn(1, ALICE), CAUSE_RESET);
	pw_give(w, SERVER1, invite_by(route));
	EXPECT(w, SERVER1, "SIP/2.0 430 Flow Failed");
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_FLOW_GONE), 1);
	pw_close(w);
}

/* The INVITE was on its way when the connection broke. */
TEST(path_over_a_connection_that_breaks_is_430)
{
	struct pw *w = node();

	pw_give(w, SERVER1, invite_by(registered(w)));
	EXPECT(w, ALICE, "INVITE");
	pw_down(w, pw_conn(1, ALICE), CAUSE_RESET);
	EXPECT(w, SERVER1, "SIP/2.0 430 Flow Failed");
	CHECK_INT(pw_count(w, CNT_FLOW_GONE), 1);
	pw_close(w);
}

TEST(path_without_the_listener_is_430)
{
	struct pw *w = node();
	const char *route = registered(w);

	w->node->listeners.n = 1;
	pw_give(w, SERVER1, invite_by(route));
	EXPECT(w, SERVER1, "SIP/2.0 430 Flow Failed");
	QUIET(w);
	pw_close(w);
}

/* Behind a public name stands another machine now, with the same key. */
TEST(path_by_an_advertised_name_goes_with_the_name)
{
	struct pw *w = node();
	struct listener *l = &w->node->listeners.l[0];
	const struct pw_sent *s;
	char route[256];

	strcpy(l->advertise, "sip.example.net");
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	s = EXPECT(w, SERVER1, "REGISTER");
	HAS(s, "@sip.example.net;lr>");
	snprintf(route, sizeof(route), "Route: %s\r\n", pw_header(s, "Path"));
	pw_answer(w, SERVER1, "REGISTER", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	addr_parse(STR("10.9.0.100:5060"), &l->addr);
	pw_give(w, SERVER1, invite_by(route));
	s = EXPECT(w, ALICE, "INVITE");
	CHECK_INT(s->to.listener, 0);
	pw_answer(w, ALICE, "INVITE", "486 x");
	EXPECT(w, ALICE, "ACK");
	EXPECT(w, SERVER1, "SIP/2.0 486");
	/* with the name gone, too, the flow is */
	strcpy(l->advertise, "other.example.net");
	snprintf(route + strlen(route) - 2, 40, ", <sip:10.9.0.100;lr>\r\n");
	pw_give(w, SERVER1, invite_by(route));
	EXPECT(w, SERVER1, "SIP/2.0");
	CHECK(pw_find(w, ALICE, "INVITE") == s);
	pw_close(w);
}

TEST(path_of_a_phone_over_tcp_is_in_its_calls)
{
	struct pw *w = node();
	const struct pw_sent *s;

	give_tcp(w, tcp_request("INVITE"));
	s = EXPECT(w, SERVER1, "INVITE");
	/* the port it dialled from is no place to connect to */
	HAS(s, "Record-Route: <sip:flow1-u01");
	pw_answer(w, SERVER1, "INVITE", "486 x");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 486");
	pw_run(w, SECONDS(60));
	pw_close(w);
}

/* ---- shared dialogs ---- */

static struct member *second;

/* The pool shares dialogs; the policy takes what is in them, and does nothing.
 */
static struct pw *sharing(const char *address)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/1", SERVER1)->shared_dialogs = true;
	second = pw_member(w, "a/2", address);
	second->shared_dialogs = true;
	w->plan.follow = w->plan.silent = true;
	return w;
}

/* ALICE's BYE to that URI in her call with a/1, with more Routes. */
static void give_bye(struct pw *w, const char *uri, const char *routes)
{
	char cookie[COOKIE_LEN], headers[512];

	cookie_write(cookie, w->node->keys.now, STR("c1@192.0.2.7"), STR("1"),
		     COOKIE_CALLEE, member_id(STR("a/1")));
	snprintf(headers, sizeof(headers),
		 "Route: <sip:" US ";lr;t=%.*s>%s\r\n", COOKIE_LEN, cookie,
		 routes);
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "BYE",
					   .uri = uri,
					   .to_tag = "u1",
					   .cseq = 2,
					   .headers = headers}));
}

static void end(struct pw *w)
{
	struct reply reply = {.code = 481};

	request_reply(w->req, &reply, w->now);
	request_done(w->req, w->now);
	pw_close(w);
}

static void check_text(struct str got, const char *want)
{
	CHECK(str_eq(got, str_from(want)));
}

TEST(sibling_takes_the_place_of_its_server)
{
	static const struct {
		const char *address, *uri, *routes, *host, *top;
	} c[] = {
	    {SERVER2, "sip:bob@10.0.0.1", "", "10.0.0.2", NULL},
	    {"10.0.0.2:5070", "sip:bob@10.0.0.1:5060;x=y", "", "10.0.0.2:5070",
	     NULL},
	    {"[2001:db8::2]:5060", "sip:bob@10.0.0.1", "", "[2001:db8::2]",
	     NULL},
	    /* its Contact has a port of its own */
	    {SERVER2, "sip:bob@10.0.0.1:6060", "", "10.0.0.2", NULL},
	    {SERVER2, "sip:bob@172.16.0.9", ", \"x\" <sip:10.0.0.1;lr;a>;b=c",
	     NULL, "\"x\" <sip:10.0.0.2;lr;a>;b=c"},
	    {SERVER2, "sip:10.0.0.1",
	     ", <sip:10.0.0.1;lr>, <sip:172.16.0.1;lr>", "10.0.0.2",
	     "<sip:10.0.0.2;lr>"},
	};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct pw *w = sharing(c[i].address);
		struct target t;

		give_bye(w, c[i].uri, c[i].routes);
		CHECK_INT(request_sibling(w->req, second, &t), 0);
		check_text(t.host, c[i].host);
		check_text(t.top_route, c[i].top);
		CHECK(t.member == second);
		CHECK(addr_eq(&t.hop.addr, &second->places.at[0].addr));
		end(w);
	}
}

TEST(sibling_is_nobody_when_the_request_goes_elsewhere)
{
	static const char *const c[][2] = {
	    {"sip:bob@172.16.0.9", ""}, /* past the server */
	    {"sip:bob@10.0.0.1", ", <sip:172.16.0.1;lr>"},
	    {"sip:bob@10.0.0.2", ""},                   /* at the sibling */
	    {"sip:bob@172.16.0.9", ", <sip:10.0.0.1>"}, /* a strict router */
	    {"sip:bob@pbx.example.com", ""},
	    {"tel:+123", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct pw *w = sharing(SERVER2);
		struct target t;

		give_bye(w, c[i][0], c[i][1]);
		CHECK_INT(request_sibling(w->req, second, &t), ERR_STATE);
		CHECK(request_dialog_server(w->req) == NULL);
		end(w);
	}
}

TEST(sibling_needs_an_address_and_a_pool_that_shares)
{
	struct pw *w = sharing(SERVER2);
	struct target t;

	give_bye(w, "sip:bob@10.0.0.1", "");
	second->places.n = 0;
	CHECK_INT(request_sibling(w->req, second, &t), ERR_STATE);
	second->places.n = 1;
	members_by_name(&w->node->members, STR("a/1"))->shared_dialogs = false;
	CHECK_INT(request_sibling(w->req, second, &t), ERR_STATE);
	end(w);
}

/* Two servers on one machine: the port tells them apart. */
TEST(sibling_on_the_same_machine_is_another_server)
{
	struct pw *w = sharing("10.0.0.1:5070");
	struct target t;

	give_bye(w, "sip:bob@10.0.0.1:5070", "");
	CHECK(request_dialog_server(w->req) == NULL);
	end(w);
	w = sharing("10.0.0.1:5070");
	give_bye(w, "sip:bob@10.0.0.1", "");
	CHECK_INT(request_sibling(w->req, second, &t), 0);
	check_text(t.host, "10.0.0.1:5070");
	end(w);
}
