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
	bool has_body;         /* Content-Length was rewritten too */
	struct edit *edit;     /* array in the arena, sorted by position */
	uint32_t n, cap;
	bool bad; /* memory ran out: edits_write fails */
};

void edits_init(struct edits *e, const struct msg *m, struct arena *a);
/* A copy that can be changed without changing the original. Texts are shared:
 * the arena of the original must live as long. */
void edits_copy(struct edits *to, const struct edits *from, struct arena *a);

enum { EDIT_MAX = 256 };

/*
 * All of these copy their text into the arena and return 0 or
 *   ERR_SYNTAX    a name is no token, a text holds CR, LF or NUL, or a value is
 *                 asked of a header that is no list
 *   ERR_STATE     Content-Length (only edit_body writes that), or a change that
 *                 only the other kind of message can have
 *   ERR_NOTFOUND  no such header (pop and replace)
 *   ERR_LIMIT     a line of more than MSG_MAX_LINE, more than EDIT_MAX edits
 *   ERR_NOMEM     and every edits_write from then on fails
 * Names match in any case, long or compact, with white space before the ':'.
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
/* The Request-URI. Headers in it ("?a=b") are left out: RFC 3261 19.1.1 has
 * none there. */
int edit_uri(struct edits *e, struct str uri);
/* Responses: code 100-699; a reason of STR_NONE stays as it is. */
int edit_status(struct edits *e, int code, struct str reason);
/* Also writes Content-Length, in place or at the end; with the body as it is
 * this gives a message without the header one. */
int edit_body(struct edits *e, struct str body);

/* The value a reader would see now: the first of this name after the edits, a
 * whole header value without folds. STR_NONE when there is none. */
struct str edits_get(const struct edits *e, struct str name);
/* Calls fn for each field of the name (STR_NONE: every field) after the edits,
 * in order, with name and unfolded value; lists are not taken apart. Ends when
 * fn returns false. */
typedef bool edits_fn(void *ctx, struct str name, struct str value);
void edits_each(const struct edits *e, struct str name, edits_fn *fn,
		void *ctx);

/* Writes the message with the edits; 0, ERR_NOMEM, or ERR_LIMIT for more than
 * MSG_MAX_BYTES or the space of `out`. Without edits the output equals the
 * input byte for byte, if that has its SIP-Version in upper case. The message
 * is one that msg_index let pass. */
int edits_write(const struct edits *e, struct buf *out);

#endif
