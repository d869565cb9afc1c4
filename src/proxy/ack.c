/*
 * The ACK for a 2xx: forwarded along its route set by any node, whether it saw
 * the INVITE or not, without a transaction. When its next hop is a name that
 * has to be looked up it waits for that.
 */
#include <string.h>
#include "proxy/context.h"

/* More wait for names than any trouble with DNS explains: they are dropped. */
enum { PARKED = 256 };

/* An ACK for a final we made ourselves without a transaction. */
static bool acks_our_reply(struct proxy *p, const struct msg *m,
			   const struct msg_key *key, const struct hop *from)
{
	struct upstream_id up = upstream_id(key, from);

	return branch_is_to_tag(key->to_tag, p->c.keys, &up) ||
	       shed_is_tag(p, m, key);
}

static int add_via(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, const struct hop *hop,
		   struct edits *e)
{
	struct upstream_id up = upstream_id(key, from);
	struct str marked = via_mark_received(p->c.scratch, &key->via, from);
	char branch[BRANCH_LEN];
	struct buf b;
	int err;

	branch_write(branch, p->c.keys->now, &up, hop, 0,
		     loop_hash(p, p->c.keys->now, m, key, from));
	buf_arena(&b, p->c.scratch, 128);
	via_write(&b, p->c.listeners, hop, (struct str){branch, BRANCH_LEN});
	if (!marked.p || !buf_ok(&b))
		return ERR_NOMEM;
	err = edit_replace_value(e, HDR_VIA, marked);
	return err ? err : edit_prepend(e, STR("Via"), buf_str(&b));
}

static int write_ack(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, const struct target *to,
		     const struct route *route, struct edits *e,
		     struct buf *out)
{
	const struct hdr *f = msg_first(m, HDR_MAX_FORWARDS);
	uint32_t left = 71;
	char hops[12];
	struct buf b;
	int err;

	if (f && (!str_u32(msg_hdr_value(m, f), 255, &left) || left == 0))
		return ERR_LIMIT;
	buf_fixed(&b, hops, sizeof(hops));
	buf_u64(&b, left - 1);
	err = edit_set(e, STR("Max-Forwards"), buf_str(&b));
	if (!err)
		err = shared_edit(e, route->uri, to);
	if (!err && route->next_is_strict)
		err = forward_strictly(e, route->uri, route->next);
	if (!err)
		err = add_via(p, m, key, from, &to->hop, e);
	return err ? err : forward_put(p, e, &to->hop, out);
}

/* One message's: where it is from, and what was found for its next hop. */
struct ack {
	struct msg *m;
	const struct msg_key *key;
	const struct hop *from;
	const struct places *found; /* NULL: not looked up yet */
	struct locate_ask ask;      /* what to look up */
	bool unlocated;             /* and that came to nothing */
};

static int by_uri(struct proxy *p, struct ack *ack, struct str uri,
		  struct target *out_r, struct now now)
{
	struct arena *scratch = p->c.scratch;
	struct way w = {.n = 0};
	uint64_t seed = way_seed(p, ack->key->call_id);
	enum cause cause;
	int err;

	err = way_of_uri(p, uri, seed, scratch, now, &w, &ack->ask, &cause);
	if (err == ERR_STATE && ack->found)
		err = way_of_found(p, uri, ack->found, seed, scratch, now, &w);
	if (err) {
		ack->unlocated = err == ERR_NOTFOUND;
		return err;
	}
	out_r->hop = w.hop[0];
	way_identify_at(p, &out_r->hop);
	return 0;
}

/* Where it goes: to the phone's flow, to where its 2xx came from (semantics
 * 16), else along its route set. 0, ERR_STATE: ack->ask has to be looked up, or
 * another ERR_*. */
static int find_target(struct proxy *p, struct ack *ack,
		       const struct route *route, const struct edits *e,
		       struct target *out_r, struct now now)
{
	int err;

	*out_r = (struct target){.hop = route->flow};
	if (route->has_flow)
		return 0;
	err = shared_move_ack(p, ack->key, route, e, out_r);
	if (!err)
		way_identify(out_r->member, &out_r->hop);
	else if (err == ERR_NOTFOUND)
		err = by_uri(p, ack, route->next, out_r, now);
	if (!err && !forward_go_on(p, ack->from, route->door, &out_r->hop))
		err = ERR_UNREACHABLE;
	/* as for every other request (launch.c) */
	if (!err && route->is_sips && out_r->hop.transport != TRANSPORT_TLS)
		err = ERR_UNREACHABLE;
	return err;
}

/* 0, ERR_STATE: not yet, or another ERR_*: nowhere. */
static int forward(struct proxy *p, struct ack *ack, struct now now)
{
	const struct member *source = proxy_member_at(p, &ack->from->addr);
	struct edits e;
	struct route route;
	struct target to;
	struct buf b;
	int err = ERR_NOTFOUND;

	edits_init(&e, ack->m, p->c.scratch);
	route = route_request(p, ack->m, ack->key, ack->from, source, &e);
	if (route.kind == ROUTE_FOLLOW && route.in_dialog)
		err = find_target(p, ack, &route, &e, &to, now);
	buf_arena(&b, p->c.scratch, ack->m->raw.n + 256);
	if (!err)
		err = write_ack(p, ack->m, ack->key, ack->from, &to, &route, &e,
				&b);
	if (err)
		return err;
	count_message(p->c.counters, CNT_SENT_REQUEST, to.hop.transport);
	p->c.host->send(p->c.host->ctx, &to.hop, buf_str(&b));
	return 0;
}

/* ---- waiting ---- */

struct parked {
	struct list link; /* proxy.parked */
	struct proxy *proxy;
	struct locate *locate;
	struct hop from;
	size_t n;
	char bytes[];
};

static void forget(struct parked *k)
{
	struct proxy *p = k->proxy;

	if (k->locate)
		locate_stop(&k->locate);
	list_remove(&k->link);
	p->n_parked--;
	mem_free(p->c.mem, k);
}

static void count_drop(struct proxy *p, const struct ack *ack, int err)
{
	if (err == ERR_NOMEM)
		count(p->c.counters, CNT_NOMEM);
	else if (err)
		count(p->c.counters,
		      ack->unlocated ? CNT_UNLOCATED_ACK : CNT_STRAY_ACK);
}

static void on_located(void *ctx, const struct places *found, struct now now)
{
	struct parked *k = ctx;
	struct proxy *p = k->proxy;
	struct str bytes = {k->bytes, k->n};
	struct msg m;
	struct msg_key key;
	struct ack ack = {
	    .m = &m, .key = &key, .from = &k->from, .found = found};
	int err = ERR_NOMEM;

	k->locate = NULL;
	if (msg_index(&m, p->c.scratch, bytes) == MSG_OK &&
	    msg_key(&m, &key) == MSG_OK)
		err = forward(p, &ack, now);
	count_drop(p, &ack, err);
	forget(k);
}

static int park(struct proxy *p, struct ack *ack, struct now now)
{
	struct str bytes = ack->m->raw;
	struct parked *k;

	ack->unlocated = p->n_parked >= PARKED;
	if (ack->unlocated)
		return ERR_LIMIT;
	k = mem_zalloc(p->c.mem, sizeof(*k) + bytes.n);
	if (!k)
		return ERR_NOMEM;
	k->proxy = p;
	k->from = *ack->from;
	k->from.tls_name = NULL; /* borrowed, and nobody asks */
	k->n = bytes.n;
	memcpy(k->bytes, bytes.p, bytes.n);
	list_append(&p->parked, &k->link);
	p->n_parked++;
	k->locate = locate_start(p->c.resolver, &ack->ask, on_located, k, now);
	if (k->locate)
		return 0;
	forget(k);
	return ERR_NOMEM;
}

void parked_fini(struct proxy *p)
{
	list_each_safe (it, &p->parked)
		forget(container_of(it, struct parked, link));
}

/* Nobody answers an ACK: this is all that ends one that leads back to us. The
 * first proxy that has it need not look. */
static bool is_loop(struct proxy *p, struct msg *m, const struct msg_key *key,
		    const struct hop *from)
{
	return has_second_via(m, key) && validate_is_loop(p, m, key, from);
}

void stateless_ack(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, struct now now)
{
	struct ack ack = {.m = m, .key = key, .from = from};
	int err;

	/* with the branch of its INVITE it would pass for the ACK of a failure,
	 * too */
	if (answered_on_ack(p, key) || acks_our_reply(p, m, key, from))
		return;
	if (is_loop(p, m, key, from)) {
		count(p->c.counters, CNT_LOOP);
		return;
	}
	err = forward(p, &ack, now);
	if (err == ERR_STATE)
		err = park(p, &ack, now);
	count_drop(p, &ack, err);
}
