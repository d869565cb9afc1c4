#include "unit/txn_world.h"

#include <string.h>

static struct client *invite(struct world *w)
{
	return world_client(w, NULL, '1', "INVITE", TRANSPORT_UDP);
}

TEST(cancel_after_a_1xx_goes_at_once)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_run(&w, SECONDS(3));
	world_clear(&w);
	client_cancel(c, STR("Reason: SIP;cause=200\r\n"), w.now);
	CHECK_SENT(&w, "CANCEL sip:bob@example.org SIP/2.0\r\n", 3000);
	CHECK(strstr(w.sent[0].text, "branch=z9hG4bK1000") != NULL);
	CHECK(strstr(w.sent[0].text, "CSeq: 7 CANCEL\r\n") != NULL);
	CHECK(strstr(w.sent[0].text, "Reason: SIP;cause=200\r\n") != NULL);
	CHECK_INT(w.sent[0].to.addr.ip[3], 2);
	CHECK(c->cancel_sent);
	CHECK(world_has(&w, '1', "CANCEL"));
	/* Once is enough (I5). */
	client_cancel(c, STR_NONE, w.now);
	CHECK_INT(w.n, 1);
	CHECK(world_answer(&w, '1', "CANCEL", 200));
	CHECK_TOLD(&w, "");
	/* The owner hears the rest. */
	world_answer(&w, '1', "INVITE", 180);
	world_answer(&w, '1', "INVITE", 487);
	CHECK_TOLD(&w, "r180 r487");
	CHECK(sent_starts(&w, 1, "ACK "));
	CHECK_INT(w.counters.v[CNT_LATE_FINAL], 0);
	world_run(&w, SECONDS(40));
	CHECK_TOLD(&w, "r180 r487 c");
	world_fini(&w);
}

/* RFC 3261 9.1. */
TEST(cancel_before_a_1xx_waits_for_it)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_run(&w, MILLIS(600));
	world_clear(&w);
	client_cancel(c, STR("Reason: SIP;cause=200\r\n"), w.now);
	CHECK_INT(w.n, 0);
	CHECK(c->owner != NULL);
	world_run(&w, SECONDS(20)); /* no timer A */
	CHECK_INT(w.n, 0);
	world_answer(&w, '1', "INVITE", 100);
	CHECK_SENT(&w, "CANCEL ", 20000);
	CHECK(strstr(w.sent[0].text, "Reason: SIP;cause=200\r\n") != NULL);
	CHECK_TOLD(&w, "r100");
	world_answer(&w, '1', "INVITE", 180);
	CHECK_INT(w.n, 1);
	world_answer(&w, '1', "CANCEL", 481);
	world_answer(&w, '1', "INVITE", 487);
	CHECK_TOLD(&w, "r100 r180 r487");
	world_run(&w, SECONDS(60));
	world_fini(&w);
}

TEST(cancel_that_nobody_answers_fails_after_64_t1)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_run(&w, SECONDS(10));
	world_clear(&w);
	client_cancel(c, STR_NONE, w.now);
	world_run(&w, SECONDS(42) - 1000);
	CHECK_TOLD(&w, "");
	/* The CANCEL is a non-INVITE request of its own. */
	CHECK_SENT(&w, "CANCEL ", 10000, 10500, 11500, 13500, 17500, 21500,
		   25500, 29500, 33500, 37500, 41500);
	world_run(&w, SECONDS(42));
	CHECK_TOLD(&w, "fsilent c");
	world_fini(&w);
	/* Before a 1xx the time runs from the wish. */
	world_init(&w);
	c = invite(&w);
	world_run(&w, SECONDS(10));
	world_clear(&w);
	client_cancel(c, STR_NONE, w.now);
	world_run(&w, SECONDS(42) - 1000);
	CHECK_TOLD(&w, "");
	world_run(&w, SECONDS(42));
	CHECK_TOLD(&w, "fsilent c");
	CHECK_INT(w.n, 0);
	world_fini(&w);
}

/* However late the 1xx: the owner does not wait any longer for it. */
TEST(cancel_delayed_by_a_late_1xx)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	client_cancel(c, STR_NONE, w.now);
	world_run(&w, SECONDS(20));
	world_answer(&w, '1', "INVITE", 180);
	world_run(&w, SECONDS(32) - 1000);
	CHECK_TOLD(&w, "r180");
	world_run(&w, SECONDS(32));
	CHECK_TOLD(&w, "r180 fsilent c");
	world_answer(&w, '1', "CANCEL", 200);
	world_run(&w, SECONDS(60));
	world_fini(&w);
}

TEST(cancel_crossed_by_a_2xx)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	client_cancel(c, STR_NONE, w.now);
	world_answer(&w, '1', "INVITE", 200);
	world_answer(&w, '1', "CANCEL", 200);
	CHECK_TOLD(&w, "r180 r200");
	CHECK_INT(c->state, CLIENT_ACCEPTED);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(only_invite_is_cancelled)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = world_client(&w, NULL, '1', "OPTIONS", TRANSPORT_UDP);
	world_answer(&w, '1', "OPTIONS", 100);
	client_cancel(c, STR_NONE, w.now);
	CHECK_INT(w.n, 1);
	CHECK(!c->cancel_wanted);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

/* ---- no memory ---- */

static void fail_next(struct world *w, uint64_t n)
{
	w->mem.fail_at = w->mem.calls + 1;
	w->mem.fail_for = n;
}

TEST(no_memory_no_client)
{
	struct world w;

	for (uint64_t skip = 0; skip < 2; skip++) {
		world_init(&w);
		w.mem.fail_at = w.mem.calls + 1 + skip;
		w.mem.fail_for = 1;
		CHECK(!invite(&w));
		CHECK_INT(w.t.n_clients, 0);
		CHECK_INT(w.n, 0);
		world_fini(&w);
	}
}

TEST(shrinking_without_memory_keeps_the_image)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	fail_next(&w, 1);
	world_answer(&w, '1', "INVITE", 180);
	CHECK_INT(c->image.n, w.sent[0].n);
	CHECK(!arena_failed(w.scratch));
	world_answer(&w, '1', "INVITE", 486);
	CHECK(sent_starts(&w, 1, "ACK "));
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(an_ack_that_cannot_be_kept_is_made_again)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	fail_next(&w, 1);
	world_answer(&w, '1', "INVITE", 486);
	CHECK(sent_starts(&w, 1, "ACK "));
	CHECK(!c->image_is_ack);
	world_answer(&w, '1', "INVITE", 486);
	CHECK(c->image_is_ack);
	CHECK_INT(w.n, 3);
	CHECK(strcmp(w.sent[1].text, w.sent[2].text) == 0);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}

TEST(a_cancel_without_memory_is_tried_again)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_clear(&w);
	fail_next(&w, UINT64_MAX);
	client_cancel(c, STR("Reason: SIP;cause=200\r\n"), w.now);
	world_run(&w, MILLIS(1400));
	CHECK_INT(w.n, 0);
	CHECK_INT(w.counters.v[CNT_NOMEM], 3);
	w.mem.fail_at = 0;
	world_run(&w, SECONDS(2));
	CHECK_SENT(&w, "CANCEL ", 1500, 2000);
	world_answer(&w, '1', "CANCEL", 200);
	world_answer(&w, '1', "INVITE", 487);
	world_run(&w, SECONDS(100));
	CHECK_INT(w.n, 3);
	world_fini(&w);
}

TEST(a_cancel_without_memory_goes_with_the_next_1xx)
{
	struct world w;
	struct client *c;

	world_init(&w);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	world_clear(&w);
	fail_next(&w, 1);
	client_cancel(c, STR("Reason: SIP;cause=200\r\n"), w.now);
	CHECK_INT(w.n, 0);
	world_run(&w, MILLIS(200));
	world_answer(&w, '1', "INVITE", 183);
	CHECK_SENT(&w, "CANCEL ", 200);
	CHECK(strstr(w.sent[0].text, "Reason: SIP;cause=200\r\n") != NULL);
	world_answer(&w, '1', "CANCEL", 200);
	/* Not once more when the next try would have been due. */
	world_run(&w, SECONDS(3));
	CHECK_INT(w.n, 1);
	CHECK_INT(w.t.n_clients, 2);
	world_answer(&w, '1', "INVITE", 487);
	world_run(&w, SECONDS(100));
	world_fini(&w);
}

/* Nothing can be written without scratch memory; later it can. */
TEST(without_scratch_memory_nothing_is_lost)
{
	static const char busy[] = "SIP/2.0 486 Busy\r\n"
				   "Via: SIP/2.0/UDP 10.0.0.1\r\n"
				   "From: <sip:alice@example.org>;tag=alice\r\n"
				   "To: <sip:bob@example.org>;tag=callee\r\n"
				   "Call-ID: call-1@example.org\r\n"
				   "CSeq: 7 INVITE\r\n\r\n";
	struct arena_cache *cache;
	struct mem mem;
	struct world w;
	struct arena *a;
	struct client *c;
	struct msg_key key;
	struct msg m;

	world_init(&w);
	mem_init(&mem);
	cache = arena_cache_new(&mem);
	a = arena_new(cache);
	CHECK_INT(msg_index(&m, a, STR(busy)), MSG_OK);
	CHECK_INT(msg_key(&m, &key), MSG_OK);
	c = invite(&w);
	world_answer(&w, '1', "INVITE", 180);
	fail_next(&w, UINT64_MAX);
	while (arena_alloc(w.scratch, 64))
		;
	arena_clear_failed(w.scratch);
	world_clear(&w);
	client_cancel(c, STR_NONE, w.now);
	CHECK_INT(w.counters.v[CNT_NOMEM], 1);
	CHECK(!arena_failed(w.scratch)); /* that is ours to know */
	key.via.branch = (struct str){c->branch, BRANCH_LEN};
	client_on_response(c, &m, &key, w.now);
	CHECK_TOLD(&w, "r486");
	CHECK_INT(w.n, 0);
	CHECK_INT(w.counters.v[CNT_NOMEM], 2);
	w.mem.fail_at = 0;
	world_answer(&w, '1', "INVITE", 486);
	CHECK_SENT(&w, "ACK ", 0);
	CHECK(c->image_is_ack);
	arena_free(&a);
	arena_cache_free(&cache);
	world_run(&w, SECONDS(32));
	world_fini(&w);
}
