#include "message/edit.h"

#include "message/scan.h"
#include "unit/message.h"
#include "util/err.h"
#include "util/rand.h"

#define START "INVITE sip:a@b SIP/2.0\r\n"
#define BASE                                                                   \
	START "Via: SIP/2.0/UDP one, SIP/2.0/UDP two\r\n"                      \
	      "v : SIP/2.0/UDP three\r\n"                                      \
	      "X-Hdr : secret\r\nx-hdr: more\r\n"                              \
	      "Route: <sip:r1;lr>,\r\n <sip:r2;lr> , <sip:r3;lr>\r\n"          \
	      "Max-Forwards: 70\r\ni: id\r\nl : 3\r\n\r\nabc"

struct edited {
	struct fixture f;
	struct edits e;
};

static void setup(struct edited *w, struct str text)
{
	fixture_init(&w->f);
	CHECK_INT(fixture_index(&w->f, text), MSG_OK);
	edits_init(&w->e, &w->f.m, w->f.arena);
}

static struct str written(struct edited *w)
{
	struct buf out;

	buf_arena(&out, w->f.arena, 4096);
	CHECK_INT(edits_write(&w->e, &out), 0);
	return buf_str(&out);
}

/* RFC 3261 7.4, 16.6 step 1. */
TEST(without_edits_the_output_is_the_input)
{
	static char text[MSG_MAX_BYTES];
	static const char *const names[] = {"wsinv", "longreq", "mpart01",
					    "transports", "unreason"};
	struct edited w;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		setup(&w, torture_read(names[i], text, sizeof(text)));
		CHECK(str_eq(written(&w), w.f.m.raw));
		fixture_fini(&w.f);
	}
}

/* RFC 3261 7.1: received in any case, sent in upper case. */
TEST(the_version_is_in_upper_case)
{
	struct edited w;

	setup(&w, STR("BYE sip:a sip/2.0\r\nl: 0\r\n\r\n"));
	CHECK_STR(written(&w), "BYE sip:a SIP/2.0\r\nl: 0\r\n\r\n");
	CHECK_INT(edit_uri(&w.e, STR("sip:b")), 0);
	CHECK_STR(written(&w), "BYE sip:b SIP/2.0\r\nl: 0\r\n\r\n");
	fixture_fini(&w.f);
	setup(&w, STR("Sip/2.0 200\r\nl: 0\r\n\r\n"));
	CHECK_STR(written(&w), "SIP/2.0 200\r\nl: 0\r\n\r\n");
	fixture_fini(&w.f);
}

TEST(prepend_and_add)
{
	struct edited w;

	setup(&w, STR(START "A: 1\r\nB: 2\r\na: 3\r\nC: 4\r\n\r\nx"));
	CHECK_INT(edit_prepend(&w.e, STR("Via"), STR("x")), 0);
	CHECK_INT(edit_prepend(&w.e, STR("Via"), STR("y")), 0);
	CHECK_INT(edit_add(&w.e, STR("A"), STR(" 5 ")), 0);
	CHECK_INT(edit_add(&w.e, STR("A"), STR("6")), 0);
	CHECK_INT(edit_add(&w.e, STR("D"), STR("7")), 0);
	CHECK_INT(edit_add(&w.e, STR("v"), STR("z")), 0);
	CHECK_INT(edit_add_first(&w.e, HDR_VIA, STR("w")), 0);
	CHECK_INT(edit_add_first(&w.e, HDR_ROUTE, STR("r1")), 0);
	CHECK_INT(edit_add_first(&w.e, HDR_ROUTE, STR("r0")), 0);
	CHECK_STR(written(&w),
		  START "Via: w\r\nVia: y\r\nVia: x\r\nv: z\r\nA: 1\r\n"
			"B: 2\r\na: 3\r\nA: 5\r\nA: 6\r\nC: 4\r\nD: 7\r\n"
			"Route: r0\r\nRoute: r1\r\n\r\nx");
	fixture_fini(&w.f);
}

/* What a removal misses a neighbour would believe (CVE-2020-28361). */
TEST(remove_in_every_form)
{
	struct edited w;

	setup(&w, STR(BASE));
	CHECK_INT(edit_add(&w.e, STR("X-Hdr"), STR("ours")), 0);
	CHECK_INT(edit_remove(&w.e, STR("X-HDR")), 0);
	CHECK_INT(edit_remove(&w.e, STR("Call-ID")), 0);
	CHECK_INT(edit_remove(&w.e, STR("V")), 0);
	CHECK_INT(edit_remove(&w.e, STR("Not-There")), 0);
	CHECK_STR(written(&w),
		  START "Route: <sip:r1;lr>,\r\n <sip:r2;lr> , <sip:r3;lr>\r\n"
			"Max-Forwards: 70\r\nl : 3\r\n\r\nabc");
	CHECK(!edits_get(&w.e, STR("x-hdr")).p);
	fixture_fini(&w.f);
}

TEST(set)
{
	struct edited w;

	setup(&w, STR(BASE));
	CHECK_INT(edit_set(&w.e, STR("X-hdr"), STR("one")), 0);
	CHECK_INT(edit_set(&w.e, STR("X-Hdr"), STR("two")), 0);
	CHECK_INT(edit_set(&w.e, STR("New"), STR("a")), 0);
	CHECK_INT(edit_set(&w.e, STR("New"), STR("b")), 0);
	CHECK_INT(edit_set(&w.e, STR("Via"), STR("v")), 0);
	CHECK_INT(edit_remove(&w.e, STR("Route")), 0);
	CHECK_INT(edit_set(&w.e, STR("Route"), STR("")), 0);
	CHECK_STR(written(&w),
		  START "Via: v\r\nX-Hdr: two\r\nMax-Forwards: 70\r\n"
			"i: id\r\nl : 3\r\nNew: b\r\nRoute: \r\n\r\nabc");
	CHECK_STR(edits_get(&w.e, STR("x-hdr")), "two");
	fixture_fini(&w.f);
}

TEST(values_of_lists)
{
	struct edited w;

	setup(&w, STR(BASE));
	CHECK_INT(edit_replace_value(&w.e, HDR_VIA, STR("ONE")), 0);
	CHECK_INT(edit_pop_value(&w.e, HDR_ROUTE), 0);
	CHECK_INT(edit_pop_last_value(&w.e, HDR_ROUTE), 0);
	CHECK_STR(written(&w),
		  START "Via: ONE, SIP/2.0/UDP two\r\n"
			"v : SIP/2.0/UDP three\r\n"
			"X-Hdr : secret\r\nx-hdr: more\r\n"
			"Route: <sip:r2;lr>\r\n"
			"Max-Forwards: 70\r\ni: id\r\nl : 3\r\n\r\nabc");
	CHECK_INT(edit_pop_value(&w.e, HDR_ROUTE), 0);
	CHECK_INT(edit_pop_value(&w.e, HDR_ROUTE), ERR_NOTFOUND);
	CHECK_INT(edit_pop_last_value(&w.e, HDR_ROUTE), ERR_NOTFOUND);
	CHECK_INT(edit_replace_value(&w.e, HDR_ROUTE, STR("x")), ERR_NOTFOUND);
	CHECK_INT(edit_pop_last_value(&w.e, HDR_VIA), 0);
	CHECK_INT(edit_pop_value(&w.e, HDR_VIA), 0);
	CHECK_STR(edits_get(&w.e, STR("Via")), "SIP/2.0/UDP two");
	CHECK_INT(edit_pop_value(&w.e, HDR_VIA), 0);
	CHECK_INT(edit_pop_value(&w.e, HDR_VIA), ERR_NOTFOUND);
	CHECK_INT(edit_prepend(&w.e, STR("Via"), STR("a,b")), 0);
	CHECK_INT(edit_pop_value(&w.e, HDR_VIA), 0);
	CHECK_STR(edits_get(&w.e, STR("Via")), "b");
	CHECK_INT(edit_pop_value(&w.e, HDR_FROM), ERR_SYNTAX);
	CHECK_INT(edit_pop_last_value(&w.e, HDR_OTHER), ERR_SYNTAX);
	CHECK_INT(edit_replace_value(&w.e, HDR_OTHER, STR("x")), ERR_SYNTAX);
	fixture_fini(&w.f);
}

TEST(nothing_is_injected)
{
	struct edited w;

	setup(&w, STR(BASE));
#define REFUSED(call) CHECK_INT(call, ERR_SYNTAX)
	REFUSED(edit_add(&w.e, STR("A"), STR("b\r\nC: d")));
	REFUSED(edit_add(&w.e, STR("A"), STR("b\nC: d")));
	REFUSED(edit_add(&w.e, STR("A"), STR("b\rC: d")));
	REFUSED(edit_add(&w.e, STR("A"), STR("b\0C")));
	REFUSED(edit_add(&w.e, STR("A:"), STR("b")));
	REFUSED(edit_add(&w.e, STR("A "), STR("b")));
	REFUSED(edit_add(&w.e, STR(""), STR("b")));
	REFUSED(edit_add(&w.e, STR_NONE, STR("b")));
	REFUSED(edit_prepend(&w.e, STR("A\r\nB"), STR("b")));
	REFUSED(edit_set(&w.e, STR("A\nB"), STR("b")));
	REFUSED(edit_add_first(&w.e, HDR_ROUTE, STR("<sip:a>\r\nB: c")));
	REFUSED(edit_add_first(&w.e, HDR_OTHER, STR("a")));
	REFUSED(edit_replace_value(&w.e, HDR_VIA, STR("a\r\nB: c")));
	REFUSED(edit_uri(&w.e, STR("sip:a SIP/2.0\r\nB: c")));
	REFUSED(edit_uri(&w.e, STR("sip:a b")));
	REFUSED(edit_uri(&w.e, STR("<sip:a>")));
	REFUSED(edit_uri(&w.e, STR("")));
	CHECK_INT(edit_status(&w.e, 200, STR_NONE), ERR_STATE);
	CHECK_INT(edit_set(&w.e, STR("l"), STR("9")), ERR_STATE);
	CHECK_INT(edit_add(&w.e, STR("Content-Length"), STR("9")), ERR_STATE);
	CHECK_INT(edit_remove(&w.e, STR("content-length")), ERR_STATE);
	CHECK(str_eq(written(&w), w.f.m.raw));
	fixture_fini(&w.f);
}

TEST(uri_and_status)
{
	struct edited w;

	setup(&w, STR(BASE));
	CHECK_INT(edit_uri(&w.e, STR("sips:x@[::1]:5061;lr")), 0);
	CHECK_STR(str_sub(written(&w), 0, 44),
		  "INVITE sips:x@[::1]:5061;lr SIP/2.0\r\nVia: SI");
	/* 19.1.1: no headers there */
	CHECK_INT(edit_uri(&w.e, STR("sip:?@b;lr?Route=%3Csip:c%3E")), 0);
	CHECK_STR(str_sub(written(&w), 0, 27), "INVITE sip:?@b;lr SIP/2.0\r\n");
	fixture_fini(&w.f);

	setup(&w, STR("SIP/2.0 200\r\nl: 0\r\n\r\n"));
	CHECK_INT(edit_status(&w.e, 700, STR_NONE), ERR_SYNTAX);
	CHECK_INT(edit_status(&w.e, 500, STR("a\r\nB: c")), ERR_SYNTAX);
	CHECK_INT(edit_uri(&w.e, STR("sip:a")), ERR_STATE);
	CHECK_INT(edit_status(&w.e, 500, STR_NONE), 0);
	CHECK_STR(written(&w), "SIP/2.0 500 \r\nl: 0\r\n\r\n");
	CHECK_INT(edit_status(&w.e, 503, STR("Not now")), 0);
	CHECK_STR(written(&w), "SIP/2.0 503 Not now\r\nl: 0\r\n\r\n");
	fixture_fini(&w.f);
}

TEST(bodies)
{
	struct edited w;

	setup(&w, STR(BASE));
	CHECK_INT(edit_body(&w.e, STR("0123456789\0\r\n")), 0);
	CHECK_INT(edit_body(&w.e, STR("0123456789\0\r\n!")), 0);
	CHECK_STR(edits_get(&w.e, STR("Content-Length")), "14");

	struct str out = written(&w);

	CHECK_STR(str_sub(out, out.n - 24, out.n),
		  "l : 14\r\n\r\n0123456789\0\r\n!");
	fixture_fini(&w.f);

	/* a message without the header gets one */
	setup(&w, STR(START "A: 1\r\n\r\nabc"));
	CHECK_INT(edit_body(&w.e, w.f.m.body), 0);
	CHECK_STR(written(&w), START "A: 1\r\nContent-Length: 3\r\n\r\nabc");
	CHECK_INT(edit_body(&w.e, STR("")), 0);
	CHECK_STR(written(&w), START "A: 1\r\nContent-Length: 0\r\n\r\n");
	fixture_fini(&w.f);
}

TEST(copies_are_independent)
{
	struct edited w;
	struct edits copy;

	setup(&w, STR(START "A: 1\r\n\r\n"));
	CHECK_INT(edit_add(&w.e, STR("B"), STR("2")), 0);
	edits_copy(&copy, &w.e, w.f.arena);
	CHECK_INT(edit_set(&copy, STR("B"), STR("3")), 0);
	CHECK_INT(edit_add(&w.e, STR("C"), STR("4")), 0);
	CHECK_STR(written(&w), START "A: 1\r\nB: 2\r\nC: 4\r\n\r\n");
	w.e = copy;
	CHECK_STR(written(&w), START "A: 1\r\nB: 3\r\n\r\n");
	fixture_fini(&w.f);
}

static bool join(void *ctx, struct str name, struct str value)
{
	struct buf *b = ctx;

	buf_put(b, name);
	buf_char(b, '=');
	buf_put(b, value);
	buf_char(b, '|');
	return true;
}

static bool stop(void *ctx, struct str name, struct str value)
{
	(void)name, (void)value;
	return ++*(int *)ctx < 2;
}

TEST(what_a_reader_sees)
{
	struct edited w;
	struct buf b;
	int calls = 0;

	setup(&w, STR(BASE));
	edit_add(&w.e, STR("x-hdr"), STR("last"));
	buf_arena(&b, w.f.arena, 64);
	edits_each(&w.e, STR("X-Hdr"), join, &b);
	CHECK_STR(buf_str(&b), "X-Hdr=secret|x-hdr=more|x-hdr=last|");
	buf_arena(&b, w.f.arena, 64);
	edits_each(&w.e, STR("route"), join, &b);
	CHECK_STR(buf_str(&b), "Route=<sip:r1;lr>, <sip:r2;lr> , <sip:r3;lr>|");
	buf_arena(&b, w.f.arena, 64);
	edit_remove(&w.e, STR("Route"));
	edits_each(&w.e, STR_NONE, join, &b);
	CHECK_STR(buf_str(&b),
		  "Via=SIP/2.0/UDP one, SIP/2.0/UDP two|v=SIP/2.0/UDP three|"
		  "X-Hdr=secret|x-hdr=more|x-hdr=last|Max-Forwards=70|i=id|"
		  "l=3|");
	edits_each(&w.e, STR_NONE, stop, &calls);
	CHECK_INT(calls, 2);
	fixture_fini(&w.f);
}

TEST(limits)
{
	static char big[MSG_MAX_BYTES];
	struct edited w;
	struct buf out;
	char space[64];

	setup(&w, STR(BASE));
	memset(big, 'x', sizeof(big));
	CHECK_INT(edit_add(&w.e, STR("A"), (struct str){big, MSG_MAX_LINE}),
		  ERR_LIMIT);
	CHECK_INT(edit_add(&w.e, (struct str){big, 300}, STR("a")), ERR_LIMIT);
	buf_fixed(&out, space, sizeof(space));
	CHECK_INT(edits_write(&w.e, &out), ERR_LIMIT);
	for (int i = 0; i < EDIT_MAX; i++)
		CHECK_INT(edit_prepend(&w.e, STR("A"), STR("a")), 0);
	CHECK_INT(edit_prepend(&w.e, STR("A"), STR("a")), ERR_LIMIT);
	CHECK(written(&w).n > 0);
	CHECK_INT(edit_body(&w.e, (struct str){big, sizeof(big)}), ERR_LIMIT);
	fixture_fini(&w.f);

	setup(&w, STR(START "l: 0\r\n\r\n"));
	CHECK_INT(edit_body(&w.e, (struct str){big, sizeof(big)}), 0);
	buf_arena(&out, w.f.arena, 64);
	CHECK_INT(edits_write(&w.e, &out), ERR_LIMIT);
	fixture_fini(&w.f);
}

/* ---- a plain list of fields does the same edits, slowly and obviously */

struct model {
	char name[400][24], value[400][200];
	int n;
};

static void model_insert(struct model *m, int at, const char *name,
			 const char *value)
{
	for (int i = m->n++; i > at; i--) {
		strcpy(m->name[i], m->name[i - 1]);
		strcpy(m->value[i], m->value[i - 1]);
	}
	strcpy(m->name[at], name);
	strcpy(m->value[at], value);
}

static void model_delete(struct model *m, int at)
{
	for (int i = at + 1; i < m->n; i++) {
		strcpy(m->name[i - 1], m->name[i]);
		strcpy(m->value[i - 1], m->value[i]);
	}
	m->n--;
}

static bool model_is(const struct model *m, int i, const char *name)
{
	return hdr_name_eq(str_from(m->name[i]), str_from(name));
}

static int model_find(const struct model *m, const char *name, bool last)
{
	int at = -1;

	for (int i = 0; i < m->n; i++)
		if (model_is(m, i, name)) {
			at = i;
			if (!last)
				break;
		}
	return at;
}

static void model_pop(struct model *m, const char *name, bool last)
{
	int at = model_find(m, name, last);
	char *value = at < 0 ? NULL : m->value[at], *comma;

	if (!value)
		return;
	comma = last ? strrchr(value, ',') : strchr(value, ',');
	if (!comma) {
		model_delete(m, at);
	} else if (last) {
		while (comma > value && comma[-1] == ' ')
			comma--;
		*comma = '\0';
	} else {
		comma++;
		comma += strspn(comma, " ");
		memmove(value, comma, strlen(comma) + 1);
	}
}

static bool compare_one(void *ctx, struct str name, struct str value)
{
	struct model **m = ctx;
	int i = (*m)->n++;

	CHECK(str_eq(name, str_from((*m)->name[i])));
	CHECK(str_eq(value, str_from((*m)->value[i])));
	return true;
}

static void compare(struct edited *w, struct model *m)
{
	struct msg again;
	struct edits none;
	struct model *mp = m;
	int n = m->n;

	m->n = 0;
	edits_each(&w->e, STR_NONE, compare_one, &mp);
	CHECK_INT(m->n, n);
	/* and so sees the next hop */
	enum msg_bad bad = msg_index(&again, w->f.arena, written(w));

	if (n > MSG_MAX_HEADERS) {
		CHECK_INT(bad, MSG_TOO_MANY_HEADERS);
		return;
	}
	CHECK(bad == MSG_OK || bad == MSG_DUPLICATE);
	edits_init(&none, &again, w->f.arena);
	m->n = 0;
	edits_each(&none, STR_NONE, compare_one, &mp);
	CHECK_INT(m->n, n);
	CHECK_STR(again.body, "abc");
}

static void random_edit(struct edited *w, struct model *m, uint64_t r)
{
	static const char *const names[] = {"Via", "Route", "X-Hdr", "X-Other",
					    "Contact"};
	static const enum hdr_id ids[] = {HDR_VIA, HDR_ROUTE, HDR_OTHER,
					  HDR_OTHER, HDR_CONTACT};
	size_t which = r % 5;
	const char *name = names[which];
	enum hdr_id id = ids[which];
	char value[32];
	int at, err = 0;
	struct str n = str_from(name), v;

	snprintf(value, sizeof(value), r & 32 ? "v%d, w" : "v%d",
		 (int)(r >> 40 & 999));
	v = str_from(value);
	r >>= 8;
	switch (id == HDR_OTHER ? r % 4 : r % 8) {
	case 0:
		err = edit_prepend(&w->e, n, v);
		model_insert(m, 0, name, value);
		break;
	case 1:
		err = edit_add(&w->e, n, v);
		at = model_find(m, name, true);
		model_insert(m, at < 0 ? m->n : at + 1, name, value);
		break;
	case 2:
		if (r & 0x300) /* not always: it empties everything */
			return;
		err = edit_remove(&w->e, n);
		while ((at = model_find(m, name, false)) >= 0)
			model_delete(m, at);
		break;
	case 3:
		err = edit_set(&w->e, n, v);
		at = model_find(m, name, false);
		if (at < 0)
			model_insert(m, at = m->n, name, value);
		strcpy(m->name[at], name);
		strcpy(m->value[at], value);
		while (model_find(m, name, true) != at)
			model_delete(m, model_find(m, name, true));
		break;
	case 4:
		err = edit_add_first(&w->e, id, v);
		at = model_find(m, name, false);
		model_insert(m, at < 0 ? m->n : at, name, value);
		break;
	case 5:
	case 6:
		err = r % 8 == 5 ? edit_pop_value(&w->e, id)
				 : edit_pop_last_value(&w->e, id);
		CHECK_INT(err == ERR_NOTFOUND, model_find(m, name, false) < 0);
		model_pop(m, name, r % 8 == 6);
		err = 0;
		break;
	case 7:
		err = edit_replace_value(&w->e, id, STR("new"));
		at = model_find(m, name, false);
		CHECK_INT(err == ERR_NOTFOUND, at < 0);
		err = 0;
		if (at >= 0) {
			char rest[190], *comma = strchr(m->value[at], ',');

			strcpy(rest, comma ? comma : "");
			while (comma && comma > m->value[at] &&
			       comma[-1] == ' ') { /* "a , b" keeps it */
				memmove(rest + 1, rest, strlen(rest) + 1);
				rest[0] = ' ';
				comma--;
			}
			snprintf(m->value[at], 200, "new%s", rest);
		}
		break;
	}
	CHECK_INT(err, 0);
}

TEST(random_edits_agree_with_a_model)
{
	static struct model m;
	struct rand rand;

	rand_seed(&rand, 20240117);
	for (int round = 0; round < 300; round++) {
		struct edited w;

		setup(&w, STR(BASE));
		m.n = 0;
		for (uint32_t i = 0; i < w.f.m.n; i++) {
			struct str n = msg_hdr_name(&w.f.m, &w.f.m.h[i]);
			struct str v = msg_hdr_unfolded(&w.f.m, &w.f.m.h[i]);

			snprintf(m.name[i], 24, "%.*s", STR_FMT(n));
			snprintf(m.value[i], 200, "%.*s", STR_FMT(v));
			m.n++;
		}
		for (int i = 0; i < 40; i++) {
			random_edit(&w, &m, rand_u64(&rand));
			if (i % 8 == 7)
				compare(&w, &m);
		}
		fixture_fini(&w.f);
	}
}

/* Every allocation fails in turn: the edit says so, and from then on nothing
 * can be written; never a message with half of its edits. */
TEST(no_memory)
{
	struct fixture f;
	struct str raw = STR(BASE);
	int failed = 0, fine = 0;

	fixture_init(&f);
	for (size_t taken = 0; fixture_starve(&f, taken); taken++) {
		struct edits e, copy;
		struct buf out;
		int err = 0;

		if (msg_index(&f.m, f.arena, raw) == MSG_NOMEM)
			continue;
		edits_init(&e, &f.m, f.arena);
		err |= edit_prepend(&e, STR("Via"), STR("x"));
		err |= edit_set(&e, STR("X-Hdr"), STR("y"));
		err |= edit_replace_value(&e, HDR_VIA, STR("z"));
		err |= edit_pop_value(&e, HDR_ROUTE);
		err |= edit_uri(&e, STR("sip:new"));
		err |= edit_body(&e, STR("body"));
		edits_copy(&copy, &e, f.arena);
		buf_arena(&out, f.arena, 16);
		if (err) {
			CHECK_INT(edits_write(&e, &out), ERR_NOMEM);
			CHECK_INT(edits_write(&copy, &out), ERR_NOMEM);
			failed++;
		} else if (edits_write(&copy, &out)) {
			failed++;
		} else {
			CHECK_STR(buf_str(&out),
				  "INVITE sip:new SIP/2.0\r\nVia: z\r\n"
				  "Via: SIP/2.0/UDP one, SIP/2.0/UDP two\r\n"
				  "v : SIP/2.0/UDP three\r\nX-Hdr: y\r\n"
				  "Route: <sip:r2;lr> , <sip:r3;lr>\r\n"
				  "Max-Forwards: 70\r\ni: id\r\nl : 4\r\n\r\n"
				  "body");
			fine++;
		}
	}
	CHECK(failed > 10 && fine > 10);
	fixture_fini(&f);
}
