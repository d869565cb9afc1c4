/*
 * TLS 1.2 and 1.3 with OpenSSL: what listeners and clients present and trust
 * (a set, shared by the workers and replaced as a whole when certificates are
 * read again), and one connection over a socket that never waits. Who may be
 * believed to be whom is RFC 5922's: see tls_name.h; RFC 3261 26.2.1, 26.3.1.
 * Sockets, deadlines and messages are not its business.
 *
 * There are no sessions to resume: SIP connections are few and long, and each
 * handshake asks for the certificates as they are then.
 */
#ifndef HOST_TLS_H
#define HOST_TLS_H

#include "host/logsink.h"
#include "host/sock.h"

/* ---- certificates, keys and who is trusted ---- */

struct tls_set;

struct tls_set_conf {
	const struct listeners *listeners;
	const struct tls_clients *clients;
	/* Bits: clients whose files are read; the others are what they are in
	 * `before`, which may be NULL. */
	uint32_t used;
	const struct tls_set *before;
	struct logsink *log; /* for certificates that end soon */
};

/* Reads all files. NULL with the reason in why[n]: which one, and what is
 * wrong.
 */
struct tls_set *tls_set_new(const struct tls_set_conf *conf, char *why,
			    size_t n);
void tls_set_free(struct tls_set **set);
/* Are these files there, of the right kind, and fit for each other? False with
 * the reason in why[n]. */
bool tls_check(const struct tls_conf *conf, bool is_server, char *why,
	       size_t n);

/* ---- a connection ---- */

struct tls;

/* Over fd, which stays the caller's. NULL: no memory, or no such listener or
 * client in the set. `name` is copied; NULL: whoever it is. */
struct tls *tls_accept(const struct tls_set *set, unsigned listener, int fd);
struct tls *tls_connect(const struct tls_set *set, unsigned client, int fd,
			const char *name);
void tls_free(struct tls **t);
/* Goes on with the handshake. SOCK_DONE: it is up, and the peer is who it has
 * to be. */
enum sock_result tls_handshake(struct tls *t);
/* SOCK_DONE with how many bytes; one record at most. */
enum sock_result tls_read(struct tls *t, void *p, size_t n, size_t *n_r);
enum sock_result tls_write(struct tls *t, const void *p, size_t n, size_t *n_r);
/* Tells the peer that nothing more will come. */
void tls_finish(struct tls *t);
/* After SOCK_FAILED: CAUSE_NONE when it was the socket, with its errno still
 * set. */
enum cause tls_cause(const struct tls *t);
const char *tls_why(const struct tls *t); /* in words; or "" */
/* Of an accepted one: whom the client has proved to be; NULL: nobody. */
const char *tls_identity(const struct tls *t);

/* The library that is loaded: "OpenSSL 3.0.17 ...". */
const char *tls_library(void);

#endif
