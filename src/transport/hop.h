/*
 * A hop is one neighbour as the transport sees it: which listener of ours,
 * which transport, whose address, from which address of ours. Responses go to
 * the hop their request came from; requests go to a hop that a policy or a
 * route set chose.
 */
#ifndef TRANSPORT_HOP_H
#define TRANSPORT_HOP_H

#include <stdint.h>
#include "message/scan.h"
#include "util/addr.h"
#include "util/str.h"

enum transport { TRANSPORT_UDP, TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_N };

struct hop {
	uint16_t listener; /* index in the node's listeners */
	uint8_t transport; /* enum transport */
	uint8_t worker;    /* that owns the connection; 0 for UDP */
	uint8_t tls;       /* which of the node's TLS clients opens it */
	struct addr addr;  /* the peer */
	struct addr local; /* our address: received on, or to send from; family
			    * ADDR_NONE lets the host choose */
	uint64_t conn;     /* the connection; 0: any to that address */
	const char *tls_name; /* identity to check, borrowed; NULL: none */
};

/*
 * The number of a connection is never used again, also not by the next process:
 * flow tokens carry it. Its highest byte is the worker that owns it, its lowest
 * bit says who opened it; between them are random bits.
 */
static inline uint64_t conn_make(unsigned worker, bool accepted,
				 uint64_t random)
{
	return (uint64_t)worker << 56 | (random & 0x00fffffffffffffeULL) |
	       (accepted ? 1 : 0);
}
static inline unsigned conn_worker(uint64_t conn)
{
	return (unsigned)(conn >> 56);
}

const char *transport_name(enum transport t); /* "udp" */
struct str transport_via(enum transport t);   /* "UDP" */
int transport_parse(struct str s);         /* any case; enum transport or -1 */
uint16_t transport_port(enum transport t); /* 5060, 5061 */
/* The host that a request to this URI goes to: maddr, or else its host (RFC
 * 3263 4). */
struct str uri_target(const struct uri *uri);
/* "10.0.0.1:5060;transport=tcp", as Lua writes an address: sets addr and
 * transport, and nothing else. Without a transport UDP, without a port the
 * transport's. False: no IP address, or an unknown transport. */
bool hop_parse_place(struct str text, struct hop *out_r);
/* The next hop of a URI whose target is an address (RFC 3263 4.1, 4.2); the
 * rest of *out_r is 0. False: it is no SIP URI, or needs a look-up. */
bool hop_of_uri(const struct uri *uri, struct hop *out_r);
/* May a message to this hop go out on that connection? `conn` is not compared:
 * it is for when there is none. */
bool hop_may_take(const struct hop *conn, bool accepted, const struct hop *to);
static inline bool transport_reliable(enum transport t)
{
	return t != TRANSPORT_UDP;
}

#endif
