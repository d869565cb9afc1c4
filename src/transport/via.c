#include "transport/via.h"
#include "message/chars.h"

/* Text as it may stand in one line: a fold becomes spaces. */
static void put_unfolded(struct buf *out, struct str s)
{
	const char *end = s.p + s.n, *p;

	while ((p = ch_find_break(s.p, end)) != end) {
		buf_put(out, (struct str){s.p, (size_t)(p - s.p)});
		buf_char(out, ' ');
		s.p = p + 1;
	}
	buf_put(out, (struct str){s.p, (size_t)(end - s.p)});
}

/* Where the first parameter of *all ends: a ';' in a quoted string does not end
 * it. */
static size_t param_end(struct str all)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < all.n; i++) {
		if (quoted && all.p[i] == '\\')
			i++;
		else if (all.p[i] == '"')
			quoted = !quoted;
		else if (all.p[i] == ';' && !quoted)
			break;
	}
	return i < all.n ? i : all.n;
}

/* Cuts the next parameter off *rest. Returns it trimmed, *rest has p == NULL
 * after the last one. */
static struct str cut_param(struct str *rest, bool has_quotes)
{
	struct str all = *rest;
	size_t i;

	if (!has_quotes) /* mostly */
		return str_trim(str_cut(rest, ';'));
	i = param_end(all);
	*rest = i < all.n ? str_sub(all, i + 1, all.n) : STR_NONE;
	return str_trim(str_sub(all, 0, i));
}

static bool is_ours_to_write(struct str param)
{
	struct str name = str_trim(str_cut(&param, '='));

	return (name.n == 8 && str_caseeq(name, STR("received"))) ||
	       (name.n == 5 && str_caseeq(name, STR("rport")));
}

struct str via_mark_received(struct arena *a, const struct via *via,
			     const struct hop *from)
{
	bool has_quotes = str_find(via->text, '"') < via->text.n;
	struct str rest = via->text;
	struct buf out;

	buf_arena(&out, a, via->text.n + 80);
	/* Sent-protocol and sent-by hold neither ';' nor quotes. */
	put_unfolded(&out, cut_param(&rest, has_quotes));
	while (rest.p) {
		struct str param = cut_param(&rest, has_quotes);

		if (!param.n || is_ours_to_write(param))
			continue;
		buf_char(&out, ';');
		put_unfolded(&out, param);
	}
	/* What the sender claims about its own address is no evidence
	 * (18.2.1); RFC 3581 4 wants received whenever rport is filled in. */
	BUF_LIT(&out, ";received=");
	addr_write_ip(&out, &from->addr);
	BUF_LIT(&out, ";rport=");
	buf_u64(&out, from->addr.port);
	return buf_ok(&out) ? buf_str(&out) : STR_NONE;
}

void via_write(struct buf *out, const struct listeners *ls,
	       const struct hop *hop, struct str branch)
{
	BUF_LIT(out, "SIP/2.0/");
	buf_put(out, transport_via((enum transport)hop->transport));
	buf_char(out, ' ');
	listener_write_host(ls, hop, out);
	BUF_LIT(out, ";rport;branch=");
	buf_put(out, branch);
}

bool via_is_ours(const struct listeners *ls, const struct via *via)
{
	int t = transport_parse(via->transport);
	uint16_t port = via->port;

	if (t < 0)
		return false;
	if (!port)
		port = transport_port((enum transport)t);
	return listener_is_named(ls, (enum transport)t, via->host, port);
}
