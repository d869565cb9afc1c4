/*
 * Lua patterns: a matcher that counts its steps, so that no pattern can keep
 * the process. A pattern is translated once per call into a list of items; the
 * matcher walks items and subject with a stack of the places where it could
 * have gone on differently. An item is on that stack at most once, so the stack
 * is as long as the pattern.
 *
 * The meaning is that of the reference manual, section 6.4.1, in the C locale.
 * A malformed pattern raises when the matcher comes to the malformed part, as
 * with the stock functions.
 */
#ifndef LUA_STRMATCH_H
#define LUA_STRMATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <lua.h>
#include "util/str.h"

enum { STRMATCH_CAPTURES = 32 };

struct item;
struct frame;

struct capture {
	const char *p;
	size_t n;
	enum { CAPTURE_OPEN, CAPTURE_TEXT, CAPTURE_POSITION } kind;
};

struct strmatch {
	lua_State *L;
	struct str src;
	const struct item *items;
	const uint64_t (*sets)[4];
	struct frame *frames;
	bool anchored; /* the pattern began with ^ (if that was asked for) */
	int captures;  /* in the pattern */
	uint64_t steps, charged, max;
	struct str pattern; /* for the message */
	struct capture capture[STRMATCH_CAPTURES];
};

/* How much room strmatch_init wants for a pattern of n bytes. */
size_t strmatch_space(size_t n);
/* `space` is aligned for any type and lives as long as m; so does the pattern.
 * With `anchor` a leading ^ is one; else it is a character. */
void strmatch_init(struct strmatch *m, lua_State *L, struct str pattern,
		   bool anchor, void *space);
/* The first match that begins at or after s (within src), its beginning in
 * *s_r, its end returned; NULL when there is none. One that ends at not_end
 * (may be NULL) does not count. Charges the entry; raises for a malformed
 * pattern and when `max` steps are spent. */
const char *strmatch_find(struct strmatch *m, const char *s,
			  const char *not_end, const char **s_r);
/* Pushes capture i (from 0); the whole match, from..to, for 0 in a pattern
 * without captures. Raises for one that there is not. */
void strmatch_push(struct strmatch *m, int i, const char *from, const char *to);
/* Pushes all captures; the whole match when there are none and `whole`. */
int strmatch_push_all(struct strmatch *m, const char *from, const char *to,
		      bool whole);

#endif
