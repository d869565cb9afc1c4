/*
 * Where the servers are, as each worker was told, and what a worker remembers
 * of single addresses.
 */
#include "proxy/places.h"
#include "proxy/shun.h"
#include "proxy_world.h"

static struct server_places places_of(const char *first, const char *second)
{
	struct server_places s = {.n = second ? 2 : 1};

	CHECK(addr_parse(str_from(first), &s.at[0].addr));
	if (second)
		CHECK(addr_parse(str_from(second), &s.at[1].addr));
	return s;
}

static struct member *at(struct pw *w, unsigned worker, const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return proxy_member_at(core_proxy(w->core[worker]), &a);
}

TEST(places_are_what_the_script_says_until_told)
{
	struct pw *w = pw_open(2);
	struct member *m = pw_member(w, "a/1", SERVER1);
	struct server_places two = places_of(SERVER2, SERVER3);
	struct proxy *p = core_proxy(w->core[1]);

	CHECK(at(w, 1, SERVER1) == m);
	CHECK_INT(proxy_set_places(p, m, &two), 0);
	CHECK(at(w, 1, SERVER1) == NULL);
	CHECK(at(w, 1, SERVER2) == m);
	CHECK(at(w, 1, "10.0.0.3:9999") == m); /* from another port */
	CHECK(at(w, 0, SERVER1) == m);         /* nobody told worker 0 */
	CHECK_INT(proxy_places(p, m)->n, 2);
	CHECK_INT(proxy_set_places(p, m, NULL), 0);
	CHECK(at(w, 1, SERVER1) == m);
	pw_close(w);
}

/* A reload gave it another address: what was known of the old is no more. */
TEST(places_of_a_server_that_moved_are_forgotten)
{
	struct pw *w = pw_open(1);
	struct member *m = pw_member(w, "a/1", SERVER1);
	struct server_places two = places_of(SERVER1, SERVER3);

	CHECK_INT(proxy_set_places(core_proxy(w->core[0]), m, &two), 0);
	m->places = places_of(SERVER2, NULL);
	m->moves++;
	CHECK(at(w, 0, SERVER3) == NULL);
	CHECK(at(w, 0, SERVER2) == m);
	pw_close(w);
}

TEST(places_may_be_none)
{
	struct pw *w = pw_open(1);
	struct member *m = pw_member(w, "a/1", SERVER1);
	struct server_places none = {.n = 0};

	CHECK_INT(proxy_set_places(core_proxy(w->core[0]), m, &none), 0);
	CHECK(at(w, 0, SERVER1) == NULL);
	CHECK_INT(proxy_places(core_proxy(w->core[0]), m)->n, 0);
	pw_close(w);
}

TEST(places_stay_when_memory_runs_out)
{
	struct pw *w = pw_open(1);
	struct member *m = pw_member(w, "a/1", SERVER1);
	struct server_places two = places_of(SERVER2, SERVER3);
	struct mem *mem = core_mem(w->core[0]);

	for (uint64_t i = 1; i <= 2; i++) {
		mem->fail_at = mem->calls + 1;
		mem->fail_for = 9;
		CHECK_INT(proxy_set_places(core_proxy(w->core[0]), m, &two),
			  ERR_NOMEM);
		CHECK(at(w, 0, SERVER1) == m);
		mem->fail_at = 0;
	}
	CHECK_INT(proxy_set_places(core_proxy(w->core[0]), m, &two), 0);
	CHECK(at(w, 0, SERVER3) == m);
	pw_close(w);
}

/* One server in two pools, its addresses from DNS in another order. */
TEST(places_in_another_order_are_the_same_server)
{
	struct pw *w = pw_open(1);
	struct member *a = pw_member(w, "a/1", "10.0.0.9:5060");
	struct member *b = pw_member(w, "b/1", "10.0.0.9:5060");
	struct server_places one = places_of(SERVER1, SERVER2);
	struct server_places other = places_of(SERVER2, SERVER1);
	struct proxy *p = core_proxy(w->core[0]);

	CHECK_INT(proxy_set_places(p, a, &one), 0);
	CHECK_INT(proxy_set_places(p, b, &other), 0);
	CHECK(at(w, 0, "10.0.0.1:7777") == a);
	CHECK(proxy_is_at(p, b, &one.at[0].addr));
	pw_close(w);
}

static struct hop hop_to(unsigned i, enum transport t)
{
	struct hop h = {.transport = (uint8_t)t};

	CHECK(addr_parse(STR(SERVER1), &h.addr));
	h.addr.port = (uint16_t)(1000 + i);
	return h;
}

TEST(shunned_addresses_come_back)
{
	struct shun_list l = {.n = 0};
	struct hop a = hop_to(1, TRANSPORT_UDP), b = hop_to(1, TRANSPORT_TCP);
	tick_t t = {.us = SECONDS(5)};

	shun_add(&l, SHUN_FAILED, &a, t);
	CHECK(shun_has(&l, SHUN_FAILED, &a, t));
	CHECK(!shun_has(&l, SHUN_FAILED, &b, t));
	CHECK(!shun_has(&l, SHUN_NO_TCP, &a, t));
	CHECK(shun_has(&l, SHUN_FAILED, &a, tick_add(t, SECONDS(30) - 1)));
	CHECK(!shun_has(&l, SHUN_FAILED, &a, tick_add(t, SECONDS(30))));
	shun_end(&l, SHUN_FAILED, &b);
	CHECK(shun_has(&l, SHUN_FAILED, &a, t));
	shun_end(&l, SHUN_FAILED, &a);
	CHECK(!shun_has(&l, SHUN_FAILED, &a, t));
}

TEST(shunned_addresses_are_bounded)
{
	struct shun_list l = {.n = 0};
	tick_t t = {.us = 0};
	unsigned kept = 0;

	for (unsigned i = 0; i < SHUNNED + 10; i++) {
		struct hop h = hop_to(i, TRANSPORT_TCP);

		shun_add(&l, SHUN_NO_TCP, &h, t);
		shun_add(&l, SHUN_NO_TCP, &h, t);
	}
	for (unsigned i = 0; i < SHUNNED + 10; i++) {
		struct hop h = hop_to(i, TRANSPORT_TCP);
		bool has = shun_has(&l, SHUN_NO_TCP, &h, t);

		CHECK_INT(has, i >= 10);
		kept += has;
	}
	CHECK_INT(kept, SHUNNED);
}
