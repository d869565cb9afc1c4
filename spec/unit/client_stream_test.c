/*
 * Client transactions on connections: what the end of one means in every state,
 * and which one CANCEL and ACK take.
 */
#include "unit/txn_world.h"

#include <string.h>

static struct client *start(struct world *w, const char *method)
{
	struct client *c = world_client(w, NULL, '1', method, TRANSPORT_TCP);

	world_run(w, MILLIS(100));
	return c;
}

/* ---- the end of the connection ---- */

TEST(without_a_response_it_fails_and_leaves_a_stub)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	CHECK(c->hop.conn == w.opened[0].conn);
	world_down(&w, c->hop.conn, CAUSE_RESET);
	CHECK_TOLD(&w, "freset");
	CHECK(!c->owner && c->abandoned);
	/* it rings after all: cancelled, over another connection */
	world_clear(&w);
	world_answer(&w, '1', "INVITE", 180);
	CHECK(sent_starts(&w, 0, "CANCEL "));
	CHECK_INT(w.opens, 2);
	CHECK(w.sent[0].to.conn == w.opened[1].conn);
	world_answer(&w, '1', "CANCEL", 200);
	world_answer(&w, '1', "INVITE", 487);
	CHECK(sent_starts(&w, 1, "ACK "));
	CHECK(w.sent[1].to.conn == w.opened[1].conn);
	CHECK_TOLD(&w, "");
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(a_late_2xx_to_it_is_the_users)
{
	struct world w;

	world_init(&w);
	world_down(&w, start(&w, "INVITE")->hop.conn, CAUSE_CLOSED);
	world_answer(&w, '1', "INVITE", 200);
	CHECK_TOLD(&w, "fclosed R200");
	world_run(&w, SECONDS(40));
	world_fini(&w);
}

TEST(a_request_that_is_no_invite_fails_and_absorbs)
{
	struct world w;

	world_init(&w);
	world_down(&w, start(&w, "OPTIONS")->hop.conn, CAUSE_RESET);
	CHECK_TOLD(&w, "freset");
	CHECK(world_answer(&w, '1', "OPTIONS", 200));
	CHECK_TOLD(&w, "freset");
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 1);
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(after_a_1xx_it_waits)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	world_answer(&w, '1', "INVITE", 180);
	world_down(&w, c->hop.conn, CAUSE_RESET);
	CHECK_TOLD(&w, "r180");
	CHECK_INT(c->hop.conn, 0);
	world_answer(&w, '1', "INVITE", 486);
	CHECK_TOLD(&w, "r180 r486");
	/* the ACK opens another one to the same hop */
	CHECK_INT(w.opens, 2);
	CHECK(sent_starts(&w, 1, "ACK "));
	CHECK(w.sent[1].to.conn == w.opened[1].conn);
	world_run(&w, SECONDS(1));
	world_fini(&w);
}

TEST(after_the_final_it_means_nothing)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	world_answer(&w, '1', "INVITE", 200);
	world_down(&w, w.opened[0].conn, CAUSE_RESET);
	CHECK_TOLD(&w, "r200");
	CHECK_INT(c->state, CLIENT_ACCEPTED);
	world_run(&w, SECONDS(40));
	world_fini(&w);
}

TEST(before_it_was_up_the_request_was_not_sent)
{
	struct world w;

	world_init(&w);
	w.stalled = true;
	world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	world_run(&w, SECONDS(2));
	CHECK_TOLD(&w, "fconnect_timeout c");
	CHECK_INT(w.t.n_clients, 0);
	world_fini(&w);
}

TEST(what_came_back_unsent_leaves_nothing)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	client_on_error(c, CAUSE_RESET, w.now);
	CHECK_TOLD(&w, "freset c");
	CHECK_INT(w.t.n_clients, 0);
	/* and the end of the connection finds nobody */
	world_down(&w, w.opened[0].conn, CAUSE_RESET);
	CHECK_TOLD(&w, "freset c");
	world_fini(&w);
}

TEST(what_is_given_up_before_it_is_up_ends)
{
	struct world w;
	struct client *c;

	world_init(&w);
	w.stalled = true;
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	client_abandon(c, STR_NONE, w.now);
	CHECK_INT(c->sends, 0);
	world_run(&w, MILLIS(1));
	CHECK_INT(w.t.n_clients, 0);
	CHECK_TOLD(&w, "");
	world_run(&w, SECONDS(40));
	world_fini(&w);
}

/* The server has it from an earlier process, and answers over a connection of
 * its own. */
TEST(what_rings_is_cancelled_although_it_never_left)
{
	struct world w;
	struct client *c;

	world_init(&w);
	w.stalled = true;
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	world_answer(&w, '1', "INVITE", 180);
	client_abandon(c, STR_NONE, w.now);
	CHECK(sent_starts(&w, 1, "CANCEL "));
	CHECK(c->sends > 0); /* its branch is known */
	world_run(&w, SECONDS(2));
	CHECK(world_answer(&w, '1', "INVITE", 487));
	CHECK(sent_starts(&w, w.n - 1, "ACK "));
	CHECK_TOLD(&w, "r180");
	world_run(&w, SECONDS(40));
	world_fini(&w);
}

TEST(what_rings_is_waited_for_although_it_could_not_leave)
{
	struct world w;
	struct client *c;

	world_init(&w);
	w.stalled = true;
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	world_answer(&w, '1', "INVITE", 180);
	client_on_error(c, CAUSE_REFUSED, w.now);
	world_run(&w, SECONDS(3)); /* its connection has failed */
	CHECK_TOLD(&w, "r180");
	w.stalled = false;
	CHECK(world_answer(&w, '1', "INVITE", 486));
	CHECK_TOLD(&w, "r180 r486");
	CHECK(sent_starts(&w, w.n - 1, "ACK "));
	world_run(&w, SECONDS(40));
	world_fini(&w);
}

/* ---- a connection from before ---- */

/* The second request on one that is up. */
static struct client *start_second(struct world *w)
{
	struct client *c;

	world_init(w);
	start(w, "OPTIONS");
	world_answer(w, '1', "OPTIONS", 200);
	world_run(w, MILLIS(100));
	c = world_client(w, NULL, '2', "INVITE", TRANSPORT_TCP);
	CHECK_INT(w->opens, 1);
	world_clear(w);
	return c;
}

TEST(one_that_was_dead_is_replaced_once)
{
	struct world w;
	struct client *c = start_second(&w);

	world_down(&w, w.opened[0].conn, CAUSE_RESET);
	CHECK_TOLD(&w, "");
	CHECK_INT(w.opens, 2);
	CHECK(c->hop.conn == w.opened[1].conn);
	/* the same request: whoever has it sees a retransmission */
	CHECK_INT(w.n, 1);
	CHECK(sent_starts(&w, 0, "INVITE "));
	CHECK(memmem(w.sent[0].text, w.sent[0].n, c->branch, BRANCH_LEN));
	world_run(&w, MILLIS(100));
	world_down(&w, w.opened[1].conn, CAUSE_RESET);
	CHECK_TOLD(&w, "freset");
	CHECK_INT(w.opens, 2);
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(what_came_back_unsent_from_it_waits_for_its_end)
{
	struct world w;
	struct client *c = start_second(&w);

	client_on_error(c, CAUSE_RESET, w.now);
	CHECK_TOLD(&w, "");
	CHECK_INT(w.n, 0);
	world_down(&w, w.opened[0].conn, CAUSE_RESET);
	CHECK_INT(w.opens, 2);
	world_answer(&w, '2', "INVITE", 200);
	CHECK_TOLD(&w, "r200");
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(what_was_cancelled_is_not_sent_again)
{
	struct world w;
	struct client *c = start_second(&w);

	client_cancel(c, STR_NONE, w.now);
	world_down(&w, w.opened[0].conn, CAUSE_RESET);
	CHECK_TOLD(&w, "freset");
	CHECK_INT(w.opens, 1);
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

/* ---- CANCEL and ACK ---- */

TEST(cancel_and_ack_take_the_connection_of_the_invite)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	world_answer(&w, '1', "INVITE", 180);
	client_cancel(c, STR_NONE, w.now);
	world_answer(&w, '1', "CANCEL", 200);
	world_answer(&w, '1', "INVITE", 487);
	CHECK_INT(w.n, 3);
	CHECK_INT(w.opens, 1);
	CHECK(sent_starts(&w, 1, "CANCEL ") && sent_starts(&w, 2, "ACK "));
	for (size_t i = 0; i < 3; i++)
		CHECK(w.sent[i].to.conn == w.opened[0].conn);
	world_run(&w, SECONDS(1));
	world_fini(&w);
}

TEST(a_cancel_that_is_lost_goes_once_more)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start(&w, "INVITE");
	world_answer(&w, '1', "INVITE", 180);
	client_cancel(c, STR_NONE, w.now);
	world_down(&w, c->hop.conn, CAUSE_RESET);
	CHECK_INT(w.n, 3);
	CHECK(sent_starts(&w, 2, "CANCEL "));
	CHECK(w.sent[2].to.conn == w.opened[1].conn);
	world_down(&w, w.opened[1].conn, CAUSE_RESET);
	CHECK_INT(w.n, 3);
	CHECK_TOLD(&w, "r180");
	world_run(&w, SECONDS(70));
	world_fini(&w);
}

/* ---- a connection that was named ---- */

static struct client *start_named(struct world *w)
{
	struct hop hop = hop_to(TRANSPORT_TCP, "10.0.0.9:40000");
	struct flow_event up = {.kind = FLOW_UP, .accepted = true};
	char branch[BRANCH_LEN];
	struct client *c;

	hop.conn = CONN;
	w->limits.header = SECONDS(1000);
	up.peer = hop;
	flows_on_event(w->flows, &up, w->now);
	/* with the branch that world_answer knows */
	c = world_client(w, NULL, '1', "OPTIONS", TRANSPORT_UDP);
	memcpy(branch, c->branch, BRANCH_LEN);
	world_run(w, SECONDS(40));
	world_clear(w);
	return client_new(&w->t, NULL, &w->owner, METHOD_INVITE, &hop, branch,
			  request_text(w, "INVITE", "SIP/2.0/TCP x", NULL),
			  w->now);
}

TEST(a_named_connection_is_not_replaced)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = start_named(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_down(&w, CONN, CAUSE_CLOSED);
	client_cancel(c, STR_NONE, w.now);
	world_run(&w, SECONDS(41));
	CHECK_INT(w.n, 1); /* the INVITE */
	CHECK_INT(w.opens, 0);
	CHECK_INT(w.unsent, CAUSE_CLOSED);
	world_run(&w, SECONDS(120));
	world_fini(&w);
}

/* ---- server transactions ---- */

TEST(responses_follow_a_caller_that_has_a_new_connection)
{
	struct world w;
	struct server *s;
	struct hop again;

	world_init(&w);
	s = world_receive(&w,
			  request_text(&w, "INVITE",
				       "SIP/2.0/TCP 10.0.0.9;branch="
				       "z9hG4bKa",
				       NULL),
			  TRANSPORT_TCP);
	world_respond(&w, s, 180);
	CHECK_INT(w.sent[0].to.conn, CONN);
	again = s->from;
	again.conn = CONN + 2;
	again.addr.port++;
	server_on_request(s, METHOD_INVITE, &again, w.now);
	CHECK_INT(s->from.conn, CONN + 2);
	/* another machine is another caller, whatever it says */
	again.conn = CONN + 4;
	again.addr.ip[3]++;
	server_on_request(s, METHOD_INVITE, &again, w.now);
	CHECK_INT(s->from.conn, CONN + 2);
	again = s->from;
	again.conn = CONN + 4;
	again.tls_name = "somebody.else";
	server_on_request(s, METHOD_INVITE, &again, w.now);
	CHECK_INT(s->from.conn, CONN + 2);
	server_disown(s, w.now);
	world_run(&w, SECONDS(1));
	world_fini(&w);
}

TEST(a_connection_with_a_transaction_is_not_idle)
{
	struct world w;
	struct server *s;

	world_init(&w);
	w.limits.header = SECONDS(1000);
	s = world_receive(&w,
			  request_text(&w, "INVITE",
				       "SIP/2.0/TCP 10.0.0.9;branch="
				       "z9hG4bKa",
				       NULL),
			  TRANSPORT_TCP);
	world_run(&w, 3 * w.limits.idle);
	CHECK(s->flow.flow != NULL);
	server_disown(s, w.now);
	world_run(&w, 5 * w.limits.idle);
	CHECK_INT(flows_count(w.flows), 0);
	world_fini(&w);
}
