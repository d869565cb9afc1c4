/*
 * The addresses of this machine: which of them would be the source of a
 * datagram, which are there at all now, and when that changes. One per worker.
 */
#ifndef HOST_SOURCE_H
#define HOST_SOURCE_H

#include "transport/listener.h"

struct source;

/* `ls` is borrowed; its list of own addresses is written by source_refresh.
 * NULL when memory ran out. */
struct source *source_new(struct listeners *ls);
void source_free(struct source **s);
/* Reads the addresses again and forgets what was found out; every few seconds,
 * since routes change without a word. Returns the listeners whose address came
 * or went since the last time, as a bit set. */
uint32_t source_refresh(struct source *s);
/* False: the listener has a specific address, and it is elsewhere now. */
bool source_has(const struct source *s, unsigned listener);
/* Host verb `source`. */
bool source_find(struct source *s, unsigned listener, const struct addr *to,
		 struct addr *out_r);
/* A descriptor that becomes readable when an address comes or goes, -1 when the
 * system does not tell. */
int source_fd(const struct source *s);
/* Reads it empty; source_refresh is due. */
void source_drain(struct source *s);

/* Asks the system whether the address can be bound, thus is on this machine;
 * for error paths. */
bool source_is_local(const struct addr *a);

#endif
