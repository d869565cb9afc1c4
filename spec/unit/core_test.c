/*
 * The core behind its host boundary, without Lua: a policy in C that tries a
 * list of servers, a host that keeps what is sent. The stories themselves are
 * told in spec/sim; this file is about the boundary.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/core.h"
#include "support/unit.h"

enum { SENT_MAX = 64 };

struct sent {
	struct hop to;
	char text[4096];
};

struct world {
	struct node *node;
	struct core *core;
	struct core_user user;
	struct now now;
	struct sent sent[SENT_MAX];
	size_t n;
	struct host host;
	struct request *req;
	unsigned next; /* server to try next */
	enum outcome_kind last;
	bool freed;
};

static void fake_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct world *w = ctx;
	struct sent *s = &w->sent[w->n++ % SENT_MAX];

	s->to = *to;
	snprintf(s->text, sizeof(s->text), "%.*s", STR_FMT(bytes));
}

static bool fake_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	(void)ctx;
	(void)listener;
	(void)to;
	return addr_parse(STR("10.0.0.100:5060"), out_r);
}

static void fake_log(void *ctx, const struct log_event *e)
{
	(void)ctx;
	(void)e;
}

static bool wants(void *ctx, enum request_kind kind, struct str method)
{
	(void)ctx;
	return kind == REQUEST_INITIAL && !str_eq(method, STR("MESSAGE"));
}

static void allow(void *ctx, struct buf *out)
{
	(void)ctx;
	BUF_LIT(out, "INVITE, ACK, CANCEL, BYE, OPTIONS");
}

static void try_next(struct world *w, struct now now)
{
	static const char *const servers[] = {"10.0.0.1:5060", "10.0.0.2:5060"};
	struct try_opts opts = {.timeout = SECONDS(2), .retransmits = -1};
	struct target t = {.member = NULL};
	struct reply reply = {.code = 500};

	if (w->next == ARRAY_LEN(servers)) {
		request_reply(w->req, &reply, now);
		request_done(w->req, now);
		return;
	}
	addr_parse(str_from(servers[w->next++]), &t.hop.addr);
	request_try(w->req, &t, 1, &opts, now);
}

static void on_request(void *ctx, struct request *r, enum request_kind kind,
		       struct now now)
{
	struct world *w = ctx;

	(void)kind;
	w->req = r;
	w->next = 0;
	try_next(w, now);
}

static void on_outcome(void *ctx, struct request *r, struct now now)
{
	struct world *w = ctx;
	const struct outcome *o = request_outcome(r);

	w->last = o->kind;
	if (o->kind == OUTCOME_RESPONSE)
		request_forward(r, o->res, false, now);
	if (o->kind == OUTCOME_RESPONSE || o->kind == OUTCOME_CANCELLED)
		request_done(r, now);
	else
		try_next(w, now);
}

static void on_free(void *ctx, struct request *r)
{
	(void)r;
	((struct world *)ctx)->freed = true;
}

static bool drain(void *ctx, struct now now)
{
	(void)ctx;
	(void)now;
	return false;
}

static void world_open(struct world *w)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	struct core_user user = {.ctx = w,
				 .drain = drain,
				 .policy = {.ctx = w,
					    .wants = wants,
					    .allow = allow,
					    .on_request = on_request,
					    .on_outcome = on_outcome,
					    .on_free = on_free}};
	const char *why;

	memset(w, 0, sizeof(*w));
	w->now.mono.us = SECONDS(1000);
	w->host = (struct host){.ctx = w,
				.send = fake_send,
				.source = fake_source,
				.log = fake_log};
	w->node = node_new(1, &keys);
	listener_parse(STR("udp:10.0.0.100:5060"), &w->node->listeners.l[0],
		       &why);
	w->node->listeners.n = 1;
	w->core = core_new(w->node, 0, &w->host, key, w->now);
	w->user = user;
	core_set_user(w->core, &w->user);
}

static void world_run(struct world *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us);
	tick_t next;

	while (next = core_deadline(w->core), !tick_before(end, next)) {
		if (tick_before(w->now.mono, next))
			w->now.mono = next;
		core_expire(w->core, w->now);
	}
	w->now.mono = end;
}

static void world_close(struct world *w)
{
	struct core_stats st;

	world_run(w, SECONDS(100));
	core_stats(w->core, &st);
	CHECK_INT(st.requests, 0);
	CHECK_INT(st.servers, 0);
	CHECK_INT(st.clients, 0);
	CHECK_INT(st.timers, 0);
	core_free(&w->core);
	node_free(&w->node);
}

static void give(struct world *w, const char *from, const char *text)
{
	struct hop hop = {.transport = TRANSPORT_UDP};

	addr_parse(str_from(from), &hop.addr);
	addr_parse(STR("10.0.0.100:5060"), &hop.local);
	core_receive(w->core, w->now, &hop, str_from(text));
}

static const char invite[] =
    "INVITE sip:bob@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKabc\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:alice@example.com>;tag=1\r\n"
    "To: <sip:bob@example.com>\r\n"
    "Call-ID: c1@192.0.2.7\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:alice@192.0.2.7>\r\n"
    "Content-Length: 0\r\n\r\n";

/* Answers the i-th thing sent with a status line, keeping its headers. */
static void answer(struct world *w, size_t i, const char *status)
{
	char text[8192], from[ADDR_TEXT];
	const char *headers = strstr(w->sent[i].text, "\r\n");
	const char *to = strstr(headers, "\r\nTo:");
	const char *to_end = strstr(to + 2, "\r\n");

	snprintf(text, sizeof(text), "SIP/2.0 %s%.*s;tag=u%zu%s", status,
		 (int)(to_end - headers), headers, i, to_end);
	addr_text(&w->sent[i].to.addr, from);
	give(w, from, text);
}

static bool starts(const struct sent *s, const char *with)
{
	return strncmp(s->text, with, strlen(with)) == 0;
}

TEST(core_forwards_an_invite_and_its_answer)
{
	struct world w;

	world_open(&w);
	give(&w, "192.0.2.7:5060", invite);
	CHECK_INT(w.n, 1);
	CHECK(starts(&w.sent[0], "INVITE sip:bob@example.com SIP/2.0\r\nVia: "
				 "SIP/2.0/UDP 10.0.0.100:5060;"));
	CHECK(strstr(w.sent[0].text, "Max-Forwards: 69\r\n") != NULL);
	CHECK(strstr(w.sent[0].text, "Record-Route: <sip:10.0.0.100:5060;lr;t="
				     "1n") != NULL);
	CHECK(strstr(w.sent[0].text, "received=192.0.2.7") != NULL);
	answer(&w, 0, "180 Ringing");
	CHECK_INT(w.n, 3); /* 100 at the first response, then the 180 */
	CHECK(starts(&w.sent[1], "SIP/2.0 100 Trying\r\n"));
	CHECK(starts(&w.sent[2], "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP "
				 "192.0.2.7:5060;"));
	answer(&w, 0, "200 OK");
	CHECK(starts(&w.sent[3], "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.last, OUTCOME_RESPONSE);
	CHECK(w.freed);
	world_close(&w);
}

TEST(core_tries_the_next_server_after_silence)
{
	struct world w;
	unsigned servers = 0;

	world_open(&w);
	give(&w, "192.0.2.7:5060", invite);
	world_run(&w, SECONDS(5));
	CHECK_INT(w.last, OUTCOME_TIMEOUT);
	for (size_t i = 0; i < w.n; i++)
		if (starts(&w.sent[i], "INVITE"))
			servers |= 1u << w.sent[i].to.addr.ip[3];
	CHECK_INT(servers, 6);
	CHECK(starts(&w.sent[w.n - 1], "SIP/2.0 500"));
	world_close(&w);
}

TEST(core_hears_icmp_through_the_quoted_branch)
{
	struct world w;
	struct flow_event e = {.kind = FLOW_ERROR, .cause = CAUSE_ICMP_PORT};

	world_open(&w);
	give(&w, "192.0.2.7:5060", invite);
	e.peer = w.sent[0].to;
	e.quoted = str_from(w.sent[0].text);
	e.quoted.n = 200; /* ICMP quotes a prefix */
	core_flow_event(w.core, w.now, &e);
	CHECK_INT(w.last, OUTCOME_TRANSPORT);
	CHECK_INT(w.n, 2);
	CHECK_INT(w.sent[1].to.addr.ip[3], 2);
	world_close(&w);
}

TEST(core_answers_options_to_itself_and_405)
{
	struct world w;

	world_open(&w);
	give(&w, "192.0.2.7:5060",
	     "OPTIONS sip:10.0.0.100 SIP/2.0\r\n"
	     "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKo\r\n"
	     "Max-Forwards: 0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:10.0.0.100>"
	     "\r\nCall-ID: o1\r\nCSeq: 1 OPTIONS\r\n"
	     "Contact: <sip:a@192.0.2.7>\r\nAccept: application/sdp\r\n\r\n");
	CHECK_INT(w.n, 1);
	CHECK(starts(&w.sent[0], "SIP/2.0 200 OK\r\n"));
	CHECK(strstr(w.sent[0].text, "Allow: INVITE, ACK") != NULL);
	give(&w, "192.0.2.7:5060",
	     "MESSAGE sip:bob@example.com SIP/2.0\r\n"
	     "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKm\r\n"
	     "From: <sip:a@b>;tag=1\r\nTo: <sip:bob@example.com>"
	     "\r\nCall-ID: m1\r\nCSeq: 1 MESSAGE\r\n"
	     "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n");
	CHECK(starts(&w.sent[1], "SIP/2.0 405 Method Not Allowed\r\n"));
	CHECK(strstr(w.sent[1].text, "Allow: INVITE") != NULL);
	world_close(&w);
}

TEST(core_survives_rubbish)
{
	struct world w;

	world_open(&w);
	give(&w, "192.0.2.7:5060", "hello");
	give(&w, "192.0.2.7:5060", "\r\n\r\n");
	give(&w, "192.0.2.7:5060", "INVITE sip:x SIP/2.0\r\n\r\n");
	give(&w, "192.0.2.7:5060", "SIP/2.0 999 no\r\n\r\n");
	CHECK_INT(w.n, 0);
	CHECK_INT(core_counters(w.core)->v[CNT_KEEPALIVE], 1);
	CHECK_INT(core_counters(w.core)->v[CNT_PARSE], 3);
	CHECK_INT(core_counters(w.core)->v[CNT_BAD_NOT_SIP], 1);
	world_close(&w);
}
