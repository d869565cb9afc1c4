/*
 * Reloading, on the control thread: a new generation is loaded by a thread of
 * its own, so that signals are heard meanwhile, and takes over while the
 * workers rest between two entries. One that cannot is rejected with the reason
 * in the log, and the present one goes on.
 */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "util/str.h"

struct buf;
struct console_call;
struct control;
struct reload;

/* Causes, for the log. */
extern const char reload_by_signal[], reload_by_file[], reload_by_ctl[],
    reload_by_override[];

/* 0 or ERR_NOMEM; reload_free in any case. */
int reload_init(struct control *c);
/* Begins a reload; during one, another follows it. A change of a file that
 * comes while too many earlier generations have requests is tried again. */
void reload_begin(struct control *c, const char *cause);
/* The same for somebody who waits for the outcome: JSON, with ok, generation,
 * and if it is not ok, error, and busy: it may succeed later. Not empty,
 * `edit` changes the overrides (lua/tandem/config/overrides.lua), if that
 * loads; then nobody else's wish is served by it. */
void reload_ask(struct control *c, struct str edit, struct console_call *call);
/* Only loads a script, the present one when `path` is empty: answered with its
 * declarations, or with the outcome as above. */
void reload_look(struct control *c, struct str path, struct console_call *call);
/* How the last one went, as JSON. */
void reload_tell(const struct control *c, struct buf *b);
/* Gives up a load that is under way. Who waits is told so. */
void reload_free(struct control *c);

#endif
