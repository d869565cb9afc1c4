/*
 * Secrets in text that leaves the proxy by another way than SIP itself: log
 * lines and mirrored messages. It knows how they look and nothing of what is
 * around them, so malformed text is no way around it.
 */
#ifndef UTIL_REDACT_H
#define UTIL_REDACT_H

#include <stdbool.h>
#include <stddef.h>
#include "util/str.h"

/* The first secret of a text at or after `from`: the password of a SIP URI
 * (sip:user:HERE@host), or the response of a digest (response="HERE"). False:
 * there is none. */
bool redact_find(struct str text, size_t from, size_t *begin_r, size_t *end_r);
/* The first n bytes of a text, its secrets overwritten with '*'. */
void redact_copy(char *out, struct str text, size_t n);
/* Overwrites with '*', byte for byte, so that lengths stay true (quotes, < and
 * > stay: they are in no secret, and end what could be taken for one), what a
 * whole SIP message or the beginning of one has of them: passwords in URIs;
 * credentials in Authorization and Proxy-Authorization (of a digest its
 * response); rspauth; keys in SDP (a=crypto, a=key-mgmt, k=). */
void redact_message(char *bytes, size_t n);

#endif
