#include "util/map.h"

#include <assert.h>

#include "util/err.h"

enum { BUCKETS_MIN = 16 };

int map_init(struct map *m, struct mem *mem)
{
	*m = (struct map){.mem = mem};
	m->bucket = mem_zalloc(mem, BUCKETS_MIN * sizeof(struct map_node *));
	if (!m->bucket)
		return ERR_NOMEM;
	m->buckets = BUCKETS_MIN;
	return 0;
}

void map_fini(struct map *m)
{
	assert(m->n == 0);
	mem_free(m->mem, m->bucket);
	*m = (struct map){0};
}

static struct map_node **bucket_of(const struct map *m, uint64_t hash)
{
	return &m->bucket[hash & (m->buckets - 1)];
}

struct map_node *map_find(const struct map *m, uint64_t hash, map_eq_fn *eq,
			  const void *key)
{
	struct map_node *node = *bucket_of(m, hash);

	for (; node; node = node->next)
		if (node->hash == hash && eq(node, key))
			return node;
	return NULL;
}

static void push(struct map *m, struct map_node *node)
{
	struct map_node **head = bucket_of(m, node->hash);

	node->next = *head;
	*head = node;
}

/* Without the memory for it the chains just get longer. */
static void grow(struct map *m)
{
	struct map_node **old = m->bucket, **bucket;
	size_t buckets = m->buckets;

	bucket = mem_zalloc(m->mem, 2 * buckets * sizeof(struct map_node *));
	if (!bucket)
		return;
	m->bucket = bucket;
	m->buckets = 2 * buckets;
	for (size_t i = 0; i < buckets; i++) {
		struct map_node *next;

		for (struct map_node *node = old[i]; node; node = next) {
			next = node->next;
			push(m, node);
		}
	}
	mem_free(m->mem, old);
}

void map_add(struct map *m, struct map_node *node, uint64_t hash)
{
	if (m->n >= m->buckets)
		grow(m);
	node->hash = hash;
	push(m, node);
	m->n++;
}

void map_remove(struct map *m, struct map_node *node)
{
	struct map_node **at = bucket_of(m, node->hash);

	while (*at != node) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = node->next;
	node->next = NULL;
	m->n--;
}
