/* What is noted of requests (proxy/steps.h), and how it is kept (proxy/why.h).
 * What an operator is shown is in spec/sim/why_spec.lua. */
#include <stdio.h>
#include <string.h>
#include "proxy/steps.h"
#include "proxy/why.h"
#include "proxy_world.h"

static tick_t at_us(int64_t us)
{
	return (tick_t){us};
}

static struct str bytes_of(const struct steps *s)
{
	return (struct str){s->p, s->n};
}

/* ---- steps ---- */

static void check_text(const struct steps *s, const char *want)
{
	char text[4096];
	struct buf b;

	buf_fixed(&b, text, sizeof(text));
	steps_write(bytes_of(s), &b);
	if (!str_eq(buf_str(&b), str_from(want)))
		fprintf(stderr, "%.*s\n", STR_FMT(buf_str(&b)));
	CHECK(str_eq(buf_str(&b), str_from(want)));
}

TEST(steps_are_read_as_they_were_written)
{
	struct hop v4 = {.transport = TRANSPORT_TCP}, v6 = {.transport = 0};
	struct steps s;
	struct mem m;

	mem_init(&m);
	CHECK(addr_parse(STR("10.0.0.1:5060"), &v4.addr));
	CHECK(addr_parse(STR("[2001:db8::1]:5061"), &v6.local));
	steps_init(&s, &m, at_us(1000));
	CHECK(steps_add(&s, STEP_ATTEMPT, at_us(1000)));
	steps_int(&s, 1);
	steps_int(&s, -7);
	steps_int(&s, INT64_MIN);
	steps_int(&s, INT64_MAX);
	steps_str(&s, STR("pbx/a"));
	steps_str(&s, STR_NONE);
	steps_peer(&s, &v4);
	steps_local(&s, &v6);
	steps_local(&s, &v4); /* it has none */
	CHECK(steps_add(&s, STEP_FAILED, at_us(1000 + SECONDS(90000))));
	CHECK(steps_add(&s, STEP_CANCEL, at_us(0))); /* time does not go back */
	check_text(&s, "0.000 attempt 1 -7 -9223372036854775808 "
		       "9223372036854775807 pbx/a - 10.0.0.1:5060 "
		       "[2001:db8::1]:5061 -; 90000.000 failed; 0.000 cancel");
	CHECK(!s.cut);
	CHECK_INT(m.calls, 0);
	steps_fini(&s);
	CHECK(!steps_add(&s, STEP_CANCEL, at_us(0)));
}

static void fill(struct steps *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		steps_add(s, STEP_NOTE, at_us(0));
		steps_int(s, (int64_t)i);
	}
}

static size_t count_steps(struct str bytes)
{
	struct steps_item i;
	size_t n = 0;

	while (steps_read(&bytes, &i))
		n += i.kind == STEPS_STEP;
	return n;
}

TEST(steps_grow_and_end_at_a_bound)
{
	struct steps s;
	struct mem m;

	mem_init(&m);
	steps_init(&s, &m, at_us(0));
	fill(&s, 1000);
	CHECK(!s.cut);
	CHECK_INT(count_steps(bytes_of(&s)), 1000);
	fill(&s, 100000);
	CHECK(s.cut);
	CHECK(s.n <= STEPS_MAX);
	CHECK(m.bytes <= STEPS_MAX);
	CHECK(count_steps(bytes_of(&s)) > 3000);
	steps_fini(&s);
	CHECK_INT(m.bytes, 0);
}

TEST(steps_without_memory_end_where_they_are)
{
	struct steps s;
	struct mem m;
	size_t n;

	mem_init(&m);
	m.fail_at = 1;
	steps_init(&s, &m, at_us(0));
	fill(&s, 1000);
	CHECK(s.cut);
	n = count_steps(bytes_of(&s));
	CHECK(n > 50 && n < 200);
	/* Nothing comes after what is missing, though memory is back. */
	CHECK(!steps_add(&s, STEP_CANCEL, at_us(0)));
	CHECK_INT(count_steps(bytes_of(&s)), n);
	steps_fini(&s);
	CHECK_INT(m.bytes, 0);
}

TEST(steps_cut_long_texts)
{
	static char text[STEPS_TEXT + 100];
	struct steps_item i;
	struct steps s;
	struct str rest;
	struct mem m;

	mem_init(&m);
	memset(text, 'x', sizeof(text));
	steps_init(&s, &m, at_us(0));
	steps_add(&s, STEP_ERROR, at_us(0));
	steps_str(&s, (struct str){text, sizeof(text)});
	rest = bytes_of(&s);
	CHECK(steps_read(&rest, &i) && i.step == STEP_ERROR);
	CHECK(steps_read(&rest, &i) && i.text.n == STEPS_TEXT);
	CHECK(!steps_read(&rest, &i));
	steps_fini(&s);
}

/* Whatever the bytes are, reading them ends and stays inside. */
TEST(steps_that_are_damaged_are_no_harm)
{
	struct hop hop = {.transport = TRANSPORT_UDP};
	struct steps s;
	struct mem m;

	mem_init(&m);
	CHECK(addr_parse(STR("[2001:db8::1]:5061"), &hop.addr));
	steps_init(&s, &m, at_us(0));
	steps_add(&s, STEP_ATTEMPT, at_us(1 << 20));
	steps_int(&s, 1 << 30);
	steps_str(&s, STR("some text"));
	steps_peer(&s, &hop);
	for (size_t n = 0; n < s.n; n++) {
		char *copy = mem_alloc(&m, n ? n : 1);

		memcpy(copy, s.p, n);
		count_steps((struct str){copy, n});
		for (size_t i = 0; i < n; i++) {
			copy[i] = (char)0xff;
			count_steps((struct str){copy, n});
			copy[i] = s.p[i];
		}
		mem_free(&m, copy);
	}
	steps_fini(&s);
}

/* ---- what is kept ---- */

enum { LIMIT = 16 * WHY_BLOCK };

static char filler[1000];

static bool keep(struct why *w, enum why_class class, unsigned i)
{
	char id[32];
	struct why_record r = {.class = class,
			       .code = (int)(200 + i % 400),
			       .failed = class != WHY_GOOD,
			       .began = {(int64_t)i},
			       .steps = {filler, sizeof(filler)}};

	snprintf(id, sizeof(id), "call-%u", i);
	r.call_id = str_from(id);
	return why_keep(w, LIMIT, &r);
}

static size_t find(const struct why *w, const char *id, struct why_record *r)
{
	return why_find(w, str_from(id), false, r, 4);
}

TEST(why_finds_the_newest_first)
{
	struct why_record r[8], one = {.call_id = STR("x"), .code = 486};
	struct why w;
	struct mem m;

	mem_init(&m);
	why_init(&w, &m);
	CHECK_INT(why_find(&w, STR_NONE, false, r, 8), 0);
	for (unsigned i = 1; i <= 5; i++)
		CHECK(keep(&w, i % 2 ? WHY_GOOD : WHY_TROUBLE, i));
	CHECK(why_keep(&w, LIMIT, &one));
	CHECK_INT(why_find(&w, STR_NONE, false, r, 8), 6);
	CHECK(str_eq(r[0].call_id, STR("x")));
	CHECK_INT(r[0].code, 486);
	CHECK_INT(r[0].steps.n, 0);
	for (unsigned i = 1; i <= 5; i++)
		CHECK_INT(r[i].began.us, 6 - i);
	CHECK_INT(r[1].class, WHY_GOOD);
	CHECK_INT(r[2].class, WHY_TROUBLE);
	CHECK_INT(r[2].steps.n, sizeof(filler));
	/* fewer of them, those that failed, those of a call */
	CHECK_INT(why_find(&w, STR_NONE, false, r, 2), 2);
	CHECK_INT(r[1].began.us, 5);
	CHECK_INT(why_find(&w, STR_NONE, true, r, 8), 2);
	CHECK_INT(r[0].began.us, 4);
	CHECK_INT(r[1].began.us, 2);
	CHECK_INT(find(&w, "call-3", r), 1);
	CHECK_INT(find(&w, "call-", r), 0);
	CHECK(keep(&w, WHY_REFUSED, 3));
	CHECK_INT(find(&w, "call-3", r), 2);
	CHECK_INT(r[0].class, WHY_REFUSED);
	why_fini(&w);
	CHECK_INT(m.bytes, 0);
}

TEST(why_drops_the_oldest_of_a_class_and_stays_in_its_bounds)
{
	struct why_record r[4];
	struct why w;
	struct mem m;
	size_t bytes;

	mem_init(&m);
	why_init(&w, &m);
	CHECK(keep(&w, WHY_GOOD, 1));
	CHECK(keep(&w, WHY_TROUBLE, 2));
	for (unsigned i = 10; i < 3000; i++)
		CHECK(keep(&w, WHY_REFUSED, i));
	/* Rubbish has pushed out rubbish. */
	CHECK_INT(find(&w, "call-10", r), 0);
	CHECK_INT(find(&w, "call-2999", r), 1);
	CHECK_INT(find(&w, "call-1", r), 1);
	CHECK_INT(find(&w, "call-2", r), 1);
	bytes = why_bytes(&w);
	CHECK_INT(bytes, m.bytes);
	CHECK_INT(bytes, (2 + 2) * WHY_BLOCK);
	for (unsigned i = 3000; i < 9000; i++)
		CHECK(keep(&w, WHY_GOOD, i));
	CHECK_INT(find(&w, "call-1", r), 0);
	CHECK_INT(find(&w, "call-2", r), 1);
	for (unsigned i = 9000; i < 12000; i++)
		CHECK(keep(&w, WHY_TROUBLE, i));
	CHECK_INT(find(&w, "call-2", r), 0);
	CHECK_INT(why_bytes(&w), LIMIT);
	CHECK_INT(m.bytes, LIMIT);
	CHECK_INT(why_find(&w, STR_NONE, false, r, 4), 4);
	CHECK_INT(r[0].began.us, 11999);
	CHECK_INT(r[3].began.us, 11996);
	why_fini(&w);
}

TEST(why_obeys_a_smaller_limit)
{
	struct why_record r[1], one = {.call_id = STR("x")};
	struct why w;
	struct mem m;

	mem_init(&m);
	why_init(&w, &m);
	for (unsigned i = 0; i < 2000; i++)
		keep(&w, WHY_GOOD, i);
	CHECK(why_bytes(&w) > 4 * WHY_BLOCK);
	one.steps = (struct str){filler, sizeof(filler)};
	for (unsigned i = 0; i < 200; i++)
		CHECK(why_keep(&w, WHY_LEAST, &one));
	CHECK(why_bytes(&w) <= 2 * WHY_BLOCK);
	CHECK(!why_keep(&w, 0, &one));
	CHECK_INT(m.bytes, 0);
	CHECK_INT(why_find(&w, STR_NONE, false, r, 1), 0);
	why_fini(&w);
}

TEST(why_without_memory_uses_its_oldest_block_again)
{
	struct why_record r[4];
	struct why w;
	struct mem m;

	mem_init(&m);
	why_init(&w, &m);
	m.fail_at = 2;
	m.fail_for = UINT64_MAX;
	for (unsigned i = 0; i < 100; i++)
		CHECK(keep(&w, WHY_GOOD, i));
	CHECK_INT(why_bytes(&w), WHY_BLOCK);
	CHECK_INT(find(&w, "call-0", r), 0);
	CHECK_INT(find(&w, "call-99", r), 1);
	/* Those of other classes are not taken for it. */
	CHECK(!keep(&w, WHY_TROUBLE, 100));
	CHECK_INT(find(&w, "call-99", r), 1);
	why_fini(&w);
}

TEST(why_knows_a_call_id_that_is_too_long)
{
	static char id[WHY_CALL_ID + 50];
	struct why_record one = {.class = WHY_GOOD}, r[2];
	struct why w;
	struct mem m;

	mem_init(&m);
	why_init(&w, &m);
	memset(id, 'i', sizeof(id));
	one.call_id = (struct str){id, sizeof(id)};
	CHECK(why_keep(&w, LIMIT, &one));
	CHECK_INT(why_find(&w, one.call_id, false, r, 2), 1);
	CHECK_INT(r[0].call_id.n, WHY_CALL_ID);
	id[0] = 'j';
	CHECK_INT(why_find(&w, one.call_id, false, r, 2), 0);
	why_fini(&w);
}

TEST(why_failures_are_no_challenges_and_no_refusals_of_people)
{
	static const int good[] = {0,   180, 200, 302, 401,
				   407, 486, 487, 600, 603};
	static const int bad[] = {400, 403, 404, 408, 480, 500, 503, 604};

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		CHECK(!why_is_failure(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		CHECK(why_is_failure(bad[i]));
}

/* ---- in the proxy ---- */

static size_t records(struct pw *w, struct why_record *r, size_t max)
{
	return proxy_why(core_proxy(w->core[0]), STR_NONE, false, r, max,
			 w->now);
}

static void answer_call(struct pw *w)
{
	pw_answer(w, SERVER1, "INVITE", "486 Busy Here");
	EXPECT(w, SERVER1, "ACK");
	EXPECT(w, ALICE, "SIP/2.0 486");
}

/* Nobody but the trace misses the block that it does not get. */
TEST(why_costs_no_call_when_memory_is_short)
{
	struct pw *w = pw_open(1);
	struct mem *m = core_mem(w->core[0]);
	struct why_record r[4];

	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	CHECK_INT(records(w, r, 4), 1);
	CHECK(r[0].open);
	m->limit = m->bytes + WHY_BLOCK / 2;
	answer_call(w);
	CHECK_INT(records(w, r, 4), 0);
	CHECK_INT(pw_count(w, CNT_WHY_LOST), 1);
	CHECK_INT(pw_count(w, CNT_NOMEM), 0);
	m->limit = 0;
	pw_close(w);
}

TEST(why_shows_what_is_open_before_what_has_ended)
{
	struct pw *w = pw_open(1);
	struct why_record r[4];

	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	answer_call(w);
	CHECK_INT(records(w, r, 4), 1);
	CHECK(!r[0].open);
	CHECK_INT(r[0].code, 486);
	CHECK(!r[0].failed);
	pw_give(w, ALICE,
		pw_request((struct pw_req){.method = "INVITE",
					   .uri = "sip:bob@example.com",
					   .branch = "z9hG4bKother",
					   .call_id = "other"}));
	EXPECT(w, SERVER1, "INVITE");
	CHECK_INT(records(w, r, 4), 2);
	CHECK(r[0].open && str_eq(r[0].call_id, STR("other")));
	CHECK(!r[1].open);
	CHECK_INT(records(w, r, 1), 1);
	CHECK(r[0].open);
	pw_close(w);
}

TEST(why_notes_nothing_when_it_is_turned_off)
{
	struct pw *w = pw_open(1);
	struct why_record r[4];

	w->node->settings.why_memory = 0;
	pw_give(w, ALICE, pw_invite());
	EXPECT(w, SERVER1, "INVITE");
	CHECK_INT(records(w, r, 4), 0);
	answer_call(w);
	CHECK_INT(records(w, r, 4), 0);
	CHECK_INT(pw_count(w, CNT_WHY_LOST), 0);
	pw_close(w);
}
