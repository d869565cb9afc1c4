/* Flow tokens: what is written is read back, and nothing else is. */
#include <ctype.h>
#include <string.h>
#include "proxy/token.h"
#include "support/unit.h"
#include "util/list.h"

static const struct sipkey key = {1, 2};
static const struct sipkeys keys = {.now = {1, 2}}, others = {.now = {1, 3}};
static const struct sipkeys both = {
    .now = {1, 3}, .other = {1, 2}, .has_other = true};

static struct token make(const char *local, const char *peer, enum transport t)
{
	struct token token = {.side = TOKEN_PATH, .transport = (uint8_t)t};

	CHECK(addr_parse(str_from(local), &token.local));
	CHECK(addr_parse(str_from(peer), &token.peer));
	return token;
}

static struct token v4(void)
{
	return make("10.0.0.100:5060", "192.0.2.7:41002", TRANSPORT_UDP);
}

static struct str write(const struct token *t)
{
	static char space[200];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	token_write(&b, key, t);
	CHECK(buf_ok(&b));
	return buf_str(&b);
}

static void check_same(const struct token *a, const struct token *b)
{
	CHECK_INT(a->side, b->side);
	CHECK_INT(a->transport, b->transport);
	CHECK(addr_eq(&a->local, &b->local));
	CHECK(addr_eq(&a->peer, &b->peer));
	CHECK_INT(a->peer.scope, b->peer.scope);
	CHECK(a->conn == b->conn);
}

static void check_round_trip(const struct token *t)
{
	struct token out;

	CHECK_INT(token_read(write(t), &keys, &out), TOKEN_OK);
	check_same(t, &out);
	CHECK_INT(token_read(write(t), &both, &out), TOKEN_OK);
	check_same(t, &out);
}

TEST(token_is_read_back_as_it_was_written)
{
	static const enum token_side sides[] = {TOKEN_PATH, TOKEN_CALLER,
						TOKEN_CALLEE};
	struct token t = v4();

	for (size_t i = 0; i < 3; i++) {
		t.side = sides[i];
		check_round_trip(&t);
	}
	CHECK_INT(write(&t).n, 53);
}

TEST(token_holds_ipv6_with_its_scope)
{
	struct token t =
	    make("[2001:db8::100]:5060", "[fe80::1234]:65535", TRANSPORT_UDP);

	t.peer.scope = 3;
	check_round_trip(&t);
	t = make("[::]:5060", "192.0.2.7:1", TRANSPORT_UDP);
	check_round_trip(&t);
}

TEST(token_holds_a_connection_on_streams_only)
{
	struct token t =
	    make("10.0.0.100:5061", "192.0.2.7:40000", TRANSPORT_TLS);
	struct token out;

	t.conn = 0xfedcba9876543210;
	check_round_trip(&t);
	t = v4();
	t.conn = 7;
	CHECK_INT(token_read(write(&t), &keys, &out), TOKEN_OK);
	CHECK(out.conn == 0);
}

TEST(token_is_a_user_part_without_escapes)
{
	struct token t = v4();
	struct str text = write(&t);

	CHECK(str_starts(text, STR("flow1-p")));
	CHECK(str_is_token(text));
}

TEST(token_of_another_key_is_bad)
{
	struct token t = v4(), out;

	CHECK_INT(token_read(write(&t), &others, &out), TOKEN_BAD);
}

/* Any character of it changed to any other, and any length but its own. */
/* RFC 3327 6.1, RFC 5626 5.2. */
TEST(token_that_is_damaged_is_bad)
{
	struct token t = v4(), out;
	struct str text = write(&t);
	char copy[200];

	for (size_t i = 6; i < text.n; i++) {
		for (int c = 33; c < 127; c++) {
			memcpy(copy, text.p, text.n);
			if (tolower(c) == copy[i])
				continue; /* hex digits of the MAC */
			copy[i] = (char)c;
			CHECK_INT(
			    token_read((struct str){copy, text.n}, &keys, &out),
			    TOKEN_BAD);
		}
	}
	memcpy(copy, text.p, text.n);
	memset(copy + text.n, '0', 16);
	for (size_t n = 6; n < text.n + 16; n++)
		if (n != text.n)
			CHECK_INT(
			    token_read((struct str){copy, n}, &keys, &out),
			    TOKEN_BAD);
}

TEST(token_of_another_side_is_another)
{
	struct token t = v4(), out;
	struct str text = write(&t);
	char copy[200];

	memcpy(copy, text.p, text.n);
	copy[6] = TOKEN_CALLEE;
	CHECK_INT(token_read((struct str){copy, text.n}, &keys, &out),
		  TOKEN_BAD);
}

TEST(token_is_not_what_begins_otherwise)
{
	static const char *const names[] = {"alice",   "flow",    "flow1",
					    "flow2-p", "FLOW1-p", ""};
	struct token out;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		CHECK_INT(token_read(str_from(names[i]), &keys, &out),
			  TOKEN_NONE);
	CHECK_INT(token_read(STR_NONE, &keys, &out), TOKEN_NONE);
}

TEST(token_that_does_not_fit_fails_the_buffer)
{
	struct token t = v4();
	char space[52];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	token_write(&b, key, &t);
	CHECK(!buf_ok(&b));
}
