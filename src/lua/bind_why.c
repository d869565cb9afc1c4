#include "lua/script_int.h"

#include "proxy/steps.h"
#include "util/redact.h"

/*
 * The decision trace: what the Lua half adds to it, and what it tells an
 * operator (lua/tandem/why.lua gives the fields their names).
 */

enum { TRACES_MAX = 100 }; /* in one answer; each is a table of tables */

/* core.note(req, word, ...): strings, numbers and booleans; nil is "" */
static int l_note(lua_State *L)
{
	struct call *c = call_check(L, 1);
	struct steps *s = request_steps(c->r);
	int n = lua_gettop(L);

	if (!s || !steps_add(s, STEP_NOTE, c->s->now.mono))
		return 0;
	for (int i = 2; i <= n; i++) {
		int type = lua_type(L, i);

		if (type == LUA_TNUMBER && lua_isinteger(L, i))
			steps_int(s, lua_tointeger(L, i));
		else if (type == LUA_TBOOLEAN)
			steps_int(s, lua_toboolean(L, i));
		else if (type == LUA_TNIL)
			steps_str(s, STR(""));
		else
			steps_str(s, script_str(L, i));
	}
	return 0;
}

void note_verb(lua_State *L, struct call *c, const char *verb)
{
	char text[SCRIPT_PATH];
	struct buf where;

	if (c->verb)
		return;
	buf_fixed(&where, text, sizeof(text));
	vm_write_where(L, 1, &where);
	request_by(c->r, str_from(verb), buf_str(&where), c->s->now);
}

void note_returned(struct call *c, const char *word)
{
	struct steps *s = request_steps(c->r);

	if (!s || !steps_add(s, STEP_NOTE, c->s->now.mono))
		return;
	steps_str(s, STR("returned"));
	steps_str(s, str_from(word));
}

/* ---- what was noted ---- */

static void push_item(lua_State *L, const struct steps_item *i)
{
	if (i->kind == STEPS_INT)
		lua_pushinteger(L, i->v);
	else if (i->kind == STEPS_STR)
		script_push(L, i->text.p ? i->text : STR(""));
	else if (i->addr.family == ADDR_NONE)
		lua_pushliteral(L, "");
	else
		push_place(L, &i->addr, i->transport);
}

/* { { word, seconds, field... }... } */
static void push_steps(lua_State *L, struct str steps)
{
	struct steps_item i;
	lua_Integer n = 0, fields = 0;

	lua_newtable(L);
	while (steps_read(&steps, &i)) {
		if (i.kind == STEPS_STEP) {
			lua_settop(L, lua_gettop(L) - (n ? 1 : 0));
			lua_newtable(L);
			lua_pushvalue(L, -1);
			lua_seti(L, -3, ++n);
			lua_pushstring(L, step_word(i.step));
			lua_seti(L, -2, 1);
			lua_pushnumber(L, (lua_Number)i.v / 1e6);
			lua_seti(L, -2, 2);
			fields = 2;
		} else if (n) {
			push_item(L, &i);
			lua_seti(L, -2, ++fields);
		}
	}
	if (n)
		lua_pop(L, 1);
}

static void push_trace(lua_State *L, const struct why_record *r)
{
	lua_createtable(L, 0, 8);
	script_push(L, r->call_id);
	lua_setfield(L, -2, "call_id");
	lua_pushnumber(L, (lua_Number)r->began.us / 1e6);
	lua_setfield(L, -2, "time");
	lua_pushnumber(L, (lua_Number)r->took / 1e6);
	lua_setfield(L, -2, "total");
	lua_pushinteger(L, r->code);
	lua_setfield(L, -2, "code");
	lua_pushboolean(L, r->failed);
	lua_setfield(L, -2, "failed");
	lua_pushboolean(L, r->open);
	lua_setfield(L, -2, "open");
	lua_pushboolean(L, r->cut);
	lua_setfield(L, -2, "cut");
	push_steps(L, r->steps);
	lua_setfield(L, -2, "steps");
}

/* core.traces(call_id|nil, max, failed) -> list, newest first */
static int l_traces(lua_State *L)
{
	struct core *core = script_core(L);
	struct str id = lua_isnoneornil(L, 1) ? STR_NONE : script_str(L, 1);
	lua_Integer max = luaL_checkinteger(L, 2);
	struct why_record r[TRACES_MAX];
	size_t n;

	luaL_argcheck(L, max >= 1, 2, "at least 1");
	n = proxy_why(core_proxy(core), id, lua_toboolean(L, 3), r,
		      max < TRACES_MAX ? (size_t)max : TRACES_MAX,
		      script_of(L)->now);
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		vm_charge(L, r[i].steps.n / SCRIPT_CHARGED);
		push_trace(L, &r[i]);
		lua_seti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- what is open ---- */

struct listing {
	lua_State *L;
	struct script *s;
	lua_Integer n, max;
};

/* Without a password; as long as traces have it. */
static void push_shown(lua_State *L, struct str uri)
{
	char text[STEPS_TEXT];
	size_t n = uri.n < STEPS_TEXT ? uri.n : STEPS_TEXT;

	redact_copy(text, uri, n);
	script_push(L, (struct str){text, n});
}

static void push_request(lua_State *L, struct script *s, struct request *r)
{
	char text[1024];
	struct buf tried;

	lua_createtable(L, 0, 6);
	script_push(L, request_key(r)->call_id);
	lua_setfield(L, -2, "call_id");
	script_push(L, request_msg(r)->method);
	lua_setfield(L, -2, "method");
	push_shown(L, request_msg(r)->uri);
	lua_setfield(L, -2, "uri");
	lua_pushnumber(L, (lua_Number)request_age(r, s->now) / 1e6);
	lua_setfield(L, -2, "age");
	push_place(L, &request_from(r)->addr, request_from(r)->transport);
	lua_setfield(L, -2, "from");
	lua_pushstring(L, request_state(r));
	lua_setfield(L, -2, "state");
	buf_fixed(&tried, text, sizeof(text));
	request_write_tried(r, &tried);
	script_push(L, tried.n ? buf_str(&tried) : STR(""));
	lua_setfield(L, -2, "tried");
}

static bool list_request(void *ctx, struct request *r)
{
	struct listing *l = ctx;

	if (l->n == l->max)
		return false;
	push_request(l->L, l->s, r);
	lua_seti(l->L, -2, ++l->n);
	return true;
}

/* core.requests(max) -> list of those that are open, oldest first; how many
 * there are */
static int l_requests(lua_State *L)
{
	struct proxy *p = core_proxy(script_core(L));
	struct listing l = {
	    .L = L, .s = script_of(L), .max = luaL_checkinteger(L, 1)};

	lua_newtable(L);
	proxy_each_request(p, list_request, &l);
	lua_pushinteger(L, (lua_Integer)proxy_requests(p));
	return 2;
}

void bind_why(lua_State *L)
{
	static const luaL_Reg functions[] = {{"note", l_note},
					     {"traces", l_traces},
					     {"requests", l_requests},
					     {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
