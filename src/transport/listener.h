/*
 * Where this node listens, and what it calls itself: addresses for Via and
 * Record-Route, and the question "is this URI one of ours?".
 */
#ifndef TRANSPORT_LISTENER_H
#define TRANSPORT_LISTENER_H

#include "message/scan.h"
#include "transport/host.h"
#include "transport/tls_conf.h"
#include "util/buf.h"

enum { LISTENER_MAX = 32, LISTENER_NAME = 64 };

struct listener {
	uint8_t transport;             /* enum transport */
	struct addr addr;              /* bound; the IP may be 0.0.0.0 or :: */
	char advertise[LISTENER_NAME]; /* host or host:port for Via; "" none */
	struct tls_conf tls;           /* TRANSPORT_TLS */
};

struct listeners {
	struct listener l[LISTENER_MAX];
	unsigned n;
	/* The machine's addresses, for wildcard listeners; the host keeps them
	 * up to date. */
	struct addr own[64];
	unsigned owns;
};

/* Parses "udp:0.0.0.0:5060", "udp:[::]:5060", "udp:127.0.0.1" (5060). False
 * with a static explanation in *why_r. */
bool listener_parse(struct str text, struct listener *out_r,
		    const char **why_r);
/* Takes over what these say of TLS, for those of the same transport and
 * address.
 */
void listeners_take_tls(struct listeners *ls, const struct listener *from,
			unsigned n);
/* Names the address in Via and Record-Route: the advertised name, else the
 * local address of the hop with the listener's port. */
void listener_write_host(const struct listeners *ls, const struct hop *hop,
			 struct buf *out);
/* True when host and port of the URI (default port by transport) name one of
 * our listeners: its address, its advertised name, or for a wildcard listener
 * one of the machine's own addresses. */
bool listener_is_ours(const struct listeners *ls, const struct uri *uri);
/* The listener that is named so, with this transport: `prefer` if it is one of
 * several, else the first; -1: none. */
int listener_of_uri(const struct listeners *ls, const struct uri *uri,
		    int prefer);
bool listener_is_our_addr(const struct listeners *ls, enum transport t,
			  const struct addr *a);
/* The same for a sent-by: here the transport has to be the listener's. */
bool listener_is_named(const struct listeners *ls, enum transport t,
		       struct str host, uint16_t port);
/* The listener of a transport that is bound to this address and port, or to all
 * addresses of this machine when it is one of them; -1: there is none (now). */
int listener_of_addr(const struct listeners *ls, enum transport t,
		     const struct addr *a);
/* The one that advertises this name, or -1. */
int listener_of_name(const struct listeners *ls, enum transport t,
		     struct str host, uint16_t port);
/* The listener of a transport and family that stands where `like` stands among
 * those of its own, which is `like` itself when they are the same: so two
 * virtual addresses of two families find each other. Else, and with like = -1,
 * the first; -1 when there is none. With `at` only those at this address of
 * ours count, wildcards among them. */
int listener_for(const struct listeners *ls, enum transport t,
		 const struct addr *to, int like, const struct addr *at);

#endif
