#include "message/edit.h"
#include <string.h>
#include "message/chars.h"
#include "message/scan.h"
#include "util/err.h"

/*
 * The edits are what differs from the received header section, in the order of
 * the section: fields put before header `at` (which is msg->n for the end), in
 * their order, and then at most one change of header `at` itself.
 */
enum edit_kind { EDIT_PUT, EDIT_CHANGE, EDIT_DROP };

struct edit {
	uint32_t at;
	enum edit_kind kind;
	enum hdr_id id;
	struct str line; /* the whole field with CRLF; not of EDIT_DROP */
	struct str name, value; /* parts of it */
};

void edits_init(struct edits *e, const struct msg *m, struct arena *a)
{
	*e = (struct edits){.msg = m, .arena = a};
}

void edits_copy(struct edits *to, const struct edits *from, struct arena *a)
{
	*to = *from;
	to->arena = a;
	to->cap = to->n;
	if (!from->n)
		return;
	to->edit = arena_alloc(a, from->n * sizeof(*to->edit));
	if (to->edit) {
		memcpy(to->edit, from->edit, from->n * sizeof(*to->edit));
		return;
	}
	to->n = to->cap = 0;
	to->bad = true;
}

/* ---- the header section as it is after the edits */

/* One field of it: an edit, or a received header without a change. */
struct field {
	uint32_t k;  /* index of the edit, or where one for `at` would go */
	uint32_t at; /* index of the header, or what the edit has */
	bool edited;
	enum hdr_id id;
	struct str name, value;
};

/* Walks forward from the field f, which starts zeroed with first = true. */
static bool field_next(const struct edits *e, struct field *f, bool first)
{
	const struct msg *m = e->msg;

	if (!first) {
		if (f->edited)
			f->k++;
		if (!f->edited || e->edit[f->k - 1].kind != EDIT_PUT)
			f->at++;
	}
	for (;; f->at++, f->k++) {
		const struct edit *ed = f->k < e->n ? &e->edit[f->k] : NULL;

		if (!ed || ed->at != f->at) {
			if (f->at >= m->n)
				return false;
			const struct hdr *h = &m->h[f->at];

			f->edited = false;
			f->id = h->id;
			f->name = msg_hdr_name(m, h);
			f->value = msg_hdr_value(m, h);
			return true;
		}
		if (ed->kind != EDIT_DROP) {
			f->edited = true;
			f->id = ed->id;
			f->name = ed->name;
			f->value = ed->value;
			return true;
		}
	}
}

static bool field_is(const struct field *f, enum hdr_id id, struct str name)
{
	return f->id == id && (id != HDR_OTHER || str_caseeq(f->name, name));
}

static bool find_first(const struct edits *e, enum hdr_id id, struct str name,
		       struct field *out_r)
{
	*out_r = (struct field){0};
	for (bool first = true; field_next(e, out_r, first); first = false)
		if (field_is(out_r, id, name))
			return true;
	return false;
}

static bool find_last(const struct edits *e, enum hdr_id id, struct str name,
		      struct field *out_r)
{
	struct field f = {0};
	bool found = false;

	for (bool first = true; field_next(e, &f, first); first = false) {
		if (field_is(&f, id, name)) {
			*out_r = f;
			found = true;
		}
	}
	return found;
}

/* ---- changes of the array */

static int out_of_memory(struct edits *e)
{
	e->bad = true;
	return ERR_NOMEM;
}

static int insert(struct edits *e, uint32_t k, struct edit ed)
{
	if (e->n == EDIT_MAX)
		return ERR_LIMIT;
	if (e->n == e->cap) {
		uint32_t cap = e->cap ? e->cap * 2 : 8;
		struct edit *p = arena_alloc(e->arena, cap * sizeof(*p));

		if (!p)
			return out_of_memory(e);
		if (e->n)
			memcpy(p, e->edit, e->n * sizeof(*p));
		e->edit = p;
		e->cap = cap;
	}
	memmove(&e->edit[k + 1], &e->edit[k], (e->n - k) * sizeof(ed));
	e->edit[k] = ed;
	e->n++;
	return 0;
}

/* The field becomes `ed` (a change or a drop) at the same place. */
static int change(struct edits *e, const struct field *f, struct edit ed)
{
	ed.at = f->at;
	if (!f->edited)
		return insert(e, f->k, ed);
	if (e->edit[f->k].kind != EDIT_PUT) {
		e->edit[f->k] = ed;
	} else if (ed.kind != EDIT_DROP) {
		ed.kind = EDIT_PUT;
		e->edit[f->k] = ed;
	} else {
		e->n--;
		memmove(&e->edit[f->k], &e->edit[f->k + 1],
			(e->n - f->k) * sizeof(ed));
	}
	return 0;
}

static bool has_break(struct str s)
{
	const char *end = s.p + s.n;

	return s.n && ch_find_break(s.p, end) < end;
}

/* Makes "head" "value" CRLF, head being a name and what follows it up to the
 * value, as received or ": ". What kind it is the caller has said. */
static int make_line(struct edits *e, struct str head, size_t name_len,
		     struct str value, struct edit *out_r)
{
	size_t n = head.n + value.n + 2;

	if (n > MSG_MAX_LINE)
		return ERR_LIMIT;
	char *p = arena_alloc(e->arena, n);
	if (!p)
		return out_of_memory(e);
	memcpy(p, head.p, head.n);
	if (value.n)
		memcpy(p + head.n, value.p, value.n);
	memcpy(p + n - 2, "\r\n", 2);
	out_r->line = (struct str){p, n};
	out_r->name = (struct str){p, name_len};
	out_r->value = (struct str){p + head.n, value.n};
	return 0;
}

/* A field that a caller named, checked. */
static int make_field(struct edits *e, enum edit_kind kind, struct str name,
		      struct str value, struct edit *out_r)
{
	char head[MSG_MAX_KEY + 2];

	value = str_trim(value);
	if (!str_is_token(name) || has_break(value))
		return ERR_SYNTAX;
	out_r->kind = kind;
	out_r->id = hdr_id(name);
	if (out_r->id == HDR_CONTENT_LENGTH)
		return ERR_STATE;
	if (name.n > MSG_MAX_KEY)
		return ERR_LIMIT;
	memcpy(head, name.p, name.n);
	memcpy(head + name.n, ": ", 2);
	return make_line(e, (struct str){head, name.n + 2}, name.n, value,
			 out_r);
}

static int put(struct edits *e, uint32_t k, uint32_t at, struct edit ed)
{
	ed.at = at;
	return insert(e, k, ed);
}

static int put_at_end(struct edits *e, struct edit ed)
{
	return put(e, e->n, e->msg->n, ed);
}

/* ---- what callers ask for */

int edit_prepend(struct edits *e, struct str name, struct str value)
{
	struct edit ed;
	int err = make_field(e, EDIT_PUT, name, value, &ed);

	return err ? err : put(e, 0, 0, ed);
}

int edit_add(struct edits *e, struct str name, struct str value)
{
	struct field f;
	struct edit ed;
	int err = make_field(e, EDIT_PUT, name, value, &ed);

	if (err)
		return err;
	if (!find_last(e, ed.id, name, &f))
		return put_at_end(e, ed);
	if (!f.edited)
		return put(e, f.k, f.at + 1, ed);
	return put(e, f.k + 1, f.at + (e->edit[f.k].kind != EDIT_PUT), ed);
}

int edit_add_first(struct edits *e, enum hdr_id id, struct str value)
{
	struct field f;
	struct edit ed;
	int err = make_field(e, EDIT_PUT, hdr_name(id), value, &ed);

	if (err)
		return err;
	if (!find_first(e, id, STR_NONE, &f))
		return put_at_end(e, ed);
	return put(e, f.k, f.at, ed);
}

int edit_remove(struct edits *e, struct str name)
{
	enum hdr_id id = hdr_id(name);
	struct field f;

	if (id == HDR_CONTENT_LENGTH)
		return ERR_STATE;
	while (find_first(e, id, name, &f)) {
		int err = change(e, &f, (struct edit){.kind = EDIT_DROP});

		if (err)
			return err;
	}
	return 0;
}

int edit_set(struct edits *e, struct str name, struct str value)
{
	struct field f, last;
	struct edit ed;
	int err = make_field(e, EDIT_CHANGE, name, value, &ed);

	if (err)
		return err;
	if (!find_first(e, ed.id, name, &f)) {
		ed.kind = EDIT_PUT;
		return put_at_end(e, ed);
	}
	for (;;) {
		find_last(e, ed.id, name, &last);
		if (last.at == f.at && last.k == f.k)
			return change(e, &f, ed);
		err = change(e, &last, (struct edit){.kind = EDIT_DROP});
		if (err)
			return err;
	}
}

/* Puts another value into a field; how its name is written stays. */
static int revalue(struct edits *e, const struct field *f, struct str value)
{
	struct edit ed = {.kind = EDIT_CHANGE, .id = f->id};
	struct str head = f->name;
	int err;

	head.n = (size_t)(f->value.p - f->name.p);
	err = make_line(e, head, f->name.n, value, &ed);
	return err ? err : change(e, f, ed);
}

static struct str between(const char *from, const char *to)
{
	return str_trim((struct str){from, (size_t)(to - from)});
}

static const char *end_of(struct str s)
{
	return s.p + s.n;
}

/* The first field of the list header that has a value, and that value and what
 * follows it. */
static bool first_value(const struct edits *e, enum hdr_id id, struct field *f,
			struct str *value_r, struct str *rest_r)
{
	*f = (struct field){0};
	for (bool first = true; field_next(e, f, first); first = false) {
		if (f->id != id)
			continue;
		*rest_r = f->value;
		if (scan_list(rest_r, value_r))
			return true;
	}
	return false;
}

int edit_pop_value(struct edits *e, enum hdr_id id)
{
	struct str value, rest, next;
	struct field f;

	if (!hdr_is_list(id))
		return ERR_SYNTAX;
	if (!first_value(e, id, &f, &value, &rest))
		return ERR_NOTFOUND;
	if (!scan_list(&rest, &next))
		return change(e, &f, (struct edit){.kind = EDIT_DROP});
	return revalue(e, &f, between(next.p, end_of(f.value)));
}

int edit_pop_last_value(struct edits *e, enum hdr_id id)
{
	struct str rest, value, keep, next;
	struct field f, last = {0};
	bool found = false;

	if (!hdr_is_list(id))
		return ERR_SYNTAX;
	f = (struct field){0};
	for (bool first = true; field_next(e, &f, first); first = false) {
		rest = f.value;
		if (f.id == id && scan_list(&rest, &value)) {
			last = f;
			found = true;
		}
	}
	if (!found)
		return ERR_NOTFOUND;
	rest = last.value;
	scan_list(&rest, &value);
	for (keep = STR_NONE; scan_list(&rest, &next); value = next)
		keep = value;
	if (!keep.p)
		return change(e, &last, (struct edit){.kind = EDIT_DROP});
	return revalue(e, &last, between(last.value.p, end_of(keep)));
}

int edit_replace_value(struct edits *e, enum hdr_id id, struct str value)
{
	struct str old, rest;
	struct field f;
	char *p;

	if (!hdr_is_list(id) || has_break(value))
		return ERR_SYNTAX;
	if (!first_value(e, id, &f, &old, &rest))
		return ERR_NOTFOUND;
	/* the value up to the old one (empty list values), the new one, what
	 * followed the old one */
	size_t before = (size_t)(old.p - f.value.p);
	size_t after = (size_t)(end_of(f.value) - end_of(old));

	if (value.n > MSG_MAX_LINE)
		return ERR_LIMIT;
	p = arena_alloc(e->arena, before + value.n + after);
	if (!p)
		return out_of_memory(e);
	memcpy(p, f.value.p, before);
	if (value.n)
		memcpy(p + before, value.p, value.n);
	memcpy(p + before + value.n, end_of(old), after);
	return revalue(e, &f, (struct str){p, before + value.n + after});
}

int edit_uri(struct edits *e, struct str uri)
{
	struct uri u;

	if (!e->msg->is_request || !e->msg->uri.p)
		return ERR_STATE;
	if (!scan_uri(uri, &u))
		return ERR_SYNTAX;
	uri = arena_str(e->arena, uri_without_headers(&u));
	if (!uri.p)
		return out_of_memory(e);
	e->uri = uri;
	return 0;
}

int edit_status(struct edits *e, int code, struct str reason)
{
	if (e->msg->is_request)
		return ERR_STATE;
	if (code < 100 || code > 699 || has_break(reason))
		return ERR_SYNTAX;
	if (reason.p) {
		reason = arena_str(e->arena, reason);
		if (!reason.p)
			return out_of_memory(e);
		e->reason = reason;
	}
	e->status = code;
	return 0;
}

int edit_body(struct edits *e, struct str body)
{
	struct edit ed = {.kind = EDIT_PUT, .id = HDR_CONTENT_LENGTH};
	char digits[24];
	struct field f;
	struct buf b;
	int err;

	if (body.n > MSG_MAX_BYTES)
		return ERR_LIMIT;
	body = arena_str(e->arena, body);
	if (!body.p)
		return out_of_memory(e);
	buf_fixed(&b, digits, sizeof(digits));
	buf_u64(&b, body.n);
	if (find_first(e, HDR_CONTENT_LENGTH, STR_NONE, &f)) {
		err = revalue(e, &f, buf_str(&b));
	} else {
		err =
		    make_line(e, STR("Content-Length: "), 14, buf_str(&b), &ed);
		if (!err)
			err = put_at_end(e, ed);
	}
	if (err)
		return err;
	e->body = body;
	e->has_body = true;
	return 0;
}

struct str edits_get(const struct edits *e, struct str name)
{
	struct field f;

	if (!find_first(e, hdr_id(name), name, &f))
		return STR_NONE;
	return msg_unfold(e->arena, f.value);
}

void edits_each(const struct edits *e, struct str name, edits_fn *fn, void *ctx)
{
	enum hdr_id id = hdr_id(name);
	struct field f = {0};

	for (bool first = true; field_next(e, &f, first); first = false) {
		if (name.p && !field_is(&f, id, name))
			continue;
		if (!fn(ctx, f.name, msg_unfold(e->arena, f.value)))
			return;
	}
}

/* ---- writing */

static void write_start_line(const struct edits *e, struct buf *out)
{
	const struct msg *m = e->msg;
	struct str line = str_sub(m->raw, 0, m->headers_off);

	/* 7.1: the version may come in any case, and is sent in upper case. */
	if (m->is_request && m->uri.p) {
		buf_put(out, (struct str){line.p, (size_t)(m->uri.p - line.p)});
		buf_put(out, e->uri.p ? e->uri : m->uri);
		BUF_LIT(out, " SIP/2.0\r\n");
	} else if (!m->is_request && (e->status || e->reason.p)) {
		BUF_LIT(out, "SIP/2.0 ");
		buf_u64(out, (uint64_t)(e->status ? e->status : m->status));
		buf_char(out, ' ');
		buf_put(out, e->reason.p ? e->reason : m->reason);
		BUF_LIT(out, "\r\n");
	} else if (!m->is_request) {
		BUF_LIT(out, "SIP/2.0");
		buf_put(out, str_sub(line, sizeof("SIP/2.0") - 1, line.n));
	} else {
		buf_put(out, line);
	}
}

int edits_write(const struct edits *e, struct buf *out)
{
	const struct msg *m = e->msg;
	size_t before = out->n, pos = m->headers_off;

	if (e->bad)
		return ERR_NOMEM;
	write_start_line(e, out);
	for (uint32_t k = 0; k < e->n; k++) {
		const struct edit *ed = &e->edit[k];
		const struct hdr *h = ed->at < m->n ? &m->h[ed->at] : NULL;
		size_t until = h ? h->off : m->headers_end;

		buf_put(out, str_sub(m->raw, pos, until));
		pos = until;
		if (ed->kind != EDIT_PUT)
			pos += h->len;
		if (ed->kind != EDIT_DROP)
			buf_put(out, ed->line);
	}
	if (e->has_body) {
		buf_put(out, str_sub(m->raw, pos, m->headers_end + 2));
		buf_put(out, e->body);
	} else {
		buf_put(out, str_sub(m->raw, pos, m->raw.n));
	}
	if (!buf_ok(out))
		return out->arena ? ERR_NOMEM : ERR_LIMIT;
	return out->n - before > MSG_MAX_BYTES ? ERR_LIMIT : 0;
}
