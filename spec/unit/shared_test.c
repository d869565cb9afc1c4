/*
 * sip.shared as a store: types, time to live, counting, and its bounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/shared.h"
#include "support/unit.h"
#include "util/arena.h"
#include "util/err.h"

struct store {
	struct shared *s;
	struct mem mem;
	struct arena_cache *cache;
	struct arena *a;
	tick_t now;
};

static void open_store(struct store *st)
{
	memset(st, 0, sizeof(*st));
	mem_init(&st->mem);
	st->s = shared_new();
	st->cache = arena_cache_new(&st->mem);
	st->a = arena_new(st->cache);
	st->now.us = SECONDS(1000);
}

static void close_store(struct store *st)
{
	shared_free(&st->s);
	arena_free(&st->a);
	arena_cache_free(&st->cache);
}

static int set(struct store *st, const char *table, const char *key,
	       const char *value, int64_t ttl)
{
	struct shared_value v = {.type = SHARED_STR, .s = str_from(value)};

	return shared_set(st->s, str_from(table), str_from(key), &v, ttl,
			  st->now);
}

static struct shared_value get(struct store *st, const char *table,
			       const char *key)
{
	return shared_get(st->s, str_from(table), str_from(key), st->a,
			  st->now);
}

static int64_t incr(struct store *st, const char *key, int64_t by, int64_t ttl)
{
	int64_t v = -1;

	CHECK_INT(shared_incr(st->s, STR("t"), str_from(key), by, 0, ttl,
			      st->now, &v),
		  0);
	return v;
}

TEST(set_replaces_and_removes)
{
	struct store st;
	struct shared_value nil = {.type = SHARED_NIL};

	open_store(&st);
	CHECK_INT(set(&st, "t", "k", "one", 0), 0);
	CHECK_STR(get(&st, "t", "k").s, "one");
	CHECK_INT(set(&st, "t", "k", "another", 0), 0);
	CHECK_STR(get(&st, "t", "k").s, "another");
	CHECK_INT(shared_count(st.s), 1);
	CHECK_INT(get(&st, "u", "k").type, SHARED_NIL);
	CHECK_INT(shared_set(st.s, STR("t"), STR("k"), &nil, 0, st.now), 0);
	CHECK_INT(get(&st, "t", "k").type, SHARED_NIL);
	CHECK_INT(shared_count(st.s), 0);
	close_store(&st);
}

TEST(tables_are_apart)
{
	struct store st;

	open_store(&st);
	set(&st, "ab", "c", "1", 0);
	set(&st, "a", "bc", "2", 0);
	CHECK_STR(get(&st, "ab", "c").s, "1");
	CHECK_STR(get(&st, "a", "bc").s, "2");
	close_store(&st);
}

TEST(values_expire)
{
	struct store st;

	open_store(&st);
	set(&st, "t", "k", "v", SECONDS(10));
	st.now.us += SECONDS(10) - 1;
	CHECK_STR(get(&st, "t", "k").s, "v");
	st.now.us += 1;
	CHECK_INT(get(&st, "t", "k").type, SHARED_NIL);
	CHECK_INT(shared_count(st.s), 0);
	close_store(&st);
}

TEST(expired_values_leave_when_others_come)
{
	struct store st;
	char key[16];

	open_store(&st);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "%d", i);
		set(&st, "t", key, "v", SECONDS(1));
	}
	st.now.us += SECONDS(2);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "new %d", i);
		set(&st, "t", key, "v", SECONDS(60));
	}
	CHECK_INT(shared_count(st.s), 300);
	close_store(&st);
}

TEST(incr_counts)
{
	struct store st;
	int64_t v;

	open_store(&st);
	CHECK_INT(incr(&st, "n", 1, SECONDS(5)), 1);
	CHECK_INT(incr(&st, "n", 4, SECONDS(100)), 5);
	st.now.us += SECONDS(5); /* the time to live of the first */
	CHECK_INT(incr(&st, "n", -2, 0), -2);
	CHECK_INT(incr(&st, "n", INT64_MAX, 0), INT64_MAX - 2);
	CHECK_INT(incr(&st, "n", 3, 0), INT64_MIN);
	set(&st, "t", "s", "text", 0);
	CHECK_INT(shared_incr(st.s, STR("t"), STR("s"), 1, 0, 0, st.now, &v),
		  ERR_STATE);
	close_store(&st);
}

TEST(one_table_cannot_take_all)
{
	struct store st;
	struct shared_value v = {.type = SHARED_STR};
	char *big = calloc(1, 1024 * 1024), key[16];
	int n = 0, err;

	open_store(&st);
	v.s = (struct str){big, 1024 * 1024};
	do {
		snprintf(key, sizeof(key), "%d", n);
		err = shared_set(st.s, STR("t"), str_from(key), &v, 0, st.now);
	} while (err == 0 && n++ < 100);
	CHECK_INT(err, ERR_LIMIT);
	CHECK_INT(n, 15);
	/* What was there is still there, and others have room. */
	CHECK_INT(get(&st, "t", "0").type, SHARED_STR);
	CHECK_INT(set(&st, "u", "k", "v", 0), 0);
	CHECK_INT(shared_count(st.s), 16);
	/* Without memory for the new value the old one stays. */
	v.s.n = 1024 * 1024 - 1;
	CHECK_INT(shared_set(st.s, STR("t"), STR("0"), &v, 0, st.now),
		  ERR_LIMIT);
	CHECK_INT(get(&st, "t", "0").type, SHARED_STR);
	close_store(&st);
	free(big);
}
