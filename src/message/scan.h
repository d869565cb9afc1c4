/*
 * Small scanners for the fields that matching and routing need on every
 * message: they work on slices, copy nothing and never call a library, so that
 * a retransmission is absorbed without one. They are strict where a mistake
 * would mis-route (RFC 3261 section 25 grammar, ports 1-65535, hosts checked).
 */
#ifndef MESSAGE_SCAN_H
#define MESSAGE_SCAN_H

#include "message/msg.h"
#include "util/addr.h"

struct via {
	struct str text; /* this one value */
	struct str
	    version; /* "2.0"; msg_key insists on it, scan_via does not */
	struct str transport; /* "UDP" */
	struct str host;      /* sent-by host, IPv6 with brackets */
	uint16_t port;        /* 0 when absent */
	struct str branch;    /* STR_NONE when absent */
	struct str received;  /* STR_NONE when absent */
	bool has_rport;
	uint16_t rport;   /* 0 when absent or without a value */
	struct str maddr; /* STR_NONE when absent */
};

/* Cuts the first value off a comma-separated list, trimmed. Commas in quotes
 * and between < and > do not separate; empty values are skipped. False at the
 * end. */
bool scan_list(struct str *list, struct str *value_r);

/* Parses the first value of a (comma-separated) Via value (RFC 3261 20.42) and
 * leaves the rest (or STR_NONE) in *rest_r, which may be NULL. False when
 * malformed; host is set even so when what is wrong comes behind it, and text
 * is not. */
bool scan_via(struct str value, struct via *out_r, struct str *rest_r);

/* A URI cut into slices of its text (RFC 3261 19.1.1); nothing is unescaped
 * (19.1.2). */
struct uri {
	struct str text;
	struct str scheme;    /* "sip" "sips" "tel" ... as written */
	bool is_sip, is_sips; /* is_sip is true for both */
	struct str user;    /* with password and escapes; STR_NONE if absent */
	struct str host;    /* IPv6 with brackets; STR_NONE if not SIP */
	uint16_t port;      /* 0 when absent */
	struct str params;  /* after the first ';', without it */
	struct str headers; /* after '?', without it */
};

bool scan_uri(struct str text, struct uri *out_r);
/* Its text as a Request-URI, To or From may have it: without headers (19.1.1).
 */
struct str uri_without_headers(const struct uri *uri);
/* Length of the scheme before its ':', 0 when there is none. */
size_t scan_scheme(struct str text);
/* Cuts the first parameter off ";a=b;c" text (with or without the first ';').
 * The value is STR_NONE without '='; quotes are kept. False at the end. */
bool scan_next_param(struct str *params, struct str *name_r,
		     struct str *value_r);
/* Value of a parameter in the same kind of text: false when absent; the value
 * is empty (n = 0) for a bare parameter. Quoted strings are skipped correctly.
 * Names compare case-insensitively; the first of a name counts. */
bool scan_param(struct str params, struct str name, struct str *value_r);

/* name-addr or addr-spec with header parameters (From, To, Contact, Route). */
struct nameaddr {
	struct str text;    /* the whole value */
	struct str display; /* as written, quotes kept; may be empty */
	struct str uri;     /* without < > */
	struct str params;  /* header parameters after the first ';' */
	struct str tag;     /* of these; n = 0 without a value, STR_NONE if
			     * absent */
	bool bracketed;     /* written with < > */
};

/* First value of a list; *rest_r (may be NULL) is what follows the comma. */
bool scan_nameaddr(struct str value, struct nameaddr *out_r,
		   struct str *rest_r);

/* A domain name, IPv4 address or bracketed IPv6 address (RFC 5118). Underscores
 * and labels that begin with a digit are let through, as the world has them; a
 * name whose last label is all digits is not. */
bool scan_is_host(struct str s);

/* RFC 3261 19.1.4, for the parts a proxy compares: scheme, user, host, port. */
bool uri_same_place(const struct uri *a, const struct uri *b);

/* What transaction matching and dialog routing need (RFC 3261 17.1.3, 17.2.3).
 * Tags are STR_NONE when absent. */
struct msg_key {
	struct via via;      /* topmost */
	struct str via_rest; /* rest of the topmost Via header after a comma */
	struct str call_id;
	uint32_t cseq;
	struct str cseq_method;
	enum method cseq_id;
	struct str from_tag, to_tag;
	struct str from_uri; /* who calls: what From says */
};

/* Fills all of it or says what is wrong with the message: MSG_NO_VIA,
 * MSG_BAD_VIA, MSG_BAD_FROM, MSG_CSEQ_METHOD, ... For a response the CSeq
 * method becomes m->method_id. CSeq is at most 2^31 - 1 (8.1.1.5, 20.16). */
enum msg_bad msg_key(struct msg *m, struct msg_key *out_r);
/* What msg_key found in `of`, as that of a copy of it (msg_copy). */
struct msg_key msg_key_moved(const struct msg_key *key, const struct msg *of,
			     const struct msg *copy);

#endif
