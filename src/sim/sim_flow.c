#include "sim/sim_stream.h"

#include <assert.h>
#include <string.h>

struct key {
	unsigned node;
	uint64_t conn;
};

static uint64_t hash_of(const struct sim *s, const struct key *k)
{
	struct siphash h;

	siphash_init(&h, s->key);
	siphash_u64(&h, k->node);
	siphash_u64(&h, k->conn);
	return siphash_end(&h);
}

static bool is_it(const struct map_node *node, const void *key)
{
	const struct end *e = container_of(node, struct end, by_hop);
	const struct key *k = key;

	return e->node == k->node && e->hop.conn == k->conn;
}

/* The connection of that name; NULL: it has none (any more). */
static struct end *find(const struct sim_worker *w, const struct hop *flow)
{
	struct key k = {w->node, flow->conn};
	struct map_node *node =
	    map_find(&w->sim->conn_map, hash_of(w->sim, &k), is_it, &k);

	return node ? container_of(node, struct end, by_hop) : NULL;
}

static void know(struct sim *s, struct end *e, unsigned node, unsigned worker)
{
	struct key k = {node, e->hop.conn};

	e->node = node;
	e->worker = worker;
	e->known = true;
	map_add(&s->conn_map, &e->by_hop, hash_of(s, &k));
}

void sim_flow_forget(struct sim *s, struct end *e)
{
	if (e->known)
		map_remove(&s->conn_map, &e->by_hop);
	e->known = false;
}

static struct machine_node *node_of(const struct sim *s, unsigned id)
{
	return s->node[id - 1];
}

/* ---- the verbs -------------------------------------------------------- */

void sim_open(struct sim_worker *w, const struct hop *flow)
{
	struct sim *s = w->sim;
	struct machine_node *n = node_of(s, w->node);
	struct end *e;

	if (n->muted)
		return;
	assert(flow->conn && !find(w, flow));
	e = &sim_conn_new(s)->end[0];
	e->host = n->host;
	e->transport = (enum transport)flow->transport;
	e->addr = flow->local;
	e->homeless =
	    flow->local.family == ADDR_NONE
		? !sim_source(n, flow->listener, &flow->addr, &e->addr)
		: !sim_owns(n, &flow->local);
	e->hop = *flow;
	e->hop.tls_name = flow->tls_name ? e->name : NULL;
	if (flow->tls_name)
		strncat(e->name, flow->tls_name, sizeof(e->name) - 1);
	know(s, e, w->node, w->worker);
	sim_conn_connect(s, e, &flow->addr);
	e->hop.local = e->addr;
}

void sim_stream_send(struct sim_worker *w, const struct hop *to,
		     struct str bytes)
{
	struct machine_node *n = node_of(w->sim, w->node);
	struct end *e = find(w, to);

	if (!e) {
		sim_bounce(w->sim, w->node, w->worker, to, bytes, CAUSE_CLOSED);
		return;
	}
	sim_end_write(w->sim, e, bytes, 0);
	if (e->unwritten_bytes <= n->shared->settings.streams.queue)
		return;
	sim_seg_reset(w->sim, e->host, sim_other(e));
	sim_end_fail(w->sim, e, CAUSE_RESET,
		     "it does not read what it is sent");
}

bool sim_withdraw(struct sim_worker *w, const struct hop *to, struct str bytes)
{
	struct end *e = find(w, to);

	return e && sim_end_withdraw(w->sim, e, bytes);
}

void sim_close_flow(struct sim_worker *w, const struct hop *flow)
{
	struct end *e = find(w, flow);

	if (e && !node_of(w->sim, w->node)->muted)
		sim_end_close(w->sim, e);
}

/* ---- what the core is told -------------------------------------------- */

void sim_flow_accept(struct sim *s, struct end *e, unsigned id, int listener)
{
	struct machine_node *n = node_of(s, id);
	const struct addr *from = &sim_other(e)->addr;
	unsigned worker = sim_socket_of(s, n, from, &e->addr);

	e->transport =
	    (enum transport)n->shared->listeners.l[listener].transport;
	e->hop = (struct hop){
	    .listener = (uint16_t)listener,
	    .transport = (uint8_t)e->transport,
	    .worker = (uint8_t)worker,
	    .addr = *from,
	    .local = e->addr,
	    .conn = conn_make(worker, true, rand_u64(&s->names)),
	};
	know(s, e, id, worker);
	if (e->transport == TRANSPORT_TLS)
		sim_conn_watch(s, e,
			       s->now + n->shared->settings.streams.handshake);
}

void sim_flow_up(struct sim *s, struct end *e, const char *name)
{
	struct flow_event up = {
	    .kind = FLOW_UP, .accepted = e == &e->conn->end[1], .peer = e->hop};

	if (sim_pause_stream(s, e, true, up.accepted ? name : e->hop.tls_name,
			     STR_NONE))
		return;
	if (up.accepted)
		up.peer.tls_name = name;
	core_flow_event(sim_node_core(s, e->node, e->worker),
			sim_node_now(s, e->node), &up);
	sim_node_touched(s, e->node);
}

void sim_flow_data(struct sim *s, struct end *e, struct str bytes)
{
	if (!e->known || sim_pause_stream(s, e, false, NULL, bytes))
		return;
	core_receive(sim_node_core(s, e->node, e->worker),
		     sim_node_now(s, e->node), &e->hop, bytes);
	sim_node_touched(s, e->node);
}

/* How this end, a node's, was told to speak TLS. */
const struct tls_conf *sim_flow_tls(const struct sim *s, const struct end *e)
{
	const struct node *shared = node_of(s, e->node)->shared;
	static const struct tls_conf none;

	if (!shared)
		return &none;
	return e == &e->conn->end[1] ? &shared->listeners.l[e->hop.listener].tls
				     : &shared->tls.c[e->hop.tls];
}

/* ---- the end of a process, or of an address --------------------------- */

void sim_streams_end(struct sim *s, unsigned node, bool reset)
{
	for (size_t i = 0; i < s->conns; i++)
		for (int k = 0; s->conn[i] && k < 2; k++) {
			struct end *e = &s->conn[i]->end[k];

			if (e->node != node || !e->known)
				continue;
			if (reset)
				sim_end_reset(s, e);
			else
				sim_end_close(s, e);
		}
}

void sim_streams_lost(struct sim *s, unsigned node, const struct addr *ip)
{
	for (size_t i = 0; i < s->conns; i++)
		for (int k = 0; s->conn[i] && k < 2; k++) {
			struct end *e = &s->conn[i]->end[k];

			if (e->node == node && e->known &&
			    addr_ip_eq(&e->addr, ip))
				sim_end_fail(s, e, CAUSE_NO_SOURCE,
					     "our address has gone");
		}
}
