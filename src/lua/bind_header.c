#include "lua/script_int.h"

#include <string.h>

/*
 * Header fields of a request or a response, as the methods of both see them:
 * what is there after the edits so far.
 */

/* Fields that transactions and dialogs live on. */
static bool is_reserved(enum hdr_id id)
{
	switch (id) {
	case HDR_VIA:
	case HDR_FROM:
	case HDR_TO:
	case HDR_CALL_ID:
	case HDR_CSEQ:
	case HDR_CONTENT_LENGTH:
	case HDR_MAX_FORWARDS:
	case HDR_RECORD_ROUTE:
		return true;
	default:
		return false;
	}
}

static struct str check_name(lua_State *L, int idx)
{
	struct str name = script_str(L, idx);

	if (!str_is_token(name))
		vm_raise(L, "'%s' is no header name", name.p);
	return name;
}

static struct str check_editable(lua_State *L, int idx)
{
	struct str name = check_name(L, idx);
	enum hdr_id id = hdr_id(name);

	if (is_reserved(id))
		vm_raise(L,
			 "header %s belongs to the proxy: changing it "
			 "would break the transaction or the call",
			 hdr_name(id).p);
	return name;
}

static struct str check_value(lua_State *L, int idx, struct str name)
{
	struct str value = script_str(L, idx);

	if (memchr(value.p, '\r', value.n) || memchr(value.p, '\n', value.n) ||
	    memchr(value.p, '\0', value.n))
		vm_raise(L, "header %s: a value cannot contain CR, LF or NUL",
			 name.p);
	return value;
}

static int done(lua_State *L, struct str name, int err)
{
	if (err == ERR_LIMIT)
		return vm_raise(L, "header %s: too long, or too many changes",
				name.p);
	if (err == ERR_SYNTAX)
		return vm_raise(L, "header %s: no valid field", name.p);
	if (err && err != ERR_NOTFOUND)
		return script_raise(L, name.p, err);
	return 0;
}

/* ---- methods: handle at 1 ---- */

int header_get(lua_State *L, struct edits *e)
{
	struct str name = check_name(L, 2), value = edits_get(e, name);

	/* A folded value is copied. Without memory it is not nil. */
	if (!value.p && arena_failed(e->arena) && msg_find(e->msg, name))
		return vm_raise(L, "not enough memory");
	script_push(L, value);
	return 1;
}

struct walk {
	lua_State *L;
	bool with_name;
	lua_Integer n;
};

/* Into the table at the top. */
static bool on_field(void *ctx, struct str name, struct str value)
{
	struct walk *w = ctx;
	lua_State *L = w->L;

	if (!value.p)
		vm_raise(L, "not enough memory");
	if (w->with_name) {
		lua_createtable(L, 2, 0);
		script_push(L, name);
		lua_rawseti(L, -2, 1);
		script_push(L, value);
		lua_rawseti(L, -2, 2);
	} else {
		script_push(L, value);
	}
	lua_rawseti(L, -2, ++w->n);
	return true;
}

int header_all(lua_State *L, struct edits *e)
{
	struct walk w = {L, lua_isnoneornil(L, 2), 0};
	struct str name = w.with_name ? STR_NONE : check_name(L, 2);

	lua_newtable(L);
	edits_each(e, name, on_field, &w);
	return 1;
}

int header_set(lua_State *L, struct edits *e)
{
	struct str name = check_editable(L, 2);

	return done(L, name, edit_set(e, name, check_value(L, 3, name)));
}

int header_add(lua_State *L, struct edits *e)
{
	struct str name = check_editable(L, 2);

	return done(L, name, edit_add(e, name, check_value(L, 3, name)));
}

int header_del(lua_State *L, struct edits *e)
{
	struct str name = check_editable(L, 2);

	return done(L, name, edit_remove(e, name));
}

/* ---- fields of messages we make ---- */

struct str header_lines(lua_State *L, int idx, struct script *s,
			bool *has_type_r)
{
	lua_Integer n = lua_istable(L, idx) ? luaL_len(L, idx) : 0;
	struct str name;
	struct buf b;

	*has_type_r = false;
	buf_arena(&b, core_scratch(s->core), 256);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, idx, i);
		luaL_checktype(L, -1, LUA_TTABLE);
		lua_geti(L, -1, 1);
		lua_geti(L, -2, 2);
		name = check_editable(L, -2);
		buf_put(&b, name);
		BUF_LIT(&b, ": ");
		buf_put(&b, check_value(L, -1, name));
		BUF_LIT(&b, "\r\n");
		if (hdr_id(name) == HDR_CONTENT_TYPE)
			*has_type_r = true;
		lua_pop(L, 3);
	}
	if (!buf_ok(&b))
		vm_raise(L, "not enough memory");
	if (b.n > MSG_MAX_BYTES / 2)
		vm_raise(L, "the headers are too long");
	return buf_str(&b);
}
