#include "util/siphash.h"

#include <endian.h>
#include <string.h>

/* The definition is section 2 of "SipHash: a fast short-input PRF"
 * (Aumasson and Bernstein, 2012). Words are little-endian everywhere. */

static uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint64_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline void sip_round(struct siphash *h)
{
	h->v0 += h->v1;
	h->v2 += h->v3;
	h->v1 = rotl(h->v1, 13) ^ h->v0;
	h->v3 = rotl(h->v3, 16) ^ h->v2;
	h->v0 = rotl(h->v0, 32);
	h->v2 += h->v1;
	h->v0 += h->v3;
	h->v1 = rotl(h->v1, 17) ^ h->v2;
	h->v3 = rotl(h->v3, 21) ^ h->v0;
	h->v2 = rotl(h->v2, 32);
}

static inline void sip_word(struct siphash *h, uint64_t word)
{
	h->v3 ^= word;
	sip_round(h);
	sip_round(h);
	h->v0 ^= word;
}

struct sipkey sipkey_load(const uint8_t key[16])
{
	return (struct sipkey){load64(key), load64(key + 8)};
}

void siphash_init(struct siphash *h, struct sipkey key)
{
	h->v0 = key.k0 ^ 0x736f6d6570736575u;
	h->v1 = key.k1 ^ 0x646f72616e646f6du;
	h->v2 = key.k0 ^ 0x6c7967656e657261u;
	h->v3 = key.k1 ^ 0x7465646279746573u;
	h->tail = 0;
	h->total = 0;
}

/* `tail` holds the total % 8 bytes that do not fill a word yet. */
static inline void put_word(struct siphash *h, uint64_t v)
{
	unsigned shift = 8 * (unsigned)(h->total % 8);

	h->total += 8;
	sip_word(h, h->tail | v << shift);
	h->tail = v >> 1 >> (63 - shift);
}

/* Less than a word. Bytes that are loaded twice come to the same place. */
static inline uint64_t load_part(const uint8_t *p, size_t n)
{
	size_t half = n / 2, last = n - 1;

	if (n >= 4)
		return load32(p) | load32(p + n - 4) << 8 * (n - 4);
	if (!n)
		return 0;
	return p[0] | (uint64_t)p[half] << 8 * half |
	       (uint64_t)p[last] << 8 * last;
}

/* The same for the n bytes of less than a word. */
static inline void put_part(struct siphash *h, uint64_t v, size_t n)
{
	unsigned fill = (unsigned)(h->total % 8);

	h->total += n;
	h->tail |= v << 8 * fill;
	if (fill + n >= 8) {
		sip_word(h, h->tail);
		h->tail = v >> 8 * (8 - fill);
	}
}

static inline void put_bytes(struct siphash *h, const uint8_t *p, size_t n)
{
	for (; n >= 8; n -= 8, p += 8)
		put_word(h, load64(p));
	put_part(h, load_part(p, n), n);
}

/* ASCII capitals among eight bytes become small letters. */
static uint64_t lower(uint64_t w)
{
	const uint64_t each = 0x0101010101010101u;
	uint64_t low = w & 0x7f * each;
	uint64_t above_z = low + (0x7f - 'Z') * each;
	uint64_t from_a = low + (0x80 - 'A') * each;
	uint64_t capital = (from_a ^ above_z) & ~w & 0x80 * each;

	return w | capital >> 2;
}

void siphash_bytes(struct siphash *h, const void *data, size_t n)
{
	struct siphash s = *h; /* in registers */

	put_bytes(&s, data, n);
	*h = s;
}

void siphash_u64(struct siphash *h, uint64_t v)
{
	put_word(h, v);
}

void siphash_str(struct siphash *h, struct str str)
{
	struct siphash s = *h;

	put_word(&s, str.n);
	put_bytes(&s, (const uint8_t *)str.p, str.n);
	*h = s;
}

void siphash_lower(struct siphash *h, struct str str)
{
	const uint8_t *p = (const uint8_t *)str.p;
	struct siphash s = *h;
	size_t n = str.n;

	put_word(&s, n);
	for (; n >= 8; n -= 8, p += 8)
		put_word(&s, lower(load64(p)));
	put_part(&s, lower(load_part(p, n)), n);
	*h = s;
}

void siphash_addr(struct siphash *h, const struct addr *a)
{
	struct siphash s = *h;

	/* The family in the first word says how much follows. */
	put_word(&s, (uint64_t)a->family << 16 | a->port);
	if (a->family == ADDR_V4)
		put_part(&s, load32(a->ip), 4);
	else if (a->family == ADDR_V6)
		put_bytes(&s, a->ip, 16);
	*h = s;
}

uint64_t siphash_end(struct siphash *h)
{
	sip_word(h, h->tail | h->total << 56);
	h->v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(h);
	return h->v0 ^ h->v1 ^ h->v2 ^ h->v3;
}

uint64_t siphash24(struct sipkey key, const void *data, size_t n)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_bytes(&h, data, n);
	return siphash_end(&h);
}

bool sipkey_eq(struct sipkey a, struct sipkey b)
{
	return ((a.k0 ^ b.k0) | (a.k1 ^ b.k1)) == 0;
}

bool sipkeys_have(const struct sipkeys *keys, struct sipkey key)
{
	return sipkey_eq(keys->now, key) ||
	       (keys->has_other && sipkey_eq(keys->other, key));
}

uint32_t sipkey_fingerprint(struct sipkey key)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_str(&h, STR("fingerprint"));
	return (uint32_t)siphash_end(&h);
}
