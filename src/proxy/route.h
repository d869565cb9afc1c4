/*
 * Route information preprocessing (RFC 3261 16.4, 20.34) and where a request
 * belongs (semantics 13, 15, 17): to us, along its route set, or to the script.
 */
#ifndef PROXY_ROUTE_H
#define PROXY_ROUTE_H

#include "message/edit.h"
#include "proxy/cookie.h"
#include "message/scan.h"
#include "proxy/members.h"

struct proxy;

enum route_kind {
	ROUTE_REJECT, /* answer with `code`; an ACK is dropped */
	ROUTE_TO_US,  /* the request is for this proxy itself (OPTIONS) */
	ROUTE_FOLLOW, /* along its Route and Request-URI */
	ROUTE_SCRIPT  /* ask the policy */
};

struct route {
	enum route_kind kind;
	bool in_dialog; /* has a To tag */
	int code;       /* ROUTE_REJECT */
	struct str reason;
	bool had_own; /* a Route of ours was removed */
	int door; /* the listener to go on by, as the last of these says; -1 */
	bool has_cookie; /* ... with a cookie that verified */
	struct cookie cookie;
	struct str uri;  /* the Request-URI to go on with */
	bool is_sips;    /* it wants TLS all the way */
	struct str next; /* URI of the next hop: first Route or `uri` */
	bool next_is_route;
	bool next_is_strict; /* that Route has no lr */
	bool has_flow;       /* a token of ours says where it goes instead */
	struct hop flow;
	int bad_flow; /* or the code that says why it does not */
};

/* Looks at the request, puts what must change into `edits` (own Routes
 * removed, strict routing undone), and classifies it. Counts bad cookies. */
struct route route_request(struct proxy *p, struct msg *m,
			   const struct msg_key *key, const struct hop *from,
			   const struct member *source, struct edits *edits);
/* The server that a request in a dialog goes towards, as its cookie says; NULL:
 * none, or it is declared no more. */
struct member *route_member(struct proxy *p, const struct route *route);

#endif
