/*
 * Character classes of the SIP grammar (RFC 3261 25.1), for the files of this
 * layer. ASCII only; no locale.
 */
#ifndef MESSAGE_CHARS_H
#define MESSAGE_CHARS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	CH_TOKEN = 1,    /* alphanumeric and - . ! % * _ + ` ' ~ */
	CH_SPACE = 2,    /* SP HT CR LF: inside a value CR LF is a fold */
	CH_CTL = 4,      /* up to SP, and DEL */
	CH_RUN = 8,      /* a parameter value: all but CH_CTL and ; , " < > */
	CH_NAME = 16,    /* a host name: alphanumeric and - . _ */
	CH_URI = 32,     /* all but CH_CTL and < > " */
	CH_DISPLAY = 64, /* an unquoted display name: all but , ; : " < > */
	CH_SCHEME = 128, /* of a URI: alphanumeric and + - . */
};

extern const uint8_t ch_class[256];

static inline bool ch_is(char c, int classes)
{
	return ch_class[(uint8_t)c] & classes;
}

static inline bool ch_is_token(char c)
{
	return ch_is(c, CH_TOKEN);
}

static inline bool ch_is_space(char c)
{
	return ch_is(c, CH_SPACE);
}

static inline bool ch_is_ctl(char c)
{
	return ch_is(c, CH_CTL);
}

static inline bool ch_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool ch_is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool ch_is_alnum(char c)
{
	return ch_is_digit(c) || ch_is_alpha(c);
}

/* The first CR, LF or NUL, or end. */
const char *ch_find_break(const char *p, const char *end);

/* 0-15, or -1 when c is no hexadecimal digit. */
static inline int ch_hex(char c)
{
	if (ch_is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif
