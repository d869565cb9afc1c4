/* The Lua state of the control API, with an API of the test's own. */
#include "support/unit.h"
#include "lua/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char api[] =
    "local call = require 'tandem.control.call'\n"
    "local api = {}\n"
    "function api.handle(rq)\n"
    "  if rq.path == '/echo' then\n"
    "    return 200, 'text/plain', rq.method .. ' ' .. rq.who .. ' ' .. "
    "      tostring(rq.may_write) .. ' ' .. rq.query.a .. ' ' .. rq.body\n"
    "  elseif rq.path == '/verb' then\n"
    "    local one, why = call('now', 'x', 'y')\n"
    "    local two = call('later')\n"
    "    return 200, 'text/plain', (one or why) .. '+' .. tostring(two)\n"
    "  elseif rq.path == '/refused' then\n"
    "    local value, why = call('refuse')\n"
    "    return 409, 'text/plain', tostring(value) .. ' ' .. why\n"
    "  elseif rq.path == '/nothing' then\n"
    "    return 200\n"
    "  end\n"
    "  error 'a bug'\n"
    "end\n"
    "return api\n";

struct world {
	char root[64], file[160];
	struct console *console;
	struct console_call *later;
	char args[64];
	unsigned status;
	char body[256], failed[1024];
	int ends;
};

static void verb(void *ctx, struct str name, const struct str *arg, size_t n,
		 struct console_call *call)
{
	struct world *w = ctx;

	if (str_eq(name, STR("later"))) {
		w->later = call;
	} else if (str_eq(name, STR("refuse"))) {
		console_answer(call, false, STR("no"));
	} else {
		snprintf(w->args, sizeof(w->args), "%zu %s", n, arg[n - 1].p);
		console_answer(call, true, STR("one"));
	}
}

static void failed(void *ctx, struct str trace)
{
	struct world *w = ctx;

	snprintf(w->failed, sizeof(w->failed), "%.*s", STR_FMT(trace));
}

static void on_end(void *ctx, const struct console_reply *r)
{
	struct world *w = ctx;

	w->ends++;
	w->status = r->status;
	snprintf(w->body, sizeof(w->body), "%.*s", STR_FMT(r->body));
}

static void write_api(struct world *w, const char *text)
{
	char dir[96];
	FILE *f;

	strcpy(w->root, "/tmp/console_test.XXXXXX");
	CHECK(mkdtemp(w->root) != NULL);
	snprintf(dir, sizeof(dir), "%s/tandem", w->root);
	CHECK_INT(mkdir(dir, 0700), 0);
	strcat(dir, "/control");
	CHECK_INT(mkdir(dir, 0700), 0);
	snprintf(w->file, sizeof(w->file), "%s/api.lua", dir);
	f = fopen(w->file, "w");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void remove_api(struct world *w)
{
	unlink(w->file);
	for (int i = 0; i < 3; i++) {
		*strrchr(w->file, '/') = '\0';
		CHECK_INT(rmdir(w->file), 0);
	}
}

static void open_world(struct world *w, const char *text, char *why, size_t n)
{
	struct console_conf conf = {w->root, verb, failed, w};

	memset(w, 0, sizeof(*w));
	write_api(w, text);
	w->console = console_new(&conf, why, n);
	remove_api(w);
}

static void begin(struct world *w)
{
	char why[512];

	open_world(w, api, why, sizeof(why));
	CHECK(w->console != NULL);
}

static void ask(struct world *w, struct str path)
{
	struct console_pair query[] = {{STR("a"), STR("1 2")}};
	struct console_request rq = {STR("GET"), path,  STR("{}"), STR("root"),
				     true,       query, 1};

	console_request(w->console, &rq, on_end, w);
}

TEST(what_came_reaches_the_handler)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/echo"));
	CHECK_INT(w.status, 200);
	CHECK_STR(str_from(w.body), "GET root true 1 2 {}");
	console_free(&w.console);
	CHECK_INT(w.ends, 1);
}

TEST(a_handler_waits_for_a_verb)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/verb"));
	CHECK_STR(str_from(w.args), "2 y");
	CHECK_INT(w.ends, 0);
	console_answer(w.later, true, STR("two"));
	CHECK_INT(w.ends, 1);
	CHECK_STR(str_from(w.body), "one+two");
	console_free(&w.console);
}

TEST(two_handlers_wait_side_by_side)
{
	struct world w;
	struct console_call *first;

	begin(&w);
	ask(&w, STR("/verb"));
	first = w.later;
	ask(&w, STR("/verb"));
	console_answer(w.later, true, STR("second"));
	CHECK_STR(str_from(w.body), "one+second");
	console_answer(first, true, STR("first"));
	CHECK_STR(str_from(w.body), "one+first");
	CHECK_INT(w.ends, 2);
	console_free(&w.console);
}

TEST(a_verb_may_refuse)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/refused"));
	CHECK_INT(w.status, 409);
	CHECK_STR(str_from(w.body), "nil no");
	console_free(&w.console);
}

TEST(a_bug_is_one_500)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/bug"));
	CHECK_INT(w.status, 500);
	CHECK(strstr(w.failed, "a bug") != NULL);
	CHECK(strstr(w.failed, "stack traceback") != NULL);
	ask(&w, STR("/nothing"));
	CHECK_INT(w.status, 500);
	ask(&w, STR("/echo"));
	CHECK_INT(w.status, 200);
	console_free(&w.console);
}

TEST(who_has_gone_hears_nothing)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/verb"));
	console_forget(w.console, &w);
	console_answer(w.later, true, STR("two"));
	CHECK_INT(w.ends, 0);
	console_free(&w.console);
}

TEST(the_end_is_a_503_and_late_answers_are_nobodys)
{
	struct world w;

	begin(&w);
	ask(&w, STR("/verb"));
	console_end(w.console);
	CHECK_INT(w.ends, 1);
	CHECK_INT(w.status, 503);
	console_answer(w.later, true, STR("late"));
	CHECK_INT(w.ends, 1);
	console_free(&w.console);
}

TEST(an_api_that_does_not_load_says_why)
{
	struct world w;
	char why[512];

	open_world(&w, "return nothing.at.all", why, sizeof(why));
	CHECK(w.console == NULL);
	CHECK(strstr(why, "the control API cannot be loaded") != NULL);
	CHECK(strstr(why, "api.lua:1:") != NULL);
}
