#include "util/timer.h"

#include <assert.h>
#include <stdint.h>

/*
 * Level k has slots of 256^k milliseconds. With "page" for 256 neighbouring
 * slots of a level, a timer lies in the lowest level whose present or next page
 * it falls into; a level is therefore a ring of two pages. When the present
 * enters a page, the slot one level up that covers the page after it is moved
 * down. So
 *  - where a timer lies follows from when it is due and from the present alone:
 *    all timers of one millisecond are in one list, in the order of arming;
 *  - everything in a level is due before everything in the levels above;
 *  - a slot is never wider than the time until it begins, and what is due
 *    within 256^(k+1) milliseconds is in level k or below.
 */
enum {
	SHIFT = 8,
	RING = 2 << SHIFT,
	WORDS = RING / 64,
	LEVELS = 7, /* 56 bits: every int64_t of microseconds */
};

/* Milliseconds are counted from here, so that they are never negative. */
#define MS_BIAS ((int64_t)1 << 54)

struct level {
	size_t in_use;        /* slots that are not empty */
	uint64_t used[WORDS]; /* which */
	uint64_t min[RING];   /* earliest due in each; 0: search for it */
	struct list slot[RING];
};

struct timers {
	struct mem *mem;
	uint64_t present; /* no armed timer is due before this millisecond */
	tick_t told;      /* the latest time we know of */
	size_t armed;
	bool running;
	struct level level[LEVELS];
};

static uint64_t ms_floor(tick_t t)
{
	return (uint64_t)(t.us / 1000 - (t.us % 1000 < 0) + MS_BIAS);
}

static uint64_t ms_ceil(tick_t t)
{
	return (uint64_t)(t.us / 1000 + (t.us % 1000 > 0) + MS_BIAS);
}

static tick_t ms_tick(uint64_t ms)
{
	int64_t n = (int64_t)ms - MS_BIAS;

	if (n > INT64_MAX / 1000)
		return TICK_NEVER;
	if (n < INT64_MIN / 1000)
		return (tick_t){INT64_MIN};
	return (tick_t){n * 1000};
}

struct timers *timers_new(struct mem *m, tick_t start)
{
	struct timers *ts = mem_zalloc(m, sizeof(*ts));

	if (!ts)
		return NULL;
	ts->mem = m;
	ts->present = ms_floor(start);
	ts->told = start;
	for (unsigned k = 0; k < LEVELS; k++)
		for (size_t i = 0; i < RING; i++)
			list_init(&ts->level[k].slot[i]);
	return ts;
}

void timers_free(struct timers **tsp)
{
	struct timers *ts = *tsp;

	if (!ts)
		return;
	assert(!ts->running);
	mem_free(ts->mem, ts);
	*tsp = NULL;
}

void timer_init(struct timer *t, timer_fn *fn)
{
	*t = (struct timer){.fn = fn};
}

bool timer_armed(const struct timer *t)
{
	return list_linked(&t->link);
}

static unsigned level_of(const struct timers *ts, uint64_t due)
{
	uint64_t page = due >> SHIFT, present = ts->present >> SHIFT;
	unsigned k = 0;

	while (page > present + 1) {
		page >>= SHIFT;
		present >>= SHIFT;
		k++;
	}
	assert(k < LEVELS);
	return k;
}

static size_t slot_of(unsigned k, uint64_t due)
{
	return (size_t)(due >> SHIFT * k) % RING;
}

static void slot_used(struct level *l, size_t i)
{
	l->used[i / 64] |= (uint64_t)1 << i % 64;
	l->in_use++;
}

static void slot_emptied(struct level *l, size_t i)
{
	l->used[i / 64] &= ~((uint64_t)1 << i % 64);
	l->in_use--;
}

static void insert(struct timers *ts, struct timer *t)
{
	unsigned k = level_of(ts, t->due);
	struct level *l = &ts->level[k];
	size_t i = slot_of(k, t->due);

	if (list_empty(&l->slot[i])) {
		slot_used(l, i);
		l->min[i] = t->due;
	} else if (t->due < l->min[i]) {
		l->min[i] = t->due;
	}
	list_append(&l->slot[i], &t->link);
}

void timer_arm(struct timers *ts, struct timer *t, tick_t deadline)
{
	assert(t->fn);
	timer_stop(ts, t);
	t->deadline = deadline;
	t->due = ms_ceil(deadline);
	/* Not after the time we know of: due now, although the millisecond is
	 * not full yet. */
	if (!tick_before(ts->told, deadline) && t->due > ms_floor(ts->told))
		t->due = ms_floor(ts->told);
	if (t->due < ts->present)
		t->due = ts->present;
	insert(ts, t);
	ts->armed++;
}

void timer_stop(struct timers *ts, struct timer *t)
{
	struct level *l;
	unsigned k;
	size_t i;

	if (!timer_armed(t))
		return;
	k = level_of(ts, t->due);
	l = &ts->level[k];
	i = slot_of(k, t->due);
	list_remove(&t->link);
	if (list_empty(&l->slot[i]))
		slot_emptied(l, i);
	else if (l->min[i] == t->due)
		l->min[i] = 0;
	ts->armed--;
}

/* How many slots the first used one is away from slot `from`. */
static size_t distance(const struct level *l, size_t from)
{
	size_t w = from / 64;
	uint64_t bits = l->used[w] >> from % 64;

	assert(l->in_use);
	if (bits)
		return (size_t)__builtin_ctzll(bits);
	do {
		w = (w + 1) % WORDS;
		bits = l->used[w];
	} while (!bits);
	return (w * 64 + (size_t)__builtin_ctzll(bits) - from) % RING;
}

/* The first used slot of a level that is not empty, as its start divided by the
 * width of a slot. */
static uint64_t first_slot(const struct timers *ts, unsigned k)
{
	uint64_t present = ts->present >> SHIFT * k;

	return present + distance(&ts->level[k], (size_t)(present % RING));
}

/* When the slot has to be moved down: at the start of the slot before it. */
static uint64_t move_time(unsigned k, uint64_t slot)
{
	return (slot - 1) << SHIFT * k;
}

static void move_down(struct timers *ts, unsigned k, uint64_t slot)
{
	struct level *l = &ts->level[k];
	size_t i = (size_t)(slot % RING);
	struct list *link;

	while ((link = list_first(&l->slot[i]))) {
		list_remove(link);
		insert(ts, container_of(link, struct timer, link));
	}
	slot_emptied(l, i);
}

/* Moves the present on to the next time at which there is something to do, but
 * not beyond `target`. False when there is nothing until then. */
static bool step(struct timers *ts, uint64_t target)
{
	uint64_t slot[LEVELS], at[LEVELS], next = UINT64_MAX;

	for (unsigned k = 0; k < LEVELS; k++) {
		at[k] = UINT64_MAX;
		if (!ts->level[k].in_use)
			continue;
		slot[k] = first_slot(ts, k);
		at[k] = k ? move_time(k, slot[k]) : slot[k];
		if (at[k] < next)
			next = at[k];
	}
	if (next > target) {
		ts->present = target;
		return false;
	}
	ts->present = next;
	for (unsigned k = LEVELS - 1; k > 0; k--)
		if (at[k] == next)
			move_down(ts, k, slot[k]);
	return true;
}

/* The functions may arm and stop what they like, so that the list is looked at
 * afresh for every timer. */
static void fire_present(struct timers *ts, struct now now)
{
	const struct list *slot = &ts->level[0].slot[slot_of(0, ts->present)];
	struct list *link;

	while ((link = list_first(slot))) {
		struct timer *t = container_of(link, struct timer, link);

		timer_stop(ts, t);
		t->fn(t, now);
	}
}

void timers_run(struct timers *ts, struct now now)
{
	uint64_t target = ms_floor(now.mono);

	assert(!ts->running);
	if (target < ts->present)
		return;
	if (tick_before(ts->told, now.mono))
		ts->told = now.mono;
	ts->running = true;
	while (step(ts, target))
		fire_present(ts, now);
	ts->running = false;
}

static uint64_t earliest(const struct list *slot)
{
	uint64_t min = UINT64_MAX;

	list_each (link, slot) {
		const struct timer *t = container_of(link, struct timer, link);

		if (t->due < min)
			min = t->due;
	}
	return min;
}

/* The earliest due time in the first used slot of level k. What a search found
 * is kept, which a caller cannot see: the slot is searched again only after
 * its earliest timer was stopped. */
static uint64_t first_due(const struct timers *ts, unsigned k)
{
	uint64_t slot = first_slot(ts, k);
	const struct level *l = &ts->level[k];
	uint64_t *min = (uint64_t *)&l->min[slot % RING];

	if (!k)
		return slot;
	if (!*min)
		*min = earliest(&l->slot[slot % RING]);
	return *min;
}

tick_t timers_next(const struct timers *ts)
{
	unsigned k = 0;
	tick_t next;

	if (!ts->armed)
		return TICK_NEVER;
	while (!ts->level[k].in_use)
		k++;
	next = ms_tick(first_due(ts, k));
	return tick_before(next, ts->told) ? ts->told : next;
}

size_t timers_count(const struct timers *ts)
{
	return ts->armed;
}
