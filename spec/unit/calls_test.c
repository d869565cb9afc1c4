/* The table of calls by itself; what passes on the wire is in
 * spec/sim/calls_spec.lua. */
#include "support/unit.h"
#include "proxy/calls_image.h"

#include <stdio.h>
#include <string.h>
#include "transaction/branch.h"
#include "util/err.h"
#include "util/list.h"

#define T1 MILLIS(500)

struct world {
	struct mem mem, node_mem;
	struct arena_cache *arenas;
	struct arena *arena;
	struct timers *timers;
	struct counters counters;
	struct members members;
	struct member *a, *b;
	struct calls calls;
	struct now now;
};

static const struct sipkeys KEYS = {.now = {11, 12}};

static struct calls_conf conf_of(struct world *w, const char *key)
{
	return (struct calls_conf){.mem = &w->mem,
				   .timers = w->timers,
				   .counters = &w->counters,
				   .key = sipkey_load((const uint8_t *)key),
				   .keys = &KEYS,
				   .t1 = T1};
}

static void open_world(struct world *w)
{
	char names[1][LOAD_NAME] = {"pstn"};
	struct calls_conf conf;

	memset(w, 0, sizeof(*w));
	mem_init(&w->mem);
	mem_init(&w->node_mem);
	w->arenas = arena_cache_new(&w->mem);
	w->arena = arena_new(w->arenas);
	w->timers = timers_new(&w->mem, w->now.mono);
	members_init(&w->members, &w->node_mem);
	w->a = members_ref(&w->members, STR("pbx/a"));
	w->b = members_ref(&w->members, STR("pbx/b"));
	w->a->max_duration = w->b->max_duration = 1000;
	load_declare(&w->a->load, names, 1);
	conf = conf_of(w, "0123456789abcdef");
	CHECK_INT(calls_init(&w->calls, &conf), 0);
}

static void close_world(struct world *w)
{
	calls_fini(&w->calls);
	CHECK_INT(atomic_load(&w->a->fact[FACT_CALLS]), 0);
	CHECK_INT(atomic_load(&w->b->fact[FACT_CALLS]), 0);
	CHECK_INT(load_used(&w->a->load, STR("pstn")), 0);
	timers_free(&w->timers);
	members_fini(&w->members);
	arena_free(&w->arena);
	arena_cache_free(&w->arenas);
	CHECK_INT(w->mem.bytes, 0);
	CHECK_INT(w->node_mem.bytes, 0);
}

static void run(struct world *w, int64_t us)
{
	w->now.mono = tick_add(w->now.mono, us);
	w->now.wall.us += us;
	timers_run(w->timers, w->now);
}

static int64_t calls_at(struct member *m)
{
	return atomic_load(&m->fact[FACT_CALLS]);
}

/* A 2xx in a dialog, as its sender sees the sides. */
static void ok(struct world *w, struct member *m, load_units units,
	       const char *from, const char *to, const char *headers)
{
	char text[600];
	struct msg_key key;
	struct msg msg;
	int n = snprintf(text, sizeof(text),
			 "SIP/2.0 200 OK\r\n"
			 "Via: SIP/2.0/UDP 10.0.0.100;branch=z9hG4bKx\r\n"
			 "From: <sip:a@example.com>;tag=%s\r\n"
			 "To: <sip:b@example.com>%s%s\r\n"
			 "Call-ID: call\r\nCSeq: 1 INVITE\r\n%s"
			 "Content-Length: 0\r\n\r\n",
			 from, *to ? ";tag=" : "", to, headers);

	arena_reset(w->arena);
	CHECK_INT(msg_index(&msg, w->arena, (struct str){text, (size_t)n}),
		  MSG_OK);
	CHECK_INT(msg_key(&msg, &key), MSG_OK);
	calls_on_2xx(&w->calls, m, units, &msg, &key, w->now);
}

static void final(struct world *w, enum method method, int code,
		  const char *from, const char *to)
{
	struct msg_key key = {.call_id = STR("call"),
			      .from_tag = str_from(from),
			      .to_tag = str_from(to)};

	calls_on_final(&w->calls, &key, method, code, w->now);
}

TEST(a_record_is_as_big_as_the_documentation_says)
{
	CHECK_INT(sizeof(struct call_record), 136);
}

TEST(a_call_counts_from_its_2xx_to_the_end_of_its_bye)
{
	struct world w;

	open_world(&w);
	ok(&w, w.a, load_units_set(0, 0, 3), "x", "y", "");
	CHECK_INT(calls_at(w.a), 1);
	CHECK_INT(load_used(&w.a->load, STR("pstn")), 3);
	CHECK(w.calls.changed);
	w.calls.changed = false;
	ok(&w, w.a, 0, "x", "y", ""); /* again */
	CHECK_INT(calls_at(w.a), 1);
	final(&w, METHOD_BYE, 407, "y", "x");
	final(&w, METHOD_BYE, 200, "y", "z");
	CHECK_INT(calls_at(w.a), 1);
	final(&w, METHOD_BYE, 200, "y", "x");
	CHECK_INT(calls_at(w.a), 0);
	CHECK_INT(load_used(&w.a->load, STR("pstn")), 0);
	CHECK(w.calls.changed);
	final(&w, METHOD_BYE, 200, "x", "y");
	CHECK_INT(calls_at(w.a), 0);
	CHECK_INT(w.counters.v[CNT_CALL_BYE], 1);
	close_world(&w);
}

TEST(what_has_ended_begins_no_second_time_while_its_2xx_may_be_repeated)
{
	struct world w;
	size_t blocks;

	open_world(&w);
	blocks = w.mem.blocks;
	ok(&w, w.a, 0, "x", "y", "");
	run(&w, SECONDS(1));
	final(&w, METHOD_BYE, 200, "x", "y");
	run(&w, 64 * T1 - SECONDS(1) - 1000);
	ok(&w, w.a, 0, "x", "y", "");
	CHECK_INT(calls_at(w.a), 0);
	CHECK_INT(w.mem.blocks, blocks + 1);
	run(&w, SECONDS(1));
	CHECK_INT(w.mem.blocks, blocks);
	/* an old one is freed at once */
	ok(&w, w.a, 0, "x", "y", "");
	run(&w, 64 * T1);
	final(&w, METHOD_BYE, 0, "x", "y");
	CHECK_INT(w.mem.blocks, blocks);
	close_world(&w);
}

TEST(each_dialog_counts_where_it_was_answered)
{
	struct world w;

	open_world(&w);
	ok(&w, w.a, 0, "x", "y", "");
	ok(&w, w.b, 0, "x", "z", "");
	ok(&w, w.b, 0, "x", "", "");
	CHECK_INT(calls_at(w.a), 1);
	CHECK_INT(calls_at(w.b), 2);
	final(&w, METHOD_INFO, 481, "z", "x");
	CHECK_INT(calls_at(w.b), 1);
	CHECK_INT(w.counters.v[CNT_CALL_REJECTED], 1);
	final(&w, METHOD_INVITE, 481, "x", ""); /* no request of the dialog */
	CHECK_INT(calls_at(w.b), 1);
	final(&w, METHOD_BYE, 481, "x", "");
	CHECK_INT(calls_at(w.b), 0);
	CHECK_INT(calls_at(w.a), 1);
	close_world(&w);
}

/* RFC 4028 10. */
TEST(timers_end_what_is_not_refreshed)
{
	struct world w;

	open_world(&w);
	ok(&w, w.a, 0, "x", "y", "Session-Expires: 90;refresher=uac\r\n");
	ok(&w, w.b, 0, "x", "z", "");
	run(&w, SECONDS(60));
	ok(&w, NULL, 0, "y", "x", "x: 100\r\n");
	run(&w, SECONDS(131));
	CHECK_INT(calls_at(w.a), 1);
	run(&w, SECONDS(2));
	CHECK_INT(calls_at(w.a), 0);
	CHECK_INT(w.counters.v[CNT_CALL_SESSION], 1);
	run(&w, SECONDS(1000) - SECONDS(194));
	CHECK_INT(calls_at(w.b), 1);
	run(&w, SECONDS(2));
	CHECK_INT(calls_at(w.b), 0);
	CHECK_INT(w.counters.v[CNT_CALL_MAX_DURATION], 1);
	/* no end given */
	w.b->max_duration = 0;
	ok(&w, w.b, 0, "x", "z", "");
	run(&w, SECONDS(1000000));
	CHECK_INT(calls_at(w.b), 1);
	close_world(&w);
}

TEST(a_refresh_of_an_unknown_call_begins_none)
{
	struct world w;

	open_world(&w);
	ok(&w, NULL, 0, "x", "y", "x: 100\r\n");
	CHECK(list_empty(&w.calls.list));
	close_world(&w);
}

TEST(without_memory_a_call_is_not_counted_and_said_so)
{
	struct world w;

	open_world(&w);
	for (unsigned n = 1; n <= 3; n++) {
		w.mem.fail_at = w.mem.calls + n;
		w.mem.fail_for = 1;
		ok(&w, w.a, 0, "x", "y", "");
		w.mem.fail_at = 0;
		CHECK_INT(calls_at(w.a), w.counters.v[CNT_CALL_BEGUN]);
		CHECK_INT(w.counters.v[CNT_CALL_BEGUN] +
			      w.counters.v[CNT_CALL_UNTRACKED],
			  n);
		final(&w, METHOD_BYE, 200, "x", "y");
		CHECK_INT(calls_at(w.a), 0);
		run(&w, 64 * T1);
		w.counters.v[CNT_CALL_BEGUN] = 0;
		w.counters.v[CNT_CALL_UNTRACKED] = n;
	}
	CHECK(w.counters.v[CNT_CALL_UNTRACKED] > 0);
	close_world(&w);
}

TEST(the_names_of_calls_depend_on_the_key_of_the_table_only)
{
	struct world w[3];
	const char *key[] = {"0123456789abcdef", "0123456789abcdef",
			     "another key 0123"};
	struct call_name name[3];

	for (int i = 0; i < 3; i++) {
		struct call_record *r;

		open_world(&w[i]);
		w[i].calls.c = conf_of(&w[i], key[i]);
		ok(&w[i], w[i].a, 0, "x", "y", "");
		r = container_of(list_first(&w[i].calls.list),
				 struct call_record, link);
		name[i] = r->name;
		close_world(&w[i]);
	}
	CHECK(memcmp(&name[0], &name[1], sizeof(name[0])) == 0);
	CHECK(name[0].call_id != name[2].call_id);
	CHECK(name[0].tag[0] != name[2].tag[0]);
}

/* ---- the image ---- */

/* Three calls: with a session timer at a, with max_duration and with no end at
 * b. */
static size_t three_calls(struct world *w, char *out)
{
	size_t n;

	ok(w, w->a, load_units_set(0, 0, 3), "x", "y", "x: 90\r\n");
	ok(w, w->b, 0, "x", "z", "");
	w->b->max_duration = 0;
	ok(w, w->b, 0, "x", "u", "");
	ok(w, w->b, 0, "x", "v", "");
	final(w, METHOD_BYE, 200, "x", "v"); /* has ended: not in it */
	n = calls_image_size(&w->calls, &w->members);
	calls_image_write(&w->calls, &w->members, w->now, out);
	return n;
}

static int read_image(struct world *w, const char *bytes, size_t n)
{
	struct str rest = {bytes, n};
	int err = 0;

	while (!err && rest.n)
		err = calls_image_read(&w->calls, &w->members, &rest, 0, 1,
				       w->now);
	return err;
}

TEST(an_image_brings_the_calls_back)
{
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	w.now.wall.us = SECONDS(1000000);
	n = three_calls(&w, image);
	close_world(&w);

	open_world(&w);
	w.now.wall.us = SECONDS(1000050); /* down for 50 s */
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(calls_at(w.a), 1);
	CHECK_INT(calls_at(w.b), 2);
	CHECK_INT(load_used(&w.a->load, STR("pstn")), 3);
	CHECK_INT(w.counters.v[CNT_CALL_RESTORED], 3);
	/* twice is not twice */
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(w.counters.v[CNT_CALL_RESTORED], 3);
	run(&w, SECONDS(71)); /* 90 + 32 - 50 */
	CHECK_INT(calls_at(w.a), 1);
	run(&w, SECONDS(2));
	CHECK_INT(calls_at(w.a), 0);
	CHECK_INT(w.counters.v[CNT_CALL_SESSION], 1);
	run(&w, SECONDS(1000));
	CHECK_INT(calls_at(w.b), 1);
	final(&w, METHOD_BYE, 200, "u", "x");
	CHECK_INT(calls_at(w.b), 0);
	CHECK(list_empty(&w.calls.list)); /* no tombstone */
	close_world(&w);
}

/* Another worker may give it another name while this one writes. */
TEST(an_image_says_nothing_of_names_that_change)
{
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	w.b->is_spare = true;
	n = three_calls(&w, image);
	CHECK(memmem(image, n, w.a->name, strlen(w.a->name)) != NULL);
	CHECK(memmem(image, n, w.b->name, strlen(w.b->name)) == NULL);
	close_world(&w);

	open_world(&w);
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(w.counters.v[CNT_CALL_UNKNOWN_SERVER], 2);
	CHECK_INT(w.counters.v[CNT_CALL_RESTORED], 1);
	close_world(&w);
}

TEST(an_image_does_not_bring_back_what_has_run_out_or_is_gone)
{
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	w.now.wall.us = SECONDS(1000000);
	n = three_calls(&w, image);
	close_world(&w);

	open_world(&w);
	w.now.wall.us = SECONDS(1000123);
	w.b->declared = false;
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(w.counters.v[CNT_CALL_RUN_OUT], 1);
	CHECK_INT(w.counters.v[CNT_CALL_UNKNOWN_SERVER], 2);
	CHECK(list_empty(&w.calls.list));
	close_world(&w);

	open_world(&w);
	w.now.wall.us = 0; /* the clock was lost: no time has passed */
	CHECK_INT(read_image(&w, image, n), 0);
	run(&w, SECONDS(121));
	CHECK_INT(calls_at(w.a), 1);
	run(&w, SECONDS(2));
	CHECK_INT(calls_at(w.a), 0);
	close_world(&w);
}

TEST(resources_come_back_by_name)
{
	struct world w;
	char image[2000], names[2][LOAD_NAME] = {"conf", "pstn"};
	size_t n;

	open_world(&w);
	n = three_calls(&w, image);
	close_world(&w);

	open_world(&w);
	memset(&w.a->load, 0, sizeof(w.a->load));
	load_declare(&w.a->load, names, 2);
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(load_used(&w.a->load, STR("pstn")), 3);
	CHECK_INT(load_used(&w.a->load, STR("conf")), 0);
	close_world(&w);

	open_world(&w);
	memset(&w.a->load, 0, sizeof(w.a->load));
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(calls_at(w.a), 1);
	close_world(&w);
}

TEST(each_worker_takes_its_own)
{
	struct world w;
	char image[2000];
	size_t n;
	unsigned whose = 0, found = 0;

	open_world(&w);
	n = three_calls(&w, image);
	whose = branch_h8(STR("call")) % 3;
	close_world(&w);
	for (unsigned worker = 0; worker < 3; worker++) {
		struct str rest = {image, n};

		open_world(&w);
		CHECK_INT(calls_image_read(&w.calls, &w.members, &rest, worker,
					   3, w.now),
			  0);
		CHECK_INT(w.calls.n_up, worker == whose ? 3 : 0);
		found += (unsigned)w.calls.n_up;
		close_world(&w);
	}
	CHECK_INT(found, 3);
}

TEST(a_damaged_image_is_refused_as_a_whole)
{
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	n = three_calls(&w, image);
	close_world(&w);
	open_world(&w);
	for (size_t i = 0; i < n; i++) {
		image[i] ^= 1;
		CHECK_INT(read_image(&w, image, n), ERR_SYNTAX);
		image[i] ^= 1;
		CHECK_INT(read_image(&w, image, i), i ? ERR_SYNTAX : 0);
		CHECK(list_empty(&w.calls.list));
	}
	/* two of them, and rubbish behind */
	memcpy(image + n, image, n);
	image[2 * n] = 'x';
	CHECK_INT(read_image(&w, image, 2 * n + 1), ERR_SYNTAX);
	CHECK_INT(w.calls.n_up, 3);
	/* hashes of two keys cannot be in one table */
	w.calls.c.key.k0++;
	CHECK_INT(read_image(&w, image, n), ERR_SYNTAX);
	CHECK_INT(w.calls.n_up, 3);
	close_world(&w);
}

/* The cluster has got its third key since the table was begun. */
TEST(an_image_outlives_the_key_of_the_node)
{
	static const struct sipkeys second = {.now = {21, 22}};
	static const struct sipkeys third = {
	    .now = {31, 32}, .other = {21, 22}, .has_other = true};
	static const struct sipkeys fourth = {.now = {41, 42}};
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	w.calls.c.keys = &second;
	n = three_calls(&w, image);
	close_world(&w);

	open_world(&w);
	w.calls.c.key = (struct sipkey){99, 99};
	w.calls.c.keys = &fourth;
	CHECK_INT(read_image(&w, image, n), ERR_SYNTAX);
	CHECK_INT(w.calls.c.key.k0, 99);
	w.calls.c.keys = &third;
	CHECK_INT(read_image(&w, image, n), 0);
	CHECK_INT(w.calls.n_up, 3);
	/* its calls are known by name, and more of them come */
	final(&w, METHOD_BYE, 200, "x", "y");
	CHECK_INT(w.calls.n_up, 2);
	ok(&w, w.a, 0, "x", "q", "");
	CHECK_INT(w.calls.n_up, 3);
	n = calls_image_size(&w.calls, &w.members);
	calls_image_write(&w.calls, &w.members, w.now, image);
	close_world(&w);

	open_world(&w);
	w.calls.c.keys = &third;
	CHECK_INT(read_image(&w, image, n), 0);
	final(&w, METHOD_BYE, 200, "x", "q");
	final(&w, METHOD_BYE, 200, "z", "x");
	CHECK_INT(w.calls.n_up, 1);
	close_world(&w);
}

/* Writes a number into an image, and the checksum that then belongs to it. */
static void rewrite(struct world *w, char *image, size_t n, size_t at,
		    size_t bytes, uint64_t v)
{
	uint64_t sum;

	for (size_t i = 0; i < bytes; i++)
		image[at + i] = (char)(v >> 8 * i);
	sum = siphash24(w->calls.c.keys->now, image, n - 8);
	for (size_t i = 0; i < 8; i++)
		image[n - 8 + i] = (char)(sum >> 8 * i);
}

/* Found by fuzz_key: the checksum is right, what is under it is not. */
TEST(an_image_of_ours_with_wrong_numbers_harms_nobody)
{
	enum { WRITTEN = 24, SERVERS = 48, CALLS = 52 };
	static const struct {
		size_t at, bytes;
		uint64_t v;
		int err;
	} cases[] = {
	    {SERVERS, 4, UINT32_MAX, ERR_SYNTAX},
	    {SERVERS, 4, UINT32_MAX - 1, ERR_SYNTAX},
	    {SERVERS, 4, 0, 0},
	    {CALLS, 4, UINT32_MAX, 0},
	    {WRITTEN, 8, (uint64_t)INT64_MIN, ERR_SYNTAX},
	    {WRITTEN, 8, INT64_MAX, 0},
	};
	static const uint64_t left[] = {(uint64_t)INT64_MIN, UINT64_MAX, 0,
					INT64_MAX - 1, INT64_MAX};
	char image[2000];
	struct world w;
	size_t n, first;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		open_world(&w);
		n = three_calls(&w, image);
		calls_forget(&w.calls);
		rewrite(&w, image, n, cases[i].at, cases[i].bytes, cases[i].v);
		CHECK_INT(read_image(&w, image, n), cases[i].err);
		close_world(&w);
	}
	for (size_t i = 0; i < ARRAY_LEN(left); i++) {
		open_world(&w);
		n = three_calls(&w, image);
		calls_forget(&w.calls);
		first = n - 8 - 3 * 46; /* of three calls of 46 bytes */
		rewrite(&w, image, n, first + 32, 8, left[i]);
		CHECK_INT(read_image(&w, image, n), 0);
		CHECK_INT(w.calls.n_up, i < 3 ? 2 : 3);
		close_world(&w);
	}
}

TEST(an_image_is_read_as_far_as_memory_goes)
{
	struct world w;
	char image[2000];
	size_t n;

	open_world(&w);
	n = three_calls(&w, image);
	close_world(&w);
	for (unsigned i = 1; i <= 6; i++) {
		int err;

		open_world(&w);
		w.mem.fail_at = w.mem.calls + i;
		w.mem.fail_for = UINT64_MAX;
		err = read_image(&w, image, n);
		w.mem.fail_at = 0;
		CHECK(err == (i == 1 ? ERR_NOMEM : 0));
		CHECK_INT(w.counters.v[CNT_CALL_RESTORED] +
			      w.counters.v[CNT_CALL_UNTRACKED],
			  i == 1 ? 0 : 3);
		CHECK_INT(w.calls.n_up, w.counters.v[CNT_CALL_RESTORED]);
		close_world(&w);
	}
}
