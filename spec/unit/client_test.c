#include "unit/txn_world.h"

#include <string.h>

static struct client *invite(struct world *w)
{
	return world_client(w, NULL, '1', "INVITE", TRANSPORT_UDP);
}

static struct client *options(struct world *w)
{
	return world_client(w, NULL, '1', "OPTIONS", TRANSPORT_UDP);
}

/* ---- matching ---- */

/* RFC 3261 17.1.3. */
TEST(matched_by_branch_and_method)
{
	struct world w;
	struct client *c;
	char upper[BRANCH_LEN];

	world_init(&w);
	c = invite(&w);
	CHECK(world_has(&w, '1', "INVITE"));
	CHECK(!world_has(&w, '2', "INVITE"));
	CHECK(!world_has(&w, '1', "CANCEL"));
	CHECK(!world_has(&w, '1', "OPTIONS"));
	memcpy(upper, c->branch, BRANCH_LEN);
	memcpy(upper, "Z9HG4BK1", 8);
	CHECK(client_find(&w.t, (struct str){upper, BRANCH_LEN}, METHOD_INVITE,
			  STR("INVITE")) == c);
	CHECK(!client_find(&w.t, STR_NONE, METHOD_INVITE, STR("INVITE")));
	CHECK(!client_find(&w.t, (struct str){upper, BRANCH_LEN - 1},
			   METHOD_INVITE, STR("INVITE")));
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(unknown_methods_are_compared_as_text)
{
	struct world w;

	world_init(&w);
	world_client(&w, NULL, '1', "FOO", TRANSPORT_UDP);
	CHECK(world_has(&w, '1', "FOO"));
	CHECK(!world_has(&w, '1', "BAR"));
	CHECK(world_answer(&w, '1', "FOO", 200));
	CHECK_TOLD(&w, "r200");
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(the_hop_is_copied)
{
	struct hop hop = hop_to(TRANSPORT_TLS, "10.0.0.2:5061");
	char name[] = "callee.example.org";
	struct world w;
	struct client *c;

	world_init(&w);
	hop.tls_name = name;
	c = client_new(&w.t, NULL, NULL, METHOD_OPTIONS, &hop,
		       "z9hG4bK1"
		       "00000000000000000000000000000000000000000000000001",
		       STR("OPTIONS"), w.now);
	memset(name, 'x', sizeof(name) - 1);
	CHECK_STR(str_from(c->hop.tls_name), "callee.example.org");
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

/* ---- schedules (I13) ---- */

TEST(timer_a_doubles_until_timer_b)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_run(&w, SECONDS(100));
	CHECK_SENT(&w, "INVITE ", 0, 500, 1500, 3500, 7500, 15500, 31500);
	CHECK_TOLD(&w, "t1 t2 t3 t4 t5 t6 fsilent c");
	CHECK_INT(w.counters.v[CNT_RETRANS_OUT], 6);
	CHECK_INT(w.counters.v[CNT_SENT_REQUEST], 7);
	CHECK(strcmp(w.sent[0].text, w.sent[6].text) == 0);
	world_fini(&w);
}

TEST(timer_b_is_64_t1)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_run(&w, SECONDS(32) - 1000);
	CHECK(world_has(&w, '1', "INVITE"));
	world_run(&w, SECONDS(32));
	CHECK(!world_has(&w, '1', "INVITE"));
	world_fini(&w);
}

TEST(timer_e_doubles_up_to_t2_until_timer_f)
{
	struct world w;

	world_init(&w);
	options(&w);
	world_run(&w, SECONDS(32) - 1000);
	CHECK_SENT(&w, "OPTIONS ", 0, 500, 1500, 3500, 7500, 11500, 15500,
		   19500, 23500, 27500, 31500);
	CHECK(world_has(&w, '1', "OPTIONS"));
	world_clear(&w);
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "fsilent c");
	world_fini(&w);
}

TEST(timer_e_is_t2_after_a_1xx)
{
	struct world w;

	world_init(&w);
	options(&w);
	world_run(&w, MILLIS(600));
	world_answer(&w, '1', "OPTIONS", 100);
	CHECK_TOLD(&w, "t1 r100");
	/* The timer that runs is not touched (17.1.2.2). */
	world_run(&w, SECONDS(10));
	CHECK_SENT(&w, "OPTIONS ", 0, 500, 1500, 5500, 9500);
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "t1 r100 t2 t3 t4 t5 t6 t7 t8 t9 fsilent c");
	world_fini(&w);
}

TEST(reliable_transports_do_not_repeat)
{
	struct world w;

	for (int t = TRANSPORT_TCP; t <= TRANSPORT_TLS; t++) {
		world_init(&w);
		world_client(&w, NULL, '1', "INVITE", (enum transport)t);
		world_client(&w, NULL, '2', "OPTIONS", (enum transport)t);
		world_run(&w, SECONDS(32) - 1000);
		CHECK_INT(w.n, 2);
		world_run(&w, SECONDS(32));
		CHECK_INT(w.n, 2);
		CHECK_TOLD(&w, "fsilent c fsilent c");
		world_fini(&w);
	}
}

TEST(times_follow_the_settings)
{
	struct world w;

	world_init(&w);
	w.t.times = (struct txn_times){MILLIS(100), MILLIS(300), SECONDS(1)};
	options(&w);
	world_run(&w, MILLIS(1000));
	CHECK_SENT(&w, "OPTIONS ", 0, 100, 300, 600, 900);
	world_answer(&w, '1', "OPTIONS", 200);
	world_run(&w, MILLIS(1999));
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, MILLIS(2000)); /* timer K */
	CHECK_INT(w.t.n_clients, 0);
	world_clear(&w);
	invite(&w);
	world_run(&w, MILLIS(2000 + 6399));
	CHECK_SENT(&w, "INVITE ", 2000, 2100, 2300, 2700, 3500, 5100, 8300);
	world_answer(&w, '1', "INVITE", 486);
	world_run(&w, MILLIS(8399 + 6399));
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, MILLIS(8399 + 6400)); /* timer D */
	CHECK_INT(w.t.n_clients, 0);
	world_fini(&w);
}

static void give_up(struct world *w, struct client *c, struct server *s)
{
	(void)s;
	if (w->told[strlen(w->told) - 1] == '3')
		client_abandon(c, STR_NONE, w->now);
}

TEST(the_user_may_refuse_a_retransmission)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_run(&w, MILLIS(600));
	w.refuse = true;
	world_run(&w, MILLIS(1600));
	w.refuse = false;
	world_run(&w, MILLIS(3600));
	/* Not sent, not counted; the schedule goes on. */
	CHECK_SENT(&w, "INVITE ", 0, 500, 3500);
	CHECK_TOLD(&w, "t1 t2 t2");
	w.refuse = true;
	w.hook = give_up;
	world_run(&w, SECONDS(100));
	CHECK_TOLD(&w, "t1 t2 t2 t3");
	CHECK_INT(w.n, 3);
	world_fini(&w);
}

/* ---- every event in every state ---- */

enum event { R100, R180, R200, R486, FAULT, ABANDON, CANCEL, DISOWN, EVENTS };

struct row {
	int next[EVENTS];
	int sent[EVENTS];
	const char *told[EVENTS];
};

enum { CAL, PRO, COM, ACC, TER };

static const struct row INVITE_ROWS[] = {
    [CLIENT_CALLING] = {{PRO, PRO, ACC, COM, TER, CAL, CAL, CAL},
			{0, 0, 0, 1, 0, 0, 0, 0},
			{"r100", "r180", "r200", "r486", "frefused c", "", "",
			 ""}},
    [CLIENT_PROCEEDING] = {{PRO, PRO, ACC, COM, TER, PRO, PRO, PRO},
			   {0, 0, 0, 1, 0, 1, 1, 1},
			   {"r100", "r180", "r200", "r486", "frefused c", "",
			    "", ""}},
    [CLIENT_COMPLETED] = {{COM, COM, COM, COM, COM, COM, COM, COM},
			  {0, 0, 0, 1, 0, 0, 0, 0},
			  {"", "", "r200", "", "", "", "", ""}},
    [CLIENT_ACCEPTED] = {{ACC, ACC, ACC, ACC, ACC, ACC, ACC, ACC},
			 {0, 0, 0, 0, 0, 0, 0, 0},
			 {"", "", "r200", "", "", "", "", ""}},
};

static const struct row OTHER_ROWS[] = {
    [CLIENT_CALLING] = {{PRO, PRO, COM, COM, TER, CAL, CAL, CAL},
			{0},
			{"r100", "r180", "r200", "r486", "frefused c", "", "",
			 ""}},
    [CLIENT_PROCEEDING] = {{PRO, PRO, COM, COM, TER, PRO, PRO, PRO},
			   {0},
			   {"r100", "r180", "r200", "r486", "frefused c", "",
			    "", ""}},
    [CLIENT_COMPLETED] = {{COM, COM, COM, COM, COM, COM, COM, COM},
			  {0},
			  {"", "", "", "", "", "", "", ""}},
};

static void do_event(struct world *w, struct client *c, const char *method,
		     enum event e)
{
	static const int code[] = {100, 180, 200, 486};

	if (e <= R486)
		CHECK(world_answer(w, '1', method, code[e]));
	else if (e == FAULT)
		client_on_error(c, CAUSE_REFUSED, w->now);
	else if (e == ABANDON)
		client_abandon(c, STR_NONE, w->now);
	else if (e == CANCEL)
		client_cancel(c, STR_NONE, w->now);
	else
		client_disown(c, w->now);
}

static void check_cell(const struct row *r, const char *method, int state,
		       enum event e)
{
	static const int code[] = {0, 180, 486, 200};
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', method, TRANSPORT_UDP);
	if (code[state])
		world_answer(&w, '1', method, code[state]);
	CHECK_INT(c->state, state);
	world_clear(&w);
	do_event(&w, c, method, e);
	if (r->next[e] == TER) {
		CHECK(!world_has(&w, '1', method));
		CHECK_INT(w.t.n_clients, 0);
	} else {
		CHECK_INT(c->state, r->next[e]);
		CHECK((c->owner == NULL) == (e == ABANDON || e == DISOWN));
	}
	CHECK_INT(w.n, r->sent[e]);
	CHECK(strcmp(w.told, r->told[e]) == 0);
	if (r->next[e] != TER)
		client_disown(c, w.now);
	world_run(&w, SECONDS(200));
	world_fini(&w);
}

TEST(invite_in_every_state)
{
	for (int state = CAL; state <= ACC; state++)
		for (int e = 0; e < EVENTS; e++)
			check_cell(&INVITE_ROWS[state], "INVITE", state,
				   (enum event)e);
}

TEST(non_invite_in_every_state)
{
	for (int state = CAL; state <= COM; state++)
		for (int e = 0; e < EVENTS; e++)
			check_cell(&OTHER_ROWS[state], "OPTIONS", state,
				   (enum event)e);
}

/* ---- INVITE ---- */

TEST(a_1xx_stops_timers_a_and_b)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_run(&w, MILLIS(600));
	world_answer(&w, '1', "INVITE", 100);
	world_run(&w, SECONDS(600));
	CHECK_SENT(&w, "INVITE ", 0, 500);
	CHECK_TOLD(&w, "t1 r100");
	CHECK_INT(timers_count(w.timers), 0);
	CHECK(c->got_1xx);
	CHECK_INT(c->sends, 2);
	world_answer(&w, '1', "INVITE", 200);
	world_run(&w, SECONDS(700));
	CHECK_TOLD(&w, "t1 r100 r200 c");
	world_fini(&w);
}

TEST(the_image_shrinks_with_the_first_1xx)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	CHECK(strstr(w.sent[0].text, "some body") != NULL);
	CHECK_INT(c->image.n, w.sent[0].n);
	world_answer(&w, '1', "INVITE", 180);
	CHECK(c->image.n < w.sent[0].n - 9);
	CHECK_INT(c->reason_n, 0);
	world_answer(&w, '1', "INVITE", 200);
	CHECK(c->image.p == NULL);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

/* RFC 6026 7.2. */
TEST(every_2xx_is_passed_until_timer_m)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_run(&w, SECONDS(1));
	world_clear(&w);
	world_answer(&w, '1', "INVITE", 200);
	world_answer(&w, '1', "INVITE", 200);
	w.to_tag = "fork";
	world_run(&w, SECONDS(33) - 1000);
	world_answer(&w, '1', "INVITE", 202);
	CHECK_TOLD(&w, "r200 r200 r202");
	CHECK_INT(w.n, 0);
	world_run(&w, SECONDS(33));
	CHECK_TOLD(&w, "r200 r200 r202 c");
	CHECK(!world_answer(&w, '1', "INVITE", 200));
	world_fini(&w);
}

TEST(the_ack_is_that_of_17_1_1_3)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_answer(&w, '1', "INVITE", 486);
	CHECK_INT(w.n, 2);
	CHECK(sent_starts(&w, 1, "ACK sip:bob@example.org SIP/2.0\r\n"));
	CHECK(strstr(w.sent[1].text, "To: <sip:bob@example.org>;tag=callee"));
	CHECK(strstr(w.sent[1].text, "CSeq: 7 ACK\r\n"));
	CHECK(strstr(w.sent[1].text, "some body") == NULL);
	CHECK_INT(w.sent[1].to.addr.ip[3], 2);
	CHECK_STR(str_from(w.sent[1].to.tls_name), "callee.example.org");
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(a_repeated_final_gets_its_ack_again)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_answer(&w, '1', "INVITE", 486);
	world_clear(&w);
	world_run(&w, MILLIS(500));
	world_answer(&w, '1', "INVITE", 486);
	world_run(&w, MILLIS(1500));
	world_answer(&w, '1', "INVITE", 486);
	CHECK_SENT(&w, "ACK ", 500, 1500);
	CHECK(strcmp(w.sent[0].text, w.sent[1].text) == 0);
	CHECK_TOLD(&w, "");
	CHECK(c->image_is_ack);
	CHECK_INT(c->code, 486);
	CHECK_INT(w.counters.v[CNT_RETRANS_IN], 2);
	world_run(&w, SECONDS(32) - 1000);
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, SECONDS(32)); /* timer D */
	CHECK_TOLD(&w, "c");
	world_fini(&w);
}

TEST(timers_d_and_k_are_0_on_reliable_transports)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	world_answer(&w, '1', "INVITE", 486);
	CHECK_INT(c->state, CLIENT_COMPLETED); /* never gone at once */
	c = world_client(&w, NULL, '2', "OPTIONS", TRANSPORT_TLS);
	world_answer(&w, '2', "OPTIONS", 200);
	CHECK_INT(c->state, CLIENT_COMPLETED);
	world_run(&w, 0);
	CHECK_TOLD(&w, "r486 r200 c c");
	/* Timer M is not. */
	world_client(&w, NULL, '3', "INVITE", TRANSPORT_TCP);
	world_answer(&w, '3', "INVITE", 200);
	world_run(&w, SECONDS(32) - 1000);
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(what_comes_after_the_final_is_counted)
{
	struct world w;

	world_init(&w);
	invite(&w);
	world_answer(&w, '1', "INVITE", 200);
	world_answer(&w, '1', "INVITE", 180);
	CHECK_INT(w.counters.v[CNT_STRAY_RESPONSE], 1);
	world_answer(&w, '1', "INVITE", 486);
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 1);
	CHECK_TOLD(&w, "r200");
	CHECK_INT(w.n, 1);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(timer_k_absorbs_repeated_finals)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = options(&w);
	world_answer(&w, '1', "OPTIONS", 404);
	CHECK(c->image.p == NULL);
	world_run(&w, T4 - 1000);
	world_answer(&w, '1', "OPTIONS", 404);
	CHECK_TOLD(&w, "r404");
	world_run(&w, T4);
	CHECK_TOLD(&w, "r404 c");
	CHECK_INT(w.n, 1);
	world_fini(&w);
}

/* ---- transport errors ---- */

/* RFC 3261 17.1.4. */
TEST(an_error_ends_it_at_once)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	client_on_error(c, CAUSE_ICMP_PORT, w.now);
	CHECK_TOLD(&w, "ficmp_port c");
	CHECK_INT(w.t.n_clients, 0);
	/* Failed CANCEL and ACK: nobody cares. */
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	client_cancel(c, STR_NONE, w.now);
	world_clear(&w);
	client_on_error(client_find(&w.t, (struct str){c->branch, BRANCH_LEN},
				    METHOD_CANCEL, STR("CANCEL")),
			CAUSE_ICMP_PORT, w.now);
	world_answer(&w, '1', "INVITE", 487);
	client_on_error(c, CAUSE_ICMP_PORT, w.now);
	CHECK_TOLD(&w, "r487");
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "r487 c");
	world_fini(&w);
}

static void abandon_siblings(struct world *w, struct client *c,
			     struct server *s)
{
	w->hook = NULL;
	list_each_safe (link, &s->clients) {
		struct client *x = container_of(link, struct client, up_link);

		client_abandon(x, STR_NONE, w->now);
		client_disown(x, w->now);
	}
	server_disown(s, w->now);
	(void)c;
}

/* Whatever the user does in a callback, the block whose callback it is stays
 * until it returns. */
TEST(the_user_may_give_up_everything_in_a_callback)
{
	static const char via[] = "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKup";

	for (int what = 0; what < 5; what++) {
		struct world w;
		struct server *s;
		struct client *c;

		world_init(&w);
		s = world_receive(&w, request_text(&w, "INVITE", via, NULL),
				  TRANSPORT_UDP);
		s->owner = &w.owner;
		c = world_client(&w, s, '1', "INVITE", TRANSPORT_UDP);
		world_client(&w, s, '2', "INVITE", TRANSPORT_UDP);
		world_client(&w, s, '3', "INVITE", TRANSPORT_TCP);
		world_answer(&w, '2', "INVITE", 180);
		w.hook = abandon_siblings;
		if (what == 0)
			client_on_error(c, CAUSE_REFUSED, w.now);
		else if (what == 1)
			world_answer(&w, '1', "INVITE", 180);
		else if (what == 2)
			world_answer(&w, '1', "INVITE", 486);
		else if (what == 3)
			world_answer(&w, '1', "INVITE", 200);
		else
			world_run(&w, SECONDS(32));
		CHECK(w.hook == NULL);
		world_run(&w, SECONDS(200));
		world_fini(&w);
	}
}
