#include "transport/tls_conf.h"

#include <string.h>

static bool is_same(const struct tls_conf *a, const struct tls_conf *b)
{
	return strcmp(a->cert, b->cert) == 0 && strcmp(a->key, b->key) == 0 &&
	       strcmp(a->ca, b->ca) == 0 && a->verify == b->verify;
}

void tls_clients_init(struct tls_clients *clients)
{
	memset(clients, 0, sizeof(*clients));
	clients->c[0].verify = true;
	clients->n = 1;
}

int tls_clients_add(struct tls_clients *clients, const struct tls_conf *conf)
{
	for (unsigned i = 0; i < clients->n; i++)
		if (is_same(&clients->c[i], conf))
			return (int)i;
	if (clients->n == TLS_CLIENT_MAX)
		return -1;
	clients->c[clients->n] = *conf;
	return (int)clients->n++;
}
