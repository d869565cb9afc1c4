#include "message/scan.h"

#include "message/chars.h"
#include "unit/message.h"

/* A copy on the heap without anything behind it. */
static struct str exact(struct str s)
{
	static char *last;

	free(last);
	last = malloc(s.n ? s.n : 1);
	CHECK(last != NULL);
	memcpy(last, s.p, s.n);
	return (struct str){last, s.n};
}

static bool via_ok(struct str text)
{
	struct via via;

	return scan_via(exact(text), &via, NULL);
}

#define VIA(text)     CHECK(via_ok(STR(text)))
#define BAD_VIA(text) CHECK(!via_ok(STR(text)))

TEST(character_classes)
{
	for (int i = 0; i < 256; i++) {
		char c = (char)i;
		bool ctl = i <= ' ' || i == 127;
		bool alnum = ch_is_alnum(c);
		bool in_uri = !ctl && (!i || !strchr("<>\"", i));

		CHECK_INT(ch_is(c, CH_TOKEN),
			  alnum || (i && strchr("-.!%*_+`'~", i)) ? CH_TOKEN
								  : 0);
		CHECK_INT(ch_is(c, CH_CTL) != 0, ctl);
		CHECK_INT(ch_is(c, CH_SPACE) != 0, i && strchr(" \t\r\n", i));
		CHECK_INT(ch_is(c, CH_RUN) != 0, !ctl && !strchr(";,\"<>", i));
		CHECK_INT(ch_is(c, CH_NAME) != 0,
			  alnum || (i && strchr("-._", i)));
		CHECK_INT(ch_is(c, CH_URI) != 0, in_uri);
		CHECK_INT(ch_is(c, CH_SCHEME) != 0,
			  alnum || (i && strchr("+-.", i)));
		CHECK_INT(ch_is(c, CH_DISPLAY) != 0,
			  !i || !strchr(",;:\"<>", i));
		CHECK_INT(ch_is_token(c), str_is_token((struct str){&c, 1}));
	}
}

/* RFC 3261 20.42. */
TEST(a_via)
{
	struct via via;
	struct str rest;

	CHECK(scan_via(STR(" SIP/2.0/UDP h.example.com:5061;branch=z9hG4bK1;"
			   "received=192.0.2.1;rport=99;maddr=[2001:db8::1] , "
			   "SIP/2.0/TCP b"),
		       &via, &rest));
	CHECK_STR(via.text, "SIP/2.0/UDP h.example.com:5061;branch=z9hG4bK1;"
			    "received=192.0.2.1;rport=99;maddr=[2001:db8::1]");
	CHECK_STR(via.version, "2.0");
	CHECK_STR(via.transport, "UDP");
	CHECK_STR(via.host, "h.example.com");
	CHECK_INT(via.port, 5061);
	CHECK_STR(via.branch, "z9hG4bK1");
	CHECK_STR(via.received, "192.0.2.1");
	CHECK(via.has_rport);
	CHECK_INT(via.rport, 99);
	CHECK_STR(via.maddr, "[2001:db8::1]");
	CHECK_STR(rest, "SIP/2.0/TCP b");
	CHECK(scan_via(rest, &via, &rest));
	CHECK_STR(via.host, "b");
	CHECK_INT(via.port, 0);
	CHECK(!via.branch.p && !via.received.p && !via.maddr.p);
	CHECK(!via.has_rport && !rest.p);
}

TEST(via_white_space)
{
	struct via via;

	CHECK(scan_via(STR("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ;\r\n"
			   "  branch\t=\r\n z9hG4bK9ikj8 ; RPORT "),
		       &via, NULL));
	CHECK_STR(via.transport, "UDP");
	CHECK_STR(via.host, "192.0.2.2");
	CHECK_INT(via.port, 5060);
	CHECK_STR(via.branch, "z9hG4bK9ikj8");
	CHECK(via.has_rport);
	CHECK_INT(via.rport, 0);
}

TEST(good_vias)
{
	VIA("sip/2.0/udp a");
	VIA("SIP/2.0/UDP [::1]:5060");
	VIA("SIP/2.0/TLS [2001:db8::10:5070];received=2001:db8::9:255");
	VIA("SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255]");
	VIA("SIP/2.0/WSS df7jal23ls0d.invalid;x=\"a;b,c\\\"\"");
	VIA("SIP/2.0/UDP a;ttl=3;x;y=;z=@/=");
	VIA("SIP/2.0/UDP a;branch=z9hG4bK+abc==");
}

TEST(bad_vias)
{
	BAD_VIA("");
	BAD_VIA("SIP/2.0/UDP");
	BAD_VIA("SIP/2.0/UDP ");
	BAD_VIA("SIP/2.0 UDP a");
	BAD_VIA("FOO/2.0/UDP a");
	BAD_VIA("SIP//UDP a");
	BAD_VIA("SIP/2.0/ a");
	BAD_VIA("SIP/2.0/UDP host name:5060");
	BAD_VIA("SIP/2.0/UDP a:");
	BAD_VIA("SIP/2.0/UDP a:0");
	BAD_VIA("SIP/2.0/UDP a:65536");
	BAD_VIA("SIP/2.0/UDP a:5060abc");
	BAD_VIA("SIP/2.0/UDP ::1");
	BAD_VIA("SIP/2.0/UDP [::1");
	BAD_VIA("SIP/2.0/UDP [::1]x");
	BAD_VIA("SIP/2.0/UDP [1.2.3.4]");
	BAD_VIA("SIP/2.0/UDP a;");
	BAD_VIA("SIP/2.0/UDP 192.0.2.15;;,;,,");
	BAD_VIA("SIP/2.0/UDP a;=x");
	BAD_VIA("SIP/2.0/UDP a,");
	BAD_VIA("SIP/2.0/UDP a;branch");
	BAD_VIA("SIP/2.0/UDP a;branch=");
	BAD_VIA("SIP/2.0/UDP a;branch=\"x\"");
	BAD_VIA("SIP/2.0/UDP a;branch=1;branch=2");
	BAD_VIA("SIP/2.0/UDP a;received=example.com");
	BAD_VIA("SIP/2.0/UDP a;received=1.2.3.4;received=1.2.3.4");
	BAD_VIA("SIP/2.0/UDP a;rport=x");
	BAD_VIA("SIP/2.0/UDP a;rport=0");
	BAD_VIA("SIP/2.0/UDP a;rport=70000");
	BAD_VIA("SIP/2.0/UDP a;rport;rport=1");
	BAD_VIA("SIP/2.0/UDP a;maddr=a_b-");
	BAD_VIA("SIP/2.0/UDP a;x=\"y");
	BAD_VIA("SIP/2.0/UDP a;x=\"y\\");
	BAD_VIA("SIP/2.0/UDP a <b>");
}

/* RFC 5118: references of IPv6. */
TEST(hosts)
{
	static const char *const good[] = {
	    "a",
	    "a.b-c.d1",
	    "example.com.",
	    "1.2.3.4",
	    "255.255.255.255",
	    "3com.example.com",
	    "a_b",
	    "10-0-0-1",
	    "3f2a9cbd0123",
	    "xn--bcher-kva.example",
	    "[::1]",
	    "[2001:db8::1]",
	    "[::ffff:1.2.3.4]",
	};
	static const char *const bad[] = {
	    "",           ".",         "a..b",   ".a",       "-a",
	    "a-",         "a-.b",      "a.-b",   "1.2.3",    "1.2.3.4.",
	    "1.2.3.4.5",  "256.1.1.1", "12345",  "1.2.3.04", "a b",
	    "a/b",        "[::1",      "::1",    "[]",       "[a]",
	    "[::1%eth0]", "[1.2.3.4]", "[::1]]", "a:1",      "\xc3\xb6",
	};
	char label[80];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK(scan_is_host(exact(str_from(good[i]))));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!scan_is_host(exact(str_from(bad[i]))));
	memset(label, 'a', sizeof(label));
	CHECK(scan_is_host((struct str){label, 63}));
	CHECK(!scan_is_host((struct str){label, 64}));
}

/* RFC 3261 19.1.1. */
TEST(a_uri)
{
	struct uri u;

	CHECK(scan_uri(STR("sip:al%69ce:secret@a.example.com:5061;lr;x=y?h=v"),
		       &u));
	CHECK_STR(u.scheme, "sip");
	CHECK(u.is_sip && !u.is_sips);
	CHECK_STR(u.user, "al%69ce:secret");
	CHECK_STR(u.host, "a.example.com");
	CHECK_INT(u.port, 5061);
	CHECK_STR(u.params, "lr;x=y");
	CHECK_STR(u.headers, "h=v");

	CHECK(scan_uri(STR("SIPS:[2001:db8::1]"), &u));
	CHECK(u.is_sip && u.is_sips);
	CHECK(!u.user.p && !u.params.p && !u.headers.p);
	CHECK_STR(u.host, "[2001:db8::1]");
	CHECK_INT(u.port, 0);

	CHECK(scan_uri(STR("sip:a?b=c"), &u));
	CHECK_STR(u.headers, "b=c");

	CHECK(scan_uri(STR("tel:+1-201-555-0123;ext=1"), &u));
	CHECK(!u.is_sip && !u.host.p && !u.user.p);
	CHECK_STR(u.scheme, "tel");
	CHECK(scan_uri(STR("sipfoo:a"), &u));
	CHECK(!u.is_sip);
	CHECK(scan_uri(STR("soap.beep://192.0.2.103:3002"), &u));
	CHECK_STR(u.scheme, "soap.beep");
}

/* The user part may hold what elsewhere ends it: the '@' decides. */
/* RFC 3261 19.1.2: escapes stay. */
TEST(uris_without_headers)
{
	static const struct {
		const char *uri, *without;
	} cases[] = {
	    {"sip:a@b", "sip:a@b"},
	    {"sip:a@b?c=d&e=f", "sip:a@b"},
	    {"sips:b:5061;c=d?e", "sips:b:5061;c=d"},
	    {"sip:a?b@c?d=e", "sip:a?b@c"},
	    {"sip:a;b?@c;d", "sip:a;b?@c;d"},
	    {"tel:1?a", "tel:1?a"}, /* other schemes have none */
	};
	struct uri u;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		CHECK(scan_uri(str_from(cases[i].uri), &u));
		CHECK(str_eq(uri_without_headers(&u),
			     str_from(cases[i].without)));
	}
}

TEST(uri_users)
{
	struct uri u;

	CHECK(scan_uri(STR("sip:user;par=u%40example.net@example.com"), &u));
	CHECK_STR(u.user, "user;par=u%40example.net");
	CHECK_STR(u.host, "example.com");
	CHECK(scan_uri(STR("sip:host;x=a@other"), &u));
	CHECK_STR(u.host, "other");
	CHECK(scan_uri(STR("sip:crazy?,/;;*:&it+has=1,weird!@b;p"), &u));
	CHECK_STR(u.host, "b");
	CHECK_STR(u.params, "p");
	CHECK(scan_uri(STR("sip:sips%3Auser%40example.com@example.net"), &u));
	CHECK_STR(u.host, "example.net");
	CHECK(scan_uri(STR("sip:null-%00-null@example.com"), &u));
	CHECK_STR(u.user, "null-%00-null");
}

TEST(bad_uris)
{
	static const char *const bad[] = {
	    "",
	    "a",
	    ":",
	    "sip:",
	    "sip",
	    "1sip:a",
	    "s ip:a",
	    "sip:@a",
	    "sip::p@a",
	    "sip:a@",
	    "sip:a@b@c",
	    "sip:a b",
	    "sip:<a>",
	    "sip:\"a\"",
	    "sip:a\tb",
	    "sip:a:",
	    "sip:a:0",
	    "sip:a:99999",
	    "sip:a:1x",
	    "sip:a;",
	    "sip:a;;lr",
	    "sip:a;=x",
	    "sip:a;x;",
	    "sip:a?",
	    "sip:a;?x",
	    "sip:a@::1",
	    "sip:a@[::1",
	    "sip:a@[::1]x",
	    "sip:a@-b",
	    "sip:a:1:2",
	    "sip:a,sip:b",
	    "sip:a\x7f",
	    "sip:a@b>",
	    "sip:user@1.2.3",
	};
	struct uri u;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!scan_uri(exact(str_from(bad[i])), &u));
	CHECK(!scan_uri(STR("sip:a\0b@c"), &u));
}

TEST(parameters)
{
	struct str v;

	CHECK(scan_param(STR(";a=b;C = d ;e"), STR("c"), &v));
	CHECK_STR(v, "d");
	CHECK(scan_param(STR("a=b;c;e="), STR("C"), &v));
	CHECK_STR(v, "");
	CHECK(v.p != NULL);
	CHECK(scan_param(STR("a=b;c;e="), STR("e"), &v));
	CHECK_STR(v, "");
	CHECK(!scan_param(STR("a=b;c;e="), STR("b"), &v));
	CHECK(!scan_param(STR(""), STR("b"), &v));
	CHECK(!scan_param(STR_NONE, STR("b"), &v));
	CHECK(scan_param(STR("x=\"a;tag=1\\\";tag=2\";tag=3"), STR("tag"), &v));
	CHECK_STR(v, "3");
	CHECK(!scan_param(STR("x=\"a;tag=1"), STR("tag"), &v));
	CHECK(scan_param(STR("tag=1;tag=2"), STR("tag"), &v));
	CHECK_STR(v, "1");
	CHECK(scan_param(STR("n%61me=v%61lue"), STR("n%61me"), &v));
	CHECK_STR(v, "v%61lue");
}

TEST(lists)
{
	struct str list = STR(" a , \"b,c\" <d,e>;f=\",\" ,, g\r\n ,"), v;

	CHECK(scan_list(&list, &v));
	CHECK_STR(v, "a");
	CHECK(scan_list(&list, &v));
	CHECK_STR(v, "\"b,c\" <d,e>;f=\",\"");
	CHECK(scan_list(&list, &v));
	CHECK_STR(v, "g");
	CHECK(!scan_list(&list, &v));
	CHECK(!scan_list(&list, &v));
	list = STR("\"a, b");
	CHECK(scan_list(&list, &v));
	CHECK_STR(v, "\"a, b");
	list = STR("<a, b");
	CHECK(scan_list(&list, &v));
	CHECK_STR(v, "<a, b");
	list = STR_NONE;
	CHECK(!scan_list(&list, &v));
}

static bool addr_ok(struct str text)
{
	struct nameaddr na;

	return scan_nameaddr(exact(text), &na, NULL);
}

/* RFC 3261 20.10: parameters without brackets are the header's. */
TEST(name_addrs)
{
	struct nameaddr na;
	struct str rest;

	CHECK(scan_nameaddr(
	    STR("\"A \\\"B\\\", C\" <sip:a@b;lr>;tag=x;y , <z:z>"), &na,
	    &rest));
	CHECK_STR(na.display, "\"A \\\"B\\\", C\"");
	CHECK_STR(na.uri, "sip:a@b;lr");
	CHECK_STR(na.params, "tag=x;y");
	CHECK(na.bracketed);
	CHECK_STR(na.text, "\"A \\\"B\\\", C\" <sip:a@b;lr>;tag=x;y");
	CHECK_STR(rest, "<z:z>");

	CHECK(scan_nameaddr(STR("sip:a@b;tag=x"), &na, &rest));
	CHECK_STR(na.display, "");
	CHECK_STR(na.uri, "sip:a@b");
	CHECK_STR(na.params, "tag=x");
	CHECK(!na.bracketed && !rest.p);

	CHECK(scan_nameaddr(STR("caller<sip:a@b>\r\n ; tag = x "), &na, &rest));
	CHECK_STR(na.display, "caller");
	CHECK_STR(na.params, "tag = x");
	CHECK_STR(na.text, "caller<sip:a@b>\r\n ; tag = x");

	CHECK(addr_ok(STR("\xd0\x90 (x) / y <sip:a@b>")));
	CHECK(addr_ok(STR("\"\" <sip:a@b>")));
	CHECK(addr_ok(STR("<http://www.example.com>;tag=1")));
	CHECK(addr_ok(STR("isbn:2983792873")));
	CHECK(addr_ok(STR("<sip:a@b>;+sip.instance=\"<urn:uuid:0>\"")));
}

TEST(bad_name_addrs)
{
	static const char *const bad[] = {
	    "",
	    "*",
	    "a",
	    "<>",
	    "<a>",
	    "<sip:>",
	    "sip:",
	    "<sip:a",
	    "sip:a>",
	    "< sip:a >",
	    "<sip:a >",
	    "<<sip:a>>",
	    "\"a <sip:b>",
	    "\"a\" b <sip:b>",
	    "\"a\"",
	    "Bell, Alexander <sip:a>",
	    "sip:x <sip:a>",
	    "<sip:a>b",
	    "<sip:a>;",
	    "<sip:a>;;;;",
	    "<sip:a>;=b",
	    "<sip:a>;x=\"",
	    "<sip:a> <sip:b>",
	    "<sip:a>,",
	    "sip:a@b?Route=c",
	    "sip:a b",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(!addr_ok(str_from(bad[i])));
}

static bool same(const char *a, const char *b)
{
	struct uri ua, ub;

	CHECK(scan_uri(str_from(a), &ua));
	CHECK(scan_uri(str_from(b), &ub));
	CHECK_INT(uri_same_place(&ua, &ub), uri_same_place(&ub, &ua));
	return uri_same_place(&ua, &ub);
}

/* RFC 3261 19.1.4. */
TEST(uri_comparison)
{
	CHECK(same("sip:%61lice@atlanta.com;transport=TCP",
		   "sip:alice@AtlanTa.CoM;Transport=tcp"));
	CHECK(same("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]"));
	CHECK(same("SIP:a@b", "sip:a@b"));
	CHECK(!same("SIP:ALICE@b", "sip:alice@b"));
	CHECK(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
	CHECK(!same("sip:bob@biloxi.com:6000", "sip:bob@biloxi.com:5060"));
	CHECK(!same("sips:a@b", "sip:a@b"));
	CHECK(!same("sip:b", "sip:a@b"));
	CHECK(same("sip:b", "sip:B"));
	CHECK(!same("tel:1", "sip:a"));
	CHECK(same("tel:1", "tel:1"));
	CHECK(!same("tel:1", "tel:2"));
}

static enum msg_bad key_of(struct fixture *f, struct str text,
			   struct msg_key *key)
{
	CHECK_INT(fixture_index(f, text), MSG_OK);
	return msg_key(&f->m, key);
}

#define START "INVITE sip:a@b SIP/2.0\r\n"
#define VIA1  "Via: SIP/2.0/UDP h;branch=z9hG4bK1, SIP/2.0/UDP g\r\n"
#define FROM  "f: A <sip:a@b>;tag=1\r\n"
#define TO    "t: sip:c@d\r\n"
#define ID    "i: 1(<>)@h\r\n"
#define CSEQ  "CSeq: 0009\r\n INVITE\r\n"

TEST(a_key)
{
	struct fixture f;
	struct msg_key k;

	fixture_init(&f);
	CHECK_INT(key_of(&f, STR(START VIA1 FROM TO ID CSEQ "\r\n"), &k),
		  MSG_OK);
	CHECK_STR(k.via.branch, "z9hG4bK1");
	CHECK_STR(k.via_rest, "SIP/2.0/UDP g");
	CHECK_STR(k.call_id, "1(<>)@h");
	CHECK_INT(k.cseq, 9);
	CHECK_INT(k.cseq_id, METHOD_INVITE);
	CHECK_STR(k.cseq_method, "INVITE");
	CHECK_STR(k.from_tag, "1");
	CHECK(!k.to_tag.p);
	CHECK_INT(
	    key_of(&f,
		   STR("SIP/2.0 200\r\n" VIA1 FROM ID "To: <sip:c@d>;TAG=\xff"
		       "2\r\n"
		       "CSeq: 2147483647 X\r\n\r\n"),
		   &k),
	    MSG_OK);
	CHECK_STR(k.to_tag, "\xff"
			    "2");
	CHECK_INT(k.cseq, INT32_MAX);
	CHECK_INT(f.m.method_id, METHOD_OTHER);
	CHECK_STR(k.cseq_method, "X");
	fixture_fini(&f);
}

/* The same as if the copy had been scanned: of every field, also of those that
 * somebody may add. */
TEST(a_key_of_a_copy)
{
	static const char *const texts[] = {
	    START VIA1 FROM TO ID CSEQ "\r\n",
	    "SIP/2.0 180 Ringing\r\n"
	    "Via: SIP/2.0/UDP h;received=10.0.0.1;rport=9;maddr=10.0.0.2"
	    ";branch=z9hG4bK2\r\n"
	    "From: <sip:a@b>;tag=1\r\nTo: sip:c@d;tag=2\r\n" ID
	    "CSeq: 1 INVITE\r\n\r\n"};
	struct msg_key key, moved, scanned;
	struct fixture f;
	struct msg copy;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CHECK_INT(key_of(&f, str_from(texts[i]), &key), MSG_OK);
		CHECK(msg_copy(&copy, &f.m, f.arena));
		moved = msg_key_moved(&key, &f.m, &copy);
		CHECK_INT(msg_key(&copy, &scanned), MSG_OK);
		CHECK(memcmp(&moved, &scanned, sizeof(moved)) == 0);
		CHECK(memcmp(&moved, &key, sizeof(moved)) != 0);
	}
	fixture_fini(&f);
}

/* RFC 3261 20.16: CSeq, among others. */
TEST(bad_keys)
{
	struct fixture f;
	struct msg_key k;

	fixture_init(&f);
#define KEY(text, want) CHECK_INT(key_of(&f, STR(START text "\r\n"), &k), want)
	KEY(FROM TO ID CSEQ, MSG_NO_VIA);
	KEY("v: x\r\n" FROM TO ID CSEQ, MSG_BAD_VIA);
	KEY("v: SIP/3.0/UDP a\r\n" FROM TO ID CSEQ, MSG_BAD_VIA);
	KEY(VIA1 TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 FROM ID CSEQ, MSG_BAD_TO);
	KEY(VIA1 FROM TO CSEQ, MSG_BAD_CALL_ID);
	KEY(VIA1 FROM TO ID, MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO "i:\r\n" CSEQ, MSG_BAD_CALL_ID);
	KEY(VIA1 FROM TO "i: a b\r\n" CSEQ, MSG_BAD_CALL_ID);
	KEY(VIA1 "f: <sip:a@b>;tag=\r\n" TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 "f: <sip:a@b>;tag\r\n" TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 "f: <sip:a@b>;tag=\"a\"\r\n" TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 "f: <sip:a@b>, <sip:c@d>\r\n" TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 "f:\r\n" TO ID CSEQ, MSG_BAD_FROM);
	KEY(VIA1 FROM "t: x\r\n" ID CSEQ, MSG_BAD_TO);
	KEY(VIA1 FROM TO ID "CSeq: 2147483648 INVITE\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: INVITE\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: 1\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: 1INVITE\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: -1 INVITE\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: 1 INVITE x\r\n", MSG_BAD_CSEQ);
	KEY(VIA1 FROM TO ID "CSeq: 1 BYE\r\n", MSG_CSEQ_METHOD);
	KEY(VIA1 FROM TO ID "CSeq: 1 invite\r\n", MSG_CSEQ_METHOD);
	fixture_fini(&f);
}

/* Overlong identifiers are refused, not cut (CVE-2018-8828, -2020-27507). */
TEST(long_keys)
{
	static const struct {
		const char *before, *after;
		enum msg_bad bad;
	} cases[] = {
	    {START "v: SIP/2.0/UDP h;branch=", "\r\n" FROM TO ID CSEQ "\r\n",
	     MSG_BAD_VIA},
	    {START VIA1 "f: sip:a;tag=", "\r\n" TO ID CSEQ "\r\n",
	     MSG_BAD_FROM},
	    {START VIA1 FROM "t: sip:a;tag=", "\r\n" ID CSEQ "\r\n",
	     MSG_BAD_TO},
	    {START VIA1 FROM TO "i: ", "\r\n" CSEQ "\r\n", MSG_BAD_CALL_ID},
	};
	char text[1024];
	struct fixture f;
	struct msg_key k;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (int n = MSG_MAX_KEY; n <= MSG_MAX_KEY + 1; n++) {
			snprintf(text, sizeof(text), "%s%0*d%s",
				 cases[i].before, n, 1, cases[i].after);
			CHECK_INT(key_of(&f, str_from(text), &k),
				  n == MSG_MAX_KEY ? MSG_OK : cases[i].bad);
		}
	fixture_fini(&f);
}

/* Whatever is cut off a message, nothing reads past its end (CVE-2023-27598).
 */
TEST(every_prefix)
{
	struct fixture f;
	struct str whole = STR(START VIA1 FROM TO ID CSEQ
			       "Contact: \"x\\\"\" <sip:a@[::1]:1;p?h>;q=\"\\\""
			       "\r\n\r\n");

	fixture_init(&f);
	for (size_t n = 0; n <= whole.n; n++) {
		struct msg_key k;

		arena_reset(f.arena);
		fixture_index(&f, str_sub(whole, 0, n));
		msg_key(&f.m, &k);
	}
	for (size_t i = 0; i < whole.n; i++) {
		struct str part = exact(str_sub(whole, i, whole.n)), v;
		struct nameaddr na;
		struct via via;
		struct uri u;

		scan_nameaddr(part, &na, NULL);
		scan_via(part, &via, NULL);
		scan_uri(part, &u);
		scan_param(part, STR("q"), &v);
		while (scan_list(&part, &v))
			;
	}
	fixture_fini(&f);
}
