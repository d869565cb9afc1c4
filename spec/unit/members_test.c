#include "proxy/members.h"

#include <string.h>
#include "support/unit.h"
#include "util/err.h"

/* Servers that are found while it runs: spare members and their names. */

struct world {
	struct mem mem;
	struct members ms;
	char was[MEMBER_NAME];
};

static void world_init(struct world *w, unsigned spare)
{
	mem_init(&w->mem);
	members_init(&w->ms, &w->mem);
	CHECK_INT(members_reserve(&w->ms, STR("trunk"), spare), 0);
}

static void world_fini(struct world *w)
{
	members_fini(&w->ms);
	CHECK_INT((int)w->mem.bytes, 0);
}

static struct member *join(struct world *w, const char *name, int64_t at)
{
	struct member *m =
	    members_join(&w->ms, str_from(name), (tick_t){SECONDS(at)}, w->was);

	if (m)
		members_declare(&w->ms, m);
	return m;
}

static void leave(struct world *w, struct member *m, int64_t at)
{
	members_leave(&w->ms, m, (tick_t){SECONDS(at)});
}

TEST(a_spare_member_gets_a_name)
{
	struct world w;
	struct member *m;
	uint64_t id = member_id(STR("trunk/gw1"));

	world_init(&w, 2);
	CHECK(members_by_id(&w.ms, id) == NULL);
	CHECK_INT(members_count(&w.ms), 0);
	m = join(&w, "trunk/gw1", 1);
	CHECK(m && m->declared);
	CHECK(members_by_id(&w.ms, id) == m);
	CHECK(members_by_name(&w.ms, STR("trunk/gw1")) == m);
	CHECK_STR(str_from(w.was), "");
	CHECK_INT(members_count(&w.ms), 1);
	leave(&w, m, 2);
	CHECK(!m->declared);
	world_fini(&w);
}

TEST(there_are_no_more_than_were_reserved)
{
	struct world w;
	struct member *a, *b;

	world_init(&w, 2);
	CHECK_INT(members_reserve(&w.ms, STR("trunk"), 2), 0);
	CHECK_INT((int)w.ms.n, 2);
	a = join(&w, "trunk/a", 1);
	b = join(&w, "trunk/b", 1);
	CHECK(a && b && a != b);
	CHECK(join(&w, "trunk/c", 1) == NULL);
	CHECK(join(&w, "other/a", 1) == NULL); /* nobody's place */
	leave(&w, a, 2);
	leave(&w, b, 2);
	world_fini(&w);
}

TEST(who_returns_finds_what_was_known)
{
	struct world w;
	struct member *m;

	world_init(&w, 2);
	m = join(&w, "trunk/a", 1);
	m->fact[FACT_HEALTH] = 3;
	leave(&w, m, 2);
	CHECK(join(&w, "trunk/a", 3) == m);
	CHECK_INT((int)m->fact[FACT_HEALTH], 3);
	leave(&w, m, 4);
	world_fini(&w);
}

TEST(a_name_is_given_away_late)
{
	struct world w;
	struct member *m;

	world_init(&w, 1);
	m = join(&w, "trunk/a", 0);
	m->fact[FACT_HEALTH] = 3;
	leave(&w, m, 10);
	CHECK(join(&w, "trunk/b", 609) == NULL);
	CHECK(members_by_name(&w.ms, STR("trunk/a")) == m);
	CHECK(join(&w, "trunk/b", 610) == m);
	CHECK_STR(str_from(w.was), "trunk/a");
	CHECK_INT((int)m->fact[FACT_HEALTH], 0);
	CHECK(members_by_id(&w.ms, member_id(STR("trunk/a"))) == NULL);
	leave(&w, m, 611);
	world_fini(&w);
}

TEST(what_has_calls_or_scripts_keeps_its_name)
{
	static const enum fact counted[] = {FACT_INFLIGHT, FACT_SETUP,
					    FACT_CALLS};
	struct world w;
	struct member *m;

	world_init(&w, 1);
	m = join(&w, "trunk/a", 0);
	join(&w, "trunk/a", 0); /* of another worker */
	leave(&w, m, 10);
	CHECK(join(&w, "trunk/b", 2000) == NULL);
	members_unref(&w.ms, m);
	for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
		m->fact[counted[i]] = 1;
		CHECK(join(&w, "trunk/b", 2000) == NULL);
		m->fact[counted[i]] = 0;
	}
	CHECK(join(&w, "trunk/b", 2000) == m);
	leave(&w, m, 2001);
	world_fini(&w);
}

TEST(what_a_script_declares_is_spare_no_more)
{
	struct world w;
	struct member *m;

	world_init(&w, 1);
	m = join(&w, "trunk/a", 0);
	leave(&w, m, 10);
	CHECK(members_ref(&w.ms, STR("trunk/a")) == m);
	leave(&w, m, 20);
	CHECK(join(&w, "trunk/b", 2000) == NULL);
	CHECK_INT(members_reserve(&w.ms, STR("trunk"), 1), 0);
	leave(&w, join(&w, "trunk/b", 2000), 2001);
	world_fini(&w);
}

TEST(a_long_name_is_refused)
{
	struct world w;
	char name[MEMBER_NAME + 1] = "trunk/";

	world_init(&w, 1);
	memset(name + 6, 'x', sizeof(name) - 7);
	CHECK(join(&w, name, 1) == NULL);
	name[MEMBER_NAME - 1] = '\0';
	leave(&w, join(&w, name, 1), 2);
	world_fini(&w);
}

TEST(no_memory_for_spare_members)
{
	struct world w;

	world_init(&w, 0);
	w.mem.fail_at = w.mem.calls + 2;
	w.mem.fail_for = 1;
	CHECK_INT(members_reserve(&w.ms, STR("trunk"), 3), ERR_NOMEM);
	CHECK_INT(members_reserve(&w.ms, STR("trunk"), 3), 0);
	CHECK_INT((int)w.ms.n, 3);
	world_fini(&w);
}

/* A generation that cannot take over leaves no name behind. */
TEST(names_go_back_with_the_rest)
{
	struct world w;
	struct members_image *im;
	struct member *m;

	world_init(&w, 1);
	im = members_save(&w.ms);
	CHECK_INT(members_reserve(&w.ms, STR("trunk"), 2), 0);
	m = join(&w, "trunk/a", 1);
	members_unref(&w.ms, m);
	members_restore(&w.ms, &im);
	CHECK_INT((int)w.ms.n, 1);
	CHECK(members_by_name(&w.ms, STR("trunk/a")) == NULL);
	world_fini(&w);
}
