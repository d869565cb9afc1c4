/*
 * Building messages: responses to a request (RFC 3261 8.2.6) and requests of
 * our own (CANCEL and the ACK for a non-2xx, 9.1 and 17.1.1.3; others are
 * written by their users with struct buf).
 */
#ifndef MESSAGE_REPLY_H
#define MESSAGE_REPLY_H

#include "message/msg.h"
#include "message/scan.h"
#include "util/buf.h"

struct reply {
	int code;
	struct str reason;  /* STR_NONE: the standard phrase */
	struct str to_tag;  /* added when the To has none; not for 100 */
	struct str via;     /* replaces the topmost Via value (with received
			     * and rport filled in); STR_NONE: as it is */
	bool record_route;  /* copy Record-Route (for 18x and 2xx we make) */
	struct str headers; /* extra lines, each with CRLF, already checked */
	struct str body;    /* with Content-Type among the headers */
	/* No reason phrase and no Content-Length: it may be without them when
	 * it has no body and is a datagram (7.2, 18.3). */
	bool brief;
};

struct str reply_phrase(int code); /* the standard phrase, "Unknown" if none */
/* True when a response can be built at all: it is a request but no ACK, From,
 * To, Call-ID and CSeq are there, and the topmost Via can be read as far as its
 * sent-by. A To or From that no grammar allows does not stand in the way: it is
 * copied as it is (and gets no tag). Of two the first is copied. */
bool reply_can_answer(const struct msg *m);
/* Writes the response; Vias, From, To, Call-ID, CSeq and (100 only) Timestamp
 * (RFC 3261 20.38) are copied as received. 0, ERR_NOMEM, ERR_LIMIT (the space
 * of `out`), or ERR_STATE when reply_can_answer would have said no; the same
 * below. */
int reply_write(const struct msg *request, const struct reply *r,
		struct buf *out);

/* The CANCEL for a request as it was sent (`sent`, indexed): same R-URI, top
 * Via only, Route, From, To, Call-ID, CSeq number; Max-Forwards 70; plus
 * `headers` (e.g. a Reason line) when not empty. */
int reply_write_cancel(const struct msg *sent, struct str headers,
		       struct buf *out);
/* The ACK for a non-2xx final: from the request as sent, To from the response
 * (17.1.1.3). */
int reply_write_ack(const struct msg *sent, const struct msg *response,
		    struct buf *out);
/* The part of a request as sent that CANCEL and ACK need: start line, top Via,
 * Route, From, To, Call-ID, CSeq, Max-Forwards; no body. A stub keeps this. */
int reply_write_image(const struct msg *sent, struct buf *out);

#endif
