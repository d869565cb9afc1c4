/*
 * Private to the files of flows: what a connection is, and what they share.
 */
#ifndef TRANSPORT_FLOWS_INT_H
#define TRANSPORT_FLOWS_INT_H

#include "transport/flows.h"
#include "transport/frame.h"
#include "util/map.h"

enum flow_state {
	FLOW_OPENING,
	FLOW_OPEN,
	FLOW_REMOTE, /* another worker's: here are only those who wait */
	FLOW_GONE    /* those who waited are being told */
};

/* Why a connection ends, beside the network's own causes. */
enum flow_why {
	WHY_NETWORK, /* see the cause */
	WHY_CONNECT_TIMEOUT,
	WHY_HEADER_TIMEOUT,
	WHY_IDLE,
	WHY_FRAMING,
	WHY_FLOOD, /* more came than could be worked on */
	WHY_STOPPED
};

/* What came and waits for its turn. */
struct backlog {
	struct list link; /* flows.late; linked while there is any */
	char *p;          /* owned */
	size_t at, n, cap;
};

struct flow {
	struct list link; /* flows.all, but for remote ones */
	struct map_node by_conn, by_peer;
	struct flows *fs;
	struct hop hop;                /* its TLS name is in the block */
	struct source *source;         /* of an accepted one, to leave */
	struct directory_entry *entry; /* for other workers; or NULL */
	enum flow_state state;
	bool accepted;
	bool spoke;         /* a whole message has come */
	uint64_t users;     /* workers that have sent on it: bits */
	tick_t since;       /* opened or accepted */
	tick_t active;      /* the last message or ping, either way */
	struct timer limit; /* to be up; for a first message, or the rest */
	struct timer idle;
	struct list waiting; /* flow_link */
	unsigned unanswered; /* of them */
	struct frame frame;
	struct backlog late;
};

/* A message that could not be sent, until its sender is told. */
struct unsent {
	struct list link;
	struct hop to;
	enum cause cause;
	size_t n;
	char bytes[];
};

/* Lines of one kind: so many a second and no more. */
struct flow_lines {
	tick_t since;
	unsigned n;
	uint64_t skipped;
};

/* Failures to connect that were told of: the same one again, every few seconds
 * for as long as a server is down, is no news. */
enum { FLOW_TOLD = 64 }; /* of more the oldest is forgotten */

struct flow_told {
	uint64_t peer, what; /* hashes */
	tick_t at;
};

struct flows {
	struct flows_conf c;
	struct map by_conn, by_peer;
	struct list all;
	size_t n; /* in it */
	struct list late;
	struct timer more; /* goes on with those */
	struct list unsent;
	struct timer give_back; /* tells their senders */
	struct flow_lines up, down, refused;
	struct flow_told told[FLOW_TOLD];
	unsigned told_next;
};

/* ---- flows.c ---- */
struct flow *flow_find(const struct flows *fs, uint64_t conn);
/* Of transport and address. */
uint64_t flow_hash_peer(const struct flows *fs, const struct hop *hop);
/* One that may carry what goes to this hop, or NULL. */
struct flow *flow_towards(const struct flows *fs, const struct hop *to);
/* A new one with its own copy of the hop; NULL when memory ran out. */
struct flow *flow_new(struct flows *fs, const struct hop *hop, bool accepted);
/* It is one of ours, with this time for its next step. */
void flow_enter(struct flow *f, enum flow_state state, int64_t limit);
/* Life: its silence begins anew. */
void flow_touch(struct flow *f);
/* It is over and freed: who waits is told, and the host unless it said so. */
void flow_end(struct flow *f, enum flow_why why, enum cause cause,
	      struct str text, struct now now);

/* ---- flows_accept.c ---- */
void flow_accept(struct flows *fs, const struct hop *peer, struct now now);

/* ---- flows_read.c ---- */
void flow_on_more(struct timer *t, struct now now);
/* The peer has ended it: what came before that is read now. False: it has ended
 * with that. */
bool flow_read_rest(struct flow *f, struct now now);
void flow_drop_backlog(struct flow *f);

/* ---- flows_send.c ---- */
/* Tells its worker that somebody here waits for something on it. */
void flow_hold(const struct flow *f);
void flow_on_give_back(struct timer *t, struct now now);

/* ---- flows_log.c ---- */
void flow_count_bad(struct counters *c, enum frame_bad bad);
void flow_log_up(struct flow *f, struct now now);
void flow_log_down(struct flow *f, enum flow_why why, enum cause cause,
		   struct str text, struct now now);
/* A TLS handshake with somebody who wanted in has failed. */
void flow_log_no_handshake(struct flows *fs, const struct flow_event *e,
			   struct now now);
void flow_log_refused(struct flows *fs, const struct hop *peer, struct str why,
		      struct now now);

#endif
