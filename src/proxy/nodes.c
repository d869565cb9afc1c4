/*
 * The other nodes of the cluster, as far as the proxy has to do with them: they
 * are given responses that are for transactions of theirs (semantics 20).
 * Nobody has to be there.
 */
#include "proxy/context.h"

/* So long after it refused a message a node is not waited for. */
#define REFUSED SECONDS(5)

/* Its number; -1: it is none. */
static int find(const struct settings *s, const struct addr *a)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (addr_eq(&s->node[i], a))
			return (int)i;
	return -1;
}

/* What was received may have been so on all addresses, and then has no port. */
static bool is_at_node(const struct settings *s, const struct addr *local)
{
	for (unsigned i = 0; i < s->n_nodes; i++)
		if (addr_ip_eq(&s->node[i], local))
			return true;
	return false;
}

bool nodes_sent(const struct proxy *p, const struct hop *from)
{
	return from->transport == TRANSPORT_UDP &&
	       find(p->c.settings, &from->addr) >= 0 &&
	       is_at_node(p->c.settings, &from->local);
}

void nodes_on_error(struct proxy *p, const struct hop *to, struct now now)
{
	int i = find(p->c.settings, &to->addr);

	if (i >= 0 && to->transport == TRANSPORT_UDP)
		p->node_back[i] = tick_add(now.mono, REFUSED);
}

/* From the address by which the others know us: in a split brain they have the
 * virtual one themselves. */
static bool choose_own(struct proxy *p, struct hop *hop)
{
	for (unsigned i = 0; i < p->c.listeners->n; i++)
		if (forward_use_listener(p, i, hop) &&
		    find(p->c.settings, &hop->local) >= 0)
			return true;
	return false;
}

bool nodes_hand_over(struct proxy *p, const struct msg *m, struct now now)
{
	const struct settings *s = p->c.settings;
	bool handed = false;

	for (unsigned i = 0; i < s->n_nodes; i++) {
		struct hop hop = {.transport = TRANSPORT_UDP,
				  .addr = s->node[i]};

		if (!choose_own(p, &hop) || addr_eq(&hop.local, &hop.addr))
			continue;
		count(p->c.counters, CNT_ORPHAN_HANDED);
		txns_send(p->c.txns, &hop, m->raw, CNT_SENT_RESPONSE);
		if (!tick_before(now.mono, p->node_back[i]))
			handed = true;
	}
	return handed;
}

void nodes_share(struct proxy *p, const struct client *c, const struct msg *m,
		 const struct hop *from, struct now now)
{
	if (p->c.settings->n_nodes && c->heard == m->status &&
	    c->times >= c->sends && !nodes_sent(p, from))
		nodes_hand_over(p, m, now);
}

bool nodes_asks_in_vain(const struct proxy *p, const struct client *c,
			const struct msg *m, const struct hop *from)
{
	return m->status >= 300 && nodes_sent(p, from) &&
	       c->hop.transport == TRANSPORT_UDP &&
	       !forward_has_source(p, &c->hop);
}

bool nodes_had(struct proxy *p, uint64_t mac, struct now now)
{
	/* Twice T2: until its next repetition but one. */
	int64_t lately = 16 * p->c.settings->times.t1;
	struct handed *room = NULL;

	for (unsigned i = 0; i < HANDED_PROBES; i++) {
		struct handed *h = &p->handed[(mac + i) % HANDED];
		bool fresh = h->mac && tick_diff(now.mono, h->at) < lately;

		if (fresh && h->mac == mac) {
			h->mac = 0;
			return true;
		}
		if (!fresh && !room)
			room = h;
	}
	/* Where there is no room to remember it, it counts as had: two that
	 * drove each other out would both wait for ever. */
	if (!room)
		return true;
	*room = (struct handed){.mac = mac, .at = now.mono};
	return false;
}
