#include "util/map.h"

#include <assert.h>

#include "util/err.h"

enum {
	BUCKETS_MIN = 16,
	/* Buckets that are moved when a node is added: enough to be done long
	 * before there are as many nodes as buckets again. */
	MOVED_AT_ONCE = 4,
};

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
	mem_free(m->mem, m->old);
	mem_free(m->mem, m->bucket);
	*m = (struct map){0};
}

static struct map_node **bucket_of(const struct map *m, uint64_t hash)
{
	size_t i = hash & (m->buckets / 2 - 1);

	if (m->old && i >= m->moved)
		return &m->old[i];
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

static void move_bucket(struct map *m)
{
	struct map_node *node = m->old[m->moved++], *next;

	for (; node; node = next) {
		next = node->next;
		push(m, node);
	}
	if (m->moved == m->buckets / 2) {
		mem_free(m->mem, m->old);
		m->old = NULL;
	}
}

/* Without the memory for it the chains just get longer. */
static void grow(struct map *m)
{
	struct map_node **bucket =
	    mem_zalloc(m->mem, 2 * m->buckets * sizeof(*bucket));

	if (!bucket)
		return;
	m->old = m->bucket;
	m->moved = 0;
	m->bucket = bucket;
	m->buckets *= 2;
}

void map_settle(struct map *m)
{
	while (m->old)
		move_bucket(m);
}

size_t map_bytes(const struct map *m)
{
	size_t n = m->buckets + (m->old ? m->buckets / 2 : 0);

	return n * sizeof(*m->bucket);
}

void map_add(struct map *m, struct map_node *node, uint64_t hash)
{
	if (!m->old && m->n >= m->buckets)
		grow(m);
	for (int i = 0; i < MOVED_AT_ONCE && m->old; i++)
		move_bucket(m);
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
