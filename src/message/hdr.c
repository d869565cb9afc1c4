#include "message/hdr.h"
#include <string.h>
#include "message/chars.h"
#include "util/list.h"

struct hdr_info {
	struct str name;
	bool list, once;
};

static const struct hdr_info info[HDR_COUNT] = {
    [HDR_OTHER] = {{"", 0}, false, false},
#define X(id, name, compact, list, once)                                       \
	[id] = {{name, sizeof(name) - 1}, list, once},
    HDR_LIST(X)
#undef X
};

/*
 * The names by name_hash, without a collision. The numbers were found by trying
 * factors; spec/unit/hdr_test.c looks every name up and, when one is not where
 * it belongs, prints the line that is missing here.
 */
enum { HASH_SIZE = 128 };

static const uint8_t by_hash[HASH_SIZE] = {
    [8] = HDR_SESSION_EXPIRES,
    [9] = HDR_CSEQ,
    [10] = HDR_TIMESTAMP,
    [26] = HDR_MAX_FORWARDS,
    [27] = HDR_SUPPORTED,
    [33] = HDR_ROUTE,
    [34] = HDR_CALL_ID,
    [35] = HDR_SERVER,
    [39] = HDR_REQUIRE,
    [40] = HDR_PROXY_REQUIRE,
    [45] = HDR_PROXY_AUTHENTICATE,
    [48] = HDR_UNSUPPORTED,
    [58] = HDR_ACCEPT,
    [64] = HDR_SUBJECT,
    [68] = HDR_CONTENT_LENGTH,
    [70] = HDR_MAX_BREADTH,
    [72] = HDR_PATH,
    [74] = HDR_EXPIRES,
    [76] = HDR_CONTENT_TYPE,
    [77] = HDR_REASON,
    [78] = HDR_USER_AGENT,
    [83] = HDR_EVENT,
    [85] = HDR_WWW_AUTHENTICATE,
    [90] = HDR_CONTACT,
    [91] = HDR_PROXY_AUTHORIZATION,
    [92] = HDR_FROM,
    [94] = HDR_TO,
    [95] = HDR_VIA,
    [97] = HDR_AUTHORIZATION,
    [98] = HDR_RETRY_AFTER,
    [101] = HDR_REFER_TO,
    [110] = HDR_RECORD_ROUTE,
    [114] = HDR_RSEQ,
    [119] = HDR_ALLOW,
    [126] = HDR_RACK,
};

/* `| 32` makes letters lower case; what it does to others does not matter. */
static size_t name_hash(struct str s)
{
	size_t first = (uint8_t)s.p[0] | 32;
	size_t mid = (uint8_t)s.p[s.n / 2] | 32;
	size_t last = (uint8_t)s.p[s.n - 1] | 32;

	return (s.n * 3 + first * 7 + last * 19 + mid) % HASH_SIZE;
}

static enum hdr_id compact_id(char c)
{
	if (!ch_is_alpha(c))
		return HDR_OTHER;
	switch (c | 32) {
		/* No compact form: a number that no character has. */
#define X(id, name, compact, list, once)                                       \
	case (compact) ? (compact):                                            \
		256 + id : return id;
		HDR_LIST(X)
#undef X
	}
	return HDR_OTHER;
}

enum hdr_id hdr_id(struct str name)
{
	if (name.n < 2)
		return name.n ? compact_id(name.p[0]) : HDR_OTHER;
	enum hdr_id id = by_hash[name_hash(name)];
	struct str full = info[id].name;

	if (full.n != name.n)
		return HDR_OTHER;
	if (!memcmp(full.p, name.p, name.n) || str_caseeq(full, name))
		return id;
	return HDR_OTHER;
}

struct str hdr_name(enum hdr_id id)
{
	return info[id].name;
}

bool hdr_is_list(enum hdr_id id)
{
	return info[id].list;
}

bool hdr_is_single(enum hdr_id id)
{
	return info[id].once;
}

bool hdr_name_eq(struct str a, struct str b)
{
	enum hdr_id id = hdr_id(a);

	return id != HDR_OTHER ? id == hdr_id(b) : str_caseeq(a, b);
}
