/*
 * What the workers of one node share: listeners, settings, members and their
 * facts, keys, the values of sip.shared. Created first, freed last.
 */
#ifndef CORE_NODE_H
#define CORE_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include "core/capture.h"
#include "proxy/members.h"
#include "proxy/settings.h"
#include "transport/admission.h"
#include "transport/directory.h"
#include "transport/listener.h"
#include "util/mem.h"
#include "util/siphash.h"

enum { NODE_MAX_WORKERS = 64 };

struct core;
struct shared; /* core/shared.h: sip.shared */

struct node {
	struct mem mem; /* only while one thread runs */
	unsigned workers;
	struct listeners listeners;
	struct tls_clients tls;   /* only grows: hops name them by number */
	struct settings settings; /* its lists are owned by `mem` */
	struct members members;
	struct sipkeys keys; /* changed while the workers rest */
	/* Of what the process finds again by hashes; stays. */
	struct sipkey table_key;
	struct shared *shared;
	struct directory *directory; /* NULL with one worker */
	struct admission *admission;
	unsigned generation;
	/* What the process before knew of the servers
	 * (lua/tandem/health/warm.lua); borrowed. */
	struct str kept;
	/* It takes nothing that begins something (core_is_quiet); by any
	 * thread. */
	atomic_bool draining;
	size_t memory; /* bytes that we may use of this machine; 0: unknown */
	struct capture capture;
	struct core *core[NODE_MAX_WORKERS]; /* borrowed; for counters */
};

/* NULL when memory ran out. `keys` are those of the cluster; copied. */
struct node *node_new(unsigned workers, const struct sipkeys *keys);
void node_free(struct node **n); /* cores are gone */
/* Other keys from now on. Only while no worker is in its core. */
void node_set_keys(struct node *n, const struct sipkeys *keys);

#endif
