/*
 * Which errors of a script are written in full. One mistake at two thousand
 * calls a second would otherwise write two thousand tracebacks a second: the
 * first ones of each place and minute are, the rest is counted. Told the time;
 * writes nothing.
 */
#ifndef LUA_ERROR_RATE_H
#define LUA_ERROR_RATE_H

#include <stdbool.h>
#include <stdint.h>
#include "util/str.h"
#include "util/tick.h"

enum {
	ERROR_PLACES = 32,
	ERRORS_SHOWN = 5, /* of one place, in a minute */
	ERROR_TEXT = 200, /* of a message that is remembered */
};

struct error_place {
	uint64_t hash; /* 0: free */
	tick_t end;    /* of its minute */
	unsigned shown;
	uint64_t suppressed; /* since the last line about it */
	const char *what;    /* borrowed for good */
	char text[ERROR_TEXT];
	size_t n;
};

struct error_rate {
	struct error_place place[ERROR_PLACES];
	tick_t due; /* when error_rate_next has something, TICK_NEVER else */
};

void error_rate_init(struct error_rate *r);
/* An error has happened: where (static text: "route"), and its message, whose
 * beginning "FILE:LINE:" is the place. True: write it, with *suppressed_r, how
 * many of the same place were not since the last line about it. */
bool error_rate_take(struct error_rate *r, const char *what, struct str message,
		     tick_t now, uint64_t *suppressed_r);
/* A place with errors that no line has counted, its minute being over and none
 * having followed; the caller writes one, with place->suppressed, and that is
 * 0 at the next call. NULL: none is due. */
const struct error_place *error_rate_next(struct error_rate *r, tick_t now,
					  uint64_t *suppressed_r);

#endif
