#include "lua/script_int.h"

#include <stdio.h>
#include <string.h>
#include "proxy/places.h"

/*
 * Servers that are found while the proxy runs. A pool reserves room for them
 * while it loads (core.room); from then on worker 0 lets servers join and leave
 * by name, and the other workers follow.
 */

struct room {
	struct list link; /* script.rooms */
	unsigned n;
	struct facts like; /* its options are those of all of them */
};

enum { ROOM_MAX = 256 };

/* ---- while it loads ---- */

/* core.room(pool, n, { record_route =, ... }): n servers at most, those that
 * have left and still have calls included */
static int l_room(lua_State *L)
{
	struct script *s = script_of(L);
	struct str pool = script_str(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);
	struct room *r;

	if (s->phase != SCRIPT_LOADING)
		return vm_raise(L, "core.room: only while the script loads");
	luaL_argcheck(L, n > 0 && n <= ROOM_MAX, 2, "1 to 256 expected");
	luaL_argcheck(L, pool.n < MEMBER_NAME - 1, 1, "too long");
	r = arena_zalloc(s->arena, sizeof(*r));
	if (!r)
		return script_raise(L, "core.room", ERR_NOMEM);
	r->n = (unsigned)n;
	memcpy(r->like.name, pool.p, pool.n);
	facts_read(L, 3, &r->like);
	list_append(&s->rooms, &r->link);
	return 0;
}

static struct room *find_room(struct script *s, struct str pool)
{
	list_each (it, &s->rooms) {
		struct room *r = container_of(it, struct room, link);

		if (str_eq(str_from(r->like.name), pool))
			return r;
	}
	return NULL;
}

int rooms_tls(struct script *s, facts_tls_fn *add, struct tls_clients *clients,
	      uint32_t *used)
{
	int err = 0;

	list_each (it, &s->rooms)
		if (!err)
			err = add(&container_of(it, struct room, link)->like,
				  clients, used);
	return err;
}

int rooms_bind(struct script *s)
{
	list_each (it, &s->rooms) {
		struct room *r = container_of(it, struct room, link);

		if (members_reserve(&s->node->members, str_from(r->like.name),
				    r->n) != 0)
			return ERR_NOMEM;
	}
	return 0;
}

/* ---- while it runs ---- */

static struct member *take_member(struct script *s, struct room *r,
				  struct str name, struct str identity,
				  char was_r[MEMBER_NAME])
{
	struct members *ms = &s->node->members;
	struct member *m;

	was_r[0] = '\0';
	if (s->conf.worker != 0)
		return members_share(ms, name);
	m = members_join(ms, name, s->now.mono, was_r);
	if (m && !m->declared) {
		/* Who returns may still be known to others: in one go. */
		if (identity.n) {
			memcpy(r->like.tls_name, identity.p, identity.n);
			r->like.tls_name[identity.n] = '\0';
		}
		facts_fill(m, &r->like);
		members_declare(ms, m);
	}
	return m;
}

/* A block with its handle, in no list yet. What can fail is done here. */
static struct facts *new_facts(lua_State *L, struct script *s, struct str pool,
			       const char *server)
{
	struct facts *f = lua_newuserdatauv(L, sizeof(*f), 0);
	int n;

	memset(f, 0, sizeof(*f));
	f->s = s;
	n = snprintf(f->name, sizeof(f->name), "%.*s/%s", (int)pool.n, pool.p,
		     server);
	if (n < 0 || (size_t)n >= sizeof(f->name))
		vm_raise(L, "the name '%s' is too long", server);
	block_push_handle(L, f, &f->box, &facts_type);
	lua_pushvalue(L, -1);
	f->anchor = vm_ref(L);
	return f;
}

static struct facts *find_facts(struct script *s, const char *name)
{
	list_each (it, &s->facts) {
		struct facts *f = container_of(it, struct facts, link);

		if (f->m && strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

/* core.join(pool, server[, identity]) -> facts, was | nil: `was` is the name of
 * whose place it took, or nil; nothing when there is no room. Who is there
 * already stays. `identity`: who it has to be when it is reached by TLS */
static int l_join(lua_State *L)
{
	struct script *s = script_of(L);
	struct str pool = script_str(L, 1);
	struct room *r = find_room(s, pool);
	char was[MEMBER_NAME];
	struct str identity =
	    lua_isnoneornil(L, 3) ? STR_NONE : script_str(L, 3);
	struct facts *f, *known;

	script_core(L);
	luaL_argcheck(L, identity.n < DNS_NAME, 3, "too long");
	luaL_argcheck(L, r != NULL, 1, "this pool has no room");
	f = new_facts(L, s, pool, luaL_checkstring(L, 2));
	known = find_facts(s, f->name);
	if (known) {
		vm_unref(s->vm, f->anchor);
		facts_push(L, known->m);
		return 1;
	}
	f->m = take_member(s, r, str_from(f->name), identity, was);
	if (!f->m) {
		vm_unref(s->vm, f->anchor);
		return 0;
	}
	f->judged = r->like.judged;
	list_append(&s->facts, &f->link);
	if (!was[0])
		return 1;
	lua_pushstring(L, was);
	return 2;
}

/* The worker knows it no more. */
void facts_leave(struct facts *f)
{
	struct script *s = f->s;
	struct member *m = f->m;

	proxy_set_places(core_proxy(s->core), m, NULL);
	if (s->conf.worker == 0)
		members_leave(&s->node->members, m, s->now.mono);
	else
		members_unref(&s->node->members, m);
	f->m = NULL;
	list_remove(&f->link);
	vm_unref(s->vm, f->anchor);
}

void bind_join(lua_State *L)
{
	lua_pushcfunction(L, l_room);
	lua_setfield(L, -2, "room");
	lua_pushcfunction(L, l_join);
	lua_setfield(L, -2, "join");
}
