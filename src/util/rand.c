#include "util/rand.h"

#include <assert.h>

#include "util/siphash.h"

/* The generator is xoshiro256** (Blackman and Vigna). It is fast and passes
 * the statistical tests but it can be predicted from its output: whatever must
 * not be guessed is a MAC, not a random number. */

static uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

/* SplitMix64: spreads a seed of few bits over the whole state. */
static uint64_t split_mix(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void rand_seed(struct rand *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = split_mix(&seed);
}

void rand_seed_bytes(struct rand *r, const uint8_t seed[16])
{
	struct sipkey key = sipkey_load(seed);

	for (uint8_t i = 0; i < 4; i++)
		r->s[i] = siphash24(key, &i, 1);
	/* The one state it would never leave. */
	if (!(r->s[0] | r->s[1] | r->s[2] | r->s[3]))
		r->s[0] = 1;
}

uint64_t rand_u64(struct rand *r)
{
	uint64_t *s = r->s;
	uint64_t out = rotl(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotl(s[3], 45);
	return out;
}

uint64_t rand_below(struct rand *r, uint64_t n)
{
	uint64_t x, skip;

	assert(n > 0);
	/* 2^64 mod n values are one too many for every remainder to be equally
	 * likely: those are drawn again. */
	skip = (0 - n) % n;
	do
		x = rand_u64(r);
	while (x < skip);
	return x % n;
}

double rand_unit(struct rand *r)
{
	return (double)(rand_u64(r) >> 11) * 0x1p-53;
}
