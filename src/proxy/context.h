/*
 * Private to the proxy layer: the response context and its attempts (RFC 3261
 * 16.2, 16.7 step 1), and the
 * functions its files share.
 */
#ifndef PROXY_CONTEXT_H
#define PROXY_CONTEXT_H

#include "proxy/calls.h"
#include "proxy/cookie.h"
#include "proxy/overload.h"
#include "proxy/places.h"
#include "proxy/proxy.h"
#include "proxy/route.h"
#include "proxy/shun.h"
#include "proxy/steps.h"
#include "proxy/way.h"
#include "transport/via.h"
#include "util/err.h"
#include "util/rand.h"
#include "util/tokens.h"

/* What client.owner points to. */
enum owner_kind { OWNER_ATTEMPT, OWNER_OWN, OWNER_CANCEL };

struct owner {
	enum owner_kind kind;
};

enum limit { LIMIT_TIMEOUT, LIMIT_PROGRESS, LIMIT_RING };

/* One branch: one client transaction towards one target. */
struct attempt {
	struct owner owner;
	struct list link; /* request.attempts */
	struct request *req;
	struct client *client;    /* NULL: given up, or ended */
	struct target target;     /* `hop`: this attempt's address */
	struct locate *locate;    /* where that is is being looked up */
	struct way *way;          /* shared by those of one target; or NULL */
	char branch[BRANCH_LEN];  /* finds the attempt of a stub; begins with
				   * 0: nothing has left */
	uint32_t number;          /* from 1 */
	uint32_t group;           /* which try or fork it belongs to */
	uint32_t breadth;         /* Max-Breadth it leaves with; 0: no header */
	bool open;                /* no final, not given up */
	bool for_size;            /* by TCP for no other reason */
	bool counted;             /* among the facts of its member */
	bool got_1xx, ringing;    /* any 1xx; a 101-199 */
	bool noted;               /* its end is in the trace */
	struct response *res;     /* final, real or local */
	enum outcome_kind failed; /* TIMEOUT or TRANSPORT */
	enum cause cause;
	tick_t started;
	int64_t took; /* until the end, microseconds */
	struct try_opts opts;
	enum limit limit_kind;
	struct timer limit;   /* of the policy (try_opts) */
	struct timer timer_c; /* RFC 3261 16.6 step 11 */
};

struct request {
	struct list link;  /* proxy.requests */
	struct list ready; /* proxy.ready */
	struct proxy *proxy;
	struct arena *arena; /* owned; this struct is in it */
	struct msg msg;
	struct msg_key key;
	struct hop from;
	struct str via; /* top Via with received and rport */
	struct upstream_id up;
	/* What is made for it is signed with one key, whatever happens to those
	 * of the node meanwhile: it answers with one To tag. */
	struct sipkey sign;
	enum request_kind kind;
	const struct member *source;
	struct route route;    /* what 16.4 found */
	struct server *server; /* owned in the sense of txn.h */
	struct edits edits;
	struct list attempts;
	uint32_t n_attempts, n_open, group;
	uint32_t n_tries; /* targets; each may have several addresses */
	struct try_opts opts;
	struct outcome outcome;
	struct response *answer; /* the 2xx that decided it, or NULL */
	bool try_open;           /* a try or fork has not ended */
	bool outcome_ready;      /* to be delivered */
	bool fresh;              /* not yet given to the policy */
	bool follow;             /* request_follow_route drives it */
	bool verb, done;         /* a verb was used; the policy has ended */
	bool decided, cancelled;
	bool went_on;   /* to another server of a pool */
	bool told_sips; /* that it asks for TLS where there is none */
	bool final_sent, dropped;
	bool ceded;    /* another node refuses it, not we (response_cede) */
	bool spoke;    /* a response but 100 was sent up */
	int code;      /* of the last final sent, 0: none */
	int said;      /* the last code that was noted (note.c) */
	int64_t took;  /* until the first, microseconds */
	int owed;      /* a final of our own for which memory ran out */
	bool held;     /* until its transaction ends: repeated 2xx need it */
	uint64_t loop; /* RFC 5393 hash */
	tick_t received;
	struct timer trying;     /* when to say 100 */
	struct timer cancel_end; /* 487 at the latest */
	struct timer owe;        /* when to try to send `owed` again */
	/* That decides it: the one it was given to. NULL: none was needed, or
	 * that one is gone. */
	const struct policy *policy;
	void *user;
	/* for the log and who asks why (note.c) */
	wall_t wall; /* when it was received */
	struct steps steps;
	bool trouble, script_failed;
	bool logged; /* its line is written */
	char at[96]; /* the line of the script that decided it; or "" */
};

/* A refusal that the other nodes were given: a hash table, where one is at most
 * so many places from its own. */
enum { HANDED = 1024, HANDED_PROBES = 8 };
struct handed {
	uint64_t mac; /* of its branch */
	tick_t at;
};

enum { TRIED_CONNS = 256 };

struct proxy {
	struct proxy_conf c;
	struct calls calls;
	struct place_table places; /* of the members, as told (places.h) */
	struct shun_list shunned;
	const struct policy *policy; /* for what comes; NULL: 503 */
	struct list requests;
	struct list ready;
	struct map answers; /* 2xx of ours that wait for an ACK */
	struct map moved;   /* who answered an INVITE (shared.c) */
	struct why why;     /* traces of those that have ended */
	struct list owns;   /* struct own */
	struct list undelivered;
	size_t n_undelivered;
	uint64_t tried_conn[TRIED_CONNS]; /* last ones they were sent on */
	unsigned n_tried_conns;
	struct list parked; /* ACKs whose next hop is being looked up */
	size_t n_parked;
	size_t n_requests;
	uint64_t n_begun;
	bool drains; /* as was seen last, and since when */
	tick_t drains_since;
	tick_t settled; /* when a request outside of a dialog was last answered,
			 * of those that are gone */
	struct overload overload;
	struct tokens replies; /* errors without state (stateless.c) */
	struct list cancels;   /* of others, on their way (orphan_cancel.c) */
	struct tokens cancelling;
	tick_t node_back[NODES_MAX];  /* not waited for until then */
	struct handed handed[HANDED]; /* by hash (nodes.c) */
};

/* proxy.c */
struct request *request_of(struct server *s);
bool has_second_via(const struct msg *m, const struct msg_key *key);

/* settle.c */
void request_wake(struct request *r);      /* put it on the ready list */
void request_check_end(struct request *r); /* frees it at the next settle */
/* Before its memory goes: timers of others may be neighbours of its own. */
void request_let_go(struct request *r);

/* request.c */
/* The first request of a dialog or a request outside of one. */
bool request_is_initial(const struct request *r);
/* At its end. */
void request_log(struct request *r, struct now now);

/* overload.c */
void overload_init(struct proxy *p);
void overload_fini(struct proxy *p);
/* False: whatever it is, it would be taken. */
bool overload_may_refuse(const struct proxy *p, bool in_dialog);
/* Why an offer is refused: what is to count it. COUNTER_N: it is taken. */
enum counter overload_why(const struct proxy *p, const struct offer *o);
/* Counts it and remembers it. False: it gets no answer, either; its repetition
 * does. */
bool overload_refuse(struct proxy *p, const struct offer *o, enum counter why,
		     const struct hop *from, struct now now);
/* It was refused lately, in this episode. */
bool overload_refused(const struct proxy *p, uint64_t id);
/* The line that tells when to come back, in scratch, or empty. */
struct str overload_retry_after(const struct proxy *p, uint64_t id);

/* shed.c */
/* A request that was read and belongs to no transaction: true when it was
 * refused, or left without an answer, because there is too much to do. */
bool shed_request(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from,
		  struct now now);
/* The ACK of such a refusal (17.1.1.3: it has the branch of its INVITE).
 * Cheaper than to look for its transaction, of which there is none. */
bool shed_ack(const struct proxy *p, const struct msg *m,
	      const struct msg_key *key);
/* The same, when it is not known any more that there was such a refusal. */
bool shed_is_tag(const struct proxy *p, const struct msg *m,
		 const struct msg_key *key);

/* note.c: the decision trace (steps.h). None of it can fail. */
/* It has been entered. */
void note_received(struct request *r);
void note_attempt(struct attempt *a, struct now now); /* it has left, or not */
void note_provisional(struct attempt *a, int code, struct now now);
void note_answer(struct attempt *a, const struct response *res, struct now now);
void note_end(struct attempt *a, struct now now); /* whichever it was */
void note_cancelling(struct attempt *a, struct now now);
void note_step(struct request *r, enum step what, struct now now);
void note_reply(struct request *r, int code, struct now now);
/* Another 2xx, or one of a branch that was given up, went up. */
void note_late(struct request *r, const struct member *m, struct now now);
/* It ends: its trace is kept. */
void note_done(struct request *r, struct now now);
/* The same of requests that have no context: refused by the core; or a 2xx came
 * after all that was forwarded or `ended`. */
void note_refused(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from, int code,
		  struct str reason, struct now now);
/* A final response to what another node has sent was passed on. */
void note_takeover(struct proxy *p, struct str call_id, int code,
		   const struct member *m, struct now now);
void note_late_alone(struct proxy *p, const struct client *c,
		     const struct msg *m, bool ended, struct now now);

/* follow.c */
/* The outcome of a request that just follows its route (16.5). */
void follow_outcome(struct request *r, struct now now);
/* The server at the address that its route leads to, or NULL. */
struct member *follow_member(struct request *r, const struct addr *a);

/* validate.c: RFC 3261 16.3. A response code (with reason and extra header
 * lines), or 0 when the request may go on. */
int validate_request(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, struct str *reason_r,
		     struct str *headers_r);
/* 16.3 step 4: a Via of ours below with the same loop hash, made with any of
 * our keys. It was here before, unchanged. */
bool validate_is_loop(const struct proxy *p, const struct msg *m,
		      const struct msg_key *key, const struct hop *from);
/* The RFC 5393 loop hash of a request as received, under that key of ours. */
uint64_t loop_hash(const struct proxy *p, struct sipkey secret,
		   const struct msg *m, const struct msg_key *key,
		   const struct hop *from);

/* stateless.c */
void stateless_reply(struct proxy *p, const struct msg *m,
		     const struct msg_key *key, const struct hop *from,
		     int code, struct str reason, struct str headers,
		     struct now now);
/* A 503 as one of these, without their limit and without a trace: what is
 * refused in an overload is too much for both. */
void stateless_shed(struct proxy *p, const struct msg *m,
		    const struct msg_key *key, const struct hop *from,
		    struct str tag, struct str headers);
/* Counts it and hands it out. */
void stateless_send(struct proxy *p, const struct hop *to, enum method method,
		    int code, struct str bytes);
/* The sizes of a request and of its answer, in bytes: so long an answer would
 * serve to flood somebody. */
bool stateless_amplifies(size_t request, const struct hop *from, size_t reply);
/* Writes an answer of our own to what may not come from whom it says. False: it
 * would be more than one and a half times as long (RFC 3261 26.1.5), or there
 * is no memory; that is counted. */
bool stateless_write(struct proxy *p, const struct msg *m,
		     const struct hop *from, struct reply *reply,
		     struct buf *b);
void options_reply(struct proxy *p, const struct msg *m,
		   const struct msg_key *key, const struct hop *from,
		   struct now now);

/* ack.c */
void stateless_ack(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, struct now now);
void parked_fini(struct proxy *p);

/* drain.c */
bool drain_is_on(const struct proxy *p);
/* Is this a request that is not taken now? */
bool drain_refuses(struct proxy *p, const struct msg *m,
		   const struct msg_key *key, struct now now);
/* Answers 503 with Retry-After (21.5.4). */
void drain_refuse(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from,
		  struct now now);
/* The context goes: remembers when it was answered. */
void drain_note_end(struct request *r);

/* forward.c: RFC 3261 16.6 */
/* Chooses listener and local address for hop->addr; false: no way. */
bool forward_choose_source(struct proxy *p, const struct hop *from,
			   struct hop *hop);
/* By the listener `door` if that can reach it, else as above. */
bool forward_go_on(struct proxy *p, const struct hop *from, int door,
		   struct hop *hop);
/* Takes this listener, if it can reach hop->addr; false: it cannot. */
bool forward_use_listener(struct proxy *p, unsigned listener, struct hop *hop);
/* Is the address there from which that was, or would be, reached? It may have
 * gone to another machine. */
bool forward_has_source(const struct proxy *p, const struct hop *hop);
/* Writes the message with its edits as it goes to this hop: on a stream it has
 * a Content-Length (18.3), also when it came in a datagram without. 0 or ERR_*.
 */
int forward_put(struct proxy *p, const struct edits *e, const struct hop *to,
		struct buf *out);
/* Writes the request for an attempt; 0 or ERR_*. Fills att->branch. */
int forward_write(struct request *r, struct attempt *att, struct str *out_r);
/* The Request-URI it leaves with is a sips one. */
bool forward_is_sips(const struct request *r, const struct attempt *att);
/* 16.6 step 6, for a next hop without lr: `next` becomes the Request-URI, and
 * `uri` the last Route. 0 or ERR_*. */
int forward_strictly(struct edits *e, struct str uri, struct str next);

/* path.c: Record-Route and Path */
struct token;
/* 16.6 step 4, or RFC 3327 5.2 for a REGISTER. 0 or ERR_*. */
int path_add(struct request *r, const struct attempt *att, struct edits *e);
/* The flow that a token in this URI of ours names, ready to send on. 0,
 * ERR_NOTFOUND when we do not listen there any more, ERR_STATE when it leads
 * to ourselves. */
int path_flow(struct proxy *p, const struct token *t, const struct uri *uri,
	      struct hop *out_r);

/* Its share of the request's Max-Breadth (RFC 5393 5.3.3) as the i-th of n
 * parallel branches; 0 when there is none left for it. */
uint32_t forward_breadth(const struct request *r, size_t i, size_t n);

/* The URI with another host[:port]; STR_NONE when memory ran out. */
struct str forward_with_host(struct arena *a, struct str uri_text,
			     struct str host);

/* shared.c: dialogs that servers share (semantics 16) */
/* The server that a request with this route goes to, if it shares dialogs and
 * the request belongs to one of its own; else NULL. */
const struct member *shared_server(struct proxy *p, const struct route *route);
/* Makes the changes of a sibling's target; `uri` is the Request-URI so far. */
int shared_edit(struct edits *e, struct str uri, const struct target *t);
/* A 2xx of `m` to an INVITE goes up: the ACK has to go there. `key` is that of
 * the 2xx. */
void shared_on_2xx(struct proxy *p, const struct member *m, bool by_sibling,
		   const struct msg_key *key, struct now now);
/* Where the ACK for a 2xx goes instead: to the sibling that gave it, or to who
 * stands in for the server when that has gone since. 0, ERR_NOTFOUND: nowhere
 * else, ERR_NOMEM. */
int shared_move_ack(struct proxy *p, const struct msg_key *key,
		    const struct route *route, const struct edits *e,
		    struct target *out_r);
void shared_fini(struct proxy *p);

/* launch.c */
/* One of `n` branches at a time, the i-th. */
void launch(struct request *r, const struct target *t, size_t i, size_t n,
	    struct now now);
/* The attempt has failed, and is closed: its target is tried at another
 * address, if there is one. True: at one of the same server. */
bool launch_again(struct attempt *before, struct now now);
/* The address it was at, as it is one of its server's: UDP where TCP was chosen
 * for the size, and what happened says something of both. */
struct hop launch_place(const struct attempt *a);
/* What its end, or a response, says of the address. */
void launch_note(struct attempt *a, struct now now);
void launch_heard(struct attempt *a);

/* attempt.c */
void attempt_arm(struct attempt *a, enum limit kind, int64_t us,
		 struct now now);
void attempt_on_limit(struct timer *t, struct now now);
void attempt_on_timer_c(struct timer *t, struct now now);
void attempt_on_response(struct attempt *a, struct client *c, struct msg *m,
			 const struct msg_key *key, struct now now);
void attempt_on_failure(struct attempt *a, const struct client *c,
			enum cause cause, struct now now);
/* It is no longer open; nobody is told. */
void attempt_close(struct attempt *a, struct now now);
/* Ends it; the client transaction is given up when `give_up`. */
void attempt_end(struct attempt *a, bool give_up, struct str reason,
		 struct now now);
/* The server where a 2xx to it is a call that we can follow, or NULL. */
struct member *attempt_call_member(const struct attempt *a);
/* No longer open: what it counted at its server is given back. */
void attempt_uncount(struct attempt *a);
/* CANCELs it and waits for its final, without limits of the policy. */
void attempt_cancel(struct attempt *a, struct str reason, struct now now);
void attempts_cancel_others(struct request *r, struct attempt *winner,
			    struct now now);
struct attempt *attempt_by_branch(struct request *r, const char *branch);
void outcome_set(struct request *r);
void group_check(struct request *r, struct now now);

/* A 2xx came but could not be kept: waits for its repetition. */
void attempt_await_repeat(struct attempt *a, struct now now);

/* response.c: RFC 3261 16.7 */
/* Shows a 101-199 or a 2xx to the policy (try_opts.watch). */
void response_watch(struct request *r, struct attempt *a, struct response *res,
		    struct now now);
struct response *response_keep(struct request *r, struct attempt *a,
			       struct msg *m);
struct response *response_local(struct request *r, struct attempt *a, int code,
				struct str reason);
/* Sends it up as it is (top Via removed, edits applied); 0 or ERR_*, and then
 * nothing was sent. A final that may not be sent any more (RFC 4320, or the
 * address is another machine's now) counts as sent and makes the request
 * dropped. */
int response_send(struct request *r, struct msg *m, struct edits *e, int code,
		  struct now now);
/* Nothing is sent any more: its caller has given up, or asks another. */
void response_withhold(struct request *r, enum counter why, struct now now);
/* Something has happened that ends it: if the address that its caller knows is
 * elsewhere, then by who has it, also when it comes back to us. */
void response_cede(struct request *r);
/* Sends a final of our own; without memory it is tried again until it goes. */
void response_owe(struct request *r, int code, struct now now);
void response_on_2xx(struct request *r, struct attempt *a, struct client *c,
		     struct msg *m, const struct msg_key *key, struct now now);
struct response *response_best(struct request *r);

/* answered.c: calls the script answers itself (RFC 3261 13.3.1.4) */
/* Repeats a 2xx of ours to an INVITE until its ACK comes. */
void answered_keep(struct request *r, struct str bytes, const char tag[TAG_LEN],
		   struct now now);
/* True when the ACK was for one of them. */
bool answered_on_ack(struct proxy *p, const struct msg_key *key);
void answered_fini(struct proxy *p);

/* trying.c: semantics 11 */
void trying_init(struct request *r, struct now now);
void trying_on_attempt(struct request *r, struct now now);
void trying_on_response(struct request *r, struct now now);
void trying_stop(struct request *r);

/* cancel.c */
void cancel_on_request(struct proxy *p, struct msg *m,
		       const struct msg_key *key, const struct hop *from,
		       struct now now);
void cancel_check(struct request *r, struct now now);
/* The Reason lines of a CANCEL (RFC 3326), in scratch; or STR_NONE. */
struct str cancel_reason(struct proxy *p, const struct msg *m);
void cancel_stop(struct request *r);

/* orphan.c: semantics 19 and 20 */
/* A response that no transaction here waits for. */
/* A 2xx of a client that was given up together with its request, without an
 * answer, belongs to the request that the caller's repetition has become.
 * False: there is none. */
bool orphan_overtake(struct proxy *p, const struct client *c, struct msg *m,
		     struct now now);
void orphan_response(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, struct now now);
/* An attempt that another node has made for this request, so that its answer is
 * one of a branch; NULL when memory ran out. */
struct attempt *attempt_adopt(struct request *r, struct str branch,
			      const struct hop *to, struct member *m,
			      struct now now);

/* nodes.c: the other nodes of the cluster (settings.node) */
/* It was handed over by one of them: from its own address to ours. What a node
 * answers whom it serves goes where the request came from, which is the virtual
 * address. */
bool nodes_sent(const struct proxy *p, const struct hop *from);
/* Gives each the message, as it came. False: there is none, or no way, or each
 * has refused one lately (nodes_on_error): nobody is to be waited for. */
bool nodes_hand_over(struct proxy *p, const struct msg *m, struct now now);
/* The network says that nobody is there. */
void nodes_on_error(struct proxy *p, const struct hop *to, struct now now);
/* The response is for us, and repeats one more often than we have repeated the
 * request: another node may have asked the same, and hear nothing. */
void nodes_share(struct proxy *p, const struct client *c, const struct msg *m,
		 const struct hop *from, struct now now);
/* A refusal of what we have asked, which another node has handed to us; but the
 * address that we asked from is not here any more: we can neither acknowledge
 * it nor pass it on, and who has the address will. */
bool nodes_asks_in_vain(const struct proxy *p, const struct client *c,
			const struct msg *m, const struct hop *from);
/* True when that refusal was handed over lately, or when that cannot be
 * remembered; else it was from now on. */
bool nodes_had(struct proxy *p, uint64_t mac, struct now now);

/* orphan_cancel.c: semantics 20 */
/* A CANCEL that no transaction here is for: it goes where its INVITE may have
 * gone. False: nowhere, and it was not answered. */
bool orphan_cancel(struct proxy *p, struct msg *m, const struct msg_key *key,
		   const struct hop *from, struct now now);
void orphan_cancel_on_response(struct owner *o, struct client *c,
			       const struct msg *m, struct now now);
void orphan_cancel_on_failure(struct owner *o, struct client *c,
			      struct now now);
void orphan_cancels_fini(struct proxy *p);

/* undelivered.c */
/* A response of ours that was not written to its connection. */
void undelivered_response(struct proxy *p, const struct flow_event *e,
			  struct now now);
void undelivered_fini(struct proxy *p);

/* late.c: answers nobody waits for any more */
void late_on_response(struct proxy *p, struct client *c, struct msg *m,
		      const struct msg_key *key, struct now now);

/* dialog.c: requests inside a dialog that we end ourselves */
struct dialog {
	struct str local;  /* our From (name-addr with tag) */
	struct str remote; /* their To with tag */
	struct str target; /* remote target URI */
	struct str route;  /* Route header value, may be empty */
	struct str call_id, from_tag;
	uint32_t cseq;  /* of the INVITE */
	struct hop hop; /* where the next request goes */
};
/* From a 2xx to an INVITE that we sent (`forwarded`: for somebody else). The
 * slices point into the message and the scratch arena. */
bool dialog_from_2xx(struct proxy *p, struct msg *m, const struct hop *fallback,
		     bool forwarded, struct dialog *out_r, struct now now);
void dialog_send_ack(struct proxy *p, const struct dialog *d, struct now now);
/* False when that BYE is under way already. */
bool dialog_send_bye(struct proxy *p, const struct dialog *d, struct now now);

/* own.c */
void own_on_response(struct owner *o, struct msg *m, struct now now);
void own_on_failure(struct owner *o, enum cause cause, struct now now);
void own_on_client_end(struct owner *o, const struct client *c);

#endif
