/*
 * The Record-Route cookie (semantics 15): a URI parameter "t" that says which
 * pool member a dialog belongs to and on which side it is, under a MAC over
 * Call-ID and the initial From tag. It holds no state, so any node with the key
 * can use it. The route set decides the next hop, never the cookie.
 *
 * Text: version ('1') side id MAC, 1 + 1 + 16 + 16 characters.
 */
#ifndef PROXY_COOKIE_H
#define PROXY_COOKIE_H

#include "util/siphash.h"
#include "util/str.h"

enum { COOKIE_LEN = 1 + 1 + 16 + 16 };

enum cookie_side {
	COOKIE_NONE = 'n',   /* no member in this call */
	COOKIE_CALLEE = 'd', /* the member is downstream: it was called */
	COOKIE_CALLER = 'u'  /* the member is upstream: it called */
};

struct cookie {
	enum cookie_side side;
	uint64_t id;      /* member id, 0: none */
	bool from_caller; /* verified by the From tag: sent by the caller */
};

void cookie_write(char out[COOKIE_LEN], struct sipkey key, struct str call_id,
		  struct str from_tag, enum cookie_side side, uint64_t id);
/* Verifies the text against the From tag, then the To tag of a request in the
 * dialog; the match gives the direction. Made with any of our keys. */
bool cookie_read(struct str text, const struct sipkeys *keys,
		 struct str call_id, struct str from_tag, struct str to_tag,
		 struct cookie *out_r);

#endif
