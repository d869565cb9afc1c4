/*
 * Dialogs that the servers of a pool share (semantics 16): which requests may
 * go to a sibling of the server they belong to, what they look like then, and
 * the ACK for a 2xx that a sibling gave. Who takes over is the policy's word:
 * the target of an attempt, and the fact "stand_in" for an ACK.
 */
#include <string.h>
#include "message/field.h"
#include "proxy/context.h"

/* ---- which ---- */

const struct member *shared_server(struct proxy *p, const struct route *route)
{
	const struct member *m = route_member(p, route);
	struct uri next;

	if (!m || !m->shared_dialogs || route->has_flow ||
	    route->next_is_strict || !scan_uri(route->next, &next) ||
	    !proxy_names(p, m, &next))
		return NULL;
	return m;
}

const struct member *request_dialog_server(struct request *r)
{
	return shared_server(r->proxy, &r->route);
}

bool request_is_to_us(const struct request *r)
{
	return r->route.kind == ROUTE_TO_US;
}

static bool is_tag_of(struct str tag, const struct msg_key *key)
{
	return str_eq(tag, key->from_tag) || str_eq(tag, key->to_tag);
}

bool request_is_early(const struct request *r)
{
	list_each (it, &r->proxy->requests) {
		const struct request *q =
		    container_of(it, const struct request, link);

		if (q->msg.method_id == METHOD_INVITE && !q->route.in_dialog &&
		    !q->final_sent && !q->dropped &&
		    str_eq(q->key.call_id, r->key.call_id) &&
		    is_tag_of(q->key.from_tag, &r->key))
			return true;
	}
	return false;
}

/* ---- what it looks like then ---- */

static struct str place_text(struct arena *a, const struct server_place *at)
{
	const struct addr *addr = &at->addr;
	struct buf b;

	buf_arena(&b, a, ADDR_TEXT);
	addr_write_host(&b, addr);
	if (addr->port != transport_port((enum transport)at->transport)) {
		buf_char(&b, ':');
		buf_u64(&b, addr->port);
	}
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

static bool names_server(struct proxy *p, struct str text,
			 const struct member *m)
{
	struct uri uri;

	return scan_uri(text, &uri) && proxy_names(p, m, &uri);
}

/* The Route value with another host and port in its URI. */
static struct str moved_route(struct arena *a, struct str value,
			      const struct nameaddr *na, struct str place)
{
	struct str uri = forward_with_host(a, na->uri, place);
	size_t from = (size_t)(na->uri.p - value.p);
	struct buf b;

	buf_arena(&b, a, value.n + place.n);
	buf_put(&b, str_sub(value, 0, from));
	buf_put(&b, uri);
	buf_put(&b, str_sub(value, from + na->uri.n, value.n));
	return uri.p && buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* The first Route after the edits, or STR_NONE. */
static struct str first_route(const struct edits *e, struct nameaddr *na_r)
{
	struct str value = edits_get(e, STR("Route"));

	if (!value.p || !scan_nameaddr(value, na_r, NULL))
		return STR_NONE;
	return na_r->text;
}

/* What of a request to `from` has to change, so that `to` takes it for one of
 * its own. 0 or ERR_NOMEM. */
static int move(struct proxy *p, const struct edits *e, struct str uri,
		const struct member *from, struct member *to,
		struct target *out_r)
{
	struct arena *a = p->c.scratch;
	const struct server_place *at = proxy_best_place(p, to);
	struct str place = place_text(a, at), route;
	struct nameaddr na;
	struct target t = {.member = to, .by_route = true, .for_sibling = true};

	t.hop.addr = at->addr;
	t.hop.transport = at->transport;
	if (names_server(p, uri, from))
		t.host = place;
	route = first_route(e, &na);
	if (route.p && names_server(p, na.uri, from))
		t.top_route = moved_route(a, route, &na, place);
	*out_r = t;
	return place.p && !arena_failed(a) ? 0 : ERR_NOMEM;
}

int request_sibling(struct request *r, struct member *to, struct target *out_r)
{
	const struct member *from = request_dialog_server(r);

	if (!from || proxy_places(r->proxy, to)->n == 0)
		return ERR_STATE;
	return move(r->proxy, &r->edits,
		    r->edits.uri.p ? r->edits.uri : r->msg.uri, from, to,
		    out_r);
}

int shared_edit(struct edits *e, struct str uri, const struct target *t)
{
	int err = 0;

	if (t->host.p)
		err = edit_uri(e, forward_with_host(e->arena, uri, t->host));
	if (!err && t->top_route.p)
		err = edit_replace_value(e, HDR_ROUTE, t->top_route);
	return err;
}

/* ---- the ACK of a 2xx ---- */

/* Who gave it, where that is not plain: a sibling, or the server although there
 * is a stand-in. Kept as long as the 2xx may be repeated, its ACK with it. */
struct moved {
	struct map_node node; /* proxy.moved, by Call-ID, tags, CSeq */
	struct proxy *proxy;
	uint64_t hash;
	uint64_t member; /* id of who answered */
	struct timer end;
};

/* With 64 bits of a secret key the hash is as good as what it is of. */
static uint64_t answer_hash(const struct proxy *p, const struct msg_key *key)
{
	struct siphash h;

	siphash_init(&h, p->c.table_key);
	siphash_str(&h, STR("moved INVITE"));
	siphash_str(&h, key->call_id);
	siphash_str(&h, key->from_tag);
	siphash_str(&h, key->to_tag);
	siphash_u64(&h, key->cseq);
	return siphash_end(&h);
}

static bool is_match(const struct map_node *node, const void *hash)
{
	return container_of(node, const struct moved, node)->hash ==
	       *(const uint64_t *)hash;
}

static struct moved *find(struct proxy *p, uint64_t hash)
{
	struct map_node *node = map_find(&p->moved, hash, is_match, &hash);

	return node ? container_of(node, struct moved, node) : NULL;
}

static void forget(struct moved *mv)
{
	timer_stop(mv->proxy->c.timers, &mv->end);
	map_remove(&mv->proxy->moved, &mv->node);
	mem_free(mv->proxy->c.mem, mv);
}

static void on_end(struct timer *t, struct now now)
{
	(void)now;
	forget(container_of(t, struct moved, end));
}

/* Its ACKs go to another one meanwhile. */
static bool is_stood_in(const struct member *m)
{
	return m->shared_dialogs && atomic_load(&m->fact[FACT_STAND_IN]) != 0;
}

static struct moved *find_or_make(struct proxy *p, uint64_t hash)
{
	struct moved *mv = find(p, hash);

	if (mv)
		return mv;
	mv = mem_zalloc(p->c.mem, sizeof(*mv));
	if (!mv) {
		/* its ACK then goes where the route set says */
		count(p->c.counters, CNT_NOMEM);
		return NULL;
	}
	mv->proxy = p;
	mv->hash = hash;
	timer_init(&mv->end, on_end);
	map_add(&p->moved, &mv->node, hash);
	return mv;
}

void shared_on_2xx(struct proxy *p, const struct member *m, bool by_sibling,
		   const struct msg_key *key, struct now now)
{
	struct moved *mv;

	if (!m || !(by_sibling || is_stood_in(m)))
		return;
	mv = find_or_make(p, answer_hash(p, key));
	if (!mv)
		return;
	mv->member = m->id;
	timer_arm(p->c.timers, &mv->end,
		  tick_add(now.mono, 64 * p->c.settings->times.t1));
}

/* Who answered the INVITE, or who stands in for a server known to be down;
 * NULL: the server itself. */
static struct member *ack_taker(struct proxy *p, const struct msg_key *key,
				const struct member *server)
{
	const struct moved *mv =
	    p->moved.n ? find(p, answer_hash(p, key)) : NULL;
	uint64_t id = mv ? mv->member
			 : (uint64_t)atomic_load(&server->fact[FACT_STAND_IN]);

	return id && id != server->id ? members_by_id(p->c.members, id) : NULL;
}

int shared_move_ack(struct proxy *p, const struct msg_key *key,
		    const struct route *route, const struct edits *e,
		    struct target *out_r)
{
	const struct member *server = shared_server(p, route);
	struct member *to = server ? ack_taker(p, key, server) : NULL;

	if (!to || proxy_places(p, to)->n == 0)
		return ERR_NOTFOUND;
	return move(p, e, route->uri, server, to, out_r);
}

void shared_fini(struct proxy *p)
{
	map_settle(&p->moved);
	for (size_t i = 0; i < p->moved.buckets; i++)
		while (p->moved.bucket[i])
			forget(container_of(p->moved.bucket[i], struct moved,
					    node));
	map_fini(&p->moved);
}
