#include "transaction/branch.h"

#include <string.h>

#include "support/unit.h"
#include "transaction/inner.h"
#include "transport/via.h"

static const struct sipkey KEY = {0x1122334455667788, 0x99aabbccddeeff00};
static const struct sipkeys KEYS = {
    .now = {0x1122334455667788, 0x99aabbccddeeff00}};
static const struct sipkeys STRANGE = {.now = {1, 2}};
/* Half-way through a rotation. */
static const struct sipkeys ADDED = {
    .now = {0x1122334455667788, 0x99aabbccddeeff00},
    .other = {1, 2},
    .has_other = true};
static const struct sipkeys SWAPPED = {
    .now = {1, 2},
    .other = {0x1122334455667788, 0x99aabbccddeeff00},
    .has_other = true};

static struct upstream_id caller(void)
{
	struct upstream_id up = {
	    .branch = STR("z9hG4bKcaller"),
	    .host = STR("pbx.example.org"),
	    .port = 5070,
	    .call_id = STR("call-1@example.org"),
	    .from_tag = STR("alice"),
	    .cseq = 7,
	};

	CHECK(addr_parse(STR("192.0.2.9:1234"), &up.source));
	return up;
}

static struct hop target(void)
{
	struct hop hop = {.transport = TRANSPORT_UDP};

	CHECK(addr_parse(STR("198.51.100.2:5060"), &hop.addr));
	return hop;
}

static const char *make(const struct upstream_id *up, const struct hop *to,
			unsigned visit, uint64_t loop)
{
	static char text[BRANCH_LEN + 1];

	branch_write(text, KEY, up, to, visit, loop);
	return text;
}

/* Another node, another year, another compiler: the same text. */
/* RFC 3261 8.1.1.7. */
TEST(the_text_is_fixed)
{
	struct upstream_id up = caller();
	struct hop to = target();
	char tag[TAG_LEN];

	CHECK_STR(str_from(make(&up, &to, 0, 0xabc)),
		  "z9hG4bK1b634a29f1601495c5a0000000000000abcbe874f15259ba386");
	branch_to_tag(tag, KEY, &up);
	CHECK_STR(((struct str){tag, TAG_LEN}), "b25b569e37555ce8");
	CHECK_INT(branch_h8(STR("call-1@example.org")), 0xb6);
}

TEST(parse_gives_the_fields)
{
	struct upstream_id up = caller();
	struct hop to = target();
	struct branch b;

	CHECK(branch_parse(str_from(make(&up, &to, 0, 0xabc)), &b));
	CHECK_INT(b.h8, branch_h8(up.call_id));
	CHECK_INT(b.l, 0xabc);
	CHECK(branch_verify(&b, &KEYS, &up));
}

TEST(everything_it_covers_changes_it)
{
	struct upstream_id up = caller(), other[8];
	struct hop to = target(), port = to, tcp = to;
	char first[BRANCH_LEN + 1];
	struct branch b;

	strcpy(first, make(&up, &to, 0, 1));
	CHECK(strcmp(first, make(&up, &to, 0, 1)) == 0);
	CHECK(strcmp(first, make(&up, &to, 1, 1)) != 0);
	CHECK(strcmp(first, make(&up, &to, 0, 2)) != 0);
	port.addr.port++;
	CHECK(strcmp(first, make(&up, &port, 0, 1)) != 0);
	tcp.transport = TRANSPORT_TCP;
	CHECK(strcmp(first, make(&up, &tcp, 0, 1)) != 0);

	CHECK(branch_parse(str_from(first), &b));
	for (size_t i = 0; i < 8; i++)
		other[i] = up;
	other[0].branch = STR("z9hG4bKCaller");
	other[1].host = STR("pbx2.example.org");
	other[2].port = 5060;
	other[3].source.port = 1235;
	other[4].source.ip[3]++;
	other[5].call_id = STR("call-2@example.org");
	other[6].from_tag = STR("alice2");
	other[7].cseq = 8;
	for (size_t i = 0; i < 8; i++) {
		CHECK(strcmp(first, make(&other[i], &to, 0, 1)) != 0);
		CHECK(!branch_verify(&b, &KEYS, &other[i]));
	}
	/* A server may spell the sent-by of somebody else in its own way. */
	other[0] = up;
	other[0].host = STR("PBX.example.org");
	CHECK(branch_verify(&b, &KEYS, &other[0]));
	CHECK(!branch_verify(&b, &STRANGE, &up));
}

/* Not what decides the listener or connection: another node has others. */
TEST(our_side_of_the_hop_does_not_change_it)
{
	struct upstream_id up = caller();
	struct hop to = target(), other = to;
	char first[BRANCH_LEN + 1];

	strcpy(first, make(&up, &to, 0, 1));
	other.listener = 3;
	other.worker = 2;
	other.conn = 77;
	CHECK(addr_parse(STR("10.0.0.1"), &other.local));
	CHECK(strcmp(first, make(&up, &other, 0, 1)) == 0);
}

TEST(each_changed_digit_is_seen)
{
	struct upstream_id up = caller();
	struct hop to = target();
	char text[BRANCH_LEN + 1];
	struct branch b;

	for (size_t i = 8; i < BRANCH_LEN; i++) {
		strcpy(text, make(&up, &to, 0, 1));
		text[i] = text[i] == '0' ? '1' : '0';
		CHECK(branch_parse(str_from(text), &b));
		CHECK(!branch_verify(&b, &KEYS, &up));
	}
}

TEST(parse_refuses_other_branches)
{
	struct upstream_id up = caller();
	struct hop to = target();
	char text[BRANCH_LEN + 1];
	struct branch b;

	strcpy(text, make(&up, &to, 0, 1));
	CHECK(!branch_parse(STR_NONE, &b));
	CHECK(!branch_parse(STR("z9hG4bK"), &b));
	CHECK(!branch_parse((struct str){text, BRANCH_LEN - 1}, &b));
	for (size_t i = 0; i < BRANCH_LEN; i++) {
		strcpy(text, make(&up, &to, 0, 1));
		text[i] = 'x';
		CHECK(!branch_parse(str_from(text), &b));
	}
	strcpy(text, make(&up, &to, 0, 1));
	text[7] = '2'; /* a later version */
	CHECK(!branch_parse(str_from(text), &b));
	strcpy(text, make(&up, &to, 0, 1));
	for (size_t i = 0; i < BRANCH_LEN; i++)
		if (text[i] >= 'a' && text[i] <= 'f')
			text[i] = (char)(text[i] - 0x20);
	CHECK(branch_parse(str_from(text), &b));
	CHECK(branch_verify(&b, &KEYS, &up));
}

static void parse(struct arena *a, const char *text, struct msg *m,
		  struct msg_key *key)
{
	CHECK_INT(msg_index(m, a, str_from(text)), MSG_OK);
	CHECK_INT(msg_key(m, key), MSG_OK);
}

/* What another node makes of a response whose request it never saw. */
/* RFC 3261 16.7 step 1. */
TEST(a_response_proves_its_request)
{
	struct mem mem;
	struct arena_cache *cache;
	struct arena *a;
	struct msg m;
	struct msg_key request, response;
	struct hop from = {0}, to = target();
	struct upstream_id up, echoed;
	struct branch b;
	struct via second;
	char text[BRANCH_LEN];

	mem_init(&mem);
	cache = arena_cache_new(&mem);
	a = arena_new(cache);
	CHECK(addr_parse(STR("[2001:db8::9]:6000"), &from.addr));
	parse(a,
	      "INVITE sip:bob@example.org SIP/2.0\r\n"
	      "Via: SIP/2.0/UDP pbx.example.org;received=1.2.3.4;branch=b1\r\n"
	      "From: <sip:alice@example.org>;tag=alice\r\n"
	      "To: <sip:bob@example.org>\r\n"
	      "Call-ID: call-1\r\n"
	      "CSeq: 7 INVITE\r\n\r\n",
	      &m, &request);
	up = upstream_id(&request, &from);
	branch_write(text, KEY, &up, &to, 0, 5);
	CHECK(
	    scan_via(via_mark_received(a, &request.via, &from), &second, NULL));
	parse(a,
	      "SIP/2.0 180 Ringing\r\n"
	      "Via: SIP/2.0/UDP 10.0.0.1;branch=x, SIP/2.0/UDP y\r\n"
	      "From: <sip:alice@example.org>;tag=alice\r\n"
	      "To: <sip:bob@example.org>;tag=bob\r\n"
	      "Call-ID: call-1\r\n"
	      "CSeq: 7 INVITE\r\n\r\n",
	      &m, &response);
	echoed = upstream_id_echoed(&response, &second);
	CHECK(branch_parse((struct str){text, BRANCH_LEN}, &b));
	CHECK(branch_verify(&b, &KEYS, &echoed));
	/* Without the address we added it is not ours. */
	second.received = STR_NONE;
	echoed = upstream_id_echoed(&response, &second);
	CHECK(!branch_verify(&b, &KEYS, &echoed));
	arena_free(&a);
	arena_cache_free(&cache);
}

/* RFC 3261 19.3. */
TEST(to_tags_are_not_branches)
{
	struct upstream_id up = caller(), other = up;
	struct hop to = target();
	char tag[TAG_LEN], tag2[TAG_LEN];

	branch_to_tag(tag, KEY, &up);
	CHECK(strstr(make(&up, &to, 0, 1), "z9hG4bK1") != NULL);
	CHECK(memcmp(make(&up, &to, 0, 1) + 10, tag, TAG_LEN) != 0);
	CHECK(memcmp(make(&up, &to, 0, 1) + 42, tag, TAG_LEN) != 0);
	other.cseq++;
	branch_to_tag(tag2, KEY, &other);
	CHECK(memcmp(tag, tag2, TAG_LEN) != 0);
}

/* Each step of a rotation knows what the step before and after signed. */
TEST(two_keys_verify)
{
	static const struct sipkeys *const step[] = {&KEYS, &ADDED, &SWAPPED,
						     &STRANGE};
	struct upstream_id up = caller();
	struct hop to = target();

	for (int signer = 0; signer < 4; signer++) {
		char text[BRANCH_LEN], tag[TAG_LEN];
		struct branch b;

		branch_write(text, step[signer]->now, &up, &to, 0, 7);
		branch_to_tag(tag, step[signer]->now, &up);
		CHECK(branch_parse((struct str){text, BRANCH_LEN}, &b));
		for (int i = 0; i < 4; i++) {
			bool near = i - signer < 2 && signer - i < 2;
			bool known = sipkeys_have(step[i], step[signer]->now);

			CHECK(known || !near);
			CHECK_INT(branch_verify(&b, step[i], &up), known);
			CHECK_INT(branch_is_to_tag((struct str){tag, TAG_LEN},
						   step[i], &up),
				  known);
		}
		up.cseq++; /* another request: under no key */
		CHECK(!branch_verify(&b, &ADDED, &up));
		CHECK(
		    !branch_is_to_tag((struct str){tag, TAG_LEN}, &ADDED, &up));
		up.cseq--;
	}
}

/* A second key is not there unless it is said to be. */
TEST(an_absent_key_verifies_nothing)
{
	static const struct sipkeys one = {.now = {5, 6}};
	static const struct sipkey zero = {0, 0};
	struct upstream_id up = caller();
	struct hop to = target();
	char text[BRANCH_LEN], tag[TAG_LEN];
	struct branch b;

	branch_write(text, zero, &up, &to, 0, 7);
	branch_to_tag(tag, zero, &up);
	CHECK(branch_parse((struct str){text, BRANCH_LEN}, &b));
	CHECK(!branch_verify(&b, &one, &up));
	CHECK(!branch_is_to_tag((struct str){tag, TAG_LEN}, &one, &up));
	CHECK(!branch_is_to_tag(STR(""), &one, &up));
	CHECK(!branch_is_to_tag(STR("0123456789abcde"), &one, &up));
	CHECK(!branch_is_to_tag(STR("0123456789abcdeg"), &one, &up));
}

/* Every byte at every place of a word, and texts around the size of a chunk. */
TEST(a_hash_that_ignores_case)
{
	for (size_t n = 0; n < 140; n++) {
		char text[140], small[140];
		struct siphash a, b;

		for (size_t i = 0; i < n; i++) {
			char c = (char)(n * 7 + i * 29);

			text[i] = c;
			small[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
		}
		siphash_init(&a, KEY);
		siphash_init(&b, KEY);
		siphash_lower(&a, (struct str){text, n});
		siphash_str(&b, (struct str){small, n});
		CHECK(siphash_end(&a) == siphash_end(&b));
	}
}
