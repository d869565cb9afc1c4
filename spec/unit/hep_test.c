#include "util/hep.h"

#include <string.h>

#include "support/unit.h"

static struct addr at(const char *text)
{
	struct addr a = {0};

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

TEST(ipv4_byte_by_byte)
{
	char space[512];
	struct buf b;
	size_t n;
	struct hep h = {
	    .from = at("192.0.2.7:5062"),
	    .to = at("10.0.0.1:5060"),
	    .time = {1763640904757123},
	    .type = HEP_SIP,
	    .id = 2001,
	    .password = STR("pw"),
	    .correlation = STR("f81d@x"),
	    .node = STR("edge1"),
	    .payload = STR("OPTIONS"),
	};

	buf_fixed(&b, space, sizeof(space));
	hep_write(&b, &h, &n);
	CHECK(buf_ok(&b));
	CHECK_INT(n, 7);
	CHECK_STR(buf_str(&b), "HEP3\0\x89"
			       "\0\0\0\x01\0\x07\x02"
			       "\0\0\0\x03\0\x0a\xc0\x00\x02\x07"
			       "\0\0\0\x04\0\x0a\x0a\x00\x00\x01"
			       "\0\0\0\x02\0\x07\x11"
			       "\0\0\0\x07\0\x08\x13\xc6"
			       "\0\0\0\x08\0\x08\x13\xc4"
			       "\0\0\0\x09\0\x0a\x69\x1f\x06\x48"
			       "\0\0\0\x0a\0\x0a\x00\x0b\x8d\x83"
			       "\0\0\0\x0b\0\x07\x01"
			       "\0\0\0\x0c\0\x0a\x00\x00\x07\xd1"
			       "\0\0\0\x0e\0\x08pw"
			       "\0\0\0\x11\0\x0c"
			       "f81d@x"
			       "\0\0\0\x13\0\x0b"
			       "edge1"
			       "\0\0\0\x0f\0\x0dOPTIONS");
}

TEST(ipv6_tcp_and_a_log_line)
{
	char space[512];
	struct buf b;
	size_t n;
	struct hep h = {
	    .from = at("[2001:db8::7]:40000"),
	    .to = at("[::1]:5061"),
	    .tcp = true,
	    .time = {SECONDS(1)},
	    .type = HEP_LOG,
	    .payload = STR("{}"),
	};

	buf_fixed(&b, space, sizeof(space));
	hep_write(&b, &h, &n);
	CHECK(buf_ok(&b));
	CHECK_STR(buf_str(&b),
		  "HEP3\0\x7d"
		  "\0\0\0\x01\0\x07\x0a"
		  "\0\0\0\x05\0\x16\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
		  "\0\0\0\x06\0\x16\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
		  "\0\0\0\x02\0\x07\x06"
		  "\0\0\0\x07\0\x08\x9c\x40"
		  "\0\0\0\x08\0\x08\x13\xc5"
		  "\0\0\0\x09\0\x0a\0\0\0\x01"
		  "\0\0\0\x0a\0\x0a\0\0\0\0"
		  "\0\0\0\x0b\0\x07\x64"
		  "\0\0\0\x0c\0\x0a\0\0\0\0"
		  "\0\0\0\x0f\0\x08{}");
}

TEST(what_is_too_long_is_cut)
{
	static char space[HEP_MAX + 100], payload[70000], name[300];
	struct buf b;
	size_t n;
	struct hep h = {
	    .from = at("192.0.2.7:5062"),
	    .to = at("10.0.0.1:5060"),
	    .type = HEP_SIP,
	    .correlation = {name, sizeof(name)},
	    .payload = {payload, sizeof(payload)},
	};

	memset(name, 'n', sizeof(name));
	memset(payload, 'x', sizeof(payload));
	buf_fixed(&b, space, sizeof(space));
	hep_write(&b, &h, &n);
	CHECK(buf_ok(&b));
	CHECK_INT(b.n, HEP_MAX);
	CHECK_INT((uint8_t)space[4] << 8 | (uint8_t)space[5], HEP_MAX);
	CHECK(n < sizeof(payload) && n > 65000);
	CHECK(memcmp(space + b.n - n, payload, n) == 0);
}

TEST(no_room)
{
	char space[60];
	struct buf b;
	size_t n;
	struct hep h = {.type = HEP_SIP, .payload = STR("OPTIONS")};

	buf_fixed(&b, space, sizeof(space));
	hep_write(&b, &h, &n);
	CHECK(!buf_ok(&b));
}
