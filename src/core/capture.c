#include "core/capture.h"

#include <string.h>
#include "core/core_int.h"
#include "util/hep.h"
#include "util/redact.h"

/* A bound for all of a packet but its payload. */
enum { HEP_OVERHEAD = 1024 };

/* ---- what is on ---- */

static void set(struct node *n, unsigned bit, bool on)
{
	if (on)
		atomic_fetch_or(&n->capture.on, bit);
	else
		atomic_fetch_and(&n->capture.on, ~bit);
}

static bool is_on(const struct core *c, unsigned bit)
{
	return (atomic_load_explicit(&c->node->capture.on,
				     memory_order_relaxed) &
		bit) != 0;
}

void capture_log(struct node *n, bool on)
{
	set(n, CAPTURE_LOG, on);
}

void capture_on_settings(struct node *n)
{
	set(n, CAPTURE_COLLECT, n->settings.hep.collector.family != ADDR_NONE);
}

void capture_set_filter(struct node *n, const struct capture_filter *f)
{
	struct capture *t = &n->capture;

	pthread_mutex_lock(&t->lock);
	memset(t->call, 0, sizeof(t->call));
	memset(&t->filter, 0, sizeof(t->filter));
	if (f)
		t->filter = *f;
	pthread_mutex_unlock(&t->lock);
	set(n, CAPTURE_FILTER, f != NULL);
}

void capture_set_level(struct node *n, enum log_level level)
{
	struct capture *t = &n->capture;

	pthread_mutex_lock(&t->lock);
	t->level = level;
	pthread_mutex_unlock(&t->lock);
}

void capture_init(struct capture *t)
{
	t->level = LOG_INFO;
	pthread_mutex_init(&t->lock, NULL);
}

void capture_fini(struct capture *t)
{
	pthread_mutex_destroy(&t->lock);
}

/* ---- who wants to see it ---- */

/* What of a message decides that, and is said of it. */
struct seen {
	struct str call_id, cseq, user;
};

static struct str first_value(const struct msg *m, enum hdr_id id)
{
	const struct hdr *h = msg_first(m, id);

	return h ? msg_hdr_value(m, h) : STR_NONE;
}

static struct str from_user(const struct msg *m)
{
	struct nameaddr from;
	struct uri uri;

	if (!scan_nameaddr(first_value(m, HDR_FROM), &from, NULL) ||
	    !scan_uri(from.uri, &uri))
		return STR_NONE;
	return str_sub(uri.user, 0, str_find(uri.user, ':'));
}

/* Of a malformed message what is there. */
static struct seen look_at(const struct msg *m)
{
	return (struct seen){
	    .call_id = first_value(m, HDR_CALL_ID),
	    .cseq = first_value(m, HDR_CSEQ),
	    .user = from_user(m),
	};
}

static uint64_t hash_call(const struct core *c, struct str call_id)
{
	return siphash24(c->node->table_key, call_id.p, call_id.n) | 1;
}

static bool is_known(const struct capture *t, uint64_t call)
{
	for (size_t i = 0; i < CAPTURE_CALLS; i++)
		if (t->call[i] == call)
			return true;
	return false;
}

/* Is it a message of the user, or of a call that one has been of? */
static bool is_of_user(struct core *c, const struct seen *s)
{
	struct capture *t = &c->node->capture;
	uint64_t call = s->call_id.n ? hash_call(c, s->call_id) : 0;

	if (call && is_known(t, call))
		return true;
	if (!str_eq(s->user, str_from(t->filter.user)))
		return false;
	if (call)
		t->call[t->calls++ % CAPTURE_CALLS] = call;
	return true;
}

static bool fits(struct core *c, const struct seen *s)
{
	const struct capture_filter *f = &c->node->capture.filter;

	if (!tick_before(c->now.mono, f->until))
		return false;
	if (f->call_id[0] && !str_eq(s->call_id, str_from(f->call_id)))
		return false;
	return !f->user[0] || is_of_user(c, s);
}

/* What the filter wants of a message. */
struct wish {
	bool log;
	enum log_level level;
	struct addr collector; /* or none */
};

static struct wish wish_for(struct core *c, const struct seen *s)
{
	struct capture *t = &c->node->capture;
	struct wish w = {.log = false};

	if (!is_on(c, CAPTURE_FILTER))
		return w;
	pthread_mutex_lock(&t->lock);
	if (fits(c, s)) {
		w.collector = t->filter.collector;
		w.log = w.collector.family == ADDR_NONE;
		w.level = t->level;
	}
	pthread_mutex_unlock(&t->lock);
	return w;
}

/* Nodes with the same key choose the same calls. */
static bool is_in_share(const struct core *c, struct str call_id)
{
	double share = c->node->settings.hep.share;

	return share >= 1 ||
	       (double)(siphash24(c->node->keys.now, call_id.p, call_id.n) >>
			11) *
		       0x1p-53 <
		   share;
}

/* ---- to a collector ---- */

static void mirror(struct core *c, const struct addr *collector,
		   const struct hep *h)
{
	size_t room =
	    HEP_OVERHEAD + (h->payload.n < HEP_MAX ? h->payload.n : HEP_MAX);
	bool failed = arena_failed(c->scratch);
	char *space = arena_alloc(c->scratch, room);
	struct buf b;
	size_t n;

	if (!space) {
		/* what nobody sees must not cost a message */
		if (!failed)
			arena_clear_failed(c->scratch);
		count(&c->counters, CNT_HEP_NOMEM);
		return;
	}
	buf_fixed(&b, space, room);
	hep_write(&b, h, &n);
	if (n < h->payload.n)
		count(&c->counters, CNT_HEP_CUT);
	if (c->node->settings.hep.redact)
		redact_message(b.p + b.n - n, n);
	c->host->mirror(c->host->ctx, collector, buf_str(&b));
}

/* The same packet for everybody who wants it. */
static void collect(struct core *c, const struct seen *s, const struct wish *w,
		    struct hep *h)
{
	const struct hep_conf *conf = &c->node->settings.hep;

	if (!c->host->mirror)
		return;
	h->time = c->now.wall;
	h->id = conf->id;
	h->password = str_from(conf->password);
	h->node = str_from(conf->name);
	h->correlation = s->call_id;
	if (is_on(c, CAPTURE_COLLECT) && is_in_share(c, s->call_id)) {
		mirror(c, &conf->collector, h);
		if (addr_eq(&conf->collector, &w->collector))
			return;
	}
	if (w->collector.family != ADDR_NONE)
		mirror(c, &w->collector, h);
}

/* Our end of a hop, which for what we send may be the host's to choose. */
static struct addr our_end(const struct core *c, const struct hop *h)
{
	struct addr a = h->local;

	if (a.family == ADDR_NONE &&
	    !c->host->source(c->host->ctx, h->listener, &h->addr, &a))
		memset(&a, 0, sizeof(a));
	return a;
}

static void collect_message(struct core *c, const struct seen *s,
			    const struct wish *w, bool in,
			    const struct hop *peer, struct str bytes)
{
	struct addr ours = our_end(c, peer);
	struct hep h = {
	    .from = in ? peer->addr : ours,
	    .to = in ? ours : peer->addr,
	    .tcp = transport_reliable((enum transport)peer->transport),
	    .type = HEP_SIP,
	    .payload = bytes,
	};

	collect(c, s, w, &h);
}

/* ---- into the log ---- */

/* Up to the first line end, whatever that is. */
static struct str first_line(struct str s)
{
	return str_sub(s, 0, str_find(str_sub(s, 0, str_find(s, '\r')), '\n'));
}

static void log_message(struct core *c, const struct seen *s,
			enum log_level level, bool in, const struct hop *peer,
			struct str bytes)
{
	struct log_field f[] = {
	    LOGF_STR("dir", in ? STR("in") : STR("out")),
	    LOGF_ADDR("peer", &peer->addr),
	    LOGF_STR("line", first_line(bytes)),
	    LOGF_STR("cseq", s->cseq),
	    LOGF_STR("call_id", s->call_id),
	};
	struct log_event e = {level, "sip.message", f, ARRAY_LEN(f)};

	c->host->log(c->host->ctx, &e);
}

void capture_message(struct core *c, bool in, const struct hop *peer,
		     struct str bytes)
{
	bool failed = arena_failed(c->scratch);
	struct wish w;
	enum msg_bad bad;
	struct msg m;
	struct seen s;

	bad = msg_index(&m, c->scratch, bytes);
	/* a line that could not be written must not cost a message */
	if (!failed)
		arena_clear_failed(c->scratch);
	if (bad == MSG_EMPTY || bad == MSG_NOT_SIP)
		return;
	s = look_at(&m);
	w = wish_for(c, &s);
	if (w.log)
		log_message(c, &s, w.level, in, peer, bytes);
	else if (is_on(c, CAPTURE_LOG))
		log_message(c, &s, LOG_DEBUG, in, peer, bytes);
	collect_message(c, &s, &w, in, peer, bytes);
}

/* As it stands in the log. */
static void collect_decision(struct core *c, const struct seen *s,
			     const struct wish *w, const struct hop *from,
			     const struct log_event *e)
{
	struct hep h = {
	    .from = from->addr,
	    .to = our_end(c, from),
	    .tcp = transport_reliable((enum transport)from->transport),
	    .type = HEP_LOG,
	};
	bool failed = arena_failed(c->scratch);
	struct buf b;

	buf_arena(&b, c->scratch, HEP_OVERHEAD);
	log_write_json(&b, e, c->now.wall);
	h.payload = buf_str(&b);
	if (buf_ok(&b))
		collect(c, s, w, &h);
	else
		count(&c->counters, CNT_HEP_NOMEM);
	if (!failed)
		arena_clear_failed(c->scratch);
}

void capture_decision(void *ctx, struct request *r, struct log_event *e)
{
	struct core *c = ctx;
	struct seen s;
	struct wish w;

	if (!capture_is_on(&c->node->capture))
		return;
	s = look_at(request_msg(r));
	w = wish_for(c, &s);
	if (w.log && e->level > w.level)
		e->level = w.level;
	if (is_on(c, CAPTURE_COLLECT) || w.collector.family != ADDR_NONE)
		collect_decision(c, &s, &w, request_from(r), e);
}
