#include "udp_world.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct addr udp_world_addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

/* The port that the kernel gave a socket. */
static uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct addr a;

	CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	addr_from_sockaddr(&a, (struct sockaddr *)&sa);
	return a.port;
}

void udp_world_open(struct udp_world *w, const char *bind_to, const char *reach)
{
	struct listener l = {.transport = TRANSPORT_UDP,
			     .addr = udp_world_addr(bind_to)};

	dgram_queue_init(&w->faults);
	w->batch = udp_batch_new();
	CHECK_INT(udp_open(&w->udp, &l, 0, SOCK_ALONE, &w->faults, w->why,
			   sizeof(w->why)),
		  0);
	w->at = udp_world_addr(reach);
	w->at.port = port_of(w->udp.fd);
}

void udp_world_close(struct udp_world *w)
{
	udp_close(&w->udp);
	udp_batch_free(&w->batch);
	dgram_queue_fini(&w->faults);
}

int udp_world_peer(const char *text, struct addr *a_r)
{
	struct sockaddr_storage sa;
	unsigned len;
	int fd;

	*a_r = udp_world_addr(text);
	len = addr_to_sockaddr(a_r, (struct sockaddr *)&sa);
	fd = socket(a_r->family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0);
	a_r->port = port_of(fd);
	return fd;
}

void udp_world_say(int fd, const struct addr *to, struct str bytes)
{
	struct sockaddr_storage sa;
	unsigned len = addr_to_sockaddr(to, (struct sockaddr *)&sa);

	CHECK_INT(sendto(fd, bytes.p, bytes.n, 0, (struct sockaddr *)&sa, len),
		  bytes.n);
}

int udp_world_read(int fd, struct addr *from_r, char *bytes)
{
	static const int second = 1000;
	struct pollfd p = {fd, POLLIN, 0};
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	ssize_t n;

	if (poll(&p, 1, second) <= 0)
		return -1;
	n = recvfrom(fd, bytes, 65536, 0, (struct sockaddr *)&sa, &len);
	addr_from_sockaddr(from_r, (struct sockaddr *)&sa);
	return (int)n;
}

int udp_world_hear(int fd, struct addr *from_r)
{
	char bytes[65536];

	return udp_world_read(fd, from_r, bytes);
}

bool udp_world_receive(struct udp_world *w, struct hop *hop_r,
		       struct str *bytes_r)
{
	struct pollfd p = {w->udp.fd, POLLIN, 0};

	return poll(&p, 1, 1000) > 0 && udp_receive(&w->udp, w->batch) == 1 &&
	       udp_take(&w->udp, w->batch, 0, hop_r, bytes_r);
}

struct hop udp_world_dead(const struct udp_world *w)
{
	struct hop hop = w->udp.hop;
	int fd = udp_world_peer("127.0.0.1", &hop.addr);

	close(fd);
	return hop;
}

enum cause udp_world_fault(struct udp_world *w, struct addr *to_r, char *text,
			   size_t n)
{
	struct pollfd p = {w->udp.fd, POLLIN, 0};
	struct dgram *d;
	enum cause cause;

	if (!w->faults.n) {
		poll(&p, 1, 1000);
		udp_receive(&w->udp, w->batch);
	}
	d = dgram_queue_pop(&w->faults);
	if (!d)
		return CAUSE_NONE;
	*to_r = d->hop.addr;
	snprintf(text, n, "%.*s", (int)d->n, d->bytes);
	cause = d->cause;
	free(d);
	return cause;
}
