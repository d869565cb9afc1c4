/*
 * sip.shared: named tables of strings, numbers and booleans that all workers of
 * a node see, with an optional time to live. Thread-safe; bounded.
 */
#ifndef CORE_SHARED_H
#define CORE_SHARED_H

#include <stdbool.h>
#include "util/mem.h"
#include "util/str.h"
#include "util/tick.h"

enum { SHARED_MAX_BYTES = 64 * 1024 * 1024 };

struct shared;

enum shared_type {
	SHARED_NIL,
	SHARED_STR,
	SHARED_INT,
	SHARED_NUM,
	SHARED_BOOL
};

struct shared_value {
	enum shared_type type;
	struct str s; /* get: borrowed from the caller's arena */
	int64_t i;
	double d;
};

struct arena;

struct shared *shared_new(void);
void shared_free(struct shared **s);
/* SHARED_NIL when absent or expired; strings are copied into `a`. */
struct shared_value shared_get(struct shared *s, struct str table,
			       struct str key, struct arena *a, tick_t now);
/* ttl in microseconds, 0: for ever; NIL removes. 0, ERR_NOMEM or ERR_LIMIT. */
int shared_set(struct shared *s, struct str table, struct str key,
	       const struct shared_value *v, int64_t ttl, tick_t now);
/* Adds to an integer (absent counts as `init`) and returns the result; the ttl
 * applies when it creates the entry. ERR_STATE when it is no number. */
int shared_incr(struct shared *s, struct str table, struct str key, int64_t by,
		int64_t init, int64_t ttl, tick_t now, int64_t *out_r);
size_t shared_count(struct shared *s); /* entries, expired ones included */

#endif
