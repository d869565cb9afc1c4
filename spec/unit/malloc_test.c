/*
 * A script is loaded, a node and a core are made for it, a request passes, and
 * all of it ends, while malloc fails at every place: nothing crashes and
 * nothing is left; what fails says so. A sample of the places; SWEEP=all takes
 * them all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/generation.h"
#include "support/malloc_fail.h"
#include "support/unit.h"
#include "util/err.h"
#include "util/sanitized.h"

static const char script[] =
    "local core = require 'tandem.core'\n"
    "local helper = require 'helper'\n"
    "core.finish(function() return { listen = { { transport = 'udp',\n"
    "  host = '10.0.0.100', port = 5060 } } } end)\n"
    "core.handler('initial', nil, function(req) req:_reply(486) end)\n"
    "return helper\n";

static bool load_file(void *ctx, const char *name, bool is_module,
		      char **bytes_r, size_t *n_r, char *shown, size_t shown_n)
{
	const char *text = is_module ? "return { x = ('y'):rep(100) }" : script;

	(void)ctx;
	*bytes_r = strdup(text);
	*n_r = strlen(text);
	snprintf(shown, shown_n, "%s", name);
	return *bytes_r != NULL;
}

static void no_log(void *ctx, const struct log_event *e)
{
	(void)ctx, (void)e;
}

static void no_send(void *ctx, const struct hop *to, struct str bytes)
{
	(void)to, (void)bytes;
	++*(int *)ctx;
}

static bool source(void *ctx, unsigned listener, const struct addr *to,
		   struct addr *out_r)
{
	(void)ctx, (void)listener, (void)to;
	return addr_parse(STR("10.0.0.100:5060"), out_r);
}

static const char invite[] =
    "INVITE sip:bob@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\n"
    "Call-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

static void conf_of(void *ctx, unsigned i, struct script_conf *out_r)
{
	(void)ctx;
	out_r->loader.load = load_file;
	out_r->path = "route.lua";
	out_r->log = no_log;
	out_r->worker = i;
	out_r->now.mono.us = SECONDS(1000);
}

struct life {
	struct generation g;
	struct node *node;
	int sent;
	uint64_t calls; /* of malloc */
};

static void end(struct life *l)
{
	/* what ends does so with memory */
	if (!l->calls)
		l->calls = malloc_fail(0, 0);
}

static void run(struct life *l)
{
	static const uint8_t seed[16] = "0123456789abcde";
	struct host host = {
	    .ctx = &l->sent, .send = no_send, .source = source, .log = no_log};
	struct now now = {.mono = {SECONDS(1000)}};
	struct hop from = {.transport = TRANSPORT_UDP};
	struct core *core = core_new(l->node, 0, &host, seed, now);
	bool bound;

	if (!core)
		return;
	CHECK(addr_parse(STR("192.0.2.7:5060"), &from.addr));
	CHECK(addr_parse(STR("10.0.0.100:5060"), &from.local));
	bound = script_bind(l->g.script[0], core, now) == 0;
	if (bound)
		core_receive(core, now, &from, str_from(invite));
	end(l);
	if (bound)
		script_unbind(l->g.script[0], now);
	core_stop(core, now);
	generation_free(&l->g);
	core_free(&core);
}

/* One with the at-th call failing, and `row` in all. */
static struct life live(uint64_t at, uint64_t row)
{
	static const struct sipkeys keys = {.now = {1, 2}};
	struct life l = {.sent = 0};
	char why[512] = "";
	int err;

	malloc_fail(at, row);
	err = generation_load(&l.g, 1, conf_of, NULL, why, sizeof(why));
	CHECK(err ? why[0] && !l.g.n : l.g.n == 1);
	if (!err)
		l.node = node_new(1, &keys);
	if (l.node && script_apply(l.g.script[0], l.node) == 0)
		run(&l);
	end(&l);
	generation_free(&l.g);
	node_free(&l.node);
	return l;
}

static void sweep(uint64_t row)
{
	uint64_t n = live(0, 0).calls;

	/* otherwise many blocks are cut from one that is allocated */
	CHECK(n > (SANITIZED ? 100 : 20));
	CHECK_INT(live(0, 0).sent, 1);
	for (uint64_t at = 1; at <= n; at++)
		CHECK(live(at, row).sent <= 1);
	CHECK_INT(live(n + 1, row).sent, 1);
	printf("%" PRIu64 " allocations\n", n);
}

/* A Lua state asks again for what it was refused, after a collection. */
TEST(malloc_fails_once)
{
	sweep(1);
}

TEST(malloc_fails_twice)
{
	sweep(2);
}

TEST(malloc_fails_until_the_end)
{
	sweep(UINT64_MAX / 2);
}
