#include "message/reply.h"

#include "unit/message.h"
#include "util/err.h"

#define FIELDS                                                                 \
	"v: SIP/2.0/UDP one;branch=z9hG4bK1,\r\n SIP/2.0/UDP two\r\n"          \
	"Via : SIP/2.0/UDP three\r\nMax-Forwards: 70\r\n"                      \
	"Record-Route: <sip:rr;lr>\r\nf: <sip:a@b>;tag=1\r\n"                  \
	"To : \"x;tag=no\" <sip:c@d;tag=no> \r\nCALL-ID: id\r\n"               \
	"Route: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\n"                         \
	"Timestamp: 54\r\nX: y\r\n"
#define REQUEST                                                                \
	"INVITE sip:c@d SIP/2.0\r\n" FIELDS                                    \
	"cseq:  007 \r\n INVITE\r\nl: 4\r\n\r\nbody"

static void setup(struct fixture *f, struct str text)
{
	fixture_init(f);
	fixture_index(f, text);
}

static struct str reply(struct fixture *f, const struct reply *r)
{
	struct buf out;

	buf_arena(&out, f->arena, 1024);
	CHECK_INT(reply_write(&f->m, r, &out), 0);
	return buf_str(&out);
}

/* RFC 3261 8.2.6.2. */
TEST(a_response_copies)
{
	struct fixture f;
	struct reply r = {.code = 404, .to_tag = STR("t"), .body = STR("b\0")};

	setup(&f, STR(REQUEST));
	r.headers = STR("Warning: 1\r\n");
	CHECK_STR(reply(&f, &r),
		  "SIP/2.0 404 Not Found\r\n"
		  "v: SIP/2.0/UDP one;branch=z9hG4bK1,\r\n SIP/2.0/UDP two\r\n"
		  "Via : SIP/2.0/UDP three\r\n"
		  "f: <sip:a@b>;tag=1\r\n"
		  "To : \"x;tag=no\" <sip:c@d;tag=no>;tag=t\r\n"
		  "CALL-ID: id\r\ncseq:  007 \r\n INVITE\r\n"
		  "Warning: 1\r\nContent-Length: 2\r\n\r\nb\0");
	fixture_fini(&f);
}

/* RFC 3261 8.2.6, 20.38. */
TEST(trying_copies_the_timestamp_and_adds_no_tag)
{
	struct fixture f;
	struct reply r = {.code = 100, .to_tag = STR("t")};

	setup(&f, STR(REQUEST));
	r.via = STR("NEW;received=1.2.3.4");
	CHECK_STR(reply(&f, &r),
		  "SIP/2.0 100 Trying\r\n"
		  "v: NEW;received=1.2.3.4,\r\n SIP/2.0/UDP two\r\n"
		  "Via : SIP/2.0/UDP three\r\n"
		  "f: <sip:a@b>;tag=1\r\n"
		  "To : \"x;tag=no\" <sip:c@d;tag=no> \r\n"
		  "CALL-ID: id\r\ncseq:  007 \r\n INVITE\r\n"
		  "Timestamp: 54\r\nContent-Length: 0\r\n\r\n");
	fixture_fini(&f);
}

TEST(record_route_and_a_reason)
{
	struct fixture f;
	struct reply r = {.code = 299, .record_route = true};

	setup(&f, STR("BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nTo: sip:b;"
		      "x ; TAG = 1\r\nf: sip:a\r\ni: 1\r\nCSeq: 1 BYE\r\n"
		      "record-route: <sip:1>\r\nRecord-Route: <sip:2>\r\n"
		      "\r\n"));
	r.reason = STR("Fine by me");
	r.to_tag = STR("unused");
	CHECK_STR(reply(&f, &r),
		  "SIP/2.0 299 Fine by me\r\nVia: SIP/2.0/UDP a\r\n"
		  "record-route: <sip:1>\r\nRecord-Route: <sip:2>\r\n"
		  "f: sip:a\r\nTo: sip:b;x ; TAG = 1\r\ni: 1\r\n"
		  "CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n");
	r.reason = STR_NONE;
	CHECK_STR(str_sub(reply(&f, &r), 0, 21), "SIP/2.0 299 Unknown\r\n");
	fixture_fini(&f);
}

/* A To that cannot be read goes back as it came: a tag might land in a quoted
 * string. */
TEST(a_broken_to_gets_no_tag)
{
	struct fixture f;
	struct reply r = {.code = 400, .to_tag = STR("t")};

	setup(&f, STR("BYE sip:a SIP/2.0\r\nv: SIP/2.0/UDP a\r\n"
		      "t: \"x <sip:b>\r\nf: sip:a\r\ni: 1\r\nCSeq: 1 BYE\r\n"
		      "\r\n"));
	CHECK(reply_can_answer(&f.m));
	CHECK_STR(reply(&f, &r),
		  "SIP/2.0 400 Bad Request\r\nv: SIP/2.0/UDP a\r\n"
		  "f: sip:a\r\nt: \"x <sip:b>\r\ni: 1\r\nCSeq: 1 BYE\r\n"
		  "Content-Length: 0\r\n\r\n");
	fixture_fini(&f);
}

/* RFC 4475 3.3.8. Which one is copied is the same question twice (length and
 * bytes) for those who get it wrong: CVE-2018-14767, CVE-2023-28095. */
TEST(of_two_the_first_goes_back)
{
	struct fixture f;
	struct reply r = {.code = 400, .to_tag = STR("t")};

	setup(&f, STR("BYE sip:a SIP/2.0\r\nv: SIP/2.0/UDP a\r\n"
		      "t: <sip:b>\r\nt: <sip:a-longer-one>;tag=\r\n"
		      "f: sip:a\r\nFrom: sip:b\r\ni: 1\r\nCall-ID: 2\r\n"
		      "CSeq: 1 BYE\r\nCSeq: 2 INVITE\r\n\r\n"));
	CHECK(reply_can_answer(&f.m));
	CHECK_STR(reply(&f, &r),
		  "SIP/2.0 400 Bad Request\r\nv: SIP/2.0/UDP a\r\n"
		  "f: sip:a\r\nt: <sip:b>;tag=t\r\ni: 1\r\nCSeq: 1 BYE\r\n"
		  "Content-Length: 0\r\n\r\n");
	fixture_fini(&f);
}

static bool answerable(struct str text)
{
	struct fixture f;
	struct buf out;
	bool ok;

	setup(&f, text);
	ok = reply_can_answer(&f.m);
	buf_arena(&out, f.arena, 1024);
	if (ok)
		CHECK_INT(reply_write(&f.m, &(struct reply){.code = 400}, &out),
			  0);
	fixture_fini(&f);
	return ok;
}

TEST(when_there_can_be_an_answer)
{
#define VIA       "v: SIP/2.0/UDP a\r\n"
#define FROM      "f: sip:a\r\n"
#define TO        "t: sip:b\r\n"
#define ID        "i: 1\r\n"
#define CSEQ      "CSeq: 1 BYE\r\n"
#define BYE       "BYE sip:a SIP/2.0\r\n"
#define ALL       VIA FROM TO ID CSEQ
#define YES(text) CHECK(answerable(STR(text)))
#define NO(text)  CHECK(!answerable(STR(text)))
	YES(BYE ALL "\r\n");
	YES(BYE ALL);                            /* the end is missing */
	YES("BYE sip:a SIP/3.0\r\n" ALL "\r\n"); /* 505 */
	YES("BYE <sip:a> SIP/2.0\r\n" ALL "\r\n");
	YES("BYE  sip:a SIP/2.0\r\n" ALL "\r\n");
	YES(BYE ALL "X\rY: z\r\nl: -1\r\n\r\n");
	YES(BYE "v: SIP/7.0/UDP a\r\n" FROM TO ID CSEQ "\r\n");
	NO("ACK sip:a SIP/2.0\r\n" ALL "\r\n");
	NO("SIP/2.0 200 OK\r\n" ALL "\r\n");
	NO("BYE sip:a\r\n" ALL "\r\n");
	NO(BYE FROM TO ID CSEQ "\r\n");
	NO(BYE VIA TO ID CSEQ "\r\n");
	NO(BYE VIA FROM ID CSEQ "\r\n");
	NO(BYE VIA FROM TO CSEQ "\r\n");
	NO(BYE VIA FROM TO ID "\r\n");
	NO(BYE VIA FROM TO "i:\r\n" CSEQ "\r\n");
	NO(BYE "v: x\r\n" ALL "\r\n");
	YES(BYE ALL TO "\r\n");
	YES(BYE ALL ID "\r\n");
	YES(BYE "v: SIP/2.0/UDP a;;,;\r\n" FROM TO ID CSEQ "\r\n");
	NO(BYE "v: SIP/2.0/UDP ;;,;\r\n" FROM TO ID CSEQ "\r\n");
	NO(BYE ALL "Via: a\rX: b\r\n\r\n"); /* a response would carry it on */
	NO(BYE VIA FROM "t: sip:b\nX: y\r\n" TO ID CSEQ "\r\n");
	NO("");
}

static struct fixture second;

static void write_others(struct fixture *f, struct str *cancel, struct str *ack,
			 struct str *image)
{
	struct buf out;

	buf_arena(&out, f->arena, 16);
	CHECK_INT(
	    reply_write_cancel(&f->m, STR("Reason: SIP;cause=200\r\n"), &out),
	    0);
	*cancel = buf_str(&out);
	fixture_init(&second);
	CHECK_INT(fixture_index(&second,
				STR("SIP/2.0 486 Busy\r\nTo:  <sip:c@d>"
				    " ;tag=9 \r\nRoute: <sip:evil>\r\n\r\n")),
		  MSG_OK);
	buf_arena(&out, f->arena, 16);
	CHECK_INT(reply_write_ack(&f->m, &second.m, &out), 0);
	*ack = buf_str(&out);
	fixture_fini(&second);
	buf_arena(&out, f->arena, 16);
	CHECK_INT(reply_write_image(&f->m, &out), 0);
	*image = buf_str(&out);
}

/* RFC 3261 9.1, 17.1.1.3. */
TEST(cancel_and_ack)
{
	struct fixture f;
	struct str cancel, ack, image, again_cancel, again_ack, again_image;

	setup(&f, STR(REQUEST));
	write_others(&f, &cancel, &ack, &image);
	CHECK_STR(cancel, "CANCEL sip:c@d SIP/2.0\r\n"
			  "Via: SIP/2.0/UDP one;branch=z9hG4bK1\r\n"
			  "Route: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\n"
			  "Max-Forwards: 70\r\nf: <sip:a@b>;tag=1\r\n"
			  "To : \"x;tag=no\" <sip:c@d;tag=no> \r\n"
			  "CALL-ID: id\r\nCSeq: 007 CANCEL\r\n"
			  "Reason: SIP;cause=200\r\nContent-Length: 0\r\n\r\n");
	CHECK_STR(ack, "ACK sip:c@d SIP/2.0\r\n"
		       "Via: SIP/2.0/UDP one;branch=z9hG4bK1\r\n"
		       "Route: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\n"
		       "Max-Forwards: 70\r\nf: <sip:a@b>;tag=1\r\n"
		       "To:  <sip:c@d> ;tag=9 \r\n"
		       "CALL-ID: id\r\nCSeq: 007 ACK\r\n"
		       "Content-Length: 0\r\n\r\n");
	CHECK_STR(image, "INVITE sip:c@d SIP/2.0\r\n"
			 "Via: SIP/2.0/UDP one;branch=z9hG4bK1\r\n"
			 "Route: <sip:r1;lr>\r\nRoute: <sip:r2;lr>\r\n"
			 "f: <sip:a@b>;tag=1\r\n"
			 "To : \"x;tag=no\" <sip:c@d;tag=no> \r\n"
			 "CALL-ID: id\r\ncseq:  007 \r\n INVITE\r\n"
			 "Max-Forwards: 70\r\n\r\n");
	/* the image is as good as the request */
	CHECK_INT(fixture_index(&f, image), MSG_OK);
	write_others(&f, &again_cancel, &again_ack, &again_image);
	CHECK(str_eq(cancel, again_cancel));
	CHECK(str_eq(ack, again_ack));
	CHECK(str_eq(image, again_image));
	fixture_fini(&f);
}

TEST(what_cannot_be_written)
{
	struct fixture f;
	struct buf out;
	char space[32];

	setup(&f, STR(BYE VIA FROM TO ID "\r\n"));
	buf_fixed(&out, space, sizeof(space));
	CHECK_INT(reply_write(&f.m, &(struct reply){.code = 400}, &out),
		  ERR_STATE);
	CHECK_INT(reply_write_cancel(&f.m, STR_NONE, &out), ERR_STATE);
	CHECK_INT(reply_write_ack(&f.m, &f.m, &out), ERR_STATE);
	CHECK_INT(reply_write_image(&f.m, &out), ERR_STATE);
	CHECK_INT(out.n, 0);
	fixture_fini(&f);
	setup(&f, STR(BYE ALL "\r\n"));
	CHECK_INT(reply_write(&f.m, &(struct reply){.code = 400}, &out),
		  ERR_LIMIT);
	fixture_fini(&f);
}

TEST(phrases)
{
	CHECK_STR(reply_phrase(100), "Trying");
	CHECK_STR(reply_phrase(503), "Service Unavailable");
	CHECK_STR(reply_phrase(699), "Unknown");
	/* 7.2, 21: nothing below or above the classes */
	for (int code = 0; code < 100; code++)
		CHECK_STR(reply_phrase(code), "Unknown");
}

TEST(no_memory)
{
	struct fixture f;
	struct str raw = STR(REQUEST);
	int failed = 0, fine = 0;

	fixture_init(&f);
	for (size_t taken = 0; fixture_starve(&f, taken); taken++) {
		struct reply r = {.code = 404, .to_tag = STR("t")};
		struct buf out;
		int err;

		if (msg_index(&f.m, f.arena, raw) == MSG_NOMEM)
			continue;
		buf_arena(&out, f.arena, 16);
		err = reply_write(&f.m, &r, &out);
		CHECK(err == 0 || err == ERR_NOMEM);
		if (err)
			failed++;
		else
			fine++;
		if (!err)
			CHECK_INT(buf_str(&out).n, 219);
	}
	CHECK(failed > 10 && fine > 10);
	fixture_fini(&f);
}
