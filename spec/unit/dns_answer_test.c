#include "unit/dns_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/dns_answer.h"

enum { DNS_TXT = 16 };

static struct dns_text t;
static struct dns_answer a;

static void ask(const char *name, uint16_t type)
{
	dns_text_init(&t, name, type, 0);
}

static enum dns_verdict answer_to(const char *name, uint16_t type)
{
	struct str s = dns_text_str(&t);
	char *exact = memcpy(malloc(s.n), s.p, s.n);

	/* a copy without a byte too much, for the sanitiser */
	dns_answer_read((struct str){exact, s.n}, name, type, &a);
	free(exact);
	return a.verdict;
}

static const char *addr(unsigned i)
{
	static char text[ADDR_TEXT];

	return addr_text(&a.r[i].addr, text);
}

TEST(addresses)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 300, "10.0.0.1");
	dns_text_record(&t, DNS_ANSWER, "A.Example", DNS_A, 60, "10.0.0.2");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.n, 2);
	CHECK_INT(a.ttl, 60);
	CHECK_STR(str_from(addr(0)), "10.0.0.1");
	CHECK_STR(str_from(addr(1)), "10.0.0.2");
	CHECK_INT(a.r[0].addr.port, 0);
	ask("a.example", DNS_AAAA);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_AAAA, 0,
			"2001:db8::1");
	CHECK_INT(answer_to("a.example", DNS_AAAA), DNS_FOUND);
	CHECK_STR(str_from(addr(0)), "[2001:db8::1]");
	CHECK_INT(a.ttl, 0);
}

TEST(addresses_nobody_can_be_reached_at)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, "0.0.0.0");
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, "224.0.0.1");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_NONE);
	CHECK_INT(a.n, 0);
	CHECK_INT(a.ttl, 60);
}

/* An answer for another name is nothing to us (cache poisoning). */
/* RFC 1035 4.1.3. */
TEST(owners_are_checked)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "b.example", DNS_A, 60, "10.0.0.1");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_NONE);
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "b.example", DNS_A, 60, "10.0.0.1");
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, "10.0.0.2");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.n, 1);
	CHECK_STR(str_from(addr(0)), "10.0.0.2");
}

/* RFC 1035 4.1.1, 4.1.2. */
TEST(the_question_is_checked)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, "10.0.0.1");
	CHECK_INT(answer_to("b.example", DNS_A), DNS_BAD);
	CHECK_INT(answer_to("a.example", DNS_AAAA), DNS_BAD);
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	t.b[2] &= 0x7f; /* a question, no answer */
	CHECK_INT(answer_to("a.example", DNS_A), DNS_BAD);
	t.b[2] |= 0x80 | 0x02; /* cut off */
	CHECK_INT(answer_to("a.example", DNS_A), DNS_BAD);
}

TEST(aliases)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "c.example", DNS_A, 300, "10.0.0.1");
	dns_text_record(&t, DNS_ANSWER, "B.example", DNS_CNAME, 7, "c.Example");
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_CNAME, 60,
			"b.example");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.ttl, 7);
	CHECK_STR(str_from(addr(0)), "10.0.0.1");
}

TEST(an_alias_of_nothing)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_CNAME, 60,
			"b.example");
	dns_text_soa(&t, "example", 30, 20);
	CHECK_INT(answer_to("a.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 20);
}

/* RFC 2308 2.1: what is not there is the name at the end, and it is the zone of
 * that one which says for how long. */
TEST(an_alias_of_no_name)
{
	dns_text_init(&t, "a.example", DNS_A, 3);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_CNAME, 60, "b.other");
	dns_text_soa(&t, "other", 30, 20);
	CHECK_INT(answer_to("a.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 20);
	dns_text_init(&t, "a.example", DNS_A, 3);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_CNAME, 7, "b.other");
	dns_text_soa(&t, "other", 30, 20);
	CHECK_INT(answer_to("a.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 7);
}

static void chain(int aliases)
{
	char from[16], to[16];

	ask("n0", DNS_A);
	for (int i = 0; i < aliases; i++) {
		snprintf(from, sizeof(from), "n%d", i);
		snprintf(to, sizeof(to), "n%d", i + 1);
		dns_text_record(&t, DNS_ANSWER, from, DNS_CNAME, 60, to);
	}
	snprintf(to, sizeof(to), "n%d", aliases);
	dns_text_record(&t, DNS_ANSWER, to, DNS_A, 60, "10.0.0.1");
}

TEST(so_many_aliases)
{
	chain(DNS_CNAMES);
	CHECK_INT(answer_to("n0", DNS_A), DNS_FOUND);
	chain(DNS_CNAMES + 1);
	CHECK_INT(answer_to("n0", DNS_A), DNS_BAD);
	ask("n0", DNS_A); /* round in a circle */
	dns_text_record(&t, DNS_ANSWER, "n0", DNS_CNAME, 60, "n1");
	dns_text_record(&t, DNS_ANSWER, "n1", DNS_CNAME, 60, "n0");
	CHECK_INT(answer_to("n0", DNS_A), DNS_BAD);
}

TEST(srv)
{
	ask("_sip._udp.example", DNS_SRV);
	dns_text_record(&t, DNS_ANSWER, "_sip._udp.example", DNS_SRV, 60,
			"10 20 5070 A.Example");
	dns_text_record(&t, DNS_ANSWER, "_sip._udp.example", DNS_SRV, 60,
			"0 0 0 ");
	dns_text_record(&t, DNS_ANSWER, "_sip._udp.example", DNS_SRV, 60,
			"1 1 0 portless.example");
	CHECK_INT(answer_to("_sip._udp.example", DNS_SRV), DNS_FOUND);
	CHECK_INT(a.n, 2);
	CHECK_INT(a.r[0].srv.priority, 10);
	CHECK_INT(a.r[0].srv.weight, 20);
	CHECK_INT(a.r[0].srv.port, 5070);
	CHECK_STR(str_from(a.r[0].srv.target), "a.example");
	CHECK_STR(str_from(a.r[1].srv.target), "");
}

/* RFC 3403 4.1. */
TEST(naptr)
{
	static const char *const unusable[] = {"1 1 u SIP+D2U !^.*$!sip:a! -",
					       "1 1 s SIP+D2U !x!y! a.example",
					       "1 1 s SIP+D2S - a.example",
					       "1 1 - SIP+D2U - a.example",
					       "1 1 s SIP+D2U - -",
					       "1 1 sa SIP+D2U - a.example"};

	ask("example", DNS_NAPTR);
	dns_text_record(&t, DNS_ANSWER, "example", DNS_NAPTR, 60,
			"10 20 S sips+d2t - _sips._tcp.Example");
	dns_text_record(&t, DNS_ANSWER, "example", DNS_NAPTR, 60,
			"30 40 a SIP+D2T - a.example");
	for (size_t i = 0; i < ARRAY_LEN(unusable); i++)
		dns_text_record(&t, DNS_ANSWER, "example", DNS_NAPTR, 60,
				unusable[i]);
	CHECK_INT(answer_to("example", DNS_NAPTR), DNS_FOUND);
	CHECK_INT(a.n, 2);
	CHECK_INT(a.r[0].naptr.order, 10);
	CHECK_INT(a.r[0].naptr.preference, 20);
	CHECK_INT(a.r[0].naptr.flag, 's');
	CHECK_INT(a.r[0].naptr.transport, TRANSPORT_TLS);
	CHECK_STR(str_from(a.r[0].naptr.next), "_sips._tcp.example");
	CHECK_INT(a.r[1].naptr.flag, 'a');
	CHECK_INT(a.r[1].naptr.transport, TRANSPORT_TCP);
}

TEST(limits)
{
	char data[32];

	ask("a.example", DNS_A);
	for (int i = 1; i <= 20; i++) {
		snprintf(data, sizeof(data), "10.0.0.%d", i);
		dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, data);
	}
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.n, DNS_ADDRS);
	CHECK_INT(a.dropped, 20 - DNS_ADDRS);
	ask("a.example", DNS_SRV);
	for (int i = 1; i <= 200; i++) {
		snprintf(data, sizeof(data), "1 1 %d a.example", i);
		dns_text_record(&t, DNS_ANSWER, "a.example", DNS_SRV, 60, data);
	}
	CHECK_INT(answer_to("a.example", DNS_SRV), DNS_FOUND);
	CHECK_INT(a.n, DNS_RECORDS);
	CHECK_INT(a.dropped, 200 - DNS_RECORDS);
}

/* Servers turn their answers round: what is left out must not depend on it. */
TEST(limits_leave_the_first_whatever_comes_first)
{
	char data[32];

	ask("a.example", DNS_A);
	for (int i = 12; i >= 1; i--) {
		snprintf(data, sizeof(data), "10.0.0.%d", i);
		dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 60, data);
	}
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.n, DNS_ADDRS);
	CHECK_INT(a.dropped, 12 - DNS_ADDRS);
	for (unsigned i = 0; i < a.n; i++)
		CHECK(a.r[i].addr.ip[3] <= DNS_ADDRS);
	ask("a.example", DNS_SRV);
	for (int i = 40; i >= 1; i--) {
		snprintf(data, sizeof(data), "%d 1 5060 a.example", i);
		dns_text_record(&t, DNS_ANSWER, "a.example", DNS_SRV, 60, data);
	}
	CHECK_INT(answer_to("a.example", DNS_SRV), DNS_FOUND);
	CHECK_INT(a.n, DNS_RECORDS);
	for (unsigned i = 0; i < a.n; i++)
		CHECK(a.r[i].srv.priority <= DNS_RECORDS);
}

static void nothing(unsigned rcode)
{
	dns_text_init(&t, "a.b.example", DNS_A, rcode);
}

TEST(there_is_nothing)
{
	nothing(0);
	dns_text_soa(&t, "example", 300, 60);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 60);
	nothing(3);
	dns_text_soa(&t, "b.example", 30, 60);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 30);
	nothing(3); /* nobody says for how long */
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 0);
	nothing(3); /* not this zone's business */
	dns_text_soa(&t, "c.example", 30, 60);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 0);
	nothing(3);
	dns_text_soa(&t, "", 30, 60);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_NONE);
	CHECK_INT(a.ttl, 30);
}

TEST(there_is_nothing_is_read_to_its_end)
{
	nothing(3);
	dns_text_soa(&t, "example", 300, 60);
	dns_text_str(&t);
	t.n -= 4;
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_BAD);
}

TEST(the_server_does_not_know)
{
	nothing(2);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_FAILED);
	nothing(5);
	CHECK_INT(answer_to("a.b.example", DNS_A), DNS_FAILED);
}

/* RFC 2181 8. */
TEST(a_ttl_with_the_highest_bit_is_none)
{
	ask("a.example", DNS_A);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_A, 0x80000001u,
			"10.0.0.1");
	CHECK_INT(answer_to("a.example", DNS_A), DNS_FOUND);
	CHECK_INT(a.ttl, 0);
}

/* A record that leads to a name with odd bytes is left out; the others stay. */
TEST(odd_names)
{
	ask("s.example", DNS_SRV);
	dns_text_rr(&t, DNS_ANSWER, "s.example", DNS_SRV, 60);
	for (int i = 0; i < 3; i++)
		dns_text_u16(&t, 1);
	dns_text_string(&t, "a.b"); /* a dot in a label */
	dns_text_u8(&t, 0);
	dns_text_record(&t, DNS_ANSWER, "s.example", DNS_SRV, 60,
			"1 1 5060 a.example");
	CHECK_INT(answer_to("s.example", DNS_SRV), DNS_FOUND);
	CHECK_INT(a.n, 1);
	CHECK_STR(str_from(a.r[0].srv.target), "a.example");
}

TEST(compressed_names)
{
	ask("s.example", DNS_SRV); /* the name begins at 12 */
	dns_text_rr(&t, DNS_ANSWER, "", DNS_SRV, 60);
	t.n -= 11; /* the owner is a pointer instead of the root */
	dns_text_u16(&t, 0xc00c);
	dns_text_u16(&t, DNS_SRV);
	dns_text_u16(&t, 1);
	dns_text_u16(&t, 0);
	dns_text_u16(&t, 60);
	t.rdata = t.n;
	dns_text_u16(&t, 0);
	for (int i = 0; i < 3; i++)
		dns_text_u16(&t, 7);
	dns_text_string(&t, "a");
	dns_text_u16(&t, 0xc00e); /* "example" */
	CHECK_INT(answer_to("s.example", DNS_SRV), DNS_FOUND);
	CHECK_STR(str_from(a.r[0].srv.target), "a.example");
}

/* The name of the question, and what follows it, as these bytes. */
static enum dns_verdict with_name(const char *bytes, size_t n)
{
	dns_text_init(&t, "a", DNS_A, 0);
	t.n = 12;
	for (size_t i = 0; i < n; i++)
		dns_text_u8(&t, (unsigned char)bytes[i]);
	dns_text_u16(&t, DNS_A);
	dns_text_u16(&t, 1);
	return answer_to("a", DNS_A);
}

TEST(bad_names)
{
	char label[256];

	CHECK_INT(with_name("\1a", 3), DNS_NONE);
	CHECK_INT(with_name("\xc0\x0c", 2), DNS_BAD);    /* to itself */
	CHECK_INT(with_name("\1a\xc0\x0c", 4), DNS_BAD); /* in a circle */
	CHECK_INT(with_name("\1a\xc0\xff", 4), DNS_BAD); /* forwards */
	CHECK_INT(with_name("\1a\xff\xff", 4), DNS_BAD); /* outside */
	CHECK_INT(with_name("\x40"
			    "a",
			    3),
		  DNS_BAD); /* reserved */
	CHECK_INT(with_name("\x3f"
			    "a",
			    2),
		  DNS_BAD); /* cut off */
	memset(label, 'a', sizeof(label));
	for (size_t i = 0; i < 255; i += 64)
		label[i] = 63;
	label[255] = 0;
	CHECK_INT(with_name(label, 256), DNS_BAD); /* 254 characters */
}

/* A name that is found over so many pointers was made to be read for long. */
static enum dns_verdict with_pointers(int n)
{
	size_t last = 12;

	ask("a.example", DNS_A); /* the name begins at 12 */
	dns_text_rr(&t, DNS_ANSWER, "x", DNS_TXT, 60);
	for (int i = 1; i < n; i++) {
		dns_text_u16(&t, 0xc000 | (unsigned)last);
		last = t.n - 2;
	}
	dns_text_record(&t, DNS_ANSWER, "", DNS_A, 60, "10.0.0.1");
	t.n -= 15; /* the owner is a pointer instead of the root */
	dns_text_u16(&t, 0xc000 | (unsigned)last);
	dns_text_u16(&t, DNS_A);
	dns_text_u16(&t, 1);
	dns_text_u16(&t, 0);
	dns_text_u16(&t, 60);
	t.rdata = t.n;
	dns_text_u16(&t, 0);
	dns_text_u16(&t, 0x0a00);
	dns_text_u16(&t, 1);
	return answer_to("a.example", DNS_A);
}

/* RFC 1035 4.1.4. */
TEST(pointers_are_bounded)
{
	CHECK_INT(with_pointers(1), DNS_FOUND);
	CHECK_INT(with_pointers(127), DNS_FOUND);
	CHECK_INT(with_pointers(128), DNS_NONE);
}

/* CVE-2023-27585 */
TEST(malformed_records)
{
	ask("a.example", DNS_A); /* five bytes */
	dns_text_rr(&t, DNS_ANSWER, "a.example", DNS_A, 60);
	for (int i = 0; i < 5; i++)
		dns_text_u8(&t, 1);
	CHECK_INT(answer_to("a.example", DNS_A), DNS_BAD);
	ask("s.example", DNS_SRV); /* something behind the target */
	dns_text_record(&t, DNS_ANSWER, "s.example", DNS_SRV, 60, "1 1 1 a");
	dns_text_u8(&t, 0);
	CHECK_INT(answer_to("s.example", DNS_SRV), DNS_BAD);
	ask("n.example", DNS_NAPTR); /* a text that is longer than it */
	dns_text_rr(&t, DNS_ANSWER, "n.example", DNS_NAPTR, 60);
	dns_text_u16(&t, 1);
	dns_text_u16(&t, 1);
	dns_text_u8(&t, 200);
	CHECK_INT(answer_to("n.example", DNS_NAPTR), DNS_BAD);
}

/* Cut at any byte it is no answer, and nothing is read behind its end. */
TEST(cut_anywhere)
{
	struct str s;

	ask("a.example", DNS_NAPTR);
	dns_text_record(&t, DNS_ANSWER, "a.example", DNS_CNAME, 60,
			"b.example");
	dns_text_record(&t, DNS_ANSWER, "b.example", DNS_NAPTR, 60,
			"1 1 s SIP+D2U - a.example");
	s = dns_text_str(&t);
	for (size_t n = 0; n < s.n; n++) {
		char *exact = memcpy(malloc(n + 1), s.p, n);

		exact = realloc(exact, n ? n : 1);
		dns_answer_read((struct str){exact, n}, "a.example", DNS_NAPTR,
				&a);
		CHECK_INT(a.verdict, DNS_BAD);
		CHECK_INT(a.n, 0);
		free(exact);
	}
	CHECK_INT(answer_to("a.example", DNS_NAPTR), DNS_FOUND);
}
