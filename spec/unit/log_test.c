#include "support/unit.h"
#include "util/log.h"

#include <math.h>
#include <stdio.h>

#include "util/list.h"
#include "util/rand.h"

struct out {
	char space[2000];
	struct buf b;
};

static struct str logfmt(struct out *o, const struct log_event *e, int64_t us)
{
	buf_fixed(&o->b, o->space, sizeof(o->space));
	log_write_logfmt(&o->b, e, (wall_t){us});
	CHECK(buf_ok(&o->b));
	return buf_str(&o->b);
}

static struct str json(struct out *o, const struct log_event *e, int64_t us)
{
	buf_fixed(&o->b, o->space, sizeof(o->space));
	log_write_json(&o->b, e, (wall_t){us});
	CHECK(buf_ok(&o->b));
	return buf_str(&o->b);
}

/* The value as it stands in the line. */
static struct str logfmt_value(struct out *o, struct str v)
{
	struct log_field f[] = {LOGF_STR("k", v)};
	struct log_event e = {LOG_INFO, "e", f, 1};

	return str_sub(logfmt(o, &e, 0), 49, SIZE_MAX);
}

static struct str json_value(struct out *o, struct str v)
{
	struct log_field f[] = {LOGF_STR("k", v)};
	struct log_event e = {LOG_INFO, "e", f, 1};
	struct str s = json(o, &e, 0);

	return str_sub(s, 64, s.n - 1);
}

static struct str stamp(struct out *o, int64_t us)
{
	struct log_event e = {LOG_INFO, "e", NULL, 0};

	return str_sub(logfmt(o, &e, us), 3, 27);
}

TEST(levels)
{
	CHECK_STR(str_from(log_level_name(LOG_WARN)), "warn");
	CHECK_STR(str_from(log_level_name((enum log_level)99)), "?");
	for (int i = LOG_ERROR; i <= LOG_DEBUG; i++)
		CHECK_INT(log_level_parse(
			      str_from(log_level_name((enum log_level)i))),
			  i);
	CHECK_INT(log_level_parse(STR("")), -1);
	CHECK_INT(log_level_parse(STR_NONE), -1);
	CHECK_INT(log_level_parse(STR("WARN")), -1);
	CHECK_INT(log_level_parse(STR("warning")), -1);
}

TEST(line)
{
	struct addr a = {.family = ADDR_V6, .ip = {[15] = 1}, .port = 5060};
	struct log_field f[] = {
	    LOGF_STR("pool", STR("pbx")), LOGF_INT("n", INT64_MIN),
	    LOGF_NUM("seconds", 0.1),     LOGF_ADDR("to", &a),
	    LOGF_BOOL("up", true),        LOGF_BOOL("down", false),
	};
	struct log_event e = {LOG_WARN, "server.health", f, ARRAY_LEN(f)};
	struct out o;

	CHECK_STR(logfmt(&o, &e, 1795169704123456),
		  "ts=2026-11-20T10:15:04.123Z level=warn event=server.health "
		  "pool=pbx n=-9223372036854775808 seconds=0.1 to=[::1]:5060 "
		  "up=true down=false");
	CHECK_STR(json(&o, &e, 1795169704123456),
		  "{\"ts\":\"2026-11-20T10:15:04.123Z\",\"level\":\"warn\","
		  "\"event\":\"server.health\",\"pool\":\"pbx\","
		  "\"n\":-9223372036854775808,\"seconds\":0.1,"
		  "\"to\":\"[::1]:5060\",\"up\":true,\"down\":false}");
}

/* RFC 3339. */
TEST(timestamps)
{
	struct out o;

	CHECK_STR(stamp(&o, 0), "1970-01-01T00:00:00.000Z");
	CHECK_STR(stamp(&o, -1), "1969-12-31T23:59:59.999Z");
	CHECK_STR(stamp(&o, SECONDS(951782399)), "2000-02-28T23:59:59.000Z");
	CHECK_STR(stamp(&o, SECONDS(951782400)), "2000-02-29T00:00:00.000Z");
	CHECK_STR(stamp(&o, SECONDS(951868800)), "2000-03-01T00:00:00.000Z");
	CHECK_STR(stamp(&o, SECONDS(1709164800)), "2024-02-29T00:00:00.000Z");
	CHECK_STR(stamp(&o, SECONDS(4107542400)), "2100-03-01T00:00:00.000Z");
	CHECK_STR(stamp(&o, SECONDS(1798761599)), "2026-12-31T23:59:59.000Z");
	CHECK_STR(stamp(&o, SECONDS(253402300799)), "9999-12-31T23:59:59.000Z");
	/* Absurd, but neither a crash nor another length. */
	CHECK_INT(stamp(&o, INT64_MAX).n, 24);
	CHECK_INT(stamp(&o, INT64_MIN).n, 24);
}

TEST(every_day_follows_the_one_before)
{
	static const int days[] = {31, 28, 31, 30, 31, 30,
				   31, 31, 30, 31, 30, 31};
	int y = 1970, m = 1, d = 1;
	struct out o;

	for (int64_t day = 0; day < 60000; day++) {
		struct str s = stamp(&o, SECONDS(86400) * day);
		bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
		uint32_t gy = 0, gm = 0, gd = 0;

		CHECK(str_u32(str_sub(s, 0, 4), 9999, &gy));
		CHECK(str_u32(str_sub(s, 5, 7), 12, &gm));
		CHECK(str_u32(str_sub(s, 8, 10), 31, &gd));
		CHECK(gy == (uint32_t)y && gm == (uint32_t)m &&
		      gd == (uint32_t)d);
		if (++d > days[m - 1] + (m == 2 && leap)) {
			d = 1;
			m++;
		}
		if (m > 12) {
			m = 1;
			y++;
		}
	}
}

TEST(logfmt_quotes_when_needed)
{
	struct out o;

	CHECK_STR(logfmt_value(&o, STR("sip:a@b;x")), "sip:a@b;x");
	CHECK_STR(logfmt_value(&o, STR("")), "\"\"");
	CHECK_STR(logfmt_value(&o, STR_NONE), "\"\"");
	CHECK_STR(logfmt_value(&o, STR("a b")), "\"a b\"");
	CHECK_STR(logfmt_value(&o, STR("a=b")), "\"a=b\"");
	CHECK_STR(logfmt_value(&o, STR("a\"b")), "\"a\\\"b\"");
	CHECK_STR(logfmt_value(&o, STR("a\\n")), "\"a\\\\n\"");
	CHECK_STR(logfmt_value(&o, STR("a\nlevel=error")),
		  "\"a\\nlevel=error\"");
	CHECK_STR(logfmt_value(&o, STR("\r\t\0\x1b[31m\x7f")),
		  "\"\\r\\t\\x00\\x1b[31m\\x7f\"");
	CHECK_STR(logfmt_value(&o, STR("\xc3\xa9")), "\"\\xc3\\xa9\"");
}

TEST(no_byte_forges_a_line)
{
	struct out o;

	for (int c = 0; c < 256; c++) {
		char text[3] = {'a', (char)c, 'b'};
		struct str s = logfmt_value(&o, (struct str){text, 3});

		for (size_t i = 0; i < s.n; i++)
			CHECK(s.p[i] >= ' ' && s.p[i] <= '~');
		s = json_value(&o, (struct str){text, 3});
		for (size_t i = 0; i < s.n; i++)
			CHECK(s.p[i] >= ' ' && s.p[i] <= '~');
	}
}

/* RFC 3629. */
TEST(json_is_valid_utf8)
{
	struct out o;

	CHECK_STR(json_value(&o, STR("")), "\"\"");
	CHECK_STR(json_value(&o, STR("a\"\\\n\r\t/")),
		  "\"a\\\"\\\\\\n\\r\\t/\"");
	CHECK_STR(json_value(&o, STR("\0\x1f\x7f")),
		  "\"\\u0000\\u001f\\u007f\"");
	/* Valid sequences of two, three and four bytes stay. */
	CHECK_STR(json_value(&o, STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")),
		  "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	/* Cut off, lone, overlong, a surrogate, beyond the last. */
	CHECK_STR(json_value(&o, STR("\xe2\x82")), "\"\\ufffd\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xe2(\xa1")), "\"\\ufffd(\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xc3\"x")), "\"\\ufffd\\\"x\"");
	CHECK_STR(json_value(&o, STR("\xc0\x80")), "\"\\ufffd\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xe0\x80\x80")),
		  "\"\\ufffd\\ufffd\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xed\xa0\x80")),
		  "\"\\ufffd\\ufffd\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xf4\x90\x80\x80")),
		  "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xff")), "\"\\ufffd\"");
	CHECK_STR(json_value(&o, STR("\xf4\x8f\xbf\xbf\xed\x9f\xbf")),
		  "\"\xf4\x8f\xbf\xbf\xed\x9f\xbf\"");
	/* Controls of Latin-1 and the line ends of Unicode. */
	CHECK_STR(json_value(&o, STR("\xc2\x9b\xe2\x80\xa8")),
		  "\"\\u009b\\u2028\"");
}

TEST(numbers)
{
	struct log_field f[] = {
	    LOGF_NUM("a", 12345678.5), LOGF_NUM("b", (double)INFINITY),
	    LOGF_NUM("c", -0.0015),    LOGF_INT("d", INT64_MAX),
	    LOGF_INT("e", 0),
	};
	struct log_event e = {LOG_DEBUG, "x", f, ARRAY_LEN(f)};
	struct out o;

	CHECK_STR(str_sub(logfmt(&o, &e, 0), 28, SIZE_MAX),
		  "level=debug event=x a=12345678.5 b=inf c=-0.0015 "
		  "d=9223372036854775807 e=0");
	CHECK_STR(str_sub(json(&o, &e, 0), 33, SIZE_MAX),
		  "\"level\":\"debug\",\"event\":\"x\",\"a\":12345678.5,"
		  "\"b\":null,\"c\":-0.0015,\"d\":9223372036854775807,"
		  "\"e\":0}");
}

static void check_number(double d)
{
	struct log_field f[] = {LOGF_NUM("n", d)};
	struct log_event e = {LOG_DEBUG, "x", f, 1};
	struct out o;
	char want[64];

	snprintf(want, sizeof(want), "level=debug event=x n=%.15g", d);
	CHECK(str_eq(str_sub(logfmt(&o, &e, 0), 28, SIZE_MAX), str_from(want)));
}

/* Seconds are written without printf, and as it would. */
TEST(numbers_as_printf_writes_them)
{
	static const double d[] = {0,         1e-7,      1e-6,    0.0001,
				   0.000099,  0.1 + 0.2, 1.0 / 3, 99.5,
				   99999999,  100000000, 1e15,    0.9999995,
				   0.1234567, -2.5,      1e300,   (double)NAN};
	struct rand r;

	for (size_t i = 0; i < ARRAY_LEN(d); i++)
		check_number(d[i]);
	rand_seed(&r, 5);
	for (int i = 0; i < 20000; i++) {
		uint64_t us = rand_u64(&r) >> rand_below(&r, 64);

		check_number((double)us / 1e6);
		check_number((double)us / 1e7);
	}
}

TEST(keys_cannot_break_out)
{
	struct log_field f[] = {LOGF_INT("a b=\"\n", 1), LOGF_INT("", 2),
				LOGF_INT("x.y-z_9", 3)};
	struct log_event e = {LOG_INFO, "a\"b", f, ARRAY_LEN(f)};
	struct out o;

	CHECK_STR(str_sub(logfmt(&o, &e, 0), 39, SIZE_MAX),
		  "event=a_b a_b___=1 _=2 x.y-z_9=3");
	CHECK_STR(str_sub(json(&o, &e, 0), 48, SIZE_MAX),
		  "\"event\":\"a_b\",\"a_b___\":1,\"_\":2,\"x.y-z_9\":3}");
}

TEST(no_room)
{
	struct log_field f[] = {LOGF_STR("k", STR("v"))};
	struct log_event e = {LOG_INFO, "e", f, 1};
	char space[20];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	log_write_logfmt(&b, &e, (wall_t){0});
	CHECK(!buf_ok(&b));
}

TEST(secrets_are_left_out)
{
	struct log_field f[] = {
	    LOGF_STR("line", STR("INVITE sip:bob:pw@h SIP/2.0")),
	    LOGF_STR("uri", STR("sip:bob:pw@h")),
	    LOGF_STR("why", STR("response=\"0a\xc3\xa4\"")),
	};
	struct log_event e = {LOG_INFO, "sip.message", f, 3};
	struct out o;

	CHECK_STR(str_sub(logfmt(&o, &e, 0), 27, SIZE_MAX),
		  " level=info event=sip.message "
		  "line=\"INVITE sip:bob:***@h SIP/2.0\" "
		  "uri=sip:bob:***@h why=\"response=\\\"***\\\"\"");
	CHECK_STR(str_sub(json(&o, &e, 0), 33, SIZE_MAX),
		  "\"level\":\"info\",\"event\":\"sip.message\","
		  "\"line\":\"INVITE sip:bob:***@h SIP/2.0\","
		  "\"uri\":\"sip:bob:***@h\","
		  "\"why\":\"response=\\\"***\\\"\"}");
	/* not from what a script says on purpose */
	e = (struct log_event){LOG_INFO, "script", f + 1, 1};
	CHECK_STR(str_sub(logfmt(&o, &e, 0), 27, SIZE_MAX),
		  " level=info event=script uri=sip:bob:pw@h");
	e.key = "script.print";
	CHECK_STR(str_sub(json(&o, &e, 0), 33, SIZE_MAX),
		  "\"level\":\"info\",\"event\":\"script.print\","
		  "\"uri\":\"sip:bob:pw@h\"}");
}
