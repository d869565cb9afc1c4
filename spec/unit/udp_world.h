/*
 * A UDP socket on the loopback interface, without a loop, and peers of it. For
 * the tests of what the kernel really does.
 */
#ifndef UNIT_UDP_WORLD_H
#define UNIT_UDP_WORLD_H

#include "host/udp.h"
#include "support/unit.h"

struct udp_world {
	struct dgram_queue faults;
	struct udp udp;
	struct udp_batch *batch;
	struct addr at; /* where to reach the socket */
	char why[512];
};

struct addr udp_world_addr(const char *text);
/* Any port of an address; `reach` is how to get to it. */
void udp_world_open(struct udp_world *w, const char *bind_to,
		    const char *reach);
void udp_world_close(struct udp_world *w);

/* A socket that somebody else has, and where it is. */
int udp_world_peer(const char *text, struct addr *a_r);
void udp_world_say(int fd, const struct addr *to, struct str bytes);
/* What arrives within a second, up to 65536 bytes: how many there are, -1 for
 * nothing. */
int udp_world_read(int fd, struct addr *from_r, char *bytes);
int udp_world_hear(int fd, struct addr *from_r); /* the number alone */
/* Waits for one datagram. */
bool udp_world_receive(struct udp_world *w, struct hop *hop_r,
		       struct str *bytes_r);
/* A hop to an address nobody listens on. */
struct hop udp_world_dead(const struct udp_world *w);
/* What the network said so far, one by one: the cause, and the beginning of
 * what was quoted. */
enum cause udp_world_fault(struct udp_world *w, struct addr *to_r, char *text,
			   size_t n);

#endif
