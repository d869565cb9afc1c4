/*
 * The sockets of the control API, and who is at the other end of them.
 */
#ifndef CONTROL_HTTP_SOCK_H
#define CONTROL_HTTP_SOCK_H

#include <stddef.h>
#include "util/addr.h"

/* Listening sockets, not blocking; -1 with an errno and the reason in why[n].
 */
int http_sock_unix(const char *path, char *why, size_t n);
int http_sock_tcp(const struct addr *a, char *why, size_t n);
/* The peer of a UNIX socket as "root" or "uid 1000". */
void http_sock_peer(int fd, char *who, size_t n);

#endif
