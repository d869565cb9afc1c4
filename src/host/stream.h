/*
 * The connections of one worker: opening, accepting, reading, writing, closing.
 * It knows nothing of SIP: framing, deadlines, limits and the reuse of
 * connections are the core's (transport/flows.h). What happens to a connection
 * is kept until the worker asks for it, so that no verb ever calls the core.
 */
#ifndef HOST_STREAM_H
#define HOST_STREAM_H

#include <ev.h>

#include "host/dgram.h"
#include "host/logsink.h"
#include "host/sock.h"
#include "host/source.h"
#include "transport/limits.h"

struct streams;
struct tls_set; /* host/tls.h */

/* The worker. Every run of calls is between a begin and an end: in the end it
 * flushes and tells. */
struct streams_user {
	void *ctx;
	void (*begin)(void *ctx);
	/* `waited`: at least so many microseconds, to be read. */
	void (*receive)(void *ctx, const struct hop *from, struct str bytes,
			int64_t waited);
	void (*event)(void *ctx, const struct flow_event *e);
	void (*end)(void *ctx);
};

/* All borrowed. */
struct streams_conf {
	struct ev_loop *loop;
	const struct listeners *listeners;
	const struct stream_limits *limits; /* as they are now */
	const struct source *source;
	struct dgram_queue *faults; /* for what belongs to no connection */
	struct logsink *log;
	const struct tls_set *tls; /* NULL: no listener speaks TLS */
	unsigned worker;
	struct streams_user user;
};

/* Since the start. */
struct streams_stats {
	uint64_t pauses;  /* of accepting: no descriptor or memory was left */
	uint64_t refused; /* too many in the middle of a TLS handshake */
	uint64_t unsent;  /* messages lost without a word: closed before */
	size_t open;      /* now, those that are being closed included */
};

/* NULL when memory ran out. */
struct streams *streams_new(const struct streams_conf *conf);
/* Closes what is open at once; tells nobody. */
void streams_free(struct streams **ss);
/* Binds and listens. 0, or an errno with an explanation in why[n]. */
int streams_listen(struct streams *ss, unsigned listener,
		   enum sock_sharing sharing, char *why, size_t n);
/* Which port that is, if the system was to choose. */
uint16_t streams_port(const struct streams *ss, unsigned listener);
/* From now on it accepts. */
void streams_start(struct streams *ss);

/* For handshakes from now on; those that run keep what they have. */
void streams_use_tls(struct streams *ss, const struct tls_set *tls);

/* ---- the verbs (transport/host.h) ---- */
void streams_open(struct streams *ss, const struct hop *flow);
void streams_send(struct streams *ss, const struct hop *to, struct str bytes);
bool streams_withdraw(struct streams *ss, const struct hop *to,
		      struct str bytes);
void streams_close(struct streams *ss, const struct hop *flow);

/* ---- after a run of entries ---- */
/* Writes what was given since. */
void streams_flush(struct streams *ss);
bool streams_have_news(const struct streams *ss);
/* Tells what is there to tell; what comes of it is for the next time. */
void streams_tell(struct streams *ss);
/* Frees what was closed: nothing of it is on the stack any more. */
void streams_reap(struct streams *ss);

/* An address of this machine went: ends the connections that have it, which
 * would only hang otherwise. */
void streams_check_local(struct streams *ss);
/* The end of the process: writes what is queued, for `ms` at most. */
void streams_linger(struct streams *ss, int ms);
void streams_stats(const struct streams *ss, struct streams_stats *out_r);

#endif
