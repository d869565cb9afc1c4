#include "proxy/load.h"

#include <assert.h>
#include <string.h>

/* ---- resources ---- */

static struct resource *by_name(struct load *l, struct str name)
{
	for (unsigned i = 0; i < LOAD_RESOURCES; i++)
		if (l->resource[i].name[0] &&
		    str_eq(str_from(l->resource[i].name), name))
			return &l->resource[i];
	return NULL;
}

/* One that is not declared: never used, else idle, else the least used. */
static struct resource *spare(struct load *l)
{
	struct resource *best = NULL;

	for (unsigned i = 0; i < LOAD_RESOURCES; i++) {
		struct resource *r = &l->resource[i];

		if (r->declared)
			continue;
		if (!r->name[0])
			return r;
		if (!best || atomic_load(&r->used) < atomic_load(&best->used))
			best = r;
	}
	return best;
}

static bool is_declared(const struct load *l, const char names[][LOAD_NAME],
			unsigned n)
{
	unsigned declared = 0;

	for (unsigned i = 0; i < LOAD_RESOURCES; i++)
		declared += l->resource[i].declared;
	for (unsigned i = 0; i < n; i++)
		if (load_find(l, str_from(names[i])) < 0)
			return false;
	return declared == n;
}

void load_declare(struct load *l, const char names[][LOAD_NAME], unsigned n)
{
	assert(n <= LOAD_RESOURCES);
	if (is_declared(l, names, n))
		return; /* another worker did it, and may read it */
	for (unsigned i = 0; i < LOAD_RESOURCES; i++)
		l->resource[i].declared = false;
	for (unsigned i = 0; i < n; i++) {
		struct resource *r = by_name(l, str_from(names[i]));

		if (r)
			r->declared = true;
	}
	for (unsigned i = 0; i < n; i++) {
		struct resource *r;

		if (load_find(l, str_from(names[i])) >= 0)
			continue;
		r = spare(l);
		memcpy(r->name, names[i], LOAD_NAME);
		r->declared = true;
	}
}

int load_find(const struct load *l, struct str name)
{
	for (int i = 0; i < LOAD_RESOURCES; i++)
		if (l->resource[i].declared &&
		    str_eq(str_from(l->resource[i].name), name))
			return i;
	return -1;
}

int64_t load_used(const struct load *l, struct str name)
{
	int i = load_find(l, name);

	return i < 0 ? 0 : atomic_load(&l->resource[i].used);
}

load_units load_units_set(load_units u, int resource, unsigned n)
{
	assert(n <= LOAD_MAX_UNITS);
	return u | (load_units)n << (8 * resource);
}

static void add(struct load *l, load_units u, int sign)
{
	for (unsigned i = 0; u; i++, u >>= 8)
		if (u & 0xff)
			atomic_fetch_add(&l->resource[i].used,
					 sign * (int64_t)(u & 0xff));
}

void load_take(struct load *l, load_units u)
{
	add(l, u, 1);
}

void load_give(struct load *l, load_units u)
{
	add(l, u, -1);
}

/* ---- the rate ---- */

enum { MAX_COUNT = UINT16_MAX }; /* a second; more is not told apart */

/* 32 bits: the number of the second; 16: the one before it; 16: this one. */
struct window {
	uint32_t second;
	uint16_t before, in_it;
};

static struct window unpack(uint64_t v)
{
	return (struct window){(uint32_t)(v >> 32), (uint16_t)(v >> 16),
			       (uint16_t)v};
}

static uint64_t pack(struct window w)
{
	return (uint64_t)w.second << 32 | (uint64_t)w.before << 16 | w.in_it;
}

/* The window that holds this second. Workers may see the time a moment apart:
 * an older second counts as the newest. */
static struct window moved_to(struct window w, uint32_t second)
{
	int32_t ahead = (int32_t)(second - w.second);

	if (ahead <= 0)
		return w;
	return (struct window){second, ahead == 1 ? w.in_it : 0, 0};
}

static uint32_t second_of(tick_t now)
{
	return (uint32_t)(now.us / SECONDS(1));
}

void load_begin(struct load *l, tick_t now)
{
	uint64_t old = atomic_load(&l->rate);
	struct window w;

	do {
		w = moved_to(unpack(old), second_of(now));
		if (w.in_it < MAX_COUNT)
			w.in_it++;
	} while (!atomic_compare_exchange_weak(&l->rate, &old, pack(w)));
}

double load_rate(const struct load *l, tick_t now)
{
	struct window w =
	    moved_to(unpack(atomic_load(&l->rate)), second_of(now));
	double gone = w.second == second_of(now)
			  ? (double)(now.us % SECONDS(1)) / (double)SECONDS(1)
			  : 0;

	return w.in_it + w.before * (1 - gone);
}
