#include "control/certs.h"

#include <stdio.h>
#include <string.h>

#include "control/control_int.h"
#include "host/tls.h"

/* A name in a script is meant from where the script is, as with data files. */
static bool make_absolute(const struct files *f, char path[TLS_PATH])
{
	char name[FILES_PATH];

	if (!path[0])
		return true;
	if (!files_find(f, path, name) || strlen(name) >= TLS_PATH)
		return false;
	memcpy(path, name, strlen(name) + 1);
	return true;
}

bool certs_check(void *ctx, struct tls_conf *io, bool is_server,
		 const struct reason *why)
{
	const struct control *c = ctx;

	if (make_absolute(&c->files, io->cert) &&
	    make_absolute(&c->files, io->key) &&
	    make_absolute(&c->files, io->ca))
		return tls_check(io, is_server, why->text, why->n);
	reason_set(why, ERR_CONFIG, "the name of a file is too long");
	return false;
}

static bool has_tls(const struct listeners *ls)
{
	for (unsigned i = 0; i < ls->n; i++)
		if (ls->l[i].transport == TRANSPORT_TLS)
			return true;
	return false;
}

struct tls_set *certs_read(struct control *c, struct script *s,
			   const struct listeners *ls,
			   struct tls_clients *clients,
			   const struct tls_set *before,
			   const struct reason *why)
{
	struct tls_set_conf conf = {.listeners = ls,
				    .clients = clients,
				    .before = before,
				    .log = c->log};

	if (script_tls(s, clients, &conf.used) != 0) {
		reason_set(why, ERR_LIMIT,
			   "more than %d different sets of TLS options of "
			   "servers, those before reloads included",
			   TLS_CLIENT_MAX - 1);
		return NULL;
	}
	/* Connections are opened through a listener, and who has none needs no
	 * CAs. Number 0 is for whoever is no server of a pool. */
	conf.used = has_tls(ls) ? conf.used | 1 : 0;
	return tls_set_new(&conf, why->text, why->n);
}

int certs_try(struct control *c)
{
	struct reason why = {c->why, CONTROL_WHY};
	struct listeners ls = {.n = c->plan->listeners};
	struct tls_clients clients;
	struct tls_set *set;

	memcpy(ls.l, c->plan->listener, sizeof(ls.l));
	tls_clients_init(&clients);
	set = certs_read(c, c->loaded.script[0], &ls, &clients, NULL, &why);
	if (!set)
		return EXIT_CONFIG;
	tls_set_free(&set);
	return EXIT_FINE;
}
