#include "proxy/why.h"

#include <string.h>

struct block {
	struct list link;
	size_t n;
	uint64_t last; /* the newest serial in it */
	char bytes[];
};

enum { ROOM = WHY_BLOCK - sizeof(struct block) };

/* Before the Call-ID and the steps; records are copied in and out, so nothing
 * is aligned. */
struct head {
	uint64_t serial;
	int64_t began, took;
	uint32_t steps; /* bytes */
	uint16_t code;
	uint8_t call_id; /* bytes */
	uint8_t failed : 1, cut : 1;
};

void why_init(struct why *w, struct mem *m)
{
	*w = (struct why){.mem = m};
	for (size_t i = 0; i < WHY_CLASSES; i++)
		list_init(&w->blocks[i]);
}

static void drop_oldest(struct why *w, enum why_class class)
{
	struct list *it = list_first(&w->blocks[class]);

	list_remove(it);
	w->n[class]--;
	mem_free(w->mem, container_of(it, struct block, link));
}

static void drop_to(struct why *w, enum why_class class, size_t n)
{
	while (w->n[class] > n)
		drop_oldest(w, class);
}

void why_fini(struct why *w)
{
	for (int i = 0; i < WHY_CLASSES; i++)
		drop_to(w, (enum why_class)i, 0);
}

/* ---- keeping ---- */

/* How many blocks a class may have: an eighth is for what was refused, three
 * for trouble, the rest for what went well. */
static size_t share(size_t limit, enum why_class class)
{
	size_t all = limit / WHY_BLOCK;
	size_t refused = all < 16 ? 1 : all / 8;
	size_t trouble = all < 6 ? 1 : all * 3 / 8;

	switch (class) {
	case WHY_REFUSED:
		return refused;
	case WHY_TROUBLE:
		return trouble;
	default:
		return all > refused + trouble ? all - refused - trouble : 1;
	}
}

/* An empty block at the end of its class, for as many as there may be. */
static struct block *add_block(struct why *w, enum why_class class, size_t most)
{
	struct list *oldest;
	struct block *b;

	drop_to(w, class, most);
	b = w->n[class] < most ? mem_alloc(w->mem, WHY_BLOCK) : NULL;
	if (!b) {
		oldest = list_first(&w->blocks[class]);
		if (!oldest)
			return NULL;
		list_remove(oldest);
		w->n[class]--;
		b = container_of(oldest, struct block, link);
	}
	memset(b, 0, sizeof(*b));
	list_append(&w->blocks[class], &b->link);
	w->n[class]++;
	return b;
}

static struct block *newest(struct why *w, enum why_class class)
{
	return list_empty(&w->blocks[class])
		   ? NULL
		   : container_of(w->blocks[class].prev, struct block, link);
}

static void put(struct block *b, const void *p, size_t n)
{
	if (n)
		memcpy(b->bytes + b->n, p, n);
	b->n += n;
}

bool why_keep(struct why *w, size_t limit, const struct why_record *r)
{
	struct str id = str_sub(r->call_id, 0, WHY_CALL_ID);
	struct head h = {.serial = w->serial + 1,
			 .began = r->began.us,
			 .took = r->took,
			 .steps = (uint32_t)r->steps.n,
			 .code = (uint16_t)r->code,
			 .call_id = (uint8_t)id.n,
			 .failed = r->failed,
			 .cut = r->cut};
	size_t size = sizeof(h) + id.n + r->steps.n;
	struct block *b = newest(w, r->class);

	if (limit < WHY_BLOCK) {
		why_fini(w);
		return false;
	}
	if (size > ROOM)
		return false;
	if (!b || b->n + size > ROOM)
		b = add_block(w, r->class, share(limit, r->class));
	if (!b)
		return false;
	w->serial++;
	b->last = w->serial;
	put(b, &h, sizeof(h));
	put(b, id.p, id.n);
	put(b, r->steps.p, r->steps.n);
	return true;
}

/* ---- finding ---- */

bool why_is_failure(int code)
{
	switch (code) {
	case 401:
	case 407:
	case 486:
	case 487:
	case 600:
	case 603:
		return false;
	default:
		return code >= 400;
	}
}

bool why_is_of(const struct why_record *r, struct str call_id)
{
	return str_eq(str_sub(r->call_id, 0, WHY_CALL_ID),
		      str_sub(call_id, 0, WHY_CALL_ID));
}

static size_t read_record(const struct block *b, size_t at,
			  struct why_record *r)
{
	const char *p = b->bytes + at;
	struct head h;

	memcpy(&h, p, sizeof(h));
	p += sizeof(h);
	*r = (struct why_record){.serial = h.serial,
				 .began = {h.began},
				 .took = h.took,
				 .code = h.code,
				 .failed = h.failed,
				 .cut = h.cut,
				 .call_id = {p, h.call_id},
				 .steps = {p + h.call_id, h.steps}};
	return sizeof(h) + h.call_id + h.steps;
}

size_t why_add(struct why_record *out, size_t n, size_t max,
	       const struct why_record *r)
{
	size_t at = n;

	while (at > 0 && out[at - 1].serial < r->serial)
		at--;
	if (at == max)
		return n;
	n = n < max ? n + 1 : max;
	memmove(&out[at + 1], &out[at], (n - 1 - at) * sizeof(*out));
	out[at] = *r;
	return n;
}

size_t why_find(const struct why *w, struct str call_id, bool failed,
		struct why_record *out, size_t max)
{
	size_t n = 0;

	for (int c = 0; max && c < WHY_CLASSES; c++) {
		const struct list *head = &w->blocks[c];

		/* The newest first: most of the others need not be read. */
		for (struct list *it = head->prev; it != head; it = it->prev) {
			struct block *b = container_of(it, struct block, link);
			struct why_record r;

			if (n == max && out[n - 1].serial > b->last)
				break;
			for (size_t at = 0; at < b->n;) {
				at += read_record(b, at, &r);
				r.class = (enum why_class)c;
				if ((failed && !r.failed) ||
				    (call_id.p && !why_is_of(&r, call_id)))
					continue;
				n = why_add(out, n, max, &r);
			}
		}
	}
	return n;
}

size_t why_bytes(const struct why *w)
{
	size_t n = 0;

	for (size_t i = 0; i < WHY_CLASSES; i++)
		n += w->n[i];
	return n * WHY_BLOCK;
}
