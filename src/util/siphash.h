/*
 * SipHash-2-4 (Aumasson, Bernstein): keyed 64-bit hash. Used for hash maps,
 * for the MAC in branches, tags and cookies, and to derive anything that must
 * look random but be the same on every node with the key.
 */
#ifndef UTIL_SIPHASH_H
#define UTIL_SIPHASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "util/addr.h"
#include "util/str.h"

struct sipkey {
	uint64_t k0, k1;
};

/* The keys of a cluster. `now` signs what we make. What comes to us may be
 * signed with either: while a key is replaced (rotated), some nodes still sign
 * with one and some already with the other. */
struct sipkeys {
	struct sipkey now, other;
	bool has_other;
};

/* Incremental, so that several fields are hashed without copying them
 * together. Fields are separated by their length: ("ab","c") and ("a","bc")
 * differ. */
struct siphash {
	uint64_t v0, v1, v2, v3, tail;
	uint64_t total;
};

struct sipkey sipkey_load(const uint8_t key[16]);
bool sipkey_eq(struct sipkey a, struct sipkey b);
/* Is it one of them? */
bool sipkeys_have(const struct sipkeys *keys, struct sipkey key);
/* What may be shown of a key, so that people can compare those of two nodes. It
 * gives nothing away. */
uint32_t sipkey_fingerprint(struct sipkey key);
uint64_t siphash24(struct sipkey key, const void *data, size_t n);
void siphash_init(struct siphash *h, struct sipkey key);
void siphash_bytes(struct siphash *h, const void *data, size_t n); /* raw */
void siphash_str(struct siphash *h, struct str s);   /* length, then bytes */
void siphash_lower(struct siphash *h, struct str s); /* the same, in any case */
void siphash_u64(struct siphash *h, uint64_t v);
void siphash_addr(struct siphash *h, const struct addr *a); /* ip and port */
uint64_t siphash_end(struct siphash *h);

#endif
