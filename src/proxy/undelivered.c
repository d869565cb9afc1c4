/*
 * Responses whose connection has gone (RFC 3261 18.2.2, RFC 3263 5): they go to
 * the address their request came from, at the port that its sender named; when
 * nobody is there, to where its name leads; then they are given up. The caller
 * may be another process by now, or the same one behind a firewall that forgot.
 */
#include <string.h>
#include "proxy/context.h"

enum {
	UNDELIVERED_MAX = 256, /* at a time; each is a response in memory */
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
	char name[DNS_NAME]; /* of the caller, as TLS knows it */
	size_t n;
	char bytes[];
};

static void forget(struct undelivered *u)
{
	struct proxy *p = u->proxy;

	timer_stop(p->c.timers, &u->end);
	flows_unlink(&u->flow);
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

/* To the next of its places. Failure comes back as an event, or as the end of
 * the connection before it was up. */
static void try_next(struct undelivered *u, struct now now)
{
	struct proxy *p = u->proxy;
	struct str bytes = {u->bytes, u->n};

	flows_unlink(&u->flow);
	if (u->next == u->places) {
		give_up(u);
		return;
	}
	u->hop.addr = u->place[u->next++];
	u->hop.conn = 0;
	u->hop.conn = txns_send(p->c.txns, &u->hop, bytes, CNT_SENT_RESPONSE);
	flows_link(p->c.txns->flows, &u->flow, u->hop.conn);
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

/* RFC 5922: who is connected to has to be who asked. */
static void set_name(struct undelivered *u, const struct via *via)
{
	struct str host = via->host;

	if (u->hop.transport != TRANSPORT_TLS)
		return;
	if (host.n > 2 && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	host = str_sub(host, 0, sizeof(u->name) - 1);
	memcpy(u->name, host.p, host.n);
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

		if (u->hop.conn == e->peer.conn &&
		    str_eq((struct str){u->bytes, u->n}, e->quoted))
			return u;
	}
	return NULL;
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
	if (msg_index(&m, p->c.scratch, e->quoted) == MSG_OK &&
	    msg_key(&m, &key) == MSG_OK)
		u = undelivered_new(p, e);
	if (!u) {
		count(p->c.counters, CNT_UNDELIVERED);
		return;
	}
	set_name(u, &key.via);
	add_received(u, &key.via);
	try_next(u, now);
}

void undelivered_fini(struct proxy *p)
{
	list_each_safe (it, &p->undelivered)
		forget(container_of(it, struct undelivered, link));
}
