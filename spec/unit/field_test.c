#include "message/field.h"
#include "message/plain.h"
#include "util/buf.h"
#include "util/rand.h"

#include "unit/message.h"

#define REQUEST                                                                \
	"INVITE sip:b%6fb:pw@[2001:db8::1]:5061;transport=tcp;lr SIP/2.0\r\n"  \
	"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"                               \
	"From: \"A \\\"x\\\" B\"\r\n <sip:a@b>;tag=1;y=\"q;r\"\r\n"            \
	"To: Bob  B <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n"             \
	"Route: <sip:r1;lr>, <sip:r2;lr>\r\nMax-Forwards: 0070\r\n"            \
	"Route: <sip:r3;lr>\r\nContact: <sip:a@10.0.0.1;x=y>;expires=60\r\n"

static void setup(struct fixture *f, struct str text)
{
	fixture_init(f);
	CHECK_INT(fixture_index(f, text), MSG_OK);
}

static size_t count_params(struct str params)
{
	struct str name, value;
	size_t n = 0;

	while (scan_next_param(&params, &name, &value))
		n++;
	return n;
}

TEST(the_request_uri)
{
	struct fixture f;
	const struct field_uri *u;
	bool found;

	setup(&f, STR(REQUEST "\r\n"));
	u = field_ruri(&f.m);
	CHECK(u != NULL);
	CHECK_STR(u->scheme, "sip");
	CHECK_STR(u->user, "bob");
	CHECK_STR(u->password, "pw");
	CHECK_STR(u->host, "2001:db8::1");
	CHECK_INT(u->port, 5061);
	CHECK_INT(count_params(u->params), 2);
	CHECK_STR(field_param_get(u->params, STR("Transport"), &found), "tcp");
	CHECK(found);
	CHECK(!field_param_get(u->params, STR("lr"), &found).p);
	CHECK(found);
	CHECK(!field_param_get(u->params, STR("no"), &found).p);
	CHECK(!found);
	CHECK(field_ruri(&f.m) == u);
	fixture_fini(&f);
}

TEST(addresses)
{
	struct fixture f;
	const struct field_addr *a;
	bool found;

	setup(&f, STR(REQUEST "\r\n"));
	a = field_addr(&f.m, HDR_FROM, 0);
	CHECK(a != NULL);
	CHECK_STR(a->display, "A \"x\" B");
	CHECK_STR(a->uri.user, "a");
	CHECK_INT(count_params(a->params), 2);
	CHECK_STR(field_param_get(a->params, STR("TAG"), &found), "1");
	CHECK_STR(field_param_get(a->params, STR("y"), &found), "\"q;r\"");
	CHECK(field_addr(&f.m, HDR_FROM, 0) == a);
	CHECK(!field_addr(&f.m, HDR_FROM, 1));
	a = field_addr(&f.m, HDR_TO, 0);
	CHECK_STR(a->display, "Bob  B");
	CHECK_INT(count_params(a->params), 0);
	a = field_addr(&f.m, HDR_CONTACT, 0);
	CHECK_STR(a->uri.host, "10.0.0.1");
	CHECK_INT(count_params(a->uri.params), 1);
	CHECK_INT(count_params(a->params), 1);
	CHECK(!a->star);
	fixture_fini(&f);
}

TEST(lists_over_all_lines)
{
	struct fixture f;

	setup(&f, STR(REQUEST "Supported:\r\nSupported: a,,b\r\n c ,\r\n\r\n"));
	CHECK_INT(field_count(&f.m, HDR_ROUTE), 3);
	CHECK_STR(field_value(&f.m, HDR_ROUTE, 1), "<sip:r2;lr>");
	CHECK_STR(field_addr(&f.m, HDR_ROUTE, 2)->uri.host, "r3");
	CHECK(!field_value(&f.m, HDR_ROUTE, 3).p);
	CHECK(!field_addr(&f.m, HDR_ROUTE, 3));
	CHECK_INT(field_count(&f.m, HDR_SUPPORTED), 2);
	CHECK_STR(field_value(&f.m, HDR_SUPPORTED, 1), "b c");
	CHECK_INT(field_count(&f.m, HDR_PATH), 0);
	CHECK_INT(field_count(&f.m, HDR_FROM), 1);
	fixture_fini(&f);
}

/* RFC 3261 20.10. */
TEST(star)
{
	struct fixture f;

	setup(&f, STR("REGISTER sip:a SIP/2.0\r\nContact: *\r\nTo: *\r\n\r\n"));
	CHECK(field_addr(&f.m, HDR_CONTACT, 0)->star);
	CHECK(!field_addr(&f.m, HDR_TO, 0));
	fixture_fini(&f);
}

static bool uri_ok(const char *text)
{
	struct fixture f;
	bool ok;

	fixture_init(&f);
	ok = field_uri(f.arena, str_from(text)) != NULL;
	fixture_fini(&f);
	return ok;
}

/* Where the library alone would mislead. */
TEST(not_what_libosip2_says)
{
	struct fixture f;
	const struct field_uri *u;
	bool found;

	fixture_init(&f);
	u = field_uri(f.arena, STR("sip:null-%00-null@y"));
	CHECK_STR(u->user, "null-\0-null");
	u = field_uri(f.arena, STR("sip:h;x=;lr"));
	CHECK_INT(count_params(u->params), 2);
	CHECK(!field_param_get(u->params, STR("lr"), &found).p);
	CHECK(found);
	u = field_uri(f.arena, STR("sip:h;x-obr=1;lr"));
	CHECK_INT(count_params(u->params), 2);
	u = field_uri(f.arena, STR("tel:+1-201;ext=5"));
	CHECK_STR(u->user, "+1-201");
	CHECK_INT(count_params(u->params), 1);
	CHECK(!u->host.p);
	u = field_uri(f.arena, STR("sipfoo:a@b"));
	CHECK_STR(u->scheme, "sipfoo");
	CHECK(!u->host.p);
	fixture_fini(&f);
	CHECK(!uri_ok("sip:a%zz@h"));
	CHECK(!uri_ok("sip:a%4@h"));
	CHECK(!uri_ok("sip:a@::1"));
	CHECK(!uri_ok("sip:a@[::1"));
	CHECK(!uri_ok("sip:h;;lr"));
	CHECK(!uri_ok("sip:a@h:99999"));
	CHECK(!uri_ok(""));
}

/* The parts of an address in their order; now and then one is missing, or has
 * something in front that does not belong there. */
static struct str any_address(struct rand *r, struct arena *a)
{
	static const char *const part[] = {
	    "Bob B ", "<",    "sip:", "b-ob+1@", "h.example.com", ":5060",
	    ";lr",    ";x=y", ">",    ";tag=1",  ";expires=60"};
	static const char *const stray[] = {
	    "<",  ">",   ":",    "5060",     ";",     "=", " ",  "70000",
	    "\"", "%41", "&",    "10.0.0.1", "\r\n ", "?", ",",  "sips:",
	    "-",  ".",   ";x=1", "@",        "*",     "~", "\\", "[::1]"};
	struct buf b;

	buf_arena(&b, a, 256);
	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		if (!rand_below(r, 20))
			buf_put(
			    &b,
			    str_from(stray[rand_below(r, ARRAY_LEN(stray))]));
		if (rand_below(r, 20))
			buf_put(&b, str_from(part[i]));
	}
	return buf_str(&b);
}

static bool is_plain(struct str text)
{
	struct nameaddr na;
	struct uri u;

	return scan_nameaddr(text, &na, NULL) && scan_uri(na.uri, &u) &&
	       plain_addr(&na, &u);
}

/* What is not shown to libosip2 it would have taken, and seen as we did. */
TEST(plain_addresses_are_no_matter_of_opinion)
{
	unsigned plain = 0, other = 0;
	struct fixture f;
	struct rand r;

	fixture_init(&f);
	rand_seed(&r, 7);
	for (int i = 0; i < 100000; i++) {
		struct str text;

		arena_reset(f.arena);
		text = any_address(&r, f.arena);
		if (!field_is_judged_alike(f.arena, text))
			printf("%.*s\n", (int)text.n, text.p);
		CHECK(field_is_judged_alike(f.arena, text));
		*(is_plain(text) ? &plain : &other) += 1;
	}
	CHECK(plain > 20000 && other > 20000);
	fixture_fini(&f);
}

TEST(caps)
{
	static char text[MSG_MAX_LINE + 64];
	size_t n;

	for (int params = MSG_MAX_LIST; params <= MSG_MAX_LIST + 1; params++) {
		n = (size_t)snprintf(text, sizeof(text), "sip:h");
		for (int i = 0; i < params; i++, n += 2)
			memcpy(text + n, ";p", 3);
		CHECK_INT(uri_ok(text), params == MSG_MAX_LIST);
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "sip:", 4);
	memcpy(text + MSG_MAX_LINE - 1, "@b", 3);
	CHECK(!uri_ok(text));
}

TEST(cap_of_a_list)
{
	static char text[4096];
	struct fixture f;
	size_t n;

	for (int values = MSG_MAX_LIST; values <= MSG_MAX_LIST + 2; values++) {
		n = (size_t)snprintf(text, sizeof(text),
				     "SIP/2.0 200\r\nf: sip:a\r\nt: sip:b\r\n"
				     "m: <sip:c>");
		for (int i = 1; i < values; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      ",<sip:c>");
		strcpy(text + n, "\r\n\r\n");
		setup(&f, str_from(text));
		CHECK_INT(field_count(&f.m, HDR_CONTACT), values > MSG_MAX_LIST
							      ? MSG_MAX_LIST + 1
							      : MSG_MAX_LIST);
		CHECK_INT(field_check(&f.m, NULL),
			  values > MSG_MAX_LIST ? MSG_BAD_CONTACT : MSG_OK);
		fixture_fini(&f);
	}
}

TEST(cap_of_vias)
{
	static char text[8192];
	struct fixture f;
	size_t n;

	for (int vias = MSG_MAX_VIAS; vias <= MSG_MAX_VIAS + 1; vias++) {
		n = (size_t)snprintf(text, sizeof(text),
				     "SIP/2.0 200\r\nf: sip:a\r\nt: sip:b\r\n"
				     "v: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP a");
		for (int i = 2; i < vias; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      ",SIP/2.0/UDP a");
		strcpy(text + n, "\r\n\r\n");
		setup(&f, str_from(text));
		CHECK_INT(field_check(&f.m, NULL),
			  vias > MSG_MAX_VIAS ? MSG_BAD_VIA : MSG_OK);
		fixture_fini(&f);
	}
}

static enum msg_bad check_of(struct str text)
{
	struct fixture f;
	enum msg_bad bad;

	setup(&f, text);
	bad = field_check(&f.m, NULL);
	CHECK_INT(field_check(&f.m, NULL), bad); /* now out of the cache */
	fixture_fini(&f);
	return bad;
}

/* RFC 3261 16.3 step 1, 20.22. */
TEST(checks)
{
#define LINE(uri)           "OPTIONS " uri " SIP/2.0\r\n"
#define FT                  "From: sip:a@b;tag=1\r\nTo: <sip:c@d>\r\n"
#define CHECKED(text, want) CHECK_INT(check_of(STR(text "\r\n")), want)
	CHECKED(REQUEST, MSG_OK);
	CHECKED(LINE("sip:a") FT, MSG_OK);
	CHECKED(LINE("x:a") FT, MSG_OK); /* 416, not 400 */
	CHECKED(LINE("sip:a@") FT, MSG_BAD_URI);
	CHECKED(LINE("sip:a%z@b") FT, MSG_BAD_URI);
	CHECKED(LINE("sip:a") "To: sip:a\r\n", MSG_BAD_FROM);
	CHECKED(LINE("sip:a") "To: sip:a\r\nFrom: <sip:a@-b>\r\n",
		MSG_BAD_FROM);
	/* to libosip2 this is a SIP URI with the host bcd */
	CHECKED(LINE("sip:a") "To: sip:a\r\nFrom: <sipfoo:a@bcd>\r\n",
		MSG_BAD_FROM);
	CHECKED(LINE("sip:a") "To: sip:a\r\nFrom: <foo:a@bcd>\r\n", MSG_OK);
	CHECKED(LINE("sip:a") "From: sip:a\r\n", MSG_BAD_TO);
	CHECKED(LINE("sip:a") "From: sip:a\r\nTo: \"x <sip:b>\r\n", MSG_BAD_TO);
	CHECKED(LINE("sip:a") FT "Max-Forwards: 255\r\n", MSG_OK);
	CHECKED(LINE("sip:a") FT "Max-Forwards: 256\r\n", MSG_BAD_MAX_FORWARDS);
	CHECKED(LINE("sip:a") FT "Max-Forwards: -1\r\n", MSG_BAD_MAX_FORWARDS);
	CHECKED(LINE("sip:a") FT "Max-Forwards:\r\n", MSG_BAD_MAX_FORWARDS);
	CHECKED(LINE("sip:a") FT "Route: <sip:a;lr>, x\r\n", MSG_BAD_ROUTE);
	CHECKED(LINE("sip:a") FT "Route: <sip:a;lr>,,\r\n", MSG_OK);
	CHECKED(LINE("sip:a") FT "Record-Route: sip\r\n", MSG_BAD_ROUTE);
	CHECKED(LINE("sip:a") FT "m: <sip:a>;;\r\n", MSG_BAD_CONTACT);
	CHECKED(LINE("sip:a") FT "m: *\r\n", MSG_OK);
	CHECKED(LINE("sip:a") FT "m:\r\n", MSG_OK);
	CHECKED(LINE("sip:a") FT "m: <sip:b>;q=1, <tel:0>\r\n", MSG_OK);
	CHECKED(LINE("sip:a") FT "m: <sip:->\r\n", MSG_BAD_CONTACT);
	CHECKED("SIP/2.0 180\r\n" FT, MSG_OK);
}

/* NULL: it gives no text. */
static void ruri_is(struct str text, const char *scheme)
{
	struct fixture f;
	struct uri uri;

	setup(&f, text);
	field_check(&f.m, &uri);
	CHECK(uri.text.p == (scheme ? f.m.uri.p : NULL));
	if (scheme)
		CHECK(str_eq(uri.scheme, str_from(scheme)));
	fixture_fini(&f);
}

TEST(the_checked_request_uri)
{
	ruri_is(STR(LINE("sip:a") FT "\r\n"), "sip");
	ruri_is(STR(LINE("tel:1") FT "\r\n"), "tel");
	ruri_is(STR(LINE("sips:a%41@b") "\r\n"), "sips");
	ruri_is(STR(LINE("sip:a@") FT "\r\n"), NULL);
	ruri_is(STR("SIP/2.0 180\r\n" FT "\r\n"), NULL);
}

/* The plainest address has them as well. */
TEST(caps_of_what_is_checked)
{
	static char text[1024];
	size_t n;

	for (int in_uri = 0; in_uri <= 1; in_uri++)
		for (int params = MSG_MAX_LIST; params <= MSG_MAX_LIST + 1;
		     params++) {
			n = (size_t)snprintf(
			    text, sizeof(text),
			    in_uri ? "OPTIONS sip:a"
				   : "OPTIONS sip:a SIP/2.0\r\nTo: <sip:c@d>"
				     "\r\nFrom: <sip:a@b>");
			for (int i = 0; i < params; i++, n += 2)
				memcpy(text + n, ";a", 2);
			strcpy(text + n,
			       in_uri ? " SIP/2.0\r\n" FT "\r\n" : "\r\n\r\n");
			CHECK_INT(check_of(str_from(text)),
				  params == MSG_MAX_LIST ? MSG_OK
				  : in_uri               ? MSG_BAD_URI
							 : MSG_BAD_FROM);
		}
}

/* Every allocation fails in turn, libosip2's own included: it would answer with
 * parts missing and say nothing. */
TEST(no_memory)
{
	struct fixture f;
	char *text;
	struct str raw = STR(REQUEST "\r\n");
	int failed = 0, fine = 0;

	fixture_init(&f);
	text = malloc(raw.n);
	CHECK(text != NULL);
	memcpy(text, raw.p, raw.n);
	raw.p = text;
	for (size_t taken = 0; fixture_starve(&f, taken); taken++) {
		enum msg_bad bad = msg_index(&f.m, f.arena, raw);
		const struct field_uri *u;
		const struct field_addr *a;

		if (bad == MSG_NOMEM)
			continue;
		CHECK_INT(bad, MSG_OK);
		u = field_ruri(&f.m);
		a = field_addr(&f.m, HDR_FROM, 0);
		if (u) {
			CHECK_STR(u->user, "bob");
			CHECK_STR(u->host, "2001:db8::1");
			CHECK_INT(count_params(u->params), 2);
		} else {
			CHECK(arena_failed(f.arena));
			CHECK(!a);
		}
		if (a) {
			CHECK_STR(a->display, "A \"x\" B");
			CHECK_STR(a->uri.host, "b");
			CHECK_INT(count_params(a->params), 2);
			fine++;
		} else {
			CHECK(arena_failed(f.arena));
			failed++;
		}
		bad = field_check(&f.m, NULL);
		CHECK(bad == MSG_NOMEM || bad == MSG_OK);
		CHECK(bad == MSG_NOMEM || a);
	}
	CHECK(failed > 20 && fine > 20);
	free(text);
	fixture_fini(&f);
}

/* Lack of memory is no verdict that is kept. */
TEST(no_memory_is_forgotten)
{
	static const char text[] = REQUEST "\r\n";
	struct fixture f;
	int forgotten = 0;

	fixture_init(&f);
	for (size_t taken = 0; fixture_starve(&f, taken); taken++) {
		if (msg_index(&f.m, f.arena, STR(text)))
			continue;
		if (field_check(&f.m, NULL) == MSG_OK)
			continue;
		f.mem.fail_at = 0;
		arena_clear_failed(f.arena);
		CHECK_INT(field_check(&f.m, NULL), MSG_OK);
		forgotten++;
	}
	CHECK(forgotten > 20);
	fixture_fini(&f);
}
