/*
 * Every allocation of the main scenarios fails once, and from some point on all
 * of them do: no crash, no leak, and a caller that is answered or repeats.
 */
#include <string.h>
#include "proxy/token.h"
#include "proxy_world.h"

typedef void scenario_fn(struct pw *w);

/* What a test gives is only given when what it answers was sent. */
static void answer(struct pw *w, const char *from, const char *method,
		   const char *status)
{
	if (pw_find(w, from, method))
		pw_answer(w, from, method, status);
}

static void answered_call(struct pw *w)
{
	pw_give(w, ALICE, pw_invite());
	answer(w, SERVER1, "INVITE", "100 Trying");
	answer(w, SERVER1, "INVITE", "180 Ringing");
	answer(w, SERVER1, "INVITE", "200 OK");
	pw_run(w, SECONDS(1));
	answer(w, SERVER1, "INVITE", "200 OK");
}

static void failover(struct pw *w)
{
	pw_give(w, ALICE, pw_invite());
	answer(w, SERVER1, "INVITE", "503 Full");
	answer(w, SERVER2, "INVITE", "180 Ringing");
	answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_ack(w, "z9hG4bKabc", "u2");
}

static void silence(struct pw *w)
{
	pw_give(w, ALICE, pw_invite());
	pw_run(w, SECONDS(2));
	answer(w, SERVER1, "INVITE", "180 Ringing"); /* a stub's CANCEL */
	pw_run(w, SECONDS(2));
	answer(w, SERVER2, "INVITE", "200 OK"); /* ACK and BYE */
	pw_run(w, SECONDS(1));
	answer(w, SERVER2, "INVITE", "200 OK");
	answer(w, SERVER2, "BYE", "200 OK");
}

static void cancelled(struct pw *w)
{
	pw_give(w, ALICE, pw_invite());
	answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_cancel(w);
	answer(w, SERVER1, "CANCEL", "200 OK");
	answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_run(w, SECONDS(1));
	pw_cancel(w);
	pw_ack(w, "z9hG4bKabc", "x");
}

static void forked(struct pw *w)
{
	w->plan.fork = true;
	w->plan.opts.watch = true;
	w->plan.edit = "x";
	pw_give(w, ALICE, pw_invite());
	answer(w, SERVER1, "INVITE", "180 Ringing");
	answer(w, SERVER1, "INVITE", "401 x");
	answer(w, SERVER2, "INVITE", "407 x");
	pw_ack(w, "z9hG4bKabc", "x");
}

static void ringing(struct pw *w)
{
	w->plan.opts.ring = SECONDS(10);
	pw_give(w, ALICE, pw_invite());
	answer(w, SERVER1, "INVITE", "180 Ringing");
	pw_run(w, SECONDS(10)); /* a local 408 */
	answer(w, SERVER1, "CANCEL", "200 OK");
	answer(w, SERVER1, "INVITE", "487 Request Terminated");
	pw_ack(w, "z9hG4bKabc", "x");
}

/* Over connections that break: before a response, and after one. */
static void broken(struct pw *w)
{
	const char *why;

	listener_parse(STR("tcp:" US), &w->node->listeners.l[1], &why);
	w->node->listeners.n = 2;
	w->plan.server[0] = "tcp:" SERVER1;
	w->plan.server[1] = "tcp:" SERVER2;
	pw_give(w, ALICE, pw_invite());
	pw_run(w, MILLIS(1));
	if (w->opens > 0)
		pw_down(w, w->opened[0].conn, CAUSE_RESET);
	pw_run(w, MILLIS(1));
	answer(w, SERVER1, "INVITE", "180 Ringing"); /* a stub's CANCEL */
	answer(w, SERVER2, "INVITE", "180 Ringing");
	if (w->opens > 1)
		pw_down(w, w->opened[1].conn, CAUSE_CLOSED);
	answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_ack(w, "z9hG4bKabc", "u2");
}

/* A server with two addresses, the first of which is dead. */
static void moved(struct pw *w)
{
	struct member *m = members_by_name(&w->node->members, STR("a/3"));

	m->places.n = 2;
	CHECK(addr_parse(STR(SERVER1), &m->places.at[0].addr));
	CHECK(addr_parse(STR(SERVER2), &m->places.at[1].addr));
	m->places.at[1].rank = 1;
	w->plan.server[0] = "@a/3";
	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_invite());
	if (pw_find(w, SERVER1, "INVITE"))
		pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	answer(w, SERVER2, "INVITE", "180 Ringing");
	answer(w, SERVER2, "INVITE", "486 Busy Here");
	pw_ack(w, "z9hG4bKabc", "u2");
}

#define NEXT "10.0.0.5:5060"

static const struct zone_line zone[] = {
    {"far.example", DNS_A, 60, "10.0.0.1"},
    {"far.example", DNS_A, 60, "10.0.0.2"},
    {"next.example", DNS_A, 60, "10.0.0.5"},
    {NULL, 0, 0, NULL},
};

/* A URI with a name, whose first address is dead. */
static void named(struct pw *w)
{
	w->zone = zone;
	w->plan.server[0] = "sip:bob@far.example";
	w->plan.server[1] = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_dns(w);
	if (pw_find(w, SERVER1, "INVITE"))
		pw_icmp(w, SERVER1, "INVITE", CAUSE_ICMP_PORT);
	answer(w, SERVER2, "INVITE", "486 Busy Here");
	if (pw_find(w, SERVER2, "INVITE"))
		pw_icmp(w, SERVER2, "INVITE", CAUSE_ICMP_PORT);
	answer(w, SERVER1, "INVITE", "486 Busy Here");
	pw_ack(w, "z9hG4bKabc", "u2");
}

/* So long and so many that their copies need memory of their own. */
static size_t long_uri;

static void long_named(struct pw *w)
{
	static const char host[] = "@next.example";
	static char uri[1024];

	memset(uri, 'x', long_uri);
	memcpy(uri, "sip:", 4);
	strcpy(uri + long_uri, host);
	w->zone = zone;
	w->plan.fork = true;
	for (int i = 0; i < 6; i++)
		w->plan.server[i] = uri;
	w->plan.server[6] = NULL;
	pw_give(w, ALICE, pw_invite());
	pw_dns(w);
	/* to him or to nobody */
	CHECK(!pw_find(w, NEXT, "INVITE sip:bob@example.com"));
	answer(w, NEXT, "INVITE", "486 Busy Here");
	pw_ack(w, "z9hG4bKabc", "u5");
}

/* An ACK and a BYE to one. */
static void named_route(struct pw *w)
{
	w->zone = zone;
	pw_give(w, SERVER3,
		pw_request((struct pw_req){.method = "ACK",
					   .branch = "z9hG4bKack",
					   .uri = "sip:alice@next.example",
					   .to_tag = "1"}));
	pw_dns(w);
	pw_give(w, SERVER3,
		pw_request((struct pw_req){.method = "BYE",
					   .branch = "z9hG4bKbye",
					   .uri = "sip:alice@next.example",
					   .to_tag = "1"}));
	pw_dns(w);
	answer(w, "10.0.0.5:5060", "BYE", "200 OK");
}

static void others(struct pw *w)
{
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "REGISTER"}));
	pw_run(w, SECONDS(2));
	answer(w, SERVER2, "REGISTER", "200 OK");
	pw_give(w, ALICE, pw_request((struct pw_req){.max_forwards = "0"}));
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "OPTIONS",
					   .uri = "sip:" US,
					   .branch = "z9hG4bKo"}));
	pw_give(w, SERVER3,
		pw_request((struct pw_req){
		    .method = "BYE",
		    .branch = "z9hG4bKbye",
		    .uri = "sip:alice@192.0.2.7;maddr=10.0.0.100",
		    .to_tag = "1",
		    .headers = "Route: <sip:10.0.0.100;lr>\r\n"
			       "Route: <sip:10.0.0.5>\r\n"}));
	answer(w, "10.0.0.5:5060", "BYE", "200 OK");
	pw_give(w, SERVER3,
		pw_request((struct pw_req){.method = "ACK",
					   .branch = "z9hG4bKack",
					   .uri = "sip:alice@192.0.2.7",
					   .to_tag = "1"}));
}

/* A phone registers, is called by its token, and the server hangs up. */
static void by_token(struct pw *w)
{
	struct token t = {.side = TOKEN_PATH};
	char text[256];
	struct buf b;

	members_by_name(&w->node->members, STR("a/3"))->path =
	    MEMBER_PATH_ALWAYS;
	w->plan.server[0] = SERVER3;
	pw_give(w, "192.0.2.9:41002",
		pw_request((struct pw_req){.method = "REGISTER"}));
	answer(w, SERVER3, "REGISTER", "200 OK");
	addr_parse(STR(US), &t.local);
	addr_parse(STR("192.0.2.9:41002"), &t.peer);
	buf_fixed(&b, text, sizeof(text) - 1);
	BUF_LIT(&b, "Route: <sip:");
	token_write(&b, w->node->keys.now, &t);
	BUF_LIT(&b, "@" US ";lr>\r\n");
	text[b.n] = '\0';
	pw_give(w, SERVER3,
		pw_request((struct pw_req){.branch = "z9hG4bKtok",
					   .uri = "sip:phone@192.168.1.2",
					   .headers = text}));
	answer(w, "192.0.2.9:41002", "INVITE", "486 Busy Here");
}

static void on_end(void *ctx, struct own *o, const struct response *res,
		   enum cause cause, struct now now)
{
	struct pw *w = ctx;

	(void)o, (void)res, (void)cause, (void)now;
	w->own_ends++;
}

static void own_call(struct pw *w)
{
	struct own_conf conf = {.method = STR("INVITE"),
				.uri = STR("sip:10.0.0.1"),
				.headers = STR("X: y\r\n"),
				.timeout = SECONDS(5),
				.ctx = w,
				.on_end = on_end};
	struct own_conf bye = {
	    .method = STR("BYE"), .ctx = w, .on_end = on_end};
	struct own *invite;

	addr_parse(STR(SERVER1), &conf.hop.addr);
	invite = own_new(core_proxy(w->core[0]), &conf, w->now);
	if (!invite)
		return;
	answer(w, SERVER1, "INVITE", "180 Ringing");
	answer(w, SERVER1, "INVITE", "200 OK");
	pw_run(w, SECONDS(6));
	CHECK_INT(w->own_ends, 1);
	bye.dialog = invite;
	w->own = own_new(core_proxy(w->core[0]), &bye, w->now);
	answer(w, SERVER1, "BYE", "200 OK");
	own_free(&invite, w->now);
}

/* A request of our own to a name, whose first address is dead. */
static void own_named(struct pw *w)
{
	struct own_conf conf = {.method = STR("OPTIONS"),
				.uri = STR("sip:far.example"),
				.timeout = SECONDS(5),
				.ctx = w,
				.on_end = on_end};

	w->zone = zone;
	w->own = own_new(core_proxy(w->core[0]), &conf, w->now);
	if (!w->own)
		return;
	pw_dns(w);
	if (pw_find(w, SERVER1, "OPTIONS"))
		pw_icmp(w, SERVER1, "OPTIONS", CAUSE_ICMP_PORT);
	else if (pw_find(w, SERVER2, "OPTIONS"))
		pw_icmp(w, SERVER2, "OPTIONS", CAUSE_ICMP_PORT);
	pw_run(w, SECONDS(6));
	CHECK_INT(w->own_ends, 1);
}

/* As a UDP caller does: until the first response, and then for its final. */
static void caller_repeats(struct pw *w, const char *text)
{
	for (int i = 0; i < 6; i++) {
		pw_give(w, ALICE, text);
		pw_run(w, SECONDS(1));
	}
}

static bool has_final(struct pw *w)
{
	static const char *const starts[] = {"SIP/2.0 2", "SIP/2.0 3",
					     "SIP/2.0 4", "SIP/2.0 5"};

	for (size_t i = 0; i < ARRAY_LEN(starts); i++)
		if (pw_find(w, ALICE, starts[i]))
			return true;
	return false;
}

/* One run with allocation `at` failing, `many` in a row; false when the
 * scenario has fewer. */
static bool run(scenario_fn *scenario, uint64_t at, uint64_t many)
{
	struct pw *w = pw_open(1);
	struct mem *m = core_mem(w->core[0]);
	uint64_t before;
	bool more;

	pw_member(w, "a/3", SERVER3);
	before = m->calls;
	m->fail_at = before + at;
	m->fail_for = many;
	scenario(w);
	more = m->calls >= before + at;
	/* memory is there again: all ends well */
	m->fail_at = 0;
	own_free(&w->own, w->now);
	pw_run(w, SECONDS(40));
	if (scenario == own_call || scenario == own_named ||
	    scenario == others || scenario == by_token ||
	    scenario == named_route) {
		pw_close(w);
		return more;
	}
	/* A caller that has heard nothing repeats; one that has waits. */
	if (!pw_find(w, ALICE, "SIP/2.0 "))
		caller_repeats(w, pw_invite());
	CHECK(has_final(w));
	pw_close(w);
	return more;
}

static void sweep(scenario_fn *scenario)
{
	for (uint64_t at = 1; run(scenario, at, 1); at++)
		run(scenario, at, 3);
	for (uint64_t at = 1; run(scenario, at, UINT64_MAX); at += 3)
		;
}

TEST(nomem_answered_call)
{
	sweep(answered_call);
}

TEST(nomem_failover)
{
	sweep(failover);
}

TEST(nomem_broken_connections)
{
	sweep(broken);
}

TEST(nomem_moved)
{
	sweep(moved);
}

TEST(nomem_silence)
{
	sweep(silence);
}

TEST(nomem_cancelled)
{
	sweep(cancelled);
}

TEST(nomem_forked)
{
	sweep(forked);
}

TEST(nomem_ringing)
{
	sweep(ringing);
}

TEST(nomem_named)
{
	sweep(named);
}

TEST(nomem_long_named)
{
	for (long_uri = 500; long_uri <= 1000; long_uri += 100)
		sweep(long_named);
}

TEST(nomem_named_route)
{
	sweep(named_route);
}

TEST(nomem_own_named)
{
	sweep(own_named);
}

TEST(nomem_others)
{
	sweep(others);
}

TEST(nomem_own_call)
{
	sweep(own_call);
}

TEST(nomem_by_token)
{
	sweep(by_token);
}
