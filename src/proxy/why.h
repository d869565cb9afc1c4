/*
 * The decision traces of requests that have ended, for an operator who asks why
 * a call went where it went. They are kept in blocks of memory, the oldest
 * block goes when there are as many as the settings allow. Requests with and
 * without trouble, and those the core refused by itself, have blocks of their
 * own: good calls do not push out the bad ones, and a flood of rubbish pushes
 * out nothing but rubbish. There is no index: a question is rare, and reads all
 * of it.
 */
#ifndef PROXY_WHY_H
#define PROXY_WHY_H

#include "util/list.h"
#include "util/mem.h"
#include "util/str.h"
#include "util/tick.h"

enum why_class {
	WHY_GOOD,
	WHY_TROUBLE, /* failed, or a server did */
	WHY_REFUSED, /* by the core, without a response context */
	WHY_CLASSES
};

struct why {
	struct mem *mem;
	struct list blocks[WHY_CLASSES]; /* oldest first */
	size_t n[WHY_CLASSES];
	uint64_t serial; /* of records, over all classes */
};

/* Slices borrow from the block: until the next why_keep. */
struct why_record {
	uint64_t serial; /* a larger one ended later */
	wall_t began;
	int64_t took; /* microseconds until the caller had a final */
	int code;     /* that the caller got; 0: none */
	enum why_class class;
	bool failed; /* why_is_failure, or the script failed */
	bool open;   /* it has not ended yet */
	bool cut;    /* some steps did not fit */
	struct str call_id;
	struct str steps; /* steps.h */
};

enum {
	WHY_BLOCK = 65536,
	WHY_LEAST = 4 * WHY_BLOCK, /* bytes: the least that makes sense */
	WHY_CALL_ID = 255          /* bytes of a Call-ID that are kept */
};

void why_init(struct why *w, struct mem *m);
void why_fini(struct why *w);
/* Keeps a copy. `limit` is for all classes together, in bytes; 0 frees what is
 * there and keeps nothing. Without memory the oldest block of the class is used
 * again; without that one, too, the record is lost. False: it was not kept. */
bool why_keep(struct why *w, size_t limit, const struct why_record *r);
/* The newest records, newest first, at most `max`: those of this Call-ID, or of
 * any (STR_NONE); all, or those that failed. Returns how many. */
size_t why_find(const struct why *w, struct str call_id, bool failed,
		struct why_record *out, size_t max);
/* Adds one to such a list if it belongs among the `max` newest. */
size_t why_add(struct why_record *out, size_t n, size_t max,
	       const struct why_record *r);
/* Is this the Call-ID of that record? It may have been too long to keep. */
bool why_is_of(const struct why_record *r, struct str call_id);
/* Is a final response of this code a failure? Not a challenge (401, 407), a
 * caller who hung up (487), or somebody who does not want to talk (486, 600,
 * 603). */
bool why_is_failure(int code);
size_t why_bytes(const struct why *w); /* of the heap */

#endif
