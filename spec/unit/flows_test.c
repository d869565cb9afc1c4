/*
 * Connections behind a host that notes what it is asked. What they do on a wire
 * is told in spec/sim; this is about their edges: who shares one, other
 * workers, what comes back, and failing allocations.
 */
#include "transport/flows.h"

#include <stdio.h>
#include <string.h>

#include "support/unit.h"

enum { OTHER = 1, WORKERS = 3 }; /* ours is 0 */

struct world {
	struct mem mem;
	struct timers *timers;
	struct counters counters;
	struct rand rand;
	struct listeners listeners;
	struct stream_limits limits;
	struct host host;
	struct now now;
	struct admission *admission;
	struct flows *fs;
	/* "open 10.0.0.1:5060", "send TEXT", "close", "post 1 send TEXT",
	 * "unsent closed TEXT", "got TEXT", "bad 400", "down reset sent" */
	char told[2048];
	struct hop opened;      /* the last one */
	struct flow_link again; /* what on_down links, if `relink` */
	bool relink, sending;
	unsigned warnings; /* in the log */
};

static void tell(struct world *w, const char *what, struct str more)
{
	size_t n = strlen(w->told);

	CHECK(n + 128 < sizeof(w->told));
	if (n)
		w->told[n++] = '|';
	snprintf(w->told + n, sizeof(w->told) - n, "%s%s%.*s", what,
		 more.n ? " " : "", STR_FMT(more));
}

#define TOLD(w, text)                                                          \
	do {                                                                   \
		CHECK_STR(str_from((w)->told), text);                          \
		(w)->told[0] = '\0';                                           \
	} while (0)

static void on_open(void *ctx, const struct hop *flow)
{
	struct world *w = ctx;
	char text[ADDR_TEXT];

	w->opened = *flow;
	tell(w, "open", str_from(addr_text(&flow->addr, text)));
}

static void on_send(void *ctx, const struct hop *to, struct str bytes)
{
	tell(ctx, to->conn ? "send" : "datagram", bytes);
}

static bool on_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	(void)to;
	tell(ctx, "withdraw", bytes);
	return true;
}

static void on_close(void *ctx, const struct hop *flow)
{
	(void)flow;
	tell(ctx, "close", STR_NONE);
}

static void on_post(void *ctx, unsigned worker, const struct post *msg)
{
	char what[32];

	snprintf(what, sizeof(what), "post %u %s", worker,
		 msg->kind == POST_SEND ? "send" : "down");
	CHECK(!msg->from.tls_name);
	tell(ctx, what, msg->bytes);
}

static void on_log(void *ctx, const struct log_event *e)
{
	struct world *w = ctx;

	w->warnings += e->level == LOG_WARN;
}

static void on_message(void *ctx, const struct hop *from, struct str bytes,
		       struct now now)
{
	(void)now;
	CHECK(from->conn != 0);
	tell(ctx, "got", str_sub(bytes, 0, 3));
}

static void on_garbage(void *ctx, const struct hop *from, struct str bytes,
		       int code, struct str reason, struct now now)
{
	char what[32];

	(void)from;
	(void)bytes;
	(void)now;
	snprintf(what, sizeof(what), "bad %d", code);
	tell(ctx, what, reason);
}

static void on_unsent(void *ctx, const struct flow_event *e, struct now now)
{
	struct world *w = ctx;
	char what[32];

	(void)now;
	CHECK(!w->sending);
	CHECK_INT(e->kind, FLOW_ERROR);
	snprintf(what, sizeof(what), "unsent %s", cause_text(e->cause));
	tell(w, what, e->quoted);
}

static void world_init(struct world *w)
{
	struct flows_conf conf = {
	    .mem = &w->mem,
	    .host = &w->host,
	    .listeners = &w->listeners,
	    .limits = &w->limits,
	    .counters = &w->counters,
	    .rand = &w->rand,
	    .now = &w->now,
	    .workers = WORKERS,
	    .user = {w, on_message, on_garbage, on_unsent}};

	memset(w, 0, sizeof(*w));
	mem_init(&w->mem);
	w->now.mono.us = SECONDS(100);
	w->timers = timers_new(&w->mem, w->now.mono);
	conf.timers = w->timers;
	stream_limits_init(&w->limits);
	rand_seed(&w->rand, 1);
	w->host = (struct host){.ctx = w,
				.open = on_open,
				.send = on_send,
				.withdraw = on_withdraw,
				.close = on_close,
				.post = on_post,
				.log = on_log};
	w->admission = conf.admission = admission_new((struct sipkey){3, 4});
	CHECK(w->admission != NULL);
	w->fs = flows_new(&conf);
	CHECK(w->fs != NULL);
}

static void world_fini(struct world *w)
{
	flows_free(&w->fs);
	admission_free(&w->admission);
	CHECK_INT(timers_count(w->timers), 0);
	timers_free(&w->timers);
	CHECK_INT(w->mem.bytes, 0);
}

static void run(struct world *w, int64_t us)
{
	tick_t until = tick_add(w->now.mono, us), next;

	while (next = timers_next(w->timers), !tick_before(until, next)) {
		if (tick_before(w->now.mono, next))
			w->now.mono = next;
		timers_run(w->timers, w->now);
	}
	w->now.mono = until;
	timers_run(w->timers, w->now);
}

static struct hop hop(enum transport t, const char *addr)
{
	struct hop h = {.transport = (uint8_t)t};

	CHECK(addr_parse(str_from(addr), &h.addr));
	return h;
}

static uint64_t send_to(struct world *w, const struct hop *to, const char *text)
{
	uint64_t conn;

	w->sending = true;
	conn = flows_send(w->fs, to, str_from(text));
	w->sending = false;
	return conn;
}

static void event(struct world *w, enum flow_kind kind, const struct hop *peer,
		  bool accepted, enum cause cause)
{
	struct flow_event e = {
	    .kind = kind, .peer = *peer, .accepted = accepted, .cause = cause};

	flows_on_event(w->fs, &e, w->now);
}

/* An accepted one, from there, with that number. */
static struct hop accept_one(struct world *w, enum transport t,
			     const char *addr, uint64_t random)
{
	struct hop peer = hop(t, addr);

	peer.conn = conn_make(0, true, random);
	event(w, FLOW_UP, &peer, true, CAUSE_NONE);
	return peer;
}

static void on_down(struct flow_link *l, enum cause cause, bool sent,
		    struct now now);

static struct world *current; /* of the links */

static void on_down(struct flow_link *l, enum cause cause, bool sent,
		    struct now now)
{
	struct world *w = current;
	char what[32];
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	(void)l;
	(void)now;
	snprintf(what, sizeof(what), "down %s", cause_text(cause));
	tell(w, what, sent ? STR("sent") : STR_NONE);
	if (!w->relink)
		return;
	flows_link(w->fs, &w->again, flows_send(w->fs, &to, STR("again")));
}

static struct flow_link link_to(struct world *w)
{
	current = w;
	return (struct flow_link){.on_down = on_down};
}

/* ---- which connection ---- */

TEST(datagrams_pass_through)
{
	struct world w;
	struct hop to = hop(TRANSPORT_UDP, "10.0.0.1:5060");

	world_init(&w);
	CHECK_INT(send_to(&w, &to, "x"), 0);
	TOLD(&w, "datagram x");
	CHECK_INT(flows_count(w.fs), 0);
	world_fini(&w);
}

TEST(a_connection_is_used_again)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	uint64_t conn;

	world_init(&w);
	conn = send_to(&w, &to, "a");
	CHECK(conn != 0 && conn_worker(conn) == 0 && !(conn & 1));
	CHECK(send_to(&w, &to, "b") == conn); /* while it is being opened */
	event(&w, FLOW_UP, &w.opened, false, CAUSE_NONE);
	CHECK(send_to(&w, &to, "c") == conn);
	TOLD(&w, "open 10.0.0.1:5060|send a|send b|send c");
	world_fini(&w);
}

TEST(a_connection_is_for_one_way_only)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TLS, "10.0.0.1:5061"), h;
	uint64_t conn;

	world_init(&w);
	to.tls_name = "a.example";
	to.local = hop(TRANSPORT_TLS, "10.0.0.9").addr;
	conn = send_to(&w, &to, "");
	h = to;
	h.addr.port++;
	CHECK(send_to(&w, &h, "") != conn);
	h = to;
	h.transport = TRANSPORT_TCP;
	CHECK(send_to(&w, &h, "") != conn);
	h = to;
	h.listener = 1;
	CHECK(send_to(&w, &h, "") != conn);
	h = to;
	h.local.ip[3]++;
	CHECK(send_to(&w, &h, "") != conn);
	h = to;
	h.tls = 1;
	CHECK(send_to(&w, &h, "") != conn);
	h = to;
	h.tls_name = "b.example";
	CHECK(send_to(&w, &h, "") != conn);
	h.tls_name = NULL;
	CHECK(send_to(&w, &h, "") != conn);
	h.tls_name = "A.Example"; /* a name in any case */
	CHECK(send_to(&w, &h, "") == conn);
	CHECK_INT(flows_count(w.fs), 8);
	world_fini(&w);
}

/* RFC 3261 18.2.1, RFC 5923. */
TEST(an_accepted_one_is_used_for_its_very_address)
{
	struct world w;
	struct hop peer, to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	world_init(&w);
	accept_one(&w, TRANSPORT_TCP, "10.0.0.1:40000", 2);
	CHECK(send_to(&w, &to, "a") != conn_make(0, true, 2));
	TOLD(&w, "open 10.0.0.1:5060|send a");
	to.addr.port = 40000;
	CHECK(send_to(&w, &to, "b") == conn_make(0, true, 2));
	TOLD(&w, "send b");
	/* over TLS the name has to be proved */
	peer = hop(TRANSPORT_TLS, "10.0.0.2:40000");
	peer.conn = conn_make(0, true, 4);
	peer.tls_name = "a.example";
	event(&w, FLOW_UP, &peer, true, CAUSE_NONE);
	to = peer;
	to.conn = 0;
	CHECK(send_to(&w, &to, "c") == peer.conn);
	TOLD(&w, "send c");
	to.tls_name = "b.example";
	CHECK(send_to(&w, &to, "d") != peer.conn);
	TOLD(&w, "open 10.0.0.2:40000|send d");
	world_fini(&w);
}

TEST(too_many_are_not_opened)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	world_init(&w);
	w.limits.connections = 1;
	accept_one(&w, TRANSPORT_TCP, "10.0.0.9:40000", 2);
	CHECK_INT(send_to(&w, &to, "x"), 0);
	TOLD(&w, "");
	run(&w, 0);
	TOLD(&w, "unsent no_source x");
	CHECK_INT(w.counters.v[CNT_FLOW_REFUSED_ALL], 1);
	world_fini(&w);
}

TEST(those_who_come_leave_room_for_ours)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	char from[32];

	world_init(&w);
	w.limits.connections = 20;
	for (unsigned i = 0; i < 20; i++) {
		snprintf(from, sizeof(from), "10.0.1.%u:40000", i);
		accept_one(&w, TRANSPORT_TCP, from, 2 * (i + 1));
	}
	CHECK_INT(flows_count(w.fs), 18);
	CHECK_INT(w.counters.v[CNT_FLOW_REFUSED_ALL], 2);
	TOLD(&w, "close|close");
	CHECK(send_to(&w, &to, "x") != 0);
	TOLD(&w, "open 10.0.0.1:5060|send x");
	world_fini(&w);
}

/* A machine with IPv6 has a /64 at the least, and all its addresses. */
TEST(a_network_of_ipv6_is_one_source)
{
	struct world w;
	char from[64];

	world_init(&w);
	w.limits.per_source = 3;
	for (unsigned i = 1; i <= 5; i++) {
		snprintf(from, sizeof(from), "[2001:db8::%x:0:1]:40000", i);
		accept_one(&w, TRANSPORT_TCP, from, 2 * i);
	}
	CHECK_INT(w.counters.v[CNT_FLOW_REFUSED_SOURCE], 2);
	accept_one(&w, TRANSPORT_TCP, "[2001:db8:0:1::1]:40000", 20);
	for (unsigned i = 1; i <= 5; i++) {
		snprintf(from, sizeof(from), "10.0.0.%u:40000", i);
		accept_one(&w, TRANSPORT_TCP, from, 20 + 2 * i);
	}
	CHECK_INT(w.counters.v[CNT_FLOW_REFUSED_SOURCE], 2);
	CHECK_INT(flows_count(w.fs), 9);
	world_fini(&w);
}

static void fail_to_open(struct world *w)
{
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	send_to(w, &to, "x");
	event(w, FLOW_DOWN, &w->opened, false, CAUSE_REFUSED);
	w->told[0] = '\0';
}

/* In a flood of other lines, which then stands for it. */
TEST(a_failure_that_was_left_out_of_the_log_is_news)
{
	struct world w;
	struct hop peer;

	world_init(&w);
	for (unsigned i = 0; i < 60; i++) {
		peer = accept_one(&w, TRANSPORT_TCP, "10.0.0.9:40000", 2);
		event(&w, FLOW_DOWN, &peer, true, CAUSE_RESET);
	}
	CHECK_INT(w.warnings, 50);
	fail_to_open(&w);
	CHECK_INT(w.warnings, 50);
	run(&w, SECONDS(2));
	fail_to_open(&w);
	CHECK_INT(w.warnings, 51);
	fail_to_open(&w);
	CHECK_INT(w.warnings, 51);
	world_fini(&w);
}

/* ---- ends ---- */

TEST(a_named_one_that_is_gone_is_not_replaced)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	world_init(&w);
	to.conn = conn_make(0, true, 2);
	CHECK(!flows_may_have(w.fs, to.conn));
	CHECK(send_to(&w, &to, "x") == to.conn);
	CHECK(send_to(&w, &to, "y") == to.conn);
	TOLD(&w, "");
	run(&w, 0);
	TOLD(&w, "unsent closed x|unsent closed y");
	world_fini(&w);
}

TEST(who_waits_is_told_whether_it_was_up)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	struct flow_link a = link_to(&w), b = link_to(&w), c = link_to(&w);

	world_init(&w);
	flows_link(w.fs, &a, send_to(&w, &to, "x"));
	run(&w, SECONDS(2));
	TOLD(&w, "open 10.0.0.1:5060|send x|close|down connect_timeout");
	flows_link(w.fs, &a, send_to(&w, &to, "x"));
	flows_link(w.fs, &b, a.flow ? w.opened.conn : 0);
	flows_link(w.fs, &c, w.opened.conn);
	flows_unlink(&b);
	event(&w, FLOW_UP, &w.opened, false, CAUSE_NONE);
	event(&w, FLOW_DOWN, &w.opened, false, CAUSE_RESET);
	TOLD(&w, "open 10.0.0.1:5060|send x|down reset sent|down reset sent");
	CHECK(!a.flow && !b.flow && !c.flow);
	CHECK_INT(flows_count(w.fs), 0);
	world_fini(&w);
}

TEST(what_waits_for_a_connection_can_be_taken_back)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	struct flow_link a = link_to(&w);

	world_init(&w);
	CHECK(!flows_withdraw(&a, STR("x")));
	flows_link(w.fs, &a, send_to(&w, &to, "x"));
	CHECK(flows_withdraw(&a, STR("x")));
	TOLD(&w, "open 10.0.0.1:5060|send x|withdraw x");
	event(&w, FLOW_UP, &w.opened, false, CAUSE_NONE);
	CHECK(!flows_withdraw(&a, STR("x")));
	TOLD(&w, "");
	flows_unlink(&a);
	flows_close_all(w.fs, w.now);
	world_fini(&w);
}

TEST(who_is_told_may_go_on_elsewhere)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	struct flow_link a = link_to(&w);

	world_init(&w);
	w.relink = true;
	flows_link(w.fs, &a, send_to(&w, &to, "x"));
	event(&w, FLOW_UP, &w.opened, false, CAUSE_NONE);
	event(&w, FLOW_DOWN, &w.opened, false, CAUSE_CLOSED);
	TOLD(&w, "open 10.0.0.1:5060|send x|down closed sent|"
		 "open 10.0.0.1:5060|send again");
	CHECK(w.again.flow != NULL);
	flows_unlink(&w.again);
	world_fini(&w);
}

TEST(events_about_strangers_are_nothing)
{
	struct world w;
	struct hop peer = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	world_init(&w);
	peer.conn = conn_make(0, false, 2);
	event(&w, FLOW_UP, &peer, false, CAUSE_NONE);
	event(&w, FLOW_DOWN, &peer, false, CAUSE_RESET);
	flows_receive(w.fs, &peer, STR("OPTIONS"), w.now);
	CHECK_INT(w.counters.v[CNT_FLOW_STRAY], 1);
	/* a handshake that failed: there was nothing yet */
	event(&w, FLOW_DOWN, &peer, true, CAUSE_TLS_HANDSHAKE);
	CHECK_INT(w.counters.v[CNT_FLOW_REFUSED_TLS], 1);
	TOLD(&w, "");
	world_fini(&w);
}

/* ---- other workers ---- */

TEST(another_workers_connection_is_used_by_post)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");
	struct flow_link a = link_to(&w);
	struct post down = {.kind = POST_DOWN, .cause = CAUSE_RESET};

	world_init(&w);
	to.conn = conn_make(OTHER, true, 2);
	to.tls_name = "borrowed";
	CHECK(flows_may_have(w.fs, to.conn));
	flows_link(w.fs, &a, send_to(&w, &to, "x"));
	TOLD(&w, "post 1 send x");
	/* it is said again that somebody waits */
	run(&w, w.limits.idle / 2);
	TOLD(&w, "post 1 send");
	down.from.conn = to.conn;
	flows_on_post_down(w.fs, &down, w.now);
	TOLD(&w, "down reset sent");
	flows_on_post_down(w.fs, &down, w.now);
	TOLD(&w, "");
	/* nobody waits: nothing is kept */
	flows_link(w.fs, &a, to.conn);
	flows_unlink(&a);
	CHECK_INT(timers_count(w.timers), 0);
	world_fini(&w);
}

TEST(a_worker_that_is_none_has_no_connections)
{
	struct world w;
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060");

	world_init(&w);
	to.conn = conn_make(WORKERS, true, 2);
	CHECK(!flows_may_have(w.fs, to.conn));
	send_to(&w, &to, "x");
	run(&w, 0);
	TOLD(&w, "unsent closed x");
	world_fini(&w);
}

static struct post send_by(unsigned worker, uint64_t conn, const char *text)
{
	struct post post = {.kind = POST_SEND, .bytes = str_from(text)};

	post.from = hop(TRANSPORT_TCP, "10.0.0.1:40000");
	post.from.conn = conn;
	post.from.worker = (uint8_t)worker;
	return post;
}

TEST(others_send_on_ours_and_hear_of_its_end)
{
	struct world w;
	struct hop peer;
	struct post post;

	world_init(&w);
	peer = accept_one(&w, TRANSPORT_TCP, "10.0.0.1:40000", 2);
	post = send_by(2, peer.conn, "x");
	flows_on_post_send(w.fs, &post);
	post = send_by(OTHER, peer.conn, "");
	flows_on_post_send(w.fs, &post);
	TOLD(&w, "send x");
	event(&w, FLOW_DOWN, &peer, true, CAUSE_CLOSED);
	TOLD(&w, "post 1 down|post 2 down");
	/* and those who come too late */
	flows_on_post_send(w.fs, &post);
	TOLD(&w, "post 1 down");
	post = send_by(2, peer.conn, "y");
	flows_on_post_send(w.fs, &post);
	TOLD(&w, "unsent closed y");
	world_fini(&w);
}

TEST(somebody_who_waits_elsewhere_keeps_ours_from_being_idle)
{
	struct world w;
	struct hop peer, to = hop(TRANSPORT_TCP, "10.0.0.2:5060");
	struct post post;

	world_init(&w);
	send_to(&w, &to, "x");
	peer = w.opened;
	event(&w, FLOW_UP, &peer, false, CAUSE_NONE);
	post = send_by(OTHER, peer.conn, "");
	for (int i = 0; i < 8; i++) {
		run(&w, w.limits.idle / 2);
		flows_on_post_send(w.fs, &post);
	}
	CHECK_INT(flows_count(w.fs), 1);
	run(&w, w.limits.idle);
	CHECK_INT(flows_count(w.fs), 0);
	CHECK_INT(w.counters.v[CNT_FLOW_END_IDLE], 1);
	world_fini(&w);
}

/* ---- reading ---- */

#define MESSAGE "abc sip:x SIP/2.0\r\nl:0\r\n\r\n"

TEST(a_piece_is_read_in_turns_and_in_order)
{
	struct world w;
	struct hop peer;
	char all[100 * sizeof(MESSAGE)] = "";

	world_init(&w);
	peer = accept_one(&w, TRANSPORT_TCP, "10.0.0.1:40000", 2);
	for (size_t i = 0; i < 100; i++)
		memcpy(all + i * (sizeof(MESSAGE) - 1), MESSAGE,
		       sizeof(MESSAGE) - 1);
	all[70 * (sizeof(MESSAGE) - 1)] = 'z';
	flows_receive(w.fs, &peer,
		      (struct str){all, 100 * (sizeof(MESSAGE) - 1)}, w.now);
	CHECK_INT(strlen(w.told), 64 * strlen("got abc|") - 1);
	w.told[0] = '\0';
	/* what comes meanwhile waits behind it */
	flows_receive(w.fs, &peer, STR("yyy"), w.now);
	TOLD(&w, "");
	flows_receive(w.fs, &peer, STR(" sip:x SIP/2.0\r\nl:0\r\n\r\n"), w.now);
	run(&w, MILLIS(1));
	CHECK_INT(strlen(w.told), 37 * strlen("got abc|") - 1);
	CHECK_INT(strstr(w.told, "zbc") - w.told, 6 * strlen("got abc|") + 4);
	CHECK(strstr(w.told, "got yyy") != NULL);
	event(&w, FLOW_DOWN, &peer, true, CAUSE_CLOSED);
	world_fini(&w);
}

/* Whatever else the core is given finds it soon. */
TEST(many_that_wait_are_read_in_turns)
{
	struct world w;
	struct hop peer;
	char all[100 * sizeof(MESSAGE)] = "", from[32];
	unsigned runs = 0;

	world_init(&w);
	for (size_t i = 0; i < 100; i++)
		memcpy(all + i * (sizeof(MESSAGE) - 1), MESSAGE,
		       sizeof(MESSAGE) - 1);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(from, sizeof(from), "10.0.1.%u:40000", i);
		peer = accept_one(&w, TRANSPORT_TCP, from, 2 * (i + 1));
		flows_receive(w.fs, &peer, str_from(all), w.now);
		w.told[0] = '\0';
	}
	run(&w, MILLIS(1));
	for (; w.told[0]; run(&w, MILLIS(10)), runs++) {
		CHECK_INT(strlen(w.told), 4 * 36 * strlen("got abc|") - 1);
		w.told[0] = '\0';
	}
	CHECK_INT(runs, 3);
	world_fini(&w);
}

/* A busy connection is hardly ever between two messages. */
TEST(each_message_has_its_own_time)
{
	struct world w;
	struct hop peer;

	world_init(&w);
	peer = accept_one(&w, TRANSPORT_TCP, "10.0.0.1:40000", 2);
	flows_receive(w.fs, &peer, STR("a"), w.now);
	for (int i = 0; i < 10; i++) {
		run(&w, w.limits.header / 2);
		flows_receive(w.fs, &peer,
			      STR("bc sip:x SIP/2.0\r\nl:0\r\n\r\na"), w.now);
	}
	CHECK_INT(flows_count(w.fs), 1);
	run(&w, w.limits.header);
	CHECK_INT(flows_count(w.fs), 0);
	CHECK_INT(w.counters.v[CNT_FLOW_END_HEADER], 1);
	world_fini(&w);
}

/* Who says something and closes has said it, however much it was. */
TEST(what_came_before_the_end_is_read)
{
	static const char bad[] = "abc sip:x SIP/2.0\r\n\r\n";
	struct world w;
	struct hop peer;
	char all[100 * sizeof(MESSAGE) + sizeof(bad)] = "";

	for (int garbage = 0; garbage < 2; garbage++) {
		world_init(&w);
		peer = accept_one(&w, TRANSPORT_TCP, "10.0.0.1:40000", 2);
		for (size_t i = 0; i < 100; i++)
			memcpy(all + i * (sizeof(MESSAGE) - 1), MESSAGE,
			       sizeof(MESSAGE) - 1);
		if (garbage)
			strcat(all, bad);
		flows_receive(w.fs, &peer, str_from(all), w.now);
		CHECK_INT(strlen(w.told), 64 * strlen("got abc|") - 1);
		event(&w, FLOW_DOWN, &peer, true, CAUSE_CLOSED);
		CHECK(strlen(w.told) >= 100 * strlen("got abc|") - 1);
		CHECK_INT(garbage, strstr(w.told, "|bad 400") != NULL);
		CHECK_INT(flows_count(w.fs), 0);
		w.told[0] = '\0';
		run(&w, SECONDS(1));
		TOLD(&w, "");
		world_fini(&w);
	}
}

/* ---- memory ---- */

static void story(struct world *w)
{
	struct hop to = hop(TRANSPORT_TCP, "10.0.0.1:5060"), peer;
	struct flow_link a = link_to(w), b = link_to(w);

	flows_link(w->fs, &a, send_to(w, &to, "x"));
	peer = accept_one(w, TRANSPORT_TCP, "10.0.0.9:40000", 2);
	flows_receive(w->fs, &peer, STR(MESSAGE MESSAGE "OPT"), w->now);
	to.conn = conn_make(0, true, 4);
	send_to(w, &to, "gone");
	to.conn = conn_make(OTHER, true, 4);
	flows_link(w->fs, &b, send_to(w, &to, "other"));
	run(w, SECONDS(300));
	flows_unlink(&a);
	flows_unlink(&b);
	flows_close_all(w->fs, w->now);
	CHECK_INT(flows_count(w->fs), 0);
	w->told[0] = '\0';
}

TEST(every_allocation_may_fail)
{
	struct world w;
	uint64_t calls;

	world_init(&w);
	calls = w.mem.calls;
	story(&w);
	calls = w.mem.calls - calls;
	world_fini(&w);
	CHECK(calls > 4);
	for (uint64_t i = 1; i <= calls; i++) {
		world_init(&w);
		w.mem.fail_at = w.mem.calls + i;
		w.mem.fail_for = 1;
		story(&w);
		world_fini(&w);
	}
	for (uint64_t i = 1; i <= calls; i++) {
		world_init(&w);
		w.mem.fail_at = w.mem.calls + i;
		w.mem.fail_for = UINT64_MAX;
		story(&w);
		world_fini(&w);
	}
}
