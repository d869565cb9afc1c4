/*
 * Locating SIP servers (RFC 3263 section 4, and 5 for responses): from the host
 * of a URI to addresses in the order in which they are to be tried. NAPTR, SRV,
 * A and AAAA, as far as the URI leaves anything open; equal choices in the
 * order of RFC 2782 with the caller's seed, so that two nodes choose alike
 * (also for what has no transaction: RFC 3263 4.4).
 */
#ifndef TRANSPORT_LOCATE_H
#define TRANSPORT_LOCATE_H

#include "message/scan.h"
#include "transport/listener.h"
#include "transport/resolver.h"

enum {
	LOCATE_MAX = 32,    /* places, of one name */
	LOCATE_TARGETS = 16 /* names that SRV gives */
};

struct locate_ask {
	struct str host; /* name or address, in brackets or not; copied */
	uint16_t port;   /* 0: none was given */
	int transport;   /* enum transport; -1: none was given */
	bool sips;       /* nothing but TLS */
	/* transports we can send by: 1 << enum transport */
	uint8_t usable4, usable6;
	uint64_t seed; /* orders equal choices: a hash of the Call-ID */
};

/* One address to send to. */
struct place {
	struct addr addr; /* with its port */
	uint8_t transport;
	uint16_t rank;   /* 0 first: order and preference of NAPTR and priority
			  * of SRV as one number */
	uint16_t weight; /* of SRV; 0 when there was none */
	bool stale;      /* its SRV record or its address has run out */
	char target[DNS_NAME]; /* whose address it is: the host asked for, or
				* what SRV gave */
};

struct places {
	unsigned n;       /* 0: see cause */
	enum cause cause; /* CAUSE_DNS_NONE, CAUSE_DNS_TIMEOUT */
	bool stale;       /* some of the answers have run out */
	uint32_t ttl;     /* seconds for which it is good, 0: this time only;
			   * the least of what was found, or when n is 0 of
			   * what is not there; a few when something could not
			   * be found out; UINT32_MAX: for ever */
	struct place at[LOCATE_MAX];
};

/* What a URI says: maddr before host, port, transport, scheme. The rest is the
 * caller's to fill in. False: no SIP URI, or a transport nobody knows. */
bool locate_of_uri(const struct uri *uri, struct locate_ask *out_r);
/* The transports and families of our listeners are what can be used. */
void locate_through(const struct listeners *ls, struct locate_ask *ask);

/*
 * What is done where RFC 3263 leaves it open. Without NAPTR: SRV of each usable
 * transport, first UDP, then TCP, and last TLS, also for a sip: URI, for
 * whoever offers nothing else; SRV of one transport as in 4.1 when it is named.
 * NAPTR of SIP that leads to nothing we speak ends the search. All NAPTR
 * records that we can use are gone through, in their order, not only those of
 * the first one (more to fall back to). Addresses of one name alternate between
 * the families, IPv6 first, shuffled by the seed, and each has the weight of
 * its name. A target without an address is left out. When NAPTR or SRV cannot
 * be found out the search goes on without NAPTR, but not to A without SRV: that
 * could be anything. An address is a place, usable or not.
 */

/* 0 when nothing has to be asked for it (an address; all in the cache; known
 * not to be there), with what was found; else ERR_STATE. ERR_NOMEM. */
int locate_now(struct resolver *rs, const struct locate_ask *ask,
	       struct now now, struct places *out_r);

struct locate; /* a search under way */
/* `found` is borrowed. The search is over and freed when this is called. */
typedef void locate_fn(void *ctx, const struct places *found, struct now now);
/* Calls fn later, never from inside, at latest after dns_limits.deadline. NULL
 * when memory ran out. */
struct locate *locate_start(struct resolver *rs, const struct locate_ask *ask,
			    locate_fn *fn, void *ctx, struct now now);
/* Nobody waits for it any more: fn is not called. */
void locate_stop(struct locate **l);

#endif
