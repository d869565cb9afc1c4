/*
 * The connections of one worker: who is connected, which one a message goes
 * out on, when one is opened, reused and ended. The host (transport/host.h)
 * connects, accepts, reads and writes; everything that is decided about a
 * connection is decided here, so that the simulator decides the same.
 *
 *   in    flows_receive: raw pieces become messages (transport/frame.h)
 *   out   flows_send: datagrams pass through; for streams the connection that
 *         the hop names, or one that leads there already, or a new one
 *   ends  deadlines (to be up, for the first message, for the rest of one, for
 *         silence), limits (per source, in all), streams that make no sense
 *
 * Reuse (RFC 3261 18): a request may go out on a connection that was opened
 * from the same address of ours, through the same listener, to the same
 * address, by the same TLS client for the same name; or on an accepted one
 * whose remote address and port are the target, since TCP has proved that; over
 * TLS only if the peer has proved the name that is wanted. `alias` (RFC 5923)
 * is not believed: whoever can connect to us could claim another's sent-by and
 * receive its calls.
 *
 * A connection belongs to one worker. Others send on it by POST_SEND and hear
 * of its end by POST_DOWN.
 */
#ifndef TRANSPORT_FLOWS_H
#define TRANSPORT_FLOWS_H

#include "transport/admission.h"
#include "transport/directory.h"
#include "transport/host.h"
#include "transport/limits.h"
#include "transport/listener.h"
#include "util/counters.h"
#include "util/list.h"
#include "util/mem.h"
#include "util/rand.h"
#include "util/siphash.h"
#include "util/timer.h"

struct flows;
struct flow;

struct flow_user {
	void *ctx;
	/* A whole message; `from` and the bytes live until the call returns. */
	void (*on_message)(void *ctx, const struct hop *from, struct str bytes,
			   struct now now);
	/* The stream makes no sense any more and ends when this returns: what
	 * there was of a message, and the response that it deserves, or 0. */
	void (*on_garbage)(void *ctx, const struct hop *from, struct str bytes,
			   int code, struct str reason, struct now now);
	/* FLOW_ERROR for a message that flows_send could not send. */
	void (*on_unsent)(void *ctx, const struct flow_event *e,
			  struct now now);
};

struct flows_conf {
	struct mem *mem;
	struct timers *timers;
	const struct host *host;
	const struct listeners *listeners;
	struct directory *directory; /* NULL: there are no other workers */
	struct admission *admission; /* of all workers */
	const struct stream_limits *limits; /* may change */
	struct counters *counters;
	struct rand *rand;     /* of the connections' numbers */
	struct sipkey map_key; /* of this core */
	const struct now *now; /* of the entry that is running */
	unsigned worker, workers;
	struct flow_user user;
};

/* NULL when memory ran out. What `conf` points at is borrowed. */
struct flows *flows_new(const struct flows_conf *conf);
/* The host is not told: it closes them itself. Nobody may be linked. */
void flows_free(struct flows **fs);

/* Sends a message and says on which connection, 0 for a datagram. Never fails
 * at once: what cannot be sent comes back through on_unsent, later; only when
 * not even that can be remembered it is lost (and counted). A connection that
 * to->conn names and that is gone is not replaced by another. */
uint64_t flows_send(struct flows *fs, const struct hop *to, struct str bytes);

/* Bytes of a stream. Unknown connections are counted. */
void flows_receive(struct flows *fs, const struct hop *from, struct str bytes,
		   struct now now);
/* FLOW_UP and FLOW_DOWN. */
void flows_on_event(struct flows *fs, const struct flow_event *e,
		    struct now now);
/* POST_SEND: another worker's message for a connection of ours, or the word
 * that it is not idle. */
void flows_on_post_send(struct flows *fs, const struct post *post);
/* POST_DOWN: the end of another worker's connection. */
void flows_on_post_down(struct flows *fs, const struct post *post,
			struct now now);

/* False: the connection is known to be gone. True means little when it is
 * another worker's. */
bool flows_may_have(const struct flows *fs, uint64_t conn);

/* Whoever waits for something on a connection: while there is one, silence does
 * not end it, and its end is told. Zeroed but for `on_down` is not linked. */
struct flow_link {
	struct list link;
	struct flow *flow;
	bool unanswered; /* flows_expect */
	/* May be NULL. It has ended and was unlinked; `sent`: it had been up,
	 * so that the peer may have what it was sent. May send and link. */
	void (*on_down)(struct flow_link *l, enum cause cause, bool sent,
			struct now now);
};
/* Links it to the connection, if that is there; unlinks it from another. */
void flows_link(struct flows *fs, struct flow_link *l, uint64_t conn);
void flows_unlink(struct flow_link *l);
/* What was sent on it for this one asks for an answer; that has come. */
void flows_expect(struct flow_link *l);
void flows_answered(struct flow_link *l);
/* Takes back what was sent for this one, while its connection is not up. False:
 * it has left. */
bool flows_withdraw(const struct flow_link *l, struct str bytes);
/* The connection is up, and all that others sent on it has been answered. */
bool flows_was_quiet(const struct flow_link *l);

/* Closes all of them, as if the peers had. */
void flows_close_all(struct flows *fs, struct now now);
size_t flows_count(const struct flows *fs); /* opened, accepted, being opened */
size_t flows_spare_bytes(const struct flows *fs);

#endif
