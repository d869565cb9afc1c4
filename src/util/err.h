/*
 * Error codes of the core. A function that can fail returns 0 or one of these
 * negative values; what a peer did wrong is not an error of this kind but a
 * value of its own (enum msg_bad and its like).
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

#include <stddef.h>

#define ERR_LIST(X)                                                            \
	X(ERR_NOMEM, -1, "out of memory")                                      \
	X(ERR_SYNTAX, -2, "malformed")                                         \
	X(ERR_LIMIT, -3, "over a limit")                                       \
	X(ERR_STATE, -4, "not possible in this state")                         \
	X(ERR_NOTFOUND, -5, "not found")                                       \
	X(ERR_UNREACHABLE, -6, "no way to reach the address")                  \
	X(ERR_CONFIG, -7, "invalid configuration")                             \
	X(ERR_IO, -8, "input/output error")                                    \
	X(ERR_EXISTS, -9, "exists already")

enum err {
	ERR_OK = 0,
#define X(name, value, text) name = value,
	ERR_LIST(X)
#undef X
};

const char *err_text(int err); /* static text, also for unknown codes */

/* Where the words go that tell a person why something failed; borrowed. */
struct reason {
	char *text;
	size_t n;
};
/* Writes them, cut off where there is no room, and gives back `err`. */
int reason_set(const struct reason *why, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
