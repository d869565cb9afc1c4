/*
 * Limits of streams and of look-ups, and who is asked: defaults, and what a
 * script may set. Times are microseconds.
 */
#ifndef TRANSPORT_LIMITS_H
#define TRANSPORT_LIMITS_H

#include <stddef.h>
#include <stdint.h>
#include "util/addr.h"

struct stream_limits {
	int64_t connect;   /* to be up, TLS handshake included: 2 s */
	int64_t handshake; /* of an accepted TLS connection: 5 s */
	int64_t header; /* from the first byte of a message to its last: 10 s;
			 * and from being accepted to the first message */
	int64_t idle;   /* without a message or keep-alive: 120 s */
	uint32_t per_source;  /* accepted ones of one IP, or /64: 64 */
	uint32_t connections; /* in all: 20000 */
	size_t message;       /* bytes of one: 65535 */
	size_t queue;         /* bytes that wait to be written: 262144 */
};

enum { DNS_SERVERS = 4 };

struct dns_limits {
	struct addr server[DNS_SERVERS]; /* to ask, with their ports */
	unsigned servers;                /* 0: those of the system */
	int64_t deadline;                /* of one look-up: 2 s */
	int64_t ttl_min, ttl_max; /* 1 s, 1 h; a TTL of 0 is not kept at all */
	int64_t negative;         /* at most: 30 s */
	int64_t stale;  /* served so long after its end when nobody answers:
			 * 1 h */
	uint32_t names; /* in the cache: 4096 */
};

void stream_limits_init(struct stream_limits *l);
void dns_limits_init(struct dns_limits *l);

#endif
