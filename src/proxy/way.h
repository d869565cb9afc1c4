/*
 * The way to one target: the addresses at which it can be reached, in the order
 * in which they are tried (semantics 12), and how far we are. Of a server they
 * are known ahead (places.h); of a URI they are what RFC 3263 finds for it.
 *
 * First those whose checks do not fail and that did not fail lately, by
 * rank, equal ranks by weight (RFC 2782) with a seed, so that two nodes choose
 * alike. Nothing is left out: the others come last.
 */
#ifndef PROXY_WAY_H
#define PROXY_WAY_H

#include "proxy/members.h"
#include "transport/locate.h"
#include "util/tick.h"

struct proxy;

struct way {
	struct hop *hop; /* in an arena; listener and source are open yet */
	unsigned n, next;
	bool mixed;  /* each address may be another server's, or nobody's */
	bool fixed;  /* the transport was chosen by who named the target */
	bool by_tcp; /* the next one, although it says UDP: that was too big */
	/* The host of the URI: what the peer has to prove to be (RFC 5922 4),
	 * whatever DNS made of it. STR_NONE: no URI named it. */
	struct str host;
	tick_t began;
};

/* How a connection to this server is opened, and whom it has to show. The name
 * is the member's. */
void way_identify(const struct member *m, struct hop *hop);
/* The same for whatever server is at that address, if any. */
void way_identify_at(const struct proxy *p, struct hop *hop);
/* One address, as it is. ERR_NOMEM. */
int way_of_hop(struct arena *a, const struct hop *hop, struct way *w);
/* ERR_NOTFOUND: none is known (now). ERR_NOMEM. */
int way_of_member(const struct proxy *p, const struct member *m, uint64_t seed,
		  struct arena *a, tick_t now, struct way *w);
/* Of a URI, as far as it is known. ERR_STATE: *ask_r has to be looked up;
 * ERR_NOTFOUND: that is not there, or no SIP URI, for the reason in *cause_r;
 * ERR_NOMEM. */
int way_of_uri(const struct proxy *p, struct str uri, uint64_t seed,
	       struct arena *a, struct now now, struct way *w,
	       struct locate_ask *ask_r, enum cause *cause_r);
/* Of the same URI, by what was found. When nobody could say anything and it is
 * the name of a server of ours, by what is known of that: what was known ahead
 * does not end with a dialog. ERR_NOTFOUND, ERR_NOMEM. */
int way_of_found(const struct proxy *p, struct str uri,
		 const struct places *found, uint64_t seed, struct arena *a,
		 struct now now, struct way *w);
/* RFC 3261 18.1.1: *hop by TCP instead, for what is too big for UDP, unless who
 * named the target chose UDP or the peer is known not to take TCP; from where
 * it would have left by UDP. False: it stays as it is. */
bool way_by_tcp(struct proxy *p, const struct way *w, struct now now,
		struct hop *hop);
/* After a failure at `hop`: is there more? When it says that there is no way to
 * that address (and no silence), the next one, or the same one by the other
 * transport: UDP if TCP was chosen `for_size`, TCP if it was too big. */
bool way_goes_on(struct proxy *p, struct way *w, const struct hop *hop,
		 bool for_size, enum cause cause, struct now now);
/* The seed of a call. */
uint64_t way_seed(const struct proxy *p, struct str call_id);

#endif
