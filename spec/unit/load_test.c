#include "support/unit.h"
#include "proxy/load.h"

#include <string.h>

static tick_t at(double seconds)
{
	return (tick_t){(int64_t)(seconds * 1e6)};
}

static void declare(struct load *l, const char *a, const char *b)
{
	char names[2][LOAD_NAME] = {{0}};

	strcpy(names[0], a);
	if (b)
		strcpy(names[1], b);
	load_declare(l, names, b ? 2 : 1);
}

static load_units one(const struct load *l, const char *name, unsigned n)
{
	return load_units_set(0, load_find(l, str_from(name)), n);
}

TEST(a_rate_is_what_began_within_the_last_second)
{
	struct load l = {0};

	CHECK(load_rate(&l, at(5)) == 0);
	for (int i = 0; i < 10; i++)
		load_begin(&l, at(100 + i / 10.0));
	CHECK(load_rate(&l, at(100.999)) == 10);
	/* evenly spread: half of them are older than a second */
	CHECK(load_rate(&l, at(101.5)) == 5);
	for (int i = 0; i < 4; i++)
		load_begin(&l, at(101.5));
	CHECK(load_rate(&l, at(101.5)) == 9);
	CHECK(load_rate(&l, at(102)) == 4);
	CHECK(load_rate(&l, at(102.75)) == 1);
	CHECK(load_rate(&l, at(103)) == 0);
}

TEST(a_worker_that_is_a_moment_behind_does_not_lose_the_window)
{
	struct load l = {0};

	load_begin(&l, at(9.99));
	load_begin(&l, at(10.0));
	load_begin(&l, at(9.999));
	CHECK(load_rate(&l, at(10.0)) == 3);
	CHECK(load_rate(&l, at(9.999)) == 3);
}

TEST(a_rate_beyond_what_is_counted_stays_there)
{
	struct load l = {0};

	for (int i = 0; i < 70000; i++)
		load_begin(&l, at(1));
	CHECK(load_rate(&l, at(1)) == UINT16_MAX);
}

TEST(resources_are_counted_by_name)
{
	struct load l = {0};
	load_units u;

	declare(&l, "pstn", "conf");
	u = load_units_set(one(&l, "pstn", 2), load_find(&l, STR("conf")), 255);
	load_take(&l, u);
	load_take(&l, one(&l, "pstn", 1));
	CHECK_INT(load_used(&l, STR("pstn")), 3);
	CHECK_INT(load_used(&l, STR("conf")), 255);
	CHECK_INT(load_used(&l, STR("fax")), 0);
	CHECK_INT(load_find(&l, STR("fax")), -1);
	CHECK_INT(load_find(&l, STR("")), -1);
	load_give(&l, u);
	CHECK_INT(load_used(&l, STR("pstn")), 1);
	CHECK_INT(load_used(&l, STR("conf")), 0);
}

TEST(a_reload_keeps_what_is_used_by_name)
{
	struct load l = {0};
	load_units u;

	declare(&l, "pstn", "conf");
	u = one(&l, "conf", 1);
	load_take(&l, u);
	declare(&l, "conf", "fax");
	CHECK_INT(load_used(&l, STR("conf")), 1);
	CHECK_INT(load_find(&l, STR("pstn")), -1);
	declare(&l, "fax", NULL);
	CHECK_INT(load_used(&l, STR("conf")), 0); /* not declared */
	declare(&l, "fax", "conf");
	CHECK_INT(load_used(&l, STR("conf")), 1); /* it had not gone */
	load_give(&l, u);
	CHECK_INT(load_used(&l, STR("conf")), 0);
}

TEST(there_is_always_room_for_new_names)
{
	struct load l = {0};
	char names[LOAD_RESOURCES][LOAD_NAME] = {{0}};
	load_units u = 0;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < LOAD_RESOURCES; i++)
			names[i][0] = (char)('a' + round * LOAD_RESOURCES + i);
		load_declare(&l, names, LOAD_RESOURCES);
		for (int i = 0; i < LOAD_RESOURCES; i++)
			CHECK(load_find(&l, str_from(names[i])) >= 0);
		if (round == 0) {
			u = one(&l, "c", 7);
			load_take(&l, u);
		}
	}
	load_give(&l, u);
	for (int i = 0; i < LOAD_RESOURCES; i++)
		CHECK_INT(atomic_load(&l.resource[i].used), 0);
}
