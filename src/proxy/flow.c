/*
 * Errors from the network: matched to the client transaction whose request they
 * quote, or counted as strays.
 */
#include "proxy/context.h"

/* The branch and CSeq method of our own request inside an ICMP quotation,
 * which may be cut anywhere. */
static bool quoted_request(struct proxy *p, struct str quoted,
			   struct via *via_r, struct str *method_r)
{
	struct str line, name;
	struct str rest = quoted;

	(void)p;
	line = str_trim(str_cut(&rest, '\n'));
	*method_r = str_cut(&line, ' ');
	if (!str_is_token(*method_r))
		return false;
	while (rest.p && rest.n) {
		line = str_trim(str_cut(&rest, '\n'));
		if (!rest.p)
			return false; /* cut inside this line */
		name = str_cut(&line, ':');
		if (line.p && str_caseeq(str_trim(name), STR("Via")))
			return scan_via(str_trim(line), via_r, NULL);
	}
	return false;
}

static bool is_icmp(enum cause cause)
{
	return cause == CAUSE_ICMP_PORT || cause == CAUSE_ICMP_HOST ||
	       cause == CAUSE_ICMP_NET;
}

/* ICMP says nothing but what is on the wire: only its own branch, seen by
 * nobody off the path, makes it believable; and it must be about where we sent
 * it. One about an INVITE that was answered since is about an earlier copy. */
static void on_icmp(struct proxy *p, struct client *c,
		    const struct flow_event *e, struct now now)
{
	bool icmp = is_icmp(e->cause); /* else it did not even leave */

	if (!c || !addr_ip_eq(&c->hop.addr, &e->peer.addr) ||
	    (c->invite && c->got_1xx && icmp)) {
		count(p->c.counters, icmp ? CNT_ICMP_STRAY : CNT_SEND_ERROR);
		return;
	}
	count(p->c.counters, icmp ? CNT_ICMP_MATCHED : CNT_SEND_ERROR);
	client_on_error(c, e->cause, now);
}

/* The request has gone out on another connection since. */
static bool is_overtaken(const struct client *c, const struct flow_event *e)
{
	return e->peer.conn && c->hop.conn && e->peer.conn != c->hop.conn;
}

/* A whole message of ours that was not written to its connection. */
static void on_unsent(struct proxy *p, struct client *c,
		      const struct flow_event *e, struct now now)
{
	if (c) {
		count(p->c.counters, CNT_UNSENT_REQUEST);
		if (!is_overtaken(c, e))
			client_on_error(c, e->cause, now);
	} else if (str_starts(e->quoted, STR("SIP/2.0 "))) {
		count(p->c.counters, CNT_UNSENT_RESPONSE);
		undelivered_response(p, e, now);
	} else {
		count(p->c.counters, CNT_UNSENT_STRAY);
	}
}

void proxy_on_flow_event(struct proxy *p, const struct flow_event *e,
			 struct now now)
{
	struct via via;
	struct str method;
	struct client *c = NULL;

	if (e->kind != FLOW_ERROR)
		return;
	if (quoted_request(p, e->quoted, &via, &method) &&
	    via_is_ours(p->c.listeners, &via))
		c = client_find(p->c.txns, via.branch, method_id(method),
				method);
	nodes_on_error(p, &e->peer, now);
	if (transport_reliable((enum transport)e->peer.transport))
		on_unsent(p, c, e, now);
	else
		on_icmp(p, c, e, now);
}
