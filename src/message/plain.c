#include "message/plain.h"

#include "message/chars.h"

static bool is_plain(char c)
{
	return ch_is(c, CH_NAME | CH_SCHEME);
}

static bool all_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_plain(s.p[i]))
			return false;
	return true;
}

static bool words(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_plain(s.p[i]) && s.p[i] != ' ')
			return false;
	return true;
}

/* name [ "=" value ] *( ";" name [ "=" value ] ); neither may be empty. */
static bool params(struct str s)
{
	bool empty = true, value = false;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (is_plain(c)) {
			empty = false;
			continue;
		}
		if (empty || (c != ';' && (c != '=' || value)))
			return false;
		empty = true;
		value = c == '=';
	}
	return !s.p || !empty;
}

bool plain_uri(const struct uri *uri)
{
	/* of names and IPv4 addresses no other characters were let through */
	return uri->is_sip && (!uri->user.p || uri->user.n) &&
	       all_plain(uri->user) && uri->host.p[0] != '[' &&
	       params(uri->params) && !uri->headers.p;
}

/* In brackets; before them words, behind them the parameters or the end. */
static bool is_tight(const struct nameaddr *na)
{
	const char *end = na->text.p + na->text.n;
	const char *close = na->uri.p + na->uri.n;
	struct str before = {na->text.p, 0};

	if (!na->bracketed)
		return false;
	before.n = (size_t)(na->uri.p - 1 - before.p);
	return words(before) &&
	       (na->params.n ? na->params.p == close + 2 : end == close + 1);
}

bool plain_addr(const struct nameaddr *na, const struct uri *uri)
{
	return is_tight(na) && plain_uri(uri) &&
	       (!na->params.n || params(na->params));
}
