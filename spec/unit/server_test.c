#include "unit/txn_world.h"

#include <string.h>

#include "util/err.h"

#define UP_VIA "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKup"

static struct server *receive(struct world *w, const char *method,
			      enum transport t)
{
	return world_receive(w, request_text(w, method, UP_VIA, NULL), t);
}

static void receive_ack(struct world *w)
{
	world_receive(w, request_text(w, "ACK", UP_VIA, "callee"),
		      TRANSPORT_UDP);
}

/* ---- every event in every state ---- */

enum event { RETRANS, ACK, R180, R200, R486, DISOWN, EVENTS };

struct row {
	int next[EVENTS];
	int sent[EVENTS];
	int err[EVENTS];
};

enum { TRY, PRO, COM, CON, ACC, TER };

static const struct row INVITE_ROWS[] = {
    [SERVER_TRYING] = {{TRY, TRY, PRO, ACC, COM, TER}, {0, 0, 1, 1, 1, 0}, {0}},
    [SERVER_PROCEEDING] = {{PRO, PRO, PRO, ACC, COM, TER},
			   {1, 0, 1, 1, 1, 0},
			   {0}},
    [SERVER_COMPLETED] = {{COM, CON, COM, ACC, COM, COM},
			  {1, 0, 0, 1, 0, 0},
			  {0, 0, ERR_STATE, 0, ERR_STATE, 0}},
    [SERVER_CONFIRMED] = {{CON, CON, CON, ACC, CON, CON},
			  {0, 0, 0, 1, 0, 0},
			  {0, 0, ERR_STATE, 0, ERR_STATE, 0}},
    [SERVER_ACCEPTED] = {{ACC, ACC, ACC, ACC, ACC, ACC},
			 {0, 0, 0, 1, 0, 0},
			 {0, 0, ERR_STATE, 0, ERR_STATE, 0}},
    [SERVER_TERMINATED] = {{TER, TER, TER, TER, TER, TER},
			   {0, 0, 0, 1, 0, 0},
			   {0, 0, ERR_STATE, 0, ERR_STATE, 0}},
};

static const struct row OTHER_ROWS[] = {
    [SERVER_TRYING] = {{TRY, TRY, PRO, COM, COM, TER}, {0, 0, 1, 1, 1, 0}, {0}},
    [SERVER_PROCEEDING] = {{PRO, PRO, PRO, COM, COM, TER},
			   {1, 0, 1, 1, 1, 0},
			   {0}},
    [SERVER_COMPLETED] = {{COM, COM, COM, COM, COM, COM},
			  {1, 0, 0, 0, 0, 0},
			  {0, 0, ERR_STATE, ERR_STATE, ERR_STATE, 0}},
    [SERVER_TERMINATED] = {{TER, TER, TER, TER, TER, TER},
			   {0},
			   {0, 0, ERR_STATE, ERR_STATE, ERR_STATE, 0}},
};

/* A server in that state, with a client that outlives it. */
static struct server *server_in(struct world *w, bool invite,
				enum server_state state)
{
	struct server *s =
	    receive(w, invite ? "INVITE" : "OPTIONS", TRANSPORT_UDP);

	world_client(w, s, '1', "INVITE", TRANSPORT_TCP);
	CHECK(world_answer(w, '1', "INVITE", 180));
	if (state == SERVER_PROCEEDING)
		world_respond(w, s, 180);
	else if (state == SERVER_COMPLETED || state == SERVER_CONFIRMED)
		world_respond(w, s, 486);
	else if (state != SERVER_TRYING)
		world_respond(w, s, 200);
	if (state == SERVER_CONFIRMED)
		receive_ack(w);
	if (state == SERVER_TERMINATED)
		world_run(w, SECONDS(40));
	CHECK_INT(s->state, state);
	world_clear(w);
	return s;
}

static int do_event(struct world *w, struct server *s, enum event e)
{
	switch (e) {
	case RETRANS:
		server_on_request(s, s->method, &s->from, w->now);
		return 0;
	case ACK:
		server_on_request(s, METHOD_ACK, &s->from, w->now);
		return 0;
	case R180:
		return world_respond(w, s, 180);
	case R200:
		return world_respond(w, s, 200);
	case R486:
		return world_respond(w, s, 486);
	default:
		server_disown(s, w->now);
		return 0;
	}
}

static void check_rows(const struct row *rows, bool invite, size_t states)
{
	for (size_t state = 0; state < states; state++) {
		for (int e = 0; e < EVENTS; e++) {
			const struct row *r = &rows[state];
			struct world w;
			struct server *s;

			if (!invite && (state == SERVER_CONFIRMED ||
					state == SERVER_ACCEPTED))
				continue;
			world_init(&w);
			s = server_in(&w, invite, (enum server_state)state);
			CHECK_INT(do_event(&w, s, (enum event)e), r->err[e]);
			CHECK_INT(s->state, r->next[e]);
			CHECK_INT(w.n, r->sent[e]);
			CHECK_STR(str_from(w.told), "");
			client_abandon(container_of(list_first(&s->clients),
						    struct client, up_link),
				       STR_NONE, w.now);
			server_disown(s, w.now);
			world_run(&w, SECONDS(200));
			world_fini(&w);
		}
	}
}

/* RFC 3261 17.2.1, RFC 6026 7.1. */
TEST(invite_in_every_state)
{
	check_rows(INVITE_ROWS, true,
		   sizeof(INVITE_ROWS) / sizeof(INVITE_ROWS[0]));
}

/* RFC 3261 17.2.2. */
TEST(non_invite_in_every_state)
{
	check_rows(OTHER_ROWS, false,
		   sizeof(OTHER_ROWS) / sizeof(OTHER_ROWS[0]));
}

/* ---- timers ---- */

TEST(invite_final_is_repeated_until_timer_h)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	s->owner = &w.owner;
	world_respond(&w, s, 180);
	world_clear(&w);
	world_respond(&w, s, 486);
	world_run(&w, SECONDS(60));
	CHECK_SENT(&w, "SIP/2.0 486", 0, 500, 1500, 3500, 7500, 11500, 15500,
		   19500, 23500, 27500, 31500);
	CHECK(strcmp(w.sent[0].text, w.sent[10].text) == 0);
	CHECK_TOLD(&w, "n s");
	CHECK_INT(w.counters.v[CNT_RETRANS_OUT], 10);
	CHECK_INT(w.counters.v[CNT_SENT_RESPONSE], 12);
	world_fini(&w);
}

TEST(the_ack_ends_it_after_timer_i)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 486);
	world_run(&w, MILLIS(600));
	receive_ack(&w);
	CHECK_INT(s->state, SERVER_CONFIRMED);
	CHECK(s->last.p == NULL);
	receive_ack(&w);
	CHECK_INT(w.counters.v[CNT_RETRANS_IN], 1);
	world_run(&w, MILLIS(600) + T4 - 1000);
	CHECK_INT(w.t.n_servers, 1);
	CHECK_SENT(&w, "SIP/2.0 486", 0, 500);
	world_run(&w, MILLIS(600) + T4);
	CHECK_INT(w.t.n_servers, 0);
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(reliable_transports_do_not_repeat)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_TCP);
	world_respond(&w, s, 486);
	world_run(&w, SECONDS(31));
	CHECK_SENT(&w, "SIP/2.0 486", 0);
	receive_ack(&w);
	CHECK_INT(s->state, SERVER_CONFIRMED);
	world_run(&w, SECONDS(31)); /* timer I is 0 */
	world_fini(&w);

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_TLS);
	world_respond(&w, s, 486);
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "n");
	world_fini(&w);

	world_init(&w);
	s = receive(&w, "OPTIONS", TRANSPORT_TCP);
	s->owner = &w.owner;
	world_respond(&w, s, 200);
	CHECK_INT(s->state, SERVER_COMPLETED); /* never gone at once */
	world_run(&w, 0);
	CHECK_TOLD(&w, "s");
	world_fini(&w);
}

TEST(timer_l_absorbs_invites_after_a_2xx)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 200);
	CHECK(s->last.p == NULL);
	world_run(&w, SECONDS(31));
	CHECK(receive(&w, "INVITE", TRANSPORT_UDP) == s);
	CHECK_SENT(&w, "SIP/2.0 200", 0);
	world_respond(&w, s, 200); /* does not make it longer */
	world_run(&w, SECONDS(32) - 1000);
	CHECK_INT(w.t.n_servers, 1);
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(timer_j_repeats_for_64_t1)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "OPTIONS", TRANSPORT_UDP);
	CHECK(receive(&w, "OPTIONS", TRANSPORT_UDP) == s);
	CHECK_INT(w.n, 0);
	world_run(&w, SECONDS(1));
	world_respond(&w, s, 404);
	server_disown(s, w.now);
	world_run(&w, SECONDS(30));
	CHECK(receive(&w, "OPTIONS", TRANSPORT_UDP) == s);
	CHECK_SENT(&w, "SIP/2.0 404", 1000, 30000);
	CHECK_INT(world_respond(&w, s, 200), ERR_STATE);
	CHECK_INT(s->code, 404);
	world_run(&w, SECONDS(33) - 1000);
	CHECK_INT(w.t.n_servers, 1);
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(times_follow_the_settings)
{
	struct world w;
	struct server *s;

	world_init(&w);
	w.t.times = (struct txn_times){MILLIS(100), MILLIS(300), SECONDS(1)};
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 486);
	world_run(&w, MILLIS(1250));
	CHECK_SENT(&w, "SIP/2.0 486", 0, 100, 300, 600, 900, 1200);
	receive_ack(&w);
	world_run(&w, MILLIS(2249));
	CHECK_INT(w.t.n_servers, 1);
	world_run(&w, MILLIS(2250));
	CHECK_INT(w.t.n_servers, 0);
	s = receive(&w, "INVITE", TRANSPORT_TCP);
	world_respond(&w, s, 486);
	world_run(&w, MILLIS(2250 + 6400));
	CHECK_TOLD(&w, "n");
	world_fini(&w);
}

TEST(the_last_provisional_is_repeated)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK_INT(w.n, 0);
	world_respond(&w, s, 100);
	world_respond(&w, s, 183);
	receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK_INT(w.n, 3);
	CHECK(sent_starts(&w, 2, "SIP/2.0 183"));
	CHECK_INT(s->code, 183);
	CHECK_INT(w.counters.v[CNT_RETRANS_IN], 2);
	server_disown(s, w.now);
	world_fini(&w);
}

/* ---- a 2xx after our own final ---- */

TEST(a_late_2xx_moves_to_accepted)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 408);
	world_run(&w, MILLIS(700));
	w.to_tag = "other";
	world_respond(&w, s, 200);
	w.to_tag = "callee";
	CHECK_INT(s->state, SERVER_ACCEPTED);
	/* The ACK of the 408 is ours, that of the 2xx is not. */
	CHECK(world_match(&w, request_text(&w, "ACK", UP_VIA, "callee")) == s);
	CHECK(!world_match(&w, request_text(&w, "ACK", UP_VIA, "other")));
	receive_ack(&w);
	CHECK_INT(w.counters.v[CNT_STRAY_ACK], 1);
	/* Nor is the 408 repeated any more. */
	receive(&w, "INVITE", TRANSPORT_UDP);
	world_run(&w, MILLIS(700) + SECONDS(32));
	CHECK_INT(w.n, 3); /* 408, its repetition, 200 */
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(the_ack_for_a_2xx_is_another_transaction)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 200);
	CHECK(!world_match(&w, request_text(&w, "ACK", UP_VIA, "callee")));
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

/* ---- its clients ---- */

TEST(it_stays_for_its_clients)
{
	struct world w;
	struct server *s;
	struct client *c;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	s->owner = &w.owner;
	c = world_client(&w, s, '1', "INVITE", TRANSPORT_UDP);
	world_answer(&w, '1', "INVITE", 180);
	world_respond(&w, s, 200);
	world_clear(&w);
	world_run(&w, SECONDS(33));
	CHECK_INT(s->state, SERVER_TERMINATED);
	CHECK(!world_match(&w, request_text(&w, "INVITE", UP_VIA, NULL)));
	CHECK_TOLD(&w, "");
	/* A late 2xx still finds its way. */
	world_answer(&w, '1', "INVITE", 200);
	CHECK_INT(world_respond(&w, c->up, 200), 0);
	CHECK_SENT(&w, "SIP/2.0 200", 33000);
	CHECK(w.sent[0].to.addr.ip[3] == 9);
	world_run(&w, SECONDS(33 + 32));
	CHECK_TOLD(&w, "r200 c s");
	world_fini(&w);
}

static void disown_in_callback(struct world *w, struct client *c,
			       struct server *s)
{
	(void)c;
	server_disown(s, w->now);
}

TEST(the_user_may_let_go_in_the_callback)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	s->owner = &w.owner;
	world_respond(&w, s, 486);
	w.hook = disown_in_callback;
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "n");
	world_fini(&w);
}

/* ---- no memory ---- */

TEST(a_final_that_cannot_be_kept_is_sent_once)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 180);
	w.mem.fail_at = w.mem.calls + 1;
	w.mem.fail_for = 1;
	CHECK_INT(world_respond(&w, s, 486), ERR_NOMEM);
	CHECK_INT(s->state, SERVER_COMPLETED);
	receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK_INT(w.n, 2);
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "n");
	CHECK_INT(w.n, 2);
	world_fini(&w);
}

TEST(a_provisional_that_cannot_be_kept_leaves_the_one_before)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	world_respond(&w, s, 100);
	w.mem.fail_at = w.mem.calls + 1;
	w.mem.fail_for = 1;
	CHECK_INT(world_respond(&w, s, 180), ERR_NOMEM);
	receive(&w, "INVITE", TRANSPORT_UDP);
	CHECK(sent_starts(&w, 1, "SIP/2.0 180"));
	CHECK(sent_starts(&w, 2, "SIP/2.0 100"));
	server_disown(s, w.now);
	world_fini(&w);
}

TEST(no_memory_no_server)
{
	struct world w;

	world_init(&w);
	w.mem.fail_at = w.mem.calls + 1;
	w.mem.fail_for = 1;
	CHECK(!receive(&w, "INVITE", TRANSPORT_UDP));
	CHECK_INT(w.t.n_servers, 0);
	world_fini(&w);
}

TEST(the_end_of_the_core_frees_everything)
{
	struct world w;
	struct server *s;

	world_init(&w);
	s = receive(&w, "INVITE", TRANSPORT_UDP);
	s->owner = &w.owner;
	world_client(&w, s, '1', "INVITE", TRANSPORT_UDP);
	world_client(&w, s, '2', "INVITE", TRANSPORT_UDP);
	world_client(&w, NULL, '3', "OPTIONS", TRANSPORT_UDP);
	server_disown(s, w.now);
	CHECK_INT(s->state, SERVER_TERMINATED);
	receive(&w, "OPTIONS", TRANSPORT_UDP);
	txns_fini(&w.t);
	CHECK_INT(w.t.n_servers, 0);
	CHECK_INT(w.t.n_clients, 0);
	CHECK_INT(timers_count(w.timers), 0);
	CHECK_TOLD(&w, "");
	CHECK_INT(txns_init(&w.t, &w.mem), 0);
	world_fini(&w);
}

TEST(init_without_memory)
{
	struct mem mem;
	struct txns t;

	for (uint64_t i = 1; i <= 2; i++) {
		mem_init(&mem);
		mem.fail_at = i;
		mem.fail_for = 1;
		CHECK_INT(txns_init(&t, &mem), ERR_NOMEM);
		CHECK_INT(mem.bytes, 0);
	}
}
