/*
 * What is read back from others under our key: flow tokens, branches,
 * Record-Route cookies, and the image of the calls on disk. Any bytes as each
 * of them; and the fields of each made of the bytes, so that good ones are met.
 *   what is taken as good is what we would write for it, byte for byte;
 *   what we write is read back as it was, and with one byte changed it is not;
 *   an image under the right checksum but with any content is read to its end,
 *   and counts what it gave.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/calls_image.h"
#include "proxy/cookie.h"
#include "proxy/token.h"
#include "transaction/branch.h"
#include "util/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t n;
};

static uint64_t take(struct input *in, size_t bytes)
{
	uint64_t v = 0;

	for (; bytes && in->n; bytes--, in->n--)
		v = v << 8 | *in->p++;
	return v;
}

static struct str text(struct input *in, size_t n)
{
	struct str s = {(const char *)in->p, n < in->n ? n : in->n};

	in->p += s.n;
	in->n -= s.n;
	return s;
}

/* "0123456789abcde", and one that it is to replace. */
static const struct sipkeys keys = {
    .now = {0x3736353433323130, 0x65646362613938},
    .other = {0x1122334455667788, 0x99aabbccddeeff00},
    .has_other = true};

static struct sipkey key(void)
{
	return keys.now;
}

static struct addr take_addr(struct input *in)
{
	struct addr a = {.family = take(in, 1) & 1 ? ADDR_V6 : ADDR_V4};

	for (size_t i = 0; i < (a.family == ADDR_V4 ? 4 : 16); i++)
		a.ip[i] = (uint8_t)take(in, 1);
	/* such a one is kept as IPv4 */
	if (a.family == ADDR_V6)
		a.ip[0] |= 0x20;
	a.port = (uint16_t)take(in, 2);
	a.port = a.port ? a.port : 1;
	return a;
}

/* One byte of it is another one. */
static void spoil(struct input *in, char *p, size_t n)
{
	uint8_t by = (uint8_t)(take(in, 1) & 0x7f);

	p[take(in, 2) % n] ^= (char)(by ? by : 1);
}

/* ---- flow tokens ---- */

static struct str write_token(char out[256], const struct token *t)
{
	struct buf b;

	buf_fixed(&b, out, 256);
	token_write(&b, key(), t);
	assert(buf_ok(&b));
	return buf_str(&b);
}

static void read_token(struct str s)
{
	struct token t;
	char again[256];

	if (token_read(s, &keys, &t) == TOKEN_OK)
		assert(str_caseeq(write_token(again, &t), s));
}

static void make_token(struct input *in)
{
	static const enum token_side side[] = {TOKEN_PATH, TOKEN_CALLER,
					       TOKEN_CALLEE};
	struct token t = {.side = side[take(in, 1) % 3]}, back;
	char made[256], before[256];
	struct str s;

	t.transport = (uint8_t)(take(in, 1) % TRANSPORT_N);
	t.local = take_addr(in);
	t.peer = take_addr(in);
	if (t.peer.family != t.local.family)
		t.local = t.peer;
	t.conn = t.transport == TRANSPORT_UDP ? 0 : take(in, 8);
	s = write_token(made, &t);
	assert(token_read(s, &keys, &back) == TOKEN_OK);
	assert(back.side == t.side && back.conn == t.conn &&
	       back.transport == t.transport && addr_eq(&back.peer, &t.peer) &&
	       addr_eq(&back.local, &t.local));
	memcpy(before, made, s.n);
	spoil(in, made, s.n);
	if (!str_caseeq(s, (struct str){before, s.n}))
		assert(token_read(s, &keys, &back) != TOKEN_OK);
}

/* ---- branches and cookies ---- */

static struct upstream_id take_upstream(struct input *in)
{
	struct upstream_id up = {.port = (uint16_t)take(in, 2),
				 .cseq = (uint32_t)take(in, 4)};

	up.source = take_addr(in);
	up.branch = text(in, take(in, 1) % 32);
	up.host = text(in, take(in, 1) % 32);
	up.call_id = text(in, take(in, 1) % 32);
	up.from_tag = text(in, take(in, 1) % 32);
	return up;
}

static void make_branch(struct input *in)
{
	struct upstream_id up = take_upstream(in);
	struct hop target = {.transport = (uint8_t)(take(in, 1) % 3)};
	char made[BRANCH_LEN], before[BRANCH_LEN], tag[TAG_LEN];
	struct str s = {made, BRANCH_LEN};
	struct branch b;

	target.addr = take_addr(in);
	branch_write(made, key(), &up, &target, (unsigned)take(in, 1),
		     take(in, 8));
	assert(branch_parse(s, &b) && branch_verify(&b, &keys, &up));
	assert(b.h8 == branch_h8(up.call_id));
	branch_to_tag(tag, key(), &up);
	assert(str_is_token((struct str){tag, TAG_LEN}));
	up.cseq ^= 1;
	assert(!branch_verify(&b, &keys, &up));
	up.cseq ^= 1;
	memcpy(before, made, BRANCH_LEN);
	spoil(in, made, BRANCH_LEN);
	/* small and large letters are the same */
	if (!str_caseeq(s, (struct str){before, BRANCH_LEN}))
		assert(!branch_parse(s, &b) || !branch_verify(&b, &keys, &up));
}

static void make_cookie(struct input *in)
{
	static const enum cookie_side side[] = {COOKIE_NONE, COOKIE_CALLEE,
						COOKIE_CALLER};
	enum cookie_side s = side[take(in, 1) % 3];
	uint64_t id = take(in, 8);
	struct str call_id = text(in, take(in, 1) % 32);
	struct str from = text(in, take(in, 1) % 32), to = STR("another one");
	char made[COOKIE_LEN], before[COOKIE_LEN];
	struct str all = {made, COOKIE_LEN};
	struct cookie c;

	cookie_write(made, key(), call_id, from, s, id);
	assert(cookie_read(all, &keys, call_id, from, to, &c));
	assert(c.side == s && c.id == id && c.from_caller);
	/* the other side, which says our From tag as its To tag */
	if (from.n)
		assert(cookie_read(all, &keys, call_id, to, from, &c) &&
		       c.side == s && c.id == id &&
		       (!c.from_caller || str_eq(to, from)));
	memcpy(before, made, COOKIE_LEN);
	spoil(in, made, COOKIE_LEN);
	if (!str_caseeq(all, (struct str){before, COOKIE_LEN}))
		assert(!cookie_read(all, &keys, call_id, from, to, &c));
}

/* Nobody has signed these. */
static void read_all(struct str s)
{
	struct branch b;
	struct cookie c;
	struct upstream_id up = {.call_id = STR("x"), .from_tag = STR("y")};

	read_token(s);
	if (branch_parse(s, &b))
		assert(!branch_verify(&b, &keys, &up));
	assert(!cookie_read(s, &keys, STR("x"), STR("y"), STR("z"), &c));
}

/* ---- the image of the calls ---- */

struct world {
	struct mem mem;
	struct timers *timers;
	struct counters counters;
	struct members members;
	struct calls calls;
	struct now now;
};

static void world_init(struct world *w)
{
	char names[1][LOAD_NAME] = {"pstn"};
	struct calls_conf conf = {
	    .key = key(), .keys = &keys, .t1 = MILLIS(500)};
	struct member *a;

	memset(w, 0, sizeof(*w));
	w->now.wall.us = SECONDS(1767225600);
	mem_init(&w->mem);
	w->timers = timers_new(&w->mem, w->now.mono);
	members_init(&w->members, &w->mem);
	a = members_ref(&w->members, STR("pbx/a"));
	a->declared = true;
	load_declare(&a->load, names, 1);
	conf.mem = &w->mem;
	conf.timers = w->timers;
	conf.counters = &w->counters;
	assert(!calls_init(&w->calls, &conf));
}

static void world_fini(struct world *w)
{
	calls_fini(&w->calls);
	list_each (it, &w->members.list) {
		struct member *m = container_of(it, struct member, link);

		assert(!atomic_load(&m->fact[FACT_CALLS]));
		assert(!load_used(&m->load, STR("pstn")));
	}
	members_fini(&w->members);
	timers_free(&w->timers);
	assert(!w->mem.bytes);
}

/* The calls of an image, and those of what is written of them, are the same. */
static void check_again(struct world *w)
{
	size_t n = calls_image_size(&w->calls, &w->members);
	char *image = malloc(n);
	struct str rest = {image, n};
	struct world other;

	calls_image_write(&w->calls, &w->members, w->now, image);
	world_init(&other);
	assert(!calls_image_read(&other.calls, &other.members, &rest, 0, 1,
				 w->now));
	assert(other.calls.n_up == w->calls.n_up && !rest.n);
	world_fini(&other);
	free(image);
}

static void image(struct input *in, bool sign)
{
	enum { CHECKSUM = 8, SIZE_AT = 16 };
	char *p = malloc(in->n + 16 + 8 + CHECKSUM);
	size_t n = in->n;
	struct str rest;
	struct world w;
	uint64_t sum;

	if (n)
		memcpy(p, in->p, n);
	if (sign && n >= SIZE_AT + 8) {
		memcpy(p, "TANDEM-CALLS\2\0\0\0", 16);
		for (int i = 0; i < 8; i++)
			p[SIZE_AT + i] = (char)((n + CHECKSUM) >> 8 * i);
		sum = siphash24(key(), p, n);
		for (int i = 0; i < CHECKSUM; i++)
			p[n++] = (char)(sum >> 8 * i);
	}
	rest = (struct str){p, n};
	world_init(&w);
	if (calls_image_read(&w.calls, &w.members, &rest, 0, 1, w.now) == 0)
		check_again(&w);
	world_fini(&w);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	switch (take(&in, 1) % 7) {
	case 0:
		make_token(&in);
		break;
	case 1:
		make_branch(&in);
		break;
	case 2:
		make_cookie(&in);
		break;
	case 3:
		image(&in, true);
		break;
	case 4:
		image(&in, false);
		break;
	case 5:
		/* as it would be in a message: behind what tells it */
		read_token((struct str){(const char *)in.p, in.n});
		break;
	default:
		read_all((struct str){(const char *)in.p, in.n});
	}
	return 0;
}
