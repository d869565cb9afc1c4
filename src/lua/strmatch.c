#include "lua/strmatch.h"

#include <lauxlib.h>
#include <string.h>

#include "lua/strpat.h"
#include "lua/vm_int.h"

/* ---- matching ------------------------------------------------------------ */

static void charge(struct strmatch *m)
{
	uint64_t steps = m->steps - m->charged;

	m->charged = m->steps;
	vm_charge(m->L, steps);
}

static void raise_bad(struct strmatch *m, const struct item *it)
{
	static const char *const text[] = {
	    [BAD_ESCAPE] = "malformed pattern (ends with '%')",
	    [BAD_SET] = "malformed pattern (missing ']')",
	    [BAD_BALANCE] = "malformed pattern (missing arguments to "
			    "'%b')",
	    [BAD_FRONTIER] = "missing '[' after '%f' in pattern",
	    [BAD_CLOSE] = "invalid pattern capture",
	    [BAD_CAPTURES] = "too many captures",
	};

	charge(m);
	if (it->set == BAD_BACKREF)
		luaL_error(m->L, "invalid capture index %%%d", it->a);
	luaL_error(m->L, "%s", text[it->set]);
}

static void raise_steps(struct strmatch *m)
{
	charge(m);
	lua_pushlstring(m->L, m->pattern.p,
			m->pattern.n < 100 ? m->pattern.n : 100);
	luaL_error(m->L,
		   "pattern '%s' takes too many steps on a text of %d bytes",
		   lua_tostring(m->L, -1), (int)m->src.n);
}

static void spend(struct strmatch *m, size_t steps)
{
	m->steps += steps;
	if (m->steps > m->max)
		raise_steps(m);
}

/* Does a single-character item match at s? */
static bool fits(const struct strmatch *m, const struct item *it, const char *s)
{
	unsigned char c;

	if (s >= m->src.p + m->src.n)
		return false;
	c = (unsigned char)*s;
	if (it->op == OP_CHAR)
		return c == it->a;
	return it->op == OP_ANY || set_has(m->sets[it->set], c);
}

/* How many characters from s on the item matches. */
static size_t run_length(struct strmatch *m, const struct item *it,
			 const char *s)
{
	size_t n = 0;

	if (it->op == OP_ANY)
		return (size_t)(m->src.p + m->src.n - s);
	while (fits(m, it, s + n))
		n++;
	spend(m, n / 4);
	return n;
}

static const char *balance(struct strmatch *m, const struct item *it,
			   const char *s)
{
	const char *end = m->src.p + m->src.n;
	size_t depth = 1;

	if (s >= end || (unsigned char)*s != it->a)
		return NULL;
	for (const char *p = s + 1; p < end; p++) {
		if ((unsigned char)*p == it->b) {
			if (--depth == 0) {
				spend(m, (size_t)(p - s) / 4);
				return p + 1;
			}
		} else if ((unsigned char)*p == it->a) {
			depth++;
		}
	}
	spend(m, (size_t)(end - s) / 4);
	return NULL;
}

static bool at_frontier(const struct strmatch *m, const struct item *it,
			const char *s)
{
	const uint64_t *set = m->sets[it->set];
	unsigned char before = s == m->src.p ? 0 : (unsigned char)s[-1];
	unsigned char after = s == m->src.p + m->src.n ? 0 : (unsigned char)*s;

	return !set_has(set, before) && set_has(set, after);
}

static const char *backref(struct strmatch *m, const struct item *it,
			   const char *s)
{
	const struct capture *c = &m->capture[it->a];
	size_t left = (size_t)(m->src.p + m->src.n - s);

	/* A position has no text, and matches nothing. */
	if (c->kind != CAPTURE_TEXT || c->n > left)
		return NULL;
	spend(m, c->n / VM_BYTES_PER_UNIT);
	return memcmp(c->p, s, c->n) == 0 ? s + c->n : NULL;
}

/* A single-character item. Where to go on behind it, or NULL; what else could
 * be tried is left in a frame. */
static const char *repeat(struct strmatch *m, const struct item *it,
			  const char *s, struct frame **top)
{
	struct frame f = {it, s, 0};

	switch ((enum times)it->times) {
	case ONCE:
		return fits(m, it, s) ? s + 1 : NULL;
	case OPTIONAL:
		if (!fits(m, it, s))
			return s;
		*(*top)++ = f;
		return s + 1;
	case FEW:
		*(*top)++ = f;
		return s;
	case MANY:
	case SOME:
		f.n = run_length(m, it, s);
		if (it->times == SOME && f.n == 0)
			return NULL;
		if (f.n > (it->times == SOME))
			*(*top)++ = f;
		return s + f.n;
	}
	return NULL;
}

/* An item of the other kinds: where to go on, or NULL. */
static const char *special(struct strmatch *m, const struct item *it,
			   const char *s)
{
	struct capture *c = &m->capture[it->a % STRMATCH_CAPTURES];

	switch ((enum op)it->op) {
	case OP_OPEN:
		c->p = s;
		c->kind = CAPTURE_OPEN;
		return s;
	case OP_POSITION:
		c->p = s;
		c->kind = CAPTURE_POSITION;
		return s;
	case OP_CLOSE:
		c->n = (size_t)(s - c->p);
		c->kind = CAPTURE_TEXT;
		return s;
	case OP_BACKREF:
		return backref(m, it, s);
	case OP_BALANCE:
		return balance(m, it, s);
	case OP_FRONTIER:
		return at_frontier(m, it, s) ? s : NULL;
	case OP_END:
		return s == m->src.p + m->src.n ? s : NULL;
	default:
		raise_bad(m, it);
		return NULL;
	}
}

/* One character fewer of a greedy run. What must follow it is looked at here,
 * if it is a plain character: most places are not worth a try. */
static const char *shorten(struct strmatch *m, struct frame *f, bool *last_r)
{
	const struct item *next = f->item + 1;
	bool plain = next->op == OP_CHAR && next->times == ONCE;
	size_t least = f->item->times == SOME, from = f->n;

	do
		f->n--;
	while (plain && f->n > least && (unsigned char)f->s[f->n] != next->a);
	spend(m, (from - f->n) / 4);
	*last_r = f->n <= least;
	return f->s + f->n;
}

/* The next thing that was not tried yet: where to go on, or NULL. */
static const char *back_up(struct strmatch *m, struct frame *bottom,
			   struct frame **top, const struct item **it)
{
	while (*top > bottom) {
		struct frame *f = *top - 1;
		const char *s = f->s;
		bool last = true;

		spend(m, 1);
		*it = f->item + 1;
		if (f->item->times == FEW) {
			if (!fits(m, f->item, s)) {
				(*top)--;
				continue;
			}
			return ++f->s;
		}
		if (f->item->times != OPTIONAL)
			s = shorten(m, f, &last);
		if (last)
			(*top)--;
		return s;
	}
	return NULL;
}

/* Tries at exactly s: the end of the match, or NULL. */
static const char *match_at(struct strmatch *m, const char *s)
{
	const struct item *it = m->items;
	struct frame *top = m->frames;

	while (it->op != OP_DONE) {
		spend(m, 1);
		if (it->op <= OP_SET)
			s = repeat(m, it, s, &top);
		else
			s = special(m, it, s);
		it++;
		if (!s)
			s = back_up(m, m->frames, &top, &it);
		if (!s)
			return NULL;
	}
	return s;
}

/* The first place from s on where a pattern that begins with a plain character
 * can match, or NULL. */
static const char *skip(struct strmatch *m, const char *s)
{
	const char *end = m->src.p + m->src.n, *at;

	at = memchr(s, m->items->a, (size_t)(end - s));
	spend(m, (size_t)((at ? at : end) - s) / VM_BYTES_PER_UNIT);
	return at;
}

static const char *search(struct strmatch *m, const char *s,
			  const char *not_end, const char **s_r)
{
	const struct item *first = m->items;
	bool plain = !m->anchored && first->op == OP_CHAR &&
		     (first->times == ONCE || first->times == SOME);
	const char *end = m->src.p + m->src.n, *e;

	for (; s <= end; s++) {
		if (plain && !(s = skip(m, s)))
			return NULL;
		e = match_at(m, s);
		if (e && e != not_end) {
			*s_r = s;
			return e;
		}
		if (m->anchored)
			return NULL;
	}
	return NULL;
}

const char *strmatch_find(struct strmatch *m, const char *s,
			  const char *not_end, const char **s_r)
{
	const char *e = search(m, s, not_end, s_r);

	charge(m);
	return e;
}

/* ---- captures ------------------------------------------------------------ */

void strmatch_push(struct strmatch *m, int i, const char *from, const char *to)
{
	const struct capture *c = &m->capture[i % STRMATCH_CAPTURES];

	if (i >= m->captures) {
		if (i != 0)
			luaL_error(m->L, "invalid capture index %%%d", i + 1);
		lua_pushlstring(m->L, from, (size_t)(to - from));
	} else if (c->kind == CAPTURE_OPEN) {
		luaL_error(m->L, "unfinished capture");
	} else if (c->kind == CAPTURE_POSITION) {
		lua_pushinteger(m->L, c->p - m->src.p + 1);
	} else {
		lua_pushlstring(m->L, c->p, c->n);
	}
}

int strmatch_push_all(struct strmatch *m, const char *from, const char *to,
		      bool whole)
{
	int n = m->captures ? m->captures : whole;

	luaL_checkstack(m->L, n, "too many captures");
	for (int i = 0; i < n; i++)
		strmatch_push(m, i, from, to);
	return n;
}
