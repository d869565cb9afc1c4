#include "message/scan.h"
#include "message/cur.h"
#include "util/list.h"

bool cur_quoted(struct cur *c)
{
	const char *p = c->p + 1;

	for (; p < c->end; p++) {
		if (*p == '"') {
			c->p = p + 1;
			return true;
		}
		if (*p == '\\' && ++p == c->end)
			break;
	}
	return false;
}

/* A run of characters without structure: what a gen-value may hold and more. */
static struct str cur_run(struct cur *c)
{
	const char *from = c->p;

	while (c->p < c->end && ch_is(*c->p, CH_RUN))
		c->p++;
	return cur_since(c, from);
}

enum cur_param cur_param(struct cur *c, struct str *name_r, struct str *value_r)
{
	*value_r = STR_NONE;
	if (!cur_sep(c, ';'))
		return CUR_PARAM_NONE;
	*name_r = cur_token(c);
	if (!name_r->n)
		return CUR_PARAM_BAD;
	if (!cur_sep(c, '='))
		return CUR_PARAM_ONE;
	if (cur_at(c, '"')) {
		const char *from = c->p;

		if (!cur_quoted(c))
			return CUR_PARAM_BAD;
		*value_r = cur_since(c, from);
	} else {
		*value_r = cur_run(c);
	}
	return CUR_PARAM_ONE;
}

/* Over one character, or over a whole quoted string; an unfinished one is the
 * rest of the text. */
static void step(struct cur *c)
{
	if (*c->p != '"')
		c->p++;
	else if (!cur_quoted(c))
		c->p = c->end;
}

/* The comma behind the first value of a list, or the end. */
static const char *value_end(struct str list)
{
	struct str first = str_sub(list, 0, str_find(list, ','));
	struct cur c = cur_of(list);

	/* mostly no comma is inside anything */
	if (first.n == list.n || (str_find(first, '"') == first.n &&
				  str_find(first, '<') == first.n))
		return c.p + first.n;
	while (!cur_end(&c) && *c.p != ',') {
		if (*c.p == '<')
			while (!cur_end(&c) && *c.p != '>')
				c.p++;
		else
			step(&c);
	}
	return c.p;
}

bool scan_list(struct str *list, struct str *value_r)
{
	struct cur c = cur_of(*list);

	do {
		const char *from = c.p;

		c.p = value_end((struct str){c.p, (size_t)(c.end - c.p)});
		*value_r = str_trim(cur_since(&c, from));
		cur_take(&c, ',');
	} while (!value_r->n && !cur_end(&c));
	*list = (struct str){c.p, (size_t)(c.end - c.p)};
	return value_r->n > 0;
}

bool scan_next_param(struct str *params, struct str *name_r,
		     struct str *value_r)
{
	struct cur c = cur_of(*params);
	const char *equal = NULL;

	cur_sep(&c, ';');
	if (cur_end(&c))
		return false;
	const char *from = c.p;

	/* what a token holds is none of ; = " */
	for (cur_token(&c); !cur_end(&c) && *c.p != ';'; cur_token(&c)) {
		if (*c.p == '=' && !equal)
			equal = c.p;
		step(&c);
	}
	*params = (struct str){c.p, (size_t)(c.end - c.p)};
	*value_r = STR_NONE;
	if (equal) {
		*value_r = str_trim(cur_since(&c, equal + 1));
		c.p = equal;
	}
	*name_r = str_trim(cur_since(&c, from));
	return true;
}

bool scan_param(struct str params, struct str name, struct str *value_r)
{
	struct str n, v;

	while (scan_next_param(&params, &n, &v)) {
		if (n.n != name.n || !str_caseeq(n, name))
			continue;
		*value_r = v.p ? v : (struct str){n.p + n.n, 0};
		return true;
	}
	return false;
}

/* Via parameters that steer a response may be there once, with a value. */
static bool once(struct str *slot, struct str value)
{
	if (slot->p || !value.n || value.p[0] == '"')
		return false;
	*slot = value;
	return true;
}

static bool via_rport(struct via *via, struct str value)
{
	uint32_t port = 0;

	if (via->has_rport)
		return false;
	via->has_rport = true;
	if (!value.p)
		return true;
	if (!str_u32(value, 65535, &port) || !port)
		return false;
	via->rport = (uint16_t)port;
	return true;
}

/* One via-param into its place; false when it is not what it must be. */
static bool via_param(struct via *via, struct str name, struct str value)
{
	struct addr addr;

	if (name.n == 6 && str_caseeq(name, STR("branch")))
		return once(&via->branch, value);
	if (name.n == 8 && str_caseeq(name, STR("received")))
		return once(&via->received, value) &&
		       addr_parse_ip(value, &addr);
	if (name.n == 5 && str_caseeq(name, STR("rport")))
		return via_rport(via, value);
	if (name.n == 5 && str_caseeq(name, STR("maddr")))
		return once(&via->maddr, value) && scan_is_host(value);
	return true;
}

/* via-parm = sent-protocol LWS sent-by *( SEMI via-params ) */
static bool via_value(struct cur *c, struct via *via)
{
	struct str name, value;
	enum cur_param got;

	if (!str_caseeq(cur_token(c), STR("SIP")) || !cur_sep(c, '/'))
		return false;
	via->version = cur_token(c);
	if (!via->version.n || !cur_sep(c, '/'))
		return false;
	via->transport = cur_token(c);
	if (!via->transport.n || !cur_space(c))
		return false;
	via->host = cur_host(c);
	if (!via->host.n)
		return false;
	if (cur_sep(c, ':')) {
		via->port = cur_port(c);
		if (!via->port)
			return false;
	}
	while ((got = cur_param(c, &name, &value)) == CUR_PARAM_ONE)
		if (!via_param(via, name, value))
			return false;
	return got == CUR_PARAM_NONE;
}

/* After a value: the end, or a comma and something more. */
static bool take_rest(struct cur *c, struct str *rest_r)
{
	bool comma = cur_sep(c, ',');
	struct str rest = STR_NONE;

	if (comma)
		rest = (struct str){c->p, (size_t)(c->end - c->p)};
	else
		cur_space(c);
	if (cur_end(c) == comma)
		return false;
	if (rest_r)
		*rest_r = rest;
	return true;
}

bool scan_via(struct str value, struct via *out_r, struct str *rest_r)
{
	struct cur c = cur_of(value);

	*out_r = (struct via){0};
	cur_space(&c);
	const char *from = c.p;

	if (!via_value(&c, out_r))
		return false;
	out_r->text = cur_since(&c, from);
	return take_rest(&c, rest_r);
}

/* display-name = *(token LWS) / quoted-string; the unquoted kind is taken with
 * any character that cannot be mistaken for structure. Ends at '<'. */
static bool display_name(struct cur *c, struct str *out_r)
{
	const char *from = c->p;

	if (cur_at(c, '"')) {
		if (!cur_quoted(c))
			return false;
		*out_r = cur_since(c, from);
		cur_space(c);
		return cur_at(c, '<');
	}
	while (c->p < c->end && ch_is(*c->p, CH_DISPLAY))
		c->p++;
	if (!cur_at(c, '<'))
		return false;
	*out_r = str_trim(cur_since(c, from));
	return true;
}

/* addr-spec without brackets: ends where header parameters begin. One with a
 * '?' would have needed brackets (20.10). */
static struct str bare_uri(struct cur *c)
{
	struct str uri = cur_run(c);

	return str_find(uri, '?') < uri.n ? STR_NONE : uri;
}

/* Header parameters, to the end or to what follows them; notes the tag. */
static enum cur_param nameaddr_params(struct cur *c, struct str *tag_r)
{
	struct str name, value;
	enum cur_param got;

	while ((got = cur_param(c, &name, &value)) == CUR_PARAM_ONE) {
		if (name.n != 3 || tag_r->p || !str_caseeq(name, STR("tag")))
			continue;
		*tag_r = value.p ? value : (struct str){name.p + name.n, 0};
	}
	return got;
}

bool scan_nameaddr(struct str value, struct nameaddr *out_r, struct str *rest_r)
{
	struct cur c = cur_of(value);

	*out_r = (struct nameaddr){.display = {value.p, 0}};
	cur_space(&c);
	const char *from = c.p;

	if (display_name(&c, &out_r->display)) {
		const char *uri = ++c.p;

		while (!cur_end(&c) && ch_is(*c.p, CH_URI))
			c.p++;
		out_r->uri = cur_since(&c, uri);
		out_r->bracketed = cur_take(&c, '>');
		if (!out_r->bracketed)
			return false;
	} else {
		c.p = from;
		out_r->uri = bare_uri(&c);
	}
	size_t scheme = scan_scheme(out_r->uri);

	if (!scheme || scheme + 1 == out_r->uri.n)
		return false;
	const char *params = c.p;

	if (nameaddr_params(&c, &out_r->tag) == CUR_PARAM_BAD)
		return false;
	out_r->text = cur_since(&c, from);
	out_r->params = str_trim(cur_since(&c, params));
	if (out_r->params.n) /* without its ';' */
		out_r->params =
		    str_trim(str_sub(out_r->params, 1, out_r->params.n));
	return take_rest(&c, rest_r);
}

/* The tag of a From or To, which is no list. Checks that the header is there.
 */
static bool read_tag(const struct msg *m, enum hdr_id id, struct str *tag_r,
		     struct str *uri_r)
{
	const struct hdr *h = msg_first(m, id);
	struct nameaddr na;
	struct str rest;

	*tag_r = STR_NONE;
	if (!h || !scan_nameaddr(msg_hdr_value(m, h), &na, &rest) || rest.p)
		return false;
	*uri_r = na.uri;
	*tag_r = na.tag;
	if (!na.tag.p)
		return true;
	return tag_r->n > 0 && tag_r->n <= MSG_MAX_KEY && tag_r->p[0] != '"';
}

/* callid = word [ "@" word ]: any visible characters here. */
static bool read_call_id(const struct msg *m, struct str *out_r)
{
	const struct hdr *h = msg_first(m, HDR_CALL_ID);

	if (!h || !h->value_len || h->value_len > MSG_MAX_KEY)
		return false;
	*out_r = msg_hdr_value(m, h);
	for (size_t i = 0; i < out_r->n; i++)
		if (ch_is_ctl(out_r->p[i]))
			return false;
	return true;
}

/* 1*DIGIT LWS Method */
static bool read_cseq(const struct msg *m, struct msg_key *key)
{
	const struct hdr *h = msg_first(m, HDR_CSEQ);

	if (!h)
		return false;
	struct cur c = cur_of(msg_hdr_value(m, h));
	const char *from = c.p;

	while (!cur_end(&c) && ch_is_digit(*c.p))
		c.p++;
	if (!str_u32(cur_since(&c, from), INT32_MAX, &key->cseq) ||
	    !cur_space(&c))
		return false;
	key->cseq_method = cur_token(&c);
	key->cseq_id = method_id(key->cseq_method);
	return key->cseq_method.n > 0 && cur_end(&c);
}

enum msg_bad msg_key(struct msg *m, struct msg_key *out_r)
{
	const struct hdr *h = msg_first(m, HDR_VIA);
	struct via *via = &out_r->via;
	struct str ignored;

	*out_r = (struct msg_key){0};
	if (!h)
		return MSG_NO_VIA;
	if (!scan_via(msg_hdr_value(m, h), via, &out_r->via_rest) ||
	    !str_eq(via->version, STR("2.0")) || via->branch.n > MSG_MAX_KEY)
		return MSG_BAD_VIA;
	if (!read_tag(m, HDR_FROM, &out_r->from_tag, &out_r->from_uri))
		return MSG_BAD_FROM;
	if (!read_tag(m, HDR_TO, &out_r->to_tag, &ignored))
		return MSG_BAD_TO;
	if (!read_call_id(m, &out_r->call_id))
		return MSG_BAD_CALL_ID;
	if (!read_cseq(m, out_r))
		return MSG_BAD_CSEQ;
	if (!m->is_request)
		m->method_id = out_r->cseq_id;
	else if (!str_eq(out_r->cseq_method, m->method))
		return MSG_CSEQ_METHOD;
	return MSG_OK;
}

struct msg_key msg_key_moved(const struct msg_key *key, const struct msg *of,
			     const struct msg *copy)
{
	struct msg_key k = *key;
	struct str *parts[] = {&k.via.text,    &k.via.version, &k.via.transport,
			       &k.via.host,    &k.via.branch,  &k.via.received,
			       &k.via.maddr,   &k.via_rest,    &k.call_id,
			       &k.cseq_method, &k.from_tag,    &k.to_tag,
			       &k.from_uri};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (parts[i]->p)
			parts[i]->p = copy->raw.p + (parts[i]->p - of->raw.p);
	return k;
}
