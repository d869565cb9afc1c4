#include "transport/locate.h"

#include <string.h>
#include "transport/locate_order.h"
#include "util/err.h"

/*
 * A search is a list of look-ups and a walk that goes through the steps of RFC
 * 3263 with what they have brought so far, from the beginning each time one of
 * them is answered. A step whose look-up is pending leaves a gap; the walk goes
 * on behind it, so that all that can be asked is asked at once. The first walk
 * without a gap is the answer.
 */

enum {
	NAPTRS = 8, /* of one name that are gone through */
	/* NAPTR, SRV for each of these (or for each transport), A and AAAA for
	 * each target */
	QUESTIONS = 1 + NAPTRS + 2 * LOCATE_TARGETS,
	PARTIAL = 5 /* s for which a result with something missing is good */
};

struct locate {
	struct resolver *rs;
	struct locate_ask ask;
	char host[DNS_NAME]; /* lower case, without brackets or last dot */
	bool waits;          /* look-ups may be asked for */
	bool over;           /* nothing is waited for any more */
	bool impatient;      /* what has run out will do */
	unsigned n;
	struct question {
		struct lookup lookup;
		struct locate *search;
	} q[QUESTIONS];
	struct timers *timers;
	struct timer timer;
	tick_t deadline;
	locate_fn *fn;
	void *ctx;
};

struct walk {
	struct locate *l;
	struct now now;
	struct places *out;
	bool gap;          /* something is pending */
	bool failed;       /* something could not be found out */
	bool last_stale;   /* the last answer that was taken has run out */
	uint32_t negative; /* the least TTL of what is not there */
	unsigned targets;  /* of SRV so far */
	uint16_t rank;     /* of what comes next */
	unsigned ranked;   /* places with a smaller one */
};

/* ---- look-ups ---- */

static void on_lookup(struct lookup *lookup, struct now now);

static struct lookup *find_lookup(struct walk *w, const char *name,
				  uint16_t type)
{
	struct locate *l = w->l;
	struct question *q;

	for (unsigned i = 0; i < l->n; i++)
		if (lookup_is_of(&l->q[i].lookup, name, type))
			return &l->q[i].lookup;
	if (l->n == QUESTIONS)
		return NULL;
	q = &l->q[l->n];
	q->search = l;
	q->lookup.fn = on_lookup;
	if (lookup_begin(&q->lookup, l->rs, name, type, l->waits && !l->over,
			 w->now) != 0)
		return NULL;
	l->n++;
	return &q->lookup;
}

static void note_failure(struct walk *w)
{
	w->failed = true;
	if (w->out->ttl > PARTIAL)
		w->out->ttl = PARTIAL;
}

static const union dns_record *records(struct walk *w, const char *name,
				       uint16_t type, unsigned *n_r,
				       enum look *look_r)
{
	struct lookup *lookup = find_lookup(w, name, type);
	uint32_t ttl, *least;

	*n_r = 0;
	*look_r = LOOK_FAILED;
	w->last_stale = false;
	if (lookup) {
		if (w->l->impatient)
			lookup_take_stale(lookup, w->l->rs, w->now);
		*look_r = lookup->outcome;
	}
	if (*look_r == LOOK_PENDING && !w->l->over) {
		w->gap = true;
		return NULL;
	}
	if (!lookup || *look_r == LOOK_PENDING || *look_r == LOOK_FAILED) {
		note_failure(w);
		*look_r = LOOK_FAILED;
		return NULL;
	}
	ttl = lookup_ttl(lookup, w->now);
	least = *look_r == LOOK_FOUND ? &w->out->ttl : &w->negative;
	if (ttl < *least)
		*least = ttl;
	w->last_stale = lookup->stale;
	w->out->stale = w->out->stale || lookup->stale;
	return lookup_records(lookup, n_r);
}

/* ---- the steps ---- */

/* What the addresses of a name become. */
struct at {
	const char *name;
	uint16_t port; /* 0: that of the transport */
	uint16_t weight;
	uint8_t transport;
	bool stale; /* what names it has run out */
};

static void put_place(struct walk *w, const struct at *at,
		      const struct addr *addr, bool stale)
{
	struct places *out = w->out;
	struct place *p = &out->at[out->n];

	if (out->n == LOCATE_MAX)
		return;
	*p = (struct place){.addr = *addr,
			    .transport = at->transport,
			    .rank = w->rank,
			    .weight = at->weight,
			    .stale = at->stale || stale};
	p->addr.port =
	    at->port ? at->port : transport_port((enum transport)at->transport);
	for (unsigned i = 0; i < out->n; i++) {
		struct place *same = &out->at[i];

		if (!addr_eq(&same->addr, &p->addr) ||
		    same->transport != p->transport)
			continue;
		same->stale = same->stale && p->stale;
		return;
	}
	memcpy(p->target, at->name, strlen(at->name) + 1);
	out->n++;
}

static unsigned family(struct walk *w, const struct at *at, uint16_t type,
		       bool usable, const union dns_record *out[DNS_RECORDS])
{
	const union dns_record *r;
	enum look look;
	unsigned n;

	if (!usable)
		return 0;
	r = records(w, at->name, type, &n, &look);
	order_addrs(out, r, n, order_seed(w->l->ask.seed, at->name, type));
	return n;
}

/* RFC 3263 4.2, RFC 7984: both families at once, one of each in turn. */
static void add_addresses(struct walk *w, const struct at *at)
{
	const union dns_record *v6[DNS_RECORDS], *v4[DNS_RECORDS];
	const struct locate_ask *ask = &w->l->ask;
	unsigned bit = 1u << at->transport;
	unsigned n6 = family(w, at, DNS_AAAA, ask->usable6 & bit, v6), n4;
	bool stale6 = w->last_stale, stale4;

	n4 = family(w, at, DNS_A, ask->usable4 & bit, v4);
	stale4 = w->last_stale;

	for (unsigned i = 0; i < n6 || i < n4; i++) {
		if (i < n6)
			put_place(w, at, &v6[i]->addr, stale6);
		if (i < n4)
			put_place(w, at, &v4[i]->addr, stale4);
	}
}

/* What follows is worse than what is there. */
static void next_rank(struct walk *w)
{
	if (w->out->n > w->ranked)
		w->rank++;
	w->ranked = w->out->n;
}

static void add_targets(struct walk *w, const char *name, uint8_t transport,
			const union dns_record **r, unsigned n)
{
	uint64_t seed = w->l->ask.seed;
	bool stale = w->last_stale;
	unsigned to;

	for (unsigned from = 0; from < n; from = to) {
		unsigned priority = r[from]->srv.priority;

		for (to = from; to < n && r[to]->srv.priority == priority;)
			to++;
		order_by_weight(&r[from], to - from,
				order_seed(seed, name, priority));
		next_rank(w);
		for (unsigned i = from; i < to; i++) {
			const struct dns_srv *srv = &r[i]->srv;
			struct at at = {srv->target, srv->port, srv->weight,
					transport, stale};

			if (srv->target[0] && w->targets++ < LOCATE_TARGETS)
				add_addresses(w, &at);
		}
	}
}

/* The targets of one SRV name. Returns what became of the look-up. */
static enum look add_srv(struct walk *w, const char *name, uint8_t transport)
{
	const union dns_record *order[DNS_RECORDS], *r;
	enum look look;
	unsigned n;

	r = records(w, name, DNS_SRV, &n, &look);
	order_srv(order, r, n);
	add_targets(w, name, transport, order, n);
	next_rank(w);
	return look;
}

/* RFC 3263 4.1, 4.2: the SRV name of a host and a transport. */
static bool srv_name(const struct locate *l, int transport, char out[DNS_NAME])
{
	static const char *const prefix[TRANSPORT_N] = {
	    [TRANSPORT_UDP] = "_sip._udp.",
	    [TRANSPORT_TCP] = "_sip._tcp.",
	    [TRANSPORT_TLS] = "_sips._tcp."};
	size_t p = strlen(prefix[transport]), n = strlen(l->host);

	if (p + n > DNS_NAME - 3)
		return false;
	memcpy(out, prefix[transport], p);
	memcpy(out + p, l->host, n + 1);
	return true;
}

static bool is_usable(const struct locate *l, int transport)
{
	unsigned usable = l->ask.usable4 | l->ask.usable6;

	return (usable & 1u << transport) &&
	       (!l->ask.sips || transport == TRANSPORT_TLS);
}

/* Without SRV: RFC 3263 4.1 says UDP, and TLS for sips. Where that is not
 * spoken here, the next that is. */
static void add_host(struct walk *w, int transport)
{
	const struct locate *l = w->l;
	struct at at = {.name = l->host, .port = l->ask.port};

	if (transport < 0)
		transport = TRANSPORT_UDP;
	while (transport < TRANSPORT_N && !is_usable(l, transport))
		transport++;
	if (transport == TRANSPORT_N)
		return;
	at.transport = (uint8_t)transport;
	add_addresses(w, &at);
}

/* SRV of one transport, or of each that is usable: _sip._udp, _sip._tcp and,
 * last, _sips._tcp, for whoever offers nothing else. */
static void by_srv(struct walk *w, int transport)
{
	bool none = true;

	for (int t = 0; t < TRANSPORT_N; t++) {
		char name[DNS_NAME];

		if ((transport >= 0 && t != transport) || !is_usable(w->l, t) ||
		    !srv_name(w->l, t, name))
			continue;
		none = add_srv(w, name, (uint8_t)t) == LOOK_NONE && none;
	}
	/* A record with "." is one: then there is no other way. */
	if (none)
		add_host(w, transport);
}

/* True when NAPTR says how the host is reached, for us or not, or may still do
 * so. There are resolvers that never answer this question: in the end it is as
 * if there was none. */
static bool by_naptr(struct walk *w)
{
	const union dns_record *order[DNS_RECORDS], *r;
	enum look look;
	unsigned n, used = 0;

	r = records(w, w->l->host, DNS_NAPTR, &n, &look);
	if (look == LOOK_PENDING && !w->l->impatient)
		return true;
	if (look == LOOK_PENDING) {
		w->gap = false; /* it was the first question */
		note_failure(w);
	}
	order_naptr(order, r, n);
	for (unsigned i = 0; i < n && used < NAPTRS; i++) {
		const struct dns_naptr *p = &order[i]->naptr;
		struct at at = {p->next, 0, 0, p->transport, false};

		if (!is_usable(w->l, p->transport))
			continue;
		used++;
		if (p->flag == 's')
			add_srv(w, p->next, p->transport);
		else
			add_addresses(w, &at);
		next_rank(w);
	}
	return n > 0;
}

/* RFC 3263 4.1 and 4.2. An address is a place, whether we can send to it or
 * not: then sending says so. */
static void steps(struct walk *w)
{
	const struct locate *l = w->l;
	int transport = l->ask.sips ? TRANSPORT_TLS : l->ask.transport;
	struct at at = {.name = l->host, .port = l->ask.port};
	struct addr addr;

	if (!l->host[0])
		return; /* it cannot be a name */
	if (addr_parse_ip(str_from(l->host), &addr)) {
		at.transport =
		    (uint8_t)(transport < 0 ? TRANSPORT_UDP : transport);
		put_place(w, &at, &addr, false);
	} else if (transport >= 0 && !is_usable(l, transport)) {
		return;
	} else if (l->ask.port) {
		add_host(w, transport);
	} else if (l->ask.transport >= 0 || !by_naptr(w)) {
		by_srv(w, transport);
	}
}

/* True when there is no gap. */
static bool walk(struct locate *l, struct now now, struct places *out_r)
{
	struct walk w = {
	    .l = l, .now = now, .out = out_r, .negative = UINT32_MAX};

	out_r->n = 0;
	out_r->stale = false;
	out_r->ttl = UINT32_MAX;
	out_r->cause = CAUSE_NONE;
	steps(&w);
	if (out_r->n == 0 && w.negative < out_r->ttl)
		out_r->ttl = w.negative;
	if (out_r->n == 0)
		out_r->cause = w.failed ? CAUSE_DNS_TIMEOUT : CAUSE_DNS_NONE;
	return !w.gap;
}

/* ---- the search ---- */

/* A name as DNS has it; "" when it cannot be one. */
static void take_host(struct str host, char out[DNS_NAME])
{
	size_t label = 0;

	out[0] = '\0';
	if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = str_sub(host, 1, host.n - 1);
	if (host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n > DNS_NAME - 3)
		return;
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i];

		if (c == '.' ? label == 0 : !dns_is_host_byte(c))
			return;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return;
	}
	for (size_t i = 0; i < host.n; i++)
		out[i] = dns_lower(host.p[i]);
	out[host.n] = '\0';
}

static void init(struct locate *l, struct resolver *rs,
		 const struct locate_ask *ask)
{
	l->rs = rs;
	l->ask = *ask;
	l->ask.host = STR_NONE;
	take_host(ask->host, l->host);
}

static void end_lookups(struct locate *l)
{
	for (unsigned i = 0; i < l->n; i++)
		lookup_end(&l->q[i].lookup, l->rs);
	l->n = 0;
}

int locate_now(struct resolver *rs, const struct locate_ask *ask,
	       struct now now, struct places *out_r)
{
	struct locate l = {.waits = false};
	bool whole;

	init(&l, rs, ask);
	whole = walk(&l, now, out_r);
	end_lookups(&l);
	return whole ? 0 : ERR_STATE;
}

static void finish(struct locate *l, const struct places *found, struct now now)
{
	locate_fn *fn = l->fn;
	void *ctx = l->ctx;

	locate_stop(&l);
	fn(ctx, found, now);
}

static void go_on(struct locate *l, struct now now)
{
	struct places found;

	if (walk(l, now, &found) || l->over)
		finish(l, &found, now);
}

static void on_lookup(struct lookup *lookup, struct now now)
{
	go_on(container_of(lookup, struct question, lookup)->search, now);
}

/* The beginning, then the end of patience, then of everything. */
static void on_timer(struct timer *t, struct now now)
{
	struct locate *l = container_of(t, struct locate, timer);
	tick_t half = tick_add(l->deadline, -resolver_patience(l->rs));

	l->impatient = !tick_before(now.mono, half);
	l->over = !tick_before(now.mono, l->deadline);
	timer_arm(l->timers, t, l->impatient ? l->deadline : half);
	go_on(l, now);
}

struct locate *locate_start(struct resolver *rs, const struct locate_ask *ask,
			    locate_fn *fn, void *ctx, struct now now)
{
	const struct resolver_conf *conf = resolver_conf_of(rs);
	struct locate *l = mem_zalloc(conf->mem, sizeof(*l));

	if (!l)
		return NULL;
	init(l, rs, ask);
	l->waits = true;
	l->fn = fn;
	l->ctx = ctx;
	l->timers = conf->timers;
	l->deadline = tick_add(now.mono, conf->limits->deadline);
	timer_init(&l->timer, on_timer);
	timer_arm(l->timers, &l->timer, now.mono);
	return l;
}

void locate_stop(struct locate **lp)
{
	struct locate *l = *lp;

	if (!l)
		return;
	timer_stop(l->timers, &l->timer);
	end_lookups(l);
	mem_free(resolver_conf_of(l->rs)->mem, l);
	*lp = NULL;
}

bool locate_of_uri(const struct uri *uri, struct locate_ask *out_r)
{
	struct str param;

	if (!uri->is_sip)
		return false;
	memset(out_r, 0, sizeof(*out_r));
	out_r->sips = uri->is_sips;
	out_r->host = uri->host;
	out_r->port = uri->port;
	out_r->transport = -1;
	if (scan_param(uri->params, STR("transport"), &param)) {
		out_r->transport = transport_parse(param);
		if (out_r->transport < 0)
			return false;
	}
	if (scan_param(uri->params, STR("maddr"), &param)) {
		if (!scan_is_host(param))
			return false;
		out_r->host = param;
	}
	return true;
}

void locate_through(const struct listeners *ls, struct locate_ask *ask)
{
	ask->usable4 = ask->usable6 = 0;
	for (unsigned i = 0; i < ls->n; i++) {
		const struct listener *l = &ls->l[i];
		uint8_t bit = (uint8_t)(1u << l->transport);

		if (l->addr.family == ADDR_V4)
			ask->usable4 |= bit;
		else
			ask->usable6 |= bit;
	}
}
