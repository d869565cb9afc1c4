#include "proxy/overload.h"

#include <string.h>
#include "proxy/context.h"

/* So long messages have to wait too long before anything is refused: a burst
 * that is worked off by then is none of our business. */
static const int64_t INTERVAL = MILLIS(100);
/* An episode is over when nothing was refused for so long. */
static const int64_t QUIET = SECONDS(5);

enum {
	/* Refused transactions that are known again, by hash: a second of what
	 * a worker refuses at most, which is longer than a repetition can be
	 * under way when its refusal is. In sets, of which each gives up its
	 * oldest: of single places some would be taken within that second. */
	REFUSED = 16384,
	REFUSED_SET = 8,
	/* In targets: where requests other than INVITE begin to be refused. */
	OTHERS = 2,
	/* One of so many is accepted, however late it is: else refusing alone
	 * could take all of the time, and nobody would get through. */
	ACCEPTED = 32,
	/* What is inside of a dialog may have so much more memory, in parts of
	 * four. */
	RESERVE = 5
};

/* ---- what is measured ---- */

static void note_lag(struct overload *o, int64_t lag, struct now now)
{
	for (unsigned i = 0; i < LAG_LEVELS && lag >= MILLIS(1) << i; i++)
		o->lag[i] = now.mono;
}

void proxy_on_lag(struct proxy *p, int64_t lag, struct now now)
{
	note_lag(&p->overload, lag, now);
}

bool proxy_lagged(const struct proxy *p, tick_t since, int64_t lag)
{
	unsigned i = 0;

	while (i + 1 < LAG_LEVELS && MILLIS(1) << i < lag)
		i++;
	return p->overload.lag[i].us && !tick_before(p->overload.lag[i], since);
}

/* A socket that gives something fresh has no standing queue. Connections and
 * other workers are many queues in one: there it takes an interval in which
 * all is fresh. */
static void note_queue(struct queue *q, bool many, bool late, struct now now)
{
	if (late) {
		if (!q->above)
			q->since = now.mono;
		q->above = true;
		q->last = now.mono;
	} else if (!many || tick_diff(now.mono, q->last) > INTERVAL) {
		q->above = false;
	}
}

/* A worker that receives for all of them is the first to have too much, and
 * refuses calls of its own. Others can hardly help it by that, and have time;
 * but when its own were not enough, what waits is as old for them as for it. */
static int64_t due(const struct delay *d, int64_t target)
{
	int64_t spared = d->elsewhere < target ? d->elsewhere : target;

	return d->all - spared;
}

void proxy_on_delay(struct proxy *p, unsigned queue, const struct delay *d,
		    struct now now)
{
	struct overload *o = &p->overload;
	struct queue *q = &o->queue[queue];
	int64_t target = p->c.settings->overload.delay;
	bool late = target && due(d, target) > target;

	histogram_add(&p->c.counters->hist[HIST_INPUT_DELAY], d->all);
	o->delay = d->all;
	o->due = due(d, target);
	if (!late && !q->above) {
		o->standing = false;
		return;
	}
	note_queue(q, queue == QUEUE_OTHER, late, now);
	o->standing =
	    late && (o->on || tick_diff(now.mono, q->since) >= INTERVAL);
}

/* ---- episodes ---- */

static void begin(struct proxy *p, bool memory, struct now now)
{
	struct overload *o = &p->overload;
	struct log_field f[] = {
	    LOGF_INT("worker", p->c.worker),
	    LOGF_STR("reason", memory ? STR("memory") : STR("delay")),
	    LOGF_NUM("delay", (double)o->delay / 1e6),
	};
	struct log_event e = {LOG_WARN, "overload.begin", f, ARRAY_LEN(f)};

	o->on = true;
	o->began = now.mono;
	o->n_refused = o->n_unanswered = 0;
	o->longest = 0;
	/* Without memory a repetition may be accepted: as good as it gets. */
	o->refused = mem_zalloc(p->c.mem, REFUSED * sizeof(*o->refused));
	timer_arm(p->c.timers, &o->end, tick_add(now.mono, QUIET));
	count(p->c.counters, CNT_OVERLOAD);
	p->c.host->log(p->c.host->ctx, &e);
}

static void on_end(struct timer *t, struct now now)
{
	struct overload *o = container_of(t, struct overload, end);
	struct proxy *p = container_of(o, struct proxy, overload);
	tick_t end = tick_add(o->refused_last, QUIET);
	struct log_field f[] = {
	    LOGF_INT("worker", p->c.worker),
	    LOGF_NUM("seconds",
		     (double)tick_diff(o->refused_last, o->began) / 1e6),
	    LOGF_INT("refused", (int64_t)o->n_refused),
	    LOGF_INT("unanswered", (int64_t)o->n_unanswered),
	    LOGF_NUM("longest", (double)o->longest / 1e6),
	};
	struct log_event e = {LOG_WARN, "overload.end", f, ARRAY_LEN(f)};

	if (tick_before(now.mono, end)) {
		timer_arm(p->c.timers, t, end);
		return;
	}
	o->on = false;
	mem_free(p->c.mem, o->refused);
	o->refused = NULL;
	p->c.host->log(p->c.host->ctx, &e);
}

void overload_init(struct proxy *p)
{
	timer_init(&p->overload.end, on_end);
}

void overload_fini(struct proxy *p)
{
	timer_stop(p->c.timers, &p->overload.end);
	mem_free(p->c.mem, p->overload.refused);
}

/* ---- what is refused ---- */

/* None of the ids at `from`, all of them at `to`. */
static bool falls(uint64_t id, int64_t at, int64_t from, int64_t to)
{
	int64_t bits = (int64_t)(id >> 40);

	return at > from && (at >= to || bits * (to - from) <
					     (at - from) * (int64_t)0x1000000);
}

static struct str number_of(struct str text)
{
	struct uri uri;
	struct str s;
	const char *end;

	if (!scan_uri(text, &uri))
		return STR_NONE;
	s = uri.is_sip ? uri.user : str_sub(text, uri.scheme.n + 1, text.n);
	end = s.n ? memchr(s.p, ';', s.n) : NULL;
	return end ? (struct str){s.p, (size_t)(end - s.p)} : s;
}

static bool is_exempt(const struct proxy *p, struct str uri)
{
	const struct overload_conf *conf = &p->c.settings->overload;
	struct str number = conf->n_exempt ? number_of(uri) : STR_NONE;

	for (unsigned i = 0; number.n && i < conf->n_exempt; i++)
		if (str_eq(number, str_from(conf->exempt[i])))
			return true;
	return false;
}

/* Whoever looks whether we are there is told that we are: what would it be good
 * for to send everybody to another machine at once? */
static bool looks_at_us(const struct proxy *p, const struct offer *o)
{
	struct uri uri;

	return o->method == METHOD_OPTIONS && scan_uri(o->uri, &uri) &&
	       !uri.user.p && listener_is_ours(p->c.listeners, &uri);
}

static bool is_late(const struct proxy *p, const struct offer *o)
{
	int64_t target = p->c.settings->overload.delay;
	int64_t from = o->method == METHOD_INVITE ? target : OTHERS * target;

	return p->overload.standing && o->id % ACCEPTED &&
	       falls(o->id, p->overload.due, from, from + target) &&
	       !looks_at_us(p, o) && !is_exempt(p, o->uri);
}

static bool is_full(const struct proxy *p, bool in_dialog)
{
	size_t max = p->c.settings->max_memory, used;

	if (max == MEMORY_DEFAULT)
		max = p->c.memory ? *p->c.memory / 2 : 0;
	if (!max)
		return false;
	max /= p->c.workers;
	used = p->c.mem->bytes;
	if (used <= max)
		return false;
	used -= arena_cache_bytes(p->c.arenas); /* kept to be used again */
	return used > (in_dialog ? max / 4 * RESERVE : max);
}

/* What has waited for T1 has been sent again meanwhile (17.1.1.2): the
 * repetition, which is waiting too, gets the answer. To answer none would be
 * dear: whoever hears nothing asks up to seven times. */
static bool is_answered(const struct proxy *p, const struct hop *from,
			bool repeated)
{
	return repeated || from->transport != TRANSPORT_UDP ||
	       p->overload.delay < p->c.settings->times.t1;
}

/* Seconds, of a mean: they are not to come back all at once. The same for a
 * repetition (8.2.7). */
struct str overload_retry_after(const struct proxy *p, uint64_t id)
{
	uint32_t mean = p->c.settings->overload.retry_after;
	struct buf b;

	if (!mean)
		return STR_NONE;
	buf_arena(&b, p->c.scratch, 32);
	BUF_LIT(&b, "Retry-After: ");
	buf_u64(&b, 1 + (id & 0xffff) % (2 * mean - 1));
	BUF_LIT(&b, "\r\n");
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

static uint64_t *set_of(const struct overload *o, uint64_t id)
{
	return &o->refused[id % (REFUSED / REFUSED_SET) * REFUSED_SET];
}

static void remember(struct overload *o, uint64_t id)
{
	uint64_t *set = set_of(o, id);

	memmove(set + 1, set, (REFUSED_SET - 1) * sizeof(*set));
	set[0] = id;
}

bool overload_refused(const struct proxy *p, uint64_t id)
{
	const struct overload *o = &p->overload;
	const uint64_t *set = o->refused ? set_of(o, id) : NULL;

	for (int i = 0; set && i < REFUSED_SET; i++)
		if (set[i] == id)
			return true;
	return false;
}

bool overload_refuse(struct proxy *p, const struct offer *offer,
		     enum counter why, const struct hop *from, struct now now)
{
	bool repeated = why == CNT_SHED_REPEATED;
	struct overload *o = &p->overload;

	if (!o->on)
		begin(p, why == CNT_SHED_MEMORY, now);
	if (!repeated)
		o->refused_last = now.mono;
	if (o->refused && !repeated)
		remember(o, offer->id);
	if (o->longest < o->delay)
		o->longest = o->delay;
	o->n_refused++;
	count(p->c.counters, why);
	if (is_answered(p, from, repeated))
		return true;
	o->n_unanswered++;
	count(p->c.counters, CNT_SHED_SILENT);
	return false;
}

enum counter overload_why(const struct proxy *p, const struct offer *o)
{
	if (overload_refused(p, o->id))
		return CNT_SHED_REPEATED;
	if (is_full(p, o->in_dialog))
		return CNT_SHED_MEMORY;
	if (o->in_dialog)
		return COUNTER_N;
	if (!is_late(p, o))
		return COUNTER_N;
	return o->method == METHOD_INVITE ? CNT_SHED_INVITE : CNT_SHED_OTHER;
}

bool overload_may_refuse(const struct proxy *p, bool in_dialog)
{
	const struct overload *o = &p->overload;

	return (!in_dialog && (o->standing || o->on)) || is_full(p, in_dialog);
}

bool proxy_is_overloaded(const struct proxy *p)
{
	return p->overload.on;
}
