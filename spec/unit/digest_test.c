/* The digests that HTTP authentication names, with the vectors of RFC 1321
 * appendix A.5 and of FIPS 180-4 (for "abc"). */
#include "support/unit.h"
#include "util/digest.h"

#include <string.h>

static void check(enum digest d, const char *text, const char *expected)
{
	char out[DIGEST_HEX];
	size_t n = digest_hex(d, str_from(text), out);

	CHECK_INT((int)n, (int)strlen(expected));
	CHECK(memcmp(out, expected, n) == 0);
}

TEST(digest_md5)
{
	check(DIGEST_MD5, "", "d41d8cd98f00b204e9800998ecf8427e");
	check(DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
	check(DIGEST_MD5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST(digest_sha)
{
	check(DIGEST_SHA_256, "abc",
	      "ba7816bf8f01cfea414140de5dae2223"
	      "b00361a396177a9cb410ff61f20015ad");
	check(DIGEST_SHA_512_256, "abc",
	      "53048e2681941ef99b2e29b76b4c7dab"
	      "e4c2d0c634fc6d46e0e2f13107e7af23");
}

TEST(digest_names)
{
	CHECK_INT(digest_parse(STR("MD5")), DIGEST_MD5);
	CHECK_INT(digest_parse(STR("sha-256")), DIGEST_SHA_256);
	CHECK_INT(digest_parse(STR("SHA-512-256")), DIGEST_SHA_512_256);
	CHECK_INT(digest_parse(STR("sha-1")), -1);
	CHECK_INT(digest_parse(STR("")), -1);
	CHECK_INT(digest_parse(STR_NONE), -1);
}
