#include "util/log.h"

#include <math.h>
#include <string.h>

#include "util/list.h"
#include "util/redact.h"

static const char *const level_name[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
	return (size_t)level < ARRAY_LEN(level_name) ? level_name[level] : "?";
}

int log_level_parse(struct str s)
{
	for (size_t i = 0; i < ARRAY_LEN(level_name); i++)
		if (str_eq(s, str_from(level_name[i])))
			return (int)i;
	return -1;
}

static bool is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* Keys come from the program, or from a script: what could end a key early is
 * replaced. */
static void write_key(struct buf *b, const char *key)
{
	if (!*key)
		buf_char(b, '_');
	while (*key) {
		const char *from = key;

		while (is_key_char(*key))
			key++;
		buf_put(b, (struct str){from, (size_t)(key - from)});
		if (!*key)
			break;
		buf_char(b, '_');
		key++;
	}
}

static void write_digits(struct buf *b, int64_t v, int digits)
{
	char text[20];

	for (int i = digits; i-- > 0; v /= 10)
		text[i] = (char)('0' + v % 10);
	buf_put(b, (struct str){text, (size_t)digits});
}

/* Year, month and day of a day since 1970-01-01. The count is moved to begin on
 * a 1 March, so that the leap day is the last day of a year, and of a 400-year
 * era of 146097 days. */
static void write_date(struct buf *b, int64_t day)
{
	int64_t d = day + 719468, era, of_era, year, of_year, month;

	era = (d - (d < 0 ? 146096 : 0)) / 146097;
	of_era = d - era * 146097;
	year =
	    (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	of_year = of_era - (365 * year + year / 4 - year / 100);
	month = (5 * of_year + 2) / 153; /* 0 is March */
	year += era * 400 + (month >= 10);
	/* The range that four digits show. */
	year = year < 0 ? 0 : year > 9999 ? 9999 : year;
	write_digits(b, year, 4);
	buf_char(b, '-');
	write_digits(b, month < 10 ? month + 3 : month - 9, 2);
	buf_char(b, '-');
	write_digits(b, of_year - (153 * month + 2) / 5 + 1, 2);
}

/* RFC 3339, UTC, milliseconds. */
static void write_time(struct buf *b, wall_t ts)
{
	const int64_t day = SECONDS(86400);
	int64_t of_day = ts.us % day, days = ts.us / day;

	if (of_day < 0) {
		of_day += day;
		days--;
	}
	write_date(b, days);
	buf_char(b, 'T');
	write_digits(b, of_day / SECONDS(3600), 2);
	buf_char(b, ':');
	write_digits(b, of_day / SECONDS(60) % 60, 2);
	buf_char(b, ':');
	write_digits(b, of_day / SECONDS(1) % 60, 2);
	buf_char(b, '.');
	write_digits(b, of_day / 1000 % 1000, 3);
	buf_char(b, 'Z');
}

static void write_int(struct buf *b, int64_t v)
{
	if (v < 0)
		buf_char(b, '-');
	buf_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* Written as it is between quotes. */
static bool is_literal(char c)
{
	return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* What s begins with, and no longer does, that is written as it is: mostly all
 * of it, which is cheaper in one piece. */
static struct str cut_literal(struct str *s)
{
	struct str whole = *s;
	size_t n = 0;

	while (n < s->n && is_literal(s->p[n]))
		n++;
	*s = str_sub(whole, n, whole.n);
	return str_sub(whole, 0, n);
}

/* Needs no quotes. */
static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_literal(s.p[i]) || s.p[i] == ' ' || s.p[i] == '=')
			return false;
	return s.n > 0;
}

/* The escapes with a letter, which logfmt and JSON have in common. */
static bool write_short_escape(struct buf *b, char c)
{
	switch (c) {
	case '"':
		BUF_LIT(b, "\\\"");
		return true;
	case '\\':
		BUF_LIT(b, "\\\\");
		return true;
	case '\n':
		BUF_LIT(b, "\\n");
		return true;
	case '\r':
		BUF_LIT(b, "\\r");
		return true;
	case '\t':
		BUF_LIT(b, "\\t");
		return true;
	default:
		return false;
	}
}

/* A value in the way of a format; of what is not the script's own words, the
 * secrets are left out. */
static void write_text(struct buf *b, struct str s, bool is_own,
		       void (*write)(struct buf *b, struct str s))
{
	size_t at = 0, begin, end;

	while (!is_own && redact_find(s, at, &begin, &end)) {
		write(b, str_sub(s, at, begin));
		BUF_LIT(b, "***");
		at = end;
	}
	write(b, str_sub(s, at, s.n));
}

/* sip.log and print: what a script says there is its business. */
static bool is_own_word(const struct log_event *e)
{
	return strcmp(e->key, "script") == 0 ||
	       strcmp(e->key, "script.print") == 0;
}

static void write_escape(struct buf *b, char c)
{
	if (write_short_escape(b, c))
		return;
	BUF_LIT(b, "\\x");
	buf_hex(b, 2, (uint8_t)c);
}

static void write_escaped(struct buf *b, struct str s)
{
	for (;;) {
		buf_put(b, cut_literal(&s));
		if (!s.n)
			return;
		write_escape(b, s.p[0]);
		s = str_sub(s, 1, s.n);
	}
}

static void write_logfmt_str(struct buf *b, struct str s, bool is_own)
{
	bool quoted = !is_plain(s);

	if (quoted)
		buf_char(b, '"');
	write_text(b, s, is_own, write_escaped);
	if (quoted)
		buf_char(b, '"');
}

/* As %.15g writes it, which is slow. Most numbers are seconds, made of
 * microseconds: those are written as whole numbers. */
static void write_num(struct buf *b, double d)
{
	int64_t us = d >= 1e-4 && d < 1e8 ? (int64_t)(d * 1e6 + 0.5) : 0;
	int64_t part = us % 1000000;
	int digits = 6;

	if (!us || (double)us / 1e6 != d) {
		buf_printf(b, "%.15g", d);
		return;
	}
	buf_u64(b, (uint64_t)(us / 1000000));
	if (!part)
		return;
	for (; part % 10 == 0; part /= 10)
		digits--;
	buf_char(b, '.');
	write_digits(b, part, digits);
}

/* Everything but strings, which the two formats write in the same way. */
static void write_plain(struct buf *b, const struct log_field *f)
{
	switch (f->type) {
	case LOG_INT:
		write_int(b, f->u.i);
		break;
	case LOG_NUM:
		write_num(b, f->u.d);
		break;
	case LOG_ADDR:
		addr_write(b, f->u.a);
		break;
	case LOG_BOOL:
		buf_put(b, f->u.i ? STR("true") : STR("false"));
		break;
	case LOG_STR:
		break;
	}
}

void log_write_logfmt(struct buf *b, const struct log_event *e, wall_t ts)
{
	BUF_LIT(b, "ts=");
	write_time(b, ts);
	BUF_LIT(b, " level=");
	buf_put(b, str_from(log_level_name(e->level)));
	BUF_LIT(b, " event=");
	write_key(b, e->key);
	for (size_t i = 0; i < e->n; i++) {
		const struct log_field *f = &e->field[i];

		buf_char(b, ' ');
		write_key(b, f->key);
		buf_char(b, '=');
		if (f->type == LOG_STR)
			write_logfmt_str(b, f->u.s, is_own_word(e));
		else
			write_plain(b, f);
	}
}

/* Controls of ASCII and Latin-1, and the line ends of Unicode. */
static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
	       code == 0x2029;
}

/* The result is valid UTF-8 whatever the bytes are: those that are not become
 * U+FFFD, one each. */
static void write_json_escaped(struct buf *b, struct str s)
{
	for (;;) {
		uint32_t code = 0xfffd;
		size_t n;

		buf_put(b, cut_literal(&s));
		if (!s.n)
			return;
		n = str_utf8(s, &code);

		if (!write_short_escape(b, s.p[0])) {
			if (!n || is_control(code)) {
				BUF_LIT(b, "\\u");
				buf_hex(b, 4, code);
			} else {
				buf_put(b, str_sub(s, 0, n));
			}
		}
		s = str_sub(s, n ? n : 1, s.n);
	}
}

static void write_json_value(struct buf *b, const struct log_field *f,
			     bool is_own)
{
	if (f->type == LOG_STR) {
		buf_char(b, '"');
		write_text(b, f->u.s, is_own, write_json_escaped);
		buf_char(b, '"');
	} else if (f->type == LOG_ADDR) {
		buf_char(b, '"');
		addr_write(b, f->u.a);
		buf_char(b, '"');
	} else if (f->type == LOG_NUM && !isfinite(f->u.d)) {
		BUF_LIT(b, "null"); /* JSON has no word for it */
	} else {
		write_plain(b, f);
	}
}

static void write_json_fields(struct buf *b, const struct log_field *field,
			      size_t n, bool is_own)
{
	for (size_t i = 0; i < n; i++) {
		if (i)
			buf_char(b, ',');
		buf_char(b, '"');
		write_key(b, field[i].key);
		BUF_LIT(b, "\":");
		write_json_value(b, &field[i], is_own);
	}
}

void log_write_fields(struct buf *b, const struct log_field *field, size_t n)
{
	buf_char(b, '{');
	write_json_fields(b, field, n, false);
	buf_char(b, '}');
}

void log_write_json(struct buf *b, const struct log_event *e, wall_t ts)
{
	BUF_LIT(b, "{\"ts\":\"");
	write_time(b, ts);
	BUF_LIT(b, "\",\"level\":\"");
	buf_put(b, str_from(log_level_name(e->level)));
	BUF_LIT(b, "\",\"event\":\"");
	write_key(b, e->key);
	buf_char(b, '"');
	if (e->n)
		buf_char(b, ',');
	write_json_fields(b, e->field, e->n, is_own_word(e));
	buf_char(b, '}');
}
