/*
 * The DNS cache of one core, and the questions under way: one per name and
 * type, however many wait for it. It keeps what was answered for its TTL
 * (within limits), that there is nothing for a while, and goes on serving what
 * has run out while nobody answers (RFC 8767). A call that fails changes
 * nothing here. Who looks for a way to a server asks transport/locate.h.
 */
#ifndef TRANSPORT_RESOLVER_H
#define TRANSPORT_RESOLVER_H

#include "transport/dns_answer.h"
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
const struct resolver_conf *resolver_conf_of(const struct resolver *rs);
/* Nobody waits for longer than this (us) when there is something that has run
 * out (RFC 8767 5, the client response timer). */
int64_t resolver_patience(const struct resolver *rs);
/* Bytes that are kept only to be used again, and names in the cache. */
size_t resolver_spare_bytes(const struct resolver *rs);
size_t resolver_names(const struct resolver *rs);
/* Somebody else is asked from now on: every answer has run out, but serves on
 * while nobody gives another. */
void resolver_expire(struct resolver *rs, struct now now);

/*
 * One look-up of one name and type, for transport/locate.c. Whoever looks keeps
 * it until lookup_end, and its records with it.
 */
enum look {
	LOOK_PENDING, /* it has to be asked for */
	LOOK_FOUND,
	LOOK_NONE,  /* it is known that there is nothing */
	LOOK_FAILED /* nobody knows: no answer, or one of no use */
};

struct lookup;
typedef void lookup_fn(struct lookup *l, struct now now);

struct lookup {
	struct list link;     /* the resolver's, while it waits */
	struct cached *entry; /* the resolver's */
	enum look outcome;
	bool stale;    /* LOOK_FOUND: it has run out, and nobody answers */
	lookup_fn *fn; /* set by whoever looks: it is no longer pending */
};

/* Looks into the cache, and with `ask` has the question asked and waits when
 * that is needed: then `fn` is called later, once. The name is absolute, in
 * lower case, without the last dot. ERR_NOMEM, or ERR_LIMIT when as many names
 * as there may be are in use: then there is nothing to end. */
int lookup_begin(struct lookup *l, struct resolver *rs, const char *name,
		 uint16_t type, bool ask, struct now now);
/* Waiting for long enough: what has run out will do, if there is any. Ends the
 * waiting then; false: it goes on. */
bool lookup_take_stale(struct lookup *l, struct resolver *rs, struct now now);
void lookup_end(struct lookup *l, struct resolver *rs);
bool lookup_is_of(const struct lookup *l, const char *name, uint16_t type);
const union dns_record *lookup_records(const struct lookup *l, unsigned *n_r);
/* For how many seconds this outcome is good; 0: this time only. */
uint32_t lookup_ttl(const struct lookup *l, struct now now);

#endif
