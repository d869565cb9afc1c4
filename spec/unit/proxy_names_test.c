/*
 * Names as next hops: what waits for them, how long and how many, and what
 * becomes of it when nobody wants the answer any more.
 */
#include <stdio.h>
#include "proxy_world.h"

static const struct zone_line zone[] = {
    {"far.example", DNS_A, 60, "10.0.0.5"},
    {"next.example", DNS_A, 60, "10.0.0.6"},
    {"both.example", DNS_A, 60, "10.0.0.1"},
    {"both.example", DNS_A, 60, "10.0.0.2"},
    {NULL, 0, 0, NULL},
};

#define FAR  "10.0.0.5:5060"
#define NEXT "10.0.0.6:5060"

static struct pw *world(void)
{
	struct pw *w = pw_open(1);

	pw_member(w, "a/3", SERVER3);
	w->zone = zone;
	w->plan.server[0] = "sip:bob@far.example";
	w->plan.server[1] = NULL;
	return w;
}

static void give_ack(struct pw *w, int i, const char *host)
{
	char uri[64], branch[32], call_id[32];

	snprintf(uri, sizeof(uri), "sip:x@%s", host);
	snprintf(branch, sizeof(branch), "z9hG4bKack%d", i);
	snprintf(call_id, sizeof(call_id), "ack%d@x", i);
	pw_give(w, SERVER3,
		pw_request((struct pw_req){.method = "ACK",
					   .uri = uri,
					   .branch = branch,
					   .call_id = call_id,
					   .to_tag = "1"}));
}

/* Branches of a fork, one of which is found while the other waits. */
TEST(names_in_a_fork_are_looked_up_at_once)
{
	struct pw *w = world();

	w->plan.fork = true;
	w->plan.server[1] = "sip:carol@next.example";
	pw_give(w, ALICE, pw_invite());
	QUIET(w);
	pw_dns(w);
	CHECK(pw_find(w, FAR, "INVITE sip:bob@far.example ") != NULL);
	CHECK(pw_find(w, NEXT, "INVITE sip:carol@next.example ") != NULL);
	CHECK_INT(w->n, 2);
	pw_answer(w, FAR, "INVITE", "486 Busy Here");
	pw_answer(w, NEXT, "INVITE", "404 Not Found");
	pw_close(w);
}

/* One branch has the call: nobody looks for the other any more. */
TEST(names_that_are_looked_up_end_with_the_fork)
{
	struct pw *w = world();

	w->zone = NULL;
	w->plan.fork = true;
	w->plan.server[1] = SERVER1;
	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	pw_run(w, MILLIS(1));
	CHECK(w->questions > 0);
	pw_answer(w, SERVER1, "INVITE", "200 OK");
	EXPECT(w, ALICE, "SIP/2.0 200");
	w->zone = zone;
	pw_dns(w);
	QUIET(w);
	pw_close(w);
}

TEST(names_are_not_waited_for_by_a_caller_who_has_gone)
{
	struct pw *w = world();

	w->zone = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(250)); /* its 100 is not said yet */
	pw_cancel(w);
	EXPECT(w, ALICE, "SIP/2.0 200");
	EXPECT(w, ALICE, "SIP/2.0 487");
	CHECK_INT(w->last.kind, OUTCOME_CANCELLED);
	w->zone = zone;
	pw_dns(w);
	QUIET(w);
	pw_ack(w, "z9hG4bKabc", "x");
	pw_close(w);
}

TEST(names_are_given_up_when_the_process_ends)
{
	struct pw *w = world();

	w->zone = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(1));
	core_stop(w->core[0], w->now);
	EXPECT(w, ALICE, "SIP/2.0 503");
	pw_free(w);
}

TEST(names_are_looked_up_no_longer_than_the_try_lasts)
{
	struct pw *w = world();

	w->zone = NULL;
	w->plan.opts.timeout = MILLIS(700);
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(699));
	CHECK_INT(w->outcomes, 0);
	pw_run(w, MILLIS(1));
	CHECK_INT(w->outcomes, 1);
	CHECK_INT(w->last.kind, OUTCOME_TRANSPORT);
	CHECK_INT(w->last.cause, CAUSE_DNS_TIMEOUT);
	pw_close(w);
}

/* What becomes of the request at an address says something of who is there, and
 * of nobody else of that name. */
TEST(names_of_several_servers)
{
	struct pw *w = world();
	struct member *m[] = {pw_member(w, "a/1", SERVER1),
			      pw_member(w, "a/2", SERVER2)};
	bool second;

	pw_give(w, SERVER3,
		pw_request((struct pw_req){.method = "INVITE",
					   .uri = "sip:bob@both.example"}));
	pw_dns(w);
	second = pw_find(w, SERVER2, "INVITE") != NULL;
	CHECK_INT(atomic_load(&m[second]->fact[FACT_INFLIGHT]), 1);
	pw_icmp(w, second ? SERVER2 : SERVER1, "INVITE", CAUSE_ICMP_PORT);
	CHECK_INT(atomic_load(&m[second]->fact[FACT_INFLIGHT]), 0);
	CHECK_INT(atomic_load(&m[!second]->fact[FACT_INFLIGHT]), 1);
	CHECK_INT(w->moved, 0); /* it is the last word on the first one */
	pw_answer(w, second ? SERVER1 : SERVER2, "INVITE", "200 OK");
	CHECK_INT(atomic_load(&m[second]->fact[FACT_CALLS]), 0);
	CHECK_INT(atomic_load(&m[!second]->fact[FACT_CALLS]), 1);
	pw_run(w, SECONDS(40));
	pw_free(w);
}

/* The ACK of a 2xx has nobody who would repeat it for us. */
TEST(names_for_acks_are_waited_for)
{
	struct pw *w = world();

	give_ack(w, 1, "far.example");
	QUIET(w);
	pw_dns(w);
	EXPECT(w, FAR, "ACK sip:x@far.example ");
	give_ack(w, 2, "far.example"); /* known by now */
	EXPECT(w, FAR, "ACK sip:x@far.example ");
	give_ack(w, 3, "gone.example");
	pw_dns(w);
	QUIET(w);
	CHECK_INT(pw_count(w, CNT_UNLOCATED_ACK), 1);
	CHECK_INT(pw_count(w, CNT_STRAY_ACK), 0);
	pw_close(w);
}

TEST(names_for_acks_are_bounded)
{
	struct pw *w = world();

	w->zone = NULL;
	for (int i = 0; i < 260; i++)
		give_ack(w, i, "far.example");
	CHECK_INT(pw_count(w, CNT_UNLOCATED_ACK), 4);
	w->zone = zone;
	pw_dns(w);
	CHECK_INT(w->n, 256);
	give_ack(w, 300, "next.example");
	pw_dns(w);
	CHECK_INT(w->n, 257);
	pw_close(w);
}

TEST(names_for_acks_are_given_up)
{
	struct pw *w = world();

	w->zone = NULL;
	give_ack(w, 1, "far.example");
	pw_run(w, SECONDS(2));
	CHECK_INT(pw_count(w, CNT_UNLOCATED_ACK), 1);
	give_ack(w, 2, "next.example");
	pw_free(w); /* with one that waits */
}

/* A 2xx nobody wants is ended where its Contact leads if that is known, else
 * where it came from: it must not wait. */
TEST(names_of_late_answers_are_not_waited_for)
{
	struct pw *w = world();

	w->plan.server[0] = SERVER1;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	EXPECT(w, SERVER1, "INVITE");
	w->seen = w->n;
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", NULL,
		       "Contact: <sip:bob@far.example>\r\n");
	EXPECT(w, SERVER1, "ACK sip:bob@far.example ");
	EXPECT(w, SERVER1, "BYE sip:bob@far.example ");
	pw_answer(w, SERVER1, "BYE", "200 OK");
	give_ack(w, 1, "far.example");
	pw_dns(w);
	EXPECT(w, FAR, "ACK");
	pw_answer_full(w, SERVER1, "INVITE", "200 OK", "other",
		       "Contact: <sip:bob@far.example>\r\n");
	EXPECT(w, FAR, "ACK sip:bob@far.example ");
	EXPECT(w, FAR, "BYE sip:bob@far.example ");
	pw_answer(w, FAR, "BYE", "200 OK");
	pw_close(w);
}
