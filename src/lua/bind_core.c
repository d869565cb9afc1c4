#include "lua/script_int.h"

#include <stdlib.h>
#include <string.h>
#include "util/digest.h"

/*
 * tandem.core: where and when we are, what the Lua half gives us to call, and
 * what it says.
 */

enum { FIELDS_MAX = 32 };

/* A public key: the same text gives the same number on every node. */
static const uint8_t hash_key[16] = "tandem lua hash";

/* ---- where and when ---- */

/* core.where([level]) -> "file:line" of the script | nil */
static int l_where(lua_State *L)
{
	return vm_where(L, (int)luaL_optinteger(L, 1, 1)) ? 1 : 0;
}

static int framed_end(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	(void)ctx;
	return lua_gettop(L);
}

static int framed(lua_State *L)
{
	if (lua_type(L, 1) != LUA_TUSERDATA)
		vm_raise(L, "%s(...): call it with a colon",
			 lua_tostring(L, lua_upvalueindex(2)));
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, framed_end);
	return framed_end(L, LUA_OK, 0);
}

/*
 * core.framed(fn, "req:try"): the same function in C, a method of one of our
 * handles. A Lua function that is called as `return req:relay(pbx)` replaces
 * its caller on the stack, and then neither core.where nor a traceback could
 * name the line of the script.
 */
static int l_framed(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	luaL_checkstring(L, 2);
	lua_settop(L, 2);
	lua_pushcclosure(L, framed, 2);
	return 1;
}

/* core.steady("policy"|"expect"|"failback", fn, ...): what fn returns; it
 * cannot wait. */
static int l_steady(lua_State *L)
{
	static const char *const names[] = {"policy", "expect", "failback",
					    NULL};
	static const char *const places[][2] = {
	    {"a policy function",
	     "it decides by what is known; wait in the handler"},
	    {"a function that judges a check",
	     "it sees an answer; wait in sip.every or sip.on"},
	    {"a failback function",
	     "it is asked every second; wait in sip.every or sip.on"}};
	int i = luaL_checkoption(L, 1, NULL, names);

	luaL_checkany(L, 2);
	vm_steady(L, lua_gettop(L) - 2, LUA_MULTRET, places[i][0],
		  places[i][1]);
	return lua_gettop(L) - 1;
}

static int l_phase(lua_State *L)
{
	lua_pushstring(L,
		       script_of(L)->phase == SCRIPT_LOADING ? "load" : "run");
	return 1;
}

/* core.lone(t, key): the value of the key, if t is a plain table that has no
 * other; else nothing. */
static int l_lone(lua_State *L)
{
	lua_settop(L, 2);
	if (!lua_istable(L, 1) || lua_getmetatable(L, 1))
		return 0;
	lua_pushnil(L);
	if (!lua_next(L, 1) || !lua_rawequal(L, 2, 3))
		return 0;
	lua_pushvalue(L, 2);
	return lua_next(L, 1) ? 0 : 1;
}

static int l_now(lua_State *L)
{
	const struct script *s = script_of(L);

	lua_pushnumber(L, s->core ? (lua_Number)s->now.mono.us / 1e6 : 0);
	return 1;
}

static int l_wall(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)script_of(L)->now.wall.us / 1e6);
	return 1;
}

static int l_worker(lua_State *L)
{
	lua_pushinteger(L, script_of(L)->conf.worker);
	return 1;
}

static int l_workers(lua_State *L)
{
	const struct script *s = script_of(L);

	lua_pushinteger(L, s->core ? s->node->workers : 1);
	return 1;
}

/* core.load() -> open requests, calls that are up, 1 if it is too much: of this
 * worker */
static int l_load(lua_State *L)
{
	struct core_stats stats;

	core_stats(script_core(L), &stats);
	lua_pushinteger(L, (lua_Integer)stats.requests);
	lua_pushinteger(L, (lua_Integer)stats.calls);
	lua_pushinteger(L, (lua_Integer)stats.overloaded);
	return 3;
}

/* core.lagged(window, lag) -> were we late by so many seconds, within the last
 * so many? */
static int l_lagged(lua_State *L)
{
	struct core *c = script_core(L);
	int64_t window = script_us(L, 1, "lagged: window");
	int64_t lag = script_us(L, 2, "lagged: lag");

	lua_pushboolean(L,
			proxy_lagged(core_proxy(c),
				     tick_add(core_now(c).mono, -window), lag));
	return 1;
}

static int l_us(lua_State *L)
{
	lua_Number n = luaL_checknumber(L, 1);

	luaL_argcheck(L, n > -9e12 && n < 9e12, 1, "out of range");
	lua_pushinteger(L, (lua_Integer)(n * 1e6 + (n < 0 ? -0.5 : 0.5)));
	return 1;
}

static int l_seconds(lua_State *L)
{
	lua_pushnumber(L, (lua_Number)luaL_checkinteger(L, 1) / 1e6);
	return 1;
}

static int l_hash(lua_State *L)
{
	struct siphash h;

	siphash_init(&h, sipkey_load(hash_key));
	for (int i = 1; i <= lua_gettop(L); i++) {
		struct str s = script_str(L, i);

		vm_charge(L, s.n / SCRIPT_CHARGED);
		siphash_str(&h, s);
	}
	lua_pushinteger(L, (lua_Integer)siphash_end(&h));
	return 1;
}

/* core.digest("md5"|"sha-256"|"sha-512-256", text): hex digits, or nil where
 * the system does not allow that algorithm */
static int l_digest(lua_State *L)
{
	struct str name = script_str(L, 1), text = script_str(L, 2);
	int algorithm = digest_parse(name);
	char out[DIGEST_HEX];
	size_t n;

	luaL_argcheck(L, algorithm >= 0, 1, "unknown algorithm");
	vm_charge(L, text.n / SCRIPT_CHARGED);
	n = digest_hex((enum digest)algorithm, text, out);
	if (n)
		lua_pushlstring(L, out, n);
	else
		lua_pushnil(L);
	return 1;
}

static int l_random(lua_State *L)
{
	lua_pushnumber(L, rand_unit(&script_of(L)->rand));
	return 1;
}

/* ---- what we are given to call ---- */

static struct script *check_loading(lua_State *L, const char *what)
{
	struct script *s = script_of(L);

	if (s->phase != SCRIPT_LOADING)
		vm_raise(L, "%s: only while the script loads", what);
	return s;
}

static const struct handler *same(const struct script *s,
				  enum request_kind kind, struct str method)
{
	list_each (it, &s->handlers) {
		const struct handler *h =
		    container_of(it, const struct handler, link);

		if (h->kind == kind && !h->method.p == !method.p &&
		    (!method.p || str_eq(h->method, method)))
			return h;
	}
	return NULL;
}

/* core.handler(kind, method|nil, fn) */
static int l_handler(lua_State *L)
{
	static const char *const kinds[] = {
	    "initial", "in_dialog", "from_server", "shared_dialog", NULL};
	struct script *s = check_loading(L, "core.handler");
	enum request_kind kind =
	    (enum request_kind)luaL_checkoption(L, 1, NULL, kinds);
	struct str method = STR_NONE;
	struct handler *h;

	if (!lua_isnoneornil(L, 2))
		method = script_str(L, 2);
	luaL_checktype(L, 3, LUA_TFUNCTION);
	if (method.p && !str_is_token(method))
		return vm_raise(L, "'%s' is no method", method.p);
	if (same(s, kind, method))
		return vm_raise(L,
				"there is a handler for %s requests%s%s "
				"already",
				kinds[kind], method.p ? " of method " : "",
				method.p ? method.p : "");
	h = arena_zalloc(s->arena, sizeof(*h));
	if (h && method.p)
		method = arena_str(s->arena, method);
	if (!h || arena_failed(s->arena))
		return vm_raise(L, "not enough memory");
	h->kind = kind;
	h->method = method;
	lua_settop(L, 3);
	h->fn = vm_ref(L);
	list_append(&s->handlers, &h->link);
	return 0;
}

static int set_hook(lua_State *L, enum hook hook, const char *what)
{
	struct script *s = check_loading(L, what);

	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	vm_unref(s->vm, s->hook[hook]);
	s->hook[hook] = vm_ref(L);
	return 0;
}

static int l_finish(lua_State *L)
{
	return set_hook(L, HOOK_FINISH, "core.finish");
}

static int l_start(lua_State *L)
{
	return set_hook(L, HOOK_START, "core.start");
}

static int l_stop(lua_State *L)
{
	return set_hook(L, HOOK_STOP, "core.stop");
}

static int l_on_post(lua_State *L)
{
	return set_hook(L, HOOK_POST, "core.on_post");
}

static int l_on_ask(lua_State *L)
{
	return set_hook(L, HOOK_ASK, "core.on_ask");
}

/* core.on_attempt(fn): what fn makes of an answer script_policy.c has to know,
 * which does not call it for nothing. */
static int l_on_attempt(lua_State *L)
{
	return set_hook(L, HOOK_ATTEMPT, "core.on_attempt");
}

static int l_server_object(lua_State *L)
{
	return set_hook(L, HOOK_SERVER, "core.server_object");
}

static void note_data_file(lua_State *L, struct script *s, const char *shown)
{
	struct data_file *f = arena_zalloc(s->arena, sizeof(*f));

	if (f)
		f->name = arena_str(s->arena, str_from(shown)).p;
	if (!f || !f->name)
		vm_raise(L, "not enough memory");
	list_append(&s->data_files, &f->link);
}

/* The generation that runs this, from 1. */
static int l_generation(lua_State *L)
{
	lua_pushinteger(L, script_of(L)->generation);
	return 1;
}

/* The declarations of the script that this one takes over from, as its dump;
 * nil when it takes over from none. Only in "start". */
static int l_dump_before(lua_State *L)
{
	const struct script *before = script_of(L)->before;

	lua_pushstring(L, before ? before->plan.dump : NULL);
	return 1;
}

/* core.overrides() -> text of before | nil, an edit of that | nil: as the host
 * keeps them. While loading. */
static int l_overrides(lua_State *L)
{
	const struct script *s = check_loading(L, "core.overrides");

	script_push(L, s->conf.overrides);
	script_push(L, s->conf.edit);
	return 2;
}

/* core.keep(name, text): beyond the end of the process, if the host can; ""
 * forgets it */
static int l_keep(lua_State *L)
{
	const struct host *host = core_host(script_core(L));
	struct str name = script_str(L, 1), text = script_str(L, 2);

	vm_charge(L, text.n / SCRIPT_CHARGED);
	if (host->keep)
		host->keep(host->ctx, name, text);
	return 0;
}

/* core.kept() -> what the process before has kept as "health.json" | nil; once
 */
static int l_kept(lua_State *L)
{
	struct node *node = script_of(L)->node;

	script_push(L, node ? node->kept : STR_NONE);
	if (node)
		node->kept = STR_NONE;
	return 1;
}

static int l_load_data(lua_State *L)
{
	struct script *s = check_loading(L, "core.load_data");
	const char *name = luaL_checkstring(L, 1);
	char shown[SCRIPT_PATH] = "", *bytes = NULL;
	size_t n = 0;

	if (!s->conf.loader.load ||
	    !s->conf.loader.load(s->conf.loader.ctx, name, false, &bytes, &n,
				 shown, sizeof(shown)))
		return vm_raise(L, "file '%s' not found", name);
	free(s->bytes);
	/* Ours to free, also when the next line raises. */
	s->bytes = bytes;
	note_data_file(L, s, shown);
	lua_pushlstring(L, bytes ? bytes : "", n);
	return 1;
}

/* ---- what it says ---- */

static void read_value(lua_State *L, int idx, struct log_field *f)
{
	switch (lua_type(L, idx)) {
	case LUA_TNUMBER:
		if (lua_isinteger(L, idx)) {
			f->type = LOG_INT;
			f->u.i = lua_tointeger(L, idx);
		} else {
			f->type = LOG_NUM;
			f->u.d = lua_tonumber(L, idx);
		}
		break;
	case LUA_TBOOLEAN:
		f->type = LOG_BOOL;
		f->u.i = lua_toboolean(L, idx);
		break;
	case LUA_TSTRING:
		f->type = LOG_STR;
		f->u.s = script_str(L, idx);
		break;
	default:
		vm_raise(L,
			 "field '%s': a string, a number or a boolean "
			 "expected, got %s",
			 f->key, luaL_typename(L, idx));
	}
}

/* Leaves name and value of each pair on the stack: the fields borrow them. */
static size_t read_fields(lua_State *L, int list, struct log_field *f)
{
	lua_Integer n = lua_istable(L, list) ? luaL_len(L, list) : 0;

	if (n > FIELDS_MAX)
		vm_raise(L, "more than %d fields", FIELDS_MAX);
	luaL_checkstack(L, 3 * (int)n + LUA_MINSTACK, NULL);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, list, i);
		luaL_checktype(L, -1, LUA_TTABLE);
		lua_geti(L, -1, 1);
		f[i - 1].key = luaL_checkstring(L, -1);
		lua_geti(L, -2, 2);
		read_value(L, lua_gettop(L), &f[i - 1]);
	}
	return (size_t)n;
}

/* core.event(level, key, fields) */
static int l_event(lua_State *L)
{
	struct log_field f[FIELDS_MAX];
	struct log_event e = {.field = f};
	int level = log_level_parse(script_str(L, 1));

	luaL_argcheck(L, level >= 0, 1, "error, warn, info or debug");
	e.level = (enum log_level)level;
	e.key = luaL_checkstring(L, 2);
	lua_settop(L, 3);
	e.n = read_fields(L, 3, f);
	for (size_t i = 0; i < e.n; i++)
		if (f[i].type == LOG_STR)
			vm_charge(L, f[i].u.s.n / SCRIPT_CHARGED);
	script_log(script_of(L), &e);
	return 0;
}

/* core.post(worker, topic, payload) */
static int l_post(lua_State *L)
{
	struct core *core = script_core(L);
	lua_Integer worker = luaL_checkinteger(L, 1);
	struct post post = {.kind = POST_SCRIPT,
			    .topic = script_str(L, 2),
			    .bytes = script_str(L, 3)};
	const struct host *host = core_host(core);

	luaL_argcheck(L, worker >= 0 && worker < core_node(core)->workers, 1,
		      "no such worker");
	vm_charge(L, post.bytes.n / SCRIPT_CHARGED);
	host->post(host->ctx, (unsigned)worker, &post);
	return 0;
}

/* core.quit(code, text): only in scripts that are a command of their own. */
static int l_quit(lua_State *L)
{
	struct script *s = script_of(L);

	if (!s->conf.quit)
		return vm_raise(L, "core.quit: not in this program");
	s->conf.quit(s->conf.quit_ctx, (int)luaL_checkinteger(L, 1),
		     script_str(L, 2));
	return 0;
}

void bind_core(lua_State *L)
{
	static const luaL_Reg functions[] = {{"where", l_where},
					     {"framed", l_framed},
					     {"steady", l_steady},
					     {"phase", l_phase},
					     {"lone", l_lone},
					     {"now", l_now},
					     {"wall", l_wall},
					     {"worker", l_worker},
					     {"load", l_load},
					     {"lagged", l_lagged},
					     {"workers", l_workers},
					     {"us", l_us},
					     {"seconds", l_seconds},
					     {"hash", l_hash},
					     {"digest", l_digest},
					     {"random", l_random},
					     {"handler", l_handler},
					     {"finish", l_finish},
					     {"start", l_start},
					     {"stop", l_stop},
					     {"on_post", l_on_post},
					     {"on_ask", l_on_ask},
					     {"on_attempt", l_on_attempt},
					     {"server_object", l_server_object},
					     {"load_data", l_load_data},
					     {"overrides", l_overrides},
					     {"keep", l_keep},
					     {"kept", l_kept},
					     {"generation", l_generation},
					     {"dump_before", l_dump_before},
					     {"event", l_event},
					     {"post", l_post},
					     {"quit", l_quit},
					     {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}

/* ---- helpers of all bindings ---- */

void extended_register(lua_State *L, const struct box_type *type,
		       const char *name, const luaL_Reg *methods)
{
	box_register(L, type);
	lua_pop(L, 1);
	box_push_methods(L, type);
	luaL_setfuncs(L, methods, 0);
	lua_setfield(L, -2, name);
}

void block_push_handle(lua_State *L, void *block, struct box **slot,
		       const struct box_type *type)
{
	box_push(L, block, slot, type);
	lua_insert(L, -2);
	lua_setiuservalue(L, -2, 1);
}
