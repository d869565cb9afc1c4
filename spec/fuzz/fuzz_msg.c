/*
 * Any bytes as a datagram: the index, the scanners, libosip2 behind its caps,
 * edits and replies. Beyond "no crash" it asserts that
 *   what is not edited leaves as it came;
 *   after edit_prepend the next hop sees our field and then all others;
 *   a response, and what CANCEL and ACK are made of, index without a complaint
 *   that the request did not have;
 *   whose worker it is can be seen without reading it;
 *   what is refused at a glance is answered as if it had been read;
 *   libosip2 and the scanner never disagree about a value both take.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "message/edit.h"
#include "message/field.h"
#include "message/glance.h"
#include "message/peek.h"
#include "message/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The limits are for what is received; a field more may go over them. */
static bool over_limit(enum msg_bad bad)
{
	return bad == MSG_TOO_MANY_HEADERS || bad == MSG_LINE_TOO_LONG ||
	       bad == MSG_TOO_BIG;
}

static void scan_value(struct str value)
{
	struct str list = value, item, rest = value, name;
	struct nameaddr na;
	struct via via;
	struct uri uri;

	while (scan_list(&list, &item)) {
		scan_uri(item, &uri);
		scan_is_host(item);
	}
	while (rest.n && scan_via(rest, &via, &rest))
		assert(scan_is_host(via.host) && via.text.n);
	if (scan_nameaddr(value, &na, &rest)) {
		scan_param(na.params, STR("tag"), &item);
		while (scan_next_param(&na.params, &name, &item))
			assert(name.n);
		if (scan_uri(na.uri, &uri))
			assert(uri_same_place(&uri, &uri));
	}
}

static void scan_all(struct msg *m)
{
	static const enum hdr_id ids[] = {HDR_FROM, HDR_TO, HDR_CONTACT,
					  HDR_ROUTE, HDR_PATH};
	struct msg_key key;
	struct uri uri;

	msg_key(m, &key);
	scan_uri(m->uri, &uri);
	for (uint32_t i = 0; i < m->n; i++) {
		const struct hdr *h = &m->h[i];

		assert(msg_find(m, msg_hdr_name(m, h)) <= h);
		scan_value(msg_hdr_value(m, h));
		scan_value(msg_hdr_unfolded(m, h));
	}
	field_check(m, NULL);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		for (size_t k = 0; k < 3; k++) {
			struct str value = field_value(m, ids[i], k);
			const struct field_addr *a = field_addr(m, ids[i], k);
			struct nameaddr na;

			assert(!a || a->star ||
			       scan_nameaddr(value, &na, NULL));
			assert(!value.p || arena_failed(m->arena) ||
			       field_is_judged_alike(m->arena, value));
		}
}

/* Of a message that is taken, the Call-ID is seen from outside as well. */
static void peek(struct msg *m, struct str raw)
{
	struct str seen = msg_peek_call_id(raw);
	struct msg_key key;

	if (msg_key(m, &key) == MSG_OK)
		assert(!seen.n || str_eq(seen, key.call_id));
}

static struct str line_of(const struct msg *m, enum hdr_id id)
{
	const struct hdr *h = msg_first(m, id);

	return str_sub(m->raw, h->off, h->off + h->len - 2);
}

static struct str brief_reply(const struct glance *g, struct arena *a)
{
	struct buf out;

	buf_arena(&out, a, 512);
	glance_reply(g, STR("503 Service Unavailable"), STR("v"), STR("tag"),
		     STR("X: y\r\n"), &out);
	return buf_str(&out);
}

/* Of a message that is taken a glance sees the same as who reads it. */
static void compare(struct msg *m, const struct glance *g, struct arena *a)
{
	struct reply r = {.code = 503,
			  .to_tag = STR("tag"),
			  .via = STR("v"),
			  .headers = STR("X: y\r\n")};
	struct msg_key key;
	struct buf out;

	if (msg_key(m, &key) != MSG_OK)
		return;
	assert(g->method == m->method_id && str_eq(g->uri, m->uri));
	assert(g->via.text.p == key.via.text.p);
	if (g->method == METHOD_ACK) { /* its Via may go on in a fold */
		assert(!g->via.branch.n ||
		       str_eq(g->via.branch, key.via.branch));
		assert(str_starts(line_of(m, HDR_CALL_ID), g->call_id) &&
		       str_starts(line_of(m, HDR_CSEQ), g->cseq));
		return;
	}
	assert(g->via.text.n == key.via.text.n &&
	       str_eq(g->via.branch, key.via.branch));
	assert(!key.to_tag.n && str_eq(g->from, line_of(m, HDR_FROM)) &&
	       str_eq(g->to, line_of(m, HDR_TO)) &&
	       str_eq(g->call_id, line_of(m, HDR_CALL_ID)) &&
	       str_eq(g->cseq, line_of(m, HDR_CSEQ)));
	buf_arena(&out, a, 512);
	assert(!reply_write(m, &r, &out));
	assert(str_eq(buf_str(&out), brief_reply(g, a)));
}

static void glance(struct msg *m, bool taken, struct str raw, struct arena *a)
{
	struct glance g;
	struct msg again;
	enum msg_bad bad;

	if (!glance_read(&g, raw))
		return;
	if (taken)
		compare(m, &g, a);
	if (g.method == METHOD_ACK)
		return;
	bad = msg_index(&again, a, brief_reply(&g, a));
	assert(again.status == 503 && (bad == MSG_OK || over_limit(bad)));
}

static struct str write_edits(const struct edits *e)
{
	struct buf out;
	int err;

	buf_arena(&out, e->arena, 1024);
	err = edits_write(e, &out);
	return err ? STR_NONE : buf_str(&out);
}

/* What went in, but for the version, which is sent in upper case. */
static bool is_input(struct str out, const struct msg *m)
{
	uint32_t at = m->headers_off;

	return str_caseeq(str_sub(out, 0, at), str_sub(m->raw, 0, at)) &&
	       str_eq(str_sub(out, at, out.n), str_sub(m->raw, at, m->raw.n));
}

static void edit(const struct msg *m, struct arena *a)
{
	struct edits e;
	struct msg again;
	struct str out;
	enum msg_bad bad;

	edits_init(&e, m, a);
	assert(is_input(write_edits(&e), m));
	assert(!edit_prepend(&e, STR("Via"), STR("SIP/2.0/UDP x;branch=y")));
	out = write_edits(&e);
	if (!out.p)
		return;
	bad = msg_index(&again, a, out);
	if (over_limit(bad))
		return;
	assert(!bad && again.n == m->n + 1 && str_eq(again.body, m->body));
	assert(str_eq(msg_hdr_value(&again, &again.h[0]),
		      STR("SIP/2.0/UDP x;branch=y")));
	for (uint32_t i = 0; i < m->n; i++) {
		assert(str_eq(msg_hdr_name(m, &m->h[i]),
			      msg_hdr_name(&again, &again.h[i + 1])));
		assert(str_eq(msg_hdr_value(m, &m->h[i]),
			      msg_hdr_value(&again, &again.h[i + 1])));
	}
	assert(!edit_pop_value(&e, HDR_VIA));
	assert(is_input(write_edits(&e), m));
}

/* Every edit of lists, down to nothing, and the body; then a look at it. */
static void edit_more(const struct msg *m, struct arena *a)
{
	struct edits e;
	struct msg again;
	struct str out;
	enum msg_bad bad;

	edits_init(&e, m, a);
	edit_replace_value(&e, HDR_CONTACT, STR("<sip:x>"));
	while (!edit_pop_last_value(&e, HDR_ROUTE))
		if (!edit_pop_value(&e, HDR_ROUTE))
			continue;
	edit_remove(&e, STR("Subject"));
	edit_set(&e, STR("Supported"), STR("a, b"));
	edit_body(&e, STR("body"));
	out = write_edits(&e);
	if (!out.p)
		return;
	bad = msg_index(&again, a, out);
	if (over_limit(bad))
		return;
	assert(!bad && str_eq(again.body, STR("body")) && again.has_length);
	assert(!msg_first(&again, HDR_SUBJECT) &&
	       !field_count(&again, HDR_ROUTE));
	assert(field_count(&again, HDR_SUPPORTED) == 2);
}

static struct str cancel_of(const struct msg *m, struct arena *a)
{
	struct buf out;

	buf_arena(&out, a, 512);
	return reply_write_cancel(m, STR_NONE, &out) ? STR_NONE : buf_str(&out);
}

static void answer(struct msg *m, struct arena *a, bool accepted)
{
	struct reply r = {.code = 400, .to_tag = STR("tag"), .via = STR("v")};
	struct msg again, image;
	struct buf out;
	enum msg_bad bad;

	if (!reply_can_answer(m))
		return;
	buf_arena(&out, a, 512);
	assert(!reply_write(m, &r, &out));
	bad = msg_index(&again, a, buf_str(&out));
	/* what is refused for a NUL behind a backslash is sent back with it */
	assert(bad == MSG_OK || over_limit(bad) ||
	       (bad == MSG_BAD_CHAR && !accepted));
	assert(again.status == 400 && again.body.n == 0);
	if (!accepted)
		return;
	buf_arena(&out, a, 512);
	assert(!reply_write_image(m, &out));
	bad = msg_index(&image, a, buf_str(&out));
	assert(bad == MSG_OK || over_limit(bad));
	if (!bad)
		assert(str_eq(cancel_of(m, a), cancel_of(&image, a)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem mem;
	struct arena_cache *cache;
	struct arena *a;
	struct msg m;
	enum msg_bad bad;

	mem_init(&mem);
	cache = arena_cache_new(&mem);
	a = arena_new(cache);
	assert(a);
	bad = msg_index(&m, a, (struct str){(const char *)data, size});
	scan_all(&m);
	answer(&m, a, !bad);
	glance(&m, !bad, (struct str){(const char *)data, size}, a);
	if (!bad) {
		peek(&m, (struct str){(const char *)data, size});
		edit(&m, a);
		edit_more(&m, a);
	}
	arena_free(&a);
	arena_cache_free(&cache);
	assert(!mem.bytes);
	return 0;
}
