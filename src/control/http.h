/*
 * The control API over HTTP, on the control thread's loop: libmicrohttpd reads
 * and writes, the console (lua/console.h) answers. Doors are sockets that
 * listen: one of the UNIX kind, and one of TCP if wanted. Clients that say
 * nothing, say too much, or are too many cost nobody anything but themselves.
 */
#ifndef CONTROL_HTTP_H
#define CONTROL_HTTP_H

#include <ev.h>
#include "lua/console.h"
#include "util/addr.h"

struct http;

/* Opens no door yet. NULL when memory ran out. The console is borrowed. */
struct http *http_new(struct ev_loop *loop, struct console *console);
/* Listens on a UNIX socket at `path` (mode 0660): who may connect may change
 * things. A socket that nobody answers on is replaced. 0, or an errno with the
 * reason in why[n]. */
int http_open_unix(struct http *h, const char *path, char *why, size_t n);
/* Is there a token in that file that may be one? 0, or an errno with the reason
 * in why[n]. */
int http_check_token(const char *file, char *why, size_t n);
/* Listens on TCP: for reading, and for changes by who sends the token, which is
 * the first line of `token_file`; NULL: nobody. On a loopback address only for
 * who asks for an IP address or localhost. 0, or an errno with the reason in
 * why[n]. */
int http_open_tcp(struct http *h, const struct addr *a, const char *token_file,
		  char *why, size_t n);
/* Closes the doors, and removes the UNIX socket. */
void http_free(struct http **h);

#endif
