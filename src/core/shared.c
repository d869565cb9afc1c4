#include "core/shared.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "util/arena.h"
#include "util/err.h"
#include "util/list.h"
#include "util/map.h"
#include "util/siphash.h"

enum {
	/* Of all bytes, so that one table that a peer can fill (what is
	 * remembered of each call, say) leaves room for the others. */
	TABLE_SHARE = 4,
	/* Expiring entries looked at for each one that is added: more than one,
	 * so that the expired cannot pile up. */
	PURGE_STEPS = 4,
};

struct table {
	struct map_node node;
	size_t bytes, entries; /* freed with its last entry */
	size_t name_n;
	char name[];
};

struct entry {
	struct map_node node;
	struct list link; /* shared.aging or .lasting */
	struct table *table;
	tick_t expires; /* TICK_NEVER: for ever */
	enum shared_type type;
	union {
		int64_t i;
		double d;
	} u;
	size_t size;     /* as allocated */
	size_t key_n, n; /* bytes of the key, of the string after it */
	char bytes[];
};

struct shared {
	pthread_mutex_t lock;
	struct mem mem;
	struct map tables, entries;
	struct list aging;   /* have a time to live; looked at in turn */
	struct list lasting; /* have none */
	struct sipkey hash;
};

struct entry_key {
	const struct table *table;
	struct str key;
};

struct shared *shared_new(void)
{
	struct shared *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	mem_init(&s->mem);
	list_init(&s->aging);
	list_init(&s->lasting);
	/* Where we are in memory is a secret of a kind; nothing is decided by
	 * the order in the maps. */
	s->hash.k0 = (uintptr_t)s;
	if (map_init(&s->tables, &s->mem) != 0) {
		free(s);
		return NULL;
	}
	if (map_init(&s->entries, &s->mem) != 0) {
		map_fini(&s->tables);
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

/* ---- tables and entries ---- */

static bool table_eq(const struct map_node *node, const void *key)
{
	const struct table *t = container_of(node, const struct table, node);

	return str_eq((struct str){t->name, t->name_n},
		      *(const struct str *)key);
}

static struct table *table_find(struct shared *s, struct str name)
{
	uint64_t hash = siphash24(s->hash, name.p, name.n);
	struct map_node *n = map_find(&s->tables, hash, table_eq, &name);

	return n ? container_of(n, struct table, node) : NULL;
}

static struct table *table_get(struct shared *s, struct str name)
{
	struct table *t = table_find(s, name);

	if (t)
		return t;
	t = mem_zalloc(&s->mem, sizeof(*t) + name.n);
	if (!t)
		return NULL;
	t->name_n = name.n;
	if (name.n)
		memcpy(t->name, name.p, name.n);
	map_add(&s->tables, &t->node, siphash24(s->hash, name.p, name.n));
	return t;
}

static void table_drop_empty(struct shared *s, struct table *t)
{
	if (t->entries)
		return;
	map_remove(&s->tables, &t->node);
	mem_free(&s->mem, t);
}

static bool entry_eq(const struct map_node *node, const void *key)
{
	const struct entry *e = container_of(node, const struct entry, node);
	const struct entry_key *k = key;

	return e->table == k->table &&
	       str_eq((struct str){e->bytes, e->key_n}, k->key);
}

static uint64_t entry_hash(const struct shared *s, const struct entry_key *k)
{
	struct siphash h;

	siphash_init(&h, s->hash);
	siphash_str(&h, (struct str){k->table->name, k->table->name_n});
	siphash_str(&h, k->key);
	return siphash_end(&h);
}

static void entry_free(struct shared *s, struct entry *e)
{
	struct table *t = e->table;

	map_remove(&s->entries, &e->node);
	list_remove(&e->link);
	t->bytes -= e->size;
	t->entries--;
	mem_free(&s->mem, e);
	table_drop_empty(s, t);
}

/* The entry of the key; one that has expired is not there. */
static struct entry *entry_find(struct shared *s, struct str table,
				struct str key, tick_t now)
{
	struct entry_key k = {table_find(s, table), key};
	struct map_node *n;
	struct entry *e;

	if (!k.table)
		return NULL;
	n = map_find(&s->entries, entry_hash(s, &k), entry_eq, &k);
	e = n ? container_of(n, struct entry, node) : NULL;
	if (e && !tick_before(now, e->expires)) {
		entry_free(s, e);
		return NULL;
	}
	return e;
}

static void purge(struct shared *s, tick_t now, size_t steps)
{
	struct list *it;

	while (steps-- > 0 && (it = list_first(&s->aging)) != NULL) {
		struct entry *e = container_of(it, struct entry, link);

		list_remove(it);
		if (tick_before(now, e->expires))
			list_append(&s->aging, it);
		else
			entry_free(s, e);
	}
}

static bool has_room(struct shared *s, const struct table *t, size_t size,
		     tick_t now)
{
	if (t->bytes + size > SHARED_MAX_BYTES / TABLE_SHARE)
		return false;
	if (s->mem.bytes + size <= SHARED_MAX_BYTES)
		return true;
	purge(s, now, s->entries.n);
	return s->mem.bytes + size <= SHARED_MAX_BYTES;
}

static int entry_add(struct shared *s, struct str table, struct str key,
		     const struct shared_value *v, int64_t ttl, tick_t now)
{
	struct table *t = table_get(s, table);
	size_t n = v->type == SHARED_STR ? v->s.n : 0;
	size_t size = sizeof(struct entry) + key.n + n;
	struct entry *e = NULL;
	struct entry_key k = {t, key};
	int err = 0;

	if (!t)
		return ERR_NOMEM;
	t->entries++; /* so that a purge leaves the table alone */
	if (!has_room(s, t, size, now))
		err = ERR_LIMIT;
	else if (!(e = mem_zalloc(&s->mem, size)))
		err = ERR_NOMEM;
	if (err) {
		t->entries--;
		table_drop_empty(s, t);
		return err;
	}
	*e = (struct entry){.table = t,
			    .expires = ttl ? tick_add(now, ttl) : TICK_NEVER,
			    .type = v->type,
			    .size = size,
			    .key_n = key.n,
			    .n = n};
	if (v->type == SHARED_NUM)
		e->u.d = v->d;
	else
		e->u.i = v->i;
	if (key.n)
		memcpy(e->bytes, key.p, key.n);
	if (n)
		memcpy(e->bytes + key.n, v->s.p, n);
	t->bytes += size;
	map_add(&s->entries, &e->node, entry_hash(s, &k));
	list_append(ttl ? &s->aging : &s->lasting, &e->link);
	return 0;
}

static void free_all(struct shared *s, struct list *head)
{
	struct list *it;

	while ((it = list_first(head)) != NULL)
		entry_free(s, container_of(it, struct entry, link));
}

void shared_free(struct shared **sp)
{
	struct shared *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	free_all(s, &s->aging);
	free_all(s, &s->lasting);
	map_fini(&s->entries);
	map_fini(&s->tables);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- verbs ---- */

static struct shared_value value_of(const struct entry *e, struct arena *a)
{
	struct shared_value v = {.type = e->type};

	switch (e->type) {
	case SHARED_STR:
		v.s = arena_str(a, (struct str){e->bytes + e->key_n, e->n});
		if (!v.s.p)
			v.type = SHARED_NIL;
		break;
	case SHARED_NUM:
		v.d = e->u.d;
		break;
	case SHARED_INT:
	case SHARED_BOOL:
	case SHARED_NIL:
		v.i = e->u.i;
		break;
	}
	return v;
}

struct shared_value shared_get(struct shared *s, struct str table,
			       struct str key, struct arena *a, tick_t now)
{
	struct shared_value v = {.type = SHARED_NIL};
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = entry_find(s, table, key, now);
	if (e)
		v = value_of(e, a);
	pthread_mutex_unlock(&s->lock);
	return v;
}

int shared_set(struct shared *s, struct str table, struct str key,
	       const struct shared_value *v, int64_t ttl, tick_t now)
{
	struct entry *old;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	purge(s, now, PURGE_STEPS);
	old = entry_find(s, table, key, now);
	if (v->type != SHARED_NIL) {
		/* The new one beside the old: nothing is lost when it fails. */
		if (old)
			map_remove(&s->entries, &old->node);
		err = entry_add(s, table, key, v, ttl, now);
		if (old)
			map_add(&s->entries, &old->node, old->node.hash);
	}
	if (old && !err)
		entry_free(s, old);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int add_to(struct entry *e, int64_t by, int64_t *out_r)
{
	if (e->type == SHARED_NUM) {
		e->u.d += (double)by;
		*out_r = (int64_t)e->u.d;
		return 0;
	}
	if (e->type != SHARED_INT)
		return ERR_STATE;
	/* Around at the end, as Lua's integers go. */
	e->u.i = (int64_t)((uint64_t)e->u.i + (uint64_t)by);
	*out_r = e->u.i;
	return 0;
}

int shared_incr(struct shared *s, struct str table, struct str key, int64_t by,
		int64_t init, int64_t ttl, tick_t now, int64_t *out_r)
{
	struct shared_value v = {.type = SHARED_INT};
	struct entry *e;
	int err;

	pthread_mutex_lock(&s->lock);
	purge(s, now, PURGE_STEPS);
	e = entry_find(s, table, key, now);
	if (e) {
		err = add_to(e, by, out_r);
	} else {
		v.i = *out_r = (int64_t)((uint64_t)init + (uint64_t)by);
		err = entry_add(s, table, key, &v, ttl, now);
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

size_t shared_count(struct shared *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->entries.n;
	pthread_mutex_unlock(&s->lock);
	return n;
}
