/*
 * The proxy core (RFC 3261 section 16) of one worker: it validates, follows
 * route sets, keeps response contexts, forwards, cancels, picks best responses.
 * It decides nothing a policy could decide: the policy (Lua in production, a C
 * table in unit tests) is told of requests and outcomes and calls the verbs.
 *
 * A `struct request` is a response context (16.7). It lives from the request's
 * arrival until the policy has let go (request_done) and nothing is open, all
 * of it in one arena. No policy function is called from inside a verb.
 */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "message/edit.h"
#include "message/reply.h"
#include "proxy/members.h"
#include "proxy/settings.h"
#include "proxy/why.h"
#include "transport/locate.h"

struct calls;
struct proxy;
struct request;
struct steps;

enum {
	PROXY_MAX_FORK = 8,
	/* Targets of one request, in parallel or one after the other: a script
	 * that tries until somebody answers must come to an end. */
	PROXY_MAX_ATTEMPTS = 64
};

enum request_kind {
	REQUEST_INITIAL,     /* sip.route */
	REQUEST_IN_DIALOG,   /* sip.route("*in_dialog") */
	REQUEST_FROM_SERVER, /* sip.route("*from_server") */
	/* In a dialog, towards a server of a pool with shared dialogs; only
	 * when nobody wants it as REQUEST_IN_DIALOG. */
	REQUEST_SHARED_DIALOG
};

struct response {
	struct msg msg;     /* indexed; made by us too (local) */
	struct edits edits; /* applied when it goes up */
	int code;
	bool local; /* made here: ring_timeout's 408 */
	bool sent_up;
	const struct member *member; /* who answered; NULL: a plain URI */
	struct addr addr;            /* where the request had been sent */
	uint32_t attempt;            /* number of the attempt, from 1 */
};

enum outcome_kind {
	OUTCOME_NONE, /* still open */
	OUTCOME_RESPONSE,
	OUTCOME_TIMEOUT, /* of the try, or timer B or F */
	OUTCOME_TRANSPORT,
	OUTCOME_CANCELLED
};

struct outcome {
	enum outcome_kind kind;
	struct response
	    *res;         /* OUTCOME_RESPONSE; lives as long as the request */
	enum cause cause; /* TIMEOUT, TRANSPORT */
	struct addr addr; /* of the last attempt */
	uint8_t transport;
	const struct member *member;
	bool provisional; /* a 1xx had come */
	bool moved; /* the try goes on, at another address of this target */
};

/* Where one branch goes. Slices are copied. */
struct target {
	/* Its address; listener is chosen by the core. Without one: where
	 * `member` is, or else what `next` leads to. */
	struct hop hop;
	struct str next;  /* URI of the next hop, or STR_NONE */
	bool flow;        /* ... but not here: it goes out as `hop` says */
	bool by_route;    /* along the route set (request_by_route) */
	bool for_sibling; /* of the server it belongs to (request_sibling) */
	struct str uri;   /* replaces the Request-URI; STR_NONE keeps it */
	struct str host;  /* replaces host[:port] of it only; or STR_NONE */
	struct str route; /* Route values to put on top, or STR_NONE */
	struct str top_route;  /* replaces the first Route; or STR_NONE */
	struct member *member; /* NULL: a plain URI */
	load_units units;      /* what a call takes of its resources */
};

/* Microseconds; 0 means "no such limit". Timer B, F and C apply always. */
struct try_opts {
	int64_t timeout;  /* to any response (100 counts) */
	int64_t progress; /* from the first 100 to a 101-199 or a final */
	int64_t ring;     /* from the first 101-199 to a final: then a local
			   * 408 */
	int retransmits;  /* give up when this many were not answered and
			   * the next is due; -1: no limit. Works on reliable
			   * transports too, as the same time */
	bool watch;       /* call policy.on_response */
	uint64_t seed;    /* orders equal addresses; 0: of the Call-ID */
};

struct policy {
	void *ctx;
	/* Does the script take requests of this kind and method? */
	bool (*wants)(void *ctx, enum request_kind kind, struct str method);
	/* Writes the methods of an Allow header ("INVITE, ACK, ..."). */
	void (*allow)(void *ctx, struct buf *out);
	/* A request to decide. The policy may call verbs at once or later. */
	void (*on_request)(void *ctx, struct request *r, enum request_kind kind,
			   struct now now);
	/* request_outcome() has something; not called from inside a verb. */
	void (*on_outcome)(void *ctx, struct request *r, struct now now);
	/* A 101-199 or 2xx is about to pass (try_opts.watch): may change
	 * res->edits, nothing else. */
	void (*on_response)(void *ctx, struct request *r, struct response *res,
			    struct now now);
	/* An attempt has ended in an answer or a local failure (passive
	 * health): for every branch, also abandoned ones. It is about one
	 * address (o->addr); with `moved` the server has others, and the last
	 * word on it is yet to come. What is told is about the server, so the
	 * newest policy hears it, whoever began it. */
	void (*on_attempt)(void *ctx, struct request *r,
			   const struct outcome *o, int64_t took_us,
			   struct now now);
	/* The context is being freed: forget it. */
	void (*on_free)(void *ctx, struct request *r);
};

struct proxy_conf {
	struct mem *mem;
	struct arena_cache *arenas;
	struct arena *scratch; /* borrowed; reset per input by the core */
	struct timers *timers;
	struct txns *txns;
	const struct host *host;
	const struct listeners *listeners;
	const struct settings *settings;
	struct members *members;
	struct counters *counters;
	struct resolver *resolver;  /* borrowed; NULL: names cannot be found */
	const struct sipkeys *keys; /* of the node */
	/* Of what it finds again by hashes: no rotation changes it. */
	struct sipkey table_key;
	struct rand *rand;
	/* A Call-ID of our own must belong to this worker (branch_h8), or its
	 * answers would be handed to another. */
	unsigned worker, workers;
	/* Bytes that the machine, or what we may use of it, has; 0, or NULL:
	 * unknown. */
	const size_t *memory;
	/* Set: what would begin something is refused (503). Others may set it
	 * at any time. NULL: never. */
	const atomic_bool *draining;
	/* A request has ended: its lines before they are logged, whose level
	 * may be changed. May be NULL. */
	void (*on_end)(void *ctx, struct request *r, struct log_event *e);
	void *on_end_ctx;
	/* Not 0: somebody may want to see all of a request (request.why). NULL:
	 * nobody does. */
	const atomic_uint *watched;
};

struct proxy *proxy_new(const struct proxy_conf *conf);
/* The process ends: what is open is cancelled, and its callers are told. */
void proxy_stop(struct proxy *p, struct now now);
void proxy_free(struct proxy **p); /* no callbacks */
/* Who decides what comes from now on; NULL: requests get 503. Requests that
 * another policy has begun stay with it. Borrowed until proxy_drop_policy. */
void proxy_set_policy(struct proxy *p, const struct policy *policy);
/* That policy is going: what it has not decided will be answered 500. */
void proxy_drop_policy(struct proxy *p, const struct policy *policy);
/* A valid request or one with `bad` found by msg_index/msg_key. The message is
 * in the core's scratch arena. */
void proxy_on_request(struct proxy *p, struct msg *m, const struct msg_key *key,
		      enum msg_bad bad, const struct hop *from, struct now now);
/* By what is wrong with a message. */
void proxy_count_bad(struct counters *c, enum msg_bad bad);
/* Answers a request with an error of our own and keeps no state of it. */
void proxy_refuse(struct proxy *p, struct msg *m, const struct msg_key *key,
		  const struct hop *from, int code, struct str reason,
		  struct now now);
void proxy_on_response(struct proxy *p, struct msg *m,
		       const struct msg_key *key, const struct hop *from,
		       struct now now);
void proxy_on_flow_event(struct proxy *p, const struct flow_event *e,
			 struct now now);
struct delay; /* overload.h */
/* The message that comes next had waited so long in a queue. */
void proxy_on_delay(struct proxy *p, unsigned queue, const struct delay *d,
		    struct now now);
/* A message that was not read, of this worker: true when it was a request, or
 * its ACK, of which no more has to be known to refuse it (overload.h). */
bool proxy_sheds(struct proxy *p, struct str bytes, const struct hop *from,
		 struct now now);
/* We are late, whatever it is for: a message waited, or a timer. */
void proxy_on_lag(struct proxy *p, int64_t lag, struct now now);
/* Were we late by so much, since then? Rounded up to a power of two of
 * milliseconds. */
bool proxy_lagged(const struct proxy *p, tick_t since, int64_t lag);
/* It has refused something because of that, lately. */
bool proxy_is_overloaded(const struct proxy *p);
/* Delivers outcomes, frees what has ended; true when something was done. */
bool proxy_settle(struct proxy *p, struct now now);
size_t proxy_requests(const struct proxy *p); /* contexts alive */
/* That a policy was to decide, ever. */
uint64_t proxy_begun(const struct proxy *p);
/* Whoever draws the plug now interrupts nobody: no request outside of a dialog
 * is unanswered, and those that were had the time for an ACK. It does not wait
 * for requests inside of dialogs longer than twice that time. Nor does anybody
 * come any more who has not heard that it drains. */
bool proxy_is_quiet(struct proxy *p, struct now now);
struct calls *proxy_calls(struct proxy *p); /* that are up */
/* Bytes of the heap that only grew to be used again. */
size_t proxy_spare_bytes(const struct proxy *p);
/* Why it went like that: as why_find, with the requests that are open. */
size_t proxy_why(struct proxy *p, struct str call_id, bool failed,
		 struct why_record *out, size_t max, struct now now);
/* Those that are open, oldest first, until `fn` says false; then false. */
bool proxy_each_request(struct proxy *p,
			bool (*fn)(void *ctx, struct request *r), void *ctx);

/* ---- facts about a request ---- */
struct msg *request_msg(struct request *r);
const struct msg_key *request_key(const struct request *r);
const struct hop *request_from(const struct request *r);
/* The pool member that sent it, or NULL (semantics 13). */
const struct member *request_source(const struct request *r);
struct edits *request_edits(struct request *r);
/* Microseconds since it was received. */
int64_t request_age(const struct request *r, struct now now);
tick_t request_received(const struct request *r);
bool request_decided(const struct request *r); /* semantics 1 */
const struct outcome *request_outcome(const struct request *r);
void *request_user(const struct request *r); /* the policy's pointer */
void request_set_user(struct request *r, void *user);
enum request_kind request_kind(const struct request *r);
/* The request may be sent to this URI (semantics 17): members, trusted
 * sources, served domains. */
bool request_may_reach(const struct request *r, struct str uri);
/* One line per request for the log: attempts so far. */
void request_write_tried(const struct request *r, struct buf *out);
/* "deciding", "trying", "ringing", "cancelled"; "answered": it only waits for
 * repetitions, or for the policy to end. */
const char *request_state(const struct request *r);

/* ---- what the policy says of its reasons (steps.h) ---- */
/* Where it may add a STEP_NOTE; NULL: nothing is noted. */
struct steps *request_steps(struct request *r);
/* The verb that decides it, and the line of the script ("route.lua:14") or "".
 * Of several the last counts. */
void request_by(struct request *r, struct str verb, struct str where,
		struct now now);
/* The policy has failed: the message. */
void request_failed(struct request *r, struct str message, struct now now);

/* ---- verbs; 0 or ERR_* ----
 * ERR_STATE: a verb was used already (or, for try, one is open, or the script
 * has ended). When the request is *decided* every verb is a counted no-op that
 * returns 0. */

/* A final or provisional response of our own. A provisional is no verb. */
int request_reply(struct request *r, const struct reply *reply, struct now now);
/* Ends it without an answer and keeps no state of it: a retransmission is asked
 * about again. `why` goes to the log. */
int request_drop(struct request *r, struct str why, struct now now);
/* Starts one branch (n = 1) or up to PROXY_MAX_FORK; ERR_LIMIT beyond that, and
 * beyond PROXY_MAX_ATTEMPTS in all. The outcome comes through on_outcome, also
 * when all fails at once or the request is decided. */
int request_try(struct request *r, const struct target *t, size_t n,
		const struct try_opts *opts, struct now now);
/* Sends a final response up (16.7 steps 6-10). A 503 becomes a 500 unless
 * keep_503. For a 2xx, which went up already, only records the decision. */
int request_forward(struct request *r, struct response *res, bool keep_503,
		    struct now now);
/* The policy has ended: it will call no more verbs. The context ends when
 * nothing is open. With no verb used and not decided (a reply may have failed
 * for lack of memory) the caller is sent 500: nobody is left waiting. */
void request_done(struct request *r, struct now now);
/* The better of two final responses (16.7 step 6); either may be NULL. A local
 * response never beats a real one. */
struct response *response_better(struct response *a, struct response *b);
/* Was a verb used, or is it decided? */
bool request_answered(const struct request *r);

/* Where its Route and Request-URI say (semantics 15), or the flow of a phone's
 * token. 0, ERR_SYNTAX: that is no URI to send to, or ERR_STATE: it is this
 * proxy. */
int request_by_route(struct request *r, struct target *out_r);
/* 16.6 steps 6 and 7: where a target with `uri` and the Path values in `route`
 * goes first. Values of ours are taken off, and a token among them is the flow
 * to a phone. 0, ERR_SYNTAX, or ERR_NOTFOUND: that flow is gone. */
int request_path(struct request *r, struct target *t);
/* Semantics 16: the server whose dialogs others share, when the request belongs
 * to one of its dialogs and goes towards it; else NULL. */
const struct member *request_dialog_server(struct request *r);
/* That request for another server: what names the first one in its Request-URI
 * and its first Route names `to`. 0, ERR_STATE when there is no such server, or
 * ERR_NOMEM. The target lives until the end of this input. */
int request_sibling(struct request *r, struct member *to, struct target *out_r);
/* The network has just said that the flow it was for has ended, not that we
 * cannot send: that is what 430 is for. Counts it. */
bool request_lost_flow(struct request *r);
/* An attempt at another server of the pool of `m` has failed before. True once
 * for each request. */
bool request_goes_on(struct request *r, const struct member *m);
/* The dialog is not confirmed: its INVITE is still open here. A node that took
 * over does not know, and says no. */
bool request_is_early(const struct request *r);
bool request_is_to_us(const struct request *r); /* we are its last hop */
/* The default for requests that need no decision (in-dialog, or from a
 * server): one attempt where Route and R-URI say, its response forwarded. */
void request_follow_route(struct request *r, struct now now);

/* ---- requests of our own (checks, sip.request) ---- */
struct own; /* owned by its creator until own_free */

struct own_conf {
	struct str method;
	struct hop hop; /* where to; without an address where `uri` leads */
	struct str uri;
	struct str from, to; /* name-addr without tag; STR_NONE: made up */
	struct str headers;  /* lines with CRLF, checked */
	struct str body;
	/* What a repetition with credentials has in common with the request
	 * before it (RFC 3261 8.1.3.5); STR_NONE and 0: made up. A Call-ID has
	 * to be one that was made up by this worker. */
	struct str call_id, from_tag;
	uint32_t cseq;
	/* Listens there: to send from while the address that traffic leaves
	 * from is not ours (semantics 21). Family 0: any that is. */
	struct addr source;
	int64_t timeout; /* microseconds to a final; 0: 64*T1 */
	/* of an earlier own INVITE with a dialog, for BYE and the like; or
	 * NULL */
	struct own *dialog;
	void *ctx;
	/* Exactly once, never from inside own_new. res is NULL on failure and
	 * borrowed: it lives until own_free. The core has ACKed a 2xx. */
	void (*on_end)(void *ctx, struct own *o, const struct response *res,
		       enum cause cause, struct now now);
};
/* NULL when memory ran out or there is no way to send. A timeout sends CANCEL
 * for an INVITE; a 2xx that comes later is ACKed and ended with BYE. */
struct own *own_new(struct proxy *p, const struct own_conf *conf,
		    struct now now);
/* An INVITE with a 2xx that says where to send what follows. */
bool own_has_dialog(const struct own *o);
/* The address it was sent to, or tried last. */
const struct hop *own_hop(const struct own *o);
/* Frees it; an open transaction is given up (no on_end any more). A call that
 * it made and nobody ended gets its BYE: no ghost stays on the server. */
void own_free(struct own **o, struct now now);

#endif
