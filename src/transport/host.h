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
#include "util/tick.h"

/* The types of DNS records we ask for or read. */
enum dns_type {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_NAPTR = 35
};

enum { DNS_NAME = 256 }; /* a name in text, with NUL */

/* A DNS question. Whoever asks owns it and keeps it until it is answered, or
 * until unquery. */
struct query {
	char name[DNS_NAME]; /* absolute, without the last dot, lower case */
	uint16_t type;       /* enum dns_type */
	void *host;          /* the host's own */
};

enum answer_status {
	ANSWER_REPLY,   /* a server said something, whatever it is */
	ANSWER_TIMEOUT, /* none did */
	ANSWER_FAILED,  /* nobody could be asked: refused, no resolver */
	ANSWER_NO_NAME  /* nobody is to be asked for such a name (RFC 7686) */
};

struct answer {
	enum answer_status status;
	struct str bytes; /* ANSWER_REPLY: the message as it came, with its
			   * header; borrowed */
};

/* A message from one worker of a node to another. */
enum post_kind {
	POST_DATAGRAM, /* `bytes` were received from `from` by another worker
			* but belong to this one */
	POST_FLOW,     /* a flow event whose quoted payload belongs here */
	POST_SEND,     /* `bytes` go out on the connection `from`, which is
			* this worker's; from.worker is who asks. Without any
			* he only waits for something there */
	POST_DOWN,     /* the connection `from` of another worker has ended */
	POST_SCRIPT    /* a Lua message: topic and payload */
};

struct post {
	enum post_kind kind;
	struct hop from;
	struct str topic; /* POST_SCRIPT */
	struct str bytes;
	int cause; /* POST_FLOW: enum cause */
	/* POST_DATAGRAM: since then it waits on this machine, and since then
	 * for its worker */
	tick_t came, handed;
};

struct listeners; /* transport/listener.h */

struct host {
	void *ctx;
	/* Where it listens, and the addresses that the machine has, which it
	 * keeps up to date between two entries; each worker has its own. NULL:
	 * those of the node, when one thread runs all of its workers. */
	const struct listeners *listeners;
	/* Copies `bytes` and sends them. Never reports: a failure arrives as a
	 * flow event with the message's own bytes as `quoted`. On a stream
	 * `to->conn` names the connection, `bytes` are one whole message, and
	 * what is given while it is still being opened waits until it is up. */
	void (*send)(void *ctx, const struct hop *to, struct str bytes);
	/* Begins to connect to flow->addr, through its listener's address and
	 * from flow->local (the port is the system's choice). flow->conn, made
	 * by the core, is the connection's name from now on; FLOW_UP or
	 * FLOW_DOWN follows. There is no time limit here: the core has one. */
	void (*open)(void *ctx, const struct hop *flow);
	/* Takes back a message that was given to `send` and waits for its
	 * connection to come up. False: it has left, or has come back. */
	bool (*withdraw)(void *ctx, const struct hop *to, struct str bytes);
	/* Ends a connection: what is queued still goes out, for a moment, and
	 * no event about it follows. Unknown ones are ignored. */
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
	/* Keeps a text beyond the end of the process, under a name like
	 * "health.json"; empty: no more. Copies, never waits and never reports.
	 * NULL, or nowhere to: it is not kept. */
	void (*keep)(void *ctx, struct str name, struct str bytes);
	/* Copies a packet and sends it to a collector of captures, outside of
	 * SIP and from an address of its choice. Never waits and never reports:
	 * what cannot be sent is counted. NULL: there is no way to. */
	void (*mirror)(void *ctx, const struct addr *collector,
		       struct str packet);
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

enum flow_kind {
	FLOW_UP,   /* opened, or accepted */
	FLOW_DOWN, /* could not be opened, or has ended */
	FLOW_ERROR /* this could not be sent */
};

/*
 * The single road for what the world says of a flow. When a connection ends,
 * each message that was not written completely comes back first, as a
 * FLOW_ERROR with the same cause; FLOW_DOWN comes last, once, for accepted and
 * for opened ones, also when the TLS handshake of an accepted one fails (then
 * no FLOW_UP came before).
 */
struct flow_event {
	enum flow_kind kind;
	enum cause cause; /* FLOW_DOWN, FLOW_ERROR */
	bool accepted;    /* FLOW_UP, FLOW_DOWN: the peer opened it */
	/* FLOW_UP: with the local address it has. Of an accepted TLS
	 * connection, tls_name is an identity the peer has proved, or NULL. */
	struct hop peer;
	struct str quoted; /* FLOW_ERROR: what of our message came back (ICMP
			    * quotes a prefix), or the failed message itself */
	struct str text;   /* FLOW_DOWN: more about the cause, for a person
			    * ("certificate has expired"); may be empty */
};

#endif
