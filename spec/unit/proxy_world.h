/*
 * A node of the proxy in a world of its own, without Lua: virtual time, a host
 * that notes what is sent, and a policy in C that tries a list of servers. For
 * the tests of RFC 3261 section 16 that need exact times, exact bytes, a
 * failing allocation or a policy that no script could be.
 *
 * A test reads like a ladder: pw_give() is what arrives, EXPECT() the next
 * thing that was sent, QUIET() says that nothing else was.
 */
#ifndef UNIT_PROXY_WORLD_H
#define UNIT_PROXY_WORLD_H

#include "core/core.h"
#include "dns_world.h"
#include "support/unit.h"
#include "util/err.h"
#include "util/list.h"

#define US       "10.0.0.100:5060"
#define ALICE    "192.0.2.7:5060"
#define SERVER1  "10.0.0.1:5060"
#define SERVER2  "10.0.0.2:5060"
#define SERVER3  "10.0.0.3:5060"
#define STRANGER "203.0.113.5:5060"

enum { PW_SENT = 768, PW_TEXT = 3000, PW_WORKERS = 2 };

struct pw_sent {
	int64_t at; /* microseconds since the start */
	struct hop to;
	unsigned worker;
	char text[PW_TEXT];
};

/* What the policy does with the next request. */
struct pw_plan {
	const char *server[8]; /* "10.0.0.1:5060", a SIP URI, or
				* "@a/1": wherever that server is */
	struct try_opts opts;
	bool fork;     /* all of them at once */
	bool pause;    /* after a failure, wait for pw_wake() */
	bool keep_503; /* of request_forward */
	bool linger;   /* after its end, request_done only with pw_wake() */
	int reply;     /* answer with this instead of trying */
	bool silent;   /* neither try nor reply: the test calls the verbs */
	bool follow;   /* take "*in_dialog" and "*from_server", and follow */
	const char *refuse; /* a method that nobody takes */
	const char *edit;   /* on_response sets the header X-Edit to this */
};

struct pw {
	struct node *node;
	struct core *core[PW_WORKERS];
	struct core_user user[PW_WORKERS];
	struct now now;
	int64_t start;
	struct host host[PW_WORKERS];
	struct pw_host {
		struct pw *w;
		unsigned worker;
	} ctx[PW_WORKERS];
	struct mem mem; /* to look at what is sent */
	struct arena_cache *arenas;
	struct arena *arena;
	struct pw_sent *sent;
	size_t n;                /* sent */
	size_t seen;             /* by EXPECT */
	size_t base[PW_WORKERS]; /* bytes of an idle core */
	struct hop opened[32];   /* the connections that were asked for */
	size_t opens, ups;       /* and those that are up by now: pw_run */
	bool stalled;            /* none comes up any more */
	bool no_source;
	/* what the resolver knows; NULL: it does not answer */
	const struct zone_line *zone;
	struct pw_query {
		struct query *q;
		unsigned worker;
	} asked_dns[64];
	unsigned n_dns, questions;
	unsigned away; /* bit i: the address of listener i is not ours now */
	struct pw_plan plan;
	/* the request the policy works on, and what it was told */
	struct request *req;
	size_t next; /* server to try next */
	unsigned asked, outcomes, freed, watched;
	struct outcome last;
	char told[1024]; /* on_attempt: "10.0.0.1:486 10.0.0.2:silent " */
	unsigned moved;  /* of these, how many said that the try goes on */
	int code;        /* of the last outcome, or 0 */
	struct own *own;
	unsigned own_ends;
	int own_code;
	enum cause own_cause;
};

struct pw *pw_open(unsigned workers);
/* Runs out all timers, checks that nothing is left, frees it. */
void pw_close(struct pw *w);
/* Without the checks: after failed allocations. */
void pw_free(struct pw *w);
/* Every timer due within `us`. */
void pw_run(struct pw *w, int64_t us);
/* Only the present millisecond. */
void pw_settle(struct pw *w);
/* The resolver answers what it was asked, and what follows from that. */
void pw_dns(struct pw *w);
/* A member of a pool; "a/1" at that address. */
struct member *pw_member(struct pw *w, const char *name, const char *addr);

/* Arrives from that address, at worker 0. */
void pw_give(struct pw *w, const char *from, const char *text);
/* The same with a transport, for listener 1 and up: on a stream, on the one
 * connection from there, which is accepted first. */
void pw_give_via(struct pw *w, unsigned listener, enum transport t,
		 const char *from, const char *text);
uint64_t pw_count(struct pw *w, enum counter c);

/* "INVITE sip:bob@example.com" with CSeq 1 and the branch z9hG4bKabc. Lives
 * until the next call of these. */
const char *pw_invite(void);
struct pw_req {
	const char *method, *uri;
	const char *via; /* the whole value(s); default ALICE's, by branch */
	const char *branch;
	const char *from_tag, *to_tag; /* "": none */
	const char *call_id;
	int cseq;
	const char *cseq_method;
	const char *headers;      /* more lines, with CRLF */
	const char *max_forwards; /* "": no header */
	const char *body;
};
const char *pw_request(struct pw_req q);

/* Its number, and the end of any. */
uint64_t pw_conn(unsigned listener, const char *from);
void pw_down(struct pw *w, uint64_t conn, enum cause cause);

/* The last thing sent to that address that starts so; NULL: none. */
const struct pw_sent *pw_find(struct pw *w, const char *to, const char *starts);
/* Answers the last request of that method sent to the address. The To tag is
 * "u" and the last digit of the address, or `tag`. */
void pw_answer(struct pw *w, const char *from, const char *method,
	       const char *status);
void pw_answer_full(struct pw *w, const char *from, const char *method,
		    const char *status, const char *tag, const char *headers);
/* The text of such an answer. */
const char *pw_answer_text(struct pw *w, const char *from, const char *method,
			   const char *status, const char *tag,
			   const char *headers);
/* The CANCEL or ACK (non-2xx) of the caller for pw_invite(). */
void pw_cancel(struct pw *w);
void pw_ack(struct pw *w, const char *branch, const char *to_tag);
/* An ICMP error about the last request of the method sent there. */
void pw_icmp(struct pw *w, const char *to, const char *starts,
	     enum cause cause);
/* The policy goes on after plan.pause or plan.linger. */
void pw_wake(struct pw *w);

/* The value of the first header of this name in a sent text. */
const char *pw_header(const struct pw_sent *s, const char *name);
int pw_count_of(const char *text, const char *what);
const struct pw_sent *pw_last(struct pw *w);

#define EXPECT(w, to, starts) pw_expect(__FILE__, __LINE__, w, to, starts)
#define QUIET(w)              pw_quiet(__FILE__, __LINE__, w)
/* The next thing sent, and at which microsecond. */
#define EXPECT_AT(w, us, to, starts)                                           \
	(pw_expect(__FILE__, __LINE__, w, to, starts),                         \
	 CHECK_INT((w)->sent[(w)->seen - 1].at, us))
#define HAS(s, what)     CHECK(strstr((s)->text, what) != NULL)
#define HAS_NOT(s, what) CHECK(strstr((s)->text, what) == NULL)
const struct pw_sent *pw_expect(const char *file, int line, struct pw *w,
				const char *to, const char *starts);
void pw_quiet(const char *file, int line, struct pw *w);

#endif
