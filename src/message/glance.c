#include "message/glance.h"

#include <assert.h>
#include <string.h>
#include "message/chars.h"
#include "util/list.h"

static struct str between(const char *from, const char *to)
{
	return (struct str){from, (size_t)(to - from)};
}

/* Where the CRLF of a line is. NULL: there is something else in its place. */
static const char *line_end(const char *line, const char *end)
{
	const char *p = ch_find_break(line, end);

	return end - p >= 2 && p[0] == '\r' && p[1] == '\n' ? p : NULL;
}

/* Method SP Request-URI SP SIP-Version (7.1) */
static bool start_line(struct glance *g, struct str line)
{
	static const char version[] = " SIP/2.0";
	const size_t tail = sizeof(version) - 1;
	struct str rest = line;

	g->method = method_id(str_cut(&rest, ' '));
	if (!g->method || rest.n <= tail ||
	    memcmp(rest.p + rest.n - tail, version, tail) != 0)
		return false;
	g->uri = str_sub(rest, 0, rest.n - tail);
	return str_find(g->uri, ' ') == g->uri.n;
}

/* There must be one of it, with a value. */
static bool once(struct str *slot, struct str line, struct str value)
{
	if (slot->p || !str_trim(value).n)
		return false;
	*slot = line;
	return true;
}

/* Parameters of a To follow its last '>', or what is no quoted string. Quotes
 * behind that hide what they hold. */
static bool may_have_tag(struct str to)
{
	const char *close = memrchr(to.p, '>', to.n);
	struct str params = close ? between(close, to.p + to.n) : to;

	return str_find(params, ';') < params.n ||
	       str_find(params, '"') < params.n;
}

/* Lines of Via have to follow one another. */
static bool via(struct glance *g, struct str line, struct str value)
{
	const char *end = line.p + line.n + 2; /* CRLF */

	if (!g->vias.p) {
		g->vias = between(line.p, end);
		g->via.text = value; /* not parsed yet */
		return true;
	}
	if (g->vias.p + g->vias.n != line.p)
		return false;
	g->vias.n = (size_t)(end - g->vias.p);
	return true;
}

/* What the names of other headers begin with, in either form. A line is
 * followed by CRLF: there is a second character. */
static bool is_another(const char *line)
{
	switch (line[0] | 32) {
	case 'v':
	case 'f':
	case 't':
	case 'i':
		return false;
	case 'c': /* Contact, Content-... */
		return (line[1] | 32) == 'o';
	}
	return true;
}

/* Cuts the name and its colon off a line. HDR_OTHER: none that counts. */
static enum hdr_id cut_name(struct str *line)
{
	/* As nearly everybody writes them, they need not be looked up. */
	static const struct {
		const char *text;
		size_t n;
		enum hdr_id id;
	} usual[] = {{"Via:", 4, HDR_VIA},
		     {"From:", 5, HDR_FROM},
		     {"To:", 3, HDR_TO},
		     {"Call-ID:", 8, HDR_CALL_ID},
		     {"CSeq:", 5, HDR_CSEQ}};
	struct str name;

	if (is_another(line->p))
		return HDR_OTHER;
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		size_t n = usual[i].n;

		if (line->n < n || memcmp(line->p, usual[i].text, n) != 0)
			continue;
		*line = str_sub(*line, n, line->n);
		return usual[i].id;
	}
	name = str_trim(str_cut(line, ':')); /* HCOLON */
	return line->p ? hdr_id(name) : HDR_OTHER;
}

static bool header(struct glance *g, struct str line)
{
	struct str value = line;

	if (line.p[0] == ' ' || line.p[0] == '\t')
		return false; /* a fold: belongs to what is above it */
	switch (cut_name(&value)) {
	case HDR_VIA:
		return via(g, line, value);
	case HDR_FROM:
		return once(&g->from, line, value);
	case HDR_TO:
		return once(&g->to, line, value) &&
		       (g->method == METHOD_ACK || !may_have_tag(value));
	case HDR_CALL_ID:
		return once(&g->call_id, line, value);
	case HDR_CSEQ:
		return once(&g->cseq, line, value);
	default:
		return true;
	}
}

static bool top_via(struct glance *g)
{
	return scan_via(g->via.text, &g->via, NULL) &&
	       str_eq(g->via.version, STR("2.0"));
}

bool glance_read(struct glance *g, struct str raw)
{
	const char *line = raw.p, *end = raw.p + raw.n;
	const char *eol = line_end(line, end);

	*g = (struct glance){0};
	if (!eol || !start_line(g, between(line, eol)))
		return false;
	for (line = eol + 2; (eol = line_end(line, end)) && eol > line;
	     line = eol + 2) {
		if (!header(g, between(line, eol)))
			return false;
		if (g->method == METHOD_ACK && g->vias.p && g->call_id.p &&
		    g->cseq.p)
			return top_via(g);
	}
	return eol && g->vias.p && g->from.p && g->to.p && g->call_id.p &&
	       g->cseq.p && top_via(g);
}

static void put_line(struct buf *out, struct str line)
{
	buf_put(out, line);
	BUF_LIT(out, "\r\n");
}

/* All of them, with the topmost value replaced. */
static void put_vias(struct buf *out, const struct glance *g, struct str top)
{
	const char *value = g->via.text.p, *rest = value + g->via.text.n;

	buf_put(out, between(g->vias.p, value));
	buf_put(out, top);
	buf_put(out, between(rest, g->vias.p + g->vias.n));
}

void glance_reply(const struct glance *g, struct str status, struct str top,
		  struct str tag, struct str headers, struct buf *out)
{
	assert(g->method != METHOD_ACK);
	BUF_LIT(out, "SIP/2.0 ");
	put_line(out, status);
	put_vias(out, g, top);
	put_line(out, g->from);
	buf_put(out, str_trim(g->to));
	BUF_LIT(out, ";tag=");
	put_line(out, tag);
	put_line(out, g->call_id);
	put_line(out, g->cseq);
	buf_put(out, headers);
	BUF_LIT(out, "Content-Length: 0\r\n\r\n");
}
