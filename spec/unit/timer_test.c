#include "support/unit.h"
#include "util/timer.h"

#include <stdlib.h>
#include <string.h>

#include "util/rand.h"

static struct now at(int64_t us)
{
	return (struct now){.mono = {us}, .wall = {us / 2}};
}

/* ---- by hand ---- */

struct probe {
	struct timer timer;
	int fired;
	int *clock; /* counts firings of all probes */
	int order;
	struct now when;
};

static void probe_fire(struct timer *t, struct now now)
{
	struct probe *p = container_of(t, struct probe, timer);

	p->fired++;
	p->when = now;
	if (p->clock)
		p->order = ++*p->clock;
}

static void probe_init(struct probe *p, int *clock)
{
	*p = (struct probe){.clock = clock};
	timer_init(&p->timer, probe_fire);
}

static struct timers *make(struct mem *m, int64_t start)
{
	struct timers *ts;

	mem_init(m);
	ts = timers_new(m, (tick_t){start});
	CHECK(ts != NULL);
	return ts;
}

static void done(struct mem *m, struct timers *ts)
{
	timers_free(&ts);
	CHECK(!ts);
	timers_free(&ts);
	CHECK_INT(m->bytes, 0);
}

TEST(fires_once_at_its_millisecond)
{
	struct mem m;
	struct timers *ts = make(&m, 0);
	struct probe p;

	probe_init(&p, NULL);
	CHECK(!timer_armed(&p.timer));
	CHECK_INT(timers_next(ts).us, INT64_MAX);
	timer_arm(ts, &p.timer, (tick_t){4001});
	CHECK(timer_armed(&p.timer));
	CHECK_INT(p.timer.deadline.us, 4001);
	CHECK_INT(timers_count(ts), 1);
	CHECK_INT(timers_next(ts).us, 5000);
	timers_run(ts, at(4999));
	CHECK_INT(p.fired, 0);
	timers_run(ts, at(5000));
	CHECK_INT(p.fired, 1);
	CHECK_INT(p.when.mono.us, 5000);
	CHECK_INT(p.when.wall.us, 2500);
	CHECK(!timer_armed(&p.timer));
	CHECK_INT(timers_count(ts), 0);
	timers_run(ts, at(900000000));
	CHECK_INT(p.fired, 1);
	done(&m, ts);
}

TEST(stop_and_rearm)
{
	struct mem m;
	struct timers *ts = make(&m, 0);
	struct probe p;

	probe_init(&p, NULL);
	timer_stop(ts, &p.timer);
	timer_arm(ts, &p.timer, (tick_t){MILLIS(5)});
	timer_arm(ts, &p.timer, (tick_t){MILLIS(700)});
	CHECK_INT(timers_count(ts), 1);
	CHECK_INT(timers_next(ts).us, MILLIS(700));
	timers_run(ts, at(MILLIS(699)));
	CHECK_INT(p.fired, 0);
	timer_stop(ts, &p.timer);
	timer_stop(ts, &p.timer);
	CHECK(!timer_armed(&p.timer));
	CHECK_INT(timers_next(ts).us, INT64_MAX);
	timers_run(ts, at(MILLIS(800)));
	CHECK_INT(p.fired, 0);
	done(&m, ts);
}

TEST(past_deadlines_fire_at_the_next_run)
{
	struct mem m;
	struct timers *ts = make(&m, 5300);
	struct probe p, q;

	probe_init(&p, NULL);
	probe_init(&q, NULL);
	timer_arm(ts, &p.timer, (tick_t){-99999999});
	timer_arm(ts, &q.timer, (tick_t){5300}); /* now, within a millisecond */
	CHECK_INT(timers_next(ts).us, 5300);
	timers_run(ts, at(5300));
	CHECK_INT(p.fired, 1);
	CHECK_INT(q.fired, 1);
	timers_run(ts, at(5900));
	timer_arm(ts, &p.timer, (tick_t){5301});
	CHECK_INT(timers_next(ts).us, 5900);
	timers_run(ts, at(5900));
	CHECK_INT(p.fired, 2);
	done(&m, ts);
}

TEST(equal_milliseconds_in_order_of_arming)
{
	enum { N = 9 };
	struct mem m;
	struct timers *ts = make(&m, 0);
	struct probe p[N];
	int clock = 0;
	int64_t now = 0;

	/* Armed for one millisecond from ever nearer: each begins on another
	 * level or slot. */
	for (int i = 0; i < N; i++) {
		probe_init(&p[i], &clock);
		timer_arm(ts, &p[i].timer, (tick_t){SECONDS(100000) - i});
		now = SECONDS(100000) - (SECONDS(100000) - now) / 9;
		timers_run(ts, at(now));
	}
	CHECK_INT(clock, 0);
	timer_arm(ts, &p[3].timer, p[3].timer.deadline);
	timers_run(ts, at(SECONDS(100000)));
	CHECK_INT(clock, N);
	for (int i = 0; i < N; i++)
		CHECK_INT(p[i].order, i < 3 ? i + 1 : i == 3 ? N : i);
	done(&m, ts);
}

TEST(a_late_run_fires_by_deadline)
{
	struct mem m;
	struct timers *ts = make(&m, 123456);
	struct probe p[4];
	int clock = 0;
	static const int64_t after[] = {SECONDS(40), MILLIS(3), SECONDS(90000),
					MILLIS(400)};
	static const int order[] = {3, 1, 4, 2};

	for (int i = 0; i < 4; i++) {
		probe_init(&p[i], &clock);
		timer_arm(ts, &p[i].timer, (tick_t){123456 + after[i]});
	}
	timers_run(ts, at(SECONDS(99999)));
	for (int i = 0; i < 4; i++)
		CHECK_INT(p[i].order, order[i]);
	done(&m, ts);
}

TEST(the_end_of_time)
{
	struct mem m;
	struct timers *ts = make(&m, INT64_MIN);
	struct probe never, far, low;

	probe_init(&never, NULL);
	probe_init(&far, NULL);
	probe_init(&low, NULL);
	timer_arm(ts, &never.timer, TICK_NEVER);
	CHECK_INT(timers_next(ts).us, INT64_MAX);
	timer_arm(ts, &far.timer, (tick_t){INT64_MAX / 1000 * 1000});
	timer_arm(ts, &low.timer, (tick_t){INT64_MIN});
	CHECK_INT(timers_next(ts).us, INT64_MIN);
	timers_run(ts, at(INT64_MIN));
	CHECK_INT(low.fired, 1);
	CHECK_INT(timers_next(ts).us, INT64_MAX / 1000 * 1000);
	timers_run(ts, at(INT64_MAX));
	CHECK_INT(far.fired, 1);
	CHECK_INT(never.fired, 0);
	CHECK(timer_armed(&never.timer));
	done(&m, ts);
}

TEST(time_does_not_go_back)
{
	struct mem m;
	struct timers *ts = make(&m, 0);
	struct probe p;

	probe_init(&p, NULL);
	timers_run(ts, at(SECONDS(10)));
	timer_arm(ts, &p.timer, (tick_t){SECONDS(5)});
	timers_run(ts, at(SECONDS(9)));
	CHECK_INT(p.fired, 0);
	CHECK_INT(timers_next(ts).us, SECONDS(10));
	timers_run(ts, at(SECONDS(10)));
	CHECK_INT(p.fired, 1);
	done(&m, ts);
}

TEST(no_memory)
{
	struct mem m;
	struct timers *ts;

	mem_init(&m);
	m.fail_at = 1;
	ts = timers_new(&m, (tick_t){0});
	CHECK(!ts);
	timers_free(&ts);
	CHECK_INT(m.blocks, 0);
}

/* ---- against a model: an array that is searched ---- */

enum { N = 250 };

struct item {
	struct timer timer;
	struct model *model;
	bool armed;
	int64_t due; /* milliseconds */
	uint64_t seq;
};

struct model {
	struct timers *ts;
	struct rand rand;
	struct item *item[N];
	int64_t told;    /* microseconds */
	int64_t present; /* milliseconds */
	int64_t target;  /* of the run */
	uint64_t seq;
	size_t armed, fired;
	int allowance; /* further armings for no later than now in this run */
};

static int64_t floor_ms(int64_t us)
{
	return us >= 0 ? us / 1000 : -((-us + 999) / 1000);
}

static int64_t ceil_ms(int64_t us)
{
	return -floor_ms(-us);
}

static struct item *model_first(struct model *w)
{
	struct item *best = NULL;

	for (int i = 0; i < N; i++) {
		struct item *it = w->item[i];

		if (it->armed &&
		    (!best || it->due < best->due ||
		     (it->due == best->due && it->seq < best->seq)))
			best = it;
	}
	return best;
}

static void model_stop(struct model *w, struct item *it)
{
	w->armed -= it->armed;
	it->armed = false;
	timer_stop(w->ts, &it->timer);
}

static void model_arm(struct model *w, struct item *it, int64_t deadline)
{
	model_stop(w, it);
	it->armed = true;
	it->seq = ++w->seq;
	it->due = ceil_ms(deadline);
	if (deadline <= w->told && it->due > floor_ms(w->told))
		it->due = floor_ms(w->told);
	if (it->due < w->present)
		it->due = w->present;
	w->armed++;
	timer_arm(w->ts, &it->timer, (tick_t){deadline});
}

static void model_fire(struct timer *t, struct now now);

/* The memory of a timer goes, as when a transaction ends. */
static void model_replace(struct model *w, int i)
{
	if (w->item[i]) {
		model_stop(w, w->item[i]);
		free(w->item[i]);
	}
	w->item[i] = malloc(sizeof(struct item));
	memset(w->item[i], 0xa5, sizeof(struct item));
	timer_init(&w->item[i]->timer, model_fire);
	w->item[i]->model = w;
	w->item[i]->armed = false;
}

/* A span of random magnitude, up to 140 years. */
static int64_t span(struct model *w)
{
	uint64_t bits = rand_below(&w->rand, 53);

	return (int64_t)(rand_u64(&w->rand) & (((uint64_t)1 << bits) - 1));
}

static int64_t some_deadline(struct model *w)
{
	int64_t t = w->told;

	switch (rand_below(&w->rand, 8)) {
	case 0: /* the millisecond of another */
		t = w->item[rand_below(&w->rand, N)]->timer.deadline.us;
		return t - (int64_t)rand_below(&w->rand, 3);
	case 1: /* near a boundary of a level */
		t += span(w);
		t -= t % (256000LL << 8 * rand_below(&w->rand, 3));
		return t + (int64_t)rand_below(&w->rand, 4001) - 2000;
	case 2:
		return t + SECONDS(32);
	case 3:
		return t - span(w);
	default:
		return t + span(w);
	}
}

static void act(struct model *w)
{
	int i = (int)rand_below(&w->rand, N);
	int64_t deadline;

	switch (rand_below(&w->rand, 6)) {
	case 0:
		model_replace(w, i);
		w->item[i]->timer.deadline.us = w->told;
		break;
	case 1:
	case 2:
		model_stop(w, w->item[i]);
		break;
	default:
		deadline = some_deadline(w);
		if (floor_ms(deadline) <= w->target && w->allowance-- <= 0)
			break;
		model_arm(w, w->item[i], deadline);
	}
}

static void model_fire(struct timer *t, struct now now)
{
	struct item *it = container_of(t, struct item, timer);
	struct model *w = it->model;

	CHECK(it->armed);
	CHECK(it == model_first(w));
	CHECK(it->due <= w->target);
	CHECK(!timer_armed(t));
	CHECK_INT(now.mono.us, w->told);
	it->armed = false;
	w->armed--;
	w->fired++;
	w->present = it->due;
	for (uint64_t n = rand_below(&w->rand, 4); n > 0; n--)
		act(w);
}

static void model_run(struct model *w, int64_t now)
{
	struct item *first;

	w->told = now;
	w->target = floor_ms(now);
	w->allowance = 20;
	timers_run(w->ts, at(now));
	w->present = w->target;
	first = model_first(w);
	CHECK(!first || first->due > w->target);
}

static void check_next(struct model *w)
{
	struct item *first = model_first(w);
	int64_t want = INT64_MAX;

	if (first)
		want = first->due * 1000;
	if (want < w->told)
		want = w->told;
	CHECK_INT(timers_next(w->ts).us, want);
	CHECK_INT(timers_count(w->ts), w->armed);
}

static int64_t some_time(struct model *w)
{
	int64_t next = timers_next(w->ts).us;

	switch (rand_below(&w->rand, 8)) {
	case 0:
		return w->told;
	case 1: /* something fires at exactly that time, and not before */
	case 2:
	case 3:
		if (next == INT64_MAX)
			return w->told;
		if (next > w->told) {
			size_t fired = w->fired;

			model_run(w, next - 1);
			CHECK_INT(w->fired, fired);
		}
		return next;
	case 4:
		return rand_below(&w->rand, 50) ? w->told + 999
						: w->told + span(w);
	default:
		return w->told + (int64_t)rand_below(&w->rand, 300000);
	}
}

static size_t against_model(uint64_t seed, int64_t start, int ops)
{
	struct model w = {.told = start, .present = floor_ms(start)};
	struct mem m;

	w.ts = make(&m, start);
	w.target = w.present;
	rand_seed(&w.rand, seed);
	for (int i = 0; i < N; i++) {
		model_replace(&w, i);
		w.item[i]->timer.deadline.us = start;
	}
	for (int op = 0; op < ops; op++) {
		w.allowance = 1000;
		if (rand_below(&w.rand, 3))
			act(&w);
		else
			model_run(&w, some_time(&w));
		check_next(&w);
		/* Keep the clock where a span can be added to it. */
		CHECK(w.told < INT64_MAX / 2);
	}
	for (int i = 0; i < N; i++)
		free(w.item[i]);
	done(&m, w.ts);
	return w.fired;
}

TEST(against_a_model)
{
	static const int64_t start[] = {0,
					-1,
					65535999,
					-SECONDS(70),
					SECONDS(1795212000),
					-SECONDS(1000000000000)};
	size_t fired = 0;

	for (uint64_t i = 0; i < 12; i++)
		fired += against_model(i + 1, start[i % 6], 10000);
	CHECK(fired > 10000);
}

/* ---- many ---- */

/* Where the wheel looked at every millisecond, or at every timer for each
 * timers_next, this would not end. */
TEST(many_timers_and_long_jumps)
{
	enum { MANY = 500000 };
	struct probe *p = malloc(MANY * sizeof(*p));
	struct mem m;
	struct timers *ts = make(&m, 0);
	struct rand r;
	int clock = 0;

	rand_seed(&r, 3);
	for (int i = 0; i < MANY; i++) {
		int64_t after = (int64_t)rand_below(&r, 32000000);

		probe_init(&p[i], &clock);
		timer_arm(ts, &p[i].timer, (tick_t){SECONDS(3600) + after});
	}
	CHECK_INT(timers_count(ts), MANY);
	for (int i = 0; i < 200000; i++) {
		struct probe near;

		probe_init(&near, NULL);
		timer_arm(ts, &near.timer, (tick_t){MILLIS(500)});
		CHECK_INT(timers_next(ts).us, MILLIS(500));
		timer_stop(ts, &near.timer);
		CHECK(timers_next(ts).us >= SECONDS(3600));
	}
	timers_run(ts, at(SECONDS(3600) + 16000000));
	CHECK(clock > MANY / 2 - 5000 && clock < MANY / 2 + 5000);
	timers_run(ts, at(SECONDS(1000000000)));
	CHECK_INT(clock, MANY);
	CHECK_INT(timers_count(ts), 0);
	free(p);
	done(&m, ts);
}
