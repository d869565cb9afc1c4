/*
 * Typed views of one header through libosip2, on demand, behind the caps of
 * msg.h. This is the only file that may include osipparser2. Results live in
 * the message's arena and are cached in the message, so asking twice costs
 * nothing. A value that libosip2 refuses, or could only half parse because
 * memory ran out, gives NULL.
 *
 * libosip2 judges, scan.h cuts: the slices handed out are our own scanner's,
 * because the library cuts a user at %00 and drops what follows a parameter it
 * does not like. When the two do not see the same scheme, user, host and port
 * the result is NULL as well: somebody else would be misled too. Addresses of
 * the plainest kind (plain.h), about which the two never differ, are not shown
 * to it.
 *
 * Nothing here is ever written back: edits splice the raw bytes (edit.h).
 */
#ifndef MESSAGE_FIELD_H
#define MESSAGE_FIELD_H

#include "message/msg.h"
#include "message/scan.h"

/* Absent parts are STR_NONE. A URI that is not SIP has only its scheme; a tel
 * URI also its number as user, and its parameters. */
struct field_uri {
	struct str scheme;
	struct str user; /* unescaped: may hold any byte, even NUL */
	struct str password;
	struct str host;   /* without brackets */
	uint16_t port;     /* 0: absent */
	struct str params; /* for scan_next_param */
};

/* From, To, Contact, Route, Record-Route, ... */
struct field_addr {
	struct str display; /* without quotes */
	struct field_uri uri;
	bool star;         /* Contact: * */
	struct str params; /* of the header, for scan_next_param */
};

/* Once per process, before anything else here; safe to call again. */
void field_init(void);

const struct field_uri *field_ruri(struct msg *m);
/* What it gives points into `text`. */
const struct field_uri *field_uri(struct arena *a, struct str text);
/* The i-th value (0 first) of a header of this kind over all its lines. */
const struct field_addr *field_addr(struct msg *m, enum hdr_id id, size_t i);
/* How many values a list header has over all its lines, at most MSG_MAX_LIST
 * plus one. Commas in quotes and angle brackets do not separate. */
size_t field_count(const struct msg *m, enum hdr_id id);
/* The i-th value as text, without folds; STR_NONE when there is none. */
struct str field_value(const struct msg *m, enum hdr_id id, size_t i);
/* For tests: libosip2 agrees where it is not asked (plain.h). */
bool field_is_judged_alike(struct arena *a, struct str text);
/* Of the params above the value, STR_NONE without '='; the first of a name
 * counts, in any case. */
struct str field_param_get(struct str params, struct str name, bool *found_r);
/* MSG_OK when libosip2 and our caps accept the message's From, To, Contacts,
 * Routes and R-URI, there are at most MSG_MAX_VIAS, and Max-Forwards is 0-255
 * if it is there; else what is wrong. For request validation (16.3 step 1). An
 * R-URI of an unknown scheme is fine here: the answer to that is 416. What
 * scan_uri made of it is in *ruri_r, which may be NULL; without a text, when it
 * made nothing. */
enum msg_bad field_check(struct msg *m, struct uri *ruri_r);

#endif
