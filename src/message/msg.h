/*
 * The index of one SIP message: where the start line, each header and the body
 * are in the buffer it was received in. Indexing copies nothing, calls no
 * library and makes one pass over the bytes. Typed views of single headers are
 * in scan.h (matching keys, hot path) and field.h (full grammar, on demand).
 *
 * The raw bytes and the arena must outlive the struct msg.
 */
#ifndef MESSAGE_MSG_H
#define MESSAGE_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include "message/hdr.h"
#include "util/arena.h"
#include "util/str.h"

enum {
	MSG_MAX_BYTES = 65535, /* a UDP datagram; a stream is capped lower */
	MSG_MAX_HEADERS = 128, /* beyond: 400; keeps every walk short */
	MSG_MAX_LINE = 8192,   /* one header with its folds */
	MSG_MAX_LIST = 32,     /* values in one list header, parameters */
	MSG_MAX_VIAS = 70,     /* as Max-Forwards */
	MSG_MAX_URI = 1024,
	MSG_MAX_KEY = 256 /* Call-ID, tags, branch */
};

/* What is wrong with a message: X(name, response code or 0 = drop, text).
 * The text is the reason phrase of the 400 and the label of the counter. */
#define MSG_BAD_LIST(X)                                                        \
	X(MSG_OK, 0, "ok")                                                     \
	X(MSG_EMPTY, 0, "empty")                                               \
	X(MSG_NOT_SIP, 0, "not SIP")                                           \
	X(MSG_BAD_START, 400, "Bad start line")                                \
	X(MSG_BAD_METHOD, 400, "Bad method")                                   \
	X(MSG_BAD_URI, 400, "Bad Request-URI")                                 \
	X(MSG_URI_TOO_LONG, 414, "Request-URI Too Long")                       \
	X(MSG_BAD_VERSION, 505, "Version Not Supported")                       \
	X(MSG_BAD_STATUS, 0, "bad status code")                                \
	X(MSG_BAD_HEADER, 400, "Bad header line")                              \
	X(MSG_BAD_HEADER_NAME, 400, "Bad header name")                         \
	X(MSG_BAD_CHAR, 400, "NUL, bare CR or bare LF in header")              \
	X(MSG_NO_END, 400, "Headers do not end")                               \
	X(MSG_TOO_MANY_HEADERS, 400, "Too many headers")                       \
	X(MSG_LINE_TOO_LONG, 400, "Header too long")                           \
	X(MSG_TOO_BIG, 513, "Message Too Large")                               \
	X(MSG_DUPLICATE, 400, "Duplicate header")                              \
	X(MSG_BAD_LENGTH, 400, "Bad Content-Length")                           \
	X(MSG_SHORT_BODY, 400, "Content-Length beyond the message")            \
	X(MSG_NO_VIA, 0, "no Via")                                             \
	X(MSG_BAD_VIA, 400, "Bad Via")                                         \
	X(MSG_BAD_FROM, 400, "Bad From")                                       \
	X(MSG_BAD_TO, 400, "Bad To")                                           \
	X(MSG_BAD_CALL_ID, 400, "Bad Call-ID")                                 \
	X(MSG_BAD_CSEQ, 400, "Bad CSeq")                                       \
	X(MSG_CSEQ_METHOD, 400, "CSeq method does not match")                  \
	X(MSG_BAD_MAX_FORWARDS, 400, "Bad Max-Forwards")                       \
	X(MSG_BAD_ROUTE, 400, "Bad Route")                                     \
	X(MSG_BAD_CONTACT, 400, "Bad Contact")                                 \
	X(MSG_NOMEM, 0, "out of memory")

enum msg_bad {
#define X(name, code, text) name,
	MSG_BAD_LIST(X)
#undef X
	    MSG_BAD_COUNT
};

int msg_bad_code(enum msg_bad bad); /* response code, 0: drop */
struct str msg_bad_text(enum msg_bad bad);

enum method {
	METHOD_OTHER = 0,
	METHOD_INVITE,
	METHOD_ACK,
	METHOD_CANCEL,
	METHOD_BYE,
	METHOD_OPTIONS,
	METHOD_REGISTER,
	METHOD_PRACK,
	METHOD_UPDATE,
	METHOD_INFO,
	METHOD_SUBSCRIBE,
	METHOD_NOTIFY,
	METHOD_REFER,
	METHOD_MESSAGE,
	METHOD_PUBLISH,
	METHOD_COUNT
};

enum method method_id(struct str name); /* case-sensitive (RFC 3261 7.1) */
struct str method_name(enum method m);  /* METHOD_OTHER: "" */

/* One header field: a slice of the raw bytes. */
struct hdr {
	uint32_t off, len;  /* the whole field with folds and final CRLF */
	uint16_t name_len;  /* the name starts at off */
	uint16_t id;        /* enum hdr_id */
	uint32_t value_off; /* trimmed value; may hold folds (CRLF + SP) */
	uint32_t value_len;
};

struct msg {
	struct str raw; /* start line to end of body */
	bool is_request;
	enum method method_id; /* of the request, or of the CSeq later */
	struct str method;     /* requests */
	struct str uri;        /* requests: as received, may carry %-escapes */
	int status;            /* responses: 100-699 */
	struct str reason;     /* responses: may be empty */
	struct hdr *h;         /* in the arena */
	uint32_t n;
	int16_t first[HDR_COUNT]; /* index of the first of a known id, or -1 */
	uint32_t headers_off;     /* where the header section starts */
	uint32_t headers_end;     /* where the empty line starts */
	struct str body;          /* by Content-Length, else the rest */
	bool has_length;          /* Content-Length was there */
	bool no_answer; /* a field that a response copies was unusable and
			 * is not in the index: see reply_can_answer */
	struct arena *arena;
	void *cache; /* of field.c */
};

/*
 * Indexes `raw`. A datagram may be longer than the message (Content-Length
 * says how much is body): the rest is ignored, msg->raw ends with the body (RFC
 * 3261 7.5, 18.3; the body itself is nobody's business: 7.4).
 * Folded lines, white space before ':' and both name forms are accepted; bare
 * CR, bare LF and NUL in the header section are not (smuggling rules). A URI
 * that is too long is 414 (21.4.12), a header too many or too long 513
 * (21.5.7).
 *
 * On failure the first problem is returned and *m is still safe to use with
 * everything in this file, so that a 4xx or 505 can be built if the mandatory
 * fields are there (reply_can_answer):
 *   MSG_EMPTY, MSG_NOT_SIP, MSG_NOMEM   nothing is in *m, n is 0
 *   MSG_BAD_START, _METHOD, _URI        method or uri may be STR_NONE
 *   MSG_TOO_MANY_HEADERS, MSG_NO_END    what came before; no body
 *   MSG_BAD_HEADER, _HEADER_NAME, _CHAR, MSG_LINE_TOO_LONG
 *                                       all but the offending fields; one
 *                                       whose only fault is a NUL behind a
 *                                       backslash stays: the 400 repeats it
 *   others                              everything; the body is the rest
 */
enum msg_bad msg_index(struct msg *m, struct arena *a, struct str raw);

/* A copy of the bytes and of the index, both in `a`; what field.c found is not
 * copied. False when memory ran out. */
bool msg_copy(struct msg *out_r, const struct msg *m, struct arena *a);

struct str msg_hdr_name(const struct msg *m, const struct hdr *h);
struct str msg_hdr_value(const struct msg *m, const struct hdr *h);
/* The value with each fold replaced by one space; in the arena if folded. */
struct str msg_hdr_unfolded(const struct msg *m, const struct hdr *h);
/* The same for any text: itself if it has no fold, else a copy in the arena
 * (STR_NONE when memory ran out). */
struct str msg_unfold(struct arena *a, struct str value);
/* First / next header with this id; NULL at the end. */
const struct hdr *msg_first(const struct msg *m, enum hdr_id id);
const struct hdr *msg_next(const struct msg *m, const struct hdr *h);
/* The same for any name, known or not, in long or compact form. */
const struct hdr *msg_find(const struct msg *m, struct str name);
const struct hdr *msg_find_next(const struct msg *m, const struct hdr *h,
				struct str name);

#endif
