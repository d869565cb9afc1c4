/*
 * Scripts: loading, the plan, and requests through the real core with a host
 * that keeps what is sent. The Lua half is not here: these scripts stand on
 * tandem.core alone. Stories of calls are told in spec/sim.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lua/script.h"
#include "lua/vm.h"
#include "proxy/places.h"
#include "support/unit.h"

enum { SENT_MAX = 64, TEXT_MAX = 4096 };

struct file {
	const char *name, *text;
};

struct world {
	struct file file[4];
	struct node *node;
	struct core *core;
	struct script *script;
	struct host host;
	struct now now;
	char sent[SENT_MAX][TEXT_MAX];
	size_t n;
	char log[TEXT_MAX];   /* the last line */
	char error[TEXT_MAX]; /* the last one that was an error */
	size_t errors;
	struct post post;
	bool posted;
	char topic[64], payload[64];
	char err[512];
};

static const struct hop caller = {.addr = {ADDR_V4, {192, 0, 2, 7}, 5060, 0},
				  .local = {ADDR_V4, {10, 0, 0, 100}, 5060, 0}};
static const struct hop server = {.addr = {ADDR_V4, {10, 0, 0, 1}, 5060, 0},
				  .local = {ADDR_V4, {10, 0, 0, 100}, 5060, 0}};

/* ---- the world ---- */

static bool load_file(void *ctx, const char *name, bool is_module,
		      char **bytes_r, size_t *n_r, char *shown, size_t shown_n)
{
	struct world *w = ctx;

	(void)is_module;
	for (size_t i = 0; i < 4 && w->file[i].name; i++) {
		if (strcmp(w->file[i].name, name) != 0)
			continue;
		*bytes_r = strdup(w->file[i].text);
		*n_r = strlen(w->file[i].text);
		snprintf(shown, shown_n, "%s", name);
		return true;
	}
	return false;
}

static void on_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct world *w = ctx;

	(void)to;
	snprintf(w->sent[w->n++ % SENT_MAX], TEXT_MAX, "%.*s", STR_FMT(bytes));
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
	struct world *w = ctx;
	struct buf b;

	buf_fixed(&b, w->log, sizeof(w->log) - 1);
	log_write_logfmt(&b, e, (wall_t){0});
	w->log[b.n] = '\0';
	if (e->level == LOG_ERROR) {
		w->errors++;
		memcpy(w->error, w->log, sizeof(w->error));
		fprintf(stderr, "%s\n", w->log);
	}
}

static void on_post(void *ctx, unsigned worker, const struct post *post)
{
	struct world *w = ctx;

	(void)worker;
	snprintf(w->topic, sizeof(w->topic), "%.*s", STR_FMT(post->topic));
	snprintf(w->payload, sizeof(w->payload), "%.*s", STR_FMT(post->bytes));
	w->post = *post;
	w->post.topic = str_from(w->topic);
	w->post.bytes = str_from(w->payload);
	w->posted = true;
}

static struct script *load(struct world *w, const char *text)
{
	struct script_conf conf = {.loader = {w, load_file},
				   .path = "route.lua",
				   .log = on_log,
				   .log_ctx = w,
				   .collect_every = unit_collect_every(),
				   .seed = "0123456789abcde"};

	w->file[0] = (struct file){"route.lua", text};
	return script_load(&conf, w->err, sizeof(w->err));
}

#define FINISH                                                                 \
	"core.finish(function() return { listen = { { transport = 'udp', "     \
	"host = '10.0.0.100', port = 5060 } } } end)\n"

static void open_world(struct world *w, const char *text)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	static char full[TEXT_MAX];

	memset(w, 0, sizeof(*w));
	w->now.mono.us = SECONDS(1000);
	w->host = (struct host){.ctx = w,
				.send = on_send,
				.source = on_source,
				.post = on_post,
				.log = on_log};
	snprintf(full, sizeof(full),
		 "local core = require 'tandem.core'\n" FINISH "%s", text);
	w->script = load(w, full);
	if (!w->script)
		fprintf(stderr, "%s\n", w->err);
	CHECK(w->script != NULL);
	w->node = node_new(1, &keys);
	CHECK_INT(script_apply(w->script, w->node), 0);
	w->core = core_new(w->node, 0, &w->host, key, w->now);
	CHECK_INT(script_bind(w->script, w->core, w->now), 0);
}

static void run(struct world *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us);

	while (core_deadline(w->core).us <= end.us) {
		w->now.mono = core_deadline(w->core);
		core_expire(w->core, w->now);
	}
	w->now.mono = end;
	core_expire(w->core, w->now);
}

/* Everything ends, and nothing is left. */
static void close_world(struct world *w)
{
	struct core_stats stats;
	struct script_stats script;

	script_quiesce(w->script, w->now);
	run(w, SECONDS(400));
	script_stats(w->script, &script);
	CHECK_INT(script.tasks, 0);
	CHECK_INT(script.timers, 0);
	core_stats(w->core, &stats);
	CHECK_INT(stats.requests, 0);
	CHECK_INT(stats.timers, 0);
	script_unbind(w->script, w->now);
	script_free(&w->script);
	core_free(&w->core);
	node_free(&w->node);
}

static void put(struct world *w, const struct hop *from, const char *text)
{
	core_receive(w->core, w->now, from, str_from(text));
}

static void send_request(struct world *w, const char *method, unsigned n)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "%s sip:bob@10.0.0.1;user=phone SIP/2.0\r\n"
		 "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa%u;rport\r\n"
		 "Max-Forwards: 70\r\n"
		 "From: \"Alice\" <sip:alice@192.0.2.7>;tag=f%u\r\n"
		 "To: <sip:bob@example.com>\r\n"
		 "Call-ID: call-%u\r\nCSeq: 1 %s\r\nX-Tenant: blue\r\n"
		 "Content-Length: 0\r\n\r\n",
		 method, n, n, n, method);
	put(w, &caller, text);
}

static const char *last(struct world *w)
{
	CHECK(w->n > 0);
	return w->sent[(w->n - 1) % SENT_MAX];
}

static bool is_last(struct world *w, const char *start)
{
	if (strncmp(last(w), start, strlen(start)) == 0)
		return true;
	fprintf(stderr, "%s\n", last(w));
	return false;
}

/* The server answers the request that was sent last. */
static void answer(struct world *w, int code, const char *more)
{
	char text[TEXT_MAX], copy[TEXT_MAX];
	char *line, *save = NULL;
	int n;

	snprintf(copy, sizeof(copy), "%s", last(w));
	n = snprintf(text, sizeof(text), "SIP/2.0 %d Answer\r\n", code);
	for (line = strtok_r(copy, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		if (strncmp(line, "Via:", 4) && strncmp(line, "From:", 5) &&
		    strncmp(line, "Call-ID:", 8) && strncmp(line, "CSeq:", 5) &&
		    strncmp(line, "To:", 3))
			continue;
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s\r\n",
			      line, strncmp(line, "To:", 3) ? "" : ";tag=srv");
	}
	snprintf(text + n, sizeof(text) - (size_t)n,
		 "%sContent-Length: 0\r\n\r\n", more);
	put(w, &server, text);
}

#define HANDLER(body)                                                          \
	"local pbx = core.member('pbx', 'a', { addr = '10.0.0.1:5060' })\n"    \
	"core.handler('initial', nil, function(req)\n" body "\nend)\n"

/* ---- loading ---- */

TEST(load_reads_the_plan)
{
	static struct world w;
	struct script *s = load(
	    &w, "local core = require 'tandem.core'\n"
		"core.finish(function() return { listen = {"
		" { transport = 'udp', host = '0.0.0.0', port = 5070,"
		"   advertise = 'sip.example.com' } },"
		" settings = { workers = 2, log_level = 'debug', t1 = 0.25,"
		"  trying = 'rfc', late_answer = 'forward',"
		"  tcp = { idle_timeout = 600, per_source = 2 }, udp_max = 0,"
		"  overload = { delay = 0.1, exempt = { '112', '+49110' } },"
		"  max_memory = 16777216, udp = { gso = false },"
		"  domains = { 'example.com' }, trust = { '10.0.0.0/8' } },"
		" dump = '{}' } end)");
	const struct plan *p;

	CHECK(s != NULL);
	p = script_plan(s);
	CHECK_INT(p->listeners, 1);
	CHECK_INT(p->listener[0].addr.port, 5070);
	CHECK(strcmp(p->listener[0].advertise, "sip.example.com") == 0);
	CHECK_INT(p->workers, 2);
	CHECK_INT(p->log_level, LOG_DEBUG);
	CHECK_INT(p->times.t1, 250000);
	CHECK_INT(p->times.t2, SECONDS(4));
	CHECK_INT(p->trying, TRYING_RFC);
	CHECK_INT(p->late_answer, LATE_FORWARD);
	CHECK_INT(p->streams.idle, SECONDS(600));
	CHECK_INT(p->streams.per_source, 2);
	CHECK_INT(p->streams.header, SECONDS(10));
	CHECK_INT(p->udp_max, 0);
	CHECK_INT(p->overload.delay, MILLIS(100));
	CHECK_INT(p->overload.retry_after, 5);
	CHECK_INT(p->overload.n_exempt, 2);
	CHECK(strcmp(p->overload.exempt[1], "+49110") == 0);
	CHECK_INT(p->max_memory, 16777216);
	CHECK(!p->udp_gso);
	script_free(&s);
}

static void check_error(const char *text, const char *want)
{
	static struct world w;
	struct script *s = load(&w, text);

	CHECK(s == NULL);
	if (strcmp(w.err, want) != 0)
		fprintf(stderr, "%s\n", w.err);
	CHECK(strcmp(w.err, want) == 0);
}

TEST(load_names_the_line)
{
	check_error("local x = 1\nerror 'no'", "route.lua:2: no");
	check_error("local x = \n",
		    "route.lua:2: unexpected symbol near <eof>");
	check_error("require 'nothing'",
		    "route.lua:1: module 'nothing' not found: no such file");
}

TEST(load_wants_declarations)
{
	check_error("local x = 1", "route.lua: nothing is declared: the script "
				   "does not require \"tandem\"");
}

TEST(load_finds_who_called_tandem)
{
	static struct world w;

	w.file[1] = (struct file){
	    "tandem",
	    "local core = require 'tandem.core'\n"
	    "return function() error(core.where() .. ': bad', 0) end"};
	CHECK(load(&w, "local sip = require 'tandem'\n\nsip()") == NULL);
	CHECK(strcmp(w.err, "route.lua:3: bad") == 0);
}

TEST(load_has_no_clock_and_no_node)
{
	static struct world w;
	struct script *s =
	    load(&w, "local core = require 'tandem.core'\n"
		     "assert(core.now() == 0 and core.phase() == 'load')\n"
		     "assert(not pcall(core.spawn, function() end))\n"
		     "assert(not pcall(core.sleep, 1))\n"
		     "assert(not pcall(core.post, 0, 'a', 'b'))\n"
		     "core.finish(function() return {} end)");

	if (!s)
		fprintf(stderr, "%s\n", w.err);
	CHECK(s != NULL);
	script_free(&s);
}

/* ---- requests ---- */

TEST(reply_answers)
{
	static struct world w;

	open_world(&w, HANDLER("return req:_reply(404, nil, "
			       "{ { 'X-Why', 'test' } })"));
	send_request(&w, "OPTIONS", 1);
	CHECK(is_last(&w, "SIP/2.0 404 Not Found\r\n"));
	CHECK(strstr(last(&w), "X-Why: test\r\n") != NULL);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(try_forwards_the_answer)
{
	static struct world w;

	open_world(&w, HANDLER("local res = req:_try({ { facts = pbx } },"
			       " { timeout = 2 })\n"
			       "assert(res.server_facts == pbx)\n"
			       "assert(res.code == 486 and not res.is_local)\n"
			       "local facts, code = core.answered(res)\n"
			       "assert(facts == pbx and code == 486)\n"
			       "assert(select(3, core.answered(res)))\n"
			       "assert(res:header 'X-Back' == 'yes')\n"
			       "res:set_header('X-Back', 'no')\n"
			       "res:_forward()"));
	send_request(&w, "INVITE", 1);
	CHECK(is_last(&w, "INVITE sip:bob@10.0.0.1;user=phone SIP/2.0\r\n"));
	answer(&w, 486, "X-Back: yes\r\n");
	CHECK(is_last(&w, "SIP/2.0 486 Answer\r\n"));
	CHECK(strstr(last(&w), "X-Back: no\r\n") != NULL);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(changes_are_counted_when_a_state_becomes_another)
{
	static struct world w;

	open_world(&w,
		   HANDLER("local n = core.changes()\n"
			   "pbx:set('health', pbx:get 'health')\n"
			   "pbx:add('trial', 0)\n"
			   "pbx:set('latency', 12)\n"
			   "pbx:add('calls', 1)\n"
			   "assert(core.changes() == n)\n"
			   "for _, fact in ipairs { 'health', 'admin',\n"
			   "  'hold_until', 'failback_until', 'trial',\n"
			   "  'returned' } do\n"
			   "  pbx:set(fact, 2)\n"
			   "  n = n + 1\n"
			   "  assert(core.changes() == n, fact)\n"
			   "end\n"
			   "pbx:took(8)\n"
			   "assert(pbx:get 'latency' ~= 12)\n"
			   "assert(core.changes() == n)\n"
			   "assert(pbx:add('trial', -1) == 1)\n"
			   "assert(core.changes() == n + 1)\n"
			   "req:_reply(200)") "assert(core.changes() == 0)\n");
	send_request(&w, "OPTIONS", 1);
	CHECK(is_last(&w, "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(latency_arrives_at_what_answers_take_and_not_beyond)
{
	static struct world w;

	open_world(&w, HANDLER("pbx:took(8000)\n"
			       "assert(pbx:get 'latency' == 8000)\n"
			       "pbx:took(16000)\n"
			       "assert(pbx:get 'latency' == 9000)\n"
			       "local function arrives(from, took, at)\n"
			       "  pbx:set('latency', from)\n"
			       "  for _ = 1, 200 do\n"
			       "    local before = pbx:get 'latency'\n"
			       "    pbx:took(took)\n"
			       "    local now = pbx:get 'latency'\n"
			       "    assert(at <= now and now <= before or\n"
			       "      before <= now and now <= at, now)\n"
			       "  end\n"
			       "  assert(pbx:get 'latency' == at)\n"
			       "end\n"
			       "arrives(9000, 5000, 5000)\n"
			       "arrives(10, 5000, 5000)\n"
			       "arrives(5007, 5000, 5000)\n"
			       "arrives(4993, 5000, 5000)\n"
			       "arrives(5001, 5000, 5000)\n"
			       "arrives(4999, 5000, 5000)\n"
			       /* 0 is one that has not answered */
			       "arrives(9000, 0, 1)\n"
			       "arrives(1, -5, 1)\n"
			       "pbx:set('latency', 0)\n"
			       "pbx:took(0)\n"
			       "assert(pbx:get 'latency' == 1)\n"
			       "req:_reply(200)"));
	send_request(&w, "OPTIONS", 1);
	CHECK(is_last(&w, "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(lone_fields_and_states_are_found)
{
	static struct world w;

	open_world(&w,
		   HANDLER("assert(core.state(req, 'x') == nil)\n"
			   "req._state.keys = 7\n"
			   "assert(core.state(req, 'x') == req._state)\n"
			   "assert(core.lone({ a = 1 }, 'a') == 1)\n"
			   "assert(core.lone({ a = false }, 'a') == false)\n"
			   "for _, t in ipairs { {}, { b = 1 }, { 'a' },\n"
			   "  { a = 1, b = 2 }, { a = 1, 2 }, 'a',\n"
			   "  setmetatable({ a = 1 }, {}) } do\n"
			   "  assert(core.lone(t, 'a') == nil)\n"
			   "end\n"
			   "req:_reply(200)") "");
	send_request(&w, "OPTIONS", 1);
	CHECK(is_last(&w, "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(try_tells_why_it_failed)
{
	static struct world w;

	open_world(&w,
		   HANDLER("local res, err, d = req:_try({ { facts = pbx } },"
			   " { timeout = 2 })\n"
			   "assert(res == nil and err == 'timeout')\n"
			   "assert(d.cause == 'silent' and not d.provisional)\n"
			   "assert(d.address == '10.0.0.1:5060')\n"
			   "req:_reply(500)"));
	send_request(&w, "INVITE", 1);
	run(&w, MILLIS(1900));
	CHECK(is_last(&w, "INVITE"));
	run(&w, MILLIS(200));
	CHECK(is_last(&w, "SIP/2.0 500 "));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(request_shows_what_it_is)
{
	static struct world w;

	open_world(&w,
		   HANDLER("assert(req.method == 'INVITE')\n"
			   "assert(req.call_id == 'call-1')\n"
			   "assert(req.kind == 'initial')\n"
			   "assert(req.from.user == 'alice')\n"
			   "assert(req.from.display == 'Alice')\n"
			   "assert(req.from.tag == 'f1' and not req.to.tag)\n"
			   "assert(req.to.uri == 'sip:bob@example.com')\n"
			   "assert(req.source.ip == '192.0.2.7')\n"
			   "assert(req.source.transport == 'udp')\n"
			   "assert(req.source.facts == nil)\n"
			   "assert(req:header 'x-tenant' == 'blue')\n"
			   "assert(#req:headers 'Via' == 1)\n"
			   "assert(req.body == '' and req:age() == 0)\n"
			   "req.vars.x = 1; assert(req.vars.x == 1)\n"
			   "req:_reply(200)"));
	send_request(&w, "INVITE", 1);
	CHECK(is_last(&w, "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(ruri_is_assignable_in_parts)
{
	static struct world w;

	open_world(
	    &w, HANDLER("local u = req.ruri\n"
			"assert(u.user == 'bob' and u.host == '10.0.0.1')\n"
			"assert(u.params.user == 'phone' and not u.port)\n"
			"u.user, u.port = 'a b', 5080\n"
			"u.params.user, u.params.x = nil, '1'\n"
			"assert(u.user == 'a b')\n"
			"assert(tostring(u) == 'sip:a%20b@10.0.0.1:5080;x=1')\n"
			"u.host = '::1'\n"
			"assert(u.text == 'sip:a%20b@[::1]:5080;x=1')\n"
			"assert(not pcall(function() u.host = 'a b' end))\n"
			"assert(not pcall(function() u.port = 0 end))\n"
			"req.ruri = 'sip:carol@example.com'\n"
			"req:_try({ { facts = pbx } }, { timeout = 1 })\n"
			"req:_reply(500)"));
	send_request(&w, "INVITE", 1);
	CHECK_INT(w.errors, 0);
	CHECK(is_last(&w, "INVITE sip:carol@example.com SIP/2.0\r\n"));
	run(&w, SECONDS(2));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(headers_refuse_what_breaks_the_message)
{
	static struct world w;

	open_world(
	    &w,
	    HANDLER("for _, n in ipairs { 'Via', 'v', 'Call-ID', 'i', 'CSeq',"
		    " 'Content-Length', 'l', 'From', 'To', 'a b', '' } do\n"
		    " assert(not pcall(req.set_header, req, n, 'x'), n)\n"
		    " assert(not pcall(req.add_header, req, n, 'x'), n)\n"
		    " assert(not pcall(req.del_header, req, n), n)\n"
		    " assert(not pcall(req._reply, req, 200, nil,"
		    "  { { n, 'x' } }), n)\nend\n"
		    "for _, v in ipairs { 'a\\r\\nb', 'a\\nb', 'a\\0b' } do\n"
		    " assert(not pcall(req.set_header, req, 'X-A', v))\n"
		    " assert(not pcall(req._reply, req, 200, v))\nend\n"
		    "req:add_header('X-A', '1'); req:add_header('X-A', '2')\n"
		    "assert(#req:headers 'X-A' == 2)\n"
		    "req:del_header 'x-tenant'\n"
		    "assert(req:header 'X-Tenant' == nil)\n"
		    "req:_reply(200)"));
	send_request(&w, "INVITE", 1);
	CHECK(is_last(&w, "SIP/2.0 200 OK\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(response_shows_what_it_is)
{
	static struct world w;

	open_world(
	    &w,
	    HANDLER("local r = req:_try({ { facts = pbx } }, {})\n"
		    "assert(r.code == 302 and r.reason == 'Answer')\n"
		    "assert(r.retry_after == 120 and r.method == 'OPTIONS')\n"
		    "assert(r.address == '10.0.0.1:5060' and r.body == '')\n"
		    "local c = r.contacts\n"
		    "assert(#c == 2 and c[1].uri == 'sip:x@10.0.0.9;a=b')\n"
		    "assert(c[1].q == 0.5 and c[1].params.q == '0.5')\n"
		    "assert(c[2].uri == 'sip:y@10.0.0.8' and not c[2].q)\n"
		    "assert(#r:headers 'Via' == 1)\n"
		    "assert(r:headers()[1][1] == 'Via')\n"
		    "assert(not pcall(function() return r.nothing end))\n"
		    "assert(core.better(r, nil) == r and"
		    " core.better(nil, r) == r and core.better(r, r) == r)\n"
		    "r:_forward()"));
	send_request(&w, "OPTIONS", 1);
	answer(&w, 302,
	       "Retry-After: 120 (busy);duration=3\r\n"
	       "Contact: <sip:x@10.0.0.9;a=b>;q=0.5, <sip:y@10.0.0.8>\r\n");
	CHECK(is_last(&w, "SIP/2.0 302 Answer\r\n"));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(targets_must_be_allowed)
{
	static struct world w;

	open_world(&w, HANDLER("assert(req:_may_reach 'sip:10.0.0.1')\n"
			       "assert(not req:_may_reach 'sip:10.9.9.9')\n"
			       "local ok, e = pcall(req._try, req,"
			       " { { uri = 'sip:10.9.9.9' } }, {})\n"
			       "assert(not ok and e:find 'may not reach')\n"
			       "for _, t in ipairs { {}, { { } }, 1,"
			       " { { uri = 'x' } }, { 1 } } do\n"
			       " assert(not pcall(req._try, req, t, {}))\nend\n"
			       "req:_reply(403)"));
	send_request(&w, "INVITE", 1);
	CHECK(is_last(&w, "SIP/2.0 403 "));
	CHECK_INT(w.n, 1);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

/* ---- how handlers end ---- */

static void check_500(const char *body, const char *in_log)
{
	static struct world w;

	open_world(&w, body);
	send_request(&w, "INVITE", 1);
	run(&w, SECONDS(1));
	CHECK(is_last(&w, "SIP/2.0 500 "));
	CHECK_INT(w.errors, in_log ? 1 : 0);
	if (in_log)
		CHECK(strstr(w.error, in_log) != NULL);
	put(&w, &caller,
	    "ACK sip:bob@10.0.0.1;user=phone SIP/2.0\r\n"
	    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa1;rport\r\n"
	    "Max-Forwards: 70\r\nFrom: <sip:alice@192.0.2.7>;tag=f1\r\n"
	    "To: <sip:bob@example.com>;tag=x\r\nCall-ID: call-1\r\n"
	    "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
	w.errors = 0;
	close_world(&w);
}

TEST(end_with_an_error)
{
	check_500(HANDLER("error 'oh no'"), "oh no");
}

TEST(end_without_a_verb)
{
	check_500(HANDLER("local x = 1"), "without a verb");
}

TEST(end_with_what_relay_said)
{
	check_500(HANDLER("return nil, 'down'"), NULL);
}

TEST(end_in_a_loop)
{
	check_500(HANDLER("while true do end"), "limit=instructions");
}

TEST(end_in_a_loop_that_catches)
{
	check_500(HANDLER("while true do pcall(function() while true do end "
			  "end) end"),
		  "limit=instructions");
}

TEST(end_in_the_middle_of_a_spawned_try)
{
	check_500(HANDLER("core.spawn(function()\n"
			  " req:_try({ { facts = pbx } }, { timeout = 0.3 })\n"
			  " assert(not pcall(req._reply, req, 200))\n"
			  "end)\ncore.sleep(0.1)"),
		  "without a verb");
}

TEST(verbs_are_used_once)
{
	static struct world w;

	open_world(&w,
		   HANDLER("req:_reply(404)\n"
			   "local ok, e = pcall(req._reply, req, 200)\n"
			   "assert(not ok and e:find 'already, by reply')\n"
			   "ok, e = pcall(req._try, req, {{facts=pbx}}, {})\n"
			   "assert(not ok and e:find 'already, by reply')\n"
			   "kept = nil"));
	send_request(&w, "INVITE", 1);
	CHECK(strstr(w.error, "assignment to the undeclared") != NULL);
	w.errors = 0;
	close_world(&w);
}

TEST(one_try_at_a_time)
{
	static struct world w;

	open_world(&w,
		   HANDLER("local task = core.spawn(function()\n"
			   " return pcall(req._try, req,"
			   "  { { facts = pbx } }, { timeout = 1 })\nend)\n"
			   "req:_try({ { facts = pbx } }, { timeout = 1 })\n"
			   "local ok, e = task:wait()\n"
			   "assert(not ok and e:find 'still open', e)\n"
			   "req:_reply(480)"));
	send_request(&w, "INVITE", 1);
	run(&w, SECONDS(2));
	CHECK(is_last(&w, "SIP/2.0 480 "));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(cancel_wakes_the_handler)
{
	static struct world w;

	open_world(&w, HANDLER("local r, e = req:_try({{facts=pbx}}, {})\n"
			       "assert(r == nil and e == 'cancelled')\n"
			       "assert(req:decided())\n"
			       "r, e = req:_try({{facts=pbx}}, {})\n"
			       "assert(r == nil and e == 'cancelled')\n"
			       "req:_reply(404)\nreq:_reply(404)"));
	send_request(&w, "INVITE", 1);
	put(&w, &caller,
	    "CANCEL sip:bob@10.0.0.1;user=phone SIP/2.0\r\n"
	    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKa1;rport\r\n"
	    "Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@192.0.2.7>;tag=f1"
	    "\r\nTo: <sip:bob@example.com>\r\nCall-ID: call-1\r\n"
	    "CSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n");
	CHECK(is_last(&w, "SIP/2.0 487 "));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(handles_say_that_the_request_is_gone)
{
	static struct world w;

	open_world(
	    &w,
	    "local kept = {}\n" HANDLER(
		"kept[1] = req\n"
		"local res = req:_try({ { facts = pbx } }, {})\n"
		"kept[2] = res\nres:_forward()") "core.every(30,"
						 " function()\n"
						 " for i = 1, 2 do\n"
						 "  local ok, e = "
						 "pcall(function()"
						 "   return kept[i].body end)\n"
						 "  assert(not ok and e:find "
						 "'transaction is gone')\n"
						 " end\n core.event('info', "
						 "'checked', {})\nend)\n");
	send_request(&w, "OPTIONS", 1);
	answer(&w, 200, "");
	CHECK(is_last(&w, "SIP/2.0 200 "));
	run(&w, SECONDS(100));
	CHECK(strstr(w.log, "event=checked") != NULL);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(on_response_sees_what_passes)
{
	static struct world w;

	open_world(&w, HANDLER("local seen = ''\n"
			       "local res = req:_try({ { facts = pbx } }, {"
			       " on_response = function(r)\n"
			       "  seen = seen .. r.code .. ' '\n"
			       "  r:add_header('X-Seen', seen)\n"
			       "  assert(not pcall(r._forward, r))\n"
			       "  assert(not pcall(req._reply, req, 404))\n"
			       "  assert(not pcall(core.sleep, 1))\n"
			       " end })\n"
			       "assert(seen == '180 200 ')\nres:_forward()"));
	send_request(&w, "INVITE", 1);
	{
		char invite[TEXT_MAX];

		snprintf(invite, sizeof(invite), "%s", last(&w));
		answer(&w, 180, "");
		CHECK(is_last(&w, "SIP/2.0 180 "));
		CHECK(strstr(last(&w), "X-Seen: 180 \r\n") ||
		      strstr(last(&w), "X-Seen: 180\r\n"));
		snprintf(w.sent[w.n++ % SENT_MAX], TEXT_MAX, "%s", invite);
		answer(&w, 200, "Contact: <sip:10.0.0.1>\r\n");
	}
	CHECK(is_last(&w, "SIP/2.0 200 "));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

/* ---- timers, tasks, messages, values ---- */

TEST(timers_repeat_until_cancelled)
{
	static struct world w;

	open_world(&w, "local n, timer = 0, nil\n"
		       "timer = core.every(1, function()\n"
		       " n = n + 1\n"
		       " core.event('info', 'tick', { { 'n', n } })\n"
		       " if n == 3 then timer:cancel() end\nend)\n");
	run(&w, MILLIS(2500));
	CHECK(strstr(w.log, "event=tick n=2") != NULL);
	run(&w, SECONDS(10));
	CHECK(strstr(w.log, "event=tick n=3") != NULL);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(timers_skip_what_is_still_running)
{
	static struct world w;

	open_world(&w, "local n = 0\n"
		       "core.every(1, function()\n"
		       " n = n + 1\n"
		       " core.event('info', 'tick', { { 'n', n } })\n"
		       " core.sleep(2.5)\nend)\n");
	run(&w, MILLIS(5200));
	CHECK(strstr(w.log, "event=tick n=2") != NULL);
	close_world(&w);
}

TEST(start_and_stop_are_called)
{
	static struct world w;
	struct script_stats stats;

	open_world(&w, "core.start(function()\n"
		       " core.after(0.5, function()"
		       "  core.event('info', 'later', {}) end)\n"
		       " core.spawn(function() core.sleep(100) end)\nend)\n"
		       "core.stop(function() core.event('info', 'stopped', {})"
		       " end)\n");
	run(&w, SECONDS(1));
	CHECK(strstr(w.log, "event=later") != NULL);
	script_stats(w.script, &stats);
	CHECK_INT(stats.tasks, 1);
	script_unbind(w.script, w.now);
	CHECK(strstr(w.log, "event=stopped") != NULL);
	script_free(&w.script);
	core_free(&w.core);
	node_free(&w.node);
}

TEST(unbind_answers_what_is_open)
{
	static struct world w;

	open_world(&w, HANDLER("core.sleep(10)"));
	send_request(&w, "INVITE", 1);
	script_unbind(w.script, w.now);
	CHECK(is_last(&w, "SIP/2.0 500 "));
	script_free(&w.script);
	core_free(&w.core);
	node_free(&w.node);
}

TEST(the_next_generation_answers_an_open_try)
{
	static struct world w;
	struct script *old;

	open_world(&w, HANDLER("req:_try({ { facts = pbx } }, {timeout = 1})"));
	send_request(&w, "INVITE", 1);
	old = w.script;
	script_unbind(old, w.now);
	w.script =
	    load(&w, "local core = require 'tandem.core'\n" FINISH HANDLER(
			 "return nil, 'x'"));
	CHECK_INT(script_bind(w.script, w.core, w.now), 0);
	script_free(&old);
	run(&w, SECONDS(2));
	CHECK(is_last(&w, "SIP/2.0 500 "));
	close_world(&w);
}

TEST(facts_survive_a_reload_by_name)
{
	static struct world w;
	struct script *old;

	open_world(&w, HANDLER("pbx:set('falls', 7); pbx:add('falls', 1)\n"
			       "req:_reply(200)"));
	send_request(&w, "OPTIONS", 1);
	old = w.script;
	script_unbind(old, w.now);
	w.script =
	    load(&w, "local core = require 'tandem.core'\n" FINISH HANDLER(
			 "assert(pbx:get 'falls' == 8)\nreq:_reply(200)"));
	CHECK_INT(script_bind(w.script, w.core, w.now), 0);
	script_free(&old);
	send_request(&w, "OPTIONS", 2);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(messages_arrive)
{
	static struct world w;

	open_world(&w, "core.on_post(function(topic, payload)\n"
		       " core.sleep(0.1)\n"
		       " core.event('info', topic, { { 'p', payload } })\n"
		       "end)\n"
		       "core.start(function() core.post(0, 'hello', 'world')"
		       " end)\n");
	CHECK(w.posted);
	core_post(w.core, w.now, &w.post);
	run(&w, SECONDS(1));
	CHECK(strstr(w.log, "event=hello p=world") != NULL);
	close_world(&w);
}

TEST(own_requests_are_answered)
{
	static struct world w;

	open_world(&w, "local pbx = core.member('pbx', 'a',"
		       " { addr = '10.0.0.1:5060' })\n"
		       "core.after(0, function()\n"
		       " local res = core.request { method = 'OPTIONS',"
		       "  uri = 'sip:10.0.0.1', facts = pbx,"
		       "  from = 'sip:probe@example.com', timeout = 1 }\n"
		       " assert(res.code == 200 and res.server_facts == pbx)\n"
		       " assert(res:header 'Allow' == 'INVITE, ACK')\n"
		       " core.sleep(1)\n"
		       " assert(res:header 'Allow' == 'INVITE, ACK')\n"
		       " assert(not pcall(res._forward, res))\n"
		       " local r, e, d = core.request { method = 'OPTIONS',"
		       "  uri = 'sip:10.0.0.1', timeout = 1 }\n"
		       " assert(r == nil and e == 'timeout')\n"
		       " core.event('info', 'done', {})\nend)\n");
	run(&w, MILLIS(10));
	CHECK(is_last(&w, "OPTIONS sip:10.0.0.1 SIP/2.0\r\n"));
	CHECK(strstr(last(&w), "From: <sip:probe@example.com>;tag=") != NULL);
	answer(&w, 200, "Allow: INVITE, ACK\r\n");
	run(&w, SECONDS(3));
	CHECK_INT(w.errors, 0);
	CHECK(strstr(w.log, "event=done") != NULL);
	close_world(&w);
}

TEST(values_are_shared_and_json_is_canonical)
{
	static struct world w;

	open_world(
	    &w,
	    "core.start(function()\n"
	    " local t = core.shared 'x'\n"
	    " t:set('a', 'text'); t:set('b', 2.5); t:set('c', true)\n"
	    " assert(t:get 'a' == 'text' and t:get 'b' == 2.5)\n"
	    " assert(t:get 'c' == true and t:get 'd' == nil)\n"
	    " assert(t:incr 'n' == 1 and t:incr('n', 5) == 6)\n"
	    " t:set('a', nil); assert(t:get 'a' == nil)\n"
	    " assert(not pcall(t.incr, t, 'c'))\n"
	    " core.sticky_set('pbx', 'k', 'a', 60)\n"
	    " assert(core.sticky_get('pbx', 'k') == 'a')\n"
	    " assert(core.sticky_get('pbx', 'l') == nil)\n"
	    " local s = core.json_encode { b = { 1, 2.5, 'x\\n' }, a = {},"
	    "  c = true }\n"
	    " assert(s == '{\"a\":{},\"b\":[1,2.5,\"x\\\\n\"],\"c\":true}', "
	    "s)\n"
	    " local v = core.json_decode(' {\"a\": [1, -2.5e1, \"\\\\u00e4\","
	    " null, false]} ')\n"
	    " assert(v.a[1] == 1 and v.a[2] == -25.0 and v.a[3] == '\\xc3\\xa4'"
	    "  and v.a[4] == nil and v.a[5] == false)\n"
	    " assert(not pcall(core.json_decode, '{\"a\":1}x'))\n"
	    " assert(not pcall(core.json_decode, '[1,'))\n"
	    " assert(core.hash('a', 'b') ~= core.hash('ab'))\n"
	    " assert(core.hash('a') == core.hash('a'))\n"
	    " local u = core.parse_uri 'sip:a@10.0.0.1:5070;transport=tcp'\n"
	    " assert(u.user == 'a' and u.port == 5070 and u.ip"
	    "  and u.transport == 'tcp')\n"
	    " assert(core.parse_uri 'nonsense' == nil)\n"
	    " local a = core.parse_addr 'udp:[::1]:5080'\n"
	    " assert(a.host == '::1' and a.port == 5080)\n"
	    " assert(core.net '10.0.0.0/8' and not core.net '10.0.0.0/33')\n"
	    " assert(core.seconds(core.us(1.5)) == 1.5)\n"
	    "end)\n");
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(what_repeats_itself_does_not_stop_the_clock)
{
	static struct world w;

	open_world(&w, "local function again() core.spawn(again) end\n"
		       "core.after(0, again)\n"
		       "core.after(0.05, function()"
		       " core.event('info', 'alive', {}) end)\n");
	run(&w, MILLIS(100));
	CHECK(strstr(w.log, "event=alive") != NULL);
	close_world(&w);
}

/* ---- where servers are ---- */

static const struct server_places *places_of(struct world *w)
{
	const struct member *m =
	    members_by_name(&core_node(w->core)->members, STR("pbx/a"));

	CHECK(m != NULL);
	return proxy_places(core_proxy(w->core), m);
}

TEST(places_of_the_script_are_in_order)
{
	static struct world w;
	const struct server_places *s;

	open_world(&w, "core.member('pbx', 'a', { addr = {"
		       " '10.0.0.1:5070;transport=tcp', '[2001:db8::1]' } })\n"
		       "core.after(0, function() end)\n");
	s = places_of(&w);
	CHECK_INT(s->n, 2);
	CHECK_INT(s->at[0].transport, TRANSPORT_TCP);
	CHECK_INT(s->at[0].addr.port, 5070);
	CHECK_INT(s->at[0].rank, 0);
	CHECK_INT(s->at[1].transport, TRANSPORT_UDP);
	CHECK_INT(s->at[1].addr.port, 5060);
	CHECK_INT(s->at[1].rank, 1);
	close_world(&w);
}

/* With none an own request ends at once; else it goes to the first that is not
 * down. */
TEST(places_are_told_while_it_runs)
{
	static struct world w;
	const struct server_places *s;

	open_world(&w, "local pbx = core.member('pbx', 'a', { addr = {} })\n"
		       "local function ask()\n"
		       " return core.request { method = 'OPTIONS',"
		       "  uri = 'sip:pbx', facts = pbx, timeout = 1 }\nend\n"
		       "core.after(0, function()\n"
		       " local r, e, d = ask()\n"
		       " assert(not r and e == 'transport')\n"
		       " assert(d.cause == 'dns_none')\n"
		       " assert(pbx:place {"
		       "  { addr = '10.0.0.3:5060', rank = 0, down = true },"
		       "  { addr = '10.0.0.2:5060', rank = 7, weight = 9 },"
		       "  { addr = '10.0.0.1:5060', rank = 2 } } == true)\n"
		       " assert(ask().code == 200)\n"
		       "end)\n");
	run(&w, MILLIS(10));
	s = places_of(&w);
	CHECK_INT(s->n, 3);
	CHECK(s->at[0].is_down && !s->at[1].is_down);
	CHECK_INT(s->at[1].rank, 7);
	CHECK_INT(s->at[1].weight, 9);
	CHECK(is_last(&w, "OPTIONS sip:pbx SIP/2.0\r\n"));
	answer(&w, 200, "");
	run(&w, SECONDS(1));
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

TEST(places_are_addresses)
{
	static struct world w;

	open_world(
	    &w, "local pbx = core.member('pbx', 'a', { addr = '10.0.0.1' })\n"
		"core.after(0, function()\n"
		" local function wrong(list)\n"
		"  assert(not pcall(pbx.place, pbx, list))\n"
		" end\n"
		" wrong(nil); wrong { 1 }; wrong { {} }\n"
		" wrong { { addr = 'pbx.example.com' } }\n"
		" wrong { { addr = '10.0.0.1;transport=sctp' } }\n"
		" wrong { { addr = '10.0.0.1', rank = 65536 } }\n"
		" wrong { { addr = '10.0.0.1', weight = -1 } }\n"
		" local many = {}\n"
		" for i = 1, 17 do many[i] = { addr = '10.0.0.' .. i } end\n"
		" wrong(many)\n"
		" many[17] = nil\n"
		" assert(pbx:place(many))\n"
		"end)\n"
		"assert(not pcall(pbx.place, pbx, {}))\n");
	run(&w, MILLIS(10));
	CHECK_INT(places_of(&w)->n, 16);
	CHECK_INT(w.errors, 0);
	close_world(&w);
}

/* ---- when memory runs out ---- */

static const char story[] =
    "local pbx = core.member('pbx', 'a', { addr = '10.0.0.1:5060' })\n"
    "core.handler('initial', nil, function(req)\n"
    " local res, err = req:_try({ { facts = pbx } }, { timeout = 2,\n"
    "  on_response = function(r) r:add_header('X-A', 'b') end })\n"
    " req.vars.x = { req.from, req.source, req.ruri.user }\n"
    " local task = core.spawn(function() core.sleep(0.1) return 1, 2 end)\n"
    " local t = core.after(0.05, function() end)\n"
    " task:wait(); t:cancel()\n"
    " core.shared 'x':set('k', core.json_encode { res and 1 })\n"
    " if res then res:_forward() else req:_reply(480) end\n"
    "end)\n"
    "core.start(function() core.every(0.3, function()\n"
    " pbx:place { { addr = '10.0.0.1:5060' }, { addr = '10.0.0.2:5060',"
    "  rank = 1 } }\n"
    " core.request { method = 'OPTIONS', uri = 'sip:10.0.0.1',"
    "  timeout = 0.1 }\n"
    "end) end)";

static void tell_story(struct world *w)
{
	char invite[TEXT_MAX];

	send_request(w, "INVITE", 1);
	if (w->n && strncmp(last(w), "INVITE", 6) == 0) {
		snprintf(invite, sizeof(invite), "%s", last(w));
		answer(w, 180, "");
		snprintf(w->sent[w->n++ % SENT_MAX], TEXT_MAX, "%s", invite);
		answer(w, 486, "");
	}
	run(w, SECONDS(1));
}

/* Lets the n-th allocation from here on fail, and the story be told. False:
 * there were not so many. */
static bool sweep(struct mem *(*mem_of)(struct world *w), uint64_t n,
		  uint64_t row)
{
	static struct world w;
	struct mem *m;
	bool reached;

	open_world(&w, story);
	m = mem_of(&w);
	m->fail_at = m->calls + n;
	m->fail_for = row;
	tell_story(&w);
	reached = m->calls >= m->fail_at;
	m->fail_at = 0;
	run(&w, SECONDS(1));
	/* Another caller is served again. */
	w.n = 0;
	send_request(&w, "INVITE", 2);
	CHECK(w.n > 0 && is_last(&w, "INVITE"));
	close_world(&w);
	return reached;
}

static struct mem *core_memory(struct world *w)
{
	return core_mem(w->core);
}

static struct mem *lua_memory(struct world *w)
{
	return vm_mem(vm_of(script_lua(w->script)));
}

TEST(memory_of_the_core_runs_out)
{
	for (uint64_t n = 1; sweep(core_memory, n, 1); n++)
		;
}

TEST(memory_of_lua_runs_out)
{
	for (uint64_t n = 1; sweep(lua_memory, n, 1); n++)
		;
}

TEST(memory_of_lua_stays_out)
{
	for (uint64_t n = 1; sweep(lua_memory, n, 20); n += 7)
		;
}
