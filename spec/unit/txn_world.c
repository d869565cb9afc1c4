#include "unit/txn_world.h"

#include <stdio.h>
#include <string.h>

static const int64_t START = SECONDS(1000);

static void on_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct world *w = ctx;
	struct sent *x = &w->sent[w->n];

	CHECK(w->n < sizeof(w->sent) / sizeof(w->sent[0]));
	CHECK(bytes.n < sizeof(x->text));
	memcpy(x->text, bytes.p, bytes.n);
	x->text[bytes.n] = '\0';
	x->n = bytes.n;
	x->to = *to;
	x->at = w->now.mono.us - START;
	w->n++;
}

static void tell(struct world *w, const char *word, struct client *c,
		 struct server *s)
{
	size_t n = strlen(w->told);

	CHECK(n + strlen(word) + 2 < sizeof(w->told));
	snprintf(w->told + n, sizeof(w->told) - n, "%s%s", n ? " " : "", word);
	if (w->hook)
		w->hook(w, c, s);
}

static void on_response(void *ctx, struct client *c, struct msg *m,
			const struct msg_key *key, struct now now)
{
	struct world *w = ctx;
	char word[16];

	CHECK_INT(now.mono.us, w->now.mono.us);
	CHECK(key->via.branch.n == BRANCH_LEN);
	CHECK(c->state != CLIENT_CALLING);
	snprintf(word, sizeof(word), "%c%d", c->owner ? 'r' : 'R', m->status);
	tell(w, word, c, c->up);
}

static void on_failure(void *ctx, struct client *c, enum cause cause,
		       struct now now)
{
	struct world *w = ctx;
	char word[32];

	CHECK_INT(now.mono.us, w->now.mono.us);
	CHECK(c->owner != NULL);
	CHECK(c->state == CLIENT_TERMINATED || c->hop.transport);
	snprintf(word, sizeof(word), "f%s", cause_text(cause));
	tell(w, word, c, c->up);
}

static bool on_retransmit(void *ctx, struct client *c, struct now now)
{
	struct world *w = ctx;
	char word[32];

	CHECK_INT(now.mono.us, w->now.mono.us);
	CHECK(c->owner != NULL);
	snprintf(word, sizeof(word), "t%u", c->sends);
	tell(w, word, c, c->up);
	return !w->refuse;
}

static void on_no_ack(void *ctx, struct server *s, struct now now)
{
	struct world *w = ctx;

	CHECK_INT(now.mono.us, w->now.mono.us);
	CHECK_INT(s->state, SERVER_TERMINATED);
	tell(w, "n", NULL, s);
}

static void on_server_end(void *ctx, struct server *s)
{
	CHECK(s->owner != NULL);
	tell(ctx, "s", NULL, s);
}

static void on_client_end(void *ctx, struct client *c)
{
	CHECK(c->owner != NULL);
	tell(ctx, "c", c, c->up);
}

static void on_open(void *ctx, const struct hop *flow)
{
	struct world *w = ctx;

	CHECK(w->opens < sizeof(w->opened) / sizeof(w->opened[0]));
	w->opened[w->opens++] = *flow;
}

/* What was sent on a connection that is not up yet. */
static bool on_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	struct world *w = ctx;

	CHECK(bytes.n > 0);
	for (size_t i = w->ups; i < w->opens; i++)
		if (w->opened[i].conn == to->conn)
			return true;
	return false;
}

static void on_close(void *ctx, const struct hop *flow)
{
	(void)ctx;
	(void)flow;
}

static void on_log(void *ctx, const struct log_event *e)
{
	(void)ctx;
	(void)e;
}

static void on_unsent(void *ctx, const struct flow_event *e, struct now now)
{
	struct world *w = ctx;

	(void)now;
	w->unsent = e->cause;
}

static void open_flows(struct world *w)
{
	static const struct listeners listeners = {.n = 0};
	struct flows_conf conf = {.mem = &w->mem,
				  .timers = w->timers,
				  .host = &w->host,
				  .listeners = &listeners,
				  .limits = &w->limits,
				  .counters = &w->counters,
				  .rand = &w->rand,
				  .now = &w->now,
				  .workers = 1,
				  .user = {.ctx = w, .on_unsent = on_unsent}};

	w->admission = conf.admission = admission_new((struct sipkey){3, 4});
	CHECK(w->admission != NULL);
	w->host = (struct host){.ctx = w,
				.send = on_send,
				.open = on_open,
				.withdraw = on_withdraw,
				.close = on_close,
				.log = on_log};
	stream_limits_init(&w->limits);
	rand_seed(&w->rand, 1);
	w->flows = flows_new(&conf);
	CHECK(w->flows != NULL);
}

void world_init(struct world *w)
{
	static const struct sipkeys keys = {.now = {1, 2}};

	memset(w, 0, sizeof(*w));
	mem_init(&w->mem);
	w->now.mono.us = START;
	w->cache = arena_cache_new(&w->mem);
	w->scratch = arena_new(w->cache);
	w->timers = timers_new(&w->mem, w->now.mono);
	open_flows(w);
	w->t = (struct txns){
	    .scratch = w->scratch,
	    .timers = w->timers,
	    .flows = w->flows,
	    .counters = &w->counters,
	    .times = {T1, T2, T4},
	    .keys = &keys,
	    .map_key = {3, 4},
	    .user = {w, on_response, on_failure, on_retransmit, on_no_ack,
		     on_server_end, on_client_end},
	};
	CHECK_INT(txns_init(&w->t, &w->mem), 0);
	w->to_tag = "callee";
	w->baseline = w->mem.bytes;
}

void world_fini(struct world *w)
{
	flows_close_all(w->flows, w->now);
	world_run(w, w->now.mono.us - START);
	CHECK_INT(w->t.n_servers, 0);
	CHECK_INT(w->t.n_clients, 0);
	CHECK_INT(timers_count(w->timers), 0);
	CHECK_INT(world_bytes(w), 0);
	txns_fini(&w->t);
	flows_free(&w->flows);
	admission_free(&w->admission);
	timers_free(&w->timers);
	arena_free(&w->scratch);
	arena_cache_free(&w->cache);
	CHECK_INT(w->mem.bytes, 0);
}

size_t world_bytes(struct world *w)
{
	arena_reset(w->scratch);
	return w->mem.bytes - arena_cache_bytes(w->cache) - w->baseline;
}

static void world_connect(struct world *w)
{
	while (!w->stalled && w->ups < w->opens) {
		struct flow_event up = {.kind = FLOW_UP,
					.peer = w->opened[w->ups++]};

		flows_on_event(w->flows, &up, w->now);
	}
}

void world_down(struct world *w, uint64_t conn, enum cause cause)
{
	struct flow_event down = {
	    .kind = FLOW_DOWN, .cause = cause, .peer = {.conn = conn}};

	world_connect(w);
	arena_reset(w->scratch);
	flows_on_event(w->flows, &down, w->now);
}

void world_run(struct world *w, int64_t us)
{
	tick_t until = {START + us};
	tick_t next;

	world_connect(w);
	while (next = timers_next(w->timers), !tick_before(until, next)) {
		w->now.mono = next;
		arena_reset(w->scratch);
		timers_run(w->timers, w->now);
	}
	w->now.mono = until;
	timers_run(w->timers, w->now);
}

void world_clear(struct world *w)
{
	w->n = 0;
	w->told[0] = '\0';
}

struct hop hop_to(enum transport t, const char *addr)
{
	struct hop hop = {.transport = (uint8_t)t};

	CHECK(addr_parse(str_from(addr), &hop.addr));
	return hop;
}

struct str request_text(struct world *w, const char *method, const char *via,
			const char *to_tag)
{
	int n = snprintf(w->text, sizeof(w->text),
			 "%s sip:bob@example.org SIP/2.0\r\n"
			 "Via: %s\r\n"
			 "Max-Forwards: 70\r\n"
			 "From: <sip:alice@example.org>;tag=alice\r\n"
			 "To: <sip:bob@example.org>%s%s\r\n"
			 "Call-ID: call-1@example.org\r\n"
			 "CSeq: 7 %s\r\n"
			 "Content-Type: text/plain\r\n"
			 "Content-Length: 9\r\n"
			 "\r\n"
			 "some body",
			 method, via, to_tag ? ";tag=" : "",
			 to_tag ? to_tag : "", method);

	return (struct str){w->text, (size_t)n};
}

static void parse(struct world *w, struct str text, struct msg *m,
		  struct msg_key *key)
{
	arena_reset(w->scratch);
	CHECK_INT(msg_index(m, w->scratch, text), MSG_OK);
	CHECK_INT(msg_key(m, key), MSG_OK);
}

struct server *world_match(struct world *w, struct str text)
{
	struct hop from = hop_to(TRANSPORT_UDP, "10.0.0.9:5060");
	struct msg_key key;
	struct msg m;

	parse(w, text, &m, &key);
	return server_find(&w->t, &m, &key, &from);
}

struct server *world_match_cancel(struct world *w, struct str text)
{
	struct hop from = hop_to(TRANSPORT_UDP, "10.0.0.9:5060");
	struct msg_key key;
	struct msg m;

	parse(w, text, &m, &key);
	return server_find_cancelled(&w->t, &m, &key, &from);
}

static struct hop hop_from(struct world *w, enum transport t)
{
	struct flow_event up = {.kind = FLOW_UP, .accepted = true};

	up.peer = hop_to(t, "10.0.0.9:5060");
	if (!transport_reliable(t))
		return up.peer;
	up.peer.conn = CONN;
	if (!flows_may_have(w->flows, CONN))
		flows_on_event(w->flows, &up, w->now);
	return up.peer;
}

struct server *world_receive(struct world *w, struct str text, enum transport t)
{
	struct hop from = hop_from(w, t);
	struct server *s = world_match(w, text);
	struct msg_key key;
	struct msg m;

	parse(w, text, &m, &key);
	if (s)
		server_on_request(s, m.method_id, &from, w->now);
	else if (m.method_id != METHOD_ACK)
		s = server_new(&w->t, &m, &key, &from);
	return s;
}

int world_respond(struct world *w, struct server *s, int code)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "SIP/2.0 %d Text\r\n"
			 "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKup\r\n"
			 "From: <sip:alice@example.org>;tag=alice\r\n"
			 "To: <sip:bob@example.org>;tag=%s\r\n"
			 "Call-ID: call-1@example.org\r\n"
			 "CSeq: 7 %s\r\n"
			 "Content-Length: 0\r\n"
			 "\r\n",
			 code, w->to_tag, s->invite ? "INVITE" : "OPTIONS");

	return server_respond(s, (struct str){text, (size_t)n}, code, w->now);
}

/* Ours to choose: only the length counts here. */
static const char *branch_of(char digit)
{
	static char branch[BRANCH_LEN + 1];

	memset(branch, '0', BRANCH_LEN);
	memcpy(branch, "z9hG4bK1", 8);
	branch[BRANCH_LEN - 1] = digit;
	return branch;
}

static const char *via_of(char digit)
{
	static char via[128];

	snprintf(via, sizeof(via), "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=%s",
		 branch_of(digit));
	return via;
}

struct client *world_client(struct world *w, struct server *up, char digit,
			    const char *method, enum transport t)
{
	struct str bytes = request_text(w, method, via_of(digit), NULL);
	struct hop hop = hop_to(t, "10.0.0.2:5060");

	hop.tls_name = "callee.example.org";
	arena_reset(w->scratch);
	return client_new(&w->t, up, &w->owner, method_id(str_from(method)),
			  &hop, branch_of(digit), bytes, w->now);
}

bool world_has(struct world *w, char digit, const char *method)
{
	struct str name = str_from(method);

	return client_find(&w->t, str_from(branch_of(digit)), method_id(name),
			   name) != NULL;
}

bool world_answer(struct world *w, char digit, const char *method, int code)
{
	struct msg_key key;
	struct client *c;
	struct msg m;
	int n = snprintf(w->text, sizeof(w->text),
			 "SIP/2.0 %d Text\r\n"
			 "Via: %s\r\n"
			 "From: <sip:alice@example.org>;tag=alice\r\n"
			 "To: <sip:bob@example.org>;tag=%s\r\n"
			 "Call-ID: call-1@example.org\r\n"
			 "CSeq: 7 %s\r\n"
			 "Content-Length: 0\r\n"
			 "\r\n",
			 code, via_of(digit), w->to_tag, method);

	parse(w, (struct str){w->text, (size_t)n}, &m, &key);
	c = client_find(&w->t, key.via.branch, key.cseq_id, key.cseq_method);
	if (c)
		client_on_response(c, &m, &key, w->now);
	return c != NULL;
}

bool sent_starts(const struct world *w, size_t i, const char *start)
{
	return i < w->n && strncmp(w->sent[i].text, start, strlen(start)) == 0;
}

void check_sent(struct world *w, const char *start, const int64_t *ms, size_t n)
{
	for (size_t i = 0; i < n && i < w->n; i++) {
		CHECK(sent_starts(w, i, start));
		CHECK_INT(w->sent[i].at, MILLIS(ms[i]));
	}
	CHECK_INT(w->n, n);
}
