#include "support/unit.h"
#include "util/tokens.h"

static tick_t at(int64_t us)
{
	return (tick_t){us};
}

TEST(tokens_are_there_at_the_beginning_and_come_back)
{
	struct tokens t;

	tokens_init(&t, 10, 3);
	for (int i = 0; i < 3; i++)
		CHECK(tokens_take(&t, 1, at(0)));
	CHECK(!tokens_take(&t, 1, at(99999)));
	CHECK(tokens_take(&t, 1, at(100000)));
	CHECK(!tokens_take(&t, 1, at(100000)));
	CHECK(tokens_take(&t, 3, at(500000)));
}

TEST(tokens_are_not_lost_by_looking_often)
{
	struct tokens t;
	int taken = 0;

	tokens_init(&t, 10, 3);
	CHECK(tokens_take(&t, 3, at(0)));
	for (int64_t us = 0; us < SECONDS(1); us += 7)
		taken += tokens_take(&t, 1, at(us));
	CHECK_INT(taken, 9);
}

TEST(tokens_are_not_lost_in_parts)
{
	struct tokens t;
	int taken = 0;

	tokens_init(&t, 10, 3);
	CHECK(tokens_take(&t, 3, at(0)));
	/* one and a half each time */
	for (int64_t us = 0; us <= SECONDS(3); us += 150000) {
		taken += tokens_take(&t, 1, at(us));
		taken += tokens_take(&t, 1, at(us));
	}
	CHECK_INT(taken, 30);
}

TEST(tokens_are_all_or_none_and_never_more_than_fit)
{
	struct tokens t;

	tokens_init(&t, 10, 3);
	CHECK(!tokens_take(&t, 4, at(0)));
	CHECK(tokens_take(&t, 1, at(0)));
	/* also after a time whose product would not fit */
	CHECK(!tokens_take(&t, 4, at(INT64_MAX / 2)));
	CHECK(tokens_take(&t, 3, at(INT64_MAX / 2)));
}
