/*
 * Certificates of the control thread: the files that scripts name are checked
 * while they load, and read for the workers when a generation takes over.
 */
#ifndef CONTROL_CERTS_H
#define CONTROL_CERTS_H

#include "lua/script.h"

struct control;
struct tls_set;

/* For script_conf.tls; ctx is the struct control. In any thread. */
bool certs_check(void *ctx, struct tls_conf *io, bool is_server,
		 const struct reason *why);
/* Reads what these listeners and the servers of the script need. `clients`: a
 * copy of the node's, to which the script's are added. What `before` (or NULL)
 * has and this script does not use goes over. NULL with the reason. */
struct tls_set *certs_read(struct control *c, struct script *s,
			   const struct listeners *ls,
			   struct tls_clients *clients,
			   const struct tls_set *before,
			   const struct reason *why);
/* The same for a script that will not run: is all of it there? An exit code. */
int certs_try(struct control *c);

#endif
