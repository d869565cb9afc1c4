/*
 * The DNS cache of one core, and the questions under way: one per name and
 * type, however many wait for it. It keeps what was answered for its TTL
 * (within limits), that there is nothing for a while, and goes on serving what
 * has run out while nobody answers (RFC 8767). A call that fails changes
 * nothing here. Who looks for a way to a server asks transport/locate.h.
 */
#ifndef TRANSPORT_RESOLVER_H
#define TRANSPORT_RESOLVER_H

#include "transport/host.h"
#include "transport/limits.h"
#include "util/counters.h"
#include "util/mem.h"
#include "util/rand.h"
#include "util/timer.h"

struct resolver;

struct resolver_conf {
	struct mem *mem;
	struct timers *timers;
	const struct host *host; /* query, unquery */
	const struct dns_limits *limits;
	struct counters *counters;
	struct rand *rand; /* of the cache's hashes */
};

/* NULL when memory ran out. What `conf` points at is borrowed. */
struct resolver *resolver_new(const struct resolver_conf *conf);
/* Takes questions back; whoever waits is not told. */
void resolver_free(struct resolver **rs);
/* The host's answer to a question of ours; false: it is none of ours. */
bool resolver_on_answer(struct resolver *rs, struct query *q,
			const struct answer *a, struct now now);
/* Bytes that are kept only to be used again, and names in the cache. */
size_t resolver_spare_bytes(const struct resolver *rs);
size_t resolver_names(const struct resolver *rs);
/* Forgets every answer, not the questions under way. */
void resolver_flush(struct resolver *rs);

#endif
