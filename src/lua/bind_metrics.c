#include "lua/script_int.h"

#include <stdio.h>

#include "lua/metrics.h"

/*
 * What is counted, for metrics: core.metrics() says all that this worker has,
 * as raw numbers; facts:count and facts:stats are those of a server. What they
 * are called outside is in lua/tandem/control/catalog.lua.
 */

static void set_int(lua_State *L, const char *key, uint64_t v)
{
	lua_pushinteger(L, (lua_Integer)v);
	lua_setfield(L, -2, key);
}

/* ---- counters and histograms ---- */

/* Appends { name, labels, value } to the list at the top. */
static void add_row(lua_State *L, const char *name, const char *labels,
		    uint64_t value)
{
	lua_createtable(L, 3, 0);
	lua_pushstring(L, name);
	lua_rawseti(L, -2, 1);
	lua_pushstring(L, labels);
	lua_rawseti(L, -2, 2);
	lua_pushinteger(L, (lua_Integer)value);
	lua_rawseti(L, -2, 3);
	lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

static const char *method_label(unsigned method)
{
	struct str name = method_name((enum method)method);

	return name.n ? name.p : "other";
}

static void add_responses(lua_State *L, const struct counters *c,
			  unsigned method)
{
	char labels[64];
	unsigned code;

	for (unsigned i = 0; (code = counters_code(i)) > 0; i++) {
		uint64_t n = counters_responses(c, method, code);

		if (n == 0)
			continue; /* most never occur */
		snprintf(labels, sizeof(labels), "method=%s,code=%u%s",
			 method_label(method), code, code < 100 ? "xx" : "");
		add_row(L, "tandem_responses_total", labels, n);
	}
}

void metrics_push_counters(lua_State *L, const struct counters *c)
{
	char labels[64];

	lua_newtable(L);
	for (unsigned i = 0; i < COUNTER_N; i++) {
		const struct counter_info *info = counter_info((enum counter)i);

		add_row(L, info->metric, info->label, c->v[i]);
	}
	for (unsigned i = 0; i < COUNTER_METHODS; i++) {
		snprintf(labels, sizeof(labels), "method=%s", method_label(i));
		add_row(L, "tandem_requests_total", labels, c->request[i]);
		add_responses(L, c, i);
	}
}

/* { name =, labels =, sum = seconds, counts = { of each bucket alone } } */
static void push_histogram(lua_State *L, const struct counters *c, enum hist h)
{
	const struct counter_info *info = histogram_info(h);

	lua_createtable(L, 0, 4);
	lua_pushstring(L, info->metric);
	lua_setfield(L, -2, "name");
	lua_pushstring(L, info->label);
	lua_setfield(L, -2, "labels");
	lua_pushnumber(L, (lua_Number)c->hist[h].sum / 1e6);
	lua_setfield(L, -2, "sum");
	lua_createtable(L, HISTOGRAM_BUCKETS + 1, 0);
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		lua_pushinteger(L, (lua_Integer)c->hist[h].n[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, "counts");
}

void metrics_push_histograms(lua_State *L, const struct counters *c)
{
	lua_createtable(L, HISTOGRAM_N, 0);
	for (int i = 0; i < HISTOGRAM_N; i++) {
		push_histogram(L, c, (enum hist)i);
		lua_rawseti(L, -2, i + 1);
	}
}

void metrics_push_bounds(lua_State *L)
{
	lua_createtable(L, HISTOGRAM_BUCKETS, 0);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		lua_pushnumber(L, (lua_Number)histogram_bound(i) / 1e6);
		lua_rawseti(L, -2, i + 1);
	}
}

/* ---- core.metrics() ---- */

void metrics_set_alive(lua_State *L, const struct core *c)
{
	struct core_stats cs;

	core_stats(c, &cs);
	set_int(L, "bytes", cs.bytes);
	set_int(L, "servers", cs.servers);
	set_int(L, "clients", cs.clients);
	set_int(L, "requests", cs.requests);
	set_int(L, "timers", cs.timers);
	set_int(L, "calls", cs.calls);
	set_int(L, "flows", cs.flows);
	set_int(L, "overloaded", cs.overloaded);
}

static void push_alive(lua_State *L, struct script *s)
{
	lua_createtable(L, 0, 8);
	metrics_set_alive(L, s->core);
	set_int(L, "lua_bytes", vm_bytes(s->vm));
}

/* core.metrics() -> { counters = { { name, labels, value }, ... }, histograms =
 * { { name =, labels =, sum =, counts = }, ... }, bounds = { seconds, ... },
 * alive = { name = n }, worker =, workers =, generation = } */
static int l_metrics(lua_State *L)
{
	struct script *s = script_of(L);
	const struct counters *c = core_counters(script_core(L));

	lua_createtable(L, 0, 8);
	metrics_push_counters(L, c);
	lua_setfield(L, -2, "counters");
	metrics_push_histograms(L, c);
	lua_setfield(L, -2, "histograms");
	metrics_push_bounds(L);
	lua_setfield(L, -2, "bounds");
	push_alive(L, s);
	lua_setfield(L, -2, "alive");
	set_int(L, "worker", s->conf.worker);
	set_int(L, "workers", s->node->workers);
	set_int(L, "generation", s->node->generation);
	return 1;
}

/* core.observe("check", seconds) */
static int l_observe(lua_State *L)
{
	static const char *const names[] = {"check", NULL};
	static const enum hist hist[] = {HIST_CHECK};
	int i = luaL_checkoption(L, 1, NULL, names);
	lua_Number seconds = luaL_checknumber(L, 2);

	luaL_argcheck(L, seconds >= 0 && seconds < 9e12, 2, "out of range");
	histogram_add(&core_counters(script_core(L))->hist[hist[i]],
		      (int64_t)(seconds * 1e6));
	return 0;
}

/* ---- of a server ---- */

static const char *const stat_names[] = {
#define X(id, name) name,
    MEMBER_STAT_LIST(X)
#undef X
	NULL};

int facts_count(lua_State *L)
{
	struct member *m = facts_member(L, 1);
	int stat = luaL_checkoption(L, 2, NULL, stat_names);

	member_count(m, (enum member_stat)stat, luaL_optinteger(L, 3, 1));
	return 0;
}

int facts_stats(lua_State *L)
{
	const struct member *m = facts_member(L, 1);

	lua_createtable(L, 0, MEMBER_STAT_N);
	for (int i = 0; i < MEMBER_STAT_N; i++)
		set_int(L, stat_names[i], (uint64_t)atomic_load(&m->stat[i]));
	return 1;
}

void bind_metrics(lua_State *L)
{
	static const luaL_Reg functions[] = {
	    {"metrics", l_metrics}, {"observe", l_observe}, {NULL, NULL}};

	luaL_setfuncs(L, functions, 0);
}
