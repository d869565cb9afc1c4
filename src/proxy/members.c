#include "proxy/members.h"

#include <assert.h>
#include <string.h>
#include "util/err.h"
#include "util/siphash.h"

/* Not a secret: the same name must give the same id on every node. */
static const uint8_t id_key[16] = "tandem member id";

void members_init(struct members *ms, struct mem *m)
{
	ms->mem = m;
	ms->n = 0;
	atomic_init(&ms->changes, 0);
	list_init(&ms->list);
}

void members_fini(struct members *ms)
{
	list_each_safe (it, &ms->list)
		mem_free(ms->mem, container_of(it, struct member, link));
	list_init(&ms->list);
	ms->n = 0;
}

/* Rounded away from where it is, it arrives, from above as from below, and does
 * not go beyond. Never 0, which is a server that has not answered yet. */
void member_took(struct member *m, int64_t us)
{
	int64_t before = atomic_load(&m->fact[FACT_LATENCY]);
	int64_t took = us > 0 ? us : 1;
	int64_t way = took - before;

	if (before)
		took = before + (way + (way < 0 ? -7 : 7)) / 8;
	atomic_store(&m->fact[FACT_LATENCY], took);
}

uint64_t member_id(struct str name)
{
	return siphash24(sipkey_load(id_key), name.p, name.n);
}

int64_t members_count(const struct members *ms)
{
	int64_t n = 0;

	list_each (it, &ms->list)
		n += container_of(it, const struct member, link)->declared;
	return n;
}

struct member *members_by_name(const struct members *ms, struct str name)
{
	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		if (str_eq(str_from(m->name), name))
			return m;
	}
	return NULL;
}

struct member *members_by_id(const struct members *ms, uint64_t id)
{
	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		if (m->id == id)
			return m;
	}
	return NULL;
}

static struct member *add(struct members *ms, struct str name)
{
	struct member *m;

	if (name.n >= MEMBER_NAME)
		return NULL;
	m = mem_zalloc(ms->mem, sizeof(*m));
	if (!m)
		return NULL;
	memcpy(m->name, name.p, name.n);
	m->index = (uint32_t)ms->n;
	m->record_route = true;
	list_append(&ms->list, &m->link);
	ms->n++;
	return m;
}

struct member *members_ref(struct members *ms, struct str name)
{
	struct member *m = members_by_name(ms, name);

	if (!m) {
		m = add(ms, name);
		if (!m)
			return NULL;
		m->id = member_id(name);
	}
	atomic_fetch_add(&m->refs, 1);
	if (m->is_spare)
		m->is_spare = false; /* in a script: the name stays */
	m->declared = true;
	return m;
}

/* It is never freed before the node: requests of an old generation name it, and
 * a later generation may declare it again. */
void members_unref(struct members *ms, struct member *m)
{
	unsigned before = atomic_fetch_sub(&m->refs, 1);

	(void)ms;
	assert(before > 0);
}

void members_undeclare(struct members *ms, tick_t now)
{
	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		if (m->declared)
			m->left = now;
		m->declared = false;
	}
}

/* ---- servers that are found while it runs ---- */

bool member_is_of(const struct member *m, struct str pool)
{
	return strncmp(m->name, pool.p, pool.n) == 0 && m->name[pool.n] == '/';
}

int members_reserve(struct members *ms, struct str pool, unsigned n)
{
	char name[MEMBER_NAME];
	unsigned there = 0;

	assert(pool.n < sizeof(name) - 1);
	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		there += m->is_spare && member_is_of(m, pool);
	}
	memcpy(name, pool.p, pool.n);
	name[pool.n] = '/';
	for (; there < n; there++) {
		struct member *m = add(ms, (struct str){name, pool.n + 1});

		if (!m)
			return ERR_NOMEM;
		m->is_spare = true;
	}
	return 0;
}

/* Nobody knows it any more, or ever did. */
static bool is_free(const struct member *m, tick_t now)
{
	if (!m->is_spare || m->declared || atomic_load(&m->refs) > 0)
		return false;
	if (atomic_load(&m->fact[FACT_INFLIGHT]) != 0 ||
	    atomic_load(&m->fact[FACT_SETUP]) != 0 ||
	    atomic_load(&m->fact[FACT_CALLS]) != 0)
		return false;
	return m->id == 0 || tick_diff(now, m->left) >= MEMBER_REST;
}

/* Best one that never had a name: who returns finds what was known of him. */
static struct member *find_free(const struct members *ms, struct str pool,
				tick_t now)
{
	struct member *found = NULL;

	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		if (!member_is_of(m, pool) || !is_free(m, now))
			continue;
		if (m->id == 0)
			return m;
		if (!found || tick_before(m->left, found->left))
			found = m;
	}
	return found;
}

static void rename_spare(struct member *m, struct str name)
{
	m->id = 0;
	memset(m->name, 0, sizeof(m->name));
	memcpy(m->name, name.p, name.n);
	for (int i = 0; i < FACT_N; i++)
		atomic_store(&m->fact[i], 0);
	for (int i = 0; i < MEMBER_STAT_N; i++)
		atomic_store(&m->stat[i], 0);
	atomic_store(&m->load.rate, 0);
	m->places.n = 0;
	m->moves++;
	m->id = member_id(name);
}

struct member *members_join(struct members *ms, struct str name, tick_t now,
			    char was_r[MEMBER_NAME])
{
	struct member *m = members_by_name(ms, name);
	struct str rest = name, pool = str_cut(&rest, '/');

	was_r[0] = '\0';
	if (!m) {
		if (name.n >= MEMBER_NAME || !rest.p)
			return NULL;
		m = find_free(ms, pool, now);
		if (!m)
			return NULL;
		if (m->id != 0)
			memcpy(was_r, m->name, MEMBER_NAME);
		rename_spare(m, name);
	}
	atomic_fetch_add(&m->refs, 1);
	return m;
}

void members_declare(struct members *ms, struct member *m)
{
	m->declared = true;
	atomic_fetch_add(&ms->changes, 1);
}

struct member *members_share(struct members *ms, struct str name)
{
	struct member *m = members_by_id(ms, member_id(name));

	if (m)
		atomic_fetch_add(&m->refs, 1);
	return m;
}

void members_leave(struct members *ms, struct member *m, tick_t now)
{
	m->left = now;
	m->declared = false;
	atomic_fetch_add(&ms->changes, 1);
	members_unref(ms, m);
}

/* ---- going back ---- */

struct members_image {
	size_t n;
	struct member m[]; /* the first n of the list */
};

struct members_image *members_save(const struct members *ms)
{
	struct members_image *im =
	    mem_alloc(ms->mem, sizeof(*im) + ms->n * sizeof(im->m[0]));

	if (!im)
		return NULL;
	im->n = 0;
	list_each (it, &ms->list)
		memcpy(&im->m[im->n++], container_of(it, struct member, link),
		       sizeof(im->m[0]));
	return im;
}

/* Those that came since are at the end of the list. */
void members_restore(struct members *ms, struct members_image **imp)
{
	struct members_image *im = *imp;
	size_t i = 0;

	list_each_safe (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);

		if (i++ < im->n)
			continue;
		assert(atomic_load(&m->refs) == 0);
		list_remove(it);
		mem_free(ms->mem, m);
		ms->n--;
	}
	i = 0;
	list_each (it, &ms->list) {
		struct member *m = container_of(it, struct member, link);
		struct list link = m->link;

		memcpy(m, &im->m[i++], sizeof(*m));
		m->link = link;
	}
	members_image_free(ms, imp);
}

void members_image_free(struct members *ms, struct members_image **im)
{
	mem_free(ms->mem, *im);
	*im = NULL;
}
