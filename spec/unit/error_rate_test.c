#include "lua/error_rate.h"

#include <stdio.h>

#include "support/unit.h"

static tick_t at(double s)
{
	return (tick_t){(int64_t)(s * 1e6)};
}

/* How many were counted before it; -1: it is not written. */
static int take(struct error_rate *r, const char *message, double s)
{
	uint64_t n = 0;

	return error_rate_take(r, "route", str_from(message), at(s), &n)
		   ? (int)n
		   : -1;
}

TEST(the_first_ones_of_a_place_are_written)
{
	struct error_rate r;
	uint64_t n;

	error_rate_init(&r);
	for (int i = 0; i < ERRORS_SHOWN; i++)
		CHECK_INT(take(&r, "route.lua:22: bad", 100), 0);
	/* whatever the message says beyond the line */
	for (int i = 0; i < 41; i++)
		CHECK_INT(take(&r, "route.lua:22: other", 101 + i), -1);
	/* other places, and other functions, are others */
	CHECK_INT(take(&r, "route.lua:23: bad", 101), 0);
	CHECK(error_rate_take(&r, "timer", STR("route.lua:22: bad"), at(101),
			      &n));
	/* the next minute */
	CHECK_INT(take(&r, "route.lua:22: bad", 159.9), -1);
	CHECK_INT(take(&r, "route.lua:22: bad", 160), 42);
	CHECK_INT(take(&r, "route.lua:22: bad", 160), 0);
	CHECK(!error_rate_next(&r, at(1000), &n));
}

TEST(what_is_no_line)
{
	struct error_rate r;

	error_rate_init(&r);
	for (int i = 0; i < ERRORS_SHOWN; i++)
		CHECK_INT(take(&r, "a: b:c :1 x", 0), 0);
	CHECK_INT(take(&r, "a: b:c :1 x", 0), -1);
	CHECK_INT(take(&r, "a: b:c :1 y", 0), 0);
	CHECK_INT(take(&r, "", 0), 0);
	CHECK_INT(take(&r, ":", 0), 0);
	CHECK_INT(take(&r, "x:7:", 0), 0);
}

TEST(what_nothing_follows_is_told_when_the_minute_is_over)
{
	struct error_rate r;
	const struct error_place *p;
	uint64_t n = 0;

	error_rate_init(&r);
	CHECK(!error_rate_next(&r, at(1000), &n));
	for (int i = 0; i < ERRORS_SHOWN + 3; i++) {
		take(&r, "route.lua:1: x", 100);
		take(&r, "route.lua:2: y", 110);
	}
	CHECK_INT(r.due.us, at(160).us);
	CHECK(!error_rate_next(&r, at(159), &n));
	p = error_rate_next(&r, at(160), &n);
	CHECK(p != NULL);
	CHECK_INT(n, 3);
	CHECK_STR(((struct str){p->text, p->n}), "route.lua:1: x");
	CHECK_STR(str_from(p->what), "route");
	CHECK(!error_rate_next(&r, at(160), &n));
	CHECK_INT(r.due.us, at(170).us);
	p = error_rate_next(&r, at(171), &n);
	CHECK(p != NULL && n == 3);
	CHECK(!error_rate_next(&r, at(171), &n));
	CHECK_INT(r.due.us, TICK_NEVER.us);
}

TEST(many_places_push_out_the_oldest)
{
	struct error_rate r;
	char text[32];

	error_rate_init(&r);
	for (int i = 0; i <= ERROR_PLACES; i++) {
		snprintf(text, sizeof(text), "route.lua:%d: x", i);
		for (int k = 0; k < ERRORS_SHOWN; k++)
			CHECK_INT(take(&r, text, i), 0);
		CHECK_INT(take(&r, text, i), -1);
	}
	/* forgotten: written again */
	CHECK_INT(take(&r, "route.lua:0: x", 40), 0);
	CHECK_INT(take(&r, "route.lua:32: x", 40), -1);
}

TEST(a_long_message)
{
	static char text[1000];
	struct error_rate r;
	uint64_t n;

	error_rate_init(&r);
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = 'x';
	for (int i = 0; i <= ERRORS_SHOWN; i++)
		take(&r, text, 0);
	CHECK_INT(error_rate_next(&r, at(60), &n)->n, ERROR_TEXT);
}
