/*
 * Header names: the table of names the core knows, with their compact forms
 * (RFC 3261 7.3.1, 7.3.3).
 * A lookup hashes the name and then compares it (case-insensitively): a hash
 * alone would take "Trunk-Address" for "Via" one day.
 */
#ifndef MESSAGE_HDR_H
#define MESSAGE_HDR_H

#include <stdbool.h>
#include "util/str.h"

/* X(id, name, compact form or 0, is a comma-separated list, may occur once) */
#define HDR_LIST(X)                                                            \
	X(HDR_VIA, "Via", 'v', true, false)                                    \
	X(HDR_FROM, "From", 'f', false, true)                                  \
	X(HDR_TO, "To", 't', false, true)                                      \
	X(HDR_CALL_ID, "Call-ID", 'i', false, true)                            \
	X(HDR_CSEQ, "CSeq", 0, false, true)                                    \
	X(HDR_MAX_FORWARDS, "Max-Forwards", 0, false, true)                    \
	X(HDR_CONTACT, "Contact", 'm', true, false)                            \
	X(HDR_ROUTE, "Route", 0, true, false)                                  \
	X(HDR_RECORD_ROUTE, "Record-Route", 0, true, false)                    \
	X(HDR_PATH, "Path", 0, true, false)                                    \
	X(HDR_CONTENT_LENGTH, "Content-Length", 'l', false, true)              \
	X(HDR_CONTENT_TYPE, "Content-Type", 'c', false, true)                  \
	X(HDR_EXPIRES, "Expires", 0, false, true)                              \
	X(HDR_REQUIRE, "Require", 0, true, false)                              \
	X(HDR_PROXY_REQUIRE, "Proxy-Require", 0, true, false)                  \
	X(HDR_SUPPORTED, "Supported", 'k', true, false)                        \
	X(HDR_UNSUPPORTED, "Unsupported", 0, true, false)                      \
	X(HDR_ALLOW, "Allow", 0, true, false)                                  \
	X(HDR_ACCEPT, "Accept", 0, true, false)                                \
	X(HDR_RETRY_AFTER, "Retry-After", 0, false, true)                      \
	X(HDR_WWW_AUTHENTICATE, "WWW-Authenticate", 0, false, false)           \
	X(HDR_PROXY_AUTHENTICATE, "Proxy-Authenticate", 0, false, false)       \
	X(HDR_AUTHORIZATION, "Authorization", 0, false, false)                 \
	X(HDR_PROXY_AUTHORIZATION, "Proxy-Authorization", 0, false, false)     \
	X(HDR_SUBJECT, "Subject", 's', false, true)                            \
	X(HDR_EVENT, "Event", 'o', false, true)                                \
	X(HDR_REFER_TO, "Refer-To", 'r', false, true)                          \
	X(HDR_SESSION_EXPIRES, "Session-Expires", 'x', false, true)            \
	X(HDR_RACK, "RAck", 0, false, true)                                    \
	X(HDR_RSEQ, "RSeq", 0, false, true)                                    \
	X(HDR_REASON, "Reason", 0, true, false)                                \
	X(HDR_TIMESTAMP, "Timestamp", 0, false, true)                          \
	X(HDR_SERVER, "Server", 0, false, true)                                \
	X(HDR_USER_AGENT, "User-Agent", 0, false, true)                        \
	X(HDR_MAX_BREADTH, "Max-Breadth", 0, false, true)

enum hdr_id {
	HDR_OTHER = 0,
#define X(id, name, compact, list, once) id,
	HDR_LIST(X)
#undef X
	    HDR_COUNT
};

enum hdr_id hdr_id(struct str name); /* any case, long or compact form */
struct str hdr_name(enum hdr_id id); /* the long form; HDR_OTHER: "" */
bool hdr_is_list(enum hdr_id id);
bool hdr_is_single(enum hdr_id id);
/* The same header, whatever form each name has ("i" and "Call-ID"). */
bool hdr_name_eq(struct str a, struct str b);

#endif
