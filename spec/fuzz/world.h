/*
 * A node with two workers under a real script (spec/fuzz/core.lua) and a host
 * that does only what it is told: the world of fuzz_core. It is made once and
 * used for many inputs, because loading a script takes longer than hundreds of
 * them; after each input it is brought to rest, and what is then left over is a
 * failure.
 *
 * What every message that leaves has to be is asserted here, in the host: see
 * world.c.
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include "core/core.h"
#include "lua/generation.h"
#include "util/rand.h"

enum {
	FW_WORKERS = 2,
	FW_SENT = 256, /* messages that steps can refer to, of one input */
	FW_GIVEN = 64,
	FW_CONNS = 16,
	FW_QUERIES = 64,
	FW_SENT_MAX = 4000 /* of one input: beyond, the node talks to itself */
};

struct fw_message {
	struct hop peer; /* who sent it, or where it went */
	struct str bytes;
	unsigned worker;
	bool is_request;
	int status;
};

struct fw_conn {
	enum { FW_FREE, FW_OPENING, FW_UP } state;
	bool accepted;
	unsigned worker;
	struct hop hop;
	struct str waiting[16]; /* until it is up */
	unsigned n;
};

struct fw_event;

struct fw {
	struct generation scripts;
	struct node *node;
	struct core *core[FW_WORKERS];
	struct host host[FW_WORKERS];
	struct fw_host {
		struct fw *w;
		unsigned worker;
	} ctx[FW_WORKERS];
	struct now now;
	struct core_stats base[FW_WORKERS]; /* at rest */
	size_t timers[FW_WORKERS];          /* and of the scripts */
	struct mem mem;
	struct arena_cache *arenas;
	struct arena *arena;   /* of this input */
	struct arena *scratch; /* to look at what is sent */
	struct fw_message sent[FW_SENT], given[FW_GIVEN];
	size_t n_sent, n_given; /* all; the last FW_SENT are kept */
	struct fw_conn conn[FW_CONNS];
	uint64_t conns; /* ever made */
	struct fw_query {
		struct query *q;
		unsigned worker;
	} query[FW_QUERIES];
	unsigned queries;
	struct fw_event *first, **last; /* what the host has to tell */
	bool away;                      /* our addresses are somewhere else */
	bool anywhere;    /* somebody who may has said where to send */
	bool starved;     /* memory was made to run out */
	bool was_starved; /* by an earlier input */
	uint64_t hash;    /* of what was sent */
	unsigned inputs;
};

struct fw *fw_new(void);
void fw_free(struct fw **w);

/* Everything is as it was at the start, as far as it can be: time stands at a
 * round number, randomness begins again. */
void fw_begin(struct fw *w);
/* Runs all out and asserts that nothing is left; `thorough`: bytes too, which
 * needs a collection. */
void fw_end(struct fw *w, bool thorough);

/* Time passes. */
void fw_run(struct fw *w, int64_t us);
/* A datagram, or bytes of a connection. */
void fw_datagram(struct fw *w, const struct hop *from, struct str bytes);
void fw_chunk(struct fw *w, struct fw_conn *c, struct str bytes);
/* A whole message, on whatever it belongs to. */
void fw_message(struct fw *w, const struct hop *from, struct str bytes);
void fw_accept(struct fw *w, const struct addr *peer, enum transport t);
void fw_up(struct fw *w, struct fw_conn *c);
void fw_down(struct fw *w, struct fw_conn *c, enum cause cause);
void fw_icmp(struct fw *w, const struct fw_message *m, enum cause cause,
	     size_t quoted);
void fw_answer(struct fw *w, unsigned i, const struct answer *a);
/* The at-th allocation from now on fails, and `row` in all. */
void fw_fail(struct fw *w, unsigned which, uint64_t at, uint64_t row);
/* Who may say where a request goes: servers and trusted sources. */
bool fw_is_trusted(const struct addr *a);

#endif
