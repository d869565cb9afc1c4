/*
 * Typed views of one header through libosip2, on demand, behind the caps of
 * msg.h. This is the only file that may include osipparser2. Results live in
 * the message's arena and are cached in the message, so asking twice costs
 * nothing. A value that libosip2 refuses, or could only half parse because
 * memory ran out, gives NULL.
 *
 * Nothing here is ever written back: edits splice the raw bytes (edit.h).
 */
#ifndef MESSAGE_FIELD_H
#define MESSAGE_FIELD_H

#include "message/msg.h"
#include "message/scan.h"

struct field_param {
	struct str name, value; /* value.p == NULL: no '=' */
};

struct field_uri {
	struct str scheme, user, password,
	    host;      /* user is unescaped; host has no
			* brackets; STR_NONE: absent */
	uint16_t port; /* 0: absent */
	const struct field_param *param;
	size_t n;
};

struct field_addr {         /* From, To, Contact, Route, Record-Route, ... */
	struct str display; /* without quotes */
	struct field_uri uri;
	bool star;                       /* Contact: * */
	const struct field_param *param; /* header parameters */
	size_t n;
};

/* Once per process, before anything else here; safe to call again. */
void field_init(void);

const struct field_uri *field_ruri(struct msg *m);
const struct field_uri *field_uri(struct arena *a, struct str text);
/* The i-th value (0 first) of a header of this kind over all its lines. */
const struct field_addr *field_addr(struct msg *m, enum hdr_id id, size_t i);
/* How many values a list header has over all its lines, at most MSG_MAX_LIST
 * plus one. Commas in quotes and angle brackets do not separate. */
size_t field_count(const struct msg *m, enum hdr_id id);
/* The i-th value as text. */
struct str field_value(const struct msg *m, enum hdr_id id, size_t i);
struct str field_param_get(const struct field_param *p, size_t n,
			   struct str name, bool *found_r);
/* True when libosip2 and our caps accept the message's From, To, Contacts,
 * Routes and R-URI; else what is wrong. For request validation (16.3 step 1).*/
enum msg_bad field_check(struct msg *m);

#endif
