#include "core/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/shared.h"

struct node *node_new(unsigned workers, const uint8_t key[16])
{
	struct node *n = calloc(1, sizeof(*n));

	assert(workers > 0 && workers <= NODE_MAX_WORKERS);
	if (!n)
		return NULL;
	mem_init(&n->mem);
	n->workers = workers;
	n->generation = 1;
	n->key = sipkey_load(key);
	settings_init(&n->settings);
	tls_clients_init(&n->tls);
	members_init(&n->members, &n->mem);
	capture_init(&n->capture);
	n->shared = shared_new();
	if (!n->shared) {
		capture_fini(&n->capture);
		free(n);
		return NULL;
	}
	return n;
}

void node_free(struct node **np)
{
	struct node *n = *np;

	if (!n)
		return;
	for (unsigned i = 0; i < n->workers; i++)
		assert(!n->core[i]);
	members_fini(&n->members);
	settings_fini(&n->settings, &n->mem);
	shared_free(&n->shared);
	capture_fini(&n->capture);
	explicit_bzero(&n->key, sizeof(n->key));
	free(n);
	*np = NULL;
}
