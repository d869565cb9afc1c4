#include "support/unit.h"
#include "util/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "util/rand.h"

static struct addr parsed(struct str s)
{
	struct addr a;

	CHECK(addr_parse(s, &a));
	return a;
}

/* What is parsed is written as `want`. */
static bool reads_as(struct str s, const char *want)
{
	char text[ADDR_TEXT];
	struct addr a;

	return addr_parse(s, &a) && strcmp(addr_text(&a, text), want) == 0;
}

static bool refused(struct str s)
{
	struct addr a, before;

	memset(&a, 0x5a, sizeof(a));
	before = a;
	return !addr_parse(s, &a) && memcmp(&a, &before, sizeof(a)) == 0;
}

TEST(parse_v4)
{
	struct addr a = parsed(STR("10.0.0.1:5060"));

	CHECK_INT(a.family, ADDR_V4);
	CHECK_INT(a.ip[0], 10);
	CHECK_INT(a.ip[3], 1);
	CHECK_INT(a.port, 5060);
	CHECK_INT(a.scope, 0);
	CHECK_INT(parsed(STR("10.0.0.1")).port, 0);
	CHECK(reads_as(STR("0.0.0.0"), "0.0.0.0"));
	CHECK(reads_as(STR("255.255.255.255:65535"), "255.255.255.255:65535"));
	CHECK(reads_as(STR("1.2.3.4:1"), "1.2.3.4:1"));
}

/* RFC 4291 2.2, RFC 5118. */
TEST(parse_v6)
{
	struct addr a = parsed(STR("[2001:db8::1]:5060"));

	CHECK_INT(a.family, ADDR_V6);
	CHECK_INT(a.ip[0], 0x20);
	CHECK_INT(a.ip[15], 1);
	CHECK_INT(a.port, 5060);
	CHECK(reads_as(STR("::1"), "[::1]"));
	CHECK(reads_as(STR("[::1]"), "[::1]"));
	CHECK(reads_as(STR("::"), "[::]"));
	CHECK(reads_as(STR("[::]:1"), "[::]:1"));
	CHECK(reads_as(STR("1::"), "[1::]"));
	CHECK(reads_as(STR("0:0:0:0:0:0:0:1"), "[::1]"));
	CHECK(reads_as(STR("1:2:3:4:5:6:7:8"), "[1:2:3:4:5:6:7:8]"));
	CHECK(reads_as(STR("1:2:3:4:5:6:7::"), "[1:2:3:4:5:6:7:0]"));
	CHECK(reads_as(STR("::2:3:4:5:6:7:8"), "[0:2:3:4:5:6:7:8]"));
	CHECK(reads_as(STR("2001:0DB8:0:0:1:0:0:1"), "[2001:db8::1:0:0:1]"));
	CHECK(reads_as(STR("1:0:0:2:0:0:0:3"), "[1:0:0:2::3]"));
	CHECK(reads_as(STR("64:ff9b::1.2.3.4"), "[64:ff9b::102:304]"));
	CHECK(reads_as(STR("1:2:3:4:5:6:1.2.3.4"), "[1:2:3:4:5:6:102:304]"));
	/* RFC 5118 4.10 */
	CHECK(reads_as(STR("[2001:db8:::192.0.2.1]"), "[2001:db8::c000:201]"));
	CHECK(reads_as(STR("[:::1.2.3.4]:5"), "[::102:304]:5"));
}

TEST(mapped_is_v4)
{
	CHECK(reads_as(STR("::ffff:10.0.0.1"), "10.0.0.1"));
	CHECK(reads_as(STR("[::ffff:10.0.0.1]:5060"), "10.0.0.1:5060"));
	CHECK(reads_as(STR("::FFFF:a00:1"), "10.0.0.1"));
	CHECK(reads_as(STR("::fffe:a00:1"), "[::fffe:a00:1]"));
	CHECK(reads_as(STR("1::ffff:a00:1"), "[1::ffff:a00:1]"));
}

TEST(refused)
{
	static const char *const bad[] = {
	    "",
	    ":",
	    "::1:",
	    ":::",
	    ":1",
	    "1:",
	    "1:2",
	    "::1::",
	    "1::2::3",
	    "1:2:3:4:5:6:7",
	    "1:2:3:4:5:6:7:8:9",
	    "::1:2:3:4:5:6:7:8",
	    "1:2:3:4::5:6:7:8",
	    "12345::",
	    "g::",
	    "::1%eth0",
	    "::1%1",
	    "fe80::1%2",
	    "::1/64",
	    "::1.2.3",
	    "2001:db8:::192.0.2.1",
	    "[2001:db8:::1]",
	    "[2001:db8:::]",
	    "[2001:db8::::192.0.2.1]",
	    "[2001:db8:::1:192.0.2.1]",
	    "[2001:db8:::192.0.2]",
	    "[1::2:::192.0.2.1]",
	    "[1:2:3:4:5:6:::192.0.2.1]",
	    "::1.2.3.4.5",
	    "::1.2.3.04",
	    "1.2.3.4::",
	    "::1.2.3.4:5",
	    "1:2:3:4:5:6:7:1.2.3.4",
	    /* ports */
	    "1.2.3.4:",
	    "1.2.3.4:0",
	    "1.2.3.4:65536",
	    "1.2.3.4:-1",
	    "1.2.3.4:+1",
	    "1.2.3.4: 1",
	    "1.2.3.4:1 ",
	    "1.2.3.4:5060x",
	    "1.2.3.4:99999999999999999999",
	    "[::1]:",
	    "[::1]:0",
	    "[::1]:65536",
	    "[::1]5060",
	    "[::1] ",
	    "[::1]]",
	    "[::1]:5060]",
	    "[::1]:1:2",
	    /* brackets */
	    "[]",
	    "[",
	    "]",
	    "[::1",
	    "::1]",
	    "[[::1]]",
	    "[1.2.3.4]",
	    "[1.2.3.4]:5060",
	    "[ ::1]",
	    "[::1:5060",
	    "x[::1]",
	    /* octets */
	    "1.2.3",
	    "1.2.3.4.5",
	    "1.2.3.4.",
	    ".1.2.3.4",
	    "1..3.4",
	    "256.1.1.1",
	    "1.2.3.256",
	    "010.0.0.1",
	    "10.0.0.01",
	    "00.0.0.0",
	    "1.2.3.4a",
	    "0x1.2.3.4",
	    "1.2.3.-4",
	    "1.2.3.+4",
	    "1.2.3. 4",
	    " 1.2.3.4",
	    "1.2.3.4 ",
	    "1.2.3.4\n",
	    "1.2.3.4444",
	    "16909060",
	    "127.1",
	    /* names */
	    "localhost",
	    "pbx.example.com",
	    "pbx.example.com:5060",
	    "a",
	    "1.2.3.4.example.com",
	    "dead.beef",
	    "*",
	};

	CHECK(refused(STR_NONE));
	CHECK(refused(STR("1.2.3.4\0")));
	CHECK(refused(STR("1.2.3.4:5060\0")));
	CHECK(refused(STR("::1\0")));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!refused(str_from(bad[i])))
			CHECK_STR(str_from(bad[i]), "(refused)");
}

TEST(parse_ip_takes_no_port)
{
	struct addr a;

	CHECK(addr_parse_ip(STR("1.2.3.4"), &a));
	CHECK(addr_parse_ip(STR("::1"), &a));
	CHECK(addr_parse_ip(STR("[::1]"), &a));
	CHECK_INT(a.port, 0);
	CHECK(!addr_parse_ip(STR("1.2.3.4:5060"), &a));
	CHECK(!addr_parse_ip(STR("[::1]:5060"), &a));
	CHECK(!addr_parse_ip(STR("[1.2.3.4]"), &a));
	CHECK(!addr_parse_ip(STR(""), &a));
	CHECK(!addr_parse_ip(STR_NONE, &a));
	CHECK(addr_parse_v4(STR("1.2.3.4"), &a));
	CHECK(!addr_parse_v4(STR("::ffff:1.2.3.4"), &a));
}

/* The C library reads the same texts as addresses. */
static void compare(const char *text)
{
	unsigned char v4[4], v6[16];
	bool is4 = inet_pton(AF_INET, text, v4) == 1;
	bool is6 = inet_pton(AF_INET6, text, v6) == 1;
	struct addr a;

	if (addr_parse_ip(str_from(text), &a) != (is4 || is6))
		CHECK_STR(str_from(text), "(as inet_pton says)");
	if (is4)
		CHECK(a.family == ADDR_V4 && memcmp(a.ip, v4, 4) == 0);
	if (is6 && a.family == ADDR_V6)
		CHECK(memcmp(a.ip, v6, 16) == 0);
	if (is6 && a.family == ADDR_V4)
		CHECK(memcmp(a.ip, v6 + 12, 4) == 0);
}

TEST(reads_what_the_c_library_reads)
{
	static const char alphabet[] = "::::....0011259afF";
	struct rand r;

	rand_seed(&r, 11);
	for (int i = 0; i < 300000; i++) {
		char text[48];
		size_t n = rand_below(&r, i % 2 ? 12 : 30);

		for (size_t k = 0; k < n; k++)
			text[k] =
			    alphabet[rand_below(&r, sizeof(alphabet) - 1)];
		text[n] = '\0';
		compare(text);
	}
}

/* Valid texts with one or two characters changed. */
TEST(reads_near_misses_as_the_c_library_does)
{
	static const char *const base[] = {
	    "1:2:3:4:5:6:7:8", "2001:db8::1:0:0:1",   "::ffff:192.168.10.1",
	    "192.168.10.1",    "1:2:3:4:5:6:1.2.3.4", "fe80::"};
	static const char alphabet[] = ":.0123456789abcdefg%/ ";
	struct rand r;

	rand_seed(&r, 12);
	for (int i = 0; i < 300000; i++) {
		char text[48];
		size_t n;

		strcpy(text, base[rand_below(&r, 6)]);
		n = strlen(text);
		for (uint64_t k = rand_below(&r, 3); k > 0; k--)
			text[rand_below(&r, n)] =
			    alphabet[rand_below(&r, sizeof(alphabet) - 1)];
		if (rand_below(&r, 3) == 0)
			text[rand_below(&r, n)] = '\0';
		compare(text);
	}
}

/* RFC 5952 4.2. */
TEST(writes_what_the_c_library_writes)
{
	struct rand r;

	rand_seed(&r, 13);
	for (int i = 0; i < 100000; i++) {
		struct addr a = {.family = i % 4 ? ADDR_V6 : ADDR_V4}, back;
		char got[ADDR_TEXT], want[INET6_ADDRSTRLEN];
		struct buf b;

		for (int k = 0; k < 16; k++)
			a.ip[k] = rand_below(&r, 3) ? 0 : (uint8_t)rand_u64(&r);
		a.ip[0] |= 1; /* embedded IPv4 has forms of its own */
		buf_fixed(&b, got, sizeof(got));
		addr_write_ip(&b, &a);
		inet_ntop(a.family == ADDR_V6 ? AF_INET6 : AF_INET, a.ip, want,
			  sizeof(want));
		CHECK(str_eq(buf_str(&b), str_from(want)));
		CHECK(addr_parse(str_from(addr_text(&a, got)), &back));
		CHECK(addr_eq(&a, &back));
	}
}

TEST(text_forms)
{
	struct addr v4 = parsed(STR("1.2.3.4:5060"));
	struct addr v6 = parsed(STR("[::1]:5060")), none = {0};
	char space[200], text[ADDR_TEXT];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	addr_write_ip(&b, &v4);
	buf_char(&b, ' ');
	addr_write_ip(&b, &v6);
	buf_char(&b, ' ');
	addr_write_host(&b, &v4);
	buf_char(&b, ' ');
	addr_write_host(&b, &v6);
	buf_char(&b, ' ');
	addr_write(&b, &v4);
	buf_char(&b, ' ');
	addr_write(&b, &v6);
	CHECK_STR(buf_str(&b),
		  "1.2.3.4 ::1 1.2.3.4 [::1] 1.2.3.4:5060 [::1]:5060");
	CHECK_STR(str_from(addr_text(&none, text)), "-");
	memset(v6.ip, 0xff, 16);
	v6.port = 65535;
	CHECK_STR(str_from(addr_text(&v6, text)),
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

TEST(equality)
{
	struct addr a = parsed(STR("1.2.3.4:5060")), b = a;

	CHECK(addr_eq(&a, &b));
	b.ip[7] = 9; /* not part of an IPv4 address */
	CHECK(addr_eq(&a, &b));
	b.port = 5061;
	CHECK(!addr_eq(&a, &b));
	CHECK(addr_ip_eq(&a, &b));
	b.ip[3] = 5;
	CHECK(!addr_ip_eq(&a, &b));
	a = parsed(STR("fe80::1"));
	b = a;
	b.scope = 2;
	CHECK(!addr_eq(&a, &b));
	CHECK(addr_ip_eq(&a, &b));
	b = parsed(STR("fe80::2"));
	CHECK(!addr_ip_eq(&a, &b));
}

static bool is(bool (*what)(const struct addr *a), struct str s)
{
	struct addr a = parsed(s);

	return what(&a);
}

TEST(kinds)
{
	struct addr none = {0};

	CHECK(is(addr_is_any, STR("0.0.0.0")));
	CHECK(is(addr_is_any, STR("::")));
	CHECK(is(addr_is_any, STR("[::]:5060")));
	CHECK(!is(addr_is_any, STR("0.0.0.1")));
	CHECK(!is(addr_is_any, STR("::1")));
	CHECK(!is(addr_is_any, STR("1::")));
	CHECK(is(addr_is_loopback, STR("127.0.0.1")));
	CHECK(is(addr_is_loopback, STR("127.255.255.255")));
	CHECK(is(addr_is_loopback, STR("::1")));
	CHECK(is(addr_is_loopback, STR("::ffff:127.0.0.1")));
	CHECK(!is(addr_is_loopback, STR("128.0.0.1")));
	CHECK(!is(addr_is_loopback, STR("::2")));
	CHECK(!is(addr_is_loopback, STR("1::1")));
	CHECK(!addr_is_any(&none) && !addr_is_loopback(&none));
}

TEST(unsendable)
{
	struct addr none = {0};

	CHECK(is(addr_is_unsendable, STR("0.0.0.0")));
	CHECK(is(addr_is_unsendable, STR("0.1.2.3")));
	CHECK(is(addr_is_unsendable, STR("224.0.1.75")));
	CHECK(is(addr_is_unsendable, STR("239.255.255.255")));
	CHECK(is(addr_is_unsendable, STR("255.255.255.255")));
	CHECK(is(addr_is_unsendable, STR("::")));
	CHECK(is(addr_is_unsendable, STR("ff02::1")));
	CHECK(is(addr_is_unsendable, STR("::ffff:224.0.0.1")));
	CHECK(addr_is_unsendable(&none));
	CHECK(!is(addr_is_unsendable, STR("1.0.0.0")));
	CHECK(!is(addr_is_unsendable, STR("223.255.255.255")));
	CHECK(!is(addr_is_unsendable, STR("10.0.0.255")));
	CHECK(!is(addr_is_unsendable, STR("127.0.0.1")));
	CHECK(!is(addr_is_unsendable, STR("::1")));
	CHECK(!is(addr_is_unsendable, STR("fe80::1")));
}

static bool net_has(struct str net, struct str s)
{
	struct addr a = parsed(s);
	struct addr_net n;

	CHECK(addr_net_parse(net, &n));
	return addr_net_has(&n, &a);
}

TEST(networks)
{
	CHECK(net_has(STR("10.0.0.0/8"), STR("10.255.0.1:5060")));
	CHECK(!net_has(STR("10.0.0.0/8"), STR("11.0.0.0")));
	CHECK(net_has(STR("10.0.0.1"), STR("10.0.0.1")));
	CHECK(!net_has(STR("10.0.0.1"), STR("10.0.0.2")));
	CHECK(net_has(STR("192.168.4.0/22"), STR("192.168.7.255")));
	CHECK(!net_has(STR("192.168.4.0/22"), STR("192.168.8.0")));
	CHECK(net_has(STR("0.0.0.0/0"), STR("255.1.2.3")));
	CHECK(!net_has(STR("0.0.0.0/0"), STR("::1")));
	CHECK(!net_has(STR("::/0"), STR("1.2.3.4")));
	CHECK(net_has(STR("::/0"), STR("1::")));
	CHECK(net_has(STR("2001:db8::/33"), STR("2001:db8:7fff::1")));
	CHECK(!net_has(STR("2001:db8::/33"), STR("2001:db8:8000::1")));
	CHECK(net_has(STR("[::1]/128"), STR("::1")));
	CHECK(net_has(STR("1.2.3.4/31"), STR("1.2.3.5")));
	CHECK(!net_has(STR("1.2.3.4/31"), STR("1.2.3.6")));
	CHECK(net_has(STR("::ffff:10.0.0.0/104"), STR("10.9.9.9")));
	CHECK(net_has(STR("::ffff:10.0.0.1"), STR("10.0.0.1")));
}

TEST(equal_networks_are_equal_values)
{
	struct addr_net a, b;

	CHECK(addr_net_parse(STR("10.1.2.3/12"), &a));
	CHECK(addr_net_parse(STR("10.0.0.0/12"), &b));
	CHECK(addr_eq(&a.base, &b.base));
	CHECK_INT(a.bits, 12);
	CHECK(addr_net_parse(STR("2001:db8:ffff::1/33"), &a));
	CHECK(addr_net_parse(STR("2001:db8:8000::/33"), &b));
	CHECK(addr_eq(&a.base, &b.base));
}

TEST(networks_refused)
{
	static const char *const bad[] = {
	    "",          "/",           "/8",           "10.0.0.0/",
	    "10/8",      "10.0.0.0/33", "10.0.0.0/-1",  "10.0.0.0/08",
	    "::/129",    "::1/",        "10.0.0.0/8/8", "10.0.0.0:5060/8",
	    "[::1/128]", "1.2.3.4/ 8",  "a/8",          "::ffff:1.2.3.4/95"};
	struct addr_net n;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (addr_net_parse(str_from(bad[i]), &n))
			CHECK_STR(str_from(bad[i]), "(refused)");
}

static struct addr through_sockaddr(struct addr a, unsigned size)
{
	struct sockaddr_storage ss;
	struct sockaddr *sa = (struct sockaddr *)&ss;
	struct addr back;

	memset(&ss, 0x5a, sizeof(ss));
	CHECK_INT(addr_to_sockaddr(&a, sa), size);
	addr_from_sockaddr(&back, sa);
	return back;
}

TEST(sockaddr)
{
	struct addr a = parsed(STR("1.2.3.4:5060")), b;
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};

	b = through_sockaddr(a, sizeof(struct sockaddr_in));
	CHECK(addr_eq(&a, &b));
	a = parsed(STR("[fe80::1]:5061"));
	a.scope = 3;
	b = through_sockaddr(a, sizeof(struct sockaddr_in6));
	CHECK(addr_eq(&a, &b));
	CHECK_INT(b.scope, 3);
	/* The kernel reports an interface for link-local only; elsewhere it
	 * would make equal addresses differ. */
	a = parsed(STR("[2001:db8::1]:5061"));
	a.scope = 3;
	CHECK_INT(through_sockaddr(a, sizeof(in6)).scope, 0);
	inet_pton(AF_INET6, "::ffff:10.0.0.1", &in6.sin6_addr);
	in6.sin6_port = htons(99);
	addr_from_sockaddr(&b, (struct sockaddr *)&in6);
	a = parsed(STR("10.0.0.1:99"));
	CHECK(addr_eq(&a, &b));
	CHECK_INT(b.family, ADDR_V4);
	addr_from_sockaddr(&b, (struct sockaddr *)&ss);
	CHECK_INT(b.family, ADDR_NONE);
	CHECK_INT(addr_to_sockaddr(&b, (struct sockaddr *)&ss), 0);
}

TEST(whose_an_address_is)
{
	struct addr a = parsed(STR("10.1.2.3:99")), b = addr_holder(&a);

	CHECK(addr_ip_eq(&a, &b));
	CHECK_INT(b.port, 0);
	a = parsed(STR("[2001:db8:1:2:3:4:5:6]:99"));
	b = addr_holder(&a);
	a = parsed(STR("2001:db8:1:2::"));
	CHECK(addr_eq(&a, &b));
}
