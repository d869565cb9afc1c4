#include "transport/resolver.h"

#include <assert.h>
#include <string.h>
#include "transport/resolver_note.h"
#include "util/err.h"
#include "util/map.h"
#include "util/siphash.h"

enum {
	REFRESH = 80,    /* per cent of the TTL: then it is asked for again,
			  * when it is used */
	RETRY = 1,       /* s; RFC 9520: a failure is remembered as well, twice
			  * as long after each in a row, */
	RETRY_MAX = 8,   /* s */
	RETRY_STALE = 30 /* s; RFC 8767 5: while there is something to serve */
};

/* What is known of one name and type. */
struct cached {
	struct map_node node;
	struct list idle; /* linked: nobody uses it, and it may go */
	struct list waiting;
	struct query q;
	unsigned refs;     /* look-ups that have it */
	bool asked;        /* the question is under way */
	bool kept;         /* there is an answer that may be used again */
	unsigned failures; /* of the last questions in a row */
	tick_t asked_at, expires, refresh_at;
	tick_t retry_at; /* not asked again before, after a failure */
	unsigned n;      /* 0: there is nothing */
	union dns_record *r;
};

struct resolver {
	struct resolver_conf conf;
	struct map names;
	struct list idle; /* the longest idle first */
	size_t idle_bytes;
	struct sipkey key;
	struct resolver_note note;
};

/* ---- the names ---- */

static uint64_t hash_of(const struct resolver *rs, const char *name,
			uint16_t type)
{
	struct siphash h;

	siphash_init(&h, rs->key);
	siphash_str(&h, str_from(name));
	siphash_u64(&h, type);
	return siphash_end(&h);
}

static bool is_of(const struct map_node *node, const void *key)
{
	const struct cached *e = container_of(node, const struct cached, node);
	const struct query *q = key;

	return e->q.type == q->type && strcmp(e->q.name, q->name) == 0;
}

static size_t bytes_of(const struct cached *e)
{
	return sizeof(*e) + e->n * sizeof(*e->r);
}

static void become_busy(struct resolver *rs, struct cached *e)
{
	if (!list_linked(&e->idle))
		return;
	list_remove(&e->idle);
	rs->idle_bytes -= bytes_of(e);
}

static void forget(struct resolver *rs, struct cached *e)
{
	assert(!e->refs && list_empty(&e->waiting));
	become_busy(rs, e);
	map_remove(&rs->names, &e->node);
	mem_free(rs->conf.mem, e->r);
	mem_free(rs->conf.mem, e);
}

/* It may be forgotten with the call. */
static void become_idle(struct resolver *rs, struct cached *e)
{
	if (e->refs || e->asked || list_linked(&e->idle))
		return;
	if (!e->kept && !e->failures) {
		forget(rs, e); /* nothing in it to be used again */
		return;
	}
	list_append(&rs->idle, &e->idle);
	rs->idle_bytes += bytes_of(e);
}

/* Room for one more name: that of the longest idle one. */
static bool make_room(struct resolver *rs)
{
	struct list *oldest;

	while (rs->names.n >= rs->conf.limits->names) {
		oldest = list_first(&rs->idle);
		if (!oldest)
			return false;
		forget(rs, container_of(oldest, struct cached, idle));
	}
	return true;
}

static int entry_of(struct resolver *rs, const char *name, uint16_t type,
		    struct cached **out_r)
{
	uint64_t hash = hash_of(rs, name, type);
	struct query q = {.type = type};
	struct map_node *node;
	struct cached *e;

	assert(strlen(name) < DNS_NAME);
	memcpy(q.name, name, strlen(name) + 1);
	node = map_find(&rs->names, hash, is_of, &q);
	if (node) {
		*out_r = container_of(node, struct cached, node);
		return 0;
	}
	if (!make_room(rs)) {
		count(rs->conf.counters, CNT_DNS_CACHE_FULL);
		return ERR_LIMIT;
	}
	e = mem_zalloc(rs->conf.mem, sizeof(*e));
	if (!e) {
		count(rs->conf.counters, CNT_NOMEM);
		return ERR_NOMEM;
	}
	e->q = q;
	list_init(&e->waiting);
	map_add(&rs->names, &e->node, hash);
	*out_r = e;
	return 0;
}

/* ---- looking ---- */

static bool is_fresh(const struct cached *e, struct now now)
{
	return e->kept && tick_before(now.mono, e->expires);
}

/* It has run out, and would still do when nobody answers. */
static bool is_stale(const struct resolver *rs, const struct cached *e,
		     struct now now)
{
	return e->kept && e->n && !is_fresh(e, now) &&
	       tick_before(now.mono,
			   tick_add(e->expires, rs->conf.limits->stale));
}

static bool may_ask(const struct cached *e, struct now now)
{
	return !e->asked && !tick_before(now.mono, e->retry_at);
}

static void ask(struct resolver *rs, struct cached *e, struct now now)
{
	become_busy(rs, e);
	e->asked = true;
	e->asked_at = now.mono;
	rs->conf.host->query(rs->conf.host->ctx, &e->q);
}

int64_t resolver_patience(const struct resolver *rs)
{
	return rs->conf.limits->deadline / 2;
}

static void settle(struct lookup *l)
{
	l->outcome = l->entry->n ? LOOK_FOUND : LOOK_NONE;
}

static void look(struct lookup *l, struct resolver *rs, struct now now)
{
	struct cached *e = l->entry;
	bool slow = e->failures ||
		    (e->asked &&
		     tick_diff(now.mono, e->asked_at) >= resolver_patience(rs));

	if (is_fresh(e, now)) {
		/* its last fifth: the next ones shall not wait */
		if (may_ask(e, now) && !tick_before(now.mono, e->refresh_at))
			ask(rs, e, now);
		note_count(&rs->note, &e->q, RESULT_CACHED);
		settle(l);
	} else if (slow && is_stale(rs, e, now)) {
		if (may_ask(e, now))
			ask(rs, e, now);
		note_count(&rs->note, &e->q, RESULT_STALE);
		l->stale = true;
		settle(l);
	} else if (e->asked || may_ask(e, now)) {
		l->outcome = LOOK_PENDING;
	} else {
		note_count(&rs->note, &e->q, RESULT_CACHED);
		l->outcome = LOOK_FAILED;
	}
}

int lookup_begin(struct lookup *l, struct resolver *rs, const char *name,
		 uint16_t type, bool may_wait, struct now now)
{
	lookup_fn *fn = l->fn;
	int err;

	*l = (struct lookup){.fn = fn};
	err = entry_of(rs, name, type, &l->entry);
	if (err)
		return err;
	become_busy(rs, l->entry);
	l->entry->refs++;
	look(l, rs, now);
	if (l->outcome == LOOK_PENDING && may_wait) {
		if (!l->entry->asked)
			ask(rs, l->entry, now);
		list_append(&l->entry->waiting, &l->link);
	}
	return 0;
}

bool lookup_take_stale(struct lookup *l, struct resolver *rs, struct now now)
{
	if (l->outcome != LOOK_PENDING || !is_stale(rs, l->entry, now))
		return false;
	list_remove(&l->link);
	note_count(&rs->note, &l->entry->q, RESULT_STALE);
	l->stale = true;
	settle(l);
	return true;
}

void lookup_end(struct lookup *l, struct resolver *rs)
{
	if (!l->entry)
		return;
	list_remove(&l->link);
	l->entry->refs--;
	become_idle(rs, l->entry);
	l->entry = NULL;
}

bool lookup_is_of(const struct lookup *l, const char *name, uint16_t type)
{
	return l->entry && l->entry->q.type == type &&
	       strcmp(l->entry->q.name, name) == 0;
}

const union dns_record *lookup_records(const struct lookup *l, unsigned *n_r)
{
	*n_r = l->outcome == LOOK_FOUND ? l->entry->n : 0;
	return l->entry->r;
}

uint32_t lookup_ttl(const struct lookup *l, struct now now)
{
	const struct cached *e = l->entry;
	int64_t us;

	if (l->stale || l->outcome == LOOK_FAILED) {
		if (!tick_before(now.mono, e->retry_at)) /* or it is unset */
			return RETRY;
		us = tick_diff(e->retry_at, now.mono);
		return us > SECONDS(1) ? (uint32_t)(us / SECONDS(1)) : RETRY;
	}
	if (!e->kept) /* then `expires` means nothing */
		return 0;
	us = tick_diff(e->expires, now.mono);
	if (us <= 0)
		return 0;
	return (uint32_t)((us + SECONDS(1) - 1) / SECONDS(1));
}

/* ---- answers ---- */

/* The order in which they are visited decides nothing. */
static void each_name(struct resolver *rs,
		      void fn(struct resolver *rs, struct cached *e,
			      struct now now),
		      struct now now)
{
	map_settle(&rs->names);
	for (size_t i = 0; i < rs->names.buckets; i++) {
		struct map_node *node = rs->names.bucket[i], *next;

		for (; node; node = next) {
			next = node->next;
			fn(rs, container_of(node, struct cached, node), now);
		}
	}
}

static void wake(struct resolver *rs, struct cached *e, bool failed,
		 struct now now)
{
	struct list waiting, *it;

	list_init(&waiting);
	while ((it = list_first(&e->waiting))) {
		list_remove(it);
		list_append(&waiting, it);
	}
	e->refs++;
	while ((it = list_first(&waiting))) {
		struct lookup *l = container_of(it, struct lookup, link);

		list_remove(it);
		if (!failed) {
			settle(l);
		} else if (is_stale(rs, e, now)) {
			l->stale = true;
			settle(l);
		} else {
			l->outcome = LOOK_FAILED;
		}
		l->fn(l, now);
	}
	e->refs--;
}

static int64_t clamp(int64_t us, int64_t min, int64_t max)
{
	return us < min ? min : us > max ? max : us;
}

/* What has been answered replaces what was known. */
static int keep(struct resolver *rs, struct cached *e,
		const struct dns_answer *a, struct now now)
{
	const struct dns_limits *limits = rs->conf.limits;
	union dns_record *r = NULL;
	int64_t ttl = SECONDS(a->ttl), max = limits->ttl_max;

	if (a->n) {
		r = mem_alloc(rs->conf.mem, a->n * sizeof(*r));
		if (!r)
			return ERR_NOMEM;
		memcpy(r, a->r, a->n * sizeof(*r));
	} else if (limits->negative < max) {
		max = limits->negative;
	}
	mem_free(rs->conf.mem, e->r);
	e->r = r;
	e->n = a->n;
	e->kept = a->ttl > 0;
	ttl = clamp(ttl, limits->ttl_min < max ? limits->ttl_min : max, max);
	e->expires = tick_add(now.mono, ttl);
	e->refresh_at = tick_add(now.mono, ttl / 100 * REFRESH);
	return 0;
}

static void retry_soon(struct resolver *rs, struct cached *e, struct now now)
{
	(void)rs;
	e->retry_at = now.mono;
}

/* True when it says something about the name. */
static bool take(struct resolver *rs, struct cached *e,
		 const struct dns_answer *a, struct now now)
{
	note_read(&rs->note, &e->q, a, now);
	if (a->verdict == DNS_FAILED || a->verdict == DNS_BAD)
		return false;
	if (keep(rs, e, a, now) == 0)
		return true;
	count(rs->conf.counters, CNT_NOMEM);
	return false;
}

static bool take_answer(struct resolver *rs, struct cached *e,
			const struct answer *a, struct now now)
{
	struct dns_answer read = {.verdict = DNS_NONE, .ttl = UINT32_MAX};

	switch (a->status) {
	case ANSWER_REPLY:
		if (note_answered(&rs->note, now))
			each_name(rs, retry_soon, now);
		dns_answer_read(a->bytes, e->q.name, e->q.type, &read);
		return take(rs, e, &read, now);
	case ANSWER_NO_NAME:
		return take(rs, e, &read, now);
	case ANSWER_TIMEOUT:
	case ANSWER_FAILED:
		break;
	}
	note_unanswered(&rs->note, &e->q, a->status, e->asked_at, now);
	return false;
}

static void note_outcome(struct resolver *rs, struct cached *e, bool useful,
			 struct now now)
{
	int64_t pause = SECONDS(RETRY_MAX);

	if (useful) {
		e->failures = 0;
		e->retry_at = now.mono;
		return;
	}
	if (is_fresh(e, now) || is_stale(rs, e, now))
		pause = SECONDS(RETRY_STALE);
	else if (e->failures < 3)
		pause = SECONDS(RETRY << e->failures);
	e->failures++;
	e->retry_at = tick_add(now.mono, pause);
}

bool resolver_on_answer(struct resolver *rs, struct query *q,
			const struct answer *a, struct now now)
{
	struct map_node *node =
	    map_find(&rs->names, hash_of(rs, q->name, q->type), is_of, q);
	struct cached *e;
	bool useful;

	if (!node)
		return false;
	e = container_of(node, struct cached, node);
	if (&e->q != q || !e->asked)
		return false;
	e->asked = false;
	useful = take_answer(rs, e, a, now);
	note_outcome(rs, e, useful, now);
	wake(rs, e, !useful, now);
	become_idle(rs, e);
	return true;
}

/* ---- its life ---- */

struct resolver *resolver_new(const struct resolver_conf *conf)
{
	struct resolver *rs = mem_zalloc(conf->mem, sizeof(*rs));

	if (!rs)
		return NULL;
	rs->conf = *conf;
	rs->key.k0 = rand_u64(conf->rand);
	rs->key.k1 = rand_u64(conf->rand);
	note_init(&rs->note, conf->host, conf->counters);
	list_init(&rs->idle);
	if (map_init(&rs->names, conf->mem) != 0) {
		mem_free(conf->mem, rs);
		return NULL;
	}
	return rs;
}

static void end(struct resolver *rs, struct cached *e, struct now now)
{
	(void)now;
	if (e->asked)
		rs->conf.host->unquery(rs->conf.host->ctx, &e->q);
	forget(rs, e);
}

void resolver_free(struct resolver **rp)
{
	struct resolver *rs = *rp;
	struct mem *mem;

	if (!rs)
		return;
	mem = rs->conf.mem;
	each_name(rs, end, (struct now){{0}, {0}});
	map_fini(&rs->names);
	mem_free(mem, rs);
	*rp = NULL;
}

static void expire(struct resolver *rs, struct cached *e, struct now now)
{
	(void)rs;
	if (tick_before(now.mono, e->expires))
		e->expires = now.mono;
	e->failures = 0;
	e->retry_at = now.mono;
}

void resolver_expire(struct resolver *rs, struct now now)
{
	each_name(rs, expire, now);
}

size_t resolver_spare_bytes(const struct resolver *rs)
{
	return rs->idle_bytes + map_bytes(&rs->names);
}

const struct resolver_conf *resolver_conf_of(const struct resolver *rs)
{
	return &rs->conf;
}

size_t resolver_names(const struct resolver *rs)
{
	return rs->names.n;
}
