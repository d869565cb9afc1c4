/*
 * Responses whose connection has gone (RFC 3261 17.2.4, 18.2.2; RFC 3263 5):
 * they go to the address their request came from, at the port that its sender
 * named; when nobody is there, to where its name leads; then they are given up.
 * The caller may be another process by now, or the same one behind a firewall
 * that forgot.
 */
#include <string.h>
#include "proxy/context.h"
#include "transport/locate.h"

enum {
	UNDELIVERED_MAX = 256, /* at a time; each is a response in memory */
	/* names that are looked up at a time: who is gone may have called
	 * himself anything, and each costs dozens of questions */
	UNDELIVERED_NAMES = 16,
	UNDELIVERED_PLACES = 8 /* where it is tried */
};

struct undelivered {
	struct list link; /* proxy.undelivered */
	struct proxy *proxy;
	struct hop hop;        /* where it was sent last */
	struct flow_link flow; /* of the connection to there */
	struct timer end;      /* nobody complained: it has arrived */
	struct addr place[UNDELIVERED_PLACES];
	unsigned places, next;
	struct locate *locate; /* where the name leads; NULL: not now */
	bool located;          /* it was asked */
	char name[DNS_NAME];   /* the sent-by host */
	uint16_t port;         /* of sent-by; 0: none */
	uint64_t seed;         /* orders what it leads to */
	size_t n;
	char bytes[];
};

static void forget(struct undelivered *u)
{
	struct proxy *p = u->proxy;

	timer_stop(p->c.timers, &u->end);
	flows_unlink(&u->flow);
	locate_stop(&u->locate);
	list_remove(&u->link);
	p->n_undelivered--;
	mem_free(p->c.mem, u);
}

static void give_up(struct undelivered *u)
{
	count(u->proxy->c.counters, CNT_UNDELIVERED);
	forget(u);
}

static void on_end(struct timer *t, struct now now)
{
	(void)now;
	forget(container_of(t, struct undelivered, end));
}

static void add_place(struct undelivered *u, const struct addr *a)
{
	if (u->places == UNDELIVERED_PLACES || addr_is_unsendable(a) ||
	    a->port == 0)
		return;
	for (unsigned i = 0; i < u->places; i++)
		if (addr_eq(&u->place[i], a))
			return;
	u->place[u->places++] = *a;
}

static void try_next(struct undelivered *u, struct now now);

static void on_located(void *ctx, const struct places *found, struct now now)
{
	struct undelivered *u = ctx;

	u->locate = NULL;
	for (unsigned i = 0; i < found->n; i++)
		if (found->at[i].transport == u->hop.transport)
			add_place(u, &found->at[i].addr);
	try_next(u, now);
}

/* With one more. Those of one name share its questions. */
static bool too_many_names(const struct undelivered *u)
{
	unsigned n = 0;

	list_each (it, &u->proxy->undelivered) {
		const struct undelivered *other =
		    container_of(it, const struct undelivered, link);

		n += other->locate && strcmp(other->name, u->name) != 0;
	}
	return n >= UNDELIVERED_NAMES;
}

/* RFC 3263 5: the host of sent-by, its port or else SRV, its transport. An
 * address is not looked at: it is the received one, or it lies behind a NAT and
 * we have no business there. False: there is nothing to wait for. */
static bool look_up(struct undelivered *u, struct now now)
{
	const struct proxy_conf *c = &u->proxy->c;
	struct locate_ask ask = {.host = str_from(u->name),
				 .port = u->port,
				 .transport = u->hop.transport,
				 .seed = u->seed};
	struct addr ignored;

	if (u->located || !c->resolver || addr_parse_ip(ask.host, &ignored) ||
	    too_many_names(u))
		return false;
	u->located = true;
	locate_through(c->listeners, &ask);
	timer_stop(c->timers, &u->end);
	u->locate = locate_start(c->resolver, &ask, on_located, u, now);
	return u->locate != NULL;
}

/* The way may lead through another listener: of the other family. */
static bool set_hop(struct undelivered *u, const struct addr *to)
{
	struct hop hop = u->hop;

	hop.addr = *to;
	hop.conn = 0;
	if (to->family != u->hop.addr.family &&
	    !forward_choose_source(u->proxy, NULL, &hop))
		return false;
	u->hop = hop;
	return true;
}

/* To the next of its places. Failure comes back as an event, or as the end of
 * the connection before it was up. */
static void try_next(struct undelivered *u, struct now now)
{
	struct proxy *p = u->proxy;
	struct str bytes = {u->bytes, u->n};

	flows_unlink(&u->flow);
	while (u->next < u->places && !set_hop(u, &u->place[u->next]))
		u->next++;
	if (u->next == u->places) {
		if (!look_up(u, now))
			give_up(u);
		return;
	}
	u->next++;
	u->hop.conn = txns_send(p->c.txns, &u->hop, bytes, CNT_SENT_RESPONSE);
	flows_link(p->c.txns->flows, &u->flow, u->hop.conn);
	p->tried_conn[p->n_tried_conns++ % TRIED_CONNS] = u->hop.conn;
	timer_arm(
	    p->c.timers, &u->end,
	    tick_add(now.mono, p->c.settings->streams.connect + SECONDS(1)));
}

static void on_down(struct flow_link *l, enum cause cause, bool sent,
		    struct now now)
{
	(void)cause;
	if (!sent)
		try_next(container_of(l, struct undelivered, flow), now);
}

/* 18.2.2: the received address at the sent-by port. */
static void add_received(struct undelivered *u, const struct via *via)
{
	struct addr a;

	if (!addr_parse_ip(via->received.p ? via->received : via->host, &a))
		return;
	a.port = via->port ? via->port
			   : transport_port((enum transport)u->hop.transport);
	add_place(u, &a);
}

/* The sent-by; over TLS whoever is connected to has to prove that he is it. */
static void set_name(struct undelivered *u, const struct msg_key *key)
{
	struct str host = key->via.host;

	if (host.n > 2 && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	host = str_sub(host, 0, sizeof(u->name) - 1);
	memcpy(u->name, host.p, host.n);
	u->port = key->via.port;
	u->seed = way_seed(u->proxy, key->call_id);
	if (u->hop.transport == TRANSPORT_TLS)
		u->hop.tls_name = u->name;
}

static struct undelivered *undelivered_new(struct proxy *p,
					   const struct flow_event *e)
{
	struct undelivered *u = NULL;

	if (p->n_undelivered < UNDELIVERED_MAX)
		u = mem_zalloc(p->c.mem, sizeof(*u) + e->quoted.n);
	if (!u)
		return NULL;
	u->proxy = p;
	u->hop = e->peer;
	u->hop.tls = 0;
	u->hop.tls_name = NULL;
	u->flow.on_down = on_down;
	timer_init(&u->end, on_end);
	u->n = e->quoted.n;
	memcpy(u->bytes, e->quoted.p, u->n);
	list_append(&p->undelivered, &u->link);
	p->n_undelivered++;
	return u;
}

static struct undelivered *find(struct proxy *p, const struct flow_event *e)
{
	list_each (it, &p->undelivered) {
		struct undelivered *u =
		    container_of(it, struct undelivered, link);

		if (!u->locate && u->hop.conn == e->peer.conn &&
		    str_eq((struct str){u->bytes, u->n}, e->quoted))
			return u;
	}
	return NULL;
}

/* The end of the connection was told first, and then that this was not written
 * to it: it has been given up. To begin anew would go on for ever. */
static bool was_tried(const struct proxy *p, uint64_t conn)
{
	for (unsigned i = 0; conn && i < TRIED_CONNS; i++)
		if (p->tried_conn[i] == conn)
			return true;
	return false;
}

void undelivered_response(struct proxy *p, const struct flow_event *e,
			  struct now now)
{
	struct undelivered *u = find(p, e);
	struct msg_key key;
	struct msg m;

	if (u) {
		try_next(u, now);
		return;
	}
	if (was_tried(p, e->peer.conn))
		return;
	if (msg_index(&m, p->c.scratch, e->quoted) == MSG_OK &&
	    msg_key(&m, &key) == MSG_OK)
		u = undelivered_new(p, e);
	if (!u) {
		count(p->c.counters, CNT_UNDELIVERED);
		return;
	}
	set_name(u, &key);
	add_received(u, &key.via);
	try_next(u, now);
}

void undelivered_fini(struct proxy *p)
{
	list_each_safe (it, &p->undelivered)
		forget(container_of(it, struct undelivered, link));
}
