#include "lua/script_int.h"

#include <math.h>
#include <string.h>

/* core.locate: where the servers of a URI are (transport/locate.h). */

/* A public key: the same text gives the same order on every node. */
static const uint8_t seed_key[16] = "tandem lua order";

struct search {
	struct wait w;
	struct script *s;
	struct locate *search; /* NULL: it is over */
	struct places found;
};

static int push_places(lua_State *L, const struct places *found)
{
	if (!found->n) {
		lua_pushnil(L);
		lua_pushstring(L, cause_text(found->cause));
		return 2;
	}
	lua_createtable(L, (int)found->n, 2);
	for (unsigned i = 0; i < found->n; i++) {
		const struct place *p = &found->at[i];

		lua_createtable(L, 0, 5);
		push_place(L, &p->addr, p->transport);
		lua_setfield(L, -2, "addr");
		lua_pushinteger(L, p->rank);
		lua_setfield(L, -2, "rank");
		lua_pushinteger(L, p->weight);
		lua_setfield(L, -2, "weight");
		lua_pushstring(L, p->target);
		lua_setfield(L, -2, "target");
		lua_pushboolean(L, p->stale);
		lua_setfield(L, -2, "stale");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushnumber(L, found->ttl == UINT32_MAX ? HUGE_VAL : found->ttl);
	lua_setfield(L, -2, "ttl");
	lua_pushboolean(L, found->stale);
	lua_setfield(L, -2, "stale");
	return 1;
}

static void on_found(void *ctx, const struct places *found, struct now now)
{
	struct search *se = ctx;

	se->s->now = now;
	se->search = NULL;
	se->found = *found;
	task_wake(&se->w);
}

static void on_cancel(struct wait *w)
{
	struct search *se = container_of(w, struct search, w);

	if (se->s->core)
		locate_stop(&se->search);
}

static int on_push(lua_State *L, struct wait *w)
{
	return push_places(L, &container_of(w, struct search, w)->found);
}

/* Raises for what is no SIP URI. False: nobody knows its transport. */
static bool read_ask(lua_State *L, struct script *s, struct locate_ask *ask)
{
	struct str text = script_str(L, 1);
	struct uri uri;

	if (!scan_uri(text, &uri) || !uri.is_sip)
		return vm_raise(L, "locate: '%s' is no SIP URI", text.p);
	if (!locate_of_uri(&uri, ask))
		return false;
	locate_through(&s->node->listeners, ask);
	if (lua_isnoneornil(L, 2))
		return true;
	luaL_checktype(L, 2, LUA_TTABLE);
	if (lua_getfield(L, 2, "key") != LUA_TNIL) {
		struct str key = script_str(L, -1);

		ask->seed = siphash24(sipkey_load(seed_key), key.p, key.n);
	}
	lua_pop(L, 1);
	return true;
}

/* core.locate(uri[, { key = }]) -> list | nil, "dns_none"|"dns_timeout": the
 * list { { addr=, rank=, weight=, target=, stale= }, ..., ttl=, stale= } */
static int l_locate(lua_State *L)
{
	struct script *s = script_of(L);
	struct resolver *rs = core_resolver(script_core(L));
	struct places none = {.cause = CAUSE_DNS_NONE};
	struct locate_ask ask;
	struct search *se;

	lua_settop(L, 2);
	task_check_yield(L, "locate");
	if (!read_ask(L, s, &ask))
		return push_places(L, &none);
	se = lua_newuserdatauv(L, sizeof(*se), 0);
	se->w = (struct wait){.cancel = on_cancel, .push = on_push};
	se->s = s;
	if (locate_now(rs, &ask, s->now, &se->found) == 0)
		return push_places(L, &se->found);
	se->search = locate_start(rs, &ask, on_found, se, s->now);
	if (!se->search) {
		count(core_counters(s->core), CNT_NOMEM);
		none.cause = CAUSE_DNS_TIMEOUT;
		return push_places(L, &none);
	}
	return task_suspend(L, &se->w, "locate");
}

void bind_locate(lua_State *L)
{
	lua_pushcfunction(L, l_locate);
	lua_setfield(L, -2, "locate");
}
