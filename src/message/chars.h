/*
 * Character classes of the SIP grammar (RFC 3261 25.1), for the files of this
 * layer. ASCII only; no locale.
 */
#ifndef MESSAGE_CHARS_H
#define MESSAGE_CHARS_H

#include <stdbool.h>
#include <stdint.h>

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

/* Alphanumeric or one of - . ! % * _ + ` ' ~ */
static inline bool ch_is_token(char c)
{
	static const uint64_t set[2] = {0x3ff6ca200000000, 0x47ffffff87fffffe};
	uint8_t u = (uint8_t)c;

	return u < 128 && (set[u >> 6] >> (u & 63) & 1);
}

/* White space inside a header value: a CR LF there is part of a fold. */
static inline bool ch_is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Space, control character or DEL. */
static inline bool ch_is_ctl(char c)
{
	return (uint8_t)c <= ' ' || c == 0x7f;
}

#endif
