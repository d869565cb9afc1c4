#include "lua/script_int.h"

#include <string.h>

/*
 * What scripts say about files that are read or run outside of them: those of
 * TLS, of a listener or of a server's client, and programs. Whether they are
 * what they have to be, the host knows.
 */

/* The string field at the top of the table idx, into out[TLS_PATH]. */
static bool read_path(lua_State *L, int idx, const char *name, char *out)
{
	const char *text;
	size_t n = 0;

	lua_getfield(L, idx, name);
	text = lua_tolstring(L, -1, &n);
	if (text && (n >= TLS_PATH || strlen(text) != n))
		return false;
	memcpy(out, text ? text : "", n + 1);
	lua_pop(L, 1);
	return true;
}

static bool read_files(lua_State *L, int idx, struct tls_conf *out_r)
{
	memset(out_r, 0, sizeof(*out_r));
	lua_getfield(L, idx, "verify");
	out_r->verify = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return read_path(L, idx, "cert", out_r->cert) &&
	       read_path(L, idx, "key", out_r->key) &&
	       read_path(L, idx, "ca", out_r->ca);
}

/* A client of which nothing else is known: there is nothing to check. */
static bool is_default(const struct tls_conf *c)
{
	return c->verify && !c->cert[0] && !c->key[0] && !c->ca[0];
}

static bool check(const struct script *s, struct tls_conf *io, bool is_server,
		  const struct reason *why)
{
	if (!s->conf.tls || (!is_server && is_default(io)))
		return true;
	return s->conf.tls(s->conf.tls_ctx, io, is_server, why);
}

static bool read_conf(lua_State *L, int idx, bool is_server,
		      struct tls_conf *out_r, const struct reason *why)
{
	if (read_files(L, idx, out_r))
		return check(script_of(L), out_r, is_server, why);
	reason_set(why, ERR_CONFIG, "the name of a file is too long");
	return false;
}

bool tls_conf_read(lua_State *L, int idx, bool is_server,
		   struct tls_conf *out_r)
{
	char text[SCRIPT_PATH];

	if (!read_conf(L, idx, is_server, out_r,
		       &(struct reason){text, sizeof(text)}))
		vm_raise(L, "%s", text);
	return !is_default(out_r);
}

/* core.check_tls({ cert =, key =, ca =, verify = }, "listener"|"client") ->
 * nil | what is wrong */
static int l_check_tls(lua_State *L)
{
	static const char *const names[] = {"client", "listener", NULL};
	char text[SCRIPT_PATH];
	struct tls_conf conf;

	luaL_checktype(L, 1, LUA_TTABLE);
	if (read_conf(L, 1, luaL_checkoption(L, 2, NULL, names) != 0, &conf,
		      &(struct reason){text, sizeof(text)}))
		lua_pushnil(L);
	else
		lua_pushstring(L, text);
	return 1;
}

static bool find_program(lua_State *L, int idx, char out[SCRIPT_PATH],
			 const struct reason *why)
{
	const struct script *s = script_of(L);
	struct str name = script_str(L, idx);

	if (name.n >= SCRIPT_PATH || strlen(name.p) != name.n) {
		reason_set(why, ERR_CONFIG, "the name of a file is too long");
		return false;
	}
	memcpy(out, name.p, name.n + 1);
	return !s->conf.program || s->conf.program(s->conf.program_ctx, name.p,
						   out, SCRIPT_PATH, why);
}

void program_find(lua_State *L, int idx, char out[SCRIPT_PATH])
{
	char text[SCRIPT_PATH + 256];

	if (!find_program(L, idx, out, &(struct reason){text, sizeof(text)}))
		vm_raise(L, "%s", text);
}

/* core.check_program(name) -> nil | what is wrong */
static int l_check_program(lua_State *L)
{
	char path[SCRIPT_PATH], text[SCRIPT_PATH + 256];

	if (find_program(L, 1, path, &(struct reason){text, sizeof(text)}))
		lua_pushnil(L);
	else
		lua_pushstring(L, text);
	return 1;
}

void bind_tls(lua_State *L)
{
	lua_pushcfunction(L, l_check_tls);
	lua_setfield(L, -2, "check_tls");
	lua_pushcfunction(L, l_check_program);
	lua_setfield(L, -2, "check_program");
}

/* ---- the clients of servers ---- */

static int add(struct facts *f, struct tls_clients *clients, uint32_t *used)
{
	int i = f->tls ? tls_clients_add(clients, f->tls) : 0;

	if (i < 0)
		return ERR_LIMIT;
	f->tls_client = (uint8_t)i;
	*used |= UINT32_C(1) << i;
	return 0;
}

int script_tls(struct script *s, struct tls_clients *clients, uint32_t *used_r)
{
	int err = 0;

	*used_r = 0;
	list_each (it, &s->facts)
		if (!err)
			err = add(container_of(it, struct facts, link), clients,
				  used_r);
	if (!err)
		err = rooms_tls(s, add, clients, used_r);
	return err;
}
