/*
 * Watches files by looking at them every second: what a rename puts in their
 * place, their end and their return are seen on any file system, also behind
 * symbolic links. A change is told when the file has then been the same for a
 * second.
 */
#ifndef CONTROL_WATCH_H
#define CONTROL_WATCH_H

#include <ev.h>
#include <stdint.h>

struct watch;

/* NULL when memory ran out. The loop is borrowed. */
struct watch *watch_new(struct ev_loop *loop, void (*on_change)(void *ctx),
			void *ctx);
void watch_free(struct watch **w);
/* From now on these files and no others: watch_begin, watch_add for each, then
 * watch_end. What is known of a file that was watched already is kept, so that
 * no change between is missed; what changed after `since` (microseconds since
 * 1970), when somebody began to read it, counts as changed. watch_add: 0 or
 * ERR_NOMEM. */
void watch_begin(struct watch *w);
int watch_add(struct watch *w, const char *path, int64_t since);
void watch_end(struct watch *w);

#endif
