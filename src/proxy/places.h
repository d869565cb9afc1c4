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

enum { SERVER_PLACES = 16 };

struct server_place {
	struct addr addr; /* with its port */
	uint8_t transport;
	bool is_down;          /* its checks fail: the others go first */
	uint16_t rank, weight; /* of DNS (transport/locate.h); 0 in a script */
};

struct server_places {
	unsigned n; /* 0: its name is not known (yet) */
	struct server_place at[SERVER_PLACES];
};

/* Never NULL; valid until the next proxy_set_places. */
const struct server_places *proxy_places(const struct proxy *p,
					 const struct member *m);
/* 0 or ERR_NOMEM, and then nothing has changed. */
int proxy_set_places(struct proxy *p, const struct member *m,
		     const struct server_places *places);

#endif
