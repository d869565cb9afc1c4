/*
 * The seeded generator of one core. All randomness of the core comes from
 * here, so that one seed gives one run.
 */
#ifndef UTIL_RAND_H
#define UTIL_RAND_H

#include <stdint.h>

struct rand {
	uint64_t s[4];
};

void rand_seed(struct rand *r, uint64_t seed);
void rand_seed_bytes(struct rand *r, const uint8_t seed[16]);
uint64_t rand_u64(struct rand *r);
uint64_t rand_below(struct rand *r, uint64_t n); /* uniform, n > 0 */
double rand_unit(struct rand *r);                /* [0, 1) */

#endif
