/*
 * A transaction layer in a world of its own: virtual time, a host that notes
 * what is sent, and a user that notes what it is told. For the tests of
 * servers, clients and stubs.
 */
#ifndef UNIT_TXN_WORLD_H
#define UNIT_TXN_WORLD_H

#include "support/unit.h"
#include "transaction/txn.h"
#include "util/rand.h"

#define T1 MILLIS(500)
#define T2 SECONDS(4)
#define T4 SECONDS(5)

struct sent {
	int64_t at; /* microseconds since the start */
	struct hop to;
	char text[1400];
	size_t n;
};

struct world;
typedef void world_hook(struct world *w, struct client *c, struct server *s);

struct world {
	struct mem mem;
	size_t baseline; /* bytes of an idle world */
	struct arena_cache *cache;
	struct arena *scratch;
	struct timers *timers;
	struct counters counters;
	struct host host;
	struct stream_limits limits;
	struct rand rand;
	struct admission *admission;
	struct flows *flows;
	struct hop opened[8]; /* the connections that were asked for */
	size_t opens, ups;    /* and those that are up by now: world_run */
	bool stalled;         /* none comes up any more */
	enum cause unsent;    /* of the last message that came back */
	struct txns t;
	struct now now;
	struct sent sent[96];
	size_t n; /* sent */
	/* What the user was told, a word each: "r180" a response for an owner,
	 * "R200" for nobody, "fsilent" a failure, "t1" before a
	 * retransmission, "n" no ACK, "s" and "c" the end of a block. */
	char told[512];
	world_hook *hook;   /* called after each word */
	bool refuse;        /* what on_retransmit says */
	char text[2048];    /* of the last message built */
	const char *to_tag; /* of responses */
	int owner;          /* &owner is an owner */
};

enum { CONN = 3 };

void world_init(struct world *w);
/* Checks that nothing is left but the idle world. */
void world_fini(struct world *w);
/* Everything due until `us` after the start. */
void world_run(struct world *w, int64_t us);
/* The bytes beyond the idle world. */
size_t world_bytes(struct world *w);
/* Forgets what was sent and told. */
void world_clear(struct world *w);

/* "10.0.0.9:5060" over that transport */
struct hop hop_to(enum transport t, const char *addr);

/* A request from 10.0.0.9, printf style in `text`; the transaction that matched
 * or was made. Over TCP and TLS it comes on an accepted connection, CONN. */
struct str request_text(struct world *w, const char *method, const char *via,
			const char *to_tag);
struct server *world_receive(struct world *w, struct str text,
			     enum transport t);
struct server *world_match(struct world *w, struct str text);
struct server *world_match_cancel(struct world *w, struct str text);
/* Sends a response with that code from the user. */
int world_respond(struct world *w, struct server *s, int code);

/* A client transaction owned by &w->owner; the last digit of its branch is
 * `digit`. */
struct client *world_client(struct world *w, struct server *up, char digit,
			    const char *method, enum transport t);
/* A response to it; false when it matches nothing. */
bool world_answer(struct world *w, char digit, const char *method, int code);
/* It can be matched. */
bool world_has(struct world *w, char digit, const char *method);
/* The end of a connection. */
void world_down(struct world *w, uint64_t conn, enum cause cause);

/* Checks that `n` messages beginning with `start` were sent at these times in
 * milliseconds, and nothing else. */
void check_sent(struct world *w, const char *start, const int64_t *ms,
		size_t n);
#define CHECK_SENT(w, start, ...)                                              \
	check_sent((w), (start), (int64_t[]){__VA_ARGS__},                     \
		   sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
bool sent_starts(const struct world *w, size_t i, const char *start);
#define CHECK_TOLD(w, lit) CHECK_STR(str_from((w)->told), lit)

#endif
