/*
 * All numbers little-endian:
 *
 *	magic         16 bytes, with the version
 *	u64           bytes of the whole image
 *	u64           when it was written, microseconds since 1970
 *	u64, u64      key of the hashes
 *	u32, u32      numbers of servers and of calls
 *	servers       name, then the names of its LOAD_RESOURCES resources; a
 *	              name is a byte with its length and the text
 *	calls         see write_call
 *	u64           SipHash of all before it
 */
#include "proxy/calls_image.h"

#include <assert.h>
#include <string.h>
#include "util/err.h"

static const char magic[16] = "TANDEM-CALLS\2";

enum {
	HEAD = sizeof(magic) + 8 + 8 + 16 + 4 + 4,
	MEMBER_MIN = 1 + LOAD_RESOURCES,
	CALL = 8 + 8 + 8 + 8 + 8 + 4 + 1 + 1,
	CHECKSUM = 8
};

/* ---- writing ---- */

static char *put(char *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*p++ = (char)(v >> 8 * i);
	return p;
}

static char *put_name(char *p, const char *name)
{
	size_t n = strlen(name);

	*p++ = (char)n;
	memcpy(p, name, n);
	return p + n;
}

/* One that worker 0 may rename meanwhile has none here: it is known again only
 * when DNS has named it. */
static const char *name_of(const struct member *m)
{
	return m->is_spare ? "" : m->name;
}

size_t calls_image_size(const struct calls *cs, const struct members *ms)
{
	size_t n = HEAD + cs->n_up * CALL + CHECKSUM;

	list_each (it, &ms->list) {
		const struct member *m = container_of(it, struct member, link);

		n += 1 + strlen(name_of(m));
		for (int i = 0; i < LOAD_RESOURCES; i++)
			n += 1 + strlen(m->load.resource[i].name);
	}
	return n;
}

static char *write_member(char *p, const struct member *m)
{
	p = put_name(p, name_of(m));
	for (int i = 0; i < LOAD_RESOURCES; i++)
		p = put_name(p, m->load.resource[i].name);
	return p;
}

static char *write_call(char *p, const struct call_record *r, struct now now)
{
	int64_t left = timer_armed(&r->timer)
			   ? tick_diff(r->timer.deadline, now.mono)
			   : INT64_MAX;

	p = put(p, r->name.call_id, 8);
	p = put(p, r->name.tag[0], 8);
	p = put(p, r->name.tag[1], 8);
	p = put(p, r->units, 8);
	p = put(p, (uint64_t)left, 8);
	p = put(p, r->member->index, 4);
	p = put(p, r->h8, 1);
	return put(p, r->session, 1);
}

void calls_image_write(const struct calls *cs, const struct members *ms,
		       struct now now, char *out)
{
	size_t size = calls_image_size(cs, ms);
	char *p = out;

	memcpy(p, magic, sizeof(magic));
	p = put(p + sizeof(magic), size, 8);
	p = put(p, (uint64_t)now.wall.us, 8);
	p = put(p, cs->c.key.k0, 8);
	p = put(p, cs->c.key.k1, 8);
	p = put(p, ms->n, 4);
	p = put(p, cs->n_up, 4);
	list_each (it, &ms->list)
		p = write_member(p, container_of(it, struct member, link));
	list_each (it, &cs->list) {
		const struct call_record *r =
		    container_of(it, struct call_record, link);

		if (!r->ended)
			p = write_call(p, r, now);
	}
	p = put(p, siphash24(cs->c.keys->now, out, (size_t)(p - out)),
		CHECKSUM);
	assert((size_t)(p - out) == size);
}

/* ---- reading ---- */

/* Where a server of the image is now. */
struct known {
	struct member *m; /* NULL: nowhere */
	int8_t resource[LOAD_RESOURCES];
};

struct reader {
	struct str rest;
	bool bad; /* it ended too early */
};

static struct str get_bytes(struct reader *rd, size_t n)
{
	struct str s = str_sub(rd->rest, 0, n);

	if (rd->rest.n < n) {
		rd->bad = true;
		return (struct str){"", 0};
	}
	rd->rest = str_sub(rd->rest, n, rd->rest.n);
	return s;
}

static uint64_t get(struct reader *rd, int bytes)
{
	struct str s = get_bytes(rd, (size_t)bytes);
	uint64_t v = 0;

	for (size_t i = s.n; i-- > 0;)
		v = v << 8 | (uint8_t)s.p[i];
	return v;
}

static struct str get_name(struct reader *rd)
{
	return get_bytes(rd, get(rd, 1));
}

static void read_member(struct reader *rd, const struct members *ms,
			struct known *k)
{
	k->m = members_by_name(ms, get_name(rd));
	if (k->m && !k->m->declared)
		k->m = NULL; /* not declared any more */
	for (int i = 0; i < LOAD_RESOURCES; i++) {
		struct str name = get_name(rd);

		k->resource[i] =
		    (int8_t)(k->m ? load_find(&k->m->load, name) : -1);
	}
}

/* What it takes there, by the places its resources have now. */
static load_units moved_units(const struct known *k, load_units old)
{
	load_units u = 0;

	for (int i = 0; i < LOAD_RESOURCES; i++, old >>= 8)
		if (k->resource[i] >= 0)
			u = load_units_set(u, k->resource[i], old & 0xff);
	return u;
}

static void restore(struct calls *cs, const struct known *k,
		    const struct call_record *old, int64_t left, struct now now)
{
	struct call_record *r;

	if (!k->m || left <= 0) {
		count(cs->c.counters,
		      k->m ? CNT_CALL_RUN_OUT : CNT_CALL_UNKNOWN_SERVER);
		return;
	}
	if (calls_has(cs, &old->name))
		return;
	r = calls_add(cs, &old->name, k->m, moved_units(k, old->units));
	if (!r) {
		count(cs->c.counters, CNT_CALL_UNTRACKED);
		return;
	}
	r->h8 = old->h8;
	/* none of its transactions is left: no 2xx of it comes again */
	r->began = tick_add(now.mono, -64 * cs->c.t1);
	call_arm(r, left == INT64_MAX ? 0 : left, old->session, now);
	count(cs->c.counters, CNT_CALL_RESTORED);
}

struct share {
	unsigned worker, workers;
};

static void read_call(struct reader *rd, struct calls *cs,
		      const struct known *known, uint32_t members,
		      struct share share, int64_t gone, struct now now)
{
	struct call_record old = {.calls = NULL};
	int64_t left;
	uint32_t at;

	old.name.call_id = get(rd, 8);
	old.name.tag[0] = get(rd, 8);
	old.name.tag[1] = get(rd, 8);
	old.units = get(rd, 8);
	left = (int64_t)get(rd, 8);
	at = (uint32_t)get(rd, 4);
	old.h8 = (uint8_t)get(rd, 1);
	old.session = get(rd, 1) != 0;
	if (rd->bad || at >= members || old.h8 % share.workers != share.worker)
		return;
	if (left < 0)
		left = 0;
	left = left > INT64_MAX / 2 ? INT64_MAX : left - gone;
	restore(cs, &known[at], &old, left, now);
}

static bool is_signed(struct str image, const struct sipkeys *keys,
		      uint64_t sum)
{
	return sum == siphash24(keys->now, image.p, image.n) ||
	       (keys->has_other &&
		sum == siphash24(keys->other, image.p, image.n));
}

/* An image whose checksum is right, without it. */
static bool cut_image(const struct calls *cs, struct str *rest,
		      struct reader *rd)
{
	struct reader head = {.rest = *rest}, sum;
	struct str found = get_bytes(&head, sizeof(magic));
	uint64_t size = get(&head, 8);

	if (head.bad || memcmp(found.p, magic, sizeof(magic)) != 0 ||
	    size < HEAD + CHECKSUM || size > rest->n)
		return false;
	sum.rest = str_sub(*rest, size - CHECKSUM, size);
	sum.bad = false;
	rd->rest = str_sub(*rest, 0, size - CHECKSUM);
	rd->bad = false;
	if (!is_signed(rd->rest, cs->c.keys, get(&sum, CHECKSUM)))
		return false;
	get_bytes(rd, sizeof(magic) + 8);
	*rest = str_sub(*rest, size, rest->n);
	return true;
}

/* Hashes of two keys cannot be in one table. */
static bool take_key(struct calls *cs, struct reader *rd)
{
	struct sipkey key = {.k0 = get(rd, 8)};

	key.k1 = get(rd, 8);
	if (list_empty(&cs->list))
		cs->c.key = key;
	return sipkey_eq(cs->c.key, key);
}

int calls_image_read(struct calls *cs, const struct members *ms,
		     struct str *rest, unsigned worker, unsigned workers,
		     struct now now)
{
	struct share share = {worker, workers};
	struct str all = *rest;
	struct reader rd;
	struct known *known;
	uint32_t members, n;
	int64_t gone, written;

	if (!cut_image(cs, rest, &rd))
		return ERR_SYNTAX;
	written = (int64_t)get(&rd, 8);
	if (!take_key(cs, &rd)) {
		*rest = all;
		return ERR_SYNTAX;
	}
	members = (uint32_t)get(&rd, 4);
	n = (uint32_t)get(&rd, 4);
	/* The checksum says who wrote it, not that he made no mistake. */
	if (written < 0 || members > rd.rest.n / MEMBER_MIN)
		return ERR_SYNTAX;
	gone = now.wall.us - written;
	if (gone < 0)
		gone = 0; /* the clock was put back */
	known = mem_alloc(cs->c.mem, ((size_t)members + 1) * sizeof(*known));
	if (!known) {
		*rest = all;
		return ERR_NOMEM;
	}
	for (uint32_t i = 0; i < members; i++)
		read_member(&rd, ms, &known[i]);
	for (uint32_t i = 0; i < n && !rd.bad; i++)
		read_call(&rd, cs, known, members, share, gone, now);
	mem_free(cs->c.mem, known);
	return 0;
}
