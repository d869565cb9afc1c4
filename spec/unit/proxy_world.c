#include "proxy_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/places.h"
#include "transport/via.h"

/* ---- the host ---- */

/* Whatever happens inside, what leaves is a message. */
static void check_whole(struct pw *w, struct str bytes)
{
	struct msg m;
	struct msg_key key;

	CHECK_INT(msg_index(&m, w->arena, bytes), MSG_OK);
	CHECK_INT(msg_key(&m, &key), MSG_OK);
	CHECK_INT(m.raw.n, bytes.n);
	CHECK(!m.is_request || via_is_ours(&w->node->listeners, &key.via));
	arena_reset(w->arena);
}

static void fake_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct pw_host *h = ctx;
	struct pw *w = h->w;
	struct pw_sent *s = &w->sent[w->n++];

	if (w->n > PW_SENT)
		abort();
	check_whole(w, bytes);
	s->at = w->now.mono.us - w->start;
	s->to = *to;
	s->worker = h->worker;
	snprintf(s->text, sizeof(s->text), "%.*s", STR_FMT(bytes));
}

static void fake_open(void *ctx, const struct hop *flow)
{
	struct pw *w = ((struct pw_host *)ctx)->w;

	CHECK(w->opens < ARRAY_LEN(w->opened));
	w->opened[w->opens++] = *flow;
}

static bool fake_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	(void)ctx;
	(void)to;
	(void)bytes;
	return false;
}

static void fake_close(void *ctx, const struct hop *flow)
{
	(void)ctx;
	(void)flow;
}

static bool fake_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	struct pw *w = ((struct pw_host *)ctx)->w;

	(void)to;
	*out_r = w->node->listeners.l[listener].addr;
	return !w->no_source && !(w->away >> listener & 1);
}

static void fake_post(void *ctx, unsigned worker, const struct post *msg)
{
	struct pw *w = ((struct pw_host *)ctx)->w;

	/* another core: its entry may run at once */
	core_post(w->core[worker], w->now, msg);
}

static void fake_query(void *ctx, struct query *q)
{
	struct pw_host *h = ctx;
	struct pw *w = h->w;

	CHECK(w->n_dns < ARRAY_LEN(w->asked_dns));
	w->asked_dns[w->n_dns++] = (struct pw_query){q, h->worker};
	w->questions++;
}

static void fake_unquery(void *ctx, struct query *q)
{
	struct pw *w = ((struct pw_host *)ctx)->w;
	unsigned kept = 0;

	for (unsigned i = 0; i < w->n_dns; i++)
		if (w->asked_dns[i].q != q)
			w->asked_dns[kept++] = w->asked_dns[i];
	w->n_dns = kept;
}

void pw_dns(struct pw *w)
{
	struct dns_text t;

	for (pw_settle(w); w->zone && w->n_dns; pw_settle(w)) {
		struct pw_query q = w->asked_dns[--w->n_dns];
		struct answer a = {.status = ANSWER_REPLY};

		dns_text_answer(&t, w->zone, q.q);
		a.bytes = dns_text_str(&t);
		core_answer(w->core[q.worker], w->now, q.q, &a);
	}
}

static void fake_log(void *ctx, const struct log_event *e)
{
	(void)ctx;
	(void)e;
}

/* ---- the policy ---- */

static void finish(struct pw *w, struct request *r, struct now now)
{
	if (!w->plan.linger)
		request_done(r, now);
}

static size_t targets_of(struct pw *w, struct target *t, size_t n)
{
	size_t i;

	for (i = 0; i < n && w->next < 8 && w->plan.server[w->next]; i++) {
		const char *s = w->plan.server[w->next++];

		memset(&t[i], 0, sizeof(t[i]));
		if (*s == '@') {
			t[i].member =
			    members_by_name(&w->node->members, str_from(s + 1));
			continue;
		}
		if (strncmp(s, "sip:", 4) == 0) {
			t[i].uri = t[i].next = str_from(s);
			continue;
		}
		if (strncmp(s, "tcp:", 4) == 0) {
			t[i].hop.transport = TRANSPORT_TCP;
			s += 4;
		}
		addr_parse(str_from(s), &t[i].hop.addr);
		t[i].member =
		    proxy_member_at(core_proxy(w->core[0]), &t[i].hop.addr);
	}
	return i;
}

static void try_next(struct pw *w, struct request *r, struct now now)
{
	struct target t[8];
	struct reply reply = {.code = 500};
	size_t n = targets_of(w, t, w->plan.fork ? 8 : 1);

	if (n) {
		request_try(r, t, n, &w->plan.opts, now);
		return;
	}
	request_reply(r, &reply, now);
	finish(w, r, now);
}

static bool wants(void *ctx, enum request_kind kind, struct str method)
{
	struct pw *w = ctx;

	if (w->plan.refuse && str_eq(method, str_from(w->plan.refuse)))
		return false;
	return kind == REQUEST_INITIAL || w->plan.follow;
}

static void allow(void *ctx, struct buf *out)
{
	(void)ctx;
	BUF_LIT(out, "INVITE, ACK, CANCEL, BYE, OPTIONS");
}

static void on_request(void *ctx, struct request *r, enum request_kind kind,
		       struct now now)
{
	struct pw *w = ctx;
	struct reply reply = {.code = w->plan.reply};

	w->req = r;
	w->next = 0;
	w->asked++;
	if (w->plan.silent)
		return;
	if (kind != REQUEST_INITIAL) {
		request_follow_route(r, now);
	} else if (w->plan.reply) {
		request_reply(r, &reply, now);
		finish(w, r, now);
	} else {
		try_next(w, r, now);
	}
}

static void on_outcome(void *ctx, struct request *r, struct now now)
{
	struct pw *w = ctx;
	const struct outcome *o = request_outcome(r);

	w->last = *o;
	w->outcomes++;
	w->code = o->kind == OUTCOME_RESPONSE ? o->res->code : 0;
	if (w->plan.silent)
		return;
	if (o->kind == OUTCOME_CANCELLED) {
		finish(w, r, now);
		return;
	}
	if (o->kind == OUTCOME_RESPONSE &&
	    (o->res->code != 503 || !w->plan.server[w->next])) {
		request_forward(r, o->res, w->plan.keep_503, now);
		finish(w, r, now);
		return;
	}
	if (!w->plan.pause)
		try_next(w, r, now);
}

static void on_response(void *ctx, struct request *r, struct response *res,
			struct now now)
{
	struct pw *w = ctx;

	(void)r;
	(void)now;
	w->watched++;
	if (w->plan.edit)
		edit_set(&res->edits, STR("X-Edit"), str_from(w->plan.edit));
}

static void on_attempt(void *ctx, struct request *r, const struct outcome *o,
		       int64_t took_us, struct now now)
{
	struct pw *w = ctx;
	size_t n = strlen(w->told);
	struct buf b;

	(void)r;
	(void)now;
	CHECK(took_us >= 0);
	buf_fixed(&b, w->told + n, sizeof(w->told) - n - 1);
	addr_write_ip(&b, &o->addr);
	buf_char(&b, ':');
	if (o->kind == OUTCOME_RESPONSE)
		buf_u64(&b, (uint64_t)o->res->code);
	else
		buf_put(&b, str_from(cause_text(o->cause)));
	buf_char(&b, ' ');
	w->told[n + b.n] = '\0';
	w->moved += o->moved;
}

static void on_free(void *ctx, struct request *r)
{
	struct pw *w = ctx;

	if (w->req == r)
		w->req = NULL;
	w->freed++;
}

static bool drain(void *ctx, struct now now)
{
	(void)ctx;
	(void)now;
	return false;
}

void pw_wake(struct pw *w)
{
	CHECK(w->req != NULL);
	if (w->plan.pause && !request_answered(w->req)) {
		try_next(w, w->req, w->now);
	} else if (w->plan.pause && request_decided(w->req)) {
		/* the policy does not know yet that it is too late */
		try_next(w, w->req, w->now);
	} else {
		request_done(w->req, w->now);
	}
	pw_settle(w);
}

/* ---- the world ---- */

struct pw *pw_open(unsigned workers)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	struct pw *w = calloc(1, sizeof(*w));
	struct core_user user = {.ctx = w,
				 .drain = drain,
				 .policy = {.ctx = w,
					    .wants = wants,
					    .allow = allow,
					    .on_request = on_request,
					    .on_outcome = on_outcome,
					    .on_response = on_response,
					    .on_attempt = on_attempt,
					    .on_free = on_free}};
	const char *why;

	w->sent = calloc(PW_SENT, sizeof(*w->sent));
	mem_init(&w->mem);
	w->arenas = arena_cache_new(&w->mem);
	w->arena = arena_new(w->arenas);
	w->now.mono.us = w->start = SECONDS(1000);
	w->plan = (struct pw_plan){
	    .server = {SERVER1, SERVER2},
	    .opts = {.timeout = SECONDS(2), .retransmits = -1}};
	w->node = node_new(workers, &keys);
	listener_parse(STR("udp:" US), &w->node->listeners.l[0], &why);
	w->node->listeners.n = 1;
	for (unsigned i = 0; i < workers; i++) {
		w->ctx[i] = (struct pw_host){w, i};
		w->host[i] = (struct host){.ctx = &w->ctx[i],
					   .send = fake_send,
					   .open = fake_open,
					   .withdraw = fake_withdraw,
					   .close = fake_close,
					   .source = fake_source,
					   .post = fake_post,
					   .query = fake_query,
					   .unquery = fake_unquery,
					   .log = fake_log};
		w->core[i] = core_new(w->node, i, &w->host[i], key, w->now);
		w->user[i] = user;
		core_set_user(w->core[i], &w->user[i]);
	}
	for (unsigned i = 0; i < workers; i++) {
		struct core_stats st;

		core_stats(w->core[i], &st);
		w->base[i] = st.bytes;
	}
	return w;
}

void pw_free(struct pw *w)
{
	for (unsigned i = 0; i < PW_WORKERS; i++)
		core_free(&w->core[i]);
	node_free(&w->node);
	arena_free(&w->arena);
	arena_cache_free(&w->arenas);
	free(w->sent);
	free(w);
}

/* As every host does in the end. */
static void time_out_dns(struct pw *w)
{
	while (w->n_dns) {
		struct pw_query q = w->asked_dns[--w->n_dns];
		struct answer a = {.status = ANSWER_TIMEOUT};

		core_answer(w->core[q.worker], w->now, q.q, &a);
	}
}

void pw_close(struct pw *w)
{
	own_free(&w->own, w->now);
	time_out_dns(w);
	pw_settle(w);
	pw_run(w, SECONDS(600));
	for (unsigned i = 0; i < PW_WORKERS && w->core[i]; i++) {
		struct core_stats st;

		core_forget_calls(w->core[i], w->now);
		core_stats(w->core[i], &st);
		CHECK_INT(st.requests, 0);
		CHECK_INT(st.servers, 0);
		CHECK_INT(st.clients, 0);
		CHECK_INT(st.timers, 0);
		CHECK_INT(st.bytes, w->base[i]);
	}
	pw_free(w);
}

static struct core *due_first(struct pw *w, tick_t *at_r)
{
	struct core *first = NULL;

	*at_r = TICK_NEVER;
	for (unsigned i = 0; i < PW_WORKERS && w->core[i]; i++) {
		tick_t t = core_deadline(w->core[i]);

		if (tick_before(t, *at_r)) {
			*at_r = t;
			first = w->core[i];
		}
	}
	return first;
}

static void connect_opened(struct pw *w)
{
	while (!w->stalled && w->ups < w->opens) {
		struct flow_event up = {.kind = FLOW_UP,
					.peer = w->opened[w->ups++]};

		core_flow_event(w->core[conn_worker(up.peer.conn)], w->now,
				&up);
	}
}

void pw_run(struct pw *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us), at;
	struct core *c;

	connect_opened(w);
	while ((c = due_first(w, &at)) && !tick_before(end, at)) {
		if (tick_before(w->now.mono, at))
			w->now.mono = at;
		core_expire(c, w->now);
	}
	w->now.mono = end;
}

void pw_settle(struct pw *w)
{
	connect_opened(w);
	for (unsigned i = 0; i < PW_WORKERS && w->core[i]; i++)
		core_expire(w->core[i], w->now);
}

struct member *pw_member(struct pw *w, const char *name, const char *addr)
{
	struct member *m = members_ref(&w->node->members, str_from(name));

	addr_parse(str_from(addr), &m->places.at[m->places.n++].addr);
	return m;
}

uint64_t pw_count(struct pw *w, enum counter c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PW_WORKERS && w->core[i]; i++)
		n += core_counters(w->core[i])->v[c];
	return n;
}

uint64_t pw_conn(unsigned listener, const char *from)
{
	struct addr a;
	uint64_t ip;

	addr_parse(str_from(from), &a);
	memcpy(&ip, a.ip, sizeof(ip));
	return conn_make(0, true,
			 ip * 0x9e3779b97f4a7c15 + a.port * 64u + listener);
}

void pw_down(struct pw *w, uint64_t conn, enum cause cause)
{
	struct flow_event e = {
	    .kind = FLOW_DOWN, .cause = cause, .peer = {.conn = conn}};

	core_flow_event(w->core[conn_worker(conn)], w->now, &e);
}

static void accept_from(struct pw *w, struct hop *hop, const char *from)
{
	struct flow_event e = {.kind = FLOW_UP, .accepted = true};

	hop->conn = pw_conn(hop->listener, from);
	e.peer = *hop;
	core_flow_event(w->core[0], w->now, &e);
}

void pw_give_via(struct pw *w, unsigned listener, enum transport t,
		 const char *from, const char *text)
{
	struct hop hop = {.transport = (uint8_t)t,
			  .listener = (uint16_t)listener};
	char *copy = strdup(text); /* exact, for the sanitiser */

	addr_parse(str_from(from), &hop.addr);
	hop.local = w->node->listeners.l[listener].addr;
	if (transport_reliable(t))
		accept_from(w, &hop, from);
	core_receive(w->core[0], w->now, &hop,
		     (struct str){copy, strlen(copy)});
	free(copy);
}

void pw_give(struct pw *w, const char *from, const char *text)
{
	pw_give_via(w, 0, TRANSPORT_UDP, from, text);
}

/* ---- messages ---- */

static const char * or (const char *given, const char *otherwise)
{
	return given ? given : otherwise;
}

const char *pw_request(struct pw_req q)
{
	static char text[8192];
	char via[512], hops[64], to_tag[128] = "", from_tag[128] = "";
	const char *method = or (q.method, "INVITE");

	snprintf(via, sizeof(via), "SIP/2.0/UDP 192.0.2.7:5060;branch=%s",
		 or (q.branch, "z9hG4bKabc"));
	snprintf(hops, sizeof(hops), "Max-Forwards: %s\r\n",
		 or (q.max_forwards, "70"));
	if (q.to_tag && *q.to_tag)
		snprintf(to_tag, sizeof(to_tag), ";tag=%s", q.to_tag);
	if (!q.from_tag || *q.from_tag)
		snprintf(from_tag, sizeof(from_tag), ";tag=%s",
			 or (q.from_tag, "1"));
	snprintf(text, sizeof(text),
		 "%s %s SIP/2.0\r\nVia: %s\r\n%sFrom: <sip:alice@example.com>"
		 "%s\r\nTo: <sip:bob@example.com>%s\r\nCall-ID: %s\r\nCSeq: %d "
		 "%s\r\nContact: <sip:alice@192.0.2.7>\r\n%sContent-Length: "
		 "%zu\r\n\r\n%s",
		 method, or (q.uri, "sip:bob@example.com"), or (q.via, via),
		 q.max_forwards && !*q.max_forwards ? "" : hops, from_tag,
		 to_tag, or (q.call_id, "c1@192.0.2.7"), q.cseq ? q.cseq : 1,
		 or (q.cseq_method, method), or (q.headers, ""),
		 strlen(or (q.body, "")), or (q.body, ""));
	return text;
}

const char *pw_invite(void)
{
	return pw_request((struct pw_req){.method = "INVITE"});
}

static bool sent_matches(const struct pw_sent *s, const char *to,
			 const char *starts)
{
	char text[ADDR_TEXT];

	return strcmp(addr_text(&s->to.addr, text), to) == 0 &&
	       strncmp(s->text, starts, strlen(starts)) == 0;
}

const struct pw_sent *pw_find(struct pw *w, const char *to, const char *starts)
{
	for (size_t i = w->n; i-- > 0;)
		if (sent_matches(&w->sent[i], to, starts))
			return &w->sent[i];
	return NULL;
}

const struct pw_sent *pw_last(struct pw *w)
{
	CHECK(w->n > 0);
	return &w->sent[w->n - 1];
}

/* Copies the header lines a response has from the request; the rest is the
 * server's own, and so is a header that `more` begins with. */
static void put_copied(struct buf *b, const char *text, const char *tag,
		       const char *more)
{
	static const char *const keep[] = {
	    "Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"};
	const char *line = strstr(text, "\r\n") + 2, *end;

	for (; (end = strstr(line, "\r\n")) != line; line = end + 2) {
		size_t i = 0;

		while (i < ARRAY_LEN(keep) &&
		       strncmp(line, keep[i], strlen(keep[i])) != 0)
			i++;
		if (i == ARRAY_LEN(keep) ||
		    strncmp(line, more, strcspn(more, ":")) == 0)
			continue;
		buf_put(b, (struct str){line, (size_t)(end - line)});
		if (strncmp(line, "To:", 3) == 0 && *tag &&
		    !memmem(line, (size_t)(end - line), ";tag=", 5))
			buf_printf(b, ";tag=%s", tag);
		BUF_LIT(b, "\r\n");
	}
}

const char *pw_answer_text(struct pw *w, const char *from, const char *method,
			   const char *status, const char *tag,
			   const char *headers)
{
	static char text[8192];
	const struct pw_sent *s = pw_find(w, from, method);
	char made[16];
	struct buf b;

	CHECK(s != NULL);
	snprintf(made, sizeof(made), "u%c", strrchr(from, ':')[-1]);
	buf_fixed(&b, text, sizeof(text) - 1);
	buf_printf(&b, "SIP/2.0 %s\r\n", status);
	put_copied(&b, s->text, or (tag, made), or (headers, "-"));
	if (!headers)
		buf_printf(&b, "Contact: <sip:bob@%s>\r\n", from);
	buf_printf(&b, "%sContent-Length: 0\r\n\r\n", or (headers, ""));
	text[b.n] = '\0';
	CHECK(buf_ok(&b));
	return text;
}

void pw_answer_full(struct pw *w, const char *from, const char *method,
		    const char *status, const char *tag, const char *headers)
{
	pw_give(w, from, pw_answer_text(w, from, method, status, tag, headers));
}

void pw_answer(struct pw *w, const char *from, const char *method,
	       const char *status)
{
	pw_answer_full(w, from, method, status, NULL, NULL);
}

void pw_cancel(struct pw *w)
{
	pw_give(w, ALICE, pw_request((struct pw_req){.method = "CANCEL"}));
}

void pw_ack(struct pw *w, const char *branch, const char *to_tag)
{
	pw_give(w, ALICE,
		pw_request((struct pw_req){
		    .method = "ACK", .branch = branch, .to_tag = to_tag}));
}

void pw_icmp(struct pw *w, const char *to, const char *starts, enum cause cause)
{
	const struct pw_sent *s = pw_find(w, to, starts);
	struct flow_event e = {.kind = FLOW_ERROR, .cause = cause};
	struct pw_sent copy;

	CHECK(s != NULL);
	copy = *s;
	e.peer = copy.to;
	e.quoted = str_from(copy.text);
	if (e.quoted.n > 300)
		e.quoted.n = 300; /* a prefix comes back */
	core_flow_event(w->core[0], w->now, &e);
}

const char *pw_header(const struct pw_sent *s, const char *name)
{
	static char value[4][1024];
	static unsigned turn;
	char *out = value[turn++ % 4];
	char look[64];
	const char *at, *end;

	snprintf(look, sizeof(look), "\r\n%s: ", name);
	at = strstr(s->text, look);
	if (!at)
		return "";
	at += strlen(look);
	end = strstr(at, "\r\n");
	snprintf(out, sizeof(value[0]), "%.*s", (int)(end - at), at);
	return out;
}

int pw_count_of(const char *text, const char *what)
{
	int n = 0;

	while ((text = strstr(text, what))) {
		n++;
		text += strlen(what);
	}
	return n;
}

/* ---- what is expected ---- */

const struct pw_sent *pw_expect(const char *file, int line, struct pw *w,
				const char *to, const char *starts)
{
	char want[512], got[512] = "nothing", addr[ADDR_TEXT];
	const struct pw_sent *s = w->seen < w->n ? &w->sent[w->seen] : NULL;

	snprintf(want, sizeof(want), "%s %s", to, starts);
	if (s) {
		size_t n = (size_t)snprintf(got, sizeof(got), "%s ",
					    addr_text(&s->to.addr, addr));

		if (strcmp(addr, to) == 0 &&
		    strncmp(s->text, starts, strlen(starts)) == 0)
			snprintf(got, sizeof(got), "%s", want);
		else
			snprintf(got + n, sizeof(got) - n, "%.*s",
				 (int)strcspn(s->text, "\r"), s->text);
	}
	unit_check_str(file, line, "the next message sent", str_from(got),
		       str_from(want));
	w->seen++;
	return s;
}

void pw_quiet(const char *file, int line, struct pw *w)
{
	char got[512] = "nothing", addr[ADDR_TEXT];

	if (w->seen < w->n) {
		const struct pw_sent *s = &w->sent[w->seen];

		snprintf(got, sizeof(got), "%s %.*s",
			 addr_text(&s->to.addr, addr),
			 (int)strcspn(s->text, "\r"), s->text);
	}
	unit_check_str(file, line, "the next message sent", str_from(got),
		       STR("nothing"));
}
