#include "core/node.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/core.h"
#include "core/shared.h"

static struct sipkey derived(struct sipkey from, struct str use)
{
	struct sipkey key;
	struct siphash h;

	siphash_init(&h, from);
	siphash_str(&h, use);
	siphash_u64(&h, 0);
	key.k0 = siphash_end(&h);
	siphash_init(&h, from);
	siphash_str(&h, use);
	siphash_u64(&h, 1);
	key.k1 = siphash_end(&h);
	return key;
}

void node_set_keys(struct node *n, const struct sipkeys *keys)
{
	n->keys = *keys;
	for (unsigned i = 0; i < n->workers; i++)
		if (n->core[i])
			core_on_keys(n->core[i]);
}

struct node *node_new(unsigned workers, const struct sipkeys *keys)
{
	struct node *n = calloc(1, sizeof(*n));

	assert(workers > 0 && workers <= NODE_MAX_WORKERS);
	if (!n)
		return NULL;
	mem_init(&n->mem);
	n->workers = workers;
	n->generation = 1;
	node_set_keys(n, keys);
	n->table_key = derived(keys->now, STR("table"));
	settings_init(&n->settings);
	tls_clients_init(&n->tls);
	members_init(&n->members, &n->mem);
	capture_init(&n->capture);
	n->shared = shared_new();
	if (workers > 1)
		n->directory = directory_new(derived(keys->now, STR("peers")));
	n->admission = admission_new(derived(keys->now, STR("sources")));
	if (!n->shared || !n->admission || (workers > 1 && !n->directory))
		node_free(&n);
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
	directory_free(&n->directory);
	admission_free(&n->admission);
	capture_fini(&n->capture);
	explicit_bzero(&n->keys, sizeof(n->keys));
	explicit_bzero(&n->table_key, sizeof(n->table_key));
	free(n);
	*np = NULL;
}
