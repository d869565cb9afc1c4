#include "util/tokens.h"

void tokens_init(struct tokens *t, int64_t rate, int64_t burst)
{
	*t = (struct tokens){.rate = rate, .burst = burst, .left = burst};
}

static void fill(struct tokens *t, tick_t now)
{
	int64_t us = tick_diff(now, t->filled);
	/* More than what fills it is as good, and does not overflow. */
	int64_t full = t->burst * SECONDS(1) / t->rate + 1;
	int64_t gained = (us < full ? us : full) * t->rate / SECONDS(1);

	if (gained <= 0)
		return;
	/* The part of one that was gained besides is not lost. */
	t->filled = us < full
			? tick_add(t->filled, gained * SECONDS(1) / t->rate)
			: now;
	t->left += gained;
	if (t->left > t->burst)
		t->left = t->burst;
}

bool tokens_take(struct tokens *t, int64_t n, tick_t now)
{
	fill(t, now);
	if (t->left < n)
		return false;
	t->left -= n;
	return true;
}
