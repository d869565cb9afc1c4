#include "sim/sim_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	DATAGRAM_MAX = 65507,
	/* What Linux quotes at most: an ICMP message has 576 bytes, less two IP
	 * headers, the ICMP header and the UDP header. */
	QUOTE_MAX = 576 - 20 - 8 - 20 - 8
};

void sim_net_init(struct sim *s)
{
	if (map_init(&s->ip_map, &s->mem) || map_init(&s->pipe_map, &s->mem) ||
	    map_init(&s->endpoint_map, &s->mem))
		abort();
	sim_link_init(&s->link);
}

void sim_net_fini(struct sim *s)
{
	for (struct owner *o = s->owners, *next; o; o = next) {
		next = o->next;
		map_remove(&s->ip_map, &o->node);
		mem_free(&s->mem, o);
	}
	for (struct pipe *p = s->pipes, *next; p; p = next) {
		next = p->next;
		map_remove(&s->pipe_map, &p->node);
		mem_free(&s->mem, p);
	}
	for (size_t i = 0; i < s->endpoints; i++) {
		map_remove(&s->endpoint_map, &s->endpoint[i]->node);
		mem_free(&s->mem, s->endpoint[i]);
	}
	mem_free(&s->mem, s->endpoint);
	mem_free(&s->mem, s->machine);
	map_fini(&s->ip_map);
	map_fini(&s->pipe_map);
	map_fini(&s->endpoint_map);
}

/* ---- machines and their addresses ------------------------------------- */

static uint64_t hash_addr(const struct sim *s, const struct addr *a, bool port)
{
	struct siphash h;
	struct addr ip = *a;

	if (!port)
		ip.port = 0;
	siphash_init(&h, s->key);
	siphash_addr(&h, &ip);
	return siphash_end(&h);
}

static bool owner_eq(const struct map_node *node, const void *key)
{
	return addr_ip_eq(&container_of(node, struct owner, node)->ip, key);
}

static struct owner *find_owner(const struct sim *s, const struct addr *ip)
{
	struct map_node *node =
	    map_find(&s->ip_map, hash_addr(s, ip, false), owner_eq, ip);

	return node ? container_of(node, struct owner, node) : NULL;
}

unsigned sim_owner(const struct sim *s, const struct addr *ip)
{
	struct owner *o = find_owner(s, ip);

	return o ? o->host : 0;
}

bool sim_has(const struct sim *s, unsigned host, const struct addr *ip)
{
	return sim_owner(s, ip) == host || sim_split_has(s, host, ip);
}

void sim_host_take(struct sim *s, unsigned host, const struct addr *ip)
{
	struct owner *o = find_owner(s, ip);

	assert(host > 0 && host <= s->machines);
	if (!o) {
		o = sim_alloc(s, sizeof(*o));
		o->ip = *ip;
		o->ip.port = 0;
		o->next = s->owners;
		s->owners = o;
		map_add(&s->ip_map, &o->node, hash_addr(s, ip, false));
	}
	o->host = host;
}

void sim_host_drop(struct sim *s, unsigned host, const struct addr *ip)
{
	struct owner *o = find_owner(s, ip);
	unsigned heir = sim_split_leave(s, host, ip);

	if (o && o->host == host)
		o->host = heir;
}

unsigned sim_host(struct sim *s, const struct addr *ip)
{
	unsigned host = sim_owner(s, ip);

	if (host)
		return host;
	s->machine = sim_grow(s, s->machine, s->machines + 1, &s->machine_cap,
			      sizeof(*s->machine));
	host = (unsigned)++s->machines;
	s->machine[host] = (struct machine){0};
	sim_host_take(s, host, ip);
	return host;
}

unsigned sim_hosts(const struct sim *s)
{
	return (unsigned)s->machines;
}

void sim_host_power(struct sim *s, unsigned host, bool on)
{
	assert(host > 0 && host <= s->machines);
	s->machine[host].off = !on;
	if (!on)
		sim_streams_dead(s, host);
}

/* ---- links ------------------------------------------------------------ */

void sim_link_init(struct sim_link *conf)
{
	*conf = (struct sim_link){.delay = MILLIS(1)};
}

static bool pipe_eq(const struct map_node *node, const void *key)
{
	const struct pipe *p = container_of(node, struct pipe, node);
	const unsigned *pair = key;

	return p->from == pair[0] && p->to == pair[1];
}

static struct pipe *pipe_of(struct sim *s, unsigned from, unsigned to)
{
	unsigned pair[2] = {from, to};
	uint64_t hash = siphash24(s->key, pair, sizeof(pair));
	struct map_node *node = map_find(&s->pipe_map, hash, pipe_eq, pair);
	struct pipe *p;

	if (node)
		return container_of(node, struct pipe, node);
	p = sim_alloc(s, sizeof(*p));
	p->from = from;
	p->to = to;
	p->next = s->pipes;
	s->pipes = p;
	map_add(&s->pipe_map, &p->node, hash);
	return p;
}

void sim_link_default(struct sim *s, const struct sim_link *conf)
{
	s->link = *conf;
}

void sim_link_set(struct sim *s, unsigned from, unsigned to,
		  const struct sim_link *conf)
{
	struct pipe *p = pipe_of(s, from, to);

	p->own = true;
	p->conf = *conf;
}

static const struct sim_link *conf_of(const struct sim *s, const struct pipe *p)
{
	return p->own ? &p->conf : &s->link;
}

void sim_link_get(struct sim *s, unsigned from, unsigned to,
		  struct sim_link *out_r)
{
	*out_r = *conf_of(s, pipe_of(s, from, to));
}

void sim_link_cut(struct sim *s, unsigned from, unsigned to, bool cut)
{
	pipe_of(s, from, to)->cut = cut;
}

void sim_heal(struct sim *s)
{
	for (struct pipe *p = s->pipes; p; p = p->next)
		p->cut = false;
}

/* ---- packets ---------------------------------------------------------- */

static bool chance(struct sim *s, double p)
{
	return p > 0 && rand_unit(&s->net) < p;
}

static int64_t random_us(struct sim *s, int64_t most)
{
	return most > 0 ? (int64_t)rand_below(&s->net, (uint64_t)most + 1) : 0;
}

/* When a packet that leaves now gets there. */
static int64_t travel(struct sim *s, struct pipe *pipe)
{
	const struct sim_link *conf = conf_of(s, pipe);
	int64_t at = s->now + conf->delay + random_us(s, conf->jitter);

	/* Held back, and what is sent after it may overtake it. */
	if (chance(s, conf->reorder))
		return at + MILLIS(1) + random_us(s, MILLIS(20));
	if (at < pipe->last)
		at = pipe->last;
	pipe->last = at;
	return at;
}

static void fly(struct sim *s, struct pipe *pipe, struct packet *p)
{
	sim_queue(s, EV_PACKET, travel(s, pipe))->packet = p;
}

static void launch(struct sim *s, struct packet *p)
{
	unsigned to = p->p.to_host;
	struct pipe *pipe;

	if (s->machine[p->p.from_host].off) {
		sim_trace_fate(s, p, SIM_DEAD);
		return;
	}
	if (!to) {
		sim_trace_fate(s, p, SIM_NOBODY);
		return;
	}
	pipe = pipe_of(s, p->p.from_host, to);
	if (pipe->cut) {
		sim_trace_fate(s, p, SIM_CUT);
		return;
	}
	if (chance(s, conf_of(s, pipe)->loss)) {
		sim_trace_fate(s, p, SIM_LOST);
		return;
	}
	fly(s, pipe, p);
	if (chance(s, conf_of(s, pipe)->duplicate))
		fly(s, pipe, p);
}

int64_t sim_carry(struct sim *s, unsigned from, const struct addr *to)
{
	unsigned there = sim_reach(s, from, to);
	const struct sim_link *conf;
	struct pipe *pipe;

	if (!there || s->machine[from].off)
		return -1;
	pipe = pipe_of(s, from, there);
	conf = conf_of(s, pipe);
	if (pipe->cut || chance(s, conf->loss))
		return -1;
	return conf->delay + random_us(s, conf->jitter);
}

static struct packet *put(struct sim *s, const struct sim_packet *copy,
			  unsigned host, unsigned there)
{
	struct packet *p = sim_trace_packet(s, copy, host);
	size_t mtu;

	if (there) {
		p->direct = true;
		p->p.to_host = there;
	}
	there = p->p.to_host;
	mtu = there ? conf_of(s, pipe_of(s, host, there))->mtu : 0;
	if (copy->bytes.n > (mtu ? mtu : DATAGRAM_MAX))
		sim_trace_fate(s, p, SIM_TOO_BIG);
	else
		launch(s, p);
	return p;
}

struct packet *sim_put(struct sim *s, unsigned host, unsigned node,
		       const struct addr *from, const struct addr *to,
		       struct str bytes)
{
	struct sim_packet copy = {.sent = s->now,
				  .from = *from,
				  .to = *to,
				  .node = node,
				  .bytes = bytes};
	unsigned there[SIM_SPLIT_MAX];
	unsigned n = sim_split_pick(s, host, to, there);
	struct packet *p = put(s, &copy, host, n ? there[0] : 0);

	for (unsigned i = 1; i < n; i++)
		put(s, &copy, host, there[i]);
	return p;
}

/* Nobody listens there: the host says so (RFC 1122 4.1.3.1), but never about
 * an ICMP message. */
static void refuse(struct sim *s, struct packet *p, unsigned host)
{
	struct sim_packet icmp = {
	    .sent = s->now,
	    .from = p->p.to,
	    .to = p->p.from,
	    .icmp = CAUSE_ICMP_PORT,
	    .bytes = str_sub(p->p.bytes, 0, QUOTE_MAX),
	};

	sim_trace_fate(s, p, SIM_REFUSED);
	if (!p->p.icmp)
		launch(s, sim_trace_packet(s, &icmp, host));
}

/* The sockets of UDP and those of streams have ports of their own. */
struct socket {
	bool stream;
	struct addr at;
};

static uint64_t hash_socket(const struct sim *s, const struct socket *k)
{
	return hash_addr(s, &k->at, true) + k->stream;
}

static bool endpoint_eq(const struct map_node *node, const void *key)
{
	const struct endpoint *e = container_of(node, struct endpoint, node);
	const struct socket *k = key;

	return addr_eq(&e->at, &k->at) &&
	       transport_reliable(e->transport) == k->stream;
}

struct endpoint *sim_endpoint_at(const struct sim *s, const struct addr *at,
				 bool stream)
{
	struct socket k = {stream, *at};
	struct map_node *node =
	    map_find(&s->endpoint_map, hash_socket(s, &k), endpoint_eq, &k);

	return node ? container_of(node, struct endpoint, node) : NULL;
}

static void tell(struct sim_event *out_r, const struct endpoint *e,
		 const struct packet *p)
{
	*out_r = (struct sim_event){
	    .kind = p->p.icmp ? SIM_ICMP : SIM_PACKET,
	    .endpoint = e->id,
	    .from = p->p.from,
	    .to = p->p.to,
	    .bytes = p->p.bytes,
	};
}

/* Who has the address when it arrives; in a split, the one it was sent to. */
static unsigned receiver(const struct sim *s, const struct packet *p)
{
	if (!p->direct)
		return sim_owner(s, &p->p.to);
	return sim_has(s, p->p.to_host, &p->p.to) ? p->p.to_host : 0;
}

bool sim_arrive(struct sim *s, struct packet *p, struct sim_event *out_r)
{
	struct endpoint *e = sim_endpoint_at(s, &p->p.to, false);
	unsigned host = receiver(s, p);
	const struct machine *m = &s->machine[host];

	if (!host || m->off) {
		sim_trace_fate(s, p, host ? SIM_DEAD : SIM_NOBODY);
		return false;
	}
	if (e && e->host == host && e->mode == SIM_OPEN) {
		sim_trace_fate(s, p, SIM_DELIVERED);
		tell(out_r, e, p);
		return true;
	}
	if (e && e->host == host) {
		refuse(s, p, host);
		return false;
	}
	if (m->node && !sim_node_runs(s, m->node))
		refuse(s, p, host);
	else if (!m->node || !sim_node_arrive(s, m->node, p))
		sim_trace_fate(s, p, SIM_NOBODY);
	return false;
}

/* ---- endpoints -------------------------------------------------------- */

unsigned sim_attach(struct sim *s, enum transport t, const struct addr *at)
{
	struct socket k = {transport_reliable(t), *at};
	struct endpoint *e;

	if (sim_endpoint_at(s, at, k.stream))
		return 0;
	e = sim_alloc(s, sizeof(*e));
	s->endpoint = sim_grow(s, s->endpoint, s->endpoints, &s->endpoint_cap,
			       sizeof(struct endpoint *));
	s->endpoint[s->endpoints++] = e;
	e->transport = t;
	e->at = *at;
	e->id = (unsigned)s->endpoints;
	e->host = sim_host(s, at);
	map_add(&s->endpoint_map, &e->node, hash_socket(s, &k));
	return e->id;
}

struct endpoint *sim_endpoint(const struct sim *s, unsigned id)
{
	assert(id > 0 && id <= s->endpoints);
	return s->endpoint[id - 1];
}

unsigned sim_endpoints(const struct sim *s)
{
	return (unsigned)s->endpoints;
}

void sim_mode(struct sim *s, unsigned id, enum sim_mode mode)
{
	sim_endpoint(s, id)->mode = mode;
}

void sim_set_tls(struct sim *s, unsigned id, const struct sim_tls *tls)
{
	sim_endpoint(s, id)->tls = *tls;
}

unsigned sim_endpoint_host(const struct sim *s, unsigned id)
{
	return sim_endpoint(s, id)->host;
}

void sim_send(struct sim *s, unsigned id, const struct addr *to,
	      struct str bytes)
{
	struct endpoint *e = sim_endpoint(s, id);

	sim_put(s, e->host, 0, &e->at, to, bytes);
}
