#include "proxy/members.h"

#include <assert.h>
#include <string.h>
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

uint64_t member_id(struct str name)
{
	return siphash24(sipkey_load(id_key), name.p, name.n);
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

struct member *members_ref(struct members *ms, struct str name)
{
	struct member *m = members_by_name(ms, name);

	if (!m) {
		if (name.n >= MEMBER_NAME)
			return NULL;
		m = mem_zalloc(ms->mem, sizeof(*m));
		if (!m)
			return NULL;
		memcpy(m->name, name.p, name.n);
		m->id = member_id(name);
		m->index = (uint32_t)ms->n;
		m->record_route = true;
		list_append(&ms->list, &m->link);
		ms->n++;
	}
	atomic_fetch_add(&m->refs, 1);
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

void members_undeclare(struct members *ms)
{
	list_each (it, &ms->list)
		container_of(it, struct member, link)->declared = false;
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
