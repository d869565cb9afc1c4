#include "lua/script_int.h"

#include <string.h>
#include "message/field.h"

/* core.parse_uri, core.parse_addr, core.net, core.nets: what scripts declare as
 * text. */

/* Memory for the parse: before binding there is no core to borrow from. */
static struct arena *scratch(struct script *s)
{
	return s->core ? core_scratch(s->core) : s->arena;
}

void push_uri(lua_State *L, const struct field_uri *u)
{
	char text[ADDR_TEXT];
	struct addr a;
	struct buf b;

	script_push(L, u->scheme);
	lua_setfield(L, -2, "scheme");
	script_push(L, u->user);
	lua_setfield(L, -2, "user");
	script_push(L, u->host);
	lua_setfield(L, -2, "host");
	if (u->port) {
		lua_pushinteger(L, u->port);
		lua_setfield(L, -2, "port");
	}
	if (u->host.p && addr_parse_ip(u->host, &a)) {
		buf_fixed(&b, text, sizeof(text));
		addr_write_ip(&b, &a);
		script_push(L, buf_str(&b));
		lua_setfield(L, -2, "ip");
	}
	script_push_params(L, u->params);
	lua_setfield(L, -2, "params");
}

static int refuse(lua_State *L, const char *why)
{
	lua_pushnil(L);
	lua_pushstring(L, why);
	return 2;
}

/* core.parse_uri(text) -> a table | nil, why; the scheme in small letters */
static int l_parse_uri(lua_State *L)
{
	struct str text = script_str(L, 1), tp;
	const struct field_uri *u;
	bool found, is_sips;

	if (text.n > MSG_MAX_URI)
		return refuse(L, "too long");
	u = field_uri(scratch(script_of(L)), text);
	if (!u && arena_failed(scratch(script_of(L))))
		return vm_raise(L, "not enough memory");
	if (!u)
		return refuse(L, "not a valid URI");
	is_sips = str_caseeq(u->scheme, STR("sips"));
	if (!is_sips && !str_caseeq(u->scheme, STR("sip")))
		return refuse(L, "neither sip: nor sips:");
	lua_newtable(L);
	push_uri(L, u);
	lua_pushstring(L, is_sips ? "sips" : "sip");
	lua_setfield(L, -2, "scheme");
	script_push(L, text);
	lua_setfield(L, -2, "text");
	tp = field_param_get(u->params, STR("transport"), &found);
	if (!found || !tp.p)
		return 1;
	if (transport_parse(tp) < 0)
		return refuse(L, "unknown transport");
	lua_pushstring(L, transport_name((enum transport)transport_parse(tp)));
	lua_setfield(L, -2, "transport");
	return 1;
}

/* "udp:0.0.0.0:5060" -> { transport, host, port } | nil, why */
static int l_parse_addr(lua_State *L)
{
	const char *why = NULL;
	char text[ADDR_TEXT];
	struct listener l;
	struct buf b;

	if (!listener_parse(script_str(L, 1), &l, &why))
		return refuse(L, why);
	buf_fixed(&b, text, sizeof(text));
	addr_write_ip(&b, &l.addr);
	lua_createtable(L, 0, 3);
	lua_pushstring(L, transport_name((enum transport)l.transport));
	lua_setfield(L, -2, "transport");
	script_push(L, buf_str(&b));
	lua_setfield(L, -2, "host");
	lua_pushinteger(L, l.addr.port);
	lua_setfield(L, -2, "port");
	return 1;
}

/* core.net("10.0.0.0/8") -> true | nil, why */
static int l_net(lua_State *L)
{
	struct addr_net net;

	if (!addr_net_parse(script_str(L, 1), &net))
		return refuse(L, "not an address or a network like "
				 "10.0.0.0/8");
	lua_pushboolean(L, 1);
	return 1;
}

/* Networks, parsed once: what core.nets gives. */
struct nets {
	size_t n;
	struct addr_net net[];
};

static const char nets_name[] = "tandem.nets";

/* core.nets { "10.0.0.0/8", ... } -> nets; the texts are those of core.net. */
static int l_nets(lua_State *L)
{
	size_t n = lua_rawlen(L, 1);
	struct nets *nets =
	    lua_newuserdatauv(L, sizeof(*nets) + n * sizeof(nets->net[0]), 0);

	nets->n = 0;
	luaL_setmetatable(L, nets_name);
	for (size_t i = 1; i <= n; i++) {
		lua_rawgeti(L, 1, (lua_Integer)i);
		if (!addr_net_parse(script_str(L, -1), &nets->net[nets->n++]))
			return luaL_error(L, "item %d is no network", (int)i);
		lua_pop(L, 1);
	}
	return 1;
}

/* core.nets_has(nets, ip) -> boolean | nil when that is no IP address */
static int l_nets_has(lua_State *L)
{
	const struct nets *nets = luaL_checkudata(L, 1, nets_name);
	struct addr a;
	bool found = false;

	if (!addr_parse_ip(script_str(L, 2), &a))
		return 0;
	vm_charge(L, nets->n);
	for (size_t i = 0; i < nets->n && !found; i++)
		found = addr_net_has(&nets->net[i], &a);
	lua_pushboolean(L, found);
	return 1;
}

void bind_uri(lua_State *L)
{
	static const luaL_Reg functions[] = {{"parse_uri", l_parse_uri},
					     {"parse_addr", l_parse_addr},
					     {"net", l_net},
					     {"nets", l_nets},
					     {"nets_has", l_nets_has},
					     {NULL, NULL}};

	luaL_newmetatable(L, nets_name);
	lua_pop(L, 1);
	luaL_setfuncs(L, functions, 0);
}
