/* Hosts and URIs: the part of scan.h that says where a message goes. */
#include <string.h>
#include "message/cur.h"
#include "message/scan.h"

/* hostname, or an IPv4 address if the last label is all digits. */
static bool is_name(struct str s)
{
	struct addr addr;
	size_t label = 0;
	bool digits = true;

	if (!s.n || s.n > 255)
		return false;
	if (ch_is_digit(s.p[0]) && addr_parse_v4(s, &addr))
		return true;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!ch_is(c, CH_NAME))
			return false;
		if (c == '.') {
			if (!label || s.p[i - 1] == '-')
				return false;
			if (i + 1 < s.n)
				digits = true;
			label = 0;
			continue;
		}
		if ((c == '-' && !label) || ++label > 63)
			return false;
		digits = digits && ch_is_digit(c);
	}
	return digits ? addr_parse_ip(s, &addr) : s.p[s.n - 1] != '-';
}

/* "[" IPv6address "]" */
static bool is_ipv6ref(struct str s)
{
	struct addr addr;

	if (s.n < 4 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < s.n; i++)
		if (ch_hex(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.')
			return false;
	return addr_parse_ip(s, &addr);
}

bool scan_is_host(struct str s)
{
	return s.n && s.p[0] == '[' ? is_ipv6ref(s) : is_name(s);
}

struct str cur_host(struct cur *c)
{
	const char *from = c->p;

	if (cur_at(c, '[')) {
		const char *close = memchr(from, ']', (size_t)(c->end - from));

		if (!close)
			return STR_NONE;
		c->p = close + 1;
	} else {
		while (!cur_end(c) && ch_is(*c->p, CH_NAME))
			c->p++;
	}
	struct str host = cur_since(c, from);

	return scan_is_host(host) ? host : STR_NONE;
}

uint16_t cur_port(struct cur *c)
{
	const char *from = c->p;
	uint32_t port;

	while (!cur_end(c) && ch_is_digit(*c->p))
		c->p++;
	struct str digits = cur_since(c, from);

	if (digits.n > 5 || !str_u32(digits, 65535, &port))
		return 0;
	return (uint16_t)port;
}

/* *( ";" pname [ "=" pvalue ] ): none may be without a name. */
static bool params_ok(struct str params)
{
	do {
		struct str param = str_cut(&params, ';');

		if (!param.n || param.p[0] == '=')
			return false;
	} while (params.p);
	return true;
}

/* A run of characters that a URI may hold. */
static struct str cur_uric(struct cur *c)
{
	const char *from = c->p;

	while (!cur_end(c) && ch_is(*c->p, CH_URI))
		c->p++;
	return cur_since(c, from);
}

/* What follows the userinfo: hostport uri-parameters [ headers ] */
static bool host_and_rest(struct cur *c, struct uri *out_r)
{
	out_r->host = cur_host(c);
	if (!out_r->host.n)
		return false;
	if (cur_take(c, ':')) {
		out_r->port = cur_port(c);
		if (!out_r->port)
			return false;
	}
	if (cur_take(c, ';')) {
		const char *from = c->p;

		while (!cur_end(c) && *c->p != '?' && ch_is(*c->p, CH_URI))
			c->p++;
		out_r->params = cur_since(c, from);
		if (!params_ok(out_r->params))
			return false;
	}
	if (cur_take(c, '?')) {
		out_r->headers = cur_uric(c);
		if (!out_r->headers.n)
			return false;
	}
	return cur_end(c);
}

size_t scan_scheme(struct str s)
{
	size_t i = 0;

	if (!s.n || !ch_is_alpha(s.p[0]))
		return 0;
	while (i < s.n && ch_is(s.p[i], CH_SCHEME))
		i++;
	return i < s.n && s.p[i] == ':' ? i : 0;
}

bool scan_uri(struct str text, struct uri *out_r)
{
	struct cur c = cur_of(text);
	*out_r = (struct uri){.text = text};
	size_t colon = scan_scheme(text);

	if (!colon || colon + 1 >= text.n)
		return false;
	out_r->scheme = str_sub(text, 0, colon);
	c.p += colon + 1;
	out_r->is_sips = str_caseeq(out_r->scheme, STR("sips"));
	out_r->is_sip = out_r->is_sips || str_caseeq(out_r->scheme, STR("sip"));
	if (!out_r->is_sip) {
		cur_uric(&c);
		return cur_end(&c);
	}
	/* user and password may hold ; and ? but no '@', and neither does
	 * what comes after: the only '@' ends them, wherever it is. */
	const char *at = memchr(c.p, '@', (size_t)(c.end - c.p));
	if (at) {
		struct cur user = {c.p, at};

		out_r->user = cur_uric(&user);
		if (!out_r->user.n || !cur_end(&user) || *c.p == ':' ||
		    memchr(at + 1, '@', (size_t)(c.end - at - 1)))
			return false;
		c.p = at + 1;
	}
	return host_and_rest(&c, out_r);
}

/* One character of a user part, %-escapes resolved; -1 at the end. */
static int next_char(struct cur *c)
{
	if (cur_end(c))
		return -1;
	if (*c->p == '%' && c->end - c->p >= 3) {
		int high = ch_hex(c->p[1]), low = ch_hex(c->p[2]);

		if (high >= 0 && low >= 0) {
			c->p += 3;
			return high * 16 + low;
		}
	}
	return (unsigned char)*c->p++;
}

/* "%61" and "a" are the same; the escape of a reserved character is not that
 * character, but no user part that a proxy compares depends on it. */
static bool same_user(struct str a, struct str b)
{
	struct cur ca = cur_of(a), cb = cur_of(b);
	int c;

	if (!a.p != !b.p)
		return false;
	do {
		c = next_char(&ca);
		if (c != next_char(&cb))
			return false;
	} while (c >= 0);
	return true;
}

static bool same_host(struct str a, struct str b)
{
	struct addr aa, ab;

	if (str_caseeq(a, b))
		return true;
	return addr_parse_ip(a, &aa) && addr_parse_ip(b, &ab) &&
	       addr_ip_eq(&aa, &ab);
}

bool uri_same_place(const struct uri *a, const struct uri *b)
{
	if (!a->is_sip || !b->is_sip)
		return str_eq(a->text, b->text);
	return a->is_sips == b->is_sips && a->port == b->port &&
	       same_user(a->user, b->user) && same_host(a->host, b->host);
}

struct str uri_without_headers(const struct uri *uri)
{
	struct str text = uri->text;

	if (uri->headers.p) /* with its '?' */
		text.n = (size_t)(uri->headers.p - text.p) - 1;
	return text;
}
