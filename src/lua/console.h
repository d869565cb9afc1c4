/*
 * A Lua state for the operator's side of the program: the control API, and
 * commands like `tandem ctl`. It is stock Lua with files, processes and cjson;
 * nothing of a script ever runs in it, and no worker waits for it. What it
 * wants of the process it asks for by verbs: a name and strings, answered by a
 * text, now or later. Used by one thread.
 */
#ifndef LUA_CONSOLE_H
#define LUA_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include "util/str.h"

struct console;
/* One verb that is waited for. */
struct console_call;

/* Does what is asked, and answers `call` exactly once: before it returns, or
 * later. The strings are borrowed until it returns. */
typedef void console_verb(void *ctx, struct str verb, const struct str *arg,
			  size_t n, struct console_call *call);

enum { CONSOLE_ARGS = 16 };

struct console_conf {
	const char *lua_dir; /* holds tandem/control/api.lua */
	console_verb *verb;
	/* A handler has failed: with the traceback. */
	void (*failed)(void *ctx, struct str trace);
	void *ctx;
};

/* Loads tandem.control.api. NULL with the reason in why[n]. */
struct console *console_new(const struct console_conf *conf, char *why,
			    size_t n);
/* Handlers that wait are given up: their on_end is called with a 503. Calls
 * that are not answered yet may be answered afterwards, to nobody. */
void console_end(struct console *c);
void console_free(struct console **c); /* and all of that */

/* The answer, or why there is none. `text` is copied. */
void console_answer(struct console_call *call, bool ok, struct str text);

struct console_pair {
	struct str name, value;
};

/* What came over HTTP. */
struct console_request {
	struct str method, path, body, who;
	bool may_write; /* the sender may change things */
	const struct console_pair *query;
	size_t n_query;
};

struct console_reply {
	unsigned status;
	struct str type, body;
};

/* Has it answered by tandem.control.api. on_end is called once, during this
 * call or later; the reply is borrowed until it returns. */
void console_request(struct console *c, const struct console_request *rq,
		     void (*on_end)(void *ctx, const struct console_reply *r),
		     void *ctx);
/* Nobody waits for that any more: on_end is not called with this ctx. */
void console_forget(struct console *c, void *ctx);

/* Runs a command: require(module)(argv...) in a fresh state, which gives the
 * exit code. Errors go to standard error, and are `failed`. */
int console_run(const char *lua_dir, const char *module, int argc,
		char *const *argv, int failed);

#endif
