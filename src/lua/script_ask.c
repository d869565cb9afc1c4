#include "lua/script_int.h"

#include <string.h>

/*
 * What an operator wants of a script: put to the Lua half as text, answered as
 * text.
 */

struct question {
	struct script *s;
	struct str what, args;
	bool ok;
	char *answer; /* malloc'd */
};

/* ask(what, args|nil) -> JSON | nil, why */
static int call_ask(lua_State *L)
{
	struct question *q = lua_touserdata(L, 1);

	vm_push_ref(L, q->s->hook[HOOK_ASK]);
	script_push(L, q->what);
	script_push(L, q->args.n ? q->args : STR_NONE);
	lua_call(L, 2, 2);
	q->ok = !lua_isnil(L, -2);
	q->answer = strdup(luaL_tolstring(L, q->ok ? -2 : -1, NULL));
	return 0;
}

char *script_ask(struct script *s, struct str what, struct str args,
		 struct now now, bool *ok_r)
{
	struct question q = {s, what, args, false, NULL};

	s->now = now;
	*ok_r = false;
	if (s->hook[HOOK_ASK] == LUA_NOREF)
		return strdup("this script does not use tandem");
	if (vm_do(s->vm, call_ask, &q, "an answer to an operator",
		  "start a task for it") != 0) {
		script_failed(s, "answer");
		q.ok = false;
		if (!q.answer)
			q.answer = strdup(vm_error(s->vm));
	}
	if (sched_is_ready(s->vm))
		script_kick(s);
	*ok_r = q.ok && q.answer;
	return q.answer;
}
