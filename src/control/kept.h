/*
 * Whether what operators have ordered is on the disk: they are answered when
 * the thread that writes it (host/statefile.h) has tried. On the control
 * thread.
 */
#ifndef CONTROL_KEPT_H
#define CONTROL_KEPT_H

#include <ev.h>
#include "host/statefile.h"
#include "lua/console.h"

struct kept;

/* `state` may be NULL: then nothing is kept. NULL when memory ran out. */
struct kept *kept_new(struct ev_loop *loop, struct statefile *state);
/* Answers `call` as soon as the last text of that name has been tried: with
 * nothing, or why it is not on the disk. */
void kept_ask(struct kept *k, struct str name, struct console_call *call);
/* Before the state file is closed. */
void kept_free(struct kept **k);

#endif
