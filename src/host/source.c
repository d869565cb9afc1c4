#include "host/source.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/list.h"

enum { ROUTES = 256 }; /* a power of two */

/* The answer for one destination; of an older `round` it is void. */
struct route {
	uint64_t round;
	unsigned listener;
	struct addr to, from;
};

struct source {
	struct listeners *ls;
	uint32_t here; /* listeners whose address is on this machine */
	uint64_t round;
	int fd;
	struct route route[ROUTES];
};

static int open_netlink(void)
{
	struct sockaddr_nl sa = {
	    .nl_family = AF_NETLINK,
	    .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
			NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

struct source *source_new(struct listeners *ls)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ls = ls;
	/* All, so that the first refresh tells which are missing. */
	s->here = UINT32_MAX;
	s->fd = open_netlink();
	return s;
}

void source_free(struct source **s)
{
	if (!*s)
		return;
	if ((*s)->fd >= 0)
		close((*s)->fd);
	free(*s);
	*s = NULL;
}

int source_fd(const struct source *s)
{
	return s->fd;
}

void source_drain(struct source *s)
{
	char buf[4096];

	/* What exactly changed does not matter, nor that some was lost. */
	while (recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 ||
	       errno == ENOBUFS || errno == EINTR)
		;
}

/* ---- the addresses ---- */

bool source_is_local(const struct addr *a)
{
	struct sockaddr_storage sa;
	struct addr any_port = *a;
	socklen_t len;
	bool ok;
	int fd = socket(a->family == ADDR_V6 ? AF_INET6 : AF_INET,
			SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	any_port.port = 0;
	len = addr_to_sockaddr(&any_port, (struct sockaddr *)&sa);
	ok = bind(fd, (struct sockaddr *)&sa, len) == 0;
	close(fd);
	return ok;
}

static void note_own(struct listeners *ls, const struct addr *a)
{
	for (unsigned i = 0; i < ls->owns; i++)
		if (addr_ip_eq(&ls->own[i], a))
			return;
	if (ls->owns < ARRAY_LEN(ls->own))
		ls->own[ls->owns++] = *a;
}

static uint32_t match(const struct listeners *ls, const struct addr *a)
{
	uint32_t found = 0;

	for (unsigned i = 0; i < ls->n; i++)
		if (addr_ip_eq(&ls->l[i].addr, a))
			found |= UINT32_C(1) << i;
	return found;
}

/* Whether a listener whose address no interface has may send all the same. An
 * IPv4 address may be local by its route alone (127.0.0.0/8, anycast), and the
 * kernel refuses to send from one that is not. IPv6 is sent from anything once
 * ip_nonlocal_bind or IPV6_FREEBIND let us bind, so there only the interfaces
 * count. */
static bool is_local_otherwise(const struct addr *a)
{
	return addr_is_any(a) || (a->family == ADDR_V4 && source_is_local(a));
}

static uint32_t read_interfaces(struct listeners *ls)
{
	struct ifaddrs *all = NULL;
	uint32_t here = 0;

	if (getifaddrs(&all) < 0)
		return UINT32_MAX;
	ls->owns = 0;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		struct addr a;

		if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET &&
				     i->ifa_addr->sa_family != AF_INET6))
			continue;
		addr_from_sockaddr(&a, i->ifa_addr);
		a.port = 0;
		note_own(ls, &a);
		here |= match(ls, &a);
	}
	freeifaddrs(all);
	return here;
}

uint32_t source_refresh(struct source *s)
{
	uint32_t before = s->here, known;

	s->round++;
	s->here = read_interfaces(s->ls);
	for (unsigned i = 0; i < s->ls->n; i++)
		if (!source_has(s, i) && is_local_otherwise(&s->ls->l[i].addr))
			s->here |= UINT32_C(1) << i;
	known = (uint32_t)((UINT64_C(1) << s->ls->n) - 1);
	return (s->here ^ before) & known;
}

bool source_has(const struct source *s, unsigned listener)
{
	return s->here >> listener & 1;
}

/* ---- the source towards an address ---- */

/* Connecting a UDP socket sends nothing, but looks the route up. */
static bool ask_route(const struct addr *to, struct addr *out_r)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	bool ok = false;
	int fd = socket(to->family == ADDR_V6 ? AF_INET6 : AF_INET,
			SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	if (connect(fd, (struct sockaddr *)&sa,
		    addr_to_sockaddr(to, (struct sockaddr *)&sa)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&sa, &len) == 0) {
		addr_from_sockaddr(out_r, (struct sockaddr *)&sa);
		ok = !addr_is_any(out_r);
	}
	close(fd);
	return ok;
}

static struct route *slot_of(struct source *s, unsigned listener,
			     const struct addr *to)
{
	uint32_t h = 2166136261U ^ listener;

	/* Collisions only cost a lookup, so a strong hash would buy nothing. */
	for (size_t i = 0; i < sizeof(to->ip); i++)
		h = (h ^ to->ip[i]) * 16777619U;
	return &s->route[(h ^ h >> 16) & (ROUTES - 1)];
}

bool source_find(struct source *s, unsigned listener, const struct addr *to,
		 struct addr *out_r)
{
	const struct listener *l = &s->ls->l[listener];
	struct route *r = slot_of(s, listener, to);
	struct addr from;

	if (listener >= s->ls->n || to->family != l->addr.family)
		return false;
	if (!addr_is_any(&l->addr)) {
		*out_r = l->addr;
		return source_has(s, listener);
	}
	if (r->round == s->round && r->listener == listener &&
	    addr_ip_eq(&r->to, to) && r->to.scope == to->scope) {
		*out_r = r->from;
		return true;
	}
	/* A refusal is not kept: the next try may be the one after the repair.
	 */
	if (!ask_route(to, &from))
		return false;
	from.port = l->addr.port;
	*r = (struct route){s->round, listener, *to, from};
	*out_r = from;
	return true;
}
