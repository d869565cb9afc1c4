#include "lua/simlib.h"

#include "sim/sim.h"

static size_t check_index(lua_State *L, size_t n)
{
	lua_Integer i = luaL_checkinteger(L, 2);

	luaL_argcheck(L, i > 0 && (size_t)i <= n, 2, "no such entry");
	return (size_t)i;
}

/* ---- packets ---------------------------------------------------------- */

static int l_packets(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)sim_packets(simlib_world(L)));
	return 1;
}

/* packet(i) -> time, from, to, bytes, fate, node (0: none), icmp or nil, and
 * the hosts it went from and to; the transport */
static int l_packet(lua_State *L)
{
	struct sim *s = simlib_world(L);
	struct sim_packet p;

	sim_packet(s, check_index(L, sim_packets(s)), &p);
	lua_pushinteger(L, p.sent);
	simlib_push_addr(L, &p.from);
	simlib_push_addr(L, &p.to);
	lua_pushlstring(L, p.bytes.p, p.bytes.n);
	lua_pushstring(L, sim_fate_text(p.fate));
	lua_pushinteger(L, p.node);
	if (p.icmp)
		lua_pushstring(L, cause_text(p.icmp));
	else
		lua_pushnil(L);
	lua_pushinteger(L, p.from_host);
	lua_pushinteger(L, p.to_host);
	lua_pushstring(L, transport_name(p.transport));
	return 10;
}

/* ---- log events ------------------------------------------------------- */

static int l_logs(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)sim_logs(simlib_world(L)));
	return 1;
}

static void push_field(lua_State *L, const struct log_field *f)
{
	switch (f->type) {
	case LOG_STR:
		lua_pushlstring(L, f->u.s.p, f->u.s.n);
		break;
	case LOG_INT:
		lua_pushinteger(L, f->u.i);
		break;
	case LOG_NUM:
		lua_pushnumber(L, f->u.d);
		break;
	case LOG_ADDR:
		simlib_push_addr(L, f->u.a);
		break;
	case LOG_BOOL:
		lua_pushboolean(L, f->u.i != 0);
		break;
	}
	lua_setfield(L, -2, f->key);
}

/* log(i) -> time, node, worker, level, key, { fields } */
static int l_log(lua_State *L)
{
	struct sim *s = simlib_world(L);
	const struct sim_log *log = sim_log(s, check_index(L, sim_logs(s)));
	const struct log_event *e = &log->event;

	lua_pushinteger(L, log->at);
	lua_pushinteger(L, log->node);
	lua_pushinteger(L, log->worker);
	lua_pushstring(L, log_level_name(e->level));
	lua_pushstring(L, e->key);
	lua_createtable(L, 0, (int)e->n);
	for (size_t i = 0; i < e->n; i++)
		push_field(L, &e->field[i]);
	return 6;
}

/* log_line(i): the same as an operator sees it */
static int l_log_line(lua_State *L)
{
	struct sim *s = simlib_world(L);
	const struct sim_log *log = sim_log(s, check_index(L, sim_logs(s)));
	char space[16384];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	log_write_logfmt(&b, &log->event, log->wall);
	lua_pushlstring(L, buf_str(&b).p, buf_str(&b).n);
	return 1;
}

/* ---- both, in order ---------------------------------------------------- */

static int l_notes(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)sim_notes(simlib_world(L)));
	return 1;
}

/* note(i) -> "sent" | "fate" | "log", index of the packet or log event, time,
 * and of a fate: which, and the host that has the address now (0: none) */
static int l_note(lua_State *L)
{
	static const char *const kind[] = {[SIM_NOTE_SENT] = "sent",
					   [SIM_NOTE_FATE] = "fate",
					   [SIM_NOTE_LOG] = "log"};
	struct sim *s = simlib_world(L);
	const struct sim_note *n = sim_note(s, check_index(L, sim_notes(s)));

	lua_pushstring(L, kind[n->kind]);
	lua_pushinteger(L, (lua_Integer)n->index);
	lua_pushinteger(L, n->at);
	if (n->kind != SIM_NOTE_FATE)
		return 3;
	lua_pushstring(L, sim_fate_text(n->fate));
	lua_pushinteger(L, n->host);
	return 5;
}

/* hash() -> 16 hex digits */
static int l_hash(lua_State *L)
{
	char text[16];

	str_put_hex(text, sizeof(text), sim_hash(simlib_world(L)));
	lua_pushlstring(L, text, sizeof(text));
	return 1;
}

const luaL_Reg simlib_log_methods[] = {
    {"packets", l_packets}, {"packet", l_packet},     {"logs", l_logs},
    {"log", l_log},         {"log_line", l_log_line}, {"notes", l_notes},
    {"note", l_note},       {"hash", l_hash},         {NULL, NULL},
};
