#include "transport/admission.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "util/list.h"
#include "util/map.h"

enum {
	/* One in so many is for those that we open: a crowd that comes in must
	 * not keep us from our servers. */
	OURS = 10
};

struct source {
	struct map_node node;
	struct addr addr;
	uint32_t n;
};

struct admission {
	pthread_mutex_t lock; /* of what follows */
	struct mem mem;
	struct map sources;
	struct sipkey key;
	uint32_t n;
};

struct admission *admission_new(struct sipkey key)
{
	struct admission *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	mem_init(&a->mem);
	a->key = key;
	if (map_init(&a->sources, &a->mem) != 0) {
		free(a);
		return NULL;
	}
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

void admission_free(struct admission **ap)
{
	struct admission *a = *ap;

	*ap = NULL;
	if (!a)
		return;
	assert(!a->n);
	map_fini(&a->sources);
	pthread_mutex_destroy(&a->lock);
	explicit_bzero(&a->key, sizeof(a->key));
	free(a);
}

static bool has_ip(const struct map_node *node, const void *key)
{
	return addr_ip_eq(&container_of(node, struct source, node)->addr, key);
}

static struct source *source_of(struct admission *a, const struct addr *peer)
{
	struct addr holder = addr_holder(peer);
	struct map_node *node;
	struct siphash h;
	struct source *s;
	uint64_t hash;

	siphash_init(&h, a->key);
	siphash_addr(&h, &holder);
	hash = siphash_end(&h);
	node = map_find(&a->sources, hash, has_ip, &holder);
	if (node)
		return container_of(node, struct source, node);
	s = mem_zalloc(&a->mem, sizeof(*s));
	if (!s)
		return NULL;
	s->addr = holder;
	map_add(&a->sources, &s->node, hash);
	return s;
}

static enum admit accept_locked(struct admission *a, const struct addr *peer,
				const struct stream_limits *l,
				struct source **source_r)
{
	struct source *s;

	if (a->n >= l->connections - l->connections / OURS)
		return ADMIT_FULL;
	s = source_of(a, peer);
	if (!s)
		return ADMIT_NOMEM;
	/* A limit is 1 at least: who is refused is there already. */
	if (s->n >= l->per_source)
		return ADMIT_SOURCE_FULL;
	s->n++;
	a->n++;
	*source_r = s;
	return ADMIT_OK;
}

enum admit admission_accept(struct admission *a, const struct addr *peer,
			    const struct stream_limits *l,
			    struct source **source_r)
{
	enum admit got;

	*source_r = NULL;
	pthread_mutex_lock(&a->lock);
	got = accept_locked(a, peer, l, source_r);
	pthread_mutex_unlock(&a->lock);
	return got;
}

bool admission_open(struct admission *a, const struct stream_limits *l)
{
	bool ok;

	pthread_mutex_lock(&a->lock);
	ok = a->n < l->connections;
	a->n += ok;
	pthread_mutex_unlock(&a->lock);
	return ok;
}

void admission_leave(struct admission *a, struct source *s)
{
	pthread_mutex_lock(&a->lock);
	a->n--;
	if (s && --s->n == 0) {
		map_remove(&a->sources, &s->node);
		mem_free(&a->mem, s);
	}
	pthread_mutex_unlock(&a->lock);
}
