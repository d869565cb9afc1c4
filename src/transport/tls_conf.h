/*
 * What a TLS listener or a TLS client was told in the script: names of files
 * and what is demanded of the peer. Data only; OpenSSL is the host's.
 */
#ifndef TRANSPORT_TLS_CONF_H
#define TRANSPORT_TLS_CONF_H

#include <stdbool.h>

enum { TLS_PATH = 256, TLS_CLIENT_MAX = 32 };

struct tls_conf {
	char cert[TLS_PATH]; /* PEM, the chain; "" none */
	char key[TLS_PATH];  /* PEM */
	char ca[TLS_PATH];   /* PEM; "" the system's */
	/* Listener: a client must show a certificate that `ca` vouches for.
	 * Client: the server's is checked, and its name (RFC 5922). */
	bool verify;
};

/* The TLS clients of a node: hop.tls is an index. Number 0 is there always: no
 * certificate of our own, the system's CAs, verified. */
struct tls_clients {
	struct tls_conf c[TLS_CLIENT_MAX];
	unsigned n;
};

void tls_clients_init(struct tls_clients *clients); /* with number 0 */
/* The number of the one with this configuration, which becomes one of them when
 * none has it; -1: there are too many. */
int tls_clients_add(struct tls_clients *clients, const struct tls_conf *conf);

#endif
