/*
 * Transactions of one core (RFC 3261 section 17 with RFC 6026 and RFC 4320):
 * matching, retransmission, absorbing. Server and client transactions are
 * small heap blocks of their own. They know nothing of response contexts:
 * `owner` is an opaque pointer that the transaction user sets and clears, and a
 * transaction whose owner is NULL is a *record*:
 *
 *   server record   its final is sent: key, upstream hop, the bytes to repeat,
 *                   timer H, I, J or L
 *   client record   its final is in: key, upstream, the ACK to repeat, timer D,
 *                   K or M
 *   stub            given up without a final: that plus the image of the
 *                   request for CANCEL and ACK; it cancels on a late 1xx, ACKs
 *                   a late non-2xx, hands a late 2xx to the user
 *
 * so that a response context can be freed as soon as nobody decides any more,
 * while absorbing states go on for up to 32 s on a few hundred bytes.
 *
 * A client transaction keeps a pointer to the server transaction it serves
 * (`up`); the server transaction stays in memory (though no longer matched)
 * until its last client is gone.
 */
#ifndef TRANSACTION_TXN_H
#define TRANSACTION_TXN_H

#include "message/scan.h"
#include "transaction/branch.h"
#include "transport/flows.h"
#include "util/counters.h"
#include "util/list.h"
#include "util/map.h"
#include "util/siphash.h"
#include "util/timer.h"

/* Microseconds. Everything else follows: B, F, H, L, M = 64*T1; D = 64*T1 on
 * UDP; I, K = T4; J = 64*T1; on reliable transports D, I, J, K = 0. */
struct txn_times {
	int64_t t1, t2, t4;
};

enum server_state {
	SERVER_TRYING,     /* non-INVITE, nothing sent yet; INVITE: same */
	SERVER_PROCEEDING, /* a 1xx was sent */
	SERVER_COMPLETED,  /* a non-2xx (non-INVITE: any) final was sent */
	SERVER_CONFIRMED,  /* INVITE: the ACK came; timer I */
	SERVER_ACCEPTED,   /* INVITE: a 2xx was sent; timer L (RFC 6026) */
	SERVER_TERMINATED  /* not matched any more; kept for its clients */
};

enum client_state {
	CLIENT_CALLING, /* INVITE; non-INVITE: Trying */
	CLIENT_PROCEEDING,
	CLIENT_COMPLETED,
	CLIENT_ACCEPTED, /* INVITE: a 2xx came; timer M (RFC 6026) */
	CLIENT_TERMINATED
};

struct server {
	struct map_node node;
	enum server_state state;
	enum method method;
	bool invite;
	struct hop from;         /* responses go there (18.2.2, RFC 3581) */
	struct flow_link flow;   /* of a connection: it must not fall silent */
	struct str key;          /* owned: the text matching compares */
	uint64_t id;             /* keyed hash of the key; the same on every
				  * node with the key */
	int code;                /* of the last response sent, 0: none */
	struct str last;         /* owned: last response, repeated as is */
	struct timer retransmit; /* G */
	struct timer end;        /* H, I, J, L */
	int64_t interval;        /* of G */
	struct list clients;     /* client.up_link */
	struct txns *txns;
	void *owner;    /* the user's; NULL: record */
	bool cancelled; /* for the user: a CANCEL matched it */
	bool yielded;   /* for the user: its end is another node's to say */
};

struct client {
	struct map_node node;
	enum client_state state;
	enum method method;
	bool invite;
	bool got_1xx; /* any provisional, 100 too */
	bool cancel_wanted, cancel_sent;
	bool abandoned; /* given up by its user: a stub once unowned */
	bool pinned;    /* its hop named a connection: no other will do */
	bool reused;    /* it went out on one that had fallen quiet */
	struct hop hop; /* with the connection it has used */
	struct flow_link flow; /* of that connection, while an answer is due */
	char branch[BRANCH_LEN];
	struct str image; /* owned: the request as sent; later what
			   * CANCEL and ACK need; later the ACK */
	bool image_is_ack;
	uint16_t heard; /* the latest status, 100 to 699; and how often in a
			 * row */
	uint16_t times;
	size_t reason_n;         /* bytes behind the image: a header line for a
				  * CANCEL that has to wait */
	int code;                /* final received, 0: none */
	unsigned sends;          /* of the request: 1 + retransmissions; less
				  * those that could not leave */
	struct timer retransmit; /* A, E */
	struct timer end;        /* B, F, D, K, M, and the end of a stub */
	int64_t interval;
	struct server *up; /* may be NULL: a request of our own */
	struct list up_link;
	struct txns *txns;
	void *owner; /* the user's (a branch); NULL: record */
	/* The user's, kept as long as the block: whom it is for, and what an
	 * answer costs there. */
	void *peer;
	uint64_t cost;
};

/* What the user of the transactions (the proxy) is told. Called with the
 * transaction in its new state; it may call anything here except free. */
struct txn_user {
	void *ctx;
	/* A response that is news: every 1xx while Calling or Proceeding, the
	 * first final, every 2xx to INVITE, also late and repeated ones. For
	 * records and stubs too (c->owner NULL), 2xx to INVITE only.  m and key
	 * live until the call returns. ACKs of non-2xx are sent already. */
	void (*on_response)(void *ctx, struct client *c, struct msg *m,
			    const struct msg_key *key, struct now now);
	/* No final in time (timer B, F), the hop could not be reached, or its
	 * connection ended before any response; only while owned. CAUSE_SILENT
	 * for the timers. When the call returns the owner is let go: the
	 * transaction has ended, or, when the peer may have the request, it is
	 * a stub. */
	void (*on_failure)(void *ctx, struct client *c, enum cause cause,
			   struct now now);
	/* A retransmission is about to be sent for the (sends)th time; only
	 * while owned. `sends` does not count it yet: 1 before the first one.
	 * False: do not send (the user has given it up meanwhile). */
	bool (*on_retransmit)(void *ctx, struct client *c, struct now now);
	/* Our final could not be delivered (timer H, no ACK); owned or not. */
	void (*on_no_ack)(void *ctx, struct server *s, struct now now);
	/* The block is about to be freed; only while owned: clear the pointer
	 */
	void (*on_server_end)(void *ctx, struct server *s);
	void (*on_client_end)(void *ctx, struct client *c);
};

struct txns {
	struct mem *mem;
	struct arena *scratch; /* borrowed; reset by the core per input */
	struct timers *timers;
	struct flows *flows;
	struct counters *counters;
	struct txn_times times;
	const struct sipkeys *keys; /* of the node: ids */
	struct sipkey map_key;      /* of this core: map hashes */
	struct txn_user user;
	struct map servers, clients;
	size_t n_servers, n_clients; /* blocks alive */
};

int txns_init(struct txns *t, struct mem *m); /* others set by the caller */
void txns_fini(struct txns *t); /* frees everything at once, no callbacks */
/* flows_send, counted by transport: CNT_SENT_REQUEST or CNT_SENT_RESPONSE. */
uint64_t txns_send(struct txns *t, const struct hop *to, struct str bytes,
		   enum counter kind);

/* ---- server side ---- */

/* Matches a request to a transaction (17.2.3, by the old rules for requests
 * without the magic cookie). CANCEL matches only another CANCEL. ACK matches
 * its INVITE unless that was accepted: the ACK for a 2xx is a transaction of
 * its own, even if its sender reuses the branch. `from` is not compared. */
struct server *server_find(struct txns *t, const struct msg *m,
			   const struct msg_key *key, const struct hop *from);
/* Is there a transaction of a request, no ACK, with that topmost Via? False as
 * well when that does not identify it (RFC 2543). */
bool server_is_known(const struct txns *t, const struct via *via,
		     enum method method);
/* The INVITE (or other) transaction that a CANCEL is for (9.2). */
struct server *server_find_cancelled(struct txns *t, const struct msg *m,
				     const struct msg_key *key,
				     const struct hop *from);
/* Creates one for a new request; NULL when memory ran out. */
struct server *server_new(struct txns *t, const struct msg *m,
			  const struct msg_key *key, const struct hop *from);
/* The id (server.id) of the transaction that the INVITE of this CANCEL has
 * where `secret` signs. */
uint64_t server_invite_id(struct sipkey secret, const struct msg *m,
			  const struct msg_key *key);
/* One for an INVITE that another node received: `key` is that of a final
 * response to it, with the caller's Via for the topmost; responses go to `to`.
 * The final is sent next, and there is no owner. NULL when memory ran out, or
 * when it would have to be matched by what no response holds (RFC 2543). */
struct server *server_adopt(struct txns *t, const struct msg_key *key,
			    const struct hop *to);
/* Gives the matched transaction a retransmission or an ACK. One that comes over
 * another connection than the first, from the same machine, says where the
 * responses go from now on: its sender has lost the old one. */
void server_on_request(struct server *s, enum method method,
		       const struct hop *from, struct now now);
/* Sends a response and moves the machine. A 2xx to INVITE may be sent any
 * number of times, in every state; any other final once (later ones give
 * ERR_STATE). For non-INVITE, 408 and anything after 64*T1 are the caller's
 * mistake to avoid (RFC 4320). `bytes` is copied. ERR_NOMEM: the
 * response was sent but cannot be repeated. This never frees the block: a timer
 * of 0 fires at the next run of the timers. */
int server_respond(struct server *s, struct str bytes, int code,
		   struct now now);
/* A non-INVITE gets no final (RFC 4320): its repetitions are absorbed for
 * 64*T1 (timer J), as after one. */
void server_withhold(struct server *s, struct now now);
/* The user lets go: owner = NULL; without a final sent or withheld it is
 * terminated, and freed unless it has clients. */
void server_disown(struct server *s, struct now now);

/* ---- client side ---- */

/* Creates a client transaction and sends the request. `bytes` carries the
 * branch in its top Via; both are copied. NULL when memory ran out. */
struct client *client_new(struct txns *t, struct server *up, void *owner,
			  enum method method, const struct hop *hop,
			  const char branch[BRANCH_LEN], struct str bytes,
			  struct now now);
/* A non-2xx final has come to an INVITE that another node sent to `hop`: it is
 * ACKed, and what repeats it is absorbed (timer D). `image` is what an ACK is
 * made of (reply_write_image); both are copied. NULL when memory ran out: it
 * comes again. */
struct client *client_adopt(struct txns *t, struct server *up,
			    const struct hop *hop,
			    const char branch[BRANCH_LEN], struct str image,
			    const struct msg *final, struct now now);
/* By branch and CSeq method. */
struct client *client_find(struct txns *t, struct str branch, enum method m,
			   struct str method_text);
void client_on_response(struct client *c, struct msg *m,
			const struct msg_key *key, struct now now);
/* A transport error for this transaction. Owned and without a final: the user
 * hears of it (on_failure). A failed CANCEL or ACK is ignored. */
void client_on_error(struct client *c, enum cause cause, struct now now);
/* Give up: no more retransmissions, owner = NULL. What still comes for a
 * non-INVITE is absorbed for 64*T1. An INVITE without a final becomes a stub
 * for as long: with a 1xx behind it, it is cancelled now, else on its first
 * 1xx, and from then on has another 64*T1. What still waits for its connection
 * is taken back, and over (`sends` is 0). `reason` is a header line for the
 * CANCEL ("Reason: ...\r\n") or empty; borrowed. */
void client_abandon(struct client *c, struct str reason, struct now now);
/* The same without letting go: CANCEL it (now or on the first 1xx) and go on
 * telling the owner. At most 64*T1 later on_failure(CAUSE_SILENT). */
void client_cancel(struct client *c, struct str reason, struct now now);
/* The user's context ends: owner = NULL. One without a final is abandoned. */
void client_disown(struct client *c, struct now now);

#endif
