#include "sim/sim_stream.h"

#include <assert.h>
#include <string.h>

static struct machine_node *node_of(const struct sim_worker *w)
{
	return w->sim->node[w->node - 1];
}

void sim_worker_touch(struct sim_worker *w)
{
	tick_t t = w->core ? core_deadline(w->core) : TICK_NEVER;

	w->deadline = INT64_MAX;
	if (t.us == INT64_MAX)
		return;
	w->deadline = t.us - node_of(w)->epoch;
	if (w->deadline < w->busy)
		w->deadline = w->busy;
	if (w->deadline < w->sim->now)
		w->deadline = w->sim->now;
}

/* ---- what the core asks ----------------------------------------------- */

static const struct listener *listener(const struct machine_node *n, unsigned i)
{
	assert(i < n->shared->listeners.n);
	return &n->shared->listeners.l[i];
}

bool sim_owns(const struct machine_node *n, const struct addr *ip)
{
	for (unsigned i = 0; i < n->ips; i++)
		if (addr_ip_eq(&n->ip[i], ip))
			return true;
	return false;
}

/* A listener is bound to an address whether the machine has it just now or
 * not (IP_FREEBIND); what it has not it cannot send from. */
bool sim_source(const struct machine_node *n, unsigned i, const struct addr *to,
		struct addr *out_r)
{
	const struct listener *l = listener(n, i);

	*out_r = l->addr;
	if (!addr_is_any(&l->addr))
		return l->addr.family == to->family && sim_owns(n, &l->addr);
	for (unsigned k = 0; k < n->ips; k++) {
		if (n->ip[k].family != to->family)
			continue;
		*out_r = n->ip[k];
		out_r->port = l->addr.port;
		return true;
	}
	return false;
}

static bool verb_source(void *ctx, unsigned i, const struct addr *to,
			struct addr *out_r)
{
	return sim_source(node_of(ctx), i, to, out_r);
}

void sim_tell_worker(struct sim *s, unsigned node, unsigned worker,
		     const struct flow_event *flow)
{
	struct ev *e = sim_queue(s, EV_FLOW, s->now);

	e->node = node;
	e->worker = worker;
	e->boots = s->node[node - 1]->boots;
	e->flow = *flow;
	e->flow.peer.tls_name = NULL; /* borrowed for no longer */
	if (flow->text.n) {
		e->text = sim_alloc(s, flow->text.n);
		memcpy(e->text, flow->text.p, flow->text.n);
		e->flow.text.p = e->text;
	}
}

/* The failure comes back as an event, never from inside the verb. */
static void bounce(struct sim *s, unsigned node, unsigned worker,
		   const struct hop *to, struct packet *p, enum cause cause)
{
	struct flow_event e = {.kind = FLOW_ERROR,
			       .cause = cause,
			       .peer = *to,
			       .quoted = p->p.bytes};

	sim_tell_worker(s, node, worker, &e);
}

void sim_bounce(struct sim *s, unsigned node, unsigned worker,
		const struct hop *to, struct str bytes, enum cause cause)
{
	struct sim_packet copy = {
	    .sent = s->now,
	    .from = to->local,
	    .to = to->addr,
	    .transport = (enum transport)to->transport,
	    .node = node,
	    .bytes = bytes,
	};
	struct packet *p = sim_trace_packet(s, &copy, s->node[node - 1]->host);

	sim_trace_fate(
	    s, p, to->transport == TRANSPORT_UDP ? SIM_NOBODY : SIM_UNSENT);
	bounce(s, node, worker, to, p, cause);
}

static void send_datagram(struct sim_worker *w, const struct hop *to,
			  struct str bytes)
{
	struct machine_node *n = node_of(w);
	struct addr from = to->local;
	struct packet *p;
	bool ours;

	if (from.family == ADDR_NONE)
		ours = sim_source(n, to->listener, &to->addr, &from);
	else
		ours = sim_owns(n, &from);
	if (!ours) {
		sim_bounce(w->sim, w->node, w->worker, to, bytes,
			   CAUSE_NO_SOURCE);
		return;
	}
	from.port = listener(n, to->listener)->addr.port;
	p = sim_put(w->sim, n->host, w->node, &from, &to->addr, bytes);
	if (p->p.fate == SIM_TOO_BIG)
		bounce(w->sim, w->node, w->worker, to, p, CAUSE_TOO_BIG);
}

static void verb_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct sim_worker *w = ctx;

	if (node_of(w)->muted)
		return;
	w->sends++;
	if (to->transport == TRANSPORT_UDP)
		send_datagram(w, to, bytes);
	else
		sim_stream_send(w, to, bytes);
}

static void verb_open(void *ctx, const struct hop *flow)
{
	sim_open(ctx, flow);
}

static bool verb_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	return sim_withdraw(ctx, to, bytes);
}

static void verb_close(void *ctx, const struct hop *flow)
{
	sim_close_flow(ctx, flow);
}

static void verb_query(void *ctx, struct query *q)
{
	sim_ask(ctx, q);
}

static void verb_unquery(void *ctx, struct query *q)
{
	sim_unask(ctx, q);
}

static const char *put(char **at, const char *bytes, size_t n)
{
	const char *here = *at;

	if (n)
		memcpy(*at, bytes, n);
	*at += n;
	return here;
}

static struct post *copy_post(struct sim *s, const struct post *msg)
{
	const char *name = msg->from.tls_name;
	size_t n = name ? strlen(name) + 1 : 0;
	struct post *copy =
	    sim_alloc(s, sizeof(*copy) + msg->topic.n + msg->bytes.n + n);
	char *at = (char *)(copy + 1);

	*copy = *msg;
	copy->topic.p = put(&at, msg->topic.p, msg->topic.n);
	copy->bytes.p = put(&at, msg->bytes.p, msg->bytes.n);
	if (name)
		copy->from.tls_name = put(&at, name, n);
	return copy;
}

static void verb_post(void *ctx, unsigned worker, const struct post *msg)
{
	struct sim_worker *w = ctx;
	struct sim *s = w->sim;
	struct post *copy;
	struct ev *e;

	if (node_of(w)->muted)
		return;
	copy = copy_post(s, msg);
	e = sim_queue(s, EV_POST, s->now);
	e->node = w->node;
	e->worker = worker;
	e->boots = node_of(w)->boots;
	e->post = copy;
	sim_trace_mark(s, TRACE_POST, w->worker, worker);
}

void sim_post_free(struct sim *s, struct post **p)
{
	mem_free(&s->mem, *p);
	*p = NULL;
}

static void verb_keep(void *ctx, struct str name, struct str bytes)
{
	struct sim_worker *w = ctx;
	const struct script *s = w->scripts.present;

	if (!node_of(w)->muted && s && script_plan(s)->state_dir)
		sim_node_keep(w->sim, w->node, name, bytes);
}

static void verb_log(void *ctx, const struct log_event *e)
{
	struct sim_worker *w = ctx;

	if (!node_of(w)->muted)
		sim_trace_log(w->sim, w->node, w->worker, e);
}

/* A datagram like any other, from a port that nobody listens on. */
static void verb_mirror(void *ctx, const struct addr *collector,
			struct str packet)
{
	struct sim_worker *w = ctx;
	struct machine_node *n = node_of(w);

	for (unsigned i = 0; i < n->ips && !n->muted; i++) {
		struct addr from = n->ip[i];

		if (from.family != collector->family)
			continue;
		from.port = HEP_PORT;
		sim_put(w->sim, n->host, w->node, &from, collector, packet);
		count(core_counters(w->core), CNT_HEP_SENT);
		return;
	}
	if (!n->muted)
		count(core_counters(w->core), CNT_HEP_UNREACHABLE);
}

struct host sim_verbs(struct sim_worker *w)
{
	return (struct host){
	    .ctx = w,
	    .send = verb_send,
	    .open = verb_open,
	    .withdraw = verb_withdraw,
	    .close = verb_close,
	    .query = verb_query,
	    .unquery = verb_unquery,
	    .source = verb_source,
	    .post = verb_post,
	    .log = verb_log,
	    .keep = verb_keep,
	    .mirror = verb_mirror,
	};
}

/* ---- what the core is told -------------------------------------------- */

int sim_listener_at(const struct machine_node *n, const struct addr *at,
		    bool stream)
{
	const struct listeners *ls = &n->shared->listeners;
	int found = -1;

	for (unsigned i = 0; i < ls->n; i++) {
		const struct addr *a = &ls->l[i].addr;

		if ((ls->l[i].transport != TRANSPORT_UDP) != stream ||
		    a->port != at->port || a->family != at->family)
			continue;
		if (addr_ip_eq(a, at))
			return (int)i;
		if (addr_is_any(a) && found < 0)
			found = (int)i;
	}
	return found;
}

unsigned sim_socket_of(const struct sim *s, const struct machine_node *n,
		       const struct addr *from, const struct addr *to)
{
	struct siphash h;

	siphash_init(&h, s->key);
	siphash_addr(&h, from);
	siphash_addr(&h, to);
	return (unsigned)(siphash_end(&h) % n->workers);
}

static void take_packet(struct sim_worker *w, struct packet *p,
			const struct hop *peer)
{
	struct now now = sim_node_now(w->sim, w->node);
	struct flow_event e = {.kind = FLOW_ERROR,
			       .cause = p->p.icmp,
			       .peer = *peer,
			       .quoted = p->p.bytes};

	sim_trace_fate(w->sim, p, SIM_DELIVERED);
	if (p->p.icmp)
		core_flow_event(w->core, now, &e);
	else
		core_receive(w->core, now, peer, p->p.bytes);
}

bool sim_node_arrive(struct sim *s, unsigned id, struct packet *p)
{
	struct machine_node *n = s->node[id - 1];
	int i = sim_listener_at(n, &p->p.to, false);
	struct hop peer = {
	    .transport = TRANSPORT_UDP, .addr = p->p.from, .local = p->p.to};
	struct sim_worker *w;

	if (i < 0)
		return false;
	peer.listener = (uint16_t)i;
	w = n->worker[sim_socket_of(s, n, &p->p.from, &p->p.to)];
	if (!sim_pause_packet(s, id, p, w, &peer)) {
		take_packet(w, p, &peer);
		sim_node_touched(s, id);
	}
	return true;
}

void sim_node_handle(struct sim *s, const struct ev *e)
{
	struct machine_node *n = s->node[e->node - 1];
	struct now now = sim_node_now(s, e->node);
	struct sim_worker *w = n->worker[e->worker];

	sim_slow_begin(w);
	if (e->came)
		core_came(w->core, now, (tick_t){e->came + n->epoch});
	if (e->kind == EV_POST)
		core_post(w->core, now, e->post);
	else if (e->kind == EV_PACKET)
		take_packet(w, e->packet, &e->flow.peer);
	else if (e->kind == EV_INPUT)
		core_receive(w->core, now, &e->flow.peer,
			     (struct str){e->text, e->index});
	else
		core_flow_event(w->core, now, &e->flow);
	sim_slow_end(w, e->kind != EV_POST); /* it was received once */
	sim_node_touched(s, e->node);
}

void sim_node_event(struct sim *s, struct ev *e)
{
	const struct machine_node *n = s->node[e->node - 1];

	/* It was for a process that is gone. */
	if (n->boots != e->boots || e->worker >= n->workers ||
	    sim_pause_event(s, e->node, e))
		return;
	if (sim_slow_event(s, e->node, e)) {
		e->post = NULL; /* it has them now */
		e->text = NULL;
		return;
	}
	sim_node_handle(s, e);
}

struct sim_worker *sim_node_first(struct sim *s)
{
	struct sim_worker *first = NULL;

	for (size_t i = 0; i < s->nodes; i++)
		for (unsigned k = 0;
		     k < s->node[i]->workers && !s->node[i]->paused; k++) {
			struct sim_worker *w = s->node[i]->worker[k];

			if (!first || w->deadline < first->deadline)
				first = w;
		}
	return first && first->deadline != INT64_MAX ? first : NULL;
}

void sim_node_expire(struct sim *s, struct sim_worker *w)
{
	sim_slow_begin(w);
	core_expire(w->core, sim_node_now(s, w->node));
	sim_slow_end(w, false);
	sim_node_touched(s, w->node);
}
