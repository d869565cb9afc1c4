/* The messages of RFC 4475 and what this layer says of each. */
#include <dirent.h>

#include "message/edit.h"
#include "message/field.h"
#include "message/reply.h"
#include "unit/message.h"

/* What msg_index, then msg_key, then field_check say. Where an earlier one
 * refuses, the later are still safe to ask, and their answers are held here
 * too: a 4xx is built from what is left. */
static const struct {
	const char *name;
	enum msg_bad index, key, check;
	bool can_answer;
} cases[] = {
    /* 3.1.1 valid */
    {"wsinv", MSG_OK, MSG_OK, MSG_OK, true},
    /* valid by the grammar, but we take no NUL in a header, quoted or not */
    {"intmeth", MSG_BAD_CHAR, MSG_OK, MSG_BAD_TO, true},
    {"esc01", MSG_OK, MSG_OK, MSG_OK, true},
    {"escnull", MSG_OK, MSG_OK, MSG_OK, true},
    {"esc02", MSG_OK, MSG_OK, MSG_OK, true},
    {"lwsdisp", MSG_OK, MSG_OK, MSG_OK, true},
    {"longreq", MSG_OK, MSG_OK, MSG_OK, true},
    {"dblreq", MSG_OK, MSG_OK, MSG_OK, true},
    {"semiuri", MSG_OK, MSG_OK, MSG_OK, true},
    {"transports", MSG_OK, MSG_OK, MSG_OK, true},
    {"mpart01", MSG_OK, MSG_OK, MSG_OK, true},
    {"unreason", MSG_OK, MSG_OK, MSG_OK, false},
    {"noreason", MSG_OK, MSG_OK, MSG_OK, false},
    /* 3.1.2 invalid */
    {"badinv01", MSG_OK, MSG_BAD_VIA, MSG_BAD_CONTACT, true},
    {"clerr", MSG_SHORT_BODY, MSG_OK, MSG_OK, true},
    {"ncl", MSG_BAD_LENGTH, MSG_OK, MSG_OK, true},
    {"scalar02", MSG_OK, MSG_BAD_CSEQ, MSG_BAD_MAX_FORWARDS, true},
    {"scalarlg", MSG_OK, MSG_BAD_CSEQ, MSG_OK, false},
    {"quotbal", MSG_OK, MSG_BAD_TO, MSG_BAD_TO, true},
    {"ltgtruri", MSG_BAD_URI, MSG_OK, MSG_BAD_URI, true},
    {"lwsruri", MSG_BAD_URI, MSG_OK, MSG_BAD_URI, true},
    {"lwsstart", MSG_BAD_START, MSG_OK, MSG_BAD_URI, true},
    {"trws", MSG_BAD_START, MSG_OK, MSG_BAD_URI, true},
    {"escruri", MSG_BAD_URI, MSG_OK, MSG_BAD_URI, true},
    {"baddate", MSG_OK, MSG_OK, MSG_OK, true},
    {"regbadct", MSG_OK, MSG_OK, MSG_BAD_CONTACT, true},
    {"badaspec", MSG_OK, MSG_BAD_TO, MSG_BAD_TO, true},
    {"baddn", MSG_NO_END, MSG_BAD_FROM, MSG_BAD_FROM, true},
    {"badvers", MSG_BAD_VERSION, MSG_BAD_VIA, MSG_OK, true},
    {"mismatch01", MSG_OK, MSG_CSEQ_METHOD, MSG_OK, true},
    {"mismatch02", MSG_OK, MSG_CSEQ_METHOD, MSG_OK, true},
    {"bigcode", MSG_BAD_STATUS, MSG_OK, MSG_OK, false},
    /* 3.2 transaction layer: RFC 2543 matching there */
    {"badbranch", MSG_OK, MSG_OK, MSG_OK, true},
    /* 3.3 application layer */
    {"insuf", MSG_OK, MSG_BAD_FROM, MSG_BAD_FROM, false},
    {"unkscm", MSG_OK, MSG_OK, MSG_OK, true},  /* 416 */
    {"novelsc", MSG_OK, MSG_OK, MSG_OK, true}, /* 416 */
    {"unksm2", MSG_OK, MSG_OK, MSG_OK, true},
    {"bext01", MSG_OK, MSG_OK, MSG_OK, true}, /* 420 */
    {"invut", MSG_OK, MSG_OK, MSG_OK, true},
    {"regaut01", MSG_OK, MSG_OK, MSG_OK, true},
    {"multi01", MSG_DUPLICATE, MSG_OK, MSG_BAD_FROM, true},
    {"mcl01", MSG_DUPLICATE, MSG_OK, MSG_OK, true},
    {"bcast", MSG_OK, MSG_OK, MSG_OK, false}, /* not where it would go */
    {"zeromf", MSG_OK, MSG_OK, MSG_OK, true}, /* 483 */
    {"cparam01", MSG_OK, MSG_OK, MSG_OK, true},
    {"cparam02", MSG_OK, MSG_OK, MSG_OK, true},
    {"regescrt", MSG_OK, MSG_OK, MSG_OK, true},
    {"sdp01", MSG_OK, MSG_OK, MSG_OK, true},
    /* 3.4 RFC 2543 */
    {"inv2543", MSG_OK, MSG_OK, MSG_OK, true},
};

static char space[MSG_MAX_BYTES];

static void load(struct fixture *f, const char *name, enum msg_bad want)
{
	struct str raw = torture_read(name, space, sizeof(space));
	enum msg_bad bad;

	fixture_init(f);
	bad = fixture_index(f, raw);
	if (bad != want)
		fprintf(stderr, "%s: %.*s\n", name, STR_FMT(msg_bad_text(bad)));
	CHECK_INT(bad, want);
}

TEST(verdicts)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct msg_key key;
		enum msg_bad bad, check;
		struct fixture f;
		bool can;

		load(&f, cases[i].name, cases[i].index);
		bad = msg_key(&f.m, &key);
		check = field_check(&f.m, NULL);
		can = reply_can_answer(&f.m);
		if (bad != cases[i].key || check != cases[i].check ||
		    can != cases[i].can_answer)
			fprintf(stderr, "%s: %.*s, %.*s, %d\n", cases[i].name,
				STR_FMT(msg_bad_text(bad)),
				STR_FMT(msg_bad_text(check)), can);
		CHECK_INT(bad, cases[i].key);
		CHECK_INT(check, cases[i].check);
		CHECK_INT(can, cases[i].can_answer);
		fixture_fini(&f);
	}
}

TEST(every_file_has_a_verdict)
{
	DIR *dir = opendir("spec/fixtures/torture");
	const struct dirent *d;
	size_t n = 0;

	CHECK(dir != NULL);
	while ((d = readdir(dir)))
		n += str_find(str_from(d->d_name), '.') > 0;
	closedir(dir);
	CHECK_INT(n, ARRAY_LEN(cases));
	CHECK_INT(n, 49);
}

static void same_uri(const struct uri *u, const struct field_uri *v)
{
	struct str host = u->host;

	CHECK(v != NULL);
	CHECK(str_caseeq(u->scheme, v->scheme));
	CHECK_INT(u->port, v->port);
	if (host.n && host.p[0] == '[')
		host = str_sub(host, 1, host.n - 1);
	CHECK(str_caseeq(host, v->host));
	CHECK_INT(u->user.p != NULL, v->user.p != NULL);
}

static void same_views(struct msg *m, enum hdr_id id)
{
	for (size_t i = 0; i < field_count(m, id); i++) {
		const struct field_addr *a = field_addr(m, id, i);
		struct str value = field_value(m, id, i), tag, rest;
		struct nameaddr na;
		struct uri u;
		bool found;

		CHECK(a != NULL);
		CHECK(scan_nameaddr(value, &na, &rest));
		CHECK(!rest.p);
		CHECK(scan_uri(na.uri, &u));
		same_uri(&u, &a->uri);
		if (!scan_param(na.params, STR("tag"), &tag))
			tag = STR_NONE;
		CHECK(str_eq(field_param_get(a->params, STR("tag"), &found),
			     tag));
	}
}

/* The scanner and libosip2 see the same in every message that both accept. */
TEST(two_views_agree)
{
	static const enum hdr_id ids[] = {HDR_FROM, HDR_TO, HDR_CONTACT,
					  HDR_ROUTE, HDR_RECORD_ROUTE};
	size_t accepted = 0;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f;
		struct uri u;

		if (cases[i].index || cases[i].check)
			continue;
		load(&f, cases[i].name, MSG_OK);
		if (f.m.is_request) {
			CHECK(scan_uri(f.m.uri, &u));
			same_uri(&u, field_ruri(&f.m));
		}
		for (size_t j = 0; j < ARRAY_LEN(ids); j++)
			same_views(&f.m, ids[j]);
		accepted++;
		fixture_fini(&f);
	}
	CHECK_INT(accepted, 30);
}

/* What is forwarded is what was received, %00 and all. */
TEST(unedited_output_is_the_input)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f;
		struct edits e;
		struct buf out;

		load(&f, cases[i].name, cases[i].index);
		edits_init(&e, &f.m, f.arena);
		buf_arena(&out, f.arena, 256);
		if (!cases[i].index) {
			CHECK_INT(edits_write(&e, &out), 0);
			CHECK(str_eq(buf_str(&out), f.m.raw));
		}
		fixture_fini(&f);
	}
}

TEST(details)
{
	struct msg_key key;
	struct fixture f;
	struct str rest;

	load(&f, "wsinv", MSG_OK);
	CHECK_INT(msg_key(&f.m, &key), MSG_OK);
	CHECK_STR(key.via.branch, "390skdjuw");
	CHECK_STR(key.to_tag, "1918181833n");
	CHECK_STR(key.from_tag, "98asjd8");
	CHECK_INT(key.cseq, 9);
	CHECK_INT(field_count(&f.m, HDR_VIA), 3);
	CHECK(scan_via(field_value(&f.m, HDR_VIA, 2), &key.via, &rest));
	CHECK_STR(key.via.branch, "z9hG4bK30239");
	CHECK_STR(field_addr(&f.m, HDR_FROM, 0)->display, "J Rosenberg \\\"");
	fixture_fini(&f);

	load(&f, "escnull", MSG_OK);
	CHECK_STR(field_addr(&f.m, HDR_TO, 0)->uri.user, "null-\0-null");
	CHECK_STR(field_addr(&f.m, HDR_CONTACT, 1)->uri.user, "\0\0");
	fixture_fini(&f);

	load(&f, "esc02", MSG_OK); /* no escapes in method and header names */
	CHECK_INT(f.m.method_id, METHOD_OTHER);
	CHECK_INT(field_count(&f.m, HDR_CONTACT), 2);
	fixture_fini(&f);

	load(&f, "dblreq", MSG_OK); /* the second one is cut off */
	CHECK_INT(f.m.body.n, 0);
	CHECK_STR(str_sub(f.m.raw, f.m.raw.n - 6, f.m.raw.n), " 0\r\n\r\n");
	fixture_fini(&f);

	load(&f, "semiuri", MSG_OK);
	CHECK_STR(field_ruri(&f.m)->user, "user;par=u@example.net");
	CHECK_STR(field_ruri(&f.m)->host, "example.com");
	fixture_fini(&f);

	load(&f, "longreq", MSG_OK);
	CHECK_INT(field_count(&f.m, HDR_VIA), MSG_MAX_LIST + 1);
	CHECK_STR(msg_hdr_name(&f.m, &f.m.h[5]), "Via");
	fixture_fini(&f);
}
