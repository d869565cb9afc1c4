#include "transport/frame.h"

#include <string.h>
#include "message/chars.h"
#include "message/msg_start.h"

enum { FIRST_CAP = 512 }; /* most messages fit after one or two doublings */

static const struct {
	int code;
	struct str text;
} bads[] = {
#define X(name, code, text) [name] = {code, {text, sizeof(text) - 1}},
    FRAME_BAD_LIST(X)
#undef X
};

int frame_bad_code(enum frame_bad bad)
{
	return bads[bad].code;
}

struct str frame_bad_text(enum frame_bad bad)
{
	return bads[bad].text;
}

void frame_init(struct frame *f, struct mem *mem)
{
	*f = (struct frame){.mem = mem};
}

static void forget(struct frame *f)
{
	mem_free(f->mem, f->p);
	f->p = NULL;
	f->n = f->cap = 0;
}

void frame_fini(struct frame *f)
{
	forget(f);
}

bool frame_inside(const struct frame *f)
{
	return f->state == FRAME_START || f->state == FRAME_HEADER ||
	       f->state == FRAME_BODY;
}

static enum frame_found give_up(struct frame *f, enum frame_bad bad)
{
	f->state = FRAME_ENDED;
	f->bad = bad;
	return FRAME_BAD;
}

/* Doubling keeps a byte at a time linear; and nobody gets memory for the bytes
 * he only promised. */
static bool append(struct frame *f, struct str *piece, size_t n)
{
	size_t cap = f->cap ? f->cap : FIRST_CAP;
	char *p = f->p;

	while (cap < f->n + n)
		cap *= 2;
	if (!p || cap > f->cap)
		p = mem_realloc(f->mem, f->p, cap);
	if (!p)
		return false;
	f->p = p;
	f->cap = cap;
	memcpy(f->p + f->n, piece->p, n);
	f->n += n;
	*piece = str_sub(*piece, n, piece->n);
	return true;
}

/* ---- between messages ---- */

static enum frame_found skip_eols(struct frame *f, struct str *piece)
{
	while (piece->n && f->state == FRAME_BETWEEN) {
		char want = f->eol % 2 ? '\n' : '\r';

		if (*piece->p != want) {
			/* half a CRLF, or half of another kind of line end */
			if (f->eol % 2 || *piece->p == '\n')
				return give_up(f, FRAME_NOT_SIP);
			f->state = FRAME_START;
			f->eol = 0;
			break;
		}
		*piece = str_sub(*piece, 1, piece->n);
		if (++f->eol == 4) {
			f->eol = 0;
			return FRAME_PING;
		}
	}
	return FRAME_MORE;
}

/* ---- the header ---- */

/* A line of the header with its folds, cut off the front of *rest. */
static struct str cut_field(struct str *rest)
{
	struct str all = *rest;
	size_t at = str_find(all, '\n');

	while (at + 1 < all.n &&
	       (all.p[at + 1] == ' ' || all.p[at + 1] == '\t'))
		at += 1 + str_find(str_sub(all, at + 1, all.n), '\n');
	*rest = str_sub(all, at + 1, all.n);
	return str_sub(all, 0, at);
}

static bool is_length(struct str *field)
{
	struct str name = *field;
	size_t colon;

	/* what no such name begins with need not be searched for a colon */
	if (!field->n || !strchr("CcLl", field->p[0]))
		return false;
	colon = str_find(*field, ':');
	if (colon == field->n)
		return false;
	name = str_trim(str_sub(*field, 0, colon));
	*field = str_trim(str_sub(*field, colon + 1, field->n));
	return str_caseeq(name, STR("Content-Length")) ||
	       str_caseeq(name, STR("l"));
}

/* 1*DIGIT; what is over `max` is max + 1. */
static bool read_number(struct str s, size_t max, size_t *out_r)
{
	size_t v = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (size_t)(s.p[i] - '0');
		if (v > max)
			v = max + 1;
	}
	*out_r = v;
	return s.n > 0;
}

/* The header section is complete: how long is the body? */
static enum frame_bad read_length(struct frame *f, size_t max, size_t *out_r)
{
	struct str rest = {f->p, f->n};
	bool found = false;
	size_t n;

	cut_field(&rest); /* the start line */
	while (rest.n) {
		struct str field = cut_field(&rest);

		if (!is_length(&field))
			continue;
		if (!read_number(field, max, &n) || (found && n != *out_r))
			return FRAME_BAD_LENGTH;
		found = true;
		*out_r = n;
	}
	return found ? FRAME_OK : FRAME_NO_LENGTH;
}

static enum frame_found end_header(struct frame *f, size_t max)
{
	size_t body = 0;
	enum frame_bad bad = f->bare ? FRAME_BARE_LF : FRAME_OK;

	if (!bad)
		bad = read_length(f, max, &body);
	if (!bad && (body > max || f->n + body > max))
		bad = FRAME_TOO_BIG;
	if (bad)
		return give_up(f, bad);
	f->need = f->n + body;
	f->state = body ? FRAME_BODY : FRAME_DONE;
	return body ? FRAME_MORE : FRAME_MESSAGE;
}

static bool is_start_line(const struct frame *f)
{
	struct str line = {f->p, f->n};
	struct msg m;

	memset(&m, 0, sizeof(m));
	while (line.n &&
	       (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
		line.n--;
	return msg_start_line(&m, line) != MSG_NOT_SIP;
}

/* What of the start line came from `from` on may stand there: a method, or
 * "SIP/2.0", up to the first space. What begins like TLS or like a picture need
 * not be waited out. */
static bool may_start(struct frame *f, size_t from)
{
	for (; from < f->n && !f->spaced; from++) {
		char c = f->p[from];

		f->spaced = c == ' ';
		if (from > MSG_MAX_KEY ||
		    (!(f->spaced && from) && c != '/' && !ch_is_token(c)))
			return false;
	}
	return f->n <= MSG_MAX_LINE;
}

/* Its end is there: of the start line, of a field or fold, of the header. */
static enum frame_found end_line(struct frame *f, size_t max)
{
	size_t n = f->n - f->line; /* with its LF */
	bool has_cr = n >= 2 && f->p[f->n - 2] == '\r';

	f->bare |= !has_cr;
	f->line = f->n;
	if (f->state == FRAME_START) {
		if (!is_start_line(f))
			return give_up(f, FRAME_NOT_SIP);
		f->state = FRAME_HEADER;
	} else if (n == 1 || (n == 2 && has_cr)) {
		return end_header(f, max);
	}
	return FRAME_MORE;
}

static enum frame_found take_line(struct frame *f, size_t max,
				  struct str *piece)
{
	size_t cap = max < FRAME_MAX_HEADER ? max : FRAME_MAX_HEADER;
	size_t n = str_find(*piece, '\n'), from = f->n;
	bool ends = n < piece->n;

	n += ends;
	/* of what is too long only the start is of use */
	if (n > cap - f->n)
		n = cap - f->n + 1;
	if (!append(f, piece, n))
		return give_up(f, FRAME_NOMEM);
	if (f->state == FRAME_START && !may_start(f, from))
		return give_up(f, FRAME_NOT_SIP);
	if (f->n > cap)
		return give_up(f, FRAME_TOO_BIG);
	return ends ? end_line(f, max) : FRAME_MORE;
}

/* ---- */

static enum frame_found take_body(struct frame *f, struct str *piece)
{
	size_t left = f->need - f->n;

	if (!append(f, piece, left < piece->n ? left : piece->n))
		return give_up(f, FRAME_NOMEM);
	if (f->n < f->need)
		return FRAME_MORE;
	f->state = FRAME_DONE;
	return FRAME_MESSAGE;
}

static enum frame_found step(struct frame *f, size_t max, struct str *piece)
{
	switch (f->state) {
	case FRAME_BETWEEN:
		return skip_eols(f, piece);
	case FRAME_START:
	case FRAME_HEADER:
		return take_line(f, max, piece);
	case FRAME_BODY:
		return take_body(f, piece);
	default:
		return FRAME_BAD;
	}
}

enum frame_found frame_next(struct frame *f, size_t max, struct str *piece,
			    struct str *out_r)
{
	enum frame_found found =
	    f->state == FRAME_ENDED ? FRAME_BAD : FRAME_MORE;

	if (f->state == FRAME_DONE) {
		f->state = FRAME_BETWEEN;
		f->n = f->line = f->need = 0;
		f->bare = f->spaced = false;
	}
	while (found == FRAME_MORE && piece->n)
		found = step(f, max, piece);
	/* who is silent now may be so for long */
	if (found == FRAME_MORE && f->state == FRAME_BETWEEN)
		forget(f);
	*out_r = (struct str){f->p, f->n};
	return found;
}
