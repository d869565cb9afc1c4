#include "unit/txn_world.h"

#include <string.h>

#define UP_VIA "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKup"

/* A client transaction that was given up with or without a 1xx. */
static struct client *stub(struct world *w, int code, const char *reason)
{
	struct client *c = world_client(w, NULL, '1', "INVITE", TRANSPORT_UDP);

	world_run(w, SECONDS(1));
	if (code)
		world_answer(w, '1', "INVITE", code);
	world_clear(w);
	client_abandon(c, str_from(reason), w->now);
	CHECK(c->owner == NULL);
	CHECK(c->abandoned);
	return c;
}

TEST(silent_stub_lives_64_t1_and_sends_nothing)
{
	struct world w;

	world_init(&w);
	stub(&w, 0, NULL);
	world_run(&w, SECONDS(33) - 1000);
	CHECK(world_has(&w, '1', "INVITE"));
	world_run(&w, SECONDS(33));
	CHECK(!world_has(&w, '1', "INVITE"));
	CHECK_INT(w.n, 0);
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(with_a_1xx_it_is_cancelled_at_once)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = stub(&w, 180, "Reason: SIP;cause=408\r\n");
	CHECK_SENT(&w, "CANCEL ", 1000);
	CHECK(strstr(w.sent[0].text, "Reason: SIP;cause=408\r\n") != NULL);
	world_answer(&w, '1', "CANCEL", 200);
	world_answer(&w, '1', "INVITE", 487);
	CHECK(sent_starts(&w, 1, "ACK "));
	CHECK_INT(c->state, CLIENT_COMPLETED);
	CHECK_TOLD(&w, "");
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 0);
	world_answer(&w, '1', "INVITE", 487);
	CHECK_INT(w.n, 3);
	world_run(&w, SECONDS(33) - 1000);
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(a_late_1xx_is_answered_with_cancel)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = stub(&w, 0, "Reason: SIP;cause=408\r\n");
	CHECK(c->reason_n == 23);
	world_run(&w, SECONDS(30));
	world_answer(&w, '1', "INVITE", 100);
	CHECK_SENT(&w, "CANCEL ", 30000);
	CHECK(strstr(w.sent[0].text, "Reason: SIP;cause=408\r\n") != NULL);
	world_answer(&w, '1', "INVITE", 180);
	CHECK_INT(w.n, 1);
	/* From the CANCEL on it has another 64*T1. */
	world_run(&w, SECONDS(61));
	CHECK(world_answer(&w, '1', "INVITE", 487));
	CHECK(sent_starts(&w, w.n - 1, "ACK "));
	CHECK_TOLD(&w, "");
	world_run(&w, SECONDS(61 + 32));
	world_fini(&w);
}

TEST(cancelled_stub_ends_64_t1_after_its_cancel)
{
	struct world w;

	world_init(&w);
	stub(&w, 0, NULL);
	world_run(&w, SECONDS(30));
	world_answer(&w, '1', "INVITE", 180);
	world_run(&w, SECONDS(62) - 1000);
	CHECK(world_has(&w, '1', "INVITE"));
	world_run(&w, SECONDS(62));
	CHECK_INT(w.t.n_clients, 0);
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(a_late_failure_is_acked_and_counted)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = stub(&w, 0, NULL);
	world_run(&w, SECONDS(5));
	world_answer(&w, '1', "INVITE", 503);
	CHECK_SENT(&w, "ACK ", 5000);
	CHECK_INT(c->state, CLIENT_COMPLETED);
	CHECK_INT(c->code, 503);
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 1);
	world_answer(&w, '1', "INVITE", 503);
	CHECK_INT(w.n, 2);
	CHECK_TOLD(&w, "");
	world_run(&w, SECONDS(37));
	world_fini(&w);
}

TEST(a_late_2xx_reaches_the_user)
{
	struct world w;
	struct server *s;
	struct client *c;

	world_init(&w);
	s = world_receive(&w, request_text(&w, "INVITE", UP_VIA, NULL),
			  TRANSPORT_UDP);
	s->owner = &w.owner;
	c = world_client(&w, s, '1', "INVITE", TRANSPORT_UDP);
	client_abandon(c, STR_NONE, w.now);
	world_respond(&w, s, 500);
	world_clear(&w);
	world_run(&w, MILLIS(400));
	world_answer(&w, '1', "INVITE", 200);
	CHECK_TOLD(&w, "R200");
	CHECK(c->up == s);
	CHECK_INT(c->state, CLIENT_ACCEPTED);
	CHECK(c->image.p == NULL);
	world_respond(&w, c->up, 200);
	CHECK_SENT(&w, "SIP/2.0 200", 400);
	/* And each time it is repeated, until timer M. */
	world_run(&w, SECONDS(32));
	world_answer(&w, '1', "INVITE", 200);
	CHECK_TOLD(&w, "R200 R200");
	world_run(&w, MILLIS(32400));
	CHECK_TOLD(&w, "R200 R200 s");
	world_fini(&w);
}

TEST(a_2xx_that_crosses_the_cancel_reaches_the_user)
{
	struct world w;

	world_init(&w);
	stub(&w, 180, NULL);
	world_answer(&w, '1', "INVITE", 200);
	world_answer(&w, '1', "CANCEL", 481);
	CHECK_TOLD(&w, "R200");
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(stubs_ignore_transport_errors)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = stub(&w, 0, NULL);
	client_on_error(c, CAUSE_ICMP_PORT, w.now);
	CHECK_TOLD(&w, "");
	CHECK(world_answer(&w, '1', "INVITE", 200));
	CHECK_TOLD(&w, "R200");
	world_run(&w, SECONDS(33));
	world_fini(&w);
}

TEST(the_user_cancels_and_then_lets_go)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_UDP);
	client_cancel(c, STR("Reason: SIP;cause=200\r\n"), w.now);
	world_run(&w, SECONDS(10));
	client_disown(c, w.now);
	world_run(&w, SECONDS(40));
	world_answer(&w, '1', "INVITE", 180);
	CHECK(sent_starts(&w, 1, "CANCEL "));
	CHECK(strstr(w.sent[1].text, "Reason: SIP;cause=200\r\n") != NULL);
	CHECK_INT(w.n, 2);
	world_run(&w, SECONDS(40 + 32));
	CHECK_TOLD(&w, "");
	world_fini(&w);
}

TEST(giving_up_again_does_not_make_it_longer)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = stub(&w, 0, NULL);
	world_run(&w, SECONDS(10));
	client_abandon(c, STR_NONE, w.now);
	client_disown(c, w.now);
	world_run(&w, SECONDS(33));
	CHECK_INT(w.t.n_clients, 0);
	world_fini(&w);
	/* From the CANCEL on, whoever wanted it. */
	world_init(&w);
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_UDP);
	world_answer(&w, '1', "INVITE", 180);
	client_cancel(c, STR_NONE, w.now);
	world_answer(&w, '1', "CANCEL", 200);
	world_run(&w, SECONDS(10));
	client_abandon(c, STR_NONE, w.now);
	world_run(&w, SECONDS(32));
	CHECK_INT(w.t.n_clients, 0);
	world_fini(&w);
}

TEST(a_non_invite_given_up_absorbs_its_answer)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', "OPTIONS", TRANSPORT_UDP);
	world_run(&w, MILLIS(600));
	client_abandon(c, STR_NONE, w.now);
	CHECK(c->image.p == NULL);
	CHECK_INT(c->state, CLIENT_CALLING);
	world_clear(&w);
	world_run(&w, SECONDS(20));
	CHECK(world_answer(&w, '1', "OPTIONS", 100));
	CHECK(world_answer(&w, '1', "OPTIONS", 200));
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 1);
	world_run(&w, SECONDS(20) + T4);
	CHECK_INT(w.t.n_clients, 0);
	CHECK_INT(w.n, 0);
	CHECK_TOLD(&w, "");
	world_fini(&w);

	world_init(&w);
	c = world_client(&w, NULL, '1', "OPTIONS", TRANSPORT_UDP);
	client_abandon(c, STR_NONE, w.now);
	world_run(&w, SECONDS(32) - 1000);
	CHECK_INT(w.t.n_clients, 1);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(stub_on_tcp)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_TCP);
	world_run(&w, MILLIS(100)); /* it is up */
	client_abandon(c, STR_NONE, w.now);
	world_run(&w, SECONDS(3));
	world_answer(&w, '1', "INVITE", 180);
	world_run(&w, SECONDS(30));
	CHECK_INT(w.n, 2); /* one INVITE, one CANCEL */
	world_answer(&w, '1', "INVITE", 487);
	CHECK(sent_starts(&w, 2, "ACK "));
	world_run(&w, SECONDS(30)); /* timer D is 0 */
	world_answer(&w, '1', "CANCEL", 200);
	world_run(&w, SECONDS(30));
	world_fini(&w);
}

/* ---- bytes ---- */

/* What the absorbing states cost; each kind must be small, and less than what
 * it was before. */
TEST(records_are_small)
{
	struct world w;
	struct server *s;
	struct client *c;
	size_t live, kept;

	world_init(&w);
	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_UDP);
	live = world_bytes(&w);
	CHECK_INT(live,
		  sizeof(*c) + sizeof("callee.example.org") + w.sent[0].n);
	client_abandon(c, STR_NONE, w.now); /* a stub */
	kept = world_bytes(&w);
	CHECK(kept < live && kept < 1000);
	world_answer(&w, '1', "INVITE", 503); /* a client record: the ACK */
	CHECK_INT(world_bytes(&w),
		  sizeof(*c) + sizeof("callee.example.org") + w.sent[1].n);
	world_run(&w, SECONDS(32));
	CHECK_INT(world_bytes(&w), 0);

	c = world_client(&w, NULL, '1', "INVITE", TRANSPORT_UDP);
	world_answer(&w, '1', "INVITE", 200);
	CHECK_INT(world_bytes(&w), sizeof(*c) + sizeof("callee.example.org"));
	world_run(&w, SECONDS(64));

	s = world_receive(&w, request_text(&w, "INVITE", UP_VIA, NULL),
			  TRANSPORT_UDP);
	world_clear(&w);
	world_respond(&w, s, 486);
	CHECK_INT(world_bytes(&w), sizeof(*s) + s->key.n + w.sent[0].n);
	CHECK(world_bytes(&w) < 700);
	world_respond(&w, s, 200);
	world_run(&w, SECONDS(200));
	world_fini(&w);
}

/* ---- every allocation may fail ---- */

static void answer(struct world *w, char digit, const char *method, int code)
{
	world_answer(w, digit, method, code); /* it may not exist */
}

/* A request that tries two servers at once and one after that, is cancelled,
 * and gets late answers. */
static void scenario(struct world *w)
{
	struct server *s;
	struct client *c[3];

	s = world_receive(w, request_text(w, "INVITE", UP_VIA, NULL),
			  TRANSPORT_UDP);
	if (!s)
		return;
	s->owner = &w->owner;
	world_respond(w, s, 100);
	c[0] = world_client(w, s, '1', "INVITE", TRANSPORT_UDP);
	c[1] = world_client(w, s, '2', "INVITE", TRANSPORT_UDP);
	world_run(w, SECONDS(1));
	answer(w, '1', "INVITE", 100);
	answer(w, '1', "INVITE", 180);
	world_respond(w, s, 180);
	world_run(w, SECONDS(2));
	if (c[1])
		client_abandon(c[1], STR("Reason: SIP;cause=408\r\n"), w->now);
	c[2] = world_client(w, s, '3', "INVITE", TRANSPORT_TCP);
	answer(w, '2', "INVITE", 180);
	answer(w, '3', "INVITE", 183);
	world_run(w, SECONDS(3));
	if (c[0])
		client_cancel(c[0], STR_NONE, w->now);
	if (c[2])
		client_abandon(c[2], STR_NONE, w->now);
	world_run(w, SECONDS(4));
	answer(w, '1', "CANCEL", 200);
	answer(w, '2', "CANCEL", 200);
	answer(w, '1', "INVITE", 487);
	answer(w, '1', "INVITE", 487);
	world_respond(w, s, 487);
	answer(w, '2', "INVITE", 487);
	answer(w, '3', "INVITE", 200);
	world_respond(w, s, 200);
	server_disown(s, w->now);
	world_run(w, SECONDS(5));
	answer(w, '3', "INVITE", 200);
}

static bool sweep(uint64_t at, uint64_t n)
{
	struct world w;
	bool reached;

	world_init(&w);
	w.mem.fail_at = w.mem.calls + at;
	w.mem.fail_for = n;
	scenario(&w);
	reached = w.mem.calls >= w.mem.fail_at;
	w.mem.fail_at = 0;
	world_run(&w, SECONDS(300));
	world_fini(&w);
	return reached;
}

TEST(every_single_allocation_may_fail)
{
	uint64_t at = 1;

	while (sweep(at, 1))
		at++;
	CHECK(at > 15);
}

TEST(memory_may_run_out_at_any_moment)
{
	uint64_t at = 1;

	while (sweep(at, UINT64_MAX))
		at++;
	CHECK(at > 15);
}
