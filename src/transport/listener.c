#include <assert.h>
#include "transport/listener.h"

bool listener_parse(struct str text, struct listener *out_r, const char **why_r)
{
	struct listener l = {0};
	struct str rest = text;
	int t = transport_parse(str_cut(&rest, ':'));

	*why_r = NULL;
	if (t < 0)
		*why_r = "must begin with udp:, tcp: or tls:";
	else if (!addr_parse(rest, &l.addr))
		*why_r = "not an IP address with an optional port (1-65535)";
	else if (!addr_is_any(&l.addr) && addr_is_unsendable(&l.addr))
		*why_r = "a multicast or broadcast address";
	if (*why_r)
		return false;
	l.transport = (uint8_t)t;
	if (!l.addr.port)
		l.addr.port = transport_port((enum transport)t);
	*out_r = l;
	return true;
}

void listeners_take_tls(struct listeners *ls, const struct listener *from,
			unsigned n)
{
	for (unsigned i = 0; i < ls->n; i++)
		for (unsigned j = 0; j < n; j++)
			if (ls->l[i].transport == from[j].transport &&
			    addr_eq(&ls->l[i].addr, &from[j].addr))
				ls->l[i].tls = from[j].tls;
}

/* The address a peer sees when neither the script nor the hop says one. */
static const struct addr *fallback(const struct listeners *ls,
				   const struct listener *l)
{
	if (!addr_is_any(&l->addr))
		return &l->addr;
	for (unsigned i = 0; i < ls->owns; i++) {
		if (ls->own[i].family == l->addr.family)
			return &ls->own[i];
	}
	return &l->addr;
}

void listener_write_host(const struct listeners *ls, const struct hop *hop,
			 struct buf *out)
{
	assert(hop->listener < ls->n);
	const struct listener *l = &ls->l[hop->listener];
	struct addr a;

	if (l->advertise[0]) {
		buf_put(out, str_from(l->advertise));
		return;
	}
	a = hop->local.family != ADDR_NONE ? hop->local : *fallback(ls, l);
	a.port = l->addr.port;
	addr_write_host(out, &a);
	buf_char(out, ':');
	buf_u64(out, a.port);
}

/* "host:port" or "host", with or without the brackets of IPv6. */
static struct str cut_port(struct str text, uint16_t *port_r)
{
	size_t from = text.n && text.p[0] == '[' ? str_find(text, ']') : 0;
	struct str tail = str_sub(text, from, text.n);
	size_t colon = str_find(tail, ':');
	uint32_t port = 0;

	*port_r = 0;
	if (colon == tail.n ||
	    !str_u32(str_sub(tail, colon + 1, tail.n), 65535, &port))
		return text;
	*port_r = (uint16_t)port;
	return str_sub(text, 0, from + colon);
}

/* The same host, as names or as addresses ("[::1]" and "[0:0::1]"). */
static bool same_host(struct str a, struct str b)
{
	struct addr x, y;

	if (addr_parse_ip(a, &x))
		return addr_parse_ip(b, &y) && addr_ip_eq(&x, &y);
	if (a.n && a.p[a.n - 1] == '.')
		a.n--;
	if (b.n && b.p[b.n - 1] == '.')
		b.n--;
	return str_caseeq(a, b);
}

static bool is_advertised(const struct listener *l, struct str host,
			  uint16_t port)
{
	uint16_t own_port;
	struct str own = cut_port(str_from(l->advertise), &own_port);

	if (!own.n || !same_host(own, host))
		return false;
	if (own_port)
		return port == own_port;
	/* Without a port the name stands for the default one; whoever learnt
	 * the listener's from elsewhere means us too. */
	return port == transport_port((enum transport)l->transport) ||
	       port == l->addr.port;
}

static bool has_addr(const struct listeners *ls, const struct listener *l,
		     const struct addr *a)
{
	if (a->port != l->addr.port || a->family != l->addr.family)
		return false;
	if (!addr_is_any(&l->addr))
		return addr_ip_eq(a, &l->addr);
	if (addr_is_loopback(a))
		return true;
	for (unsigned i = 0; i < ls->owns; i++) {
		if (addr_ip_eq(a, &ls->own[i]))
			return true;
	}
	return false;
}

static bool is_named(const struct listeners *ls, const struct listener *l,
		     struct str host, uint16_t port)
{
	struct addr a;

	if (is_advertised(l, host, port))
		return true;
	if (port != l->addr.port || !addr_parse_ip(host, &a))
		return false;
	a.port = port;
	return has_addr(ls, l, &a);
}

bool listener_is_ours(const struct listeners *ls, const struct uri *uri)
{
	enum transport t = uri->is_sips ? TRANSPORT_TLS : TRANSPORT_UDP;
	struct str name;
	uint16_t port;

	if (!uri->is_sip || !uri->host.n)
		return false;
	if (scan_param(uri->params, STR("transport"), &name) &&
	    transport_parse(name) == TRANSPORT_TLS)
		t = TRANSPORT_TLS;
	/* Host and port name the element: the transport only has a say in the
	 * default port (19.1.2), since nobody else is at that address. */
	port = uri->port ? uri->port : transport_port(t);
	for (unsigned i = 0; i < ls->n; i++) {
		if (is_named(ls, &ls->l[i], uri->host, port))
			return true;
	}
	return false;
}

int listener_of_uri(const struct listeners *ls, const struct uri *uri,
		    int prefer)
{
	int t = uri->is_sips ? TRANSPORT_TLS : TRANSPORT_UDP;
	struct str name;
	uint16_t port;
	int found = -1;

	if (!uri->is_sip || !uri->host.n)
		return -1;
	if (scan_param(uri->params, STR("transport"), &name) && !uri->is_sips)
		t = transport_parse(name);
	if (t < 0)
		return -1;
	port = uri->port ? uri->port : transport_port((enum transport)t);
	for (unsigned i = 0; i < ls->n; i++) {
		if (ls->l[i].transport != t ||
		    !is_named(ls, &ls->l[i], uri->host, port))
			continue;
		if ((int)i == prefer)
			return prefer;
		if (found < 0)
			found = (int)i;
	}
	return found;
}

bool listener_is_our_addr(const struct listeners *ls, enum transport t,
			  const struct addr *a)
{
	for (unsigned i = 0; i < ls->n; i++) {
		if (ls->l[i].transport == t && has_addr(ls, &ls->l[i], a))
			return true;
	}
	return false;
}

int listener_of_addr(const struct listeners *ls, enum transport t,
		     const struct addr *a)
{
	for (unsigned i = 0; i < ls->n; i++) {
		if (ls->l[i].transport == t &&
		    (addr_eq(&ls->l[i].addr, a) || has_addr(ls, &ls->l[i], a)))
			return (int)i;
	}
	return -1;
}

int listener_of_name(const struct listeners *ls, enum transport t,
		     struct str host, uint16_t port)
{
	for (unsigned i = 0; i < ls->n; i++) {
		if (ls->l[i].transport == t &&
		    is_advertised(&ls->l[i], host, port))
			return (int)i;
	}
	return -1;
}

bool listener_is_named(const struct listeners *ls, enum transport t,
		       struct str host, uint16_t port)
{
	for (unsigned i = 0; i < ls->n; i++) {
		if (ls->l[i].transport == t &&
		    is_named(ls, &ls->l[i], host, port))
			return true;
	}
	return false;
}

static bool fits(const struct listener *l, enum transport t,
		 const struct addr *to, const struct addr *at)
{
	return l->transport == t && l->addr.family == to->family &&
	       (!at || addr_is_any(&l->addr) || addr_ip_eq(&l->addr, at));
}

/* How many of the same transport and family stand before it. */
static unsigned place_of(const struct listeners *ls, unsigned index,
			 const struct addr *at)
{
	const struct listener *l = &ls->l[index];
	unsigned n = 0;

	for (unsigned i = 0; i < index; i++)
		n +=
		    fits(&ls->l[i], (enum transport)l->transport, &l->addr, at);
	return n;
}

int listener_for(const struct listeners *ls, enum transport t,
		 const struct addr *to, int like, const struct addr *at)
{
	unsigned before = 0;
	int first = -1;

	if (like >= 0 && (unsigned)like < ls->n)
		before = place_of(ls, (unsigned)like, at);
	for (unsigned i = 0; i < ls->n; i++) {
		if (!fits(&ls->l[i], t, to, at))
			continue;
		if (first < 0)
			first = (int)i;
		if (before-- == 0)
			return (int)i;
	}
	return first;
}
