/*
 * The servers of all pools of a node, as facts: who they are, where they are,
 * and numbers that Lua decides over. Shared by the workers: the list changes
 * only while a generation is switched; facts are atomics that anyone may read.
 * Worker 0's Lua writes health, admin and holds; any worker may add to
 * counters. What calls count (inflight, setup, calls) only C writes. A member
 * survives a reload by its name (pool/server): it is found again and referenced
 * by each generation that declares it.
 *
 * Servers that are found while it runs (`discover`) are members that were made
 * beforehand, without a name: worker 0 gives them one. It takes it away again
 * when nobody can be looking any more; so what is read without a lock is read
 * of members that are declared, or found by their id.
 */
#ifndef PROXY_MEMBERS_H
#define PROXY_MEMBERS_H

#include <stdatomic.h>
#include "proxy/load.h"
#include "transport/host.h"
#include "util/list.h"
#include "util/mem.h"
#include "util/tick.h"

enum { MEMBER_NAME = 128, SERVER_PLACES = 16 };

/* Where a server can be reached (proxy/places.h). */
struct server_place {
	struct addr addr; /* with its port */
	uint8_t transport;
	bool is_down;          /* its checks fail: the others go first */
	uint16_t rank, weight; /* of DNS (transport/locate.h), or in order */
};

struct server_places {
	unsigned n; /* 0: its name is not known (yet) */
	struct server_place at[SERVER_PLACES];
};

/* How long a name stays after its server has left: longer than any request may
 * take that began before. */
#define MEMBER_REST SECONDS(600)

/* X(id, name in Lua): int64 values; times are monotonic microseconds. */
#define FACT_LIST(X)                                                           \
	X(FACT_HEALTH, "health")                                               \
	X(FACT_ADMIN, "admin")                                                 \
	X(FACT_HOLD_UNTIL, "hold_until")                                       \
	X(FACT_FAILBACK_UNTIL, "failback_until")                               \
	X(FACT_TRIAL, "trial")                                                 \
	X(FACT_SINCE, "since")                                                 \
	X(FACT_UP_SINCE, "up_since")                                           \
	X(FACT_RETURNED, "returned")                                           \
	X(FACT_STREAK, "streak")                                               \
	X(FACT_FAILURES, "failures")                                           \
	X(FACT_FALLS, "falls")                                                 \
	X(FACT_INFLIGHT, "inflight")                                           \
	X(FACT_SETUP, "setup")                                                 \
	X(FACT_CALLS, "calls")                                                 \
	X(FACT_LATENCY, "latency")                                             \
	/* id of who takes the ACKs for it, while it is known to be down */    \
	X(FACT_STAND_IN, "stand_in")                                           \
	/* when DNS ceased to name it; 0: it does, or never did */             \
	X(FACT_LEFT, "left")

enum fact {
#define X(id, name) id,
	FACT_LIST(X)
#undef X
	    FACT_N
};

/* X(id, name in Lua): what became of it since the start, for metrics. Anybody
 * counts, nothing is decided by it, and so it is no fact. */
#define MEMBER_STAT_LIST(X)                                                    \
	/* how attempts at it have ended (attempt.c) */                        \
	X(STAT_OK, "ok")                                                       \
	X(STAT_REJECTED, "rejected")                                           \
	X(STAT_503, "503")                                                     \
	X(STAT_TIMEOUT, "timeout")                                             \
	X(STAT_TRANSPORT, "transport")                                         \
	X(STAT_CANCELLED, "cancelled")                                         \
	/* what its health became (worker 0's Lua) */                          \
	X(STAT_TO_UNKNOWN, "to_unknown")                                       \
	X(STAT_TO_UP, "to_up")                                                 \
	X(STAT_TO_FALLING, "to_falling")                                       \
	X(STAT_TO_DOWN, "to_down")                                             \
	X(STAT_TO_RISING, "to_rising")                                         \
	/* what its checks said */                                             \
	X(STAT_CHECK_OK, "check_ok")                                           \
	X(STAT_CHECK_FAILED, "check_failed")                                   \
	/* microseconds that it was down, up to its last change */             \
	X(STAT_DOWN, "down")

enum member_stat {
#define X(id, name) id,
	MEMBER_STAT_LIST(X)
#undef X
	    MEMBER_STAT_N
};

/* Which REGISTERs get a Path on their way to it (semantics 14). */
enum member_path {
	MEMBER_PATH_NONE,
	MEMBER_PATH_SUPPORTED, /* those that say Supported: path */
	MEMBER_PATH_ALWAYS
};

struct member {
	struct list link;
	char name[MEMBER_NAME]; /* pool/server */
	_Atomic uint64_t id;    /* hash of the name, the same on every node;
				 * 0: it has none */
	uint32_t index;         /* in the list, for good */
	_Atomic unsigned refs;  /* scripts that declare it */
	_Atomic bool declared;  /* by the present generation */
	_Atomic bool is_spare;  /* made by members_reserve: its name changes */
	tick_t left;            /* when it was declared no more (worker 0) */
	/* Addresses that are in the script; none for a name. What counts is
	 * what a worker knows: proxy_places(). */
	struct server_places places;
	uint32_t moves;       /* grows when those become others */
	bool fixed_transport; /* its URI says which: size is no reason for
			       * another (RFC 3261 18.1.1) */
	uint8_t tls;          /* hop.tls: which client opens connections */
	/* Who it has to prove to be over TLS: the host of its URI, unless the
	 * script says another name. "": none. */
	char tls_name[DNS_NAME];
	/* options of the pool */
	bool record_route; /* default true */
	uint8_t path;      /* enum member_path */
	bool shared_dialogs;
	uint32_t max_duration; /* of a call, seconds (calls.h); 0: no end */
	_Atomic int64_t fact[FACT_N];
	_Atomic int64_t stat[MEMBER_STAT_N];
	struct load load;
};

struct members {
	struct mem *mem;
	/* Grows whenever a fact that decides who may take requests has become
	 * another one: for what Lua computes once per change. */
	_Atomic uint64_t changes;
	struct list list;
	size_t n;
};

static inline void member_count(struct member *m, enum member_stat stat,
				int64_t n)
{
	atomic_fetch_add_explicit(&m->stat[stat], n, memory_order_relaxed);
}

/* An answer came after `us`: FACT_LATENCY moves an eighth of the way there. */
void member_took(struct member *m, int64_t us);

void members_init(struct members *ms, struct mem *m);
void members_fini(struct members *ms);
uint64_t member_id(struct str name);
/* Finds or creates by name and takes a reference: it is declared now. NULL when
 * memory ran out or the name is too long. */
struct member *members_ref(struct members *ms, struct str name);
void members_unref(struct members *ms, struct member *m);
/* Makes sure that so many spare members are there for the servers that will be
 * found for a pool; while no worker runs. 0 or ERR_NOMEM. */
int members_reserve(struct members *ms, struct str pool, unsigned n);
bool member_is_of(const struct member *m, struct str pool);
/* Takes a reference to the member of this name (pool/server), which may be a
 * spare one that gets the name now; not declared yet. In worker 0 only. NULL
 * when the name is too long, or all spare ones are taken: by others, by calls
 * and requests, or by who left less than MEMBER_REST ago. Whose place it took
 * is written to was_r, "" for nobody's. */
struct member *members_join(struct members *ms, struct str name, tick_t now,
			    char was_r[MEMBER_NAME]);
void members_declare(struct members *ms, struct member *m);
/* In the other workers: takes a reference to one that worker 0 has joined. NULL
 * when it is gone already. */
struct member *members_share(struct members *ms, struct str name);
/* Gives the reference back; in worker 0 it is declared no more. */
void members_leave(struct members *ms, struct member *m, tick_t now);
/* A generation is about to take over: what it does not declare is not. */
void members_undeclare(struct members *ms, tick_t now);
/* What all members are, to come back to when a generation cannot take over.
 * While no worker runs. NULL: no memory. */
struct members_image;
struct members_image *members_save(const struct members *ms);
/* References taken since then were given back. Frees the image. */
void members_restore(struct members *ms, struct members_image **im);
void members_image_free(struct members *ms, struct members_image **im);
/* Those that are declared. */
int64_t members_count(const struct members *ms);
struct member *members_by_id(const struct members *ms, uint64_t id);
struct member *members_by_name(const struct members *ms, struct str name);
#endif
