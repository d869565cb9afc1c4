/*
 * What happened to one request, in order of time, in as few bytes as it takes:
 * the decision trace that an operator asks for (why.h keeps it). A step is a
 * word, a time and some fields; what the fields of each word mean is said below
 * and in lua/tandem/why.lua, which shows them. Nothing here decides anything,
 * and a step that finds no memory is left out.
 */
#ifndef PROXY_STEPS_H
#define PROXY_STEPS_H

#include <stdbool.h>
#include "transport/hop.h"
#include "util/buf.h"
#include "util/mem.h"
#include "util/tick.h"

/* X(id, word); beside each its fields. Numbers of attempts begin with 1. */
#define STEP_LIST(X)                                                           \
	/* method, Request-URI, From URI, kind, pool member or "", source,     \
	 * our address */                                                      \
	X(STEP_RECEIVED, "received")                                           \
	/* whatever the Lua half says (core.note): a word first */             \
	X(STEP_NOTE, "note")                                                   \
	/* number, group (of a fork), member or "", URI or "", its address */  \
	X(STEP_ATTEMPT, "attempt")                                             \
	X(STEP_PROVISIONAL, "provisional") /* number, code */                  \
	X(STEP_ANSWER, "answer")         /* number, code, 1: of our making */  \
	X(STEP_FAILED, "failed")         /* number, cause */                   \
	X(STEP_CANCELLING, "cancelling") /* number */                          \
	X(STEP_ABANDONED, "abandoned")   /* number */                          \
	X(STEP_CANCEL, "cancel")         /* by the caller */                   \
	X(STEP_VERB, "verb")             /* word, file:line or "" */           \
	X(STEP_ERROR, "error")           /* of the script: message */          \
	X(STEP_REPLY, "reply")           /* to the caller: code */             \
	X(STEP_WITHHELD, "withheld")     /* nothing is sent any more */        \
	X(STEP_LATE, "late")             /* 2xx: member or "", what became */  \
	X(STEP_TAKEOVER, "takeover")     /* of another node: code, member */   \
	X(STEP_REFUSED, "refused")       /* by the core: code, reason */

enum step {
#define X(id, word) id,
	STEP_LIST(X)
#undef X
	    STEP_N
};

const char *step_word(enum step s);

enum {
	STEPS_FIRST = 384, /* bytes of an ordinary call */
	STEPS_MAX = 32768, /* bytes of one request; what is beyond is cut */
	STEPS_TEXT = 512   /* bytes of one text; the rest of it is cut */
};

struct steps {
	struct mem *mem; /* NULL: nothing is noted */
	char *p;
	uint32_t n, cap;
	tick_t began;
	bool cut;                /* something is missing */
	char first[STEPS_FIRST]; /* as long as that is enough */
};

/* It cannot be moved afterwards. */
void steps_init(struct steps *s, struct mem *m, tick_t began);
void steps_fini(struct steps *s);
/* Begins a step; its fields follow. False when steps are not noted. */
bool steps_add(struct steps *s, enum step what, tick_t now);
void steps_int(struct steps *s, int64_t v);
/* Its beginning; passwords and responses of digests (util/redact.h) become
 * '*'. */
void steps_str(struct steps *s, struct str v);
/* Transport and address of a peer, or of our end. */
void steps_peer(struct steps *s, const struct hop *hop);
void steps_local(struct steps *s, const struct hop *hop);

enum steps_kind { STEPS_STEP, STEPS_INT, STEPS_STR, STEPS_ADDR };

/* What steps_read finds: the begin of a step, or a field of it. */
struct steps_item {
	enum steps_kind kind;
	enum step step;
	int64_t v; /* microseconds since the begin, or the number */
	struct str text;
	struct addr addr;
	enum transport transport;
};

/* Takes the next item off the front; false at the end, and for bytes that are
 * none. Slices borrow from *rest. */
bool steps_read(struct str *rest, struct steps_item *out_r);
/* All of it as one line for the log: "0.000 received INVITE ...; 0.001 ...". */
void steps_write(struct str steps, struct buf *out);

#endif
