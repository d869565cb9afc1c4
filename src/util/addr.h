/*
 * An IP address with a port: a value. IPv4-mapped IPv6 addresses are stored as
 * IPv4, so equality is what a human expects. Text forms follow RFC 3261:
 * IPv6 is bracketed wherever a port may follow.
 */
#ifndef UTIL_ADDR_H
#define UTIL_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include "util/buf.h"
#include "util/str.h"

enum addr_family { ADDR_NONE = 0, ADDR_V4 = 4, ADDR_V6 = 6 };

struct addr {
	uint8_t family; /* enum addr_family */
	uint8_t ip[16]; /* network order; IPv4 in the first four */
	uint16_t port;  /* host order; 0: none */
	uint32_t scope; /* IPv6 link-local interface, else 0 */
};

enum { ADDR_TEXT = 64 }; /* enough for any text form with NUL */

/* "10.0.0.1", "10.0.0.1:5060", "::1", "[::1]", "[::1]:5060". Port 0 when
 * absent. False on anything else (names, port 0, port over 65535, spaces). */
bool addr_parse(struct str s, struct addr *out_r);
/* The address alone: bracketed IPv6 ("[::1]") or not ("::1"), no port. In
 * brackets "[2001:db8:::192.0.2.1]" is taken for "[2001:db8::192.0.2.1]", as
 * RFC 5118 4.10 asks. */
bool addr_parse_ip(struct str s, struct addr *out_r);
bool addr_parse_v4(struct str s, struct addr *out_r); /* of these, IPv4 only */
void addr_write(struct buf *b, const struct addr *a); /* with port if any */
void addr_write_ip(struct buf *b, const struct addr *a);   /* "1.2.3.4" "::1" */
void addr_write_host(struct buf *b, const struct addr *a); /* "[::1]" */
const char *addr_text(const struct addr *a, char out[ADDR_TEXT]);
bool addr_eq(const struct addr *a, const struct addr *b);
bool addr_ip_eq(const struct addr *a, const struct addr *b);
/* Whose it is, to count by: the IP, or of IPv6 its /64, since a machine has
 * all of that. No port. */
struct addr addr_holder(const struct addr *a);
bool addr_is_any(const struct addr *a); /* 0.0.0.0, :: */
bool addr_is_loopback(const struct addr *a);
/* Broadcast, multicast, 0/8 or any: never a place to send to. */
bool addr_is_unsendable(const struct addr *a);

/* A network in CIDR form; a bare address is a network of one. */
struct addr_net {
	struct addr base;
	uint8_t bits;
};
bool addr_net_parse(struct str s, struct addr_net *out_r);
bool addr_net_has(const struct addr_net *net, const struct addr *a);

struct sockaddr;
void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa);
unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr *out128);

#endif
