/*
 * The plain kind of address that nearly every message has:
 *
 *     [ words ] <sip:user@host:port;param=value>;tag=value
 *
 * of letters, digits and - . _ + alone. Of these no two parsers think
 * otherwise, so field.c need not ask the library what it sees; with a quote, an
 * escape, white space in odd places, an IPv6 address or a password it does.
 */
#ifndef MESSAGE_PLAIN_H
#define MESSAGE_PLAIN_H

#include "message/scan.h"

/* `uri` is what scan_uri made of it. */
bool plain_uri(const struct uri *uri);
/* `na` and `uri` are what scan_nameaddr and scan_uri made of it. */
bool plain_addr(const struct nameaddr *na, const struct uri *uri);

#endif
