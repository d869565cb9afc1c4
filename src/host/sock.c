#include "host/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void sock_set(int fd, int level, int option, int value)
{
	(void)!setsockopt(fd, level, option, &value, sizeof(value));
}

void sock_set_freebind(int fd, bool v6)
{
	if (v6)
		sock_set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
	else
		sock_set(fd, IPPROTO_IP, IP_FREEBIND, 1);
}

int sock_bind(int fd, const struct addr *a, enum sock_sharing sharing)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(a, (struct sockaddr *)&sa);
	int result;

	if (sharing == SOCK_JOINS)
		sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	result = bind(fd, (struct sockaddr *)&sa, len);
	if (result == 0 && sharing == SOCK_SHARES)
		sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	return result;
}

struct addr sock_local(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct addr a = {0};

	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		addr_from_sockaddr(&a, (struct sockaddr *)&sa);
	return a;
}

static const char *advice(int err, enum transport t)
{
	switch (err) {
	case EADDRINUSE:
		return t == TRANSPORT_UDP
			   ? ": taken, by another process ('ss -lunp' shows "
			     "which) or by a wildcard listener above"
			   : ": taken, by another process ('ss -ltnp' shows "
			     "which) or by a wildcard listener above";
	case EACCES:
		return ": ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return ": no interface of this machine can have this address";
	case EAFNOSUPPORT:
		return ": this machine has IPv6 switched off";
	default:
		return "";
	}
}

int sock_cannot_listen(const struct listener *l, int err, char *why, size_t n)
{
	enum transport t = (enum transport)l->transport;
	char text[ADDR_TEXT];

	snprintf(why, n, "cannot listen on %s:%s: %s%s", transport_name(t),
		 addr_text(&l->addr, text), strerror(err), advice(err, t));
	return err;
}
