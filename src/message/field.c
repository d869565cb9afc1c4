#include "message/field.h"
#include <pthread.h>
#include <string.h>
#include <sys/time.h> /* before libosip2, which forgets it */
#include <osipparser2/osip_parser.h>
#include "message/chars.h"
#include "message/plain.h"

/* libosip2's allocator hooks have no user pointer: where its memory comes from
 * is set around each call. The one global that changes (design, rule 2). In
 * static TLS also in the Lua module: glibc would allocate it there, and where
 * that block begins 16 bytes into a page the leak checker takes what lies
 * before it for its size, and crashes. */
static _Thread_local struct arena *current
    __attribute__((tls_model("initial-exec")));

/* Before each block: realloc must know how much to copy. */
struct block {
	_Alignas(16) size_t size;
};

static void *hook_malloc(size_t size)
{
	struct block *b;

	if (!current || size > SIZE_MAX - sizeof(*b))
		return NULL;
	b = arena_alloc(current, sizeof(*b) + size);
	if (!b)
		return NULL;
	b->size = size;
	return b + 1;
}

static void *hook_realloc(void *p, size_t size)
{
	struct block *old = p;
	void *q;

	if (!p)
		return hook_malloc(size);
	old--;
	if (size <= old->size)
		return p;
	q = hook_malloc(size);
	if (q)
		memcpy(q, p, old->size);
	return q;
}

static void hook_free(void *p)
{
	(void)p; /* goes with the arena */
}

static void hook_trace(const char *file, int line, osip_trace_level_t level,
		       const char *fmt, va_list ap)
{
	(void)file, (void)line, (void)level, (void)fmt, (void)ap;
}

static void init(void)
{
	osip_set_allocators(hook_malloc, hook_realloc, hook_free);
	osip_trace_initialize_func(TRACE_LEVEL0, hook_trace);
	parser_init();
}

void field_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init);
}

/* What was asked for before, by header and position. HDR_OTHER: the R-URI. */
struct cached {
	struct cached *next;
	enum hdr_id id;
	size_t i;
	const void *value; /* NULL: refused */
};

static const struct cached *cache_find(const struct msg *m, enum hdr_id id,
				       size_t i)
{
	const struct cached *c = m->cache;

	while (c && (c->id != id || c->i != i))
		c = c->next;
	return c;
}

/* Lack of memory is no verdict: nothing is kept then. */
static const void *cache_add(struct msg *m, enum hdr_id id, size_t i,
			     const void *value)
{
	struct cached *c;

	if (arena_failed(m->arena))
		return NULL;
	c = arena_alloc(m->arena, sizeof(*c));
	if (!c)
		return NULL;
	*c = (struct cached){m->cache, id, i, value};
	m->cache = c;
	return value;
}

static size_t count_char(struct str s, char c)
{
	size_t n = 0;

	for (size_t at; (at = str_find(s, c)) < s.n; n++)
		s = str_sub(s, at + 1, s.n);
	return n;
}

static bool within_caps(struct str text)
{
	return text.n <= MSG_MAX_LINE && count_char(text, ';') <= MSG_MAX_LIST;
}

/* libosip2 takes quadratic time for many of these, as for parameters, and ends
 * at a NUL. */
static bool can_be_judged(struct str text)
{
	return count_char(text, '&') <= MSG_MAX_LIST &&
	       str_find(text, '\0') == text.n;
}

/* The text with %-escapes resolved; STR_NONE when one is malformed or memory
 * ran out. */
static struct str unescape(struct arena *a, struct str s)
{
	size_t n = 0;

	if (!memchr(s.p, '%', s.n))
		return s;
	char *out = arena_alloc(a, s.n);
	if (!out)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			out[n++] = s.p[i];
			continue;
		}
		if (s.n - i < 3)
			return STR_NONE;
		int high = ch_hex(s.p[i + 1]), low = ch_hex(s.p[i + 2]);
		if (high < 0 || low < 0)
			return STR_NONE;
		out[n++] = (char)(high * 16 + low);
		i += 2;
	}
	return (struct str){out, n};
}

/* A quoted string without its quotes and backslashes; other text as it is. */
static struct str unquote(struct arena *a, struct str s)
{
	size_t n = 0;

	if (s.n < 2 || s.p[0] != '"')
		return s;
	s = str_sub(s, 1, s.n - 1);
	if (!memchr(s.p, '\\', s.n))
		return s;
	char *out = arena_alloc(a, s.n);
	if (!out)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		out[n++] = s.p[i];
	}
	return (struct str){out, n};
}

/* Fills a field_uri from the slices of our scanner. */
static bool fill_uri(struct arena *a, const struct uri *u,
		     struct field_uri *out_r)
{
	size_t colon;

	*out_r = (struct field_uri){.scheme = u->scheme, .port = u->port};
	if (!u->is_sip) {
		struct str rest = str_sub(u->text, u->scheme.n + 1, u->text.n);

		if (!str_caseeq(u->scheme, STR("tel")))
			return true;
		out_r->user = str_cut(&rest, ';');
		out_r->params = rest;
		return true;
	}
	out_r->params = u->params;
	out_r->host = u->host;
	if (u->host.p[0] == '[')
		out_r->host = str_sub(u->host, 1, u->host.n - 1);
	if (u->user.p) {
		colon = str_find(u->user, ':');
		if (colon < u->user.n)
			out_r->password =
			    str_sub(u->user, colon + 1, u->user.n);
		out_r->user = unescape(a, str_sub(u->user, 0, colon));
		if (!out_r->user.p)
			return false;
	}
	return true;
}

static bool same_port(const char *theirs, uint16_t ours)
{
	uint32_t port = 0;

	if (theirs && !str_u32(str_from(theirs), 65535, &port))
		return false;
	return port == ours;
}

/* libosip2 saw the same URI as we did. It ends a user at the first NUL, which
 * %00 gives. */
static bool agrees(const osip_uri_t *theirs, const struct field_uri *ours)
{
	struct str user = str_from(theirs->username), mine = ours->user;

	if (!str_caseeq(str_from(theirs->scheme), ours->scheme))
		return false;
	if (theirs->string) /* not SIP: kept as one string */
		return !ours->host.p;
	mine = str_sub(mine, 0, str_find(mine, '\0'));
	return str_caseeq(str_from(theirs->host), ours->host) &&
	       same_port(theirs->port, ours->port) && str_eq(user, mine);
}

static bool judge_uri(struct arena *a, struct str text,
		      const struct field_uri *ours)
{
	osip_uri_t *theirs = NULL;
	bool ok;

	text = arena_str(a, text);
	if (!text.p)
		return false;
	current = a;
	ok = osip_uri_init(&theirs) == OSIP_SUCCESS &&
	     osip_uri_parse(theirs, text.p) == OSIP_SUCCESS;
	current = NULL;
	return ok && !arena_failed(a) && agrees(theirs, ours);
}

static bool judge_addr(struct arena *a, const struct nameaddr *na,
		       const struct field_uri *ours)
{
	osip_from_t *theirs = NULL;
	struct str text;
	bool ok;

	/* In < > the library wants seven characters, so no "<sip:b>". */
	if (na->uri.n < 7)
		return !ours->host.p || judge_uri(a, na->uri, ours);
	text = arena_str(a, na->text);
	if (!text.p)
		return false;
	current = a;
	ok = osip_from_init(&theirs) == OSIP_SUCCESS &&
	     osip_from_parse(theirs, text.p) == OSIP_SUCCESS;
	current = NULL;
	return ok && !arena_failed(a) && theirs->url &&
	       agrees(theirs->url, ours);
}

const struct field_uri *field_uri(struct arena *a, struct str text)
{
	struct field_uri *out;
	struct uri u;

	field_init();
	if (arena_failed(a) || !text.n || !within_caps(text))
		return NULL;
	out = arena_alloc(a, sizeof(*out));
	if (!out || !scan_uri(text, &u) || !fill_uri(a, &u, out))
		return NULL;
	/* libosip2 knows few other schemes, and nothing of them is used. */
	if (!plain_uri(&u) &&
	    (!can_be_judged(text) || (u.is_sip && !judge_uri(a, text, out))))
		return NULL;
	return out;
}

const struct field_uri *field_ruri(struct msg *m)
{
	const struct cached *c = cache_find(m, HDR_OTHER, 0);

	if (c)
		return c->value;
	return cache_add(m, HDR_OTHER, 0, field_uri(m->arena, m->uri));
}

static const struct field_addr *parse_addr(struct arena *a, struct str text)
{
	struct field_addr *out;
	struct nameaddr na;
	struct str rest;
	struct uri u;

	if (arena_failed(a) || !text.n || !within_caps(text))
		return NULL;
	out = arena_zalloc(a, sizeof(*out));
	if (!out)
		return NULL;
	if (str_eq(text, STR("*"))) {
		out->star = true;
		return out;
	}
	if (!scan_nameaddr(text, &na, &rest) || rest.p ||
	    !scan_uri(na.uri, &u) || !fill_uri(a, &u, &out->uri))
		return NULL;
	out->params = na.params;
	out->display = unquote(a, na.display);
	if (!plain_addr(&na, &u) &&
	    (!can_be_judged(text) || !judge_addr(a, &na, &out->uri)))
		return NULL;
	return out;
}

bool field_is_judged_alike(struct arena *a, struct str text)
{
	struct field_uri out;
	struct nameaddr na;
	struct str rest;
	struct uri u;

	field_init();
	if (!scan_nameaddr(text, &na, &rest) || rest.p ||
	    !scan_uri(na.uri, &u) || !fill_uri(a, &u, &out))
		return true;
	if (plain_uri(&u) && !judge_uri(a, na.uri, &out))
		return false;
	return !plain_addr(&na, &u) || judge_addr(a, &na, &out);
}

/* A walk over the values of a header on all its lines. */
struct values {
	const struct msg *m;
	const struct hdr *h; /* the next line */
	struct str rest;     /* of the current line */
	bool list;
};

static struct values values_of(const struct msg *m, enum hdr_id id)
{
	return (struct values){m, msg_first(m, id), STR_NONE, hdr_is_list(id)};
}

static bool values_next(struct values *v, struct str *out_r)
{
	for (;;) {
		if (v->rest.n && scan_list(&v->rest, out_r))
			return true;
		if (!v->h)
			return false;
		*out_r = msg_hdr_value(v->m, v->h);
		if (v->list)
			v->rest = *out_r;
		v->h = msg_next(v->m, v->h);
		if (!v->list)
			return true;
	}
}

size_t field_count(const struct msg *m, enum hdr_id id)
{
	struct values v = values_of(m, id);
	struct str value;
	size_t n = 0;

	while (n <= MSG_MAX_LIST && values_next(&v, &value))
		n++;
	return n;
}

static struct str value_at(const struct msg *m, enum hdr_id id, size_t i)
{
	struct values v = values_of(m, id);
	struct str value;

	while (values_next(&v, &value))
		if (i-- == 0)
			return value;
	return STR_NONE;
}

struct str field_value(const struct msg *m, enum hdr_id id, size_t i)
{
	return msg_unfold(m->arena, value_at(m, id, i));
}

/* `value` is the i-th of this header, folds and all. */
static const struct field_addr *addr_of(struct msg *m, enum hdr_id id, size_t i,
					struct str value)
{
	const struct cached *c = cache_find(m, id, i);
	const struct field_addr *out;

	if (c)
		return c->value;
	field_init();
	out = parse_addr(m->arena, msg_unfold(m->arena, value));
	if (out && out->star && id != HDR_CONTACT)
		out = NULL;
	return cache_add(m, id, i, out);
}

const struct field_addr *field_addr(struct msg *m, enum hdr_id id, size_t i)
{
	struct str value = STR_NONE;

	/* cached before it is looked for in the message */
	if (!cache_find(m, id, i))
		value = value_at(m, id, i);
	return addr_of(m, id, i, value);
}

struct str field_param_get(struct str params, struct str name, bool *found_r)
{
	struct str n, value;

	*found_r = true;
	while (scan_next_param(&params, &n, &value))
		if (str_caseeq(n, name))
			return value;
	*found_r = false;
	return STR_NONE;
}

/* Accepted, and there is no need to make or keep anything of it. */
static bool is_plain_addr(struct str value)
{
	struct nameaddr na;
	struct str rest;
	struct uri u;

	return within_caps(value) && scan_nameaddr(value, &na, &rest) &&
	       !rest.p && scan_uri(na.uri, &u) && plain_addr(&na, &u);
}

/* Every value of the header is a name-addr or addr-spec. */
static bool check_addrs(struct msg *m, enum hdr_id id)
{
	struct values v = values_of(m, id);
	struct str value;
	size_t i = 0;

	while (values_next(&v, &value)) {
		if (i == MSG_MAX_LIST ||
		    (!is_plain_addr(value) && !addr_of(m, id, i, value)))
			return false;
		i++;
	}
	return true;
}

/* Whoever walks them (loop detection does) walks no more than this. */
static bool check_vias(const struct msg *m)
{
	struct values v = values_of(m, HDR_VIA);
	struct str value;
	size_t n = 0;

	while (n <= MSG_MAX_VIAS && values_next(&v, &value))
		n++;
	return n <= MSG_MAX_VIAS;
}

static bool check_max_forwards(const struct msg *m)
{
	const struct hdr *h = msg_first(m, HDR_MAX_FORWARDS);
	uint32_t v;

	return !h || str_u32(msg_hdr_value(m, h), 255, &v);
}

static bool check_ruri(struct msg *m, struct uri *ruri_r)
{
	*ruri_r = (struct uri){.text = STR_NONE};
	if (!m->is_request)
		return true;
	if (!scan_uri(m->uri, ruri_r)) {
		ruri_r->text = STR_NONE;
		return false;
	}
	if (!ruri_r->is_sip || (within_caps(m->uri) && plain_uri(ruri_r)))
		return true;
	return field_ruri(m) != NULL;
}

static enum msg_bad check(struct msg *m, struct uri *ruri_r)
{
	if (!check_ruri(m, ruri_r))
		return MSG_BAD_URI;
	if (!check_vias(m))
		return MSG_BAD_VIA;
	if (field_count(m, HDR_FROM) != 1 || !check_addrs(m, HDR_FROM))
		return MSG_BAD_FROM;
	if (field_count(m, HDR_TO) != 1 || !check_addrs(m, HDR_TO))
		return MSG_BAD_TO;
	if (!check_max_forwards(m))
		return MSG_BAD_MAX_FORWARDS;
	if (!check_addrs(m, HDR_ROUTE) || !check_addrs(m, HDR_RECORD_ROUTE))
		return MSG_BAD_ROUTE;
	if (!check_addrs(m, HDR_CONTACT))
		return MSG_BAD_CONTACT;
	return MSG_OK;
}

enum msg_bad field_check(struct msg *m, struct uri *ruri_r)
{
	struct uri ruri;
	enum msg_bad bad = check(m, ruri_r ? ruri_r : &ruri);

	return bad && arena_failed(m->arena) ? MSG_NOMEM : bad;
}
