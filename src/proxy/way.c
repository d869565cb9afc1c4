#include "proxy/way.h"

#include <string.h>
#include "proxy/context.h"

/* A place of a server, and what speaks against it. */
struct candidate {
	const struct server_place *at;
	struct hop hop;
	unsigned last; /* 0 first: silent lately, or known to be down */
	bool taken;
};

int way_of_hop(struct arena *a, const struct hop *hop, struct way *out_r)
{
	struct hop *one = arena_alloc(a, sizeof(*one));

	if (!one)
		return ERR_NOMEM;
	*one = *hop;
	*out_r = (struct way){.hop = one, .n = 1};
	return 0;
}

void way_identify(const struct member *m, struct hop *hop)
{
	if (hop->transport != TRANSPORT_TLS)
		return;
	hop->tls = m->tls;
	hop->tls_name = m->tls_name[0] ? m->tls_name : NULL;
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
		else if (shun_has(&p->shunned, SHUN_SILENT, &made.hop, now))
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
		  struct arena *a, tick_t now, struct way *out_r)
{
	const struct server_places *s = proxy_places(p, m);
	struct candidate c[SERVER_PLACES];
	struct siphash h;

	if (s->n == 0)
		return ERR_NOTFOUND;
	*out_r = (struct way){.n = s->n, .fixed = m->fixed_transport};
	out_r->hop = arena_alloc(a, s->n * sizeof(*out_r->hop));
	if (!out_r->hop)
		return ERR_NOMEM;
	if (s->n == 1) {
		out_r->hop[0] = hop_of_place(m, &s->at[0]);
		return 0;
	}
	collect(p, m, s, now, c);
	for (unsigned i = 0; i < s->n; i++) {
		struct candidate *next;

		siphash_init(&h, p->c.key);
		siphash_u64(&h, seed);
		siphash_u64(&h, i);
		next = choose(c, s->n, siphash_end(&h));
		next->taken = true;
		out_r->hop[i] = next->hop;
	}
	return 0;
}

/* RFC 5922 4: what the peer has to prove is the host we were told to go to, not
 * what DNS made of it. */
static const char *identity_of(struct arena *a, const struct uri *uri)
{
	struct str host = uri->host;

	if (host.n > 2 && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	return arena_str(a, host).p;
}

int way_of_uri(struct arena *a, struct str text, struct way *out_r)
{
	struct uri uri;
	struct hop hop;
	struct str ignored;
	int err;

	if (!scan_uri(text, &uri) || !hop_of_uri(&uri, &hop))
		return ERR_NOTFOUND;
	if (hop.transport == TRANSPORT_TLS) {
		hop.tls_name = identity_of(a, &uri);
		if (!hop.tls_name)
			return ERR_NOMEM;
	}
	err = way_of_hop(a, &hop, out_r);
	if (!err)
		out_r->fixed =
		    uri.is_sips ||
		    scan_param(uri.params, STR("transport"), &ignored);
	return err;
}
