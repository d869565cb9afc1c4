#include "lua/script_int.h"

#include <string.h>
#include "message/field.h"

/*
 * req.ruri and req.ruri.params: the Request-URI with parts that can be read
 * and assigned. Each assignment makes a new text of the one as it is now; the
 * parts that were not asked for stay as they were written.
 */

static int l_get(lua_State *L);
static int l_set(lua_State *L);
static int l_get_param(lua_State *L);
static int l_set_param(lua_State *L);

static const struct box_type uri_type = {.name = "tandem.Uri",
					 .gone = "transaction is gone",
					 .get = l_get,
					 .set = l_set};
static const struct box_type params_type = {.name = "tandem.UriParams",
					    .gone = "transaction is gone",
					    .get = l_get_param,
					    .set = l_set_param};

void ruri_push(lua_State *L, struct call *c)
{
	box_push(L, c, &c->uri_box, &uri_type);
}

void ruri_empty(struct call *c)
{
	box_empty(&c->uri_box);
	box_empty(&c->params_box);
}

struct str ruri_text(const struct call *c)
{
	const struct edits *e = request_edits(c->r);

	return e->uri.p ? e->uri : request_msg(c->r)->uri;
}

static struct arena *scratch(const struct call *c)
{
	return core_scratch(c->s->core);
}

/* NULL: it is no URI. Lack of memory raises: a script that was told nil would
 * take another way. */
static const struct field_uri *parse(lua_State *L, const struct call *c,
				     struct str text)
{
	const struct field_uri *u = field_uri(scratch(c), text);

	if (!u && arena_failed(scratch(c)))
		vm_raise(L, "not enough memory");
	return u;
}

/* ---- writing ---- */

static void put_text(lua_State *L, struct call *c, struct str text)
{
	const struct field_uri *u = parse(L, c, text);
	int err;

	if (!u || text.n > MSG_MAX_URI)
		vm_raise(L, "req.ruri: '%s' is no URI", text.p);
	err = edit_uri(request_edits(c->r), text);
	if (err)
		script_raise(L, "req.ruri", err);
}

void ruri_set(lua_State *L, struct call *c, int idx)
{
	put_text(L, c, script_str(L, idx));
}

static bool is_plain(char ch, const char *also)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
	       (ch >= '0' && ch <= '9') || (ch && strchr(also, ch));
}

/* RFC 3261 25.1: what the grammar of this part does not allow is escaped. */
static void put_escaped(struct buf *b, struct str s, const char *also)
{
	for (size_t i = 0; i < s.n; i++) {
		if (is_plain(s.p[i], also)) {
			buf_char(b, s.p[i]);
		} else {
			buf_char(b, '%');
			buf_printf(b, "%02X", (unsigned char)s.p[i]);
		}
	}
}

#define MARK       "-_.!~*'()"
#define USER_ALSO  MARK "&=+$,;?/"
#define PARAM_ALSO MARK "[]/:&+$"

/* The parts to write, in place of those of the URI as it is. */
struct parts {
	struct uri u;
	struct str user; /* escaped */
	bool ipv6;       /* host needs brackets */
};

static void write_parts(lua_State *L, struct call *c, const struct parts *p)
{
	struct buf b;

	buf_arena(&b, scratch(c), 256);
	buf_put(&b, p->u.scheme);
	buf_char(&b, ':');
	if (p->user.p) {
		buf_put(&b, p->user);
		buf_char(&b, '@');
	}
	if (p->ipv6)
		buf_char(&b, '[');
	buf_put(&b, p->u.host);
	if (p->ipv6)
		buf_char(&b, ']');
	if (p->u.port)
		buf_printf(&b, ":%u", (unsigned)p->u.port);
	if (p->u.params.n) {
		buf_char(&b, ';');
		buf_put(&b, p->u.params);
	}
	if (p->u.headers.n) {
		buf_char(&b, '?');
		buf_put(&b, p->u.headers);
	}
	buf_char(&b, '\0'); /* for messages */
	if (!buf_ok(&b))
		vm_raise(L, "not enough memory");
	put_text(L, c, (struct str){b.p, b.n - 1});
}

static struct call *check_parts(lua_State *L, const struct box_type *type,
				struct parts *p)
{
	struct call *c = box_get(L, 1, type);

	if (!scan_uri(ruri_text(c), &p->u) || !p->u.is_sip)
		vm_raise(L, "req.ruri: not a SIP URI: assign it as a whole "
			    "(req.ruri = \"sip:...\")");
	p->user = p->u.user;
	p->ipv6 = false;
	return c;
}

static void set_user(lua_State *L, struct call *c, struct parts *p)
{
	struct buf b;

	p->user = STR_NONE;
	if (lua_isnil(L, 3))
		return;
	buf_arena(&b, scratch(c), 64);
	put_escaped(&b, script_str(L, 3), USER_ALSO);
	p->user = buf_str(&b);
	if (!p->user.n)
		vm_raise(L, "req.ruri.user: it cannot be empty; nil removes "
			    "it");
}

static void set_host(lua_State *L, struct parts *p)
{
	struct addr a;

	p->u.host = script_str(L, 3);
	p->ipv6 =
	    memchr(p->u.host.p, ':', p->u.host.n) && p->u.host.p[0] != '[';
	if (p->ipv6 ? !addr_parse_ip(p->u.host, &a) : !scan_is_host(p->u.host))
		vm_raise(L, "req.ruri.host: '%s' is no host", p->u.host.p);
}

static void set_port(lua_State *L, struct parts *p)
{
	lua_Integer port = lua_isnil(L, 3) ? 0 : luaL_checkinteger(L, 3);

	if (!lua_isnil(L, 3) && (port < 1 || port > 65535))
		vm_raise(L, "req.ruri.port: 1 to 65535, or nil");
	p->u.port = (uint16_t)port;
}

static void set_scheme(lua_State *L, struct parts *p)
{
	p->u.scheme = script_str(L, 3);
	if (!str_eq(p->u.scheme, STR("sip")) &&
	    !str_eq(p->u.scheme, STR("sips")))
		vm_raise(L, "req.ruri.scheme: sip or sips");
}

static int l_set(lua_State *L)
{
	struct str key = script_tostr(L, 2);
	struct parts p;
	struct call *c = check_parts(L, &uri_type, &p);

	if (key.p && str_eq(key, STR("user")))
		set_user(L, c, &p);
	else if (key.p && str_eq(key, STR("host")))
		set_host(L, &p);
	else if (key.p && str_eq(key, STR("port")))
		set_port(L, &p);
	else if (key.p && str_eq(key, STR("scheme")))
		set_scheme(L, &p);
	else
		return vm_raise(L, "req.ruri: field '%s' cannot be set",
				luaL_tolstring(L, 2, NULL));
	write_parts(L, c, &p);
	return 0;
}

/* ---- reading ---- */

static int l_get(lua_State *L)
{
	struct call *c = box_get(L, 1, &uri_type);
	struct str key = script_tostr(L, 2), text = ruri_text(c);
	const struct field_uri *u = parse(L, c, text);

	if (!key.p)
		return vm_raise(L, "req.ruri: no such field");
	if (str_eq(key, STR("text")))
		script_push(L, text);
	else if (str_eq(key, STR("params")))
		box_push(L, c, &c->params_box, &params_type);
	else if (str_eq(key, STR("scheme")))
		script_push(L, u ? u->scheme : STR_NONE);
	else if (str_eq(key, STR("user")))
		script_push(L, u ? u->user : STR_NONE);
	else if (str_eq(key, STR("host")))
		script_push(L, u ? u->host : STR_NONE);
	else if (str_eq(key, STR("port")) && u && u->port)
		lua_pushinteger(L, u->port);
	else if (str_eq(key, STR("port")))
		lua_pushnil(L);
	else
		return vm_raise(L, "req.ruri has no field '%s'", key.p);
	return 1;
}

static int l_tostring(lua_State *L)
{
	struct call *c = box_peek(L, 1, &uri_type);

	script_push(L, c ? ruri_text(c) : STR("(gone)"));
	return 1;
}

/* ---- parameters ---- */

static int l_get_param(lua_State *L)
{
	struct call *c = box_get(L, 1, &params_type);
	const struct field_uri *u = parse(L, c, ruri_text(c));
	struct str value = STR_NONE;
	bool found = false;

	if (u)
		value = field_param_get(u->params, script_str(L, 2), &found);
	if (found && !value.p)
		value = STR("");
	script_push(L, found ? value : STR_NONE);
	return 1;
}

static void put_param(struct buf *b, struct str name, struct str value)
{
	if (b->n)
		buf_char(b, ';');
	buf_put(b, name);
	if (value.p) {
		buf_char(b, '=');
		buf_put(b, value);
	}
}

static int l_set_param(lua_State *L)
{
	struct parts p;
	struct call *c = check_parts(L, &params_type, &p);
	struct str key = script_str(L, 2), rest = p.u.params, name, value;
	struct buf b, v;

	if (!str_is_token(key))
		return vm_raise(L, "req.ruri.params: '%s' is no name", key.p);
	buf_arena(&b, scratch(c), 128);
	while (rest.p && scan_next_param(&rest, &name, &value))
		if (!str_caseeq(name, key))
			put_param(&b, name, value);
	if (!lua_isnil(L, 3)) {
		buf_arena(&v, scratch(c), 32);
		put_escaped(&v, script_str(L, 3), PARAM_ALSO);
		put_param(&b, key, v.n ? buf_str(&v) : STR_NONE);
	}
	p.u.params = buf_str(&b);
	write_parts(L, c, &p);
	return 0;
}

/* pairs(req.ruri.params): a copy of them */
static int l_pairs(lua_State *L)
{
	struct call *c = box_get(L, 1, &params_type);
	const struct field_uri *u = parse(L, c, ruri_text(c));

	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_getfield(L, -1, "pairs");
	script_push_params(L, u ? u->params : STR_NONE);
	lua_call(L, 1, 3);
	return 3;
}

void bind_ruri(lua_State *L)
{
	box_register(L, &uri_type);
	lua_pushcfunction(L, l_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pop(L, 1);
	box_register(L, &params_type);
	lua_pushcfunction(L, l_pairs);
	lua_setfield(L, -2, "__pairs");
	lua_pop(L, 1);
}
