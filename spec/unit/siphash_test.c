#include "support/unit.h"
#include "util/siphash.h"

#include <string.h>

/* The vectors of the SipHash-2-4 reference: the key is the bytes 00 to 0f, the
 * input of number n the n bytes 00, 01, 02 and so on. */
static const uint64_t vectors[64] = {
    0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au,
    0x85676696d7fb7e2du, 0xcf2794e0277187b7u, 0x18765564cd99a68du,
    0xcbc9466e58fee3ceu, 0xab0200f58b01d137u, 0x93f5f5799a932462u,
    0x9e0082df0ba9e4b0u, 0x7a5dbbc594ddb9f3u, 0xf4b32f46226bada7u,
    0x751e8fbc860ee5fbu, 0x14ea5627c0843d90u, 0xf723ca908e7af2eeu,
    0xa129ca6149be45e5u, 0x3f2acc7f57c29bdbu, 0x699ae9f52cbe4794u,
    0x4bc1b3f0968dd39cu, 0xbb6dc91da77961bdu, 0xbed65cf21aa2ee98u,
    0xd0f2cbb02e3b67c7u, 0x93536795e3a33e88u, 0xa80c038ccd5ccec8u,
    0xb8ad50c6f649af94u, 0xbce192de8a85b8eau, 0x17d835b85bbb15f3u,
    0x2f2e6163076bcfadu, 0xde4daaaca71dc9a5u, 0xa6a2506687956571u,
    0xad87a3535c49ef28u, 0x32d892fad841c342u, 0x7127512f72f27cceu,
    0xa7f32346f95978e3u, 0x12e0b01abb051238u, 0x15e034d40fa197aeu,
    0x314dffbe0815a3b4u, 0x027990f029623981u, 0xcadcd4e59ef40c4du,
    0x9abfd8766a33735cu, 0x0e3ea96b5304a7d0u, 0xad0c42d6fc585992u,
    0x187306c89bc215a9u, 0xd4a60abcf3792b95u, 0xf935451de4f21df2u,
    0xa9538f0419755787u, 0xdb9acddff56ca510u, 0xd06c98cd5c0975ebu,
    0xe612a3cb9ecba951u, 0xc766e62cfcadaf96u, 0xee64435a9752fe72u,
    0xa192d576b245165au, 0x0a8787bf8ecb74b2u, 0x81b3e73d20b49b6fu,
    0x7fa8220ba3b2eceau, 0x245731c13ca42499u, 0xb78dbfaf3a8d83bdu,
    0xea1ad565322a1a0bu, 0x60e61c23a3795013u, 0x6606d7e446282b93u,
    0x6ca4ecb15c5f91e1u, 0x9f626da15c9625f3u, 0xe51b38608ef25f57u,
    0x958a324ceb064572u,
};

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)i;
}

static struct sipkey test_key(void)
{
	uint8_t key[16];

	fill(key, sizeof(key));
	return sipkey_load(key);
}

TEST(vectors)
{
	struct sipkey key = test_key();
	uint8_t data[64];

	fill(data, sizeof(data));
	CHECK(key.k0 == 0x0706050403020100u);
	CHECK(key.k1 == 0x0f0e0d0c0b0a0908u);
	for (size_t n = 0; n < 64; n++)
		CHECK(siphash24(key, data, n) == vectors[n]);
	CHECK(siphash24(key, NULL, 0) == vectors[0]);
}

TEST(any_split_gives_the_same)
{
	struct sipkey key = test_key();
	struct siphash h;
	uint8_t data[64];

	fill(data, sizeof(data));
	for (size_t n = 0; n < 64; n++)
		for (size_t a = 0; a <= n; a++)
			for (size_t b = a; b <= n; b++) {
				siphash_init(&h, key);
				siphash_bytes(&h, data, a);
				siphash_bytes(&h, data + a, b - a);
				siphash_bytes(&h, data + b, n - b);
				CHECK(siphash_end(&h) == vectors[n]);
			}
}

TEST(words_at_any_offset)
{
	struct sipkey key = test_key();
	struct siphash h;
	uint8_t data[64];
	uint64_t word;

	fill(data, sizeof(data));
	for (size_t n = 8; n < 64; n++)
		for (size_t at = 0; at + 8 <= n; at++) {
			word = 0;
			for (size_t i = 8; i-- > 0;)
				word = word << 8 | data[at + i];
			siphash_init(&h, key);
			siphash_bytes(&h, data, at);
			siphash_u64(&h, word);
			siphash_bytes(&h, data + at + 8, n - at - 8);
			CHECK(siphash_end(&h) == vectors[n]);
		}
}

static uint64_t hash2(struct str a, struct str b)
{
	struct siphash h;

	siphash_init(&h, test_key());
	siphash_str(&h, a);
	siphash_str(&h, b);
	return siphash_end(&h);
}

TEST(fields_are_separated)
{
	CHECK(hash2(STR("ab"), STR("c")) != hash2(STR("a"), STR("bc")));
	CHECK(hash2(STR("abc"), STR("")) != hash2(STR(""), STR("abc")));
	CHECK(hash2(STR("a"), STR("b")) != hash2(STR("b"), STR("a")));
	CHECK(hash2(STR("a"), STR_NONE) == hash2(STR("a"), STR("")));
	CHECK(hash2(STR("a"), STR("b")) == hash2(STR("a"), STR("b")));
}

static uint64_t hash_addr(struct addr a, uint64_t after)
{
	struct siphash h;

	siphash_init(&h, test_key());
	siphash_addr(&h, &a);
	siphash_u64(&h, after);
	return siphash_end(&h);
}

TEST(addresses)
{
	struct addr a = {.family = ADDR_V4, .ip = {10, 0, 0, 1}, .port = 5060};
	struct addr b = a;

	CHECK(hash_addr(a, 0) == hash_addr(b, 0));
	b.ip[9] = 1; /* not part of an IPv4 address */
	b.scope = 4;
	CHECK(hash_addr(a, 0) == hash_addr(b, 0));
	b.ip[3] = 2;
	CHECK(hash_addr(a, 0) != hash_addr(b, 0));
	b = a;
	b.port = 5061;
	CHECK(hash_addr(a, 0) != hash_addr(b, 0));
	b = a;
	b.family = ADDR_V6;
	CHECK(hash_addr(a, 0) != hash_addr(b, 0));
	a = b;
	a.ip[15] = 1;
	CHECK(hash_addr(a, 0) != hash_addr(b, 0));
	b.family = ADDR_NONE;
	CHECK(hash_addr(b, 1) != hash_addr(b, 2));
}

TEST(every_bit_of_the_key_counts)
{
	struct sipkey key = test_key();
	uint64_t h = siphash24(key, "x", 1);

	for (int i = 0; i < 64; i++) {
		struct sipkey k = key;

		k.k0 ^= (uint64_t)1 << i;
		CHECK(siphash24(k, "x", 1) != h);
		k = key;
		k.k1 ^= (uint64_t)1 << i;
		CHECK(siphash24(k, "x", 1) != h);
	}
}
