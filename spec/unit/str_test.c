#include "support/unit.h"
#include "util/str.h"

TEST(from_c)
{
	CHECK_STR(str_from("ab"), "ab");
	CHECK_STR(str_from(""), "");
	CHECK(!str_from(NULL).p);
	CHECK_INT(str_from(NULL).n, 0);
}

TEST(sub_is_clamped)
{
	struct str s = STR("hello");

	CHECK_STR(str_sub(s, 1, 3), "el");
	CHECK_STR(str_sub(s, 0, 99), "hello");
	CHECK_STR(str_sub(s, 5, 5), "");
	CHECK_STR(str_sub(s, 9, 99), "");
	CHECK_STR(str_sub(s, 3, 1), "");
	CHECK_STR(str_sub(s, SIZE_MAX, SIZE_MAX), "");
	CHECK(!str_sub(STR_NONE, 1, 2).p);
}

TEST(equality)
{
	CHECK(str_eq(STR("a"), STR("a")));
	CHECK(!str_eq(STR("a"), STR("A")));
	CHECK(!str_eq(STR("a"), STR("ab")));
	CHECK(str_eq(STR_NONE, STR("")));
	CHECK(str_eq(STR("a\0b"), STR("a\0b")));
	CHECK(!str_eq(STR("a\0b"), STR("a\0c")));
}

TEST(case_is_ascii_only)
{
	CHECK(str_caseeq(STR("Via"), STR("vIA")));
	CHECK(!str_caseeq(STR("Via"), STR("Vi")));
	CHECK(str_caseeq(STR_NONE, STR("")));
	/* One bit apart like letters, but none. */
	CHECK(!str_caseeq(STR("@"), STR("`")));
	CHECK(!str_caseeq(STR("["), STR("{")));
	CHECK(!str_caseeq(STR("\xc4"), STR("\xe4")));
}

TEST(order)
{
	CHECK_INT(str_cmp(STR("a"), STR("a")), 0);
	CHECK(str_cmp(STR("a"), STR("b")) < 0);
	CHECK(str_cmp(STR("b"), STR("aa")) > 0);
	CHECK(str_cmp(STR("a"), STR("aa")) < 0);
	CHECK(str_cmp(STR(""), STR("a")) < 0);
	CHECK_INT(str_cmp(STR_NONE, STR("")), 0);
	CHECK(str_cmp(STR("\x80"), STR("\x7f")) > 0);
}

TEST(starts)
{
	CHECK(str_starts(STR("sip:a"), STR("sip:")));
	CHECK(str_starts(STR("sip:"), STR("sip:")));
	CHECK(!str_starts(STR("sip"), STR("sip:")));
	CHECK(!str_starts(STR("SIP:a"), STR("sip:")));
	CHECK(str_starts(STR_NONE, STR("")));
	CHECK(!str_starts(STR_NONE, STR("a")));
}

TEST(trim)
{
	CHECK_STR(str_trim(STR(" \t\r\n a b \r\n")), "a b");
	CHECK_STR(str_trim(STR("a")), "a");
	CHECK_INT(str_trim(STR(" \t ")).n, 0);
	CHECK_INT(str_trim(STR_NONE).n, 0);
	CHECK_STR(str_trim(STR("\0 a\v")), "\0 a\v");
}

TEST(cut_walks_a_list)
{
	struct str rest = STR("a;bc;;d");

	CHECK_STR(str_cut(&rest, ';'), "a");
	CHECK_STR(str_cut(&rest, ';'), "bc");
	CHECK_STR(str_cut(&rest, ';'), "");
	CHECK_STR(rest, "d");
	CHECK_STR(str_cut(&rest, ';'), "d");
	CHECK(!rest.p);
	CHECK_INT(rest.n, 0);
}

TEST(cut_at_the_end)
{
	struct str rest = STR("a;");

	CHECK_STR(str_cut(&rest, ';'), "a");
	CHECK(rest.p != NULL);
	CHECK_STR(str_cut(&rest, ';'), "");
	CHECK(!rest.p);
	CHECK_INT(str_cut(&rest, ';').n, 0);
	CHECK(!rest.p);
}

TEST(find)
{
	CHECK_INT(str_find(STR("abcb"), 'b'), 1);
	CHECK_INT(str_find(STR("abc"), 'x'), 3);
	CHECK_INT(str_find(STR_NONE, 'x'), 0);
	CHECK_INT(str_find(STR("ab\0c"), '\0'), 2);
	CHECK_INT(str_find(STR("a\xff"), '\xff'), 1);
}

static bool u32_is(struct str s, uint32_t max, uint32_t want)
{
	uint32_t v = want + 1;

	return str_u32(s, max, &v) && v == want;
}

static bool u32_refused(struct str s, uint32_t max)
{
	uint32_t v = 77;

	return !str_u32(s, max, &v) && v == 77;
}

TEST(decimal)
{
	CHECK(u32_is(STR("0"), 0, 0));
	CHECK(u32_is(STR("70"), 70, 70));
	CHECK(u32_is(STR("4294967295"), UINT32_MAX, UINT32_MAX));
	CHECK(u32_is(STR("00000000000000000000000000005"), 9, 5));
	CHECK(u32_refused(STR("71"), 70));
	CHECK(u32_refused(STR("4294967296"), UINT32_MAX));
	CHECK(u32_refused(STR("18446744073709551616"), UINT32_MAX));
	CHECK(u32_refused(STR("99999999999999999999999999999999"), 9));
	CHECK(u32_refused(STR(""), 9));
	CHECK(u32_refused(STR_NONE, 9));
	CHECK(u32_refused(STR("-1"), 9));
	CHECK(u32_refused(STR("+1"), 9));
	CHECK(u32_refused(STR(" 1"), 9));
	CHECK(u32_refused(STR("1 "), 9));
	CHECK(u32_refused(STR("0x1"), 9));
	CHECK(u32_refused(STR("1\0"), 9));
}

TEST(hex)
{
	char out[16];
	uint64_t v = 5;

	CHECK(str_hex64(STR("0123456789abcdef"), &v));
	CHECK(v == 0x0123456789abcdefu);
	CHECK(str_hex64(STR("FFFFFFFFffffffff"), &v));
	CHECK(v == UINT64_MAX);
	v = 5;
	CHECK(!str_hex64(STR("0123456789abcde"), &v));
	CHECK(!str_hex64(STR("0123456789abcdef0"), &v));
	CHECK(!str_hex64(STR("0123456789abcdeg"), &v));
	CHECK(!str_hex64(STR("0x23456789abcdef"), &v));
	CHECK(!str_hex64(STR_NONE, &v));
	CHECK_INT(v, 5);
	str_put_hex(out, 16, 0x00c0ffee12345678u);
	CHECK_STR(((struct str){out, 16}), "00c0ffee12345678");
	str_put_hex(out, 4, 0x00c0ffee12345678u);
	CHECK_STR(((struct str){out, 6}), "5678ff");
	str_put_hex(out, 0, 1);
	CHECK_INT(out[0], '5');
}

TEST(token)
{
	/* RFC 3261 25.1, by exhaustion. */
	static const char all[] = "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789-.!%*_+`'~";
	int tokens = 0;

	CHECK(str_is_token(STR(all)));
	CHECK(!str_is_token(STR("")));
	CHECK(!str_is_token(STR_NONE));
	CHECK(!str_is_token(STR("a b")));
	for (int c = 0; c < 256; c++) {
		char text = (char)c;

		tokens += str_is_token((struct str){&text, 1});
	}
	CHECK_INT(tokens, sizeof(all) - 1);
}
