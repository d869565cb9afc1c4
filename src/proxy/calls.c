#include "proxy/calls.h"

#include <string.h>
#include "transaction/branch.h"
#include "util/err.h"

/* After the session timer its owner has hung up long ago (RFC 4028 10). */
#define SESSION_GRACE SECONDS(32)

/* ---- names ---- */

static uint64_t hash(struct sipkey key, const char *what, struct str s)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_str(&h, str_from(what));
	siphash_str(&h, s);
	return siphash_end(&h);
}

static struct call_name name_of(const struct calls *cs,
				const struct msg_key *key)
{
	return (struct call_name){
	    .call_id = hash(cs->c.key, "call", key->call_id),
	    .tag = {hash(cs->c.key, "tag", key->from_tag),
		    hash(cs->c.key, "tag", key->to_tag)},
	};
}

static bool name_eq(const struct call_name *a, const struct call_name *b)
{
	if (a->call_id != b->call_id)
		return false;
	return (a->tag[0] == b->tag[0] && a->tag[1] == b->tag[1]) ||
	       (a->tag[0] == b->tag[1] && a->tag[1] == b->tag[0]);
}

/* The tags are in it, so that no caller can make a long chain of one Call-ID.
 */
static uint64_t map_hash(const struct call_name *name)
{
	return name->call_id ^ (name->tag[0] + name->tag[1]);
}

static bool record_eq(const struct map_node *node, const void *key)
{
	return name_eq(
	    &container_of(node, const struct call_record, node)->name, key);
}

static struct call_record *find(const struct calls *cs,
				const struct call_name *name)
{
	struct map_node *node =
	    map_find(&cs->map, map_hash(name), record_eq, name);

	return node ? container_of(node, struct call_record, node) : NULL;
}

/* ---- the life of a record ---- */

static void remove_record(struct call_record *r)
{
	struct calls *cs = r->calls;

	timer_stop(cs->c.timers, &r->timer);
	map_remove(&cs->map, &r->node);
	list_remove(&r->link);
	mem_free(cs->c.mem, r);
}

/* Gives back what it counts. */
static void uncount(struct call_record *r)
{
	if (r->ended)
		return;
	r->ended = true;
	atomic_fetch_sub(&r->member->fact[FACT_CALLS], 1);
	load_give(&r->member->load, r->units);
	r->calls->n_up--;
	r->calls->changed = true;
}

static void end(struct call_record *r, enum counter why, struct now now)
{
	struct calls *cs = r->calls;
	tick_t until = tick_add(r->began, 64 * cs->c.t1);

	uncount(r);
	count(cs->c.counters, why);
	if (tick_before(now.mono, until))
		timer_arm(cs->c.timers, &r->timer, until);
	else
		remove_record(r);
}

static void on_timer(struct timer *t, struct now now)
{
	struct call_record *r = container_of(t, struct call_record, timer);

	if (r->ended)
		remove_record(r);
	else
		end(r, r->session ? CNT_CALL_SESSION : CNT_CALL_MAX_DURATION,
		    now);
}

bool calls_has(const struct calls *cs, const struct call_name *name)
{
	return find(cs, name) != NULL;
}

struct call_record *calls_add(struct calls *cs, const struct call_name *name,
			      struct member *m, load_units units)
{
	struct call_record *r =
	    find(cs, name) ? NULL : mem_zalloc(cs->c.mem, sizeof(*r));

	if (!r)
		return NULL;
	r->calls = cs;
	r->name = *name;
	r->member = m;
	r->units = units;
	timer_init(&r->timer, on_timer);
	map_add(&cs->map, &r->node, map_hash(name));
	list_append(&cs->list, &r->link);
	atomic_fetch_add(&m->fact[FACT_CALLS], 1);
	load_take(&m->load, units);
	cs->n_up++;
	cs->changed = true;
	return r;
}

void call_arm(struct call_record *r, int64_t us, bool session, struct now now)
{
	r->session = session;
	r->calls->changed = true;
	if (us > 0)
		timer_arm(r->calls->c.timers, &r->timer,
			  tick_add(now.mono, us));
	else
		timer_stop(r->calls->c.timers, &r->timer);
}

/* ---- what passes ---- */

/* The seconds of Session-Expires ("1800;refresher=uas"). */
static bool session_expires(const struct msg *m, uint32_t *out_r)
{
	const struct hdr *f = msg_first(m, HDR_SESSION_EXPIRES);
	struct str value;

	if (!f)
		return false;
	value = msg_hdr_value(m, f);
	return str_u32(str_trim(str_cut(&value, ';')), UINT32_MAX, out_r);
}

static void refresh(struct call_record *r, const struct msg *m, struct now now)
{
	uint32_t seconds;

	if (session_expires(m, &seconds))
		call_arm(r, SECONDS(seconds) + SESSION_GRACE, true, now);
	else
		call_arm(r, SECONDS(r->member->max_duration), false, now);
}

void calls_on_2xx(struct calls *cs, struct member *m, load_units units,
		  struct msg *res, const struct msg_key *key, struct now now)
{
	struct call_name name = name_of(cs, key);
	struct call_record *r = find(cs, &name);

	if (!r && m) {
		r = calls_add(cs, &name, m, units);
		if (!r) {
			count(cs->c.counters, CNT_CALL_UNTRACKED);
			return;
		}
		r->began = now.mono;
		r->h8 = (uint8_t)branch_h8(key->call_id);
		count(cs->c.counters, CNT_CALL_BEGUN);
	}
	if (r && !r->ended)
		refresh(r, res, now);
}

/* Does a 481 to it mean that there is no session? */
static bool speaks_of_session(enum method method)
{
	return method != METHOD_SUBSCRIBE && method != METHOD_NOTIFY &&
	       method != METHOD_PRACK;
}

static bool ends_call(const struct msg_key *request, enum method method,
		      int code, enum counter *why_r)
{
	if (method == METHOD_BYE) {
		*why_r = CNT_CALL_BYE;
		return code != 401 && code != 407;
	}
	*why_r = CNT_CALL_REJECTED;
	return code == 481 && request->to_tag.n > 0 &&
	       speaks_of_session(method);
}

void calls_on_final(struct calls *cs, const struct msg_key *request,
		    enum method method, int code, struct now now)
{
	struct call_name name;
	struct call_record *r;
	enum counter why;

	if (!ends_call(request, method, code, &why))
		return;
	name = name_of(cs, request);
	r = find(cs, &name);
	if (r && !r->ended)
		end(r, why, now);
}

/* ---- all of them ---- */

int calls_init(struct calls *cs, const struct calls_conf *conf)
{
	cs->c = *conf;
	list_init(&cs->list);
	cs->n_up = 0;
	cs->changed = false;
	return map_init(&cs->map, conf->mem);
}

void calls_forget(struct calls *cs)
{
	list_each_safe (it, &cs->list) {
		struct call_record *r =
		    container_of(it, struct call_record, link);

		uncount(r);
		remove_record(r);
	}
}

void calls_fini(struct calls *cs)
{
	calls_forget(cs);
	map_fini(&cs->map);
}

size_t calls_spare_bytes(const struct calls *cs)
{
	return map_bytes(&cs->map);
}
