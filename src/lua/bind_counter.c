#include "lua/script_int.h"

#include <stdlib.h>
#include <string.h>
#include "core/shared.h"
#include "lua/metrics.h"
#include "util/siphash.h"

/*
 * core.counter: numbers a script counts, each worker for itself. The next
 * generation goes on with the values, and what requests of an earlier one still
 * count is added to them. The node's shared values keep them too, for a
 * generation that declares a counter again.
 */

/* Each is a time series in somebody's database, for good. */
enum { SERIES_MAX = 1000 };

struct ucounter {
	struct list link; /* script.counters */
	struct box *box;
	int64_t value;
	uint64_t hash; /* of name and labels: there may be thousands */
	const char *name, *help, *labels; /* in the script's arena */
};

static int l_add(lua_State *L);

static const luaL_Reg methods[] = {{"add", l_add}, {NULL, NULL}};

static const struct box_type counter_type = {.name = "tandem.Counter",
					     .gone = "the counter is gone",
					     .methods = methods,
					     .values = 1};

/* ---- from one generation to the next ---- */

static const struct str table = {"tandem.counter", 14};

static struct str key_of(const struct script *s, const struct ucounter *c)
{
	struct buf b;

	buf_arena(&b, core_scratch(s->core), 64);
	buf_printf(&b, "%u %s{%s}", s->conf.worker, c->name, c->labels);
	return buf_str(&b);
}

void counters_bind(struct script *s)
{
	struct shared *sh = s->node->shared;

	list_each (it, &s->counters) {
		struct ucounter *c = container_of(it, struct ucounter, link);
		struct shared_value v =
		    shared_get(sh, table, key_of(s, c), core_scratch(s->core),
			       s->now.mono);

		if (v.type == SHARED_INT)
			c->value += v.i;
	}
}

/* Not a secret, and of no consequence. */
static const uint8_t hash_key[16] = "tandem counters";

static uint64_t hash_of(const char *name, const char *labels)
{
	struct siphash h;

	siphash_init(&h, sipkey_load(hash_key));
	siphash_str(&h, str_from(name));
	siphash_str(&h, str_from(labels));
	return siphash_end(&h);
}

static struct ucounter *find(const struct script *s, uint64_t hash,
			     const char *name, const char *labels)
{
	list_each (it, &s->counters) {
		struct ucounter *c = container_of(it, struct ucounter, link);

		if (c->hash == hash && strcmp(c->name, name) == 0 &&
		    strcmp(c->labels, labels) == 0)
			return c;
	}
	return NULL;
}

void counters_inherit(struct script *s, const struct script *before)
{
	list_each (it, &s->counters) {
		struct ucounter *c = container_of(it, struct ucounter, link);
		const struct ucounter *old =
		    find(before, c->hash, c->name, c->labels);

		if (old)
			c->value = old->value;
	}
}

void counters_keep(struct script *s)
{
	struct shared *sh = s->node->shared;

	list_each (it, &s->counters) {
		struct ucounter *c = container_of(it, struct ucounter, link);
		struct shared_value v = {.type = SHARED_INT, .i = c->value};

		shared_set(sh, table, key_of(s, c), &v, 0, s->now.mono);
	}
}

static void push(lua_State *L, const struct ucounter *c)
{
	lua_createtable(L, 0, 4);
	lua_pushstring(L, c->name);
	lua_setfield(L, -2, "name");
	lua_pushstring(L, c->help);
	lua_setfield(L, -2, "help");
	lua_pushstring(L, c->labels);
	lua_setfield(L, -2, "labels");
	lua_pushinteger(L, c->value);
	lua_setfield(L, -2, "value");
}

void metrics_push_user(lua_State *L, const struct script *s, size_t from,
		       size_t n)
{
	lua_Integer at = 0;

	lua_newtable(L);
	list_each (it, &s->counters) {
		if (from > 0) {
			from--;
			continue;
		}
		if ((size_t)at == n)
			break;
		push(L, container_of(it, const struct ucounter, link));
		lua_rawseti(L, -2, ++at);
	}
}

/* core.counters(from, n): so many of them, from that number (1) on */
static int l_counters(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);

	luaL_argcheck(L, from >= 1, 1, "from 1 on");
	luaL_argcheck(L, n >= 0, 2, "a number expected");
	metrics_push_user(L, script_of(L), (size_t)from - 1, (size_t)n);
	return 1;
}

/* ---- the API ---- */

/* Where it counts: in the script that has taken over, if that has it too. */
static struct ucounter *newest(struct script *s, struct ucounter *c)
{
	const struct script *heir =
	    s->phase == SCRIPT_RETIRED ? script_heir(s) : NULL;
	struct ucounter *other =
	    heir ? find(heir, c->hash, c->name, c->labels) : NULL;

	return other ? other : c;
}

static int l_add(lua_State *L)
{
	struct ucounter *c = box_get(L, 1, &counter_type);
	lua_Integer n = luaL_optinteger(L, 2, 1);

	luaL_argcheck(L, n >= 0, 2, "counters only grow");
	newest(script_of(L), c)->value += n;
	return 0;
}

static const char *keep(lua_State *L, struct str text)
{
	text = arena_str(script_of(L)->arena, text);
	if (!text.p)
		vm_raise(L, "not enough memory");
	return text.p;
}

static int compare(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Values may be any text: quoted, nothing in one can be taken for another. */
static void put_quoted(struct buf *b, struct str text)
{
	buf_char(b, '"');
	for (size_t i = 0; i < text.n; i++) {
		char ch = text.p[i];

		if (ch == '"' || ch == '\\')
			buf_char(b, '\\');
		if (ch == '\n')
			BUF_LIT(b, "\\n");
		else if (!ch)
			BUF_LIT(b, "\xef\xbf\xbd"); /* U+FFFD */
		else
			buf_char(b, ch);
	}
	buf_char(b, '"');
}

/* { name = value } as name="value",... in the order of the names, as Prometheus
 * writes them. */
static const char *read_labels(lua_State *L, int idx)
{
	enum { LABELS_MAX = 8 };
	struct str name[LABELS_MAX];
	size_t n = 0;
	struct buf b;

	if (lua_isnoneornil(L, idx))
		return "";
	luaL_checktype(L, idx, LUA_TTABLE);
	lua_pushnil(L);
	while (lua_next(L, idx)) {
		if (lua_type(L, -2) != LUA_TSTRING ||
		    lua_type(L, -1) != LUA_TSTRING || n == LABELS_MAX)
			vm_raise(L,
				 "counter: labels: at most %d strings by "
				 "name expected",
				 LABELS_MAX);
		name[n++] = script_str(L, -2);
		lua_pop(L, 1);
	}
	qsort(name, n, sizeof(*name), compare);
	buf_arena(&b, script_of(L)->arena, 64);
	for (size_t i = 0; i < n; i++) {
		lua_getfield(L, idx, name[i].p);
		buf_printf(&b, "%s%s=", i ? "," : "", name[i].p);
		put_quoted(&b, script_str(L, -1));
		lua_pop(L, 1);
	}
	buf_char(&b, '\0');
	if (!buf_ok(&b))
		vm_raise(L, "not enough memory");
	return b.p;
}

/* How many there are of this name. */
static unsigned series(const struct script *s, const char *name)
{
	unsigned n = 0;

	list_each (it, &s->counters)
		n += strcmp(container_of(it, struct ucounter, link)->name,
			    name) == 0;
	return n;
}

/* core.counter(name, help, labels|nil): the same one for the same name and
 * labels. */
static int l_counter(lua_State *L)
{
	struct script *s = script_of(L);
	struct str name = script_str(L, 1), help = STR("");
	const char *labels = read_labels(L, 3);
	uint64_t hash = hash_of(name.p, labels);
	struct ucounter *c;

	if (!lua_isnoneornil(L, 2))
		help = script_str(L, 2);
	c = find(s, hash, name.p, labels);
	if (c) {
		box_push(L, c, &c->box, &counter_type);
		return 1;
	}
	if (s->phase != SCRIPT_LOADING)
		return vm_raise(L,
				"counter: '%s' must be made while the "
				"script loads",
				name.p);
	if (series(s, name.p) >= SERIES_MAX)
		return vm_raise(L,
				"counter: '%s' has %d sets of labels already",
				name.p, SERIES_MAX);
	c = arena_zalloc(s->arena, sizeof(*c));
	if (!c)
		return vm_raise(L, "not enough memory");
	c->name = keep(L, name);
	c->help = keep(L, help);
	c->labels = labels;
	c->hash = hash;
	list_append(&s->counters, &c->link);
	box_push(L, c, &c->box, &counter_type);
	return 1;
}

void bind_counter(lua_State *L)
{
	box_register(L, &counter_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, l_counter);
	lua_setfield(L, -2, "counter");
	lua_pushcfunction(L, l_counters);
	lua_setfield(L, -2, "counters");
}
