/*
 * The snapshot of the calls in the state directory: one file, what each worker
 * saved last, one after the other. It is written by a thread of its own, so
 * that no call waits for a disk, to a second file that then takes the place of
 * the first. A directory that is full or cannot be written costs no call: that
 * is logged once, counted and tried again every second.
 *
 * What is in the bytes is the core's matter (core_save_calls). Beside them it
 * keeps some texts of the Lua half under names of files (overrides.json,
 * health.json), in the same way.
 */
#ifndef HOST_STATEFILE_H
#define HOST_STATEFILE_H

#include "host/logsink.h"
#include "util/str.h"

struct statefile;

/* Makes the directory (0700) if it is missing, reads what is there and starts
 * the thread. NULL when memory or threads ran
 * out. */
struct statefile *statefile_open(const char *dir, unsigned workers,
				 struct logsink *log);
const char *statefile_dir(const struct statefile *sf); /* as given */
/* What was read: nothing, when there was no file. */
struct str statefile_found(const struct statefile *sf);
/* What that worker saved, malloc'd; it is the file's now. Any thread. Nothing
 * is written before every worker has put something: what one of them restored
 * must not be lost. */
void statefile_put(struct statefile *sf, unsigned worker, char *bytes,
		   size_t n);
/* How often writing has failed so far. Any thread. */
uint64_t statefile_failures(const struct statefile *sf);
/* Keeps a text under the name of a file; empty: removes that. Copies; what
 * comes before it was written takes its place. Any thread. */
void statefile_keep(struct statefile *sf, struct str name, struct str bytes);
/* Has the last text of that name been tried? With what result: an errno. */
bool statefile_is_kept(struct statefile *sf, struct str name, int *err_r);
/* Calls `fn` in a thread of its own whenever texts have been tried. */
void statefile_on_round(struct statefile *sf, void (*fn)(void *ctx), void *ctx);
/* Writes what is new, waits for it, frees it. */
void statefile_close(struct statefile **sf);

#endif
