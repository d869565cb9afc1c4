/*
 * What the sockets of the host have in common: options that may fail, addresses
 * of a socket, and what to tell an operator whose listener cannot be bound.
 */
#ifndef HOST_SOCK_H
#define HOST_SOCK_H

#include "transport/listener.h"

/* How reading, writing or a handshake went, on a socket that never waits. */
enum sock_result {
	SOCK_DONE,
	SOCK_WANT_READ, /* again when it is readable */
	SOCK_WANT_WRITE,
	SOCK_END, /* the peer has ended it in good order */
	SOCK_FAILED
};

/* Does an address have sockets of several threads of this process? The first
 * one is bound as if it were alone, so that another process that has the
 * address is noticed; the others join it. */
enum sock_sharing { SOCK_ALONE, SOCK_SHARES, SOCK_JOINS };

/* Binds it; 0 or -1 and errno, as bind(2). */
int sock_bind(int fd, const struct addr *a, enum sock_sharing sharing);
/* Each option improves something, none is worth failing for. */
void sock_set(int fd, int level, int option, int value);
/* Lets it be bound to an address that is on another machine now (a VIP). */
void sock_set_freebind(int fd, bool v6);
/* Our end of it; family ADDR_NONE when it has none. */
struct addr sock_local(int fd);
/* Writes "cannot listen on tcp:10.0.0.1:5060: ..." with a hint into why[n];
 * gives back err, an errno. */
int sock_cannot_listen(const struct listener *l, int err, char *why, size_t n);

#endif
