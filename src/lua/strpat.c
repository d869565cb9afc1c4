#include "lua/strpat.h"

#include <string.h>

#include "lua/strmatch.h"
#include "lua/vm_int.h"

/* ---- sets of characters -------------------------------------------------- */

static void set_add(uint64_t *set, unsigned char c)
{
	set[c >> 6] |= (uint64_t)1 << (c & 63);
}

/* The characters %c stands for in the C locale: those below 64, below 128. */
static const struct char_class {
	char c;
	uint64_t low, high;
} classes[] = {
    {'a', 0x0000000000000000, 0x07fffffe07fffffe},
    {'c', 0x00000000ffffffff, 0x8000000000000000},
    {'d', 0x03ff000000000000, 0x0000000000000000},
    {'g', 0xfffffffe00000000, 0x7fffffffffffffff},
    {'l', 0x0000000000000000, 0x07fffffe00000000},
    {'p', 0xfc00fffe00000000, 0x78000001f8000001},
    {'s', 0x0000000100003e00, 0x0000000000000000},
    {'u', 0x0000000000000000, 0x0000000007fffffe},
    {'w', 0x03ff000000000000, 0x07fffffe07fffffe},
    {'x', 0x03ff000000000000, 0x0000007e0000007e},
    {'z', 0x0000000000000001, 0x0000000000000000}, /* as Lua 5.1 */
};

/* Adds what %c stands for: a class, the rest of a class, or c itself. */
static void set_add_class(uint64_t *set, unsigned char c)
{
	unsigned char lower = c >= 'A' && c <= 'Z' ? c | 0x20 : c;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
		const struct char_class *k = &classes[i];

		if (k->c != (char)lower)
			continue;
		set[0] |= lower == c ? k->low : ~k->low;
		set[1] |= lower == c ? k->high : ~k->high;
		set[2] |= lower == c ? 0 : ~(uint64_t)0;
		set[3] |= lower == c ? 0 : ~(uint64_t)0;
		return;
	}
	set_add(set, c);
}

/* ---- translating --------------------------------------------------------- */

struct reader {
	const unsigned char *p, *end;
	struct item *items;
	uint64_t (*sets)[4];
	uint32_t n_sets;
	int open[STRMATCH_CAPTURES]; /* those not closed yet */
	int n_open, captures;
};

static size_t round_up(size_t n)
{
	return (n + 15) & ~(size_t)15;
}

/* Each item takes a byte of pattern, each set and each repetition two. */
static size_t items_space(size_t n)
{
	return round_up((n + 1) * sizeof(struct item));
}

static size_t sets_space(size_t n)
{
	return round_up((n / 2 + 1) * 4 * sizeof(uint64_t));
}

static size_t frames_space(size_t n)
{
	return round_up((n / 2 + 1) * sizeof(struct frame));
}

size_t strmatch_space(size_t n)
{
	return items_space(n) + sets_space(n) + frames_space(n);
}

static struct item *add(struct reader *r, enum op op)
{
	*r->items = (struct item){.op = (uint8_t)op};
	return r->items++;
}

/* Nothing after a malformed part is ever reached. */
static void add_bad(struct reader *r, enum bad bad, uint8_t a)
{
	struct item *it = add(r, OP_BAD);

	it->set = bad;
	it->a = a;
	r->p = r->end;
}

static uint64_t *new_set(struct reader *r, struct item *it)
{
	it->set = r->n_sets++;
	return memset(r->sets[it->set], 0, sizeof(r->sets[0]));
}

/* The ] that ends the set whose first member is at p, or NULL. It cannot be
 * that first member, nor follow a %. */
static const unsigned char *set_end(const struct reader *r,
				    const unsigned char *p)
{
	do {
		if (p >= r->end)
			return NULL;
		p += *p == '%' && p + 1 < r->end ? 2 : 1;
	} while (p >= r->end || *p != ']');
	return p;
}

/* p is behind the [; false when there is no ]. Moves r->p behind it. */
static bool read_set(struct reader *r, struct item *it)
{
	const unsigned char *p = r->p, *end;
	bool not = p < r->end && *p == '^';
	uint64_t *set;

	p += not ;
	end = set_end(r, p);
	if (!end)
		return false;
	set = new_set(r, it);
	while (p < end) {
		if (*p == '%') {
			/* After the last % this is the ], as ever. */
			set_add_class(set, p[1]);
			p += 2;
		} else if (p[1] == '-' && p + 2 < end) {
			for (int c = p[0]; c <= p[2]; c++)
				set_add(set, (unsigned char)c);
			p += 3;
		} else {
			set_add(set, *p++);
		}
	}
	for (int i = 0; not &&i < 4; i++)
		set[i] = ~set[i];
	r->p = end + 1;
	return true;
}

static void read_times(struct reader *r, struct item *it)
{
	static const char signs[] = "?*+-";
	const char *at = r->p < r->end && *r->p ? strchr(signs, *r->p) : NULL;

	if (!at)
		return;
	it->times = (uint8_t)(OPTIONAL + (at - signs));
	r->p++;
}

static void read_open(struct reader *r)
{
	bool position = r->p < r->end && *r->p == ')';
	struct item *it;

	if (r->captures >= STRMATCH_CAPTURES) {
		add_bad(r, BAD_CAPTURES, 0);
		return;
	}
	it = add(r, position ? OP_POSITION : OP_OPEN);
	it->a = (uint8_t)r->captures;
	if (position)
		r->p++;
	else
		r->open[r->n_open++] = r->captures;
	r->captures++;
}

static void read_close(struct reader *r)
{
	if (r->n_open == 0)
		add_bad(r, BAD_CLOSE, 0);
	else
		add(r, OP_CLOSE)->a = (uint8_t)r->open[--r->n_open];
}

static bool is_closed(const struct reader *r, int capture)
{
	for (int i = 0; i < r->n_open; i++)
		if (r->open[i] == capture)
			return false;
	return capture >= 0 && capture < r->captures;
}

static void read_backref(struct reader *r, unsigned char digit)
{
	uint8_t n = (uint8_t)(digit - '0');

	if (is_closed(r, n - 1))
		add(r, OP_BACKREF)->a = (uint8_t)(n - 1);
	else
		add_bad(r, BAD_BACKREF, n);
}

static void read_frontier(struct reader *r)
{
	struct item *it;

	if (r->p >= r->end || *r->p != '[') {
		add_bad(r, BAD_FRONTIER, 0);
		return;
	}
	r->p++;
	it = add(r, OP_FRONTIER);
	if (!read_set(r, it)) {
		r->items--;
		add_bad(r, BAD_SET, 0);
	}
}

static void read_balance(struct reader *r)
{
	struct item *it;

	if (r->end - r->p < 2) {
		add_bad(r, BAD_BALANCE, 0);
		return;
	}
	it = add(r, OP_BALANCE);
	it->a = *r->p++;
	it->b = *r->p++;
}

/* Behind a %. */
static void read_escape(struct reader *r)
{
	unsigned char c;
	struct item *it;

	if (r->p >= r->end) {
		add_bad(r, BAD_ESCAPE, 0);
		return;
	}
	c = *r->p++;
	if (c == 'b') {
		read_balance(r);
	} else if (c == 'f') {
		read_frontier(r);
	} else if (c >= '0' && c <= '9') {
		read_backref(r, c);
	} else {
		it = add(r, OP_SET);
		set_add_class(new_set(r, it), c);
		read_times(r, it);
	}
}

static void read_char(struct reader *r, unsigned char c)
{
	struct item *it = add(r, c == '.' ? OP_ANY : OP_CHAR);

	it->a = c;
	if (c == '[') {
		it->op = OP_SET;
		if (!read_set(r, it)) {
			r->items--;
			add_bad(r, BAD_SET, 0);
			return;
		}
	}
	read_times(r, it);
}

static void read_all(struct reader *r)
{
	while (r->p < r->end) {
		unsigned char c = *r->p++;

		if (c == '(')
			read_open(r);
		else if (c == ')')
			read_close(r);
		else if (c == '$' && r->p == r->end)
			add(r, OP_END);
		else if (c == '%')
			read_escape(r);
		else
			read_char(r, c);
	}
	add(r, OP_DONE);
}

void strmatch_init(struct strmatch *m, lua_State *L, struct str pattern,
		   bool anchor, void *space)
{
	struct reader r = {.items = space};
	char *at = space;

	m->L = L;
	m->steps = m->charged = 0;
	m->max = vm_of(L)->conf.match_steps;
	m->pattern = pattern;
	m->anchored = anchor && pattern.n > 0 && pattern.p[0] == '^';
	r.sets = (void *)(at + items_space(pattern.n));
	m->frames = (void *)((char *)r.sets + sets_space(pattern.n));
	m->items = r.items;
	m->sets = (const void *)r.sets;
	r.p = (const unsigned char *)pattern.p + m->anchored;
	r.end = (const unsigned char *)pattern.p + pattern.n;
	read_all(&r);
	m->captures = r.captures;
}
