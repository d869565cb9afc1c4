#include "util/digest.h"

#include <openssl/evp.h>

static const struct {
	struct str name;
	const char *evp;
} algorithms[] = {
    [DIGEST_MD5] = {STR("md5"), "MD5"},
    [DIGEST_SHA_256] = {STR("sha-256"), "SHA256"},
    [DIGEST_SHA_512_256] = {STR("sha-512-256"), "SHA512-256"},
};

int digest_parse(struct str name)
{
	for (int i = 0; i <= DIGEST_SHA_512_256; i++)
		if (str_caseeq(name, algorithms[i].name))
			return i;
	return -1;
}

size_t digest_hex(enum digest d, struct str text, char out[DIGEST_HEX])
{
	static const char digits[] = "0123456789abcdef";
	EVP_MD *md = EVP_MD_fetch(NULL, algorithms[d].evp, NULL);
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int done;

	if (!md)
		return 0;
	done = EVP_Digest(text.p, text.n, raw, &n, md, NULL);
	EVP_MD_free(md);
	if (!done || 2 * n > DIGEST_HEX)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		out[2 * i] = digits[raw[i] >> 4];
		out[2 * i + 1] = digits[raw[i] & 15];
	}
	return (size_t)2 * n;
}
