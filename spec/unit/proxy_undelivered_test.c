/*
 * Responses whose connection has gone, where virtual time alone does not reach:
 * what is remembered of them and for how long, how many, and failing
 * allocations. Where they go is told in spec/sim/stream_responses_spec.lua.
 */
#include <stdio.h>
#include <string.h>
#include "proxy_world.h"

#define HOME "192.0.2.7:5070" /* where ALICE listens */

static struct pw *node(void)
{
	struct pw *w = pw_open(1);
	const char *why;

	listener_parse(STR("tcp:10.0.0.100:5060"), &w->node->listeners.l[1],
		       &why);
	w->node->listeners.n = 2;
	w->plan.server[1] = NULL;
	return w;
}

static void give(struct pw *w, const char *branch, const char *call_id)
{
	char via[128];

	snprintf(via, sizeof(via), "SIP/2.0/TCP 192.168.1.2:5070;branch=%s",
		 branch);
	pw_give_via(w, 1, TRANSPORT_TCP, ALICE,
		    pw_request((struct pw_req){
			.method = "MESSAGE", .via = via, .call_id = call_id}));
}

/* Her connection ends before the answer is there. */
static void ask(struct pw *w)
{
	give(w, "z9hG4bKm", "c1");
	pw_down(w, pw_conn(1, ALICE), CAUSE_RESET);
	if (pw_find(w, SERVER1, "MESSAGE"))
		pw_answer(w, SERVER1, "MESSAGE", "200 OK");
	pw_run(w, MILLIS(10));
}

/* RFC 3261 18.2.2. */
TEST(undelivered_goes_to_the_sent_by_port)
{
	struct pw *w = node();
	const struct pw_sent *s;

	ask(w);
	EXPECT(w, SERVER1, "MESSAGE");
	s = EXPECT(w, HOME, "SIP/2.0 200");
	CHECK_INT(w->opens, 1);
	CHECK(s->to.conn == w->opened[0].conn);
	CHECK_INT(pw_count(w, CNT_UNSENT_RESPONSE), 1);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 0);
	QUIET(w);
	pw_close(w);
}

/* RFC 3261 17.2.4. */
TEST(undelivered_is_given_up_when_nobody_is_there)
{
	struct pw *w = node();

	w->stalled = true;
	ask(w);
	CHECK_INT(w->opens, 1);
	pw_run(w, SECONDS(2)); /* to be up */
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 1);
	CHECK_INT(w->opens, 1);
	pw_close(w);
}

/* The host says so: first that it was not sent, then that it is over. */
TEST(undelivered_is_given_up_when_it_is_refused)
{
	struct pw *w = node();
	struct flow_event e = {.kind = FLOW_ERROR, .cause = CAUSE_REFUSED};
	const struct pw_sent *s;

	w->stalled = true;
	ask(w);
	s = pw_find(w, HOME, "SIP/2.0 200");
	CHECK(s != NULL);
	e.peer = s->to;
	e.quoted = str_from(s->text);
	core_flow_event(w->core[0], w->now, &e);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 1);
	pw_down(w, s->to.conn, CAUSE_REFUSED);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 1);
	CHECK_INT(w->opens, 1);
	pw_close(w);
}

/* A connection that broke after it was up has taken the response. */
TEST(undelivered_is_not_repeated_without_a_complaint)
{
	struct pw *w = node();
	size_t n;

	ask(w);
	n = w->n;
	pw_run(w, MILLIS(10));
	pw_down(w, w->opened[0].conn, CAUSE_RESET);
	pw_run(w, SECONDS(10));
	CHECK_INT(w->n, n);
	CHECK_INT(w->opens, 1);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 0);
	pw_close(w);
}

TEST(undelivered_are_so_many_at_a_time)
{
	struct pw *w = node();
	char id[32], branch[32];

	w->stalled = true;
	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "call-%d", i);
		snprintf(branch, sizeof(branch), "z9hG4bKm%d", i);
		give(w, branch, id);
		pw_answer(w, SERVER1, "MESSAGE", "200 OK");
	}
	w->n = w->seen = 0;
	for (int i = 0; i < 300; i++) {
		char text[512];
		struct flow_event e = {.kind = FLOW_ERROR,
				       .cause = CAUSE_CLOSED};

		snprintf(text, sizeof(text),
			 "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP "
			 "192.168.1.2:5070;branch=z9hG4bKm%d;"
			 "received=192.0.2.7;rport=5060\r\n"
			 "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n"
			 "Call-ID: call-%d\r\nCSeq: 1 MESSAGE\r\n"
			 "Content-Length: 0\r\n\r\n",
			 i, i);
		e.peer.transport = TRANSPORT_TCP;
		e.peer.listener = 1;
		e.peer.conn = pw_conn(1, ALICE);
		addr_parse(STR(ALICE), &e.peer.addr);
		e.quoted = str_from(text);
		core_flow_event(w->core[0], w->now, &e);
	}
	CHECK_INT(w->n, 256);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 44);
	pw_run(w, SECONDS(2));
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 300);
	pw_close(w);
}

/* Its sender says to have this name, which is all that is known of it. */
static void lose(struct pw *w, const char *host, int i)
{
	struct flow_event e = {.kind = FLOW_ERROR, .cause = CAUSE_CLOSED};
	char text[512];

	snprintf(
	    text, sizeof(text),
	    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP %s:5070;branch=z9hG4bKm%d\r\n"
	    "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n"
	    "Call-ID: call-%d\r\nCSeq: 1 MESSAGE\r\n"
	    "Content-Length: 0\r\n\r\n",
	    host, i, i);
	e.peer.transport = TRANSPORT_TCP;
	e.peer.listener = 1;
	e.peer.conn = 7;
	addr_parse(STR(ALICE), &e.peer.addr);
	e.quoted = str_from(text);
	core_flow_event(w->core[0], w->now, &e);
}

/* A stranger may call himself anything, and each name costs questions. */
TEST(undelivered_looks_for_few_names_at_a_time)
{
	struct pw *w = node();
	char name[32];

	for (int i = 0; i < 32; i++) {
		snprintf(name, sizeof(name), "host%d.example", i);
		lose(w, name, i);
	}
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 16);
	for (int i = 32; i < 64; i++) /* they wait for the same answer */
		lose(w, "host1.example", i);
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 16);
	pw_run(w, MILLIS(1));
	CHECK_INT(w->questions, 16);
	pw_run(w, SECONDS(2));
	CHECK_INT(pw_count(w, CNT_UNDELIVERED), 64);
	pw_close(w);
}

static bool run(uint64_t at, uint64_t many)
{
	struct pw *w = node();
	struct mem *m = core_mem(w->core[0]);
	uint64_t before = m->calls;
	bool more;

	m->fail_at = before + at;
	m->fail_for = many;
	ask(w);
	pw_run(w, SECONDS(5));
	more = m->calls >= before + at;
	m->fail_at = 0;
	pw_close(w);
	return more;
}

TEST(undelivered_survives_without_memory)
{
	uint64_t at;

	for (at = 1; run(at, 1); at++)
		run(at, 3);
	CHECK(at > 10);
	for (at = 1; run(at, UINT64_MAX); at++)
		;
}
