/*
 * Message digests, for what a protocol prescribes: HTTP digest authentication
 * (RFC 7616, RFC 8760). Not for MACs, maps or anything of our own making: that
 * is SipHash (util/siphash.h). The one file outside src/host that knows
 * OpenSSL; it keeps nothing between two calls.
 */
#ifndef UTIL_DIGEST_H
#define UTIL_DIGEST_H

#include "util/str.h"

enum digest {
	DIGEST_MD5,
	DIGEST_SHA_256,
	DIGEST_SHA_512_256,
};

enum { DIGEST_HEX = 64 }; /* characters of the longest */

/* "md5", "sha-256", "sha-512-256", in any case; -1 for any other name. */
int digest_parse(struct str name);
/* The digest of `text` in small hex digits, not terminated. Gives their
 * number, 0 when the library refuses (a system in FIPS mode has no MD5). */
size_t digest_hex(enum digest d, struct str text, char out[DIGEST_HEX]);

#endif
