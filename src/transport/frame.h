/*
 * Messages out of a stream (RFC 3261 18.3): pieces of any size go in, whole
 * messages come out, the same ones however the bytes were cut. On a stream
 * nothing but Content-Length says where a message ends, so here it has to be
 * there, once or with one value, and a stream that cannot be cut for certain is
 * not read any further. What a message says is for message/msg.h; deadlines and
 * connections are for transport/flows.h.
 *
 * Each byte is looked at a fixed number of times, also when they come one by
 * one.
 */
#ifndef TRANSPORT_FRAME_H
#define TRANSPORT_FRAME_H

#include <stdbool.h>
#include "util/mem.h"
#include "util/str.h"

enum {
	/* A header section is longer than that only by mistake or malice. */
	FRAME_MAX_HEADER = 32768
};

enum frame_found {
	FRAME_MORE,    /* all of the piece is taken, and nothing is whole yet */
	FRAME_MESSAGE, /* a whole message */
	FRAME_PING,    /* CRLF CRLF between messages: a pong is due (RFC 5626
			* 4.4.1); a single CRLF is skipped */
	FRAME_BAD      /* the stream makes no sense from here on */
};

/* What is wrong: X(name, response code or 0 for none, text). */
#define FRAME_BAD_LIST(X)                                                      \
	X(FRAME_OK, 0, "ok")                                                   \
	X(FRAME_NOT_SIP, 0, "not SIP")                                         \
	X(FRAME_NO_LENGTH, 400, "Missing Content-Length")                      \
	X(FRAME_BAD_LENGTH, 400, "Bad Content-Length")                         \
	X(FRAME_BARE_LF, 400, "Bare LF in header")                             \
	X(FRAME_TOO_BIG, 513, "Message Too Large")                             \
	X(FRAME_NOMEM, 0, "out of memory")

enum frame_bad {
#define X(name, code, text) name,
	FRAME_BAD_LIST(X)
#undef X
};

int frame_bad_code(enum frame_bad bad);
struct str frame_bad_text(enum frame_bad bad);

enum frame_state {
	FRAME_BETWEEN, /* messages */
	FRAME_START,   /* in the start line */
	FRAME_HEADER,
	FRAME_BODY,
	FRAME_DONE, /* the caller has the message */
	FRAME_ENDED /* bad */
};

/* Zeroed but for `mem` is a stream from which nothing has come yet. */
struct frame {
	struct mem *mem;
	enum frame_state state;
	enum frame_bad bad;
	char *p; /* the message so far; owned, NULL when there is none */
	size_t n, cap;
	size_t line;  /* where its present line starts */
	size_t need;  /* bytes of all of it, once the header is there */
	unsigned eol; /* bytes of CRLF CRLF between messages so far */
	bool spaced;  /* a space was seen in the start line */
	bool bare;    /* a line ended without its CR */
};

void frame_init(struct frame *f, struct mem *mem);
void frame_fini(struct frame *f);
/* Takes bytes off the front of *piece until it has found something; call it
 * again until it says FRAME_MORE. `max` bytes is the largest message.
 * FRAME_MESSAGE: *out_r is the message, without what stood before its start
 * line, valid until the next call. FRAME_BAD: f->bad says why, and *out_r is
 * what came of the message up to there, with its header when that has an end;
 * every later call says the same. */
enum frame_found frame_next(struct frame *f, size_t max, struct str *piece,
			    struct str *out_r);
/* A message has begun, and not ended. */
bool frame_inside(const struct frame *f);

#endif
