#include "proxy/way.h"

#include <string.h>
#include "proxy/context.h"

/* A place of a server, and what speaks against it. */
struct candidate {
	const struct server_place *at;
	struct hop hop;
	unsigned last; /* 0 first; 1: failed lately, 2: is known to be down */
	bool taken;
};

int way_of_hop(struct arena *a, const struct hop *hop, struct way *w)
{
	struct hop *one = arena_alloc(a, sizeof(*one));

	if (!one)
		return ERR_NOMEM;
	*one = *hop;
	w->hop = one;
	w->n = 1;
	return 0;
}

void way_identify(const struct member *m, struct hop *hop)
{
	if (hop->transport != TRANSPORT_TLS)
		return;
	hop->tls = m->tls;
	hop->tls_name = m->tls_name[0] ? m->tls_name : NULL;
}

void way_identify_at(const struct proxy *p, struct hop *hop)
{
	const struct member *m = hop->transport == TRANSPORT_TLS
				     ? proxy_member_at(p, &hop->addr)
				     : NULL;

	if (m)
		way_identify(m, hop);
}

static struct hop hop_of_place(const struct member *m,
			       const struct server_place *at)
{
	struct hop hop = {.transport = at->transport, .addr = at->addr};

	way_identify(m, &hop);
	return hop;
}

static bool addr_less(const struct addr *a, const struct addr *b)
{
	int d = a->family != b->family ? a->family - b->family
				       : memcmp(a->ip, b->ip, sizeof(a->ip));

	return d != 0 ? d < 0 : a->port < b->port;
}

/* Sorted by address: what is chosen among equals must not depend on the order
 * in which DNS gave them. */
static void collect(const struct proxy *p, const struct member *m,
		    const struct server_places *s, tick_t now,
		    struct candidate *c)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct server_place *at = &s->at[i];
		struct candidate made = {.at = at, .hop = hop_of_place(m, at)};
		unsigned k = i;

		if (at->is_down)
			made.last = 2;
		else if (shun_has(&p->shunned, SHUN_FAILED, &made.hop, now))
			made.last = 1;
		for (; k > 0 && addr_less(&at->addr, &c[k - 1].at->addr); k--)
			c[k] = c[k - 1];
		c[k] = made;
	}
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
	return a->last != b->last ? a->last < b->last
				  : a->at->rank < b->at->rank;
}

static bool is_equal(const struct candidate *a, const struct candidate *b)
{
	return !is_before(a, b) && !is_before(b, a);
}

/* RFC 2782: of the best that are left one by weight. Those without any stand
 * first in the running sum, with a very small chance; when none has one, all
 * have the same. */
static struct candidate *choose(struct candidate *c, unsigned n, uint64_t draw)
{
	struct candidate *best = NULL;
	uint64_t total = 0, sum = 0, equals = 0;

	for (unsigned i = 0; i < n; i++)
		if (!c[i].taken && (!best || is_before(&c[i], best)))
			best = &c[i];
	for (unsigned i = 0; i < n; i++)
		if (!c[i].taken && is_equal(&c[i], best)) {
			total += c[i].at->weight;
			equals++;
		}
	draw %= total ? total + 1 : equals;
	for (int pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < n; i++) {
			if (c[i].taken || !is_equal(&c[i], best) ||
			    (c[i].at->weight > 0) != (pass == 1))
				continue;
			sum += c[i].at->weight;
			if (total ? sum >= draw : draw-- == 0)
				return &c[i];
		}
	return best;
}

int way_of_member(const struct proxy *p, const struct member *m, uint64_t seed,
		  struct arena *a, tick_t now, struct way *w)
{
	const struct server_places *s = proxy_places(p, m);
	struct candidate c[SERVER_PLACES];
	struct siphash h;

	if (s->n == 0)
		return ERR_NOTFOUND;
	w->fixed = m->fixed_transport;
	w->hop = arena_alloc(a, s->n * sizeof(*w->hop));
	if (!w->hop)
		return ERR_NOMEM;
	w->n = s->n;
	if (s->n == 1) {
		w->hop[0] = hop_of_place(m, &s->at[0]);
		return 0;
	}
	collect(p, m, s, now, c);
	for (unsigned i = 0; i < s->n; i++) {
		struct candidate *next;

		siphash_init(&h, p->c.keys->now);
		siphash_u64(&h, seed);
		siphash_u64(&h, i);
		next = choose(c, s->n, siphash_end(&h));
		next->taken = true;
		w->hop[i] = next->hop;
	}
	return 0;
}

static struct hop hop_at(const struct way *w, const struct addr *addr,
			 uint8_t transport)
{
	struct hop hop = {.transport = transport, .addr = *addr};

	if (transport == TRANSPORT_TLS)
		hop.tls_name = w->host.p;
	return hop;
}

static int way_of_places(const struct proxy *p, const struct places *found,
			 struct arena *a, tick_t now, struct way *w)
{
	w->hop = arena_alloc(a, found->n * sizeof(*w->hop));
	if (!w->hop)
		return ERR_NOMEM;
	for (int failed = 0; failed < 2; failed++)
		for (unsigned i = 0; i < found->n; i++) {
			struct hop hop = hop_at(w, &found->at[i].addr,
						found->at[i].transport);

			if (shun_has(&p->shunned, SHUN_FAILED, &hop, now) ==
			    (failed == 1))
				w->hop[w->n++] = hop;
		}
	return 0;
}

/* What the URI says of port and transport (RFC 3263 4.1, 4.2) this has. */
static bool fits(const struct locate_ask *ask, const struct hop *hop)
{
	int t = ask->sips ? TRANSPORT_TLS : ask->transport;

	if (t < 0 && ask->port)
		t = TRANSPORT_UDP;
	return (!ask->port || hop->addr.port == ask->port) &&
	       (t < 0 || hop->transport == t);
}

/* By what is known of the server that has this name. */
static int way_of_name(const struct proxy *p, struct str text, uint64_t seed,
		       struct arena *a, tick_t now, struct way *w)
{
	const struct member *m;
	struct locate_ask ask;
	bool fixed = w->fixed;
	struct uri uri;
	unsigned n = 0;
	int err;

	if (!scan_uri(text, &uri) || !locate_of_uri(&uri, &ask))
		return ERR_NOTFOUND;
	m = proxy_member_named(p, &uri);
	err = m ? way_of_member(p, m, seed, a, now, w) : ERR_NOTFOUND;
	if (err)
		return err;
	for (unsigned i = 0; i < w->n; i++)
		if (fits(&ask, &w->hop[i]))
			w->hop[n++] = w->hop[i];
	w->n = n;
	w->fixed = fixed;
	return n ? 0 : ERR_NOTFOUND;
}

int way_of_found(const struct proxy *p, struct str uri,
		 const struct places *found, uint64_t seed, struct arena *a,
		 struct now now, struct way *w)
{
	if (found->n)
		return way_of_places(p, found, a, now.mono, w);
	return found->cause == CAUSE_DNS_TIMEOUT
		   ? way_of_name(p, uri, seed, a, now.mono, w)
		   : ERR_NOTFOUND;
}

/* An address needs no look-up (RFC 3263 4.1, 4.2). */
static bool is_address(const struct locate_ask *ask, const struct way *w,
		       struct hop *hop_r)
{
	int t = ask->sips ? TRANSPORT_TLS : ask->transport;
	struct addr addr;

	if (!addr_parse_ip(ask->host, &addr))
		return false;
	if (t < 0)
		t = TRANSPORT_UDP;
	addr.port = ask->port ? ask->port : transport_port((enum transport)t);
	*hop_r = hop_at(w, &addr, (uint8_t)t);
	return true;
}

/* In the arena, without the brackets of IPv6. */
static struct str host_of(struct arena *a, struct str host)
{
	if (host.n > 2 && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	return arena_str(a, host);
}

int way_of_uri(const struct proxy *p, struct str text, uint64_t seed,
	       struct arena *a, struct now now, struct way *w,
	       struct locate_ask *ask, enum cause *cause_r)
{
	struct places found;
	struct uri uri;
	struct hop hop;
	int err;

	*cause_r = CAUSE_DNS_NONE;
	if (!scan_uri(text, &uri) || !locate_of_uri(&uri, ask))
		return ERR_NOTFOUND;
	w->fixed = ask->transport >= 0 || ask->sips;
	w->host = host_of(a, uri.host);
	if (!w->host.p)
		return ERR_NOMEM;
	if (is_address(ask, w, &hop))
		return way_of_hop(a, &hop, w);
	if (!p->c.resolver)
		return ERR_NOTFOUND;
	locate_through(p->c.listeners, ask);
	ask->seed = seed;
	err = locate_now(p->c.resolver, ask, now, &found);
	if (err)
		return err;
	*cause_r = found.cause;
	return way_of_found(p, text, &found, seed, a, now, w);
}

uint64_t way_seed(const struct proxy *p, struct str call_id)
{
	return siphash24(p->c.keys->now, call_id.p, call_id.n);
}

/* Says that there is no way to an address, at once and not by silence. */
static bool is_closed(enum cause cause)
{
	switch (cause) {
	case CAUSE_ICMP_PORT:
	case CAUSE_ICMP_HOST:
	case CAUSE_ICMP_NET:
	case CAUSE_REFUSED:
	case CAUSE_CONNECT_TIMEOUT:
	case CAUSE_RESET:
	case CAUSE_CLOSED:
	case CAUSE_TLS_IDENTITY:
	case CAUSE_TLS_HANDSHAKE:
	case CAUSE_NO_SOURCE:
	case CAUSE_TOO_BIG:
		return true;
	default:
		return false;
	}
}

/* ---- by size ---- */

bool way_by_tcp(struct proxy *p, const struct way *w, struct now now,
		struct hop *hop)
{
	struct hop tcp = *hop;

	tcp.transport = TRANSPORT_TCP;
	if (hop->transport != TRANSPORT_UDP || w->fixed ||
	    p->c.settings->udp_max == 0 ||
	    shun_has(&p->shunned, SHUN_NO_TCP, &tcp, now.mono) ||
	    !forward_choose_source(p, hop, &tcp))
		return false;
	*hop = tcp;
	return true;
}

/* The same address again by the other transport: UDP when TCP was only for the
 * size and does not work, TCP when it was too big for UDP after all. What was
 * too big for TCP too has more bytes than a message may, and stays so. */
static void step_back(struct proxy *p, struct way *w, const struct hop *hop,
		      bool for_size, enum cause cause, struct now now)
{
	bool tried_tcp = for_size || w->by_tcp;
	struct hop other = *hop;

	w->by_tcp = false;
	if (cause == CAUSE_TOO_BIG) {
		w->by_tcp = !tried_tcp && way_by_tcp(p, w, now, &other);
		w->next -= w->by_tcp;
	} else if (for_size && cause != CAUSE_NO_SOURCE) {
		shun_add(&p->shunned, SHUN_NO_TCP, hop, now.mono);
		w->next--;
	}
}

bool way_goes_on(struct proxy *p, struct way *w, const struct hop *hop,
		 bool for_size, enum cause cause, struct now now)
{
	if (!is_closed(cause))
		return false;
	step_back(p, w, hop, for_size, cause, now);
	return w->next < w->n;
}
