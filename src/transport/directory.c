#include "transport/directory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "util/list.h"
#include "util/map.h"

struct directory_entry {
	struct map_node node;
	struct hop hop; /* its TLS name follows */
};

struct directory {
	pthread_mutex_t lock; /* of what follows */
	struct mem mem;
	struct map by_peer;
	struct sipkey key;
};

struct directory *directory_new(struct sipkey key)
{
	struct directory *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	mem_init(&d->mem);
	d->key = key;
	if (map_init(&d->by_peer, &d->mem) != 0) {
		free(d);
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void directory_free(struct directory **dp)
{
	struct directory *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	map_fini(&d->by_peer);
	pthread_mutex_destroy(&d->lock);
	explicit_bzero(&d->key, sizeof(d->key));
	free(d);
}

static uint64_t hash_peer(const struct directory *d, const struct hop *hop)
{
	struct siphash h;

	siphash_init(&h, d->key);
	siphash_u64(&h, hop->transport);
	siphash_addr(&h, &hop->addr);
	return siphash_end(&h);
}

static struct directory_entry *add(struct directory *d, const struct hop *peer)
{
	size_t name = peer->tls_name ? strlen(peer->tls_name) + 1 : 0;
	struct directory_entry *e = mem_alloc(&d->mem, sizeof(*e) + name);

	if (!e)
		return NULL;
	e->hop = *peer;
	if (name)
		e->hop.tls_name = memcpy(e + 1, peer->tls_name, name);
	map_add(&d->by_peer, &e->node, hash_peer(d, peer));
	return e;
}

struct directory_entry *directory_enter(struct directory *d,
					const struct hop *peer)
{
	struct directory_entry *e;

	if (!d)
		return NULL;
	pthread_mutex_lock(&d->lock);
	e = add(d, peer);
	pthread_mutex_unlock(&d->lock);
	return e;
}

void directory_leave(struct directory *d, struct directory_entry *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&d->lock);
	map_remove(&d->by_peer, &e->node);
	mem_free(&d->mem, e);
	pthread_mutex_unlock(&d->lock);
}

static bool may_take(const struct map_node *node, const void *key)
{
	const struct directory_entry *e =
	    container_of(node, struct directory_entry, node);

	return hop_may_take(&e->hop, true, key);
}

uint64_t directory_find(struct directory *d, const struct hop *to)
{
	struct map_node *node;
	uint64_t conn = 0;

	if (!d)
		return 0;
	pthread_mutex_lock(&d->lock);
	node = map_find(&d->by_peer, hash_peer(d, to), may_take, to);
	if (node)
		conn =
		    container_of(node, struct directory_entry, node)->hop.conn;
	pthread_mutex_unlock(&d->lock);
	return conn;
}
