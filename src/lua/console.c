#include "lua/console.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/list.h"

/*
 * Handlers are coroutines: what waits for a verb yields, and is resumed by the
 * answer. A coroutine is anchored in the registry by its job.
 */

static const char handler[] = "tandem.handler"; /* in the registry */

struct console {
	lua_State *L;
	struct console_conf conf;
	struct list jobs;
};

/* A request being handled. */
struct job {
	struct list link;
	struct console *console;
	lua_State *co;
	int anchor;
	struct console_call *call; /* that it waits for */
	void (*on_end)(void *ctx, const struct console_reply *r);
	void *ctx;
};

struct console_call {
	struct job *job; /* NULL: nobody waits any more */
	bool in_verb;    /* the verb has not returned yet */
	bool answered, ok;
	char *text;
	size_t n;
};

/* ---- a stock state ---- */

/* package.path becomes what is below lua_dir, and the system's for libraries.
 */
static void set_path(lua_State *L, const char *lua_dir)
{
	lua_getglobal(L, "package");
	lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;", lua_dir, lua_dir);
	lua_getfield(L, -2, "path");
	lua_concat(L, 2);
	lua_setfield(L, -2, "path");
	lua_pop(L, 1);
}

static int traced(lua_State *L)
{
	luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
	return 1;
}

/* require(module), protected; false with the error at the top. */
static bool push_module(lua_State *L, const char *module)
{
	lua_pushcfunction(L, traced);
	lua_getglobal(L, "require");
	lua_pushstring(L, module);
	if (lua_pcall(L, 1, 1, -3) != LUA_OK) {
		lua_remove(L, -2);
		return false;
	}
	lua_remove(L, -2);
	return true;
}

static lua_State *open_state(const char *lua_dir)
{
	lua_State *L = luaL_newstate();

	if (L) {
		luaL_openlibs(L);
		set_path(L, lua_dir);
	}
	return L;
}

/* ---- verbs ---- */

static struct job *job_of(lua_State *co)
{
	struct job *j;

	lua_rawgetp(co, LUA_REGISTRYINDEX, co);
	j = lua_touserdata(co, -1);
	lua_pop(co, 1);
	return j;
}

/* text | nil, why */
static int push_text(lua_State *L, const struct console_call *call)
{
	if (!call->ok)
		lua_pushnil(L);
	lua_pushlstring(L, call->text ? call->text : "", call->n);
	return call->ok ? 1 : 2;
}

static void call_free(struct console_call *call)
{
	free(call->text);
	free(call);
}

static int give_answer(lua_State *co, int status, lua_KContext kctx)
{
	struct job *j = job_of(co);
	struct console_call *call = j->call;
	int n;

	(void)status;
	(void)kctx;
	n = push_text(co, call);
	j->call = NULL;
	call_free(call);
	return n;
}

/* host.call(verb, ...) */
static int l_call(lua_State *L)
{
	struct job *j = job_of(L);
	struct str arg[CONSOLE_ARGS], verb;
	int n = lua_gettop(L) - 1;
	struct console_call *call;

	if (!j)
		return luaL_error(L, "outside of a request");
	verb.p = luaL_checklstring(L, 1, &verb.n);
	luaL_argcheck(L, n <= CONSOLE_ARGS, 2, "too many arguments");
	for (int i = 0; i < n; i++)
		arg[i].p = luaL_checklstring(L, i + 2, &arg[i].n);
	call = calloc(1, sizeof(*call));
	if (!call)
		return luaL_error(L, "not enough memory");
	call->job = j;
	call->in_verb = true;
	j->call = call;
	j->console->conf.verb(j->console->conf.ctx, verb, arg, (size_t)n, call);
	call->in_verb = false;
	if (call->answered)
		return give_answer(L, LUA_OK, 0);
	return lua_yieldk(L, 0, 0, give_answer);
}

static void keep_answer(struct console_call *call, bool ok, struct str text)
{
	call->answered = true;
	call->ok = ok;
	call->text = malloc(text.n + 1);
	if (!call->text) {
		call->ok = false;
		return;
	}
	if (text.n)
		memcpy(call->text, text.p, text.n);
	call->n = text.n;
}

/* ---- a request ---- */

static void job_free(struct job *j)
{
	lua_State *L = j->console->L;

	list_remove(&j->link);
	lua_pushnil(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, j->co);
	luaL_unref(L, LUA_REGISTRYINDEX, j->anchor);
	if (j->call)
		j->call->job = NULL;
	free(j);
}

static void job_end(struct job *j, unsigned status, struct str type,
		    struct str body)
{
	struct console_reply r = {status, type, body};

	if (j->on_end)
		j->on_end(j->ctx, &r);
	job_free(j);
}

/* handle(request) -> status, type, body */
static void job_returned(struct job *j, int n)
{
	lua_State *co = j->co;
	struct str type, body;

	if (n != 3 || lua_type(co, -1) != LUA_TSTRING ||
	    lua_type(co, -2) != LUA_TSTRING) {
		job_end(j, 500, STR("text/plain"), STR("no reply\n"));
		return;
	}
	type.p = lua_tolstring(co, -2, &type.n);
	body.p = lua_tolstring(co, -1, &body.n);
	job_end(j, (unsigned)lua_tointeger(co, -3), type, body);
}

static void job_run(struct job *j, int args)
{
	int n = 0, status = lua_resume(j->co, j->console->L, args, &n);
	const char *why;
	struct str trace;

	if (status == LUA_YIELD) {
		lua_pop(j->co, n);
		return;
	}
	if (status == LUA_OK) {
		job_returned(j, n);
		return;
	}
	why = luaL_tolstring(j->co, -1, NULL);
	luaL_traceback(j->co, j->co, why, 0);
	trace.p = lua_tolstring(j->co, -1, &trace.n);
	j->console->conf.failed(j->console->conf.ctx, trace);
	job_end(j, 500, STR("application/json"),
		STR("{\"error\":\"the control API has failed; the log says "
		    "where\"}\n"));
}

void console_answer(struct console_call *call, bool ok, struct str text)
{
	struct job *j = call->job;

	if (!j) {
		call_free(call);
		return;
	}
	keep_answer(call, ok, text);
	if (!call->in_verb)
		job_run(j, 0);
}

static void set_str(lua_State *L, const char *name, struct str s)
{
	lua_pushlstring(L, s.p ? s.p : "", s.n);
	lua_setfield(L, -2, name);
}

static void push_request(lua_State *L, const struct console_request *rq)
{
	lua_createtable(L, 0, 6);
	set_str(L, "method", rq->method);
	set_str(L, "path", rq->path);
	set_str(L, "body", rq->body);
	set_str(L, "who", rq->who);
	lua_pushboolean(L, rq->may_write);
	lua_setfield(L, -2, "may_write");
	lua_createtable(L, 0, (int)rq->n_query);
	for (size_t i = 0; i < rq->n_query; i++) {
		const struct console_pair *p = &rq->query[i];

		lua_pushlstring(L, p->name.p, p->name.n);
		lua_pushlstring(L, p->value.n ? p->value.p : "", p->value.n);
		lua_rawset(L, -3);
	}
	lua_setfield(L, -2, "query");
}

struct start {
	struct job *job;
	const struct console_request *rq;
};

/* Protected: what it makes may need more memory than there is. */
static int l_start(lua_State *L)
{
	struct start *st = lua_touserdata(L, 1);
	lua_State *co = lua_newthread(L);

	lua_pushlightuserdata(L, st->job);
	lua_rawsetp(L, LUA_REGISTRYINDEX, co);
	lua_getfield(L, LUA_REGISTRYINDEX, handler);
	push_request(L, st->rq);
	lua_xmove(L, co, 2);
	st->job->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
	st->job->co = co;
	return 0;
}

void console_request(struct console *c, const struct console_request *rq,
		     void (*on_end)(void *ctx, const struct console_reply *r),
		     void *ctx)
{
	const struct console_reply full = {503, STR("text/plain"),
					   STR("not enough memory\n")};
	struct job *j = calloc(1, sizeof(*j));
	struct start st = {j, rq};

	if (!j) {
		on_end(ctx, &full);
		return;
	}
	j->console = c;
	j->on_end = on_end;
	j->ctx = ctx;
	lua_pushcfunction(c->L, l_start);
	lua_pushlightuserdata(c->L, &st);
	if (lua_pcall(c->L, 1, 0, 0) != LUA_OK) {
		lua_settop(c->L, 0);
		free(j);
		on_end(ctx, &full);
		return;
	}
	list_append(&c->jobs, &j->link);
	job_run(j, 1);
}

void console_forget(struct console *c, void *ctx)
{
	list_each (it, &c->jobs) {
		struct job *j = container_of(it, struct job, link);

		if (j->ctx == ctx)
			j->on_end = NULL;
	}
}

/* ---- life ---- */

struct console *console_new(const struct console_conf *conf, char *why,
			    size_t n)
{
	struct console *c = calloc(1, sizeof(*c));

	if (c)
		c->L = open_state(conf->lua_dir);
	if (!c || !c->L) {
		snprintf(why, n, "not enough memory");
		free(c);
		return NULL;
	}
	c->conf = *conf;
	list_init(&c->jobs);
	luaL_getsubtable(c->L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
	lua_pushcfunction(c->L, l_call);
	lua_setfield(c->L, -2, "tandem.control.call");
	if (!push_module(c->L, "tandem.control.api")) {
		snprintf(why, n, "the control API cannot be loaded: %s",
			 lua_tostring(c->L, -1));
		console_free(&c);
		return NULL;
	}
	lua_getfield(c->L, -1, "handle");
	lua_setfield(c->L, LUA_REGISTRYINDEX, handler);
	lua_settop(c->L, 0);
	return c;
}

void console_end(struct console *c)
{
	list_each_safe (it, &c->jobs)
		job_end(container_of(it, struct job, link), 503,
			STR("text/plain"), STR("the proxy ends\n"));
}

void console_free(struct console **cp)
{
	struct console *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	console_end(c);
	lua_close(c->L);
	free(c);
}

/* ---- commands ---- */

int console_run(const char *lua_dir, const char *module, int argc,
		char *const *argv, int failed)
{
	lua_State *L = open_state(lua_dir);
	int code = failed;

	if (!L) {
		fputs("tandem: not enough memory\n", stderr);
		return failed;
	}
	lua_pushcfunction(L, traced);
	if (!push_module(L, module)) {
		fprintf(stderr, "tandem: %s\n", lua_tostring(L, -1));
		lua_close(L);
		return failed;
	}
	luaL_checkstack(L, argc, NULL);
	for (int i = 0; i < argc; i++)
		lua_pushstring(L, argv[i]);
	if (lua_pcall(L, argc, 1, 1) != LUA_OK)
		fprintf(stderr, "tandem: %s\n", lua_tostring(L, -1));
	else
		code = (int)luaL_optinteger(L, -1, 0);
	lua_close(L);
	return code;
}
