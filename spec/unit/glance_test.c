#include "message/glance.h"

#include "unit/message.h"

#define START "INVITE sip:bob@example.com SIP/2.0\r\n"
#define VIA   "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKa\r\n"
#define IDS                                                                    \
	"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: id\r\n"            \
	"CSeq: 7 INVITE\r\n"
#define END "Content-Length: 0\r\n\r\n"

/* In memory of just its size, so that a sanitiser sees a step over the end. */
static bool glanced(struct glance *g, const char *text)
{
	static char *last;
	size_t n = strlen(text);

	free(last);
	last = malloc(n ? n : 1);
	CHECK(last != NULL);
	memcpy(last, text, n);
	return glance_read(g, (struct str){last, n});
}

#define SEEN(text)   CHECK(glanced(&g, text))
#define UNSEEN(text) CHECK(!glanced(&g, text))

TEST(what_a_refusal_needs_is_seen_at_a_glance)
{
	struct glance g;

	SEEN(START VIA "Max-Forwards: 70\r\n" IDS END "body");
	CHECK_INT(g.method, METHOD_INVITE);
	CHECK_STR(g.uri, "sip:bob@example.com");
	CHECK_STR(g.via.branch, "z9hG4bKa");
	CHECK_STR(g.via.host, "10.0.0.9");
	CHECK_STR(g.vias, VIA);
	CHECK_STR(g.from, "From: <sip:a@b>;tag=1");
	CHECK_STR(g.to, "To: <sip:c@d>");
	CHECK_STR(g.call_id, "Call-ID: id");
	CHECK_STR(g.cseq, "CSeq: 7 INVITE");
}

/* RFC 3261 7.3.1, 7.3.3 */
TEST(names_are_seen_in_any_form)
{
	struct glance g;

	SEEN("REFER sip:c SIP/2.0\r\n"
	     "v: SIP/2.0/UDP one;branch=z9hG4bK1, SIP/2.0/UDP two\r\n"
	     "VIA : SIP/2.0/TCP three\r\nl: 0\r\nF: <sip:a@b>\r\n"
	     "t :<sip:c@d>\r\ncall-id:id\r\nCONTACT: <sip:e>\r\n"
	     "CSEQ: 1 REFER\r\nTimestamp: 1\r\nIn-Reply-To: x\r\n\r\n");
	CHECK_INT(g.method, METHOD_REFER);
	CHECK_STR(g.via.text, "SIP/2.0/UDP one;branch=z9hG4bK1");
	CHECK_STR(g.vias,
		  "v: SIP/2.0/UDP one;branch=z9hG4bK1, SIP/2.0/UDP two\r\n"
		  "VIA : SIP/2.0/TCP three\r\n");
	CHECK_STR(g.to, "t :<sip:c@d>");
}

TEST(of_an_ack_it_is_seen_which_it_is)
{
	struct glance g;

	SEEN("ACK sip:bob@example.com SIP/2.0\r\nX: y\r\n" VIA
	     "To: <a>;x=\"tag\"\r\nCall-ID: id\r\nCSeq: 1 ACK\r\nTo");
	CHECK_INT(g.method, METHOD_ACK);
	CHECK_STR(g.uri, "sip:bob@example.com");
	CHECK_STR(g.via.branch, "z9hG4bKa");
	CHECK_STR(g.call_id, "Call-ID: id");
	UNSEEN("ACK sip:bob@example.com SIP/2.0\r\n" IDS END);
	UNSEEN("ACK sip:bob@example.com SIP/2.0\r\n" VIA END);
	UNSEEN(
	    "ACK sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP\r\n" IDS END);
}

TEST(what_is_unusual_has_to_be_read)
{
	struct glance g;

	UNSEEN("");
	UNSEEN("\r\n" START VIA IDS END);
	UNSEEN("SIP/2.0 200 OK\r\n" VIA IDS END);
	UNSEEN("INVENT sip:bob@example.com SIP/2.0\r\n" VIA IDS END);
	UNSEEN("INVITE  sip:bob@example.com SIP/2.0\r\n" VIA IDS END);
	UNSEEN("INVITE sip:bob@example.com sip/2.0\r\n" VIA IDS END);
	UNSEEN("INVITE  SIP/2.0\r\n" VIA IDS END);
	UNSEEN("INVITE SIP/2.0\r\n" VIA IDS END);
	UNSEEN("INVITE\r\n" VIA IDS END);
	UNSEEN(START VIA IDS "X: a\r\n b\r\n" END);
	UNSEEN(START VIA IDS "X: a\rb\r\n" END);
	UNSEEN(START VIA IDS "X: a\nb\r\n" END);
	UNSEEN(START VIA IDS "Content-Length: 0\r\n");
	UNSEEN(START VIA IDS "Content-Length: 0\r\n\r");
	UNSEEN(START VIA IDS "Content-Length: 0");
	UNSEEN(START IDS END);
	UNSEEN(START VIA END);
	UNSEEN(START VIA "To\r\nFrom\r\nCall-ID\r\nCSeq\r\n" END);
	UNSEEN(START VIA IDS "From: <sip:e>\r\n" END);
	UNSEEN(START VIA IDS "t: <sip:e>\r\n" END);
	UNSEEN(START VIA IDS "i: other\r\n" END);
	UNSEEN(START VIA IDS "CSeq: 8 INVITE\r\n" END);
	UNSEEN(START VIA IDS VIA END); /* apart */
	UNSEEN(START "Via: SIP/2.0/UDP\r\n" IDS END);
	UNSEEN(START "Via: SIP/3.0/UDP a;branch=z9hG4bK1\r\n" IDS END);
	UNSEEN(START VIA "From: \r\nTo: a\r\nCall-ID: b\r\nCSeq: 1 X\r\n" END);
}

static bool tagged(const char *to)
{
	char text[512];
	struct glance g;

	snprintf(text, sizeof(text),
		 START VIA "From: <sip:a@b>;tag=1\r\nTo: %s\r\n"
			   "Call-ID: id\r\nCSeq: 7 INVITE\r\n" END,
		 to);
	return !glanced(&g, text);
}

TEST(a_to_tag_is_not_overlooked)
{
	CHECK(tagged("<sip:c@d>;tag=x"));
	CHECK(tagged("<sip:c@d> ;\ttag=x"));
	CHECK(tagged("sip:c@d;tag=x"));
	CHECK(tagged("\"Bob\" <sip:c@d;p=1>;tag=x"));
	CHECK(tagged("<sip:c@d>;tag=x;a=\">\""));
	CHECK(tagged("<sip:c@d>;a=\";>\";tag=x"));
	CHECK(!tagged("\"Bob; tag=x\" <sip:c@d;tag=no>"));
	CHECK(!tagged("\"Bob>;tag=x\" <sip:c@d>"));
	CHECK(!tagged("sip:c@d"));
}

/* RFC 3261 8.2.6.2 */
TEST(a_refusal_at_a_glance_is_a_response)
{
	struct fixture f;
	struct glance g;
	struct buf out;

	fixture_init(&f);
	SEEN(START "v: SIP/2.0/UDP one;branch=z9hG4bK1 , SIP/2.0/UDP two\r\n"
		   "Via: SIP/2.0/UDP three\r\nf: <sip:a@b>;tag=1\r\n"
		   "To:  <sip:c@d> \t\r\nCALL-ID: id\r\nX: y\r\n"
		   "CSeq: 7 INVITE\r\n" END);
	buf_arena(&out, f.arena, 16);
	glance_reply(&g, STR("503 Service Unavailable"), STR("NEW;rport=1"),
		     STR("t1"), STR("Retry-After: 3\r\n"), &out);
	CHECK_STR(buf_str(&out),
		  "SIP/2.0 503 Service Unavailable\r\n"
		  "v: NEW;rport=1 , SIP/2.0/UDP two\r\n"
		  "Via: SIP/2.0/UDP three\r\nf: <sip:a@b>;tag=1\r\n"
		  "To:  <sip:c@d>;tag=t1\r\nCALL-ID: id\r\n"
		  "CSeq: 7 INVITE\r\nRetry-After: 3\r\n"
		  "Content-Length: 0\r\n\r\n");
	fixture_fini(&f);
}
