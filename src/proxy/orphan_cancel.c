/*
 * CANCELs whose INVITE another node has forwarded (RFC 3261 16.10, semantics
 * 20). Which server that chose we do not know, but the branch is a function of
 * the request and of the target (semantics 19): so a CANCEL with its branch
 * goes to every server that a policy could have chosen. One of them knows the
 * INVITE and says 200; the 481s of the others are absorbed.
 */
#include <string.h>
#include "proxy/context.h"

/* RFC 3261 9.1: whoever waits longer than that has a server that is down. */
enum { PATIENCE = 16 /* T1 */, TARGETS_MAX = 256 };

struct orphan_cancel {
	struct owner owner; /* of each of its transactions */
	struct list link;   /* proxy.cancels */
	struct proxy *proxy;
	struct server *server; /* the caller's; NULL: is answered */
	struct str bytes;      /* owned: its request, for the answer */
	struct hop from;
	unsigned open; /* targets that have not answered */
	struct timer limit;
};

/* ---- the answer ---- */

static void forget(struct orphan_cancel *x)
{
	struct proxy *p = x->proxy;

	timer_stop(p->c.timers, &x->limit);
	list_remove(&x->link);
	mem_free(p->c.mem, (void *)x->bytes.p);
	mem_free(p->c.mem, x);
}

/* False: there is none to send, which is counted. */
static bool write_answer(struct orphan_cancel *x, int code, struct buf *b)
{
	struct proxy *p = x->proxy;
	struct reply reply = {.code = code};
	struct upstream_id up;
	struct msg_key key;
	char tag[TAG_LEN];
	struct msg m;

	if (msg_index(&m, p->c.scratch, x->bytes) != MSG_OK ||
	    msg_key(&m, &key) != MSG_OK) {
		count(p->c.counters, CNT_NOMEM);
		return false;
	}
	up = upstream_id(&key, &x->from);
	branch_to_tag(tag, p->c.keys->now, &up);
	reply.to_tag = (struct str){tag, TAG_LEN};
	reply.via = via_mark_received(p->c.scratch, &key.via, &x->from);
	return stateless_write(p, &m, &x->from, &reply, b);
}

/* Once. Without memory the caller hears nothing, and repeats the CANCEL. */
static void answer(struct orphan_cancel *x, int code, struct now now)
{
	struct proxy *p = x->proxy;
	struct server *s = x->server;
	struct buf b;

	if (!s)
		return;
	x->server = NULL;
	timer_stop(p->c.timers, &x->limit);
	if (write_answer(x, code, &b) &&
	    server_respond(s, buf_str(&b), code, now) == ERR_NOMEM)
		count(p->c.counters, CNT_NOMEM);
	server_disown(s, now);
}

static void on_limit(struct timer *t, struct now now)
{
	answer(container_of(t, struct orphan_cancel, limit), 481, now);
}

static void one_less(struct orphan_cancel *x, struct now now)
{
	if (--x->open)
		return;
	answer(x, 481, now);
	forget(x);
}

void orphan_cancel_on_response(struct owner *o, struct client *c,
			       const struct msg *m, struct now now)
{
	struct orphan_cancel *x = container_of(o, struct orphan_cancel, owner);

	if (m->status < 200)
		return;
	client_disown(c, now);
	if (m->status / 100 == 2)
		answer(x, 200, now);
	one_less(x, now);
}

void orphan_cancel_on_failure(struct owner *o, struct client *c, struct now now)
{
	struct orphan_cancel *x = container_of(o, struct orphan_cancel, owner);

	client_disown(c, now);
	/* Nobody there takes connections: the next one need not try. */
	if (c->hop.transport == TRANSPORT_TCP)
		shun_add(&x->proxy->shunned, SHUN_NO_TCP, &c->hop, now.mono);
	one_less(x, now);
}

/* ---- where to ---- */

struct targets {
	struct hop hop[TARGETS_MAX];
	unsigned n;
};

static void add(struct targets *t, const struct hop *hop)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->hop[i].transport == hop->transport &&
		    addr_eq(&t->hop[i].addr, &hop->addr))
			return;
	if (t->n < TARGETS_MAX)
		t->hop[t->n++] = *hop;
}

/* All of it. A large INVITE may have gone by TCP (RFC 3261 18.1.1): the branch
 * says that, but not the CANCEL. */
static void add_way(struct proxy *p, const struct hop *from,
		    const struct way *w, struct targets *t, struct now now)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct hop hop = w->hop[i];

		add(t, &hop);
		if (forward_choose_source(p, from, &hop) &&
		    way_by_tcp(p, w, now, &hop))
			add(t, &hop);
	}
}

/* Every address of every server. */
static void add_members(struct proxy *p, const struct hop *from,
			struct targets *t, struct now now)
{
	list_each (it, &p->c.members->list) {
		const struct member *m = container_of(it, struct member, link);
		struct way w = {.n = 0};

		if (m->declared &&
		    way_of_member(p, m, 0, p->c.scratch, now.mono, &w) == 0)
			add_way(p, from, &w, t, now);
	}
}

/* Along its Route and Request-URI, as far as that is known now. */
static void add_next_hop(struct proxy *p, const struct msg_key *key,
			 const struct hop *from, const struct route *route,
			 struct targets *t, struct now now)
{
	struct way w = {.n = 0};
	struct locate_ask ask;
	enum cause cause;

	if (route->has_flow)
		t->hop[t->n++] = route->flow;
	else if (way_of_uri(p, route->next, way_seed(p, key->call_id),
			    p->c.scratch, now, &w, &ask, &cause) == 0)
		add_way(p, from, &w, t, now);
	for (unsigned i = 0; i < t->n; i++)
		way_identify_at(p, &t->hop[i]);
}

static void find_targets(struct proxy *p, const struct msg_key *key,
			 const struct hop *from, const struct route *route,
			 struct targets *t, struct now now)
{
	t->n = 0;
	if (route->kind == ROUTE_SCRIPT)
		add_members(p, from, t, now);
	else if (route->kind == ROUTE_FOLLOW)
		add_next_hop(p, key, from, route, t, now);
}

/* ---- sending ---- */

struct sending {
	struct orphan_cancel *x;
	struct msg *m;
	const struct msg_key *key;
	struct route route;
	struct edits edits;
	struct upstream_id up;
	struct sipkey sign; /* of ours: the dead node may have had it */
	uint64_t loop;
};

/* As the request was sent, with our Via on top; then the CANCEL of that. */
static bool write_cancel(const struct sending *s, const struct hop *hop,
			 char branch[BRANCH_LEN], struct buf *out)
{
	struct proxy *p = s->x->proxy;
	struct arena *scratch = p->c.scratch;
	struct edits e;
	struct buf via, b;
	struct msg sent;
	int err = 0;

	edits_copy(&e, &s->edits, scratch);
	if (s->route.next_is_strict && !s->route.has_flow)
		err = forward_strictly(&e, s->route.uri, s->route.next);
	branch_write(branch, s->sign, &s->up, hop, 0, s->loop);
	buf_arena(&via, scratch, 128);
	via_write(&via, p->c.listeners, hop, (struct str){branch, BRANCH_LEN});
	if (err || !buf_ok(&via) ||
	    edit_prepend(&e, STR("Via"), buf_str(&via)) != 0)
		return false;
	buf_arena(&b, scratch, s->m->raw.n + 128);
	buf_arena(out, scratch, 512);
	return edits_write(&e, &b) == 0 &&
	       msg_index(&sent, scratch, buf_str(&b)) == MSG_OK &&
	       reply_write_cancel(&sent, cancel_reason(p, s->m), out) == 0 &&
	       buf_ok(out);
}

static void send_to(const struct sending *s, const struct hop *target,
		    struct now now)
{
	struct orphan_cancel *x = s->x;
	struct proxy *p = x->proxy;
	struct hop hop = *target;
	char branch[BRANCH_LEN];
	struct buf b;

	if (!s->route.has_flow &&
	    !forward_go_on(p, &x->from, s->route.door, &hop))
		return;
	if (write_cancel(s, &hop, branch, &b) &&
	    client_new(p->c.txns, NULL, &x->owner, METHOD_CANCEL, &hop, branch,
		       buf_str(&b), now))
		x->open++;
	else
		count(p->c.counters, CNT_NOMEM);
}

static bool keep_bytes(struct orphan_cancel *x, struct str bytes)
{
	char *p = mem_alloc(x->proxy->c.mem, bytes.n);

	if (!p)
		return false;
	memcpy(p, bytes.p, bytes.n);
	x->bytes = (struct str){p, bytes.n};
	return true;
}

static struct orphan_cancel *orphan_cancel_new(struct proxy *p,
					       const struct msg *m,
					       const struct msg_key *key,
					       const struct hop *from)
{
	struct orphan_cancel *x = mem_zalloc(p->c.mem, sizeof(*x));

	if (!x)
		return NULL;
	x->owner.kind = OWNER_CANCEL;
	x->proxy = p;
	x->from = *from;
	x->from.tls_name = NULL; /* borrowed, and nobody asks */
	timer_init(&x->limit, on_limit);
	list_append(&p->cancels, &x->link);
	if (keep_bytes(x, m->raw))
		x->server = server_new(p->c.txns, m, key, from);
	if (x->server)
		return x;
	forget(x);
	return NULL;
}

/* With the branch of a node that signs with this key. */
static void send_signed(struct sending *s, struct sipkey sign,
			const struct targets *t, struct now now)
{
	struct orphan_cancel *x = s->x;

	s->sign = sign;
	s->loop = loop_hash(x->proxy, sign, s->m, s->key, &x->from);
	s->up.transaction = server_invite_id(sign, s->m, s->key);
	for (unsigned i = 0; i < t->n; i++)
		send_to(s, &t->hop[i], now);
}

/* False: it went nowhere. */
static bool send_all(struct sending *s, const struct targets *t, struct now now)
{
	struct orphan_cancel *x = s->x;
	struct proxy *p = x->proxy;
	const struct sipkeys *keys = p->c.keys;

	/* One more until all are under way: none ends it before. */
	x->open = 1;
	send_signed(s, keys->now, t, now);
	if (keys->has_other)
		send_signed(s, keys->other, t, now);
	if (x->open == 1) {
		server_disown(x->server, now);
		forget(x);
		return false;
	}
	count(p->c.counters, CNT_ORPHAN_CANCEL);
	timer_arm(p->c.timers, &x->limit,
		  tick_add(now.mono, PATIENCE * p->c.settings->times.t1));
	one_less(x, now);
	return true;
}

bool orphan_cancel(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, struct now now)
{
	const struct member *source = proxy_member_at(p, &from->addr);
	struct sending s = {.m = m, .key = key, .up = upstream_id(key, from)};
	struct targets *t = arena_alloc(p->c.scratch, sizeof(*t));

	if (p->c.settings->stateless_relay == RELAY_NONE || !t)
		return false;
	edits_init(&s.edits, m, p->c.scratch);
	s.route = route_request(p, m, key, from, source, &s.edits);
	find_targets(p, key, from, &s.route, t, now);
	if (t->n == 0)
		return false;
	if (!tokens_take(&p->cancelling, (p->c.keys->has_other ? 2 : 1) * t->n,
			 now.mono)) {
		count(p->c.counters, CNT_CANCEL_LIMITED);
		return false;
	}
	s.x = orphan_cancel_new(p, m, key, from);
	if (s.x)
		return send_all(&s, t, now);
	count(p->c.counters, CNT_NOMEM);
	return true; /* the caller repeats it */
}

void orphan_cancels_fini(struct proxy *p)
{
	list_each_safe (it, &p->cancels)
		forget(container_of(it, struct orphan_cancel, link));
}
