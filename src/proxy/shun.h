/*
 * What a worker remembers of single addresses for a while, so that not every
 * request finds out anew: this one was silent, that one does not take TCP. It
 * decides an order, never that nothing is sent.
 */
#ifndef PROXY_SHUN_H
#define PROXY_SHUN_H

#include <stddef.h>
#include "transport/hop.h"
#include "util/tick.h"

enum shun {
	SHUN_FAILED, /* silent, or no way there: 30 s, or until it answers */
	SHUN_NO_TCP  /* it refused TCP or was silent: 10 min */
};

enum { SHUNNED = 256 }; /* of more the oldest is forgotten */

struct shunned {
	struct addr addr;
	uint8_t transport;
	uint8_t why;
	tick_t until;
};

struct shun_list {
	struct shunned at[SHUNNED];
	size_t n, next;
};

void shun_add(struct shun_list *l, enum shun why, const struct hop *hop,
	      tick_t now);
void shun_end(struct shun_list *l, enum shun why, const struct hop *hop);
bool shun_has(const struct shun_list *l, enum shun why, const struct hop *hop,
	      tick_t now);

#endif
