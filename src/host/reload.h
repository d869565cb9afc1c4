/*
 * Reloading, on the control thread: a new generation is loaded by a thread of
 * its own, so that signals are heard meanwhile, and takes over while the
 * workers rest between two entries. One that cannot is rejected with the reason
 * in the log, and the present one goes on.
 */
#ifndef HOST_RELOAD_H
#define HOST_RELOAD_H

struct control;
struct reload;

/* 0 or ERR_NOMEM; reload_free in any case. */
int reload_init(struct control *c);
/* Begins a reload; during one, another follows it. A change of a file that
 * comes while too many earlier generations have requests is tried again. */
extern const char reload_by_signal[],
    reload_by_file[]; /* causes, for the log */
void reload_begin(struct control *c, const char *cause);
/* Gives up a load that is under way. */
void reload_free(struct control *c);

#endif
