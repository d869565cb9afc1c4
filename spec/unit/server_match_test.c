#include "unit/txn_world.h"

#include <string.h>

#define UP_VIA "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKup"

static struct server *receive(struct world *w, const char *method,
			      enum transport t)
{
	return world_receive(w, request_text(w, method, UP_VIA, NULL), t);
}

static bool same(struct world *w, struct server *s, const char *method,
		 const char *via)
{
	return world_match(w, request_text(w, method, via, NULL)) == s;
}

/* RFC 3261 17.2.3, 8.1.1.7. */
TEST(matched_by_branch_sent_by_and_method)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK(same(&w, s, "INVITE", UP_VIA));
	CHECK(same(&w, s, "ACK", UP_VIA));
	CHECK(!same(&w, s, "CANCEL", UP_VIA));
	CHECK(!same(&w, s, "OPTIONS", UP_VIA));
	/* The port has a default. */
	CHECK(same(&w, s, "INVITE",
		   "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKup;received=1.2.3.4"));
	CHECK(!same(&w, s, "INVITE",
		    "SIP/2.0/UDP 10.0.0.9:5061;branch=z9hG4bKup"));
	CHECK(!same(&w, s, "INVITE", "SIP/2.0/UDP 10.0.0.8;branch=z9hG4bKup"));
	CHECK(!same(&w, s, "INVITE", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKUp"));
	CHECK(!same(&w, s, "INVITE", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKu"));
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(sent_by_is_compared_in_any_case)
{
	const char *via = "SIP/2.0/UDP Phone.Example.org;branch=z9hG4bKa";
	struct world w;
	struct server *s;

	world_init(&w);
	s = world_receive(&w, request_text(&w, "INVITE", via, NULL),
			  TRANSPORT_UDP);
	CHECK(same(&w, s, "INVITE",
		   "SIP/2.0/UDP phone.example.ORG:5060;branch=z9hG4bKa"));
	/* TLS has another default port. */
	CHECK(!same(&w, s, "INVITE",
		    "SIP/2.0/TLS phone.example.org;branch=z9hG4bKa"));
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(a_nat_may_move_a_retransmission)
{
	struct hop moved = hop_to(TRANSPORT_UDP, "203.0.113.1:40001");
	struct msg_key key;
	struct world w;
	struct server *s;
	struct msg m;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK_INT(
	    msg_index(&m, w.scratch, request_text(&w, "INVITE", UP_VIA, NULL)),
	    MSG_OK);
	CHECK_INT(msg_key(&m, &key), MSG_OK);
	CHECK(server_find(&w.t, &m, &key, &moved) == s);
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(a_cancel_finds_what_it_cancels)
{
	struct world w;
	struct server *s, *x;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	x = receive(&w, "CANCEL", TRANSPORT_UDP);
	CHECK(x != s);
	CHECK(!x->invite);
	CHECK(world_match_cancel(
		  &w, request_text(&w, "CANCEL", UP_VIA, NULL)) == s);
	CHECK(same(&w, x, "CANCEL", UP_VIA));
	CHECK(same(&w, s, "INVITE", UP_VIA));
	server_disown(s, w.now);
	CHECK(
	    !world_match_cancel(&w, request_text(&w, "CANCEL", UP_VIA, NULL)));
	server_disown(x, w.now);
	/* Not only INVITE. */
	s = receive(&w, "OPTIONS", TRANSPORT_UDP);
	CHECK(world_match_cancel(
		  &w, request_text(&w, "CANCEL", UP_VIA, NULL)) == s);
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(unknown_methods_are_told_apart)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "FOO", TRANSPORT_UDP);
	CHECK_INT(s->method, METHOD_OTHER);
	CHECK(same(&w, s, "FOO", UP_VIA));
	CHECK(!same(&w, s, "BAR", UP_VIA));
	server_disown(s, w.now);
	world_fini(&w);
}

#define OLD(method, uri, via, tag, to, call, num)                              \
	STR(method " " uri " SIP/2.0\r\nVia: " via "\r\nFrom: <sip:a@b>" tag   \
		   "\r\nTo: <sip:c@d>" to "\r\nCall-ID: " call                 \
		   "\r\nCSeq: " num " " method "\r\n\r\n")
#define OLD_VIA "SIP/2.0/UDP 10.0.0.9:5060"

TEST(rfc_2543_requests_are_matched_by_their_fields)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = world_receive(
	    &w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "7"),
	    TRANSPORT_UDP);
	CHECK(world_match(&w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1", "",
				  "x", "7")) == s);
	CHECK(!world_match(
	    &w, OLD("INVITE", "sip:c@e", OLD_VIA, ";tag=1", "", "x", "7")));
	CHECK(!world_match(&w, OLD("INVITE", "sip:c@d", OLD_VIA ";branch=1",
				   ";tag=1", "", "x", "7")));
	CHECK(!world_match(
	    &w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=2", "", "x", "7")));
	CHECK(!world_match(&w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1",
				   ";tag=9", "x", "7")));
	CHECK(!world_match(
	    &w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1", "", "y", "7")));
	CHECK(!world_match(
	    &w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "8")));
	CHECK(!world_match(
	    &w, OLD("OPTIONS", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "7")));
	CHECK(world_match_cancel(&w, OLD("CANCEL", "sip:c@d", OLD_VIA, ";tag=1",
					 "", "x", "7")) == s);
	CHECK(!world_match_cancel(
	    &w, OLD("CANCEL", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "8")));
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(rfc_2543_ack_has_the_to_tag_of_the_response)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = world_receive(
	    &w, OLD("INVITE", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "7"),
	    TRANSPORT_UDP);
	CHECK_INT(world_respond(&w, s, 486), 0);
	CHECK(!world_match(
	    &w, OLD("ACK", "sip:c@d", OLD_VIA, ";tag=1", "", "x", "7")));
	CHECK(!world_match(&w, OLD("ACK", "sip:c@d", OLD_VIA, ";tag=1",
				   ";tag=other", "x", "7")));
	CHECK(world_match(&w, OLD("ACK", "sip:c@d", OLD_VIA, ";tag=1",
				  ";tag=callee", "x", "7")) == s);
	CHECK(!world_match(&w, OLD("ACK", "sip:c@d", OLD_VIA, ";tag=1",
				   ";tag=callee", "x", "8")));
	world_receive(
	    &w,
	    OLD("ACK", "sip:c@d", OLD_VIA, ";tag=1", ";tag=callee", "x", "7"),
	    TRANSPORT_UDP);
	CHECK_INT(s->state, SERVER_CONFIRMED);
	world_run(&w, T4);
	world_fini(&w);
}

TEST(the_cookie_alone_is_no_branch)
{
	const char *via = "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK";
	struct world w;
	struct server *s;

	world_init(&w);
	s = world_receive(&w, request_text(&w, "INVITE", via, NULL),
			  TRANSPORT_UDP);
	CHECK(same(&w, s, "INVITE", via));
	/* As a branch alone it would have matched this too. */
	CHECK(
	    !same(&w, s, "INVITE", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK;x=1"));
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(the_id_is_the_same_on_every_node)
{
	const struct sipkeys other = {.now = {79, 80}};
	struct world w, x;
	struct server *s;
	uint64_t id;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	id = s->id;
	server_disown(s, w.now);
	s = receive(&w, "OPTIONS", TRANSPORT_UDP);
	CHECK(s->id != id);
	server_disown(s, w.now);
	world_fini(&w);

	world_init(&x);
	x.t.map_key = (struct sipkey){77, 78};
	s = receive(&x, "INVITE", TRANSPORT_UDP);
	CHECK(s->id == id);
	server_disown(s, x.now);
	x.t.keys = &other;
	s = receive(&x, "INVITE", TRANSPORT_UDP);
	CHECK(s->id != id);
	server_disown(s, x.now);
	world_fini(&x);
}

TEST(the_hop_is_copied)
{
	char name[] = "phone.example.org";
	struct hop hop = hop_to(TRANSPORT_TLS, "10.0.0.9:5061");
	struct flow_event up = {.kind = FLOW_UP, .accepted = true};
	struct msg_key key;
	struct world w;
	struct server *s;
	struct msg m;

	world_init(&w);
	hop.tls_name = name;
	hop.conn = 5;
	up.peer = hop;
	flows_on_event(w.flows, &up, w.now);
	CHECK_INT(
	    msg_index(&m, w.scratch, request_text(&w, "INVITE", UP_VIA, NULL)),
	    MSG_OK);
	CHECK_INT(msg_key(&m, &key), MSG_OK);
	s = server_new(&w.t, &m, &key, &hop);
	memset(name, 'x', sizeof(name) - 1);
	CHECK_INT(world_respond(&w, s, 180), 0);
	CHECK_INT(w.sent[0].to.conn, 5);
	CHECK_STR(str_from(w.sent[0].to.tls_name), "phone.example.org");
	server_disown(s, w.now);
	world_fini(&w);
}
