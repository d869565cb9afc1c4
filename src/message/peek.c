#include "message/peek.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* How long the name is that a line begins with: 0, it is another header. */
static size_t name_length(const char *p, const char *end)
{
	static const char name[] = "call-id";

	if (end - p > 7 && (*p | 0x20) == 'c' && strncasecmp(p, name, 7) == 0)
		return 7;
	return end - p > 1 && (*p | 0x20) == 'i' ? 1 : 0;
}

static struct str trim(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	while (end > p && (is_blank(end[-1]) || end[-1] == '\r'))
		end--;
	return (struct str){p, (size_t)(end - p)};
}

struct str msg_peek_call_id(struct str raw)
{
	const char *p = raw.p, *end = raw.p + raw.n;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		size_t n = name_length(++p, end);
		const char *colon = p + n, *eol;

		while (n && colon < end && is_blank(*colon))
			colon++;
		if (!n || colon == end || *colon != ':')
			continue;
		eol = memchr(colon, '\n', (size_t)(end - colon));
		return trim(colon + 1, eol ? eol : end);
	}
	return STR_NONE;
}
