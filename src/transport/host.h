/*
 * The host boundary: everything the core may ask of the world. Production
 * (libev, sockets) and the simulator implement it; the core knows nothing
 * else. The other direction, what the world may tell the core, is core/core.h.
 *
 * No verb ever calls back into the core; what follows from it arrives later
 * through one of the core's entries.
 */
#ifndef TRANSPORT_HOST_H
#define TRANSPORT_HOST_H

#include "transport/hop.h"
#include "util/log.h"
#include "util/str.h"

struct query; /* transport issue: a DNS question, see core_answer */

/* A message from one worker of a node to another. */
enum post_kind {
	POST_DATAGRAM, /* `bytes` were received from `from` by another worker
			* but belong to this one */
	POST_FLOW,     /* a flow event whose quoted payload belongs here */
	POST_SCRIPT    /* a Lua message: topic and payload */
};

struct post {
	enum post_kind kind;
	struct hop from;
	struct str topic; /* POST_SCRIPT */
	struct str bytes;
	int cause; /* POST_FLOW: enum cause */
};

struct host {
	void *ctx;
	/* Copies `bytes` and sends them. Never reports: a failure arrives as a
	 * flow event with the datagram's own bytes as `quoted`. */
	void (*send)(void *ctx, const struct hop *to, struct str bytes);
	/* Closes a connection (framing lost, idle, drained). */
	void (*close)(void *ctx, const struct hop *flow);
	/* Asks a DNS question; core_answer brings the answer. */
	void (*query)(void *ctx, struct query *q);
	/* No answer will come for q after this. */
	void (*unquery)(void *ctx, struct query *q);
	/* Which of our addresses would be used to reach `to` through a
	 * listener; the one synchronous question. False: there is none now. The
	 * port is the listener's. */
	bool (*source)(void *ctx, unsigned listener, const struct addr *to,
		       struct addr *out_r);
	/* Copies the message to another worker of the same node. */
	void (*post)(void *ctx, unsigned worker, const struct post *msg);
	void (*log)(void *ctx, const struct log_event *e);
};

/* Why something could not be delivered or was not answered; one vocabulary
 * from ICMP to TLS (semantics 12). X(id, text) */
#define CAUSE_LIST(X)                                                          \
	X(CAUSE_NONE, "none")                                                  \
	X(CAUSE_SILENT, "silent")                                              \
	X(CAUSE_NO_PROGRESS, "no_progress")                                    \
	X(CAUSE_ICMP_PORT, "icmp_port")                                        \
	X(CAUSE_ICMP_HOST, "icmp_host")                                        \
	X(CAUSE_ICMP_NET, "icmp_net")                                          \
	X(CAUSE_REFUSED, "refused")                                            \
	X(CAUSE_CONNECT_TIMEOUT, "connect_timeout")                            \
	X(CAUSE_RESET, "reset")                                                \
	X(CAUSE_CLOSED, "closed")                                              \
	X(CAUSE_TLS_IDENTITY, "tls_identity")                                  \
	X(CAUSE_TLS_HANDSHAKE, "tls_handshake")                                \
	X(CAUSE_DNS_NONE, "dns_none")                                          \
	X(CAUSE_DNS_TIMEOUT, "dns_timeout")                                    \
	X(CAUSE_NO_SOURCE, "no_source")                                        \
	X(CAUSE_TOO_BIG, "too_big")

enum cause {
#define X(id, text) id,
	CAUSE_LIST(X)
#undef X
	    CAUSE_N
};

const char *cause_text(enum cause c);

enum flow_kind { FLOW_UP, FLOW_DOWN, FLOW_ERROR };

struct flow_event {
	enum flow_kind kind;
	enum cause cause; /* FLOW_DOWN, FLOW_ERROR */
	struct hop peer;
	struct str quoted; /* FLOW_ERROR: what of our message came back (ICMP
			    * quotes a prefix), or the failed datagram itself */
};

#endif
