/*
 * Generations: loading for all workers, taking over in all or in none, and the
 * retirement of those before. What calls see of it is in spec/sim/reload_spec.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua/generation.h"
#include "lua/vm.h"
#include "support/unit.h"
#include "util/err.h"

enum { WORKERS = 2, TEXT_MAX = 4096 };

struct world {
	const char *text; /* of the script that is loaded next */
	struct node *node;
	struct core *core[WORKERS];
	struct succession scripts[WORKERS];
	struct succession *all[WORKERS];
	struct host host;
	struct now now;
	char sent[TEXT_MAX];
	unsigned finals; /* of any kind, sent to the caller */
	char why[512];
	const atomic_bool *give_up;
};

static const struct hop caller = {.addr = {ADDR_V4, {192, 0, 2, 7}, 5060, 0},
				  .local = {ADDR_V4, {10, 0, 0, 100}, 5060, 0}};

/* ---- the world ---- */

static bool load_file(void *ctx, const char *name, bool is_module,
		      char **bytes_r, size_t *n_r, char *shown, size_t shown_n)
{
	struct world *w = ctx;

	if (is_module)
		return false;
	*bytes_r = strdup(w->text);
	*n_r = strlen(w->text);
	snprintf(shown, shown_n, "%s", name);
	return true;
}

static void on_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct world *w = ctx;

	(void)to;
	snprintf(w->sent, sizeof(w->sent), "%.*s", STR_FMT(bytes));
	w->finals += bytes.p[8] >= '2';
}

static bool on_source(void *ctx, unsigned listener, const struct addr *to,
		      struct addr *out_r)
{
	(void)ctx;
	(void)listener;
	(void)to;
	return addr_parse(STR("10.0.0.100:5060"), out_r);
}

static void on_log(void *ctx, const struct log_event *e)
{
	(void)ctx;
	(void)e;
}

static void fill_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	struct world *w = ctx;

	(void)i;
	out_r->loader = (struct loader){w, load_file};
	out_r->path = "route.lua";
	out_r->log = on_log;
	out_r->now = w->now;
	out_r->give_up = w->give_up;
	memcpy(out_r->seed, "0123456789abcde", 16);
}

/* A script with one server; `more` comes after its handler. */
static const char *script(const char *address, const char *handler,
			  const char *more)
{
	static char text[4][TEXT_MAX];
	static unsigned next;
	char *out = text[next++ % 4];

	snprintf(out, TEXT_MAX,
		 "local core = require 'tandem.core'\n"
		 "core.finish(function() return { dump = '{}', listen = { {"
		 " transport = 'udp', host = '10.0.0.100', port = 5060 } },"
		 " settings = { domains = { 'example.com' } } } end)\n"
		 "local pbx = core.member('pbx', 'a', { addr = '%s' })\n"
		 "core.handler('initial', nil, function(req) %s end)\n%s",
		 address, handler, more);
	return out;
}

static int load(struct world *w, struct generation *g, const char *text)
{
	memset(g, 0, sizeof(*g));
	w->text = text;
	return generation_load(g, WORKERS, fill_conf, w, w->why,
			       sizeof(w->why));
}

static void open_world(struct world *w, const char *text)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	struct generation g;

	memset(w, 0, sizeof(*w));
	w->now.mono.us = SECONDS(1000);
	w->host = (struct host){
	    .ctx = w, .send = on_send, .source = on_source, .log = on_log};
	CHECK_INT(load(w, &g, text), 0);
	w->node = node_new(WORKERS, &keys);
	CHECK_INT(script_apply(g.script[0], w->node), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		w->all[i] = &w->scripts[i];
		w->core[i] = core_new(w->node, i, &w->host, key, w->now);
		w->scripts[i].present = g.script[i];
		CHECK_INT(script_bind(g.script[i], w->core[i], w->now), 0);
	}
}

static void close_world(struct world *w)
{
	for (unsigned i = 0; i < WORKERS; i++)
		succession_unbind(&w->scripts[i], w->now);
	for (unsigned i = 0; i < WORKERS; i++) {
		succession_free(&w->scripts[i]);
		core_free(&w->core[i]);
	}
	node_free(&w->node);
}

static int reload(struct world *w, const char *text)
{
	struct generation g;
	int err = load(w, &g, text);

	if (!err)
		err = generation_switch(&g, w->node, w->all, w->now, w->why,
					sizeof(w->why));
	generation_free(&g);
	return err;
}

static void run(struct world *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us);

	for (unsigned i = 0; i < WORKERS; i++) {
		while (core_deadline(w->core[i]).us <= end.us) {
			w->now.mono = core_deadline(w->core[i]);
			core_expire(w->core[i], w->now);
		}
		succession_sweep(&w->scripts[i]);
	}
	w->now.mono = end;
}

/* A request to worker 0; its Call-ID is looked for. */
static void ask(struct world *w)
{
	static unsigned serial;
	char text[1024], id[32];

	do
		snprintf(id, sizeof(id), "call-%u", ++serial);
	while (branch_h8(str_from(id)) % WORKERS != 0);
	snprintf(text, sizeof(text),
		 "MESSAGE sip:bob@example.com SIP/2.0\r\n"
		 "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK%s\r\n"
		 "Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\n"
		 "To: <sip:bob@example.com>\r\nCall-ID: %s\r\n"
		 "CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
		 id, id);
	core_receive(w->core[0], w->now, &caller, str_from(text));
}

static struct member *server_a(const struct world *w)
{
	return members_by_name(&w->node->members, STR("pbx/a"));
}

#define ANSWER(code) "req:_reply(" #code ")"
#define SLOW         "core.sleep(5); req:_reply(202)"

/* ---- the tests ---- */

TEST(generation_declares_the_same_in_every_worker)
{
	static struct world w;
	struct generation g;

	w.now.mono.us = SECONDS(1);
	CHECK_INT(load(&w, &g,
		       "local core = require 'tandem.core'\n"
		       "core.finish(function() return {"
		       " dump = tostring(core.worker()) } end)\n"),
		  ERR_CONFIG);
	CHECK_STR(str_from(w.why), "the declarations depend on the worker");
	CHECK_INT(g.n, 0);
}

TEST(generation_load_can_be_given_up)
{
	static struct world w;
	atomic_bool give_up = true;
	struct generation g;

	w.give_up = &give_up;
	CHECK_INT(load(&w, &g, "while true do end"), ERR_CONFIG);
	CHECK_INT(g.n, 0);
}

TEST(generation_takes_over_and_the_one_before_ends_with_its_request)
{
	static struct world w;
	struct script *first;

	open_world(&w, script("10.0.0.1:5060", SLOW, ""));
	first = w.scripts[0].present;
	ask(&w);
	CHECK_INT(reload(&w, script("10.0.0.1:5060", ANSWER(480), "")), 0);
	CHECK_INT(w.node->generation, 2);
	CHECK_INT(w.scripts[0].n, 1);
	CHECK(w.scripts[0].retired[0] == first);
	CHECK_INT(w.scripts[1].n, 0); /* had no request */
	ask(&w);
	CHECK(strncmp(w.sent, "SIP/2.0 480", 11) == 0);
	CHECK_INT(w.finals, 1);
	run(&w, SECONDS(6));
	CHECK(strncmp(w.sent, "SIP/2.0 202", 11) == 0);
	CHECK_INT(w.finals, 2);
	CHECK_INT(w.scripts[0].n, 0);
	run(&w, SECONDS(60));
	close_world(&w);
}

TEST(generation_retires_eight_at_most)
{
	static struct world w;

	open_world(&w, script("10.0.0.1:5060", SLOW, ""));
	for (unsigned i = 0; i < GENERATION_RETIRED_MAX; i++) {
		ask(&w);
		CHECK_INT(reload(&w, script("10.0.0.1:5060", SLOW, "")), 0);
	}
	/* one more has room: it has no request */
	CHECK_INT(reload(&w, script("10.0.0.1:5060", SLOW, "")), 0);
	ask(&w);
	CHECK_INT(reload(&w, script("10.0.0.1:5060", SLOW, "")), ERR_LIMIT);
	CHECK(strstr(w.why, "8 earlier generations") != NULL);
	CHECK_INT(w.finals, 0);
	run(&w, SECONDS(6));
	CHECK_INT(w.finals, GENERATION_RETIRED_MAX + 1);
	CHECK_INT(w.scripts[0].n, 0);
	CHECK_INT(reload(&w, script("10.0.0.1:5060", SLOW, "")), 0);
	run(&w, SECONDS(60));
	close_world(&w);
}

/* The process ends while one is retired. */
TEST(generation_retired_is_answered_at_the_end)
{
	static struct world w;

	open_world(&w, script("10.0.0.1:5060", SLOW, ""));
	ask(&w);
	CHECK_INT(reload(&w, script("10.0.0.1:5060", SLOW, "")), 0);
	close_world(&w);
	CHECK(strncmp(w.sent, "SIP/2.0 500", 11) == 0);
}

static void check_unchanged(const struct world *w, size_t bytes)
{
	const struct member *m = server_a(w);

	CHECK_INT(w->node->generation, 1);
	CHECK_INT(w->node->mem.bytes, bytes);
	CHECK_INT(w->node->members.n, 1);
	CHECK_INT(m->places.at[0].addr.ip[3], 1);
	CHECK_INT(atomic_load(&m->fact[FACT_FALLS]), 7);
	CHECK_INT(m->refs, WORKERS);
	CHECK(m->declared);
}

/* It writes facts and then fails, in one worker or the other. */
TEST(generation_that_fails_at_the_start_is_taken_back)
{
	static struct world w;
	size_t bytes;

	open_world(&w, script("10.0.0.1:5060", ANSWER(200), ""));
	atomic_store(&server_a(&w)->fact[FACT_FALLS], 7);
	bytes = w.node->mem.bytes;
	for (unsigned i = 0; i < WORKERS; i++) {
		char more[256];

		snprintf(more, sizeof(more),
			 "core.member('pbx', 'b', { addr = '10.0.0.3:5060' })\n"
			 "core.start(function() pbx:set('falls', 1)\n"
			 " core.after(1, function() end)\n"
			 " if core.worker() == %u then error('no') end end)\n",
			 i);
		CHECK_INT(
		    reload(&w, script("10.0.0.2:5060", ANSWER(480), more)),
		    ERR_CONFIG);
		CHECK(strstr(w.why, "no") != NULL);
		check_unchanged(&w, bytes);
		ask(&w);
		CHECK(strncmp(w.sent, "SIP/2.0 200", 11) == 0);
	}
	run(&w, SECONDS(60));
	close_world(&w);
}

/* The n-th allocation of worker i's Lua fails; false when there were fewer. */
static bool starve(struct world *w, const char *text, unsigned i, uint64_t n)
{
	size_t bytes = w->node->mem.bytes;
	struct generation g;
	struct mem *m;
	bool reached;
	int err;

	CHECK_INT(load(w, &g, text), 0);
	m = vm_mem(vm_of(script_lua(g.script[i])));
	m->fail_at = m->calls + n;
	err = generation_switch(&g, w->node, w->all, w->now, w->why,
				sizeof(w->why));
	reached = err != 0;
	if (!err) {
		m = vm_mem(vm_of(script_lua(w->scripts[i].present)));
		reached = m->calls >= m->fail_at;
		m->fail_at = 0;
	}
	if (err)
		check_unchanged(w, bytes);
	generation_free(&g);
	ask(w);
	CHECK(strncmp(w->sent, err ? "SIP/2.0 200" : "SIP/2.0 480", 11) == 0);
	return reached;
}

TEST(generation_without_memory_is_taken_back)
{
	char *text = strdup(
	    script("10.0.0.2:5060", ANSWER(480),
		   "core.member('pbx', 'b', { addr = '10.0.0.3:5060' })\n"
		   "core.start(function() pbx:set('falls', 1)\n"
		   " core.after(1, function() end)\n"
		   " core.spawn(function() core.sleep(1) end) end)\n"));
	static struct world w;

	for (unsigned i = 0; i < WORKERS; i++) {
		bool reached = true;

		for (uint64_t n = 1; reached; n++) {
			open_world(&w,
				   script("10.0.0.1:5060", ANSWER(200), ""));
			atomic_store(&server_a(&w)->fact[FACT_FALLS], 7);
			reached = starve(&w, text, i, n);
			run(&w, SECONDS(60));
			close_world(&w);
		}
	}
	free(text);
}
