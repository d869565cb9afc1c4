/*
 * What is asserted of every message that leaves, whatever came in:
 *   the index and the scanners take it, all of it and nothing behind it;
 *   its own Via is on top of a request;
 *   it goes where something can be sent to;
 *   a request goes to a server, or to somebody who has spoken to us, unless
 *   somebody said otherwise who may, by address or by the cookie of a dialog:
 *   no open relay;
 *   a response goes to an address that a request came from;
 *   a body is one that came in, byte for byte.
 * And of the whole: the script raises nothing, no event follows the other for
 * ever, and at rest there is nothing left.
 */
#include "fuzz/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/vm.h"
#include "proxy/cookie.h"
#include "transport/via.h"

#define FATAL(...)                                                             \
	(fprintf(stderr, "fuzz_core: " __VA_ARGS__), fputc('\n', stderr),      \
	 abort())

struct fw_event {
	struct fw_event *next;
	unsigned worker;
	bool is_post;
	struct post post;
	struct flow_event flow;
	char bytes[];
};

static const char *const members[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3",
				      "10.0.0.4"};

static struct addr ip_of(const char *text)
{
	struct addr a;

	assert(addr_parse(str_from(text), &a));
	return a;
}

static bool is_member(const struct addr *a)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		struct addr m = ip_of(members[i]);

		if (addr_ip_eq(&m, a))
			return true;
	}
	return false;
}

bool fw_is_trusted(const struct addr *a)
{
	struct addr t = ip_of("10.0.0.9");

	return is_member(a) || addr_ip_eq(a, &t);
}

/* ---- what the host is asked --------------------------------------------- */

static struct fw_event *queue(struct fw *w, unsigned worker, size_t bytes)
{
	struct fw_event *e = calloc(1, sizeof(*e) + bytes);

	assert(e);
	e->worker = worker;
	*w->last = e;
	w->last = &e->next;
	return e;
}

/* It comes back, later. */
static void bounce(struct fw *w, unsigned worker, const struct hop *to,
		   struct str bytes, enum cause cause)
{
	struct fw_event *e = queue(w, worker, bytes.n);

	memcpy(e->bytes, bytes.p, bytes.n);
	e->flow = (struct flow_event){.kind = FLOW_ERROR,
				      .cause = cause,
				      .peer = *to,
				      .quoted = {e->bytes, bytes.n}};
	e->flow.peer.tls_name = NULL;
}

static bool has_spoken(const struct fw *w, const struct addr *a)
{
	size_t kept = w->n_given < FW_GIVEN ? w->n_given : FW_GIVEN;

	for (size_t i = 0; i < kept; i++)
		if (addr_ip_eq(&w->given[i].peer.addr, a))
			return true;
	for (size_t i = 0; i < FW_CONNS; i++)
		if (w->conn[i].state != FW_FREE &&
		    addr_ip_eq(&w->conn[i].hop.addr, a))
			return true;
	return w->n_given > FW_GIVEN;
}

static bool was_given(const struct fw *w, struct str body)
{
	size_t kept = w->n_given < FW_GIVEN ? w->n_given : FW_GIVEN;

	for (size_t i = 0; i < kept; i++)
		if (memmem(w->given[i].bytes.p, w->given[i].bytes.n, body.p,
			   body.n))
			return true;
	return w->n_given > FW_GIVEN;
}

static bool was_sent(const struct fw *w, struct str text)
{
	size_t kept = w->n_sent < FW_SENT ? w->n_sent : FW_SENT;

	for (size_t i = 0; i < kept; i++)
		if (memmem(w->sent[i].bytes.p, w->sent[i].bytes.n, text.p,
			   text.n))
			return true;
	return false;
}

static bool shows_cookie(const struct fw *w, struct str bytes)
{
	const char *end = bytes.p + bytes.n, *p = bytes.p;

	while ((p = memmem(p, (size_t)(end - p), ";t=1", 4))) {
		p += 3;
		if (end - p >= COOKIE_LEN &&
		    was_sent(w, (struct str){p, COOKIE_LEN}))
			return true;
	}
	return false;
}

/* Who was given the cookie of a dialog says where the other side of it is
 * (semantics 15). */
static bool has_cookie(const struct fw *w)
{
	size_t kept = w->n_given < FW_GIVEN ? w->n_given : FW_GIVEN;

	for (size_t i = 0; i < kept; i++)
		if (w->given[i].is_request &&
		    shows_cookie(w, w->given[i].bytes))
			return true;
	return false;
}

/* The limits are for what is received: a Via more may go over them, and so may
 * a Contact that is followed. */
static bool over_limit(enum msg_bad bad)
{
	return bad == MSG_TOO_MANY_HEADERS || bad == MSG_LINE_TOO_LONG ||
	       bad == MSG_TOO_BIG || bad == MSG_URI_TOO_LONG;
}

/* Of a call of our own: where that goes the answer says (RFC 3261 12.1.2). */
static bool ends_own_call(struct msg *m, const struct msg_key *key)
{
	bool is_ours = !key->via_rest.n && !msg_next(m, msg_first(m, HDR_VIA));

	return is_ours &&
	       (m->method_id == METHOD_BYE || m->method_id == METHOD_ACK);
}

static void check_message(struct fw *w, const struct hop *to, struct str bytes,
			  struct fw_message *m)
{
	struct msg msg;
	struct msg_key key;
	enum msg_bad bad;

	if (to->transport != TRANSPORT_UDP && str_eq(bytes, STR("\r\n")))
		return; /* the answer to a keep-alive */
	bad = msg_index(&msg, w->scratch, bytes);
	if (over_limit(bad))
		goto out;
	/* a refusal copies what it refuses */
	if (bad == MSG_BAD_CHAR && msg.status == 400)
		bad = MSG_OK;
	if (!bad && (msg.is_request || msg.status < 400))
		bad = msg_key(&msg, &key);
	if (bad)
		FATAL("sent what is no message (%s): %.*s", msg_bad_text(bad).p,
		      STR_FMT(bytes));
	assert(msg.raw.n == bytes.n);
	assert(!msg.is_request || via_is_ours(&w->node->listeners, &key.via));
	m->is_request = msg.is_request;
	m->status = msg.is_request ? 0 : msg.status;
	if (msg.body.n && !was_given(w, msg.body))
		FATAL("a body of its own: %.*s", STR_FMT(bytes));
	if (!w->anywhere && !has_spoken(w, &to->addr) &&
	    !(msg.is_request && (is_member(&to->addr) ||
				 ends_own_call(&msg, &key) || has_cookie(w))))
		FATAL("sent where nobody may send: %.*s", STR_FMT(bytes));
out:
	arena_reset(w->scratch);
}

static struct fw_conn *conn_of(struct fw *w, uint64_t conn)
{
	for (size_t i = 0; i < FW_CONNS; i++)
		if (w->conn[i].state != FW_FREE && w->conn[i].hop.conn == conn)
			return &w->conn[i];
	return NULL;
}

static void send_on(struct fw *w, unsigned worker, const struct hop *to,
		    struct str copy)
{
	struct fw_conn *c = conn_of(w, to->conn);

	if (!c || (c->state == FW_OPENING && c->n == ARRAY_LEN(c->waiting)))
		bounce(w, worker, to, copy, CAUSE_CLOSED);
	else if (c->state == FW_OPENING)
		c->waiting[c->n++] = copy;
}

static void mix(struct fw *w, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		w->hash = (w->hash ^ (uint8_t)s.p[i]) * 0x100000001b3;
}

static void verb_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct fw_host *h = ctx;
	struct fw *w = h->w;
	struct fw_message *m = &w->sent[w->n_sent % FW_SENT];
	struct fw_message new = {.peer = *to, .worker = h->worker};

	assert(to->listener < w->node->listeners.n && to->addr.port);
	assert(w->node->listeners.l[to->listener].transport == to->transport);
	assert(!addr_is_unsendable(&to->addr));
	check_message(w, to, bytes, &new);
	new.bytes = arena_str(w->arena, bytes);
	assert(new.bytes.p);
	new.peer.tls_name = NULL;
	mix(w, bytes);
	if (++w->n_sent > FW_SENT_MAX)
		FATAL("it does not stop sending");
	*m = new;
	if (to->transport != TRANSPORT_UDP)
		send_on(w, h->worker, to, m->bytes);
	else if (w->away)
		bounce(w, h->worker, to, bytes, CAUSE_NO_SOURCE);
}

static struct fw_conn *new_conn(struct fw *w)
{
	for (size_t i = 0; i < FW_CONNS; i++)
		if (w->conn[i].state == FW_FREE)
			return &w->conn[i];
	return NULL;
}

static void verb_open(void *ctx, const struct hop *flow)
{
	struct fw_host *h = ctx;
	struct fw_conn *c = new_conn(h->w);
	struct fw_event *e;

	assert(!conn_of(h->w, flow->conn));
	if (c) {
		*c = (struct fw_conn){FW_OPENING, false,       h->worker,
				      *flow,      {{NULL, 0}}, 0};
		c->hop.tls_name = NULL;
		h->w->conns++;
		return;
	}
	e = queue(h->w, h->worker, 0);
	e->flow = (struct flow_event){
	    .kind = FLOW_DOWN, .cause = CAUSE_REFUSED, .peer = *flow};
	e->flow.peer.tls_name = NULL;
}

static bool verb_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	(void)ctx;
	(void)to;
	(void)bytes;
	return false;
}

static void verb_close(void *ctx, const struct hop *flow)
{
	struct fw_host *h = ctx;
	struct fw_conn *c = conn_of(h->w, flow->conn);

	if (c)
		c->state = FW_FREE;
}

static void verb_query(void *ctx, struct query *q)
{
	struct fw_host *h = ctx;
	struct fw *w = h->w;

	assert(w->queries < FW_QUERIES);
	w->query[w->queries++] = (struct fw_query){q, h->worker};
}

static void verb_unquery(void *ctx, struct query *q)
{
	struct fw *w = ((struct fw_host *)ctx)->w;
	unsigned kept = 0;

	for (unsigned i = 0; i < w->queries; i++)
		if (w->query[i].q != q)
			w->query[kept++] = w->query[i];
	assert(kept + 1 == w->queries);
	w->queries = kept;
}

static bool verb_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	struct fw *w = ((struct fw_host *)ctx)->w;
	uint16_t port = w->node->listeners.l[listener].addr.port;

	assert(listener < w->node->listeners.n);
	*out_r = ip_of(to->family == ADDR_V6 ? "2001:db8::100" : "10.0.0.100");
	out_r->port = port;
	return !w->away;
}

static void verb_post(void *ctx, unsigned worker, const struct post *msg)
{
	struct fw *w = ((struct fw_host *)ctx)->w;
	const char *name = msg->from.tls_name;
	size_t n = name ? strlen(name) + 1 : 0;
	struct fw_event *e = queue(w, worker, msg->topic.n + msg->bytes.n + n);
	char *at = e->bytes;

	assert(worker < FW_WORKERS);
	e->is_post = true;
	e->post = *msg;
	e->post.topic.p = at;
	if (msg->topic.n)
		memcpy(at, msg->topic.p, msg->topic.n);
	at += msg->topic.n;
	e->post.bytes.p = at;
	if (msg->bytes.n)
		memcpy(at, msg->bytes.p, msg->bytes.n);
	at += msg->bytes.n;
	if (name)
		e->post.from.tls_name = memcpy(at, name, n);
}

static void verb_log(void *ctx, const struct log_event *e)
{
	struct fw *w = ((struct fw_host *)ctx)->w;
	char text[4096];
	struct buf b;

	if (strncmp(e->key, "lua.", 4) != 0 || e->level != LOG_ERROR)
		return;
	buf_fixed(&b, text, sizeof(text));
	log_write_logfmt(&b, e, (wall_t){0});
	/* errors are told once, and how many there were by a later input */
	if (!w->starved &&
	    !(w->was_starved && memmem(text, b.n, " suppressed=", 12)))
		FATAL("%.*s", STR_FMT(buf_str(&b)));
}

/* ---- what it tells ------------------------------------------------------- */

static void settle(struct fw *w)
{
	unsigned n = 0;

	while (w->first) {
		struct fw_event *e = w->first;

		w->first = e->next;
		if (!w->first)
			w->last = &w->first;
		if (e->is_post)
			core_post(w->core[e->worker], w->now, &e->post);
		else
			core_flow_event(w->core[e->worker], w->now, &e->flow);
		free(e);
		if (++n > 20000)
			FATAL("its workers do not stop talking");
	}
}

void fw_run(struct fw *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us);
	unsigned spins = 0;

	for (;;) {
		unsigned first = 0;
		tick_t due = core_deadline(w->core[0]);

		for (unsigned i = 1; i < FW_WORKERS; i++)
			if (core_deadline(w->core[i]).us < due.us) {
				due = core_deadline(w->core[i]);
				first = i;
			}
		if (due.us > end.us)
			break;
		if (due.us > w->now.mono.us) {
			w->now.wall.us += due.us - w->now.mono.us;
			w->now.mono = due;
			spins = 0;
		}
		core_expire(w->core[first], w->now);
		settle(w);
		if (++spins > 10000)
			FATAL("it wants to be called again and again");
	}
	w->now.wall.us += end.us - w->now.mono.us;
	w->now.mono = end;
}

static void note_given(struct fw *w, const struct hop *from, struct str bytes)
{
	struct fw_message *m = &w->given[w->n_given % FW_GIVEN];

	*m = (struct fw_message){.peer = *from, .bytes = bytes};
	m->is_request = !str_starts(bytes, STR("SIP/"));
	w->n_given++;
	if (fw_is_trusted(&from->addr))
		w->anywhere = true;
}

void fw_datagram(struct fw *w, const struct hop *from, struct str bytes)
{
	unsigned worker = (from->addr.port ^ from->addr.ip[3]) % FW_WORKERS;
	char *exact = malloc(bytes.n + 1);

	assert(exact);
	note_given(w, from, arena_str(w->arena, bytes));
	memcpy(exact, bytes.p, bytes.n);
	core_receive(w->core[worker], w->now, from,
		     (struct str){exact, bytes.n});
	free(exact);
	settle(w);
}

/* What came last over this connection, whatever came elsewhere since. */
static struct fw_message *last_over(struct fw *w, uint64_t conn)
{
	for (size_t i = 1; i <= w->n_given && i <= FW_GIVEN; i++) {
		struct fw_message *m = &w->given[(w->n_given - i) % FW_GIVEN];

		if (m->peer.conn == conn)
			return m;
	}
	return NULL;
}

/* What comes in pieces is remembered as one. */
void fw_chunk(struct fw *w, struct fw_conn *c, struct str bytes)
{
	struct fw_message *m = last_over(w, c->hop.conn);
	char *exact = malloc(bytes.n + 1), *both;

	assert(exact);
	if (m) {
		both = arena_alloc(w->arena, m->bytes.n + bytes.n + 1);
		memcpy(both, m->bytes.p, m->bytes.n);
		memcpy(both + m->bytes.n, bytes.p, bytes.n);
		m->bytes = (struct str){both, m->bytes.n + bytes.n};
	} else {
		note_given(w, &c->hop, arena_str(w->arena, bytes));
	}
	memcpy(exact, bytes.p, bytes.n);
	if (c->state == FW_UP)
		core_receive(w->core[c->worker], w->now, &c->hop,
			     (struct str){exact, bytes.n});
	free(exact);
	settle(w);
}

void fw_message(struct fw *w, const struct hop *from, struct str bytes)
{
	struct fw_conn *c;

	if (from->transport == TRANSPORT_UDP) {
		fw_datagram(w, from, bytes);
		return;
	}
	c = conn_of(w, from->conn);
	if (c && c->state == FW_OPENING)
		fw_up(w, c);
	c = conn_of(w, from->conn);
	if (c)
		fw_chunk(w, c, bytes);
}

void fw_accept(struct fw *w, const struct addr *peer, enum transport t)
{
	struct fw_conn *c = new_conn(w);
	struct flow_event e = {.kind = FLOW_UP, .accepted = true};

	if (!c)
		return;
	w->conns++;
	*c = (struct fw_conn){.state = FW_UP,
			      .accepted = true,
			      .worker = (unsigned)(w->conns % FW_WORKERS)};
	c->hop = (struct hop){
	    .listener = t == TRANSPORT_TLS ? 2 : 1,
	    .transport = (uint8_t)t,
	    .worker = (uint8_t)c->worker,
	    .addr = *peer,
	    .local =
		ip_of(peer->family == ADDR_V6 ? "2001:db8::100" : "10.0.0.100"),
	    .conn = conn_make(c->worker, true, w->conns << 8),
	};
	c->hop.local.port = t == TRANSPORT_TLS ? 5061 : 5060;
	/* no two connections have both ends in common */
	c->hop.addr.port = (uint16_t)(20000 + w->conns % 30000);
	if (fw_is_trusted(peer))
		w->anywhere = true;
	e.peer = c->hop;
	core_flow_event(w->core[c->worker], w->now, &e);
	settle(w);
}

void fw_up(struct fw *w, struct fw_conn *c)
{
	struct flow_event e = {.kind = FLOW_UP};

	c->state = FW_UP;
	if (c->hop.local.family == ADDR_NONE)
		c->hop.local =
		    ip_of(c->hop.addr.family == ADDR_V6 ? "2001:db8::100"
							: "10.0.0.100");
	c->hop.local.port = 40000;
	e.peer = c->hop;
	core_flow_event(w->core[c->worker], w->now, &e);
	settle(w);
}

void fw_down(struct fw *w, struct fw_conn *c, enum cause cause)
{
	struct flow_event e = {.kind = FLOW_DOWN,
			       .cause = cause,
			       .accepted = c->accepted,
			       .peer = c->hop};
	struct fw_conn gone = *c;

	c->state = FW_FREE;
	for (unsigned i = 0; gone.state == FW_OPENING && i < gone.n; i++)
		bounce(w, gone.worker, &gone.hop, gone.waiting[i], cause);
	settle(w);
	core_flow_event(w->core[gone.worker], w->now, &e);
	settle(w);
}

void fw_icmp(struct fw *w, const struct fw_message *m, enum cause cause,
	     size_t quoted)
{
	struct flow_event e = {.kind = FLOW_ERROR,
			       .cause = cause,
			       .peer = m->peer,
			       .quoted = m->bytes};

	if (m->peer.transport != TRANSPORT_UDP)
		return;
	if (quoted && quoted < e.quoted.n)
		e.quoted.n = quoted;
	core_flow_event(w->core[m->worker], w->now, &e);
	settle(w);
}

void fw_answer(struct fw *w, unsigned i, const struct answer *a)
{
	struct fw_query q = w->query[i];

	w->query[i] = w->query[--w->queries];
	if (a->status == ANSWER_REPLY)
		w->anywhere = true;
	core_answer(w->core[q.worker], w->now, q.q, a);
	settle(w);
}

/* ---- its life ------------------------------------------------------------ */

static bool read_file(const char *path, char **bytes_r, size_t *n_r)
{
	FILE *in = fopen(path, "rb");
	char *p = in ? malloc(1 << 18) : NULL;

	if (!in)
		return false;
	*n_r = fread(p, 1, (1 << 18) - 1, in);
	assert(feof(in));
	fclose(in);
	p[*n_r] = '\0';
	*bytes_r = p;
	return true;
}

static bool load_file(void *ctx, const char *name, bool is_module,
		      char **bytes_r, size_t *n_r, char *shown, size_t shown_n)
{
	char path[256];

	(void)ctx;
	if (!is_module) {
		snprintf(shown, shown_n, "%s", name);
		return read_file(name, bytes_r, n_r);
	}
	snprintf(path, sizeof(path), "lua/%s", name);
	for (char *c = path; *c; c++)
		*c = *c == '.' ? '/' : *c;
	strcat(path, ".lua");
	snprintf(shown, shown_n, "%s", path);
	if (read_file(path, bytes_r, n_r))
		return true;
	strcpy(path + strlen(path) - 4, "/init.lua");
	snprintf(shown, shown_n, "%s", path);
	return read_file(path, bytes_r, n_r);
}

static void fill_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	struct fw *w = ctx;

	out_r->loader.load = load_file;
	out_r->path = "spec/fuzz/core.lua";
	out_r->log = verb_log;
	out_r->log_ctx = &w->ctx[i];
	out_r->now = w->now;
	out_r->seed[0] = (uint8_t)i;
}

static void make_host(struct fw *w, unsigned i)
{
	w->ctx[i] = (struct fw_host){w, i};
	w->host[i] = (struct host){
	    .ctx = &w->ctx[i],
	    .send = verb_send,
	    .open = verb_open,
	    .withdraw = verb_withdraw,
	    .close = verb_close,
	    .query = verb_query,
	    .unquery = verb_unquery,
	    .source = verb_source,
	    .post = verb_post,
	    .log = verb_log,
	};
}

static void own_addresses(struct listeners *ls)
{
	ls->own[0] = ip_of("10.0.0.100");
	ls->own[1] = ip_of("2001:db8::100");
	ls->owns = 2;
}

static void start(struct fw *w)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	struct script *s[FW_WORKERS];
	char why[4096] = "";

	if (generation_load(&w->scripts, FW_WORKERS, fill_conf, w, why,
			    sizeof(why)))
		FATAL("%s", why);
	memcpy(s, w->scripts.script, sizeof(s));
	w->node = node_new(FW_WORKERS, &keys);
	assert(w->node && script_apply(s[0], w->node) == 0);
	own_addresses(&w->node->listeners);
	for (unsigned i = 0; i < FW_WORKERS; i++) {
		w->core[i] = core_new(w->node, i, &w->host[i], key, w->now);
		assert(w->core[i]);
	}
	for (unsigned i = 0; i < FW_WORKERS; i++)
		assert(script_bind(s[i], w->core[i], w->now) == 0);
}

struct fw *fw_new(void)
{
	struct fw *w = calloc(1, sizeof(*w));
	struct script_stats ss;

	assert(w);
	w->last = &w->first;
	w->now.mono.us = SECONDS(4096);
	w->now.wall.us = SECONDS(1767225600);
	mem_init(&w->mem);
	w->arenas = arena_cache_new(&w->mem);
	w->arena = arena_new(w->arenas);
	w->scratch = arena_new(w->arenas);
	assert(w->scratch);
	for (unsigned i = 0; i < FW_WORKERS; i++)
		make_host(w, i);
	start(w);
	settle(w);
	/* What it does every second of the hours that an input lasts is no
	 * answer to it. */
	for (unsigned i = 0; i < FW_WORKERS; i++)
		script_quiesce(w->scripts.script[i], w->now);
	fw_run(w, SECONDS(10));
	for (unsigned i = 0; i < FW_WORKERS; i++) {
		script_collect(w->scripts.script[i]);
		core_stats(w->core[i], &w->base[i]);
		script_stats(w->scripts.script[i], &ss);
		w->timers[i] = ss.timers;
	}
	return w;
}

void fw_free(struct fw **slot)
{
	struct fw *w = *slot;

	*slot = NULL;
	for (unsigned i = 0; i < FW_WORKERS; i++)
		script_unbind(w->scripts.script[i], w->now);
	for (unsigned i = 0; i < FW_WORKERS; i++)
		core_stop(w->core[i], w->now);
	while (w->first) {
		struct fw_event *e = w->first;

		w->first = e->next;
		free(e);
	}
	generation_free(&w->scripts);
	for (unsigned i = 0; i < FW_WORKERS; i++)
		core_free(&w->core[i]);
	node_free(&w->node);
	arena_free(&w->arena);
	arena_free(&w->scratch);
	arena_cache_free(&w->arenas);
	assert(!w->mem.bytes);
	free(w);
}

void fw_begin(struct fw *w)
{
	int64_t round = SECONDS(4096);
	int64_t next = (w->now.mono.us / round + 1) * round;

	fw_run(w, next - w->now.mono.us);
	for (unsigned i = 0; i < FW_WORKERS; i++)
		rand_seed(core_rand(w->core[i]), i + 1);
	arena_reset(w->arena);
	w->n_sent = w->n_given = 0;
	w->hash = 0xcbf29ce484222325;
	w->anywhere = w->starved = w->away = false;
	w->inputs++;
}

/* ---- at rest ------------------------------------------------------------- */

static bool is_at_rest(struct fw *w)
{
	for (unsigned i = 0; i < FW_WORKERS; i++) {
		struct core_stats s;

		core_stats(w->core[i], &s);
		if (s.servers || s.clients || s.requests || s.flows ||
		    s.timers > w->base[i].timers)
			return false;
	}
	return !w->queries;
}

static void check_rest(const struct fw *w, unsigned i, bool thorough)
{
	struct core_stats s;
	struct script_stats ss;

	core_stats(w->core[i], &s);
	script_stats(w->scripts.script[i], &ss);
	if (s.servers || s.clients || s.requests || s.flows || s.calls ||
	    s.timers > w->base[i].timers || ss.tasks ||
	    ss.timers > w->timers[i])
		FATAL("worker %u still has %zu servers, %zu clients, %zu "
		      "requests, %zu connections, %zu calls, %zu timers, %zu "
		      "tasks, %zu timers of its script",
		      i, s.servers, s.clients, s.requests, s.flows, s.calls,
		      s.timers, ss.tasks, ss.timers);
	if (thorough && s.bytes > w->base[i].bytes)
		FATAL("worker %u has %zu bytes more than at the start", i,
		      s.bytes - w->base[i].bytes);
}

static void check_members(const struct fw *w)
{
	static const enum fact fact[] = {FACT_INFLIGHT, FACT_SETUP, FACT_CALLS};

	list_each (it, &w->node->members.list) {
		struct member *m = container_of(it, struct member, link);

		for (size_t i = 0; i < ARRAY_LEN(fact); i++)
			if (atomic_load(&m->fact[fact[i]]) != 0)
				FATAL("%s still counts", m->name);
	}
}

static struct mem *each_mem(struct fw *w, unsigned i)
{
	if (i < FW_WORKERS)
		return core_mem(w->core[i]);
	if (i < 2 * FW_WORKERS)
		return vm_mem(
		    vm_of(script_lua(w->scripts.script[i - FW_WORKERS])));
	return i == 2 * FW_WORKERS ? &w->node->mem : NULL;
}

void fw_fail(struct fw *w, unsigned which, uint64_t at, uint64_t row)
{
	struct mem *m = each_mem(w, which % (2 * FW_WORKERS + 1));

	w->starved = w->was_starved = true;
	m->fail_at = m->calls + at;
	m->fail_for = row;
}

/* What belongs to garbage goes with the next entry, and may hang up then. */
static void collect(struct fw *w)
{
	for (unsigned i = 0; i < FW_WORKERS; i++) {
		script_collect(w->scripts.script[i]);
		core_expire(w->core[i], w->now);
		settle(w);
	}
}

static void let_go(struct fw *w)
{
	struct answer timeout = {.status = ANSWER_TIMEOUT};

	while (w->queries)
		fw_answer(w, w->queries - 1, &timeout);
	for (unsigned k = 0; k < FW_WORKERS; k++) {
		core_forget_calls(w->core[k], w->now);
		core_close_flows(w->core[k], w->now);
	}
	settle(w);
	fw_run(w, SECONDS(100));
}

void fw_end(struct fw *w, bool thorough)
{
	for (unsigned i = 0; each_mem(w, i); i++)
		each_mem(w, i)->fail_at = 0;
	atomic_store(&w->node->draining, false);
	w->away = false;
	for (int i = 0; i < 12 && (i == 0 || !is_at_rest(w)); i++) {
		let_go(w);
		if (thorough && is_at_rest(w))
			collect(w);
	}
	for (unsigned i = 0; i < FW_WORKERS; i++)
		check_rest(w, i, thorough);
	check_members(w);
}
