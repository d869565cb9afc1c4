#include "proxy/places.h"

#include <string.h>
#include "proxy/context.h"

/* What was told of one server. */
struct place_row {
	struct server_places places;
	uint32_t moves; /* of the member, when it was */
};

const struct server_places *proxy_places(const struct proxy *p,
					 const struct member *m)
{
	const struct place_row *row =
	    m->index < p->places.n ? p->places.row[m->index] : NULL;

	return row && row->moves == m->moves ? &row->places : &m->places;
}

const struct server_place *proxy_best_place(const struct proxy *p,
					    const struct member *m)
{
	const struct server_places *s = proxy_places(p, m);
	const struct server_place *best = NULL;

	for (unsigned i = 0; i < s->n; i++) {
		const struct server_place *at = &s->at[i];

		if (!best || at->is_down < best->is_down ||
		    (at->is_down == best->is_down && at->rank < best->rank))
			best = at;
	}
	return best;
}

static int grow(struct proxy *p, size_t n)
{
	struct place_table *t = &p->places;
	struct place_row **row;

	if (n <= t->n)
		return 0;
	row = mem_realloc(p->c.mem, t->row, n * sizeof(struct place_row *));
	if (!row)
		return ERR_NOMEM;
	memset(row + t->n, 0, (n - t->n) * sizeof(struct place_row *));
	t->row = row;
	t->n = n;
	return 0;
}

int proxy_set_places(struct proxy *p, const struct member *m,
		     const struct server_places *places)
{
	struct place_row *row;

	if (!places) {
		if (m->index < p->places.n) {
			mem_free(p->c.mem, p->places.row[m->index]);
			p->places.row[m->index] = NULL;
		}
		return 0;
	}
	if (grow(p, m->index + 1) != 0)
		return ERR_NOMEM;
	row = p->places.row[m->index];
	if (!row)
		row = mem_alloc(p->c.mem, sizeof(*row));
	if (!row)
		return ERR_NOMEM;
	row->places = *places;
	row->moves = m->moves;
	p->places.row[m->index] = row;
	return 0;
}

void proxy_place_silent(struct proxy *p, const struct server_place *at,
			struct now now)
{
	struct hop hop = {.transport = at->transport, .addr = at->addr};

	shun_add(&p->shunned, SHUN_FAILED, &hop, now.mono);
}

void places_fini(struct proxy *p)
{
	for (size_t i = 0; i < p->places.n; i++)
		mem_free(p->c.mem, p->places.row[i]);
	mem_free(p->c.mem, p->places.row);
}

size_t places_bytes(const struct proxy *p)
{
	size_t bytes = p->places.n * sizeof(struct place_row *);

	for (size_t i = 0; i < p->places.n; i++)
		if (p->places.row[i])
			bytes += sizeof(struct place_row);
	return bytes;
}

/* ---- who has an address ---- */

static bool has_addr(const struct server_places *s, const struct addr *a,
		     bool with_port)
{
	for (unsigned i = 0; i < s->n; i++)
		if (with_port ? addr_eq(&s->at[i].addr, a)
			      : addr_ip_eq(&s->at[i].addr, a))
			return true;
	return false;
}

/* In any order: they may come from DNS. */
static bool same_addrs(const struct server_places *a,
		       const struct server_places *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (!has_addr(b, &a->at[i].addr, true))
			return false;
	return true;
}

bool proxy_is_at(const struct proxy *p, const struct member *m,
		 const struct addr *a)
{
	const struct server_places *own = proxy_places(p, m);

	if (has_addr(own, a, true))
		return true;
	if (addr_is_loopback(a) || !has_addr(own, a, false))
		return false;
	list_each (it, &p->c.members->list) {
		const struct member *other =
		    container_of(it, const struct member, link);

		if (other->declared &&
		    has_addr(proxy_places(p, other), a, true))
			return false;
	}
	return true;
}

struct member *proxy_member_at(const struct proxy *p, const struct addr *a)
{
	const struct server_places *found = NULL;
	struct member *same_ip = NULL;
	bool ambiguous = false;

	list_each (it, &p->c.members->list) {
		struct member *m = container_of(it, struct member, link);
		const struct server_places *places;

		if (!m->declared)
			continue;
		places = proxy_places(p, m);
		if (has_addr(places, a, true))
			return m;
		if (addr_is_loopback(a) || !has_addr(places, a, false))
			continue;
		/* One server may be in two pools. */
		if (!same_ip) {
			same_ip = m;
			found = places;
		} else if (!same_addrs(places, found)) {
			ambiguous = true;
		}
	}
	/* Two servers on one host are told apart by their ports only, and so is
	 * everything on the loopback address. */
	return ambiguous ? NULL : same_ip;
}

static bool has_name(const struct member *m, const struct uri *uri)
{
	return m->tls_name[0] &&
	       str_caseeq(str_from(m->tls_name), uri_target(uri));
}

bool proxy_names(const struct proxy *p, const struct member *m,
		 const struct uri *uri)
{
	struct hop hop;

	if (hop_of_uri(uri, &hop))
		return proxy_is_at(p, m, &hop.addr);
	return uri->is_sip && has_name(m, uri);
}

struct member *proxy_member_named(const struct proxy *p, const struct uri *uri)
{
	struct hop hop;

	if (hop_of_uri(uri, &hop))
		return proxy_member_at(p, &hop.addr);
	if (!uri->is_sip)
		return NULL;
	list_each (it, &p->c.members->list) {
		struct member *m = container_of(it, struct member, link);

		if (m->declared && has_name(m, uri))
			return m;
	}
	return NULL;
}
