#include "support/unit.h"
#include "util/map.h"

#include <stdlib.h>

#include "util/err.h"
#include "util/list.h"
#include "util/rand.h"

struct item {
	struct map_node node;
	uint64_t key;
	bool in;
};

static bool item_eq(const struct map_node *node, const void *key)
{
	return container_of(node, const struct item, node)->key ==
	       *(const uint64_t *)key;
}

/* Few hash values for many keys, so that chains hold different hashes, equal
 * hashes and equal keys. */
static uint64_t hash_of(uint64_t key, uint64_t spread)
{
	return key % spread * 0x9e3779b97f4a7c15u;
}

static void check_find(const struct map *m, const struct item *item, size_t n,
		       uint64_t key, uint64_t spread)
{
	struct map_node *got = map_find(m, hash_of(key, spread), item_eq, &key);
	bool want = false;

	for (size_t i = 0; i < n; i++)
		want = want || (item[i].in && item[i].key == key);
	CHECK((got != NULL) == want);
	if (got) {
		struct item *it = container_of(got, struct item, node);

		CHECK(it->in);
		CHECK_INT(it->key, key);
	}
}

/* `fail`: growing never succeeds. */
static void against_model(uint64_t seed, uint64_t spread, bool fail)
{
	enum { N = 400, KEYS = 250 };
	struct item *item = calloc(N, sizeof(*item));
	size_t count = 0;
	struct mem mem;
	struct rand r;
	struct map m;

	mem_init(&mem);
	CHECK_INT(map_init(&m, &mem), 0);
	if (fail) {
		mem.fail_at = mem.calls + 1;
		mem.fail_for = UINT64_MAX;
	}
	rand_seed(&r, seed);
	for (int step = 0; step < 20000; step++) {
		struct item *it = &item[rand_below(&r, N)];

		if (it->in) {
			map_remove(&m, &it->node);
			count--;
		} else {
			it->key = rand_below(&r, KEYS);
			map_add(&m, &it->node, hash_of(it->key, spread));
			count++;
		}
		it->in = !it->in;
		CHECK_INT(m.n, count);
		check_find(&m, item, N, rand_below(&r, KEYS), spread);
	}
	for (size_t i = 0; i < N; i++)
		if (item[i].in)
			map_remove(&m, &item[i].node);
	CHECK_INT(m.n, 0);
	map_fini(&m);
	CHECK_INT(mem.bytes, 0);
	free(item);
}

TEST(against_a_model)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		against_model(seed, 1000, false);
		against_model(seed, 7, false);
	}
}

TEST(growing_may_fail)
{
	against_model(9, 1000, true);
	against_model(9, 1, true);
}

TEST(doubles)
{
	enum { N = 6000 };
	struct item *item = calloc(N, sizeof(*item));
	struct mem mem;
	struct map m;

	mem_init(&mem);
	CHECK_INT(map_init(&m, &mem), 0);
	for (uint64_t i = 0; i < N; i++) {
		item[i].key = i;
		map_add(&m, &item[i].node, hash_of(i, N));
		CHECK(m.buckets >= m.n);
		CHECK_INT(m.buckets & (m.buckets - 1), 0);
	}
	CHECK_INT(m.buckets, 8192);
	CHECK_INT(mem.blocks, 1);
	for (uint64_t i = 0; i < N; i++) {
		struct map_node *got = map_find(&m, hash_of(i, N), item_eq, &i);

		CHECK(got == &item[i].node);
		map_remove(&m, got);
		CHECK(!map_find(&m, hash_of(i, N), item_eq, &i));
	}
	map_fini(&m);
	CHECK_INT(mem.bytes, 0);
	free(item);
}

/* Nobody waits for all nodes to be moved. */
TEST(doubles_a_few_buckets_at_a_time)
{
	enum { FULL = 4096, FEW = 8 };
	struct item *item = calloc(2 * FULL, sizeof(*item));
	size_t adds = 0, n = 0;
	struct mem mem;
	struct map m;

	mem_init(&mem);
	CHECK_INT(map_init(&m, &mem), 0);
	for (; n < FULL; n++) {
		item[n].key = n;
		map_add(&m, &item[n].node, hash_of(n, FULL * 2));
	}
	CHECK(!m.old);
	CHECK_INT(map_bytes(&m), FULL * sizeof(void *));
	for (size_t moved = 0; n == FULL || m.old; n++) {
		uint64_t gone = adds++, last = n;

		item[n].key = n;
		map_add(&m, &item[n].node, hash_of(n, FULL * 2));
		CHECK(!m.old || m.moved - moved <= FEW);
		CHECK_INT(map_bytes(&m),
			  (m.old ? 3u : 2u) * FULL * sizeof(void *));
		moved = m.moved;
		/* What was moved, what was not, what came meanwhile. */
		for (uint64_t key = gone; key <= last; key += 97)
			CHECK(map_find(&m, hash_of(key, FULL * 2), item_eq,
				       &key) == &item[key].node);
		map_remove(&m, &item[gone].node);
		CHECK(!map_find(&m, hash_of(gone, FULL * 2), item_eq, &gone));
	}
	CHECK(adds > FULL / FEW);
	CHECK(adds < FULL);
	CHECK_INT(mem.blocks, 1);
	for (size_t i = adds; i < n; i++)
		map_remove(&m, &item[i].node);
	map_fini(&m);
	CHECK_INT(mem.bytes, 0);
	free(item);
}

TEST(is_whole_for_who_walks_over_it)
{
	enum { N = 1024 + 1 };
	struct item *item = calloc(N, sizeof(*item));
	size_t n = 0;
	struct mem mem;
	struct map m;

	mem_init(&mem);
	CHECK_INT(map_init(&m, &mem), 0);
	for (uint64_t i = 0; i < N; i++)
		map_add(&m, &item[i].node, hash_of(i, N));
	CHECK(m.old);
	map_settle(&m);
	CHECK(!m.old);
	for (size_t i = 0; i < m.buckets; i++)
		for (; m.bucket[i]; n++)
			map_remove(&m, m.bucket[i]);
	CHECK_INT(n, N);
	map_fini(&m);
	/* One that is no longer needed in the midst of it. */
	CHECK_INT(map_init(&m, &mem), 0);
	for (uint64_t i = 0; i < N; i++)
		map_add(&m, &item[i].node, hash_of(i, N));
	for (size_t i = 0; i < N; i++)
		map_remove(&m, &item[i].node);
	CHECK(m.old);
	map_fini(&m);
	CHECK_INT(mem.bytes, 0);
	free(item);
}

TEST(equal_keys)
{
	struct item a = {.key = 5}, b = {.key = 5};
	struct map_node *got;
	struct mem mem;
	struct map m;
	uint64_t key = 5;

	mem_init(&mem);
	CHECK_INT(map_init(&m, &mem), 0);
	map_add(&m, &a.node, 1);
	map_add(&m, &b.node, 1);
	got = map_find(&m, 1, item_eq, &key);
	map_remove(&m, got);
	CHECK(map_find(&m, 1, item_eq, &key) ==
	      (got == &a.node ? &b.node : &a.node));
	CHECK(!map_find(&m, 17, item_eq, &key));
	map_remove(&m, map_find(&m, 1, item_eq, &key));
	CHECK(!map_find(&m, 1, item_eq, &key));
	map_fini(&m);
}

TEST(no_memory_to_begin_with)
{
	struct mem mem;
	struct map m;

	mem_init(&mem);
	mem.fail_at = 1;
	CHECK_INT(map_init(&m, &mem), ERR_NOMEM);
	map_fini(&m);
	CHECK_INT(mem.blocks, 0);
}
