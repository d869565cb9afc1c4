/*
 * Where the servers are, as one worker knows it: addresses that were written in
 * the script, or found for their names ahead of any call (semantics 12). Each
 * worker has a table of its own; worker 0, which asks DNS and checks addresses,
 * tells the others of changes by message, so nothing here is shared.
 */
#ifndef PROXY_PLACES_H
#define PROXY_PLACES_H

#include "proxy/members.h"

struct proxy;

/* Never NULL; valid until the next proxy_set_places. */
const struct server_places *proxy_places(const struct proxy *p,
					 const struct member *m);
/* 0 or ERR_NOMEM, and then nothing has changed. NULL: those of the script. What
 * was set is forgotten when a new script says other addresses. */
int proxy_set_places(struct proxy *p, const struct member *m,
		     const struct server_places *places);

/* Nobody has answered there just now, to another worker: it comes after the
 * others for a while (shun.h). */
void proxy_place_silent(struct proxy *p, const struct server_place *at,
			struct now now);

/* The first of them by rank that is not down, else the first; NULL: there is
 * none. */
const struct server_place *proxy_best_place(const struct proxy *p,
					    const struct member *m);

/* The address belongs to this member: exactly, or by its IP when no other has
 * it exactly; on loopback exactly. */
bool proxy_is_at(const struct proxy *p, const struct member *m,
		 const struct addr *a);
/* The declared member that has this address: exactly, or else the only one with
 * that IP (servers often send from another port); on loopback exactly. NULL
 * when there is none. */
struct member *proxy_member_at(const struct proxy *p, const struct addr *a);

/* The same for the host of a URI: an address, or the name of the server. */
bool proxy_names(const struct proxy *p, const struct member *m,
		 const struct uri *uri);
struct member *proxy_member_named(const struct proxy *p, const struct uri *uri);

/* ---- private to the proxy layer ---- */

struct place_row;

struct place_table {
	struct place_row **row; /* by member.index; NULL: not told */
	size_t n;
};

void places_fini(struct proxy *p);
/* Of what was told: it stays until the end. */
size_t places_bytes(const struct proxy *p);

#endif
