/*
 * A request read no further than it takes to refuse it: for who is sent more
 * than can be read. One pass over the lines of the header section, of which
 * only the topmost Via is parsed. Whatever is unusual in a message, be it right
 * or wrong, is left to msg_index.
 */
#ifndef MESSAGE_GLANCE_H
#define MESSAGE_GLANCE_H

#include "message/scan.h"
#include "util/buf.h"

/* Slices of the message. Of an ACK, which nobody answers, only what tells which
 * it is: the method, the topmost Via, the Call-ID and the CSeq; and the URI. */
struct glance {
	enum method method;
	struct str uri;                     /* not checked */
	struct via via;                     /* topmost */
	struct str vias;                    /* all Via lines, with CRLF */
	struct str from, to, call_id, cseq; /* lines, without CRLF */
};

/* False when it is no request, or one that has to be read: of a method that
 * enum method does not know; without what every response repeats, or with two
 * of them; with a To that may have a tag, unless it is an ACK; with a folded
 * line, a bare CR or LF or a NUL among the headers; with Via lines that are
 * apart, or a topmost Via that is none. True does not mean that the message is
 * good; an ACK is looked at no further than its topmost Via, its Call-ID and
 * its CSeq. */
bool glance_read(struct glance *g, struct str raw);

/* The response to it, which is no ACK (RFC 3261 8.2.6). `status` is a code and
 * a phrase, `via` the topmost Via as a response has it, `tag` goes into To,
 * `headers` are whole lines or empty. Trouble is sticky in *out. */
void glance_reply(const struct glance *g, struct str status, struct str via,
		  struct str tag, struct str headers, struct buf *out);

#endif
