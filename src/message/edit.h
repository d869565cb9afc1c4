/*
 * Changes to a message, applied in one pass when it is written: untouched bytes
 * are copied as they were received, edits are inserted. Nothing is ever
 * re-serialised. An edit list is a value that can be copied (edits_copy), so
 * that each attempt starts from the request as received plus the edits made
 * before it.
 */
#ifndef MESSAGE_EDIT_H
#define MESSAGE_EDIT_H

#include "message/msg.h"
#include "util/buf.h"
#include "util/list.h"

struct edits {
	const struct msg *msg; /* borrowed */
	struct arena *arena;   /* borrowed: holds the edits and their text */
	struct str uri;        /* new Request-URI, or STR_NONE */
	struct str reason;     /* responses: new reason phrase, or STR_NONE */
	int status;            /* responses: new status code, or 0 */
	struct str body;       /* new body when has_body */
	bool has_body;         /* then Content-Length is rewritten too */
	struct edit *edit;     /* array in the arena, sorted by position */
	uint32_t n, cap;
	bool bad; /* memory ran out: edits_write fails */
};

void edits_init(struct edits *e, const struct msg *m, struct arena *a);
/* A copy that can be changed without changing the original. */
void edits_copy(struct edits *to, const struct edits *from, struct arena *a);

/* All of these copy their text into the arena. Header names and values are
 * refused (ERR_SYNTAX) when they hold CR, LF or NUL, or the name is no token.
 */

/* Puts a field at the very top of the header section, before all others; a
 * later call goes above an earlier one. */
int edit_prepend(struct edits *e, struct str name, struct str value);
/* Adds a field after the last one of the same name, else at the end. */
int edit_add(struct edits *e, struct str name, struct str value);
/* Inserts a field directly before the first one of this id, else at the end
 * (Route and Record-Route values are added this way: 16.6 steps 4 and 6). */
int edit_add_first(struct edits *e, enum hdr_id id, struct str value);
/* Removes every field of the name, in whatever form; also ones added before. */
int edit_remove(struct edits *e, struct str name);
/* One field in the place of all of them; added when there was none. */
int edit_set(struct edits *e, struct str name, struct str value);
/* Removes the first value of a list header (its line too if it was the only
 * one); works on the message as already edited by this same function. */
int edit_pop_value(struct edits *e, enum hdr_id id);
/* Removes the last value of a list header (strict routing, 16.4). */
int edit_pop_last_value(struct edits *e, enum hdr_id id);
/* Replaces the first value of a list header in place (Via received/rport). */
int edit_replace_value(struct edits *e, enum hdr_id id, struct str value);
int edit_uri(struct edits *e, struct str uri);
int edit_body(struct edits *e, struct str body);

/* The value a reader would see now: the first of this name after the edits. */
struct str edits_get(const struct edits *e, struct str name);
/* Calls fn for each value of the name after the edits, in order. */
typedef bool edits_fn(void *ctx, struct str name, struct str value);
void edits_each(const struct edits *e, struct str name, edits_fn *fn,
		void *ctx);

/* Writes the message with the edits; 0, ERR_NOMEM or ERR_LIMIT. Without edits
 * the output equals the input byte for byte. */
int edits_write(const struct edits *e, struct buf *out);

#endif
