#include "lua/script_int.h"

#include <string.h>

/*
 * The plan: what the script declared and the host must know, as the Lua half
 * hands it over. It was checked there, against the line that wrote it; here it
 * is only made sure that nothing wrong gets through.
 */

enum {
	/* Most phones ring no longer, and service managers wait for longer. */
	STOP_TIMEOUT_S = 30,
	/* Less than 64*T1: who still repeats its request then is heard by the
	 * process that follows. And far more than any script may take. */
	WATCHDOG_S = 30,
};

static const char *keep(struct script *s, lua_State *L, int idx)
{
	struct str text = script_str(L, idx);

	text = arena_str(s->arena, text);
	if (!text.p)
		luaL_error(L, "not enough memory");
	return text.p;
}

/* ---- listeners ---- */

static void read_listener(lua_State *L, int idx, struct listener *out)
{
	const char *why = NULL, *host, *advertise;

	lua_getfield(L, idx, "transport");
	lua_getfield(L, idx, "host");
	lua_getfield(L, idx, "port");
	lua_getfield(L, idx, "advertise");
	host = luaL_checkstring(L, -3);
	lua_pushfstring(
	    L, strchr(host, ':') && host[0] != '[' ? "%s:[%s]:%d" : "%s:%s:%d",
	    luaL_checkstring(L, -4), host, (int)luaL_optinteger(L, -2, 5060));
	if (!listener_parse(script_str(L, -1), out, &why))
		luaL_error(L, "listen '%s': %s", lua_tostring(L, -1), why);
	advertise = lua_tostring(L, -2);
	if (advertise && strlen(advertise) >= sizeof(out->advertise))
		luaL_error(L, "listen: advertise is too long");
	if (advertise)
		memcpy(out->advertise, advertise, strlen(advertise) + 1);
	lua_pop(L, 5);
	if (out->transport == TRANSPORT_TLS)
		tls_conf_read(L, idx, true, &out->tls);
}

static void read_listeners(lua_State *L, int plan, struct plan *p)
{
	lua_Integer n;
	int list;

	lua_getfield(L, plan, "listen");
	list = lua_gettop(L);
	n = lua_istable(L, list) ? luaL_len(L, list) : 0;
	if (n > LISTENER_MAX)
		luaL_error(L, "more than %d listeners", LISTENER_MAX);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, list, i);
		luaL_checktype(L, -1, LUA_TTABLE);
		read_listener(L, lua_gettop(L), &p->listener[i - 1]);
		lua_pop(L, 1);
	}
	p->listeners = (unsigned)n;
	lua_pop(L, 1);
}

/* ---- settings ---- */

static void read_us(lua_State *L, int t, const char *name, int64_t *out)
{
	if (lua_getfield(L, t, name) != LUA_TNIL)
		*out = script_us(L, -1, name);
	lua_pop(L, 1);
}

static void read_text(lua_State *L, int t, const char *name, struct script *s,
		      const char **out)
{
	if (lua_getfield(L, t, name) != LUA_TNIL)
		*out = keep(s, L, -1);
	lua_pop(L, 1);
}

static void read_words(lua_State *L, int t, struct plan *p)
{
	static const char *const trying[] = {"commit", "rfc", NULL};
	static const char *const late[] = {"bye", "forward", NULL};
	static const char *const relay[] = {"all", "invite", "none", NULL};
	int level;

	lua_getfield(L, t, "trying");
	p->trying = luaL_checkoption(L, -1, "commit", trying) ? TRYING_RFC
							      : TRYING_COMMIT;
	lua_getfield(L, t, "late_answer");
	p->late_answer =
	    luaL_checkoption(L, -1, "bye", late) ? LATE_FORWARD : LATE_BYE;
	lua_getfield(L, t, "stateless_relay");
	p->stateless_relay =
	    (enum stateless_relay)luaL_checkoption(L, -1, "all", relay);
	if (lua_getfield(L, t, "log_level") != LUA_TNIL) {
		level = log_level_parse(script_str(L, -1));
		if (level < 0)
			luaL_error(L, "log_level: '%s' is none",
				   lua_tostring(L, -1));
		p->log_level = (enum log_level)level;
	}
	lua_pop(L, 3);
}

static void read_numbers(lua_State *L, int t, struct script *s)
{
	lua_Integer n;

	lua_getfield(L, t, "workers");
	n = luaL_optinteger(L, -1, 1);
	if (n < 1 || n > NODE_MAX_WORKERS)
		luaL_error(L, "workers: 1 to %d", NODE_MAX_WORKERS);
	s->plan.workers = (unsigned)n;
	lua_getfield(L, t, "lua_memory");
	s->lua_memory = (size_t)luaL_optnumber(L, -1, 0);
	lua_pop(L, 2);
	read_us(L, t, "lua_burst", &s->lua_burst);
	read_us(L, t, "stop_timeout", &s->plan.stop_timeout);
	read_us(L, t, "watchdog", &s->plan.watchdog);
	read_us(L, t, "drain_notice", &s->plan.drain_notice);
	read_us(L, t, "t1", &s->plan.times.t1);
	read_us(L, t, "t2", &s->plan.times.t2);
	read_us(L, t, "t4", &s->plan.times.t4);
}

/* Whole numbers of bytes or connections. */
static size_t read_whole(lua_State *L, int t, const char *name, size_t old)
{
	lua_Integer n = (lua_Integer)old;

	if (lua_getfield(L, t, name) != LUA_TNIL)
		n = luaL_checkinteger(L, -1);
	lua_pop(L, 1);
	if (n < 0 || n > UINT32_MAX)
		luaL_error(L, "%s: out of range", name);
	return (size_t)n;
}

static void read_exempt(lua_State *L, int list, struct overload_conf *o)
{
	lua_Integer n = luaL_len(L, list);

	if (n > EXEMPT_MAX)
		luaL_error(L, "overload: more than %d exempt", EXEMPT_MAX);
	for (lua_Integer i = 0; i < n; i++) {
		struct str s;

		lua_geti(L, list, i + 1);
		s = script_str(L, -1);
		if (s.n > EXEMPT_LEN)
			luaL_error(L, "overload: '%s' is too long", s.p);
		memcpy(o->exempt[i], s.p, s.n);
		lua_pop(L, 1);
	}
	o->n_exempt = (unsigned)n;
}

static void read_overload(lua_State *L, int t, struct plan *p)
{
	struct overload_conf *o = &p->overload;

	if (lua_getfield(L, t, "max_memory") != LUA_TNIL) {
		lua_Integer n = luaL_checkinteger(L, -1);

		if (n < 0)
			luaL_error(L, "max_memory: out of range");
		p->max_memory = (size_t)n;
	}
	if (lua_getfield(L, t, "overload") != LUA_TNIL) {
		t = lua_gettop(L);
		luaL_checktype(L, t, LUA_TTABLE);
		read_us(L, t, "delay", &o->delay);
		o->retry_after =
		    (uint32_t)read_whole(L, t, "retry_after", o->retry_after);
		if (lua_getfield(L, t, "exempt") != LUA_TNIL)
			read_exempt(L, lua_gettop(L), o);
		lua_pop(L, 1);
	}
	lua_pop(L, 2);
}

static void read_streams(lua_State *L, int t, struct plan *p)
{
	struct stream_limits *l = &p->streams;

	p->udp_max = read_whole(L, t, "udp_max", p->udp_max);
	p->why_memory = read_whole(L, t, "why_memory", p->why_memory);
	if (lua_getfield(L, t, "tcp") != LUA_TNIL) {
		t = lua_gettop(L);
		luaL_checktype(L, t, LUA_TTABLE);
		read_us(L, t, "connect_timeout", &l->connect);
		read_us(L, t, "handshake_timeout", &l->handshake);
		read_us(L, t, "header_timeout", &l->header);
		read_us(L, t, "idle_timeout", &l->idle);
		l->per_source =
		    (uint32_t)read_whole(L, t, "per_source", l->per_source);
		l->connections =
		    (uint32_t)read_whole(L, t, "connections", l->connections);
		l->message = read_whole(L, t, "max_message", l->message);
		l->queue = read_whole(L, t, "max_queue", l->queue);
	}
	lua_pop(L, 1);
}

static void read_udp(lua_State *L, int t, struct plan *p)
{
	if (lua_getfield(L, t, "udp") != LUA_TNIL) {
		luaL_checktype(L, -1, LUA_TTABLE);
		if (lua_getfield(L, -1, "gso") != LUA_TNIL)
			p->udp_gso = lua_toboolean(L, -1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* The list at the top; room for its n elements of this size. Pops it later. */
static void *make_room(lua_State *L, struct script *s, size_t size, size_t *n_r)
{
	lua_Integer n = lua_istable(L, -1) ? luaL_len(L, -1) : 0;
	void *p = arena_zalloc(s->arena, size * (size_t)n);

	if (!p)
		luaL_error(L, "not enough memory");
	*n_r = (size_t)n;
	return p;
}

static void read_trust(lua_State *L, int t, struct script *s)
{
	lua_getfield(L, t, "trust");
	s->trust = make_room(L, s, sizeof(*s->trust), &s->n_trust);
	for (size_t i = 0; i < s->n_trust; i++) {
		lua_geti(L, -1, (lua_Integer)i + 1);
		if (!addr_net_parse(script_str(L, -1), &s->trust[i]))
			luaL_error(L, "trust: '%s' is no network",
				   lua_tostring(L, -1));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_domains(lua_State *L, int t, struct script *s)
{
	lua_getfield(L, t, "domains");
	s->domains = make_room(L, s, sizeof(*s->domains), &s->n_domains);
	for (size_t i = 0; i < s->n_domains; i++) {
		lua_geti(L, -1, (lua_Integer)i + 1);
		s->domains[i] = str_from(keep(s, L, -1));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_dns_servers(lua_State *L, int dns, struct dns_limits *d)
{
	enum { DOMAIN = 53 };
	lua_Integer n;

	lua_getfield(L, dns, "servers");
	n = lua_istable(L, -1) ? luaL_len(L, -1) : 0;
	if (n > DNS_SERVERS)
		luaL_error(L, "dns.servers: at most %d", DNS_SERVERS);
	for (lua_Integer i = 0; i < n; i++) {
		struct addr *a = &d->server[i];

		lua_geti(L, -1, i + 1);
		if (!addr_parse(script_str(L, -1), a))
			luaL_error(L, "dns.servers: '%s' is no address",
				   lua_tostring(L, -1));
		a->port = a->port ? a->port : DOMAIN;
		lua_pop(L, 1);
	}
	d->servers = (unsigned)n;
	lua_pop(L, 1);
}

static void read_dns(lua_State *L, int t, struct dns_limits *d)
{
	int dns;

	if (lua_getfield(L, t, "dns") != LUA_TNIL) {
		dns = lua_gettop(L);
		read_dns_servers(L, dns, d);
		read_us(L, dns, "timeout", &d->deadline);
		read_us(L, dns, "ttl_min", &d->ttl_min);
		read_us(L, dns, "ttl_max", &d->ttl_max);
		read_us(L, dns, "negative", &d->negative);
		read_us(L, dns, "stale", &d->stale);
		lua_getfield(L, dns, "names");
		d->names = (uint32_t)luaL_optinteger(L, -1, d->names);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_short(lua_State *L, int t, const char *name,
		       char out[HEP_TEXT + 1])
{
	size_t n = 0;
	const char *text;

	lua_getfield(L, t, name);
	text = luaL_optlstring(L, -1, "", &n);
	if (n > HEP_TEXT)
		luaL_error(L, "trace.%s: too long", name);
	memcpy(out, text, n + 1);
	lua_pop(L, 1);
}

static void read_hep(lua_State *L, int t, struct hep_conf *h)
{
	if (lua_getfield(L, t, "trace") != LUA_TNIL) {
		t = lua_gettop(L);
		if (lua_getfield(L, t, "hep") != LUA_TNIL &&
		    !addr_parse(script_str(L, -1), &h->collector))
			luaL_error(L, "trace.hep: '%s' is no address",
				   lua_tostring(L, -1));
		lua_getfield(L, t, "id");
		h->id = (uint32_t)luaL_optinteger(L, -1, h->id);
		lua_getfield(L, t, "share");
		h->share = luaL_optnumber(L, -1, h->share);
		if (lua_getfield(L, t, "redact") != LUA_TNIL)
			h->redact = lua_toboolean(L, -1);
		lua_pop(L, 4);
		read_short(L, t, "name", h->name);
		read_short(L, t, "password", h->password);
	}
	lua_pop(L, 1);
}

static void read_nodes(lua_State *L, int t, struct plan *p)
{
	lua_Integer n;

	if (lua_getfield(L, t, "nodes") != LUA_TNIL) {
		n = luaL_len(L, -1);
		for (lua_Integer i = 1; i <= n && i <= NODES_MAX; i++) {
			lua_geti(L, -1, i);
			if (!addr_parse(script_str(L, -1),
					&p->node[p->n_nodes++]))
				luaL_error(L, "nodes: '%s' is no address",
					   lua_tostring(L, -1));
			lua_pop(L, 1);
		}
	}
	lua_pop(L, 1);
}

static void read_notify(lua_State *L, int t, struct script *s)
{
	struct plan *p = &s->plan;
	char path[SCRIPT_PATH];

	if (lua_getfield(L, t, "notify") != LUA_TNIL) {
		t = lua_gettop(L);
		lua_getfield(L, t, "program");
		program_find(L, -1, path);
		lua_pushstring(L, path);
		p->notify = keep(s, L, -1);
		lua_pop(L, 2);
		p->notify_per_minute =
		    (unsigned)read_whole(L, t, "per_minute", 0);
		read_us(L, t, "timeout", &p->notify_timeout);
	}
	lua_pop(L, 1);
}

void plan_read(lua_State *L, int idx, struct script *s)
{
	struct plan *p = &s->plan;
	struct settings defaults;
	int t;

	settings_init(&defaults);
	p->times = defaults.times;
	p->streams = defaults.streams;
	p->udp_max = defaults.udp_max;
	p->udp_gso = defaults.udp_gso;
	p->why_memory = defaults.why_memory;
	p->max_memory = defaults.max_memory;
	p->overload = defaults.overload;
	p->dns = defaults.dns;
	p->hep = defaults.hep;
	p->log_level = LOG_INFO;
	p->stop_timeout = SECONDS(STOP_TIMEOUT_S);
	p->watchdog = SECONDS(WATCHDOG_S);
	luaL_checktype(L, idx, LUA_TTABLE);
	read_listeners(L, idx, p);
	if (lua_getfield(L, idx, "settings") == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
	}
	t = lua_gettop(L);
	read_numbers(L, t, s);
	read_words(L, t, p);
	read_streams(L, t, p);
	read_udp(L, t, p);
	read_overload(L, t, p);
	read_trust(L, t, s);
	read_domains(L, t, s);
	read_dns(L, t, &p->dns);
	read_hep(L, t, &p->hep);
	read_nodes(L, t, p);
	read_notify(L, t, s);
	read_text(L, t, "state_dir", s, &p->state_dir);
	read_text(L, t, "key_file", s, &p->key_file);
	p->findings = p->secrets = p->overrides = NULL;
	read_text(L, idx, "overrides", s, &p->overrides);
	read_text(L, idx, "findings", s, &p->findings);
	read_text(L, idx, "secrets", s, &p->secrets);
	lua_getfield(L, idx, "dump");
	p->dump = lua_isnil(L, -1) ? "{}" : keep(s, L, -1);
	lua_pop(L, 2);
}
