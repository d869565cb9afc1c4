/*
 * Where log events go: lines on standard error. Whoever logs never waits: lines
 * are put into a bounded ring that a thread of its own writes out. When the
 * reader does not keep up, lines are dropped, counted, and the count is logged.
 * Used by any thread.
 */
#ifndef HOST_LOGSINK_H
#define HOST_LOGSINK_H

#include "util/log.h"

struct logsink;

/* `fd` is borrowed; when it is systemd's journal, lines carry a priority. NULL
 * when memory or threads ran out. */
struct logsink *logsink_new(int fd, bool json, enum log_level level);
/* Writes what is left, for one second at most. */
void logsink_free(struct logsink **s);
enum log_level logsink_level(struct logsink *s);
void logsink_set_level(struct logsink *s, enum log_level level);
/* From now on `fn` hears of every event, written or not, in the thread that
 * logs it; it must not log. Before other threads log. */
void logsink_tap(struct logsink *s,
		 void (*fn)(void *ctx, const struct log_event *e), void *ctx);
/* How many warnings and errors there were, written or not. */
unsigned long logsink_warnings(const struct logsink *s);
/* Lines that were dropped since the start. */
uint64_t logsink_lost(struct logsink *s);
void logsink_write(struct logsink *s, const struct log_event *e);

/* logsink_say(s, LOG_WARN, "key", LOGF_INT("n", 1), ...) */
#define logsink_say(s, lvl, k, ...)                                            \
	logsink_write((s), &(struct log_event){                                \
			       (lvl), (k), (struct log_field[]){__VA_ARGS__},  \
			       sizeof((struct log_field[]){__VA_ARGS__}) /     \
				   sizeof(struct log_field)})

#endif
