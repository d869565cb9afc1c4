#include <assert.h>
#include <string.h>

#include "transaction/inner.h"
#include "util/err.h"

/* ---- matching (RFC 3261 17.2.3, 9.2) ---- */

struct probe {
	struct txns *txns;
	struct server_key key;
	bool is_ack;
	struct str to_tag; /* of the ACK */
};

/* True when the last response sent has this To tag. */
static bool last_has_tag(const struct server *s, struct str tag)
{
	struct txns *t = s->txns;
	struct msg_key key;
	struct msg m;
	bool failed = scratch_begin(t), same;

	same = msg_index(&m, t->scratch, s->last) == MSG_OK &&
	       msg_key(&m, &key) == MSG_OK && str_eq(key.to_tag, tag);
	scratch_end(t, failed);
	return same;
}

/* An ACK is for this layer when it acknowledges a non-2xx final. */
static bool is_ack_for(const struct server *s, const struct probe *p)
{
	/* The ACK for a 2xx is a transaction of its own (RFC 6026 7.1: to the
	 * user), even from clients that reuse the branch; but our own final
	 * may have gone before the 2xx. */
	if (s->state == SERVER_ACCEPTED)
		return s->last.p && last_has_tag(s, p->to_tag);
	/* RFC 2543: the To tag is that of the response. */
	if (!p->key.host && s->state == SERVER_COMPLETED && s->last.p)
		return last_has_tag(s, p->to_tag);
	return true;
}

static bool is_match(const struct map_node *node, const void *key)
{
	const struct server *s = container_of(node, struct server, node);
	const struct probe *p = key;

	return server_key_eq(&p->key, s->key) &&
	       (!p->is_ack || is_ack_for(s, p));
}

static struct server *find(struct txns *t, struct probe *p)
{
	uint64_t hash = server_key_hash(&p->key, t->map_key);
	struct map_node *node = map_find(&t->servers, hash, is_match, p);

	return node ? container_of(node, struct server, node) : NULL;
}

static bool is_same_request(const struct map_node *node, const void *key)
{
	return server_key_eq(key, container_of(node, struct server, node)->key);
}

bool server_is_known(const struct txns *t, const struct via *via,
		     enum method method)
{
	struct server_key k;
	uint64_t hash;

	if (!server_key_of_via(&k, via))
		return false;
	k.method = method_name(method);
	hash = server_key_hash(&k, t->map_key);
	return map_find(&t->servers, hash, is_same_request, &k) != NULL;
}

/* Where the request came from is not compared: a NAT may move a retransmission
 * to another port, and what counts is the sent-by (17.2.3). */
struct server *server_find(struct txns *t, const struct msg *m,
			   const struct msg_key *key, const struct hop *from)
{
	struct probe p = {.txns = t};

	(void)from;
	server_key_make(&p.key, m, key);
	p.is_ack = key->cseq_id == METHOD_ACK;
	p.to_tag = key->to_tag;
	return find(t, &p);
}

struct server *server_find_cancelled(struct txns *t, const struct msg *m,
				     const struct msg_key *key,
				     const struct hop *from)
{
	struct probe p = {.txns = t};

	(void)from;
	server_key_make(&p.key, m, key);
	p.key.any_method = true;
	return find(t, &p);
}

/* ---- the machine (17.2.1, 17.2.2, RFC 6026 7.1) ---- */

/* Out of the map; the block may live on for its clients. */
static void retire(struct server *s)
{
	struct txns *t = s->txns;

	assert(s->state != SERVER_TERMINATED);
	s->state = SERVER_TERMINATED;
	map_remove(&t->servers, &s->node);
	timer_stop(t->timers, &s->retransmit);
	timer_stop(t->timers, &s->end);
	flows_unlink(&s->flow);
	owned_free(t->mem, &s->last);
}

static void send_last(struct server *s)
{
	if (!s->last.p)
		return; /* none yet, or no memory to keep it */
	count(s->txns->counters, CNT_RETRANS_OUT);
	txns_send(s->txns, &s->from, s->last, CNT_SENT_RESPONSE);
}

/* Timer G: T1 doubling up to T2 (17.2.1). */
static void on_retransmit(struct timer *timer, struct now now)
{
	struct server *s = container_of(timer, struct server, retransmit);
	struct txns *t = s->txns;

	assert(s->state == SERVER_COMPLETED && s->invite);
	send_last(s);
	s->interval *= 2;
	if (s->interval > t->times.t2)
		s->interval = t->times.t2;
	timer_arm(t->timers, timer, tick_add(now.mono, s->interval));
}

/* Timers H, I, J and L. */
static void on_end(struct timer *timer, struct now now)
{
	struct server *s = container_of(timer, struct server, end);
	struct txns *t = s->txns;
	bool no_ack = s->invite && s->state == SERVER_COMPLETED;

	retire(s);
	if (no_ack)
		t->user.on_no_ack(t->user.ctx, s, now);
	server_settle(s);
}

/* The key and the name of the TLS peer are in the block, behind the struct. */
static struct server *enter(struct txns *t, const struct server_key *k,
			    enum method method, const struct hop *from)
{
	size_t tls = from->tls_name ? strlen(from->tls_name) + 1 : 0;
	size_t n = server_key_size(k);
	struct server *s = mem_zalloc(t->mem, sizeof(*s) + n + tls);
	char *tail;

	if (!s)
		return NULL;
	tail = (char *)(s + 1);
	server_key_write(k, tail);
	s->key = (struct str){tail, n};
	s->from = *from;
	if (tls)
		s->from.tls_name = memcpy(tail + n, from->tls_name, tls);
	s->state = SERVER_TRYING;
	s->method = method;
	s->invite = method == METHOD_INVITE;
	s->id = server_key_id(k, t->keys->now);
	s->txns = t;
	list_init(&s->clients);
	timer_init(&s->retransmit, on_retransmit);
	timer_init(&s->end, on_end);
	flows_link(t->flows, &s->flow, from->conn);
	map_add(&t->servers, &s->node, server_key_hash(k, t->map_key));
	t->n_servers++;
	return s;
}

struct server *server_new(struct txns *t, const struct msg *m,
			  const struct msg_key *key, const struct hop *from)
{
	struct server_key k;

	assert(m->is_request && m->method_id != METHOD_ACK);
	server_key_make(&k, m, key);
	return enter(t, &k, m->method_id, from);
}

struct server *server_adopt(struct txns *t, const struct msg_key *key,
			    const struct hop *to)
{
	struct server_key k;

	assert(key->cseq_id == METHOD_INVITE);
	return server_key_of_final(&k, key) ? enter(t, &k, METHOD_INVITE, to)
					    : NULL;
}

uint64_t server_invite_id(struct sipkey secret, const struct msg *m,
			  const struct msg_key *key)
{
	struct server_key k;

	server_key_make(&k, m, key);
	k.method = method_name(METHOD_INVITE);
	return server_key_id(&k, secret);
}

static bool is_reliable(const struct server *s)
{
	return transport_reliable((enum transport)s->from.transport);
}

/* A timer of 0 ends the transaction at the next run of the timers, so that
 * no block goes while its user still works on it. */
static void end_after(struct server *s, int64_t us, struct now now)
{
	timer_arm(s->txns->timers, &s->end, tick_add(now.mono, us));
}

static void on_ack(struct server *s, struct now now)
{
	struct txns *t = s->txns;

	if (s->state == SERVER_CONFIRMED) {
		count(t->counters, CNT_RETRANS_IN);
		return;
	}
	if (!s->invite || s->state != SERVER_COMPLETED) {
		count(t->counters, CNT_STRAY_ACK);
		return;
	}
	s->state = SERVER_CONFIRMED;
	timer_stop(t->timers, &s->retransmit);
	owned_free(t->mem, &s->last);
	end_after(s, is_reliable(s) ? 0 : t->times.t4, now); /* timer I */
}

static bool same_peer(const struct hop *a, const struct hop *b)
{
	return a->transport == b->transport && addr_ip_eq(&a->addr, &b->addr) &&
	       (a->tls_name && b->tls_name
		    ? strcmp(a->tls_name, b->tls_name) == 0
		    : a->tls_name == b->tls_name);
}

/* Nobody repeats a request on a stream but on a new one. */
static void follow_peer(struct server *s, const struct hop *from)
{
	const char *name = s->from.tls_name;

	if (!from->conn || from->conn == s->from.conn ||
	    !same_peer(from, &s->from))
		return;
	s->from = *from;
	s->from.tls_name = name; /* the same text, and ours */
	flows_link(s->txns->flows, &s->flow, from->conn);
}

void server_on_request(struct server *s, enum method method,
		       const struct hop *from, struct now now)
{
	follow_peer(s, from);
	if (method == METHOD_ACK) {
		on_ack(s, now);
		return;
	}
	count(s->txns->counters, CNT_RETRANS_IN);
	if (s->state == SERVER_PROCEEDING || s->state == SERVER_COMPLETED)
		send_last(s);
}

static int respond_1xx(struct server *s, struct str bytes)
{
	if (s->state > SERVER_PROCEEDING)
		return ERR_STATE;
	s->state = SERVER_PROCEEDING;
	txns_send(s->txns, &s->from, bytes, CNT_SENT_RESPONSE);
	return owned_set(s->txns->mem, &s->last, bytes);
}

/* A 2xx to INVITE passes whatever was sent before (16.7 step 5) and is not
 * kept: its sender repeats it until the ACK comes (RFC 6026 7.1). */
static int respond_2xx(struct server *s, struct str bytes, struct now now)
{
	struct txns *t = s->txns;

	txns_send(t, &s->from, bytes, CNT_SENT_RESPONSE);
	if (s->state >= SERVER_ACCEPTED)
		return 0;
	/* A final of our own stays: its ACK is recognised by the To tag. */
	if (s->state <= SERVER_PROCEEDING)
		owned_free(t->mem, &s->last);
	s->state = SERVER_ACCEPTED;
	timer_stop(t->timers, &s->retransmit);
	end_after(s, 64 * t->times.t1, now); /* timer L */
	return 0;
}

static int respond_final(struct server *s, struct str bytes, struct now now)
{
	struct txns *t = s->txns;
	int err;

	if (s->state > SERVER_PROCEEDING)
		return ERR_STATE;
	s->state = SERVER_COMPLETED;
	txns_send(t, &s->from, bytes, CNT_SENT_RESPONSE);
	err = owned_set(t->mem, &s->last, bytes);
	if (err < 0)
		owned_free(t->mem, &s->last); /* a 1xx would be wrong now */
	if (!s->invite) {
		/* Timer J. */
		end_after(s, is_reliable(s) ? 0 : 64 * t->times.t1, now);
		return err;
	}
	end_after(s, 64 * t->times.t1, now); /* timer H */
	if (!is_reliable(s) && s->last.p) {
		s->interval = t->times.t1; /* timer G */
		timer_arm(t->timers, &s->retransmit,
			  tick_add(now.mono, s->interval));
	}
	return err;
}

int server_respond(struct server *s, struct str bytes, int code, struct now now)
{
	bool again = s->state >= SERVER_ACCEPTED; /* the 2xx, repeated */
	int err;

	assert(code >= 100 && code <= 699);
	if (code < 200)
		err = respond_1xx(s, bytes);
	else if (code < 300 && s->invite)
		err = respond_2xx(s, bytes, now);
	else
		err = respond_final(s, bytes, now);
	if (err == ERR_STATE)
		return err;
	if (!again)
		count_response(s->txns->counters, s->method, code);
	s->code = code;
	return err;
}

void server_withhold(struct server *s, struct now now)
{
	assert(!s->invite);
	if (s->state > SERVER_PROCEEDING)
		return;
	s->state = SERVER_COMPLETED;
	owned_free(s->txns->mem, &s->last); /* nor a 100 any more */
	/* Timer J */
	end_after(s, is_reliable(s) ? 0 : 64 * s->txns->times.t1, now);
}

void server_disown(struct server *s, struct now now)
{
	(void)now;
	s->owner = NULL;
	if (s->state > SERVER_PROCEEDING)
		return;
	retire(s);
	server_settle(s);
}
