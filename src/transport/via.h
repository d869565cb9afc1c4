/*
 * What RFC 3261 section 18 and RFC 3581 do to Via: mark where a request came
 * from, find where a response goes, and write the Via of a request we send.
 */
#ifndef TRANSPORT_VIA_H
#define TRANSPORT_VIA_H

#include "message/scan.h"
#include "transport/listener.h"

/* The topmost Via value of a received request with received and rport filled
 * in (18.2.1, RFC 3581 4: always, as if the client had asked for rport), in the
 * arena; STR_NONE when memory ran out. */
struct str via_mark_received(struct arena *a, const struct via *via,
			     const struct hop *from);
/* "SIP/2.0/UDP host:port;rport;branch=BRANCH" for a request sent to `hop`
 * (RFC 3261 16.6 step 8, RFC 3581 3). */
void via_write(struct buf *out, const struct listeners *ls,
	       const struct hop *hop, struct str branch);
/* True when the topmost Via of a response names one of our listeners
 * (18.1.2). */
bool via_is_ours(const struct listeners *ls, const struct via *via);

#endif
