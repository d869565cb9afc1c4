/*
 * The proxy core of one worker: where messages and events come in, and the life
 * of response contexts.
 */
#include "proxy/proxy.h"

#include <assert.h>
#include <string.h>
#include "message/field.h"
#include "proxy/context.h"

/* A second. What is sent without a transaction of ours to account for it must
 * not serve anybody as a flood: errors, and CANCELs to all servers. */
enum {
	REPLY_RATE = 2000,
	REPLY_BURST = 4000,
	CANCEL_RATE = 1000,
	CANCEL_BURST = 4000
};

struct request *request_of(struct server *s)
{
	return s->owner;
}

/* ---- what the transactions tell us ---- */

static void user_response(void *ctx, struct client *c, struct msg *m,
			  const struct msg_key *key, struct now now)
{
	struct proxy *p = ctx;
	struct owner *o = c->owner;
	struct request *r = c->up ? request_of(c->up) : NULL;
	struct attempt *a;

	if (o && o->kind == OWNER_OWN) {
		own_on_response(o, m, now);
		return;
	}
	if (o && o->kind == OWNER_CANCEL) {
		orphan_cancel_on_response(o, c, m, now);
		return;
	}
	if (o) {
		attempt_on_response(container_of(o, struct attempt, owner), c,
				    m, key, now);
		return;
	}
	/* A stub or a record: 2xx to INVITE only. Its context may live yet. */
	a = r ? attempt_by_branch(r, c->branch) : NULL;
	if (a)
		attempt_on_response(a, c, m, key, now);
	else
		late_on_response(p, c, m, key, now);
}

static void user_failure(void *ctx, struct client *c, enum cause cause,
			 struct now now)
{
	struct owner *o = c->owner;

	(void)ctx;
	if (o->kind == OWNER_OWN)
		own_on_failure(o, cause, now);
	else if (o->kind == OWNER_CANCEL)
		orphan_cancel_on_failure(o, c, now);
	else
		attempt_on_failure(container_of(o, struct attempt, owner), c,
				   cause, now);
}

/* Semantics 5: the attempt fails at the moment when retransmission n + 1 would
 * be sent; its own timer says so in this same millisecond. */
static bool user_retransmit(void *ctx, struct client *c, struct now now)
{
	struct owner *o = c->owner;
	struct attempt *a;

	(void)ctx;
	(void)now;
	if (o->kind != OWNER_ATTEMPT)
		return true;
	a = container_of(o, struct attempt, owner);
	return a->opts.retransmits < 0 || a->got_1xx ||
	       (int)c->sends <= a->opts.retransmits;
}

static void user_no_ack(void *ctx, struct server *s, struct now now)
{
	struct proxy *p = ctx;

	(void)s;
	(void)now;
	count(p->c.counters, CNT_NO_ACK);
}

static void user_server_end(void *ctx, struct server *s)
{
	struct request *r = request_of(s);

	(void)ctx;
	/* A context outlives its transaction only when that timed out with the
	 * final sent. */
	r->server = NULL;
	s->owner = NULL;
	r->held = false;
	request_check_end(r);
}

static void user_client_end(void *ctx, struct client *c)
{
	struct owner *o = c->owner;

	(void)ctx;
	if (o->kind == OWNER_OWN)
		own_on_client_end(o, c);
	else if (o->kind == OWNER_ATTEMPT)
		container_of(o, struct attempt, owner)->client = NULL;
}

static int init_tables(struct proxy *p)
{
	struct calls_conf calls = {.mem = p->c.mem,
				   .timers = p->c.timers,
				   .counters = p->c.counters,
				   .key = p->c.table_key,
				   .keys = p->c.keys,
				   .t1 = p->c.settings->times.t1};
	int err = map_init(&p->answers, p->c.mem);

	if (err)
		return err;
	err = map_init(&p->moved, p->c.mem);
	if (!err) {
		err = calls_init(&p->calls, &calls);
		if (err)
			map_fini(&p->moved);
	}
	if (err)
		map_fini(&p->answers);
	return err;
}

struct proxy *proxy_new(const struct proxy_conf *conf)
{
	struct proxy *p = mem_zalloc(conf->mem, sizeof(*p));

	if (!p)
		return NULL;
	p->c = *conf;
	if (init_tables(p) != 0) {
		mem_free(conf->mem, p);
		return NULL;
	}
	why_init(&p->why, conf->mem);
	list_init(&p->requests);
	list_init(&p->ready);
	list_init(&p->owns);
	list_init(&p->undelivered);
	list_init(&p->parked);
	list_init(&p->cancels);
	tokens_init(&p->replies, REPLY_RATE, REPLY_BURST);
	tokens_init(&p->cancelling, CANCEL_RATE, CANCEL_BURST);
	overload_init(p);
	field_init();
	p->c.txns->user = (struct txn_user){
	    .ctx = p,
	    .on_response = user_response,
	    .on_failure = user_failure,
	    .on_retransmit = user_retransmit,
	    .on_no_ack = user_no_ack,
	    .on_server_end = user_server_end,
	    .on_client_end = user_client_end,
	};
	return p;
}

void proxy_free(struct proxy **pp)
{
	struct proxy *p = *pp;

	if (!p)
		return;
	list_each_safe (it, &p->requests) {
		struct request *r = container_of(it, struct request, link);
		struct arena *a = r->arena;

		request_let_go(r);
		arena_free(&a);
	}
	overload_fini(p);
	parked_fini(p);
	answered_fini(p);
	undelivered_fini(p);
	orphan_cancels_fini(p);
	shared_fini(p);
	calls_fini(&p->calls);
	why_fini(&p->why);
	places_fini(p);
	assert(list_empty(&p->owns)); /* their creators free them */
	mem_free(p->c.mem, p);
	*pp = NULL;
}

void proxy_set_policy(struct proxy *p, const struct policy *policy)
{
	p->policy = policy;
}

void proxy_drop_policy(struct proxy *p, const struct policy *policy)
{
	if (p->policy == policy)
		p->policy = NULL;
	list_each (it, &p->requests) {
		struct request *r = container_of(it, struct request, link);

		if (r->policy == policy)
			r->policy = NULL;
	}
}

/* ---- a new request ---- */

/* Copies the message into an arena of its own: the context begins. */
static struct request *request_new(struct proxy *p, const struct msg *m,
				   const struct msg_key *key,
				   const struct hop *from, struct now now)
{
	struct arena *arena = arena_new(p->c.arenas);
	struct request *r = arena ? arena_zalloc(arena, sizeof(*r)) : NULL;

	if (!r || !msg_copy(&r->msg, m, arena)) {
		arena_free(&arena);
		return NULL;
	}
	r->key = msg_key_moved(key, m, &r->msg);
	r->proxy = p;
	r->arena = arena;
	r->from = *from;
	if (from->tls_name)
		r->from.tls_name = arena_str(arena, str_from(from->tls_name)).p;
	r->received = now.mono;
	r->wall = now.wall;
	r->via = via_mark_received(arena, &r->key.via, from);
	r->up = upstream_id(&r->key, &r->from);
	r->sign = p->c.keys->now;
	edits_init(&r->edits, &r->msg, arena);
	list_init(&r->attempts);
	return r;
}

/* Everything that can fail has happened: the context is entered. */
static bool request_enter(struct request *r, enum request_kind kind,
			  struct now now)
{
	struct proxy *p = r->proxy;
	struct arena *arena = r->arena;

	r->kind = kind;
	r->server = !arena_failed(arena) && !r->edits.bad
			? server_new(p->c.txns, &r->msg, &r->key, &r->from)
			: NULL;
	if (!r->server) {
		/* Nothing was said yet: the caller repeats it. */
		count(p->c.counters, CNT_NOMEM);
		arena_free(&arena);
		return false;
	}
	r->server->owner = r;
	r->up.transaction = r->server->id;
	list_append(&p->requests, &r->link);
	p->n_requests++;
	p->n_begun += kind == REQUEST_INITIAL;
	r->fresh = true;
	note_received(r);
	trying_init(r, now);
	request_wake(r);
	return true;
}

/* RFC 3261 8.2.1, 20.5: what is taken here. */
static struct str allow_line(struct proxy *p)
{
	struct buf b;

	buf_arena(&b, p->c.scratch, 128);
	BUF_LIT(&b, "Allow: ");
	p->policy->allow(p->policy->ctx, &b);
	BUF_LIT(&b, "\r\n");
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* Of a request that has not been entered. */
static void forget(struct request *r)
{
	struct arena *arena = r->arena;

	arena_free(&arena);
}

static void refuse(struct request *r, int code, struct str reason,
		   struct str headers, struct now now)
{
	stateless_reply(r->proxy, &r->msg, &r->key, &r->from, code, reason,
			headers, now);
	forget(r);
}

static bool wants(struct proxy *p, enum request_kind kind, struct str method)
{
	return p->policy->wants(p->policy->ctx, kind, method);
}

/* A call by a phone's token is nobody's to decide. */
static void enter_follow(struct request *r, struct now now)
{
	enum request_kind kind =
	    r->route.in_dialog ? REQUEST_IN_DIALOG : REQUEST_FROM_SERVER;
	bool to_phone = r->route.has_flow && !r->route.in_dialog;

	if (kind == REQUEST_IN_DIALOG &&
	    !wants(r->proxy, kind, r->msg.method) &&
	    shared_server(r->proxy, &r->route))
		kind = REQUEST_SHARED_DIALOG;
	r->follow = to_phone || !wants(r->proxy, kind, r->msg.method);
	request_enter(r, kind, now);
}

/* 16.3 step 3 once more: an OPTIONS that names us came this far with no hop
 * left, but only what we answer ourselves may. */
static bool no_hop_left(const struct request *r)
{
	const struct hdr *f = msg_first(&r->msg, HDR_MAX_FORWARDS);
	uint32_t hops;

	return f && str_u32(msg_hdr_value(&r->msg, f), 255, &hops) &&
	       hops == 0 &&
	       (r->route.kind != ROUTE_TO_US || r->route.in_dialog);
}

/* Where the request goes: 16.4 and 16.5. */
static void dispatch(struct request *r, struct now now)
{
	struct proxy *p = r->proxy;

	r->source = proxy_member_at(p, &r->from.addr);
	r->route =
	    route_request(p, &r->msg, &r->key, &r->from, r->source, &r->edits);
	if (no_hop_left(r)) {
		count(p->c.counters, CNT_BAD_HOPS);
		refuse(r, 483, STR_NONE, STR_NONE, now);
		return;
	}
	if (arena_failed(r->arena)) {
		forget(r);
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	switch (r->route.kind) {
	case ROUTE_REJECT:
		refuse(r, r->route.code, r->route.reason, STR_NONE, now);
		return;
	case ROUTE_TO_US:
		if (r->route.in_dialog) {
			if (wants(p, REQUEST_IN_DIALOG, r->msg.method))
				request_enter(r, REQUEST_IN_DIALOG, now);
			else
				refuse(r, 481, STR_NONE, STR_NONE, now);
			return;
		}
		options_reply(p, &r->msg, &r->key, &r->from, now);
		forget(r);
		return;
	case ROUTE_FOLLOW:
		enter_follow(r, now);
		return;
	case ROUTE_SCRIPT:
		if (wants(p, REQUEST_INITIAL, r->msg.method))
			request_enter(r, REQUEST_INITIAL, now);
		else
			refuse(r, 405, STR_NONE, allow_line(p), now);
		return;
	}
}

static void new_request(struct proxy *p, struct msg *m,
			const struct msg_key *key, const struct hop *from,
			struct now now)
{
	struct str reason, headers;
	struct request *r;
	int code;

	if (!p->policy || drain_refuses(p, m, key, now)) {
		count(p->c.counters, CNT_NOT_TAKEN);
		drain_refuse(p, m, key, from, now);
		return;
	}
	if (shed_request(p, m, key, from, now))
		return;
	code = validate_request(p, m, key, from, &reason, &headers);
	if (arena_failed(p->c.scratch)) {
		/* no verdict: the caller repeats it */
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	if (code) {
		stateless_reply(p, m, key, from, code, reason, headers, now);
		return;
	}
	r = request_new(p, m, key, from, now);
	if (!r) {
		count(p->c.counters, CNT_NOMEM);
		return;
	}
	r->loop = loop_hash(p, r->sign, m, key, from);
	dispatch(r, now);
}

void proxy_refuse(struct proxy *p, struct msg *m, const struct msg_key *key,
		  const struct hop *from, int code, struct str reason,
		  struct now now)
{
	count_message(p->c.counters, CNT_RECV_REQUEST, from->transport);
	count_request(p->c.counters, m->method_id);
	stateless_reply(p, m, key, from, code, reason, STR_NONE, now);
}

void proxy_on_request(struct proxy *p, struct msg *m, const struct msg_key *key,
		      enum msg_bad bad, const struct hop *from, struct now now)
{
	struct server *s;

	count_message(p->c.counters, CNT_RECV_REQUEST, from->transport);
	if (bad != MSG_OK) {
		count_request(p->c.counters, m->method_id);
		proxy_count_bad(p->c.counters, bad);
		if (msg_bad_code(bad))
			stateless_reply(p, m, key, from, msg_bad_code(bad),
					msg_bad_text(bad), STR_NONE, now);
		return;
	}
	if (shed_ack(p, m, key)) {
		count_request(p->c.counters, m->method_id);
		return;
	}
	s = server_find(p->c.txns, m, key, from);
	if (!s || (m->method_id == METHOD_ACK && s->state != SERVER_CONFIRMED))
		count_request(p->c.counters, m->method_id);
	if (s)
		server_on_request(s, m->method_id, from, now);
	else if (m->method_id == METHOD_ACK)
		stateless_ack(p, m, key, from, now);
	else if (m->method_id == METHOD_CANCEL)
		cancel_on_request(p, m, key, from, now);
	else
		new_request(p, m, key, from, now);
}

bool has_second_via(const struct msg *m, const struct msg_key *key)
{
	return key->via_rest.n || msg_next(m, msg_first(m, HDR_VIA));
}

void proxy_on_response(struct proxy *p, struct msg *m,
		       const struct msg_key *key, const struct hop *from,
		       struct now now)
{
	struct client *c;

	/* a multihomed server answers from where it likes */
	count_message(p->c.counters, CNT_RECV_RESPONSE, from->transport);
	/* 18.1.2: the top Via must be ours */
	if (!via_is_ours(p->c.listeners, &key->via)) {
		count(p->c.counters, CNT_VIA_NOT_OURS);
		return;
	}
	c = client_find(p->c.txns, key->via.branch, m->method_id,
			key->cseq_method);
	if (!c) {
		orphan_response(p, m, key, from, now);
		return;
	}
	/* 16.7 step 3: without a second Via it was meant for us, who asked
	 * nothing; and with one it is for nobody when it is we who asked
	 * (8.1.3.3) */
	if ((c->up != NULL) != has_second_via(m, key)) {
		count(p->c.counters, CNT_PARSE);
		return;
	}
	nodes_share(p, c, m, from, now);
	if (!nodes_asks_in_vain(p, c, m, from)) {
		client_on_response(c, m, key, now);
		return;
	}
	count(p->c.counters, CNT_NO_SOURCE);
	if (c->up && request_of(c->up))
		response_cede(request_of(c->up));
}

void proxy_stop(struct proxy *p, struct now now)
{
	list_each (it, &p->requests) {
		struct request *r = container_of(it, struct request, link);

		list_each (at, &r->attempts)
			attempt_end(container_of(at, struct attempt, link),
				    true, STR_NONE, now);
		if (!r->final_sent && !r->dropped)
			response_owe(r, r->cancelled ? 487 : 503, now);
		request_log(r, now);
	}
}

uint64_t proxy_begun(const struct proxy *p)
{
	return p->n_begun;
}

size_t proxy_requests(const struct proxy *p)
{
	return p->n_requests;
}

struct calls *proxy_calls(struct proxy *p)
{
	return &p->calls;
}

size_t proxy_spare_bytes(const struct proxy *p)
{
	return map_bytes(&p->answers) + map_bytes(&p->moved) +
	       calls_spare_bytes(&p->calls) + places_bytes(p) +
	       why_bytes(&p->why);
}
