#include "util/redact.h"

#include <stdio.h>
#include <string.h>

#include "support/unit.h"

/* The text with each secret replaced by "#". */
static struct str found(struct str s, char out[512])
{
	size_t at = 0, begin, end, n = 0;

	while (redact_find(s, at, &begin, &end)) {
		n += (size_t)snprintf(out + n, 512 - n, "%.*s#",
				      (int)(begin - at), s.p + at);
		at = end;
	}
	n += (size_t)snprintf(out + n, 512 - n, "%.*s", (int)(s.n - at),
			      s.p + at);
	return (struct str){out, n};
}

static struct str masked(const char *text, char out[2048])
{
	size_t n = strlen(text);

	memcpy(out, text, n + 1);
	redact_message(out, n);
	return (struct str){out, n};
}

TEST(passwords_of_uris)
{
	char out[512];

	CHECK_STR(found(STR("sip:bob:secret@example.com"), out),
		  "sip:bob:#@example.com");
	CHECK_STR(found(STR("<SIPS:bob:s%20t@[::1]:5061>, sip:a:b@c"), out),
		  "<SIPS:bob:#@[::1]:5061>, sip:a:#@c");
	CHECK_STR(found(STR("INVITE sip:b:x@h SIP/2.0"), out),
		  "INVITE sip:b:#@h SIP/2.0");
	/* not as RFC 3261 has it, but a password all the same */
	CHECK_STR(found(STR("sip:bob:a:b@h"), out), "sip:bob:#@h");
	CHECK_STR(found(STR("sip:;x=sip:b:x@h"), out), "sip:;x=sip:b:#@h");
}

TEST(no_passwords)
{
	char out[512];

	CHECK_STR(found(STR("sip:bob@example.com:5060"), out),
		  "sip:bob@example.com:5060");
	CHECK_STR(found(STR("sip:10.0.0.1:5060 f81d@x"), out),
		  "sip:10.0.0.1:5060 f81d@x");
	CHECK_STR(found(STR("sip:h:5060,sip:bob@h"), out),
		  "sip:h:5060,sip:bob@h");
	CHECK_STR(found(STR("sip:bob:@h"), out), "sip:bob:@h");
	CHECK_STR(found(STR("sip:bob:secret"), out), "sip:bob:secret");
	CHECK_STR(found(STR("sip:"), out), "sip:");
	CHECK_STR(found(STR("on_response response"), out),
		  "on_response response");
	CHECK_STR(found(STR_NONE, out), "");
}

TEST(responses_of_digests)
{
	char out[512];

	CHECK_STR(found(STR("Digest uri=\"x\", response=\"0a1b\", nc=1"), out),
		  "Digest uri=\"x\", response=\"#\", nc=1");
	CHECK_STR(found(STR("RESPONSE = 0a1b,nc=1"), out), "RESPONSE = #,nc=1");
	CHECK_STR(found(STR("rspauth=\"0a1b"), out), "rspauth=\"#");
	CHECK_STR(found(STR("on_response=1"), out), "on_response=1");
}

/* RFC 4566 5.12, RFC 4567, RFC 4568. */
TEST(a_message)
{
	char out[2048];

	CHECK_STR(masked("INVITE sip:bob:pw@h SIP/2.0\r\n"
			 "Authorization: Digest username=\"a\",\r\n"
			 " response=\"0123\", nc=1\r\n"
			 "PROXY-AUTHORIZATION : Basic dXNlcjpwdw==\r\n"
			 "Authentication-Info: rspauth=\"ab\"\r\n"
			 "Subject: Basic dXNl\r\n"
			 "Content-Length: 99\r\n\r\n"
			 "v=0\r\n"
			 "k=base64:c2Vj\r\n"
			 "k=prompt\r\n"
			 "a=crypto:1 AES inline:a2V5|2^20|1:4 "
			 "inline:b2Z5\r\n"
			 "a=key-mgmt:mikey AQAFg\r\n"
			 "a=rtpmap:0 PCMU/8000\r\n",
			 out),
		  "INVITE sip:bob:**@h SIP/2.0\r\n"
		  "Authorization: Digest username=\"a\",\r\n"
		  " response=\"****\", nc=1\r\n"
		  "PROXY-AUTHORIZATION : Basic*************\r\n"
		  "Authentication-Info: rspauth=\"**\"\r\n"
		  "Subject: Basic dXNl\r\n"
		  "Content-Length: 99\r\n\r\n"
		  "v=0\r\n"
		  "k=base64:****\r\n"
		  "k=prompt\r\n"
		  "a=crypto:1 AES inline:****|2^20|1:4 "
		  "inline:****\r\n"
		  "a=key-mgmt:mikey *****\r\n"
		  "a=rtpmap:0 PCMU/8000\r\n");
}

TEST(a_folded_credential_and_one_that_is_cut)
{
	char out[2048];

	CHECK_STR(masked("Authorization: Bearer ab\r\n cd\r\nTo: x\r\n", out),
		  "Authorization: Bearer***\r\n***\r\nTo: x\r\n");
	CHECK_STR(masked("Authorization:\r\n Bearer ab", out),
		  "Authorization:\r\n Bearer***");
	CHECK_STR(masked("Authorization: Digest response=\"01", out),
		  "Authorization: Digest response=\"**");
	CHECK_STR(
	    masked("Authorization: Digest response=\"01\r\n 2\r\nTo: x", out),
	    "Authorization: Digest response=\"**\r\n**\r\nTo: x");
	CHECK_STR(masked("Authorization: Digest response=0\xc3\xa4,nc=1", out),
		  "Authorization: Digest response=***,nc=1");
	CHECK_STR(masked("Authorization", out), "Authorization");
	CHECK_STR(masked("Authorization:", out), "Authorization:");
	/* bare line feeds are no way around it */
	CHECK_STR(masked("X\nAuthorization: Basic ab\n\nk=clear:x\n", out),
		  "X\nAuthorization: Basic***\n\nk=clear:*\n");
}
