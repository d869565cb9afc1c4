/*
 * What is said and counted about connections. A thousand of them that come and
 * go are so many lines a second and one number of those that were left out.
 */
#include "transport/flows_int.h"

enum { LINES = 50 }; /* a second, of each kind */

/* True when one more may be written. */
static bool take_line(struct flow_lines *l, struct now now, uint64_t *skipped_r)
{
	if (tick_diff(now.mono, l->since) >= SECONDS(1)) {
		l->since = now.mono;
		l->n = 0;
	}
	if (l->n++ >= LINES) {
		l->skipped++;
		return false;
	}
	*skipped_r = l->skipped;
	l->skipped = 0;
	return true;
}

/* ---- what was told already ---- */

enum { AGAIN_S = 3600 }; /* so that the log of today says it, too */

static uint64_t hash_failure(const struct flows *fs, const struct hop *peer,
			     enum cause cause, struct str text)
{
	struct siphash h;

	siphash_init(&h, fs->c.map_key);
	siphash_u64(&h, (uint64_t)cause);
	siphash_str(&h, text);
	siphash_str(&h, str_from(peer->tls_name ? peer->tls_name : ""));
	return siphash_end(&h);
}

static bool was_told(const struct flows *fs, const struct flow_told *this)
{
	for (unsigned i = 0; i < FLOW_TOLD; i++) {
		const struct flow_told *t = &fs->told[i];

		if (t->peer == this->peer && t->what == this->what &&
		    tick_diff(this->at, t->at) < SECONDS(AGAIN_S))
			return true;
	}
	return false;
}

/* It can be reached: whatever fails next is news. */
static void forget_told(struct flows *fs, const struct hop *peer)
{
	uint64_t hash = flow_hash_peer(fs, peer);

	for (unsigned i = 0; i < FLOW_TOLD; i++)
		if (fs->told[i].peer == hash)
			fs->told[i] = (struct flow_told){0};
}

static const struct addr *listener_addr(const struct flows *fs,
					const struct hop *hop)
{
	static const struct addr none = {.family = ADDR_NONE};
	const struct listeners *ls = fs->c.listeners;

	return hop->listener < ls->n ? &ls->l[hop->listener].addr : &none;
}

static struct str direction(bool accepted)
{
	return accepted ? STR("in") : STR("out");
}

static struct str transport_text(const struct hop *hop)
{
	return str_from(transport_name((enum transport)hop->transport));
}

static void say(struct flows *fs, const struct log_event *e)
{
	fs->c.host->log(fs->c.host->ctx, e);
}

void flow_log_up(struct flow *f, struct now now)
{
	struct flows *fs = f->fs;
	uint64_t skipped = 0;

	count(fs->c.counters,
	      f->accepted ? CNT_FLOW_ACCEPTED : CNT_FLOW_OPENED);
	if (!f->accepted)
		forget_told(fs, &f->hop);
	if (!take_line(&fs->up, now, &skipped))
		return;
	{
		struct log_field field[] = {
		    LOGF_ADDR("peer", &f->hop.addr),
		    LOGF_STR("transport", transport_text(&f->hop)),
		    LOGF_ADDR("listener", listener_addr(fs, &f->hop)),
		    LOGF_STR("direction", direction(f->accepted)),
		    LOGF_STR("identity", f->hop.tls_name
					     ? str_from(f->hop.tls_name)
					     : STR("")),
		    LOGF_INT("skipped", (int64_t)skipped),
		};
		struct log_event e = {LOG_INFO, "flow.up", field,
				      ARRAY_LEN(field)};

		say(fs, &e);
	}
}

/* ---- ends ---- */

static const char *const WHY[] = {
    [WHY_NETWORK] = NULL,
    [WHY_CONNECT_TIMEOUT] = "connect_timeout",
    [WHY_HEADER_TIMEOUT] = "header_timeout",
    [WHY_IDLE] = "idle",
    [WHY_FRAMING] = "framing",
    [WHY_FLOOD] = "flood",
    [WHY_STOPPED] = "stopped",
};

static void count_end(struct counters *c, enum flow_why why, enum cause cause)
{
	static const enum counter of[] = {
	    [WHY_NETWORK] = CNT_FLOW_END_CLOSED,
	    [WHY_CONNECT_TIMEOUT] = CNT_FLOW_END_CLOSED, /* never: not up */
	    [WHY_HEADER_TIMEOUT] = CNT_FLOW_END_HEADER,
	    [WHY_IDLE] = CNT_FLOW_END_IDLE,
	    [WHY_FRAMING] = CNT_FLOW_END_FRAMING,
	    [WHY_FLOOD] = CNT_FLOW_END_FLOOD,
	    [WHY_STOPPED] = CNT_FLOW_END_STOPPED,
	};

	if (why == WHY_NETWORK && cause != CAUSE_CLOSED)
		count(c, CNT_FLOW_END_RESET);
	else
		count(c, of[why]);
}

static void count_failure(struct counters *c, enum cause cause)
{
	switch (cause) {
	case CAUSE_REFUSED:
		count(c, CNT_FLOW_FAIL_REFUSED);
		break;
	case CAUSE_CONNECT_TIMEOUT:
		count(c, CNT_FLOW_FAIL_TIMEOUT);
		break;
	case CAUSE_NO_SOURCE:
		count(c, CNT_FLOW_FAIL_NO_SOURCE);
		break;
	case CAUSE_TLS_IDENTITY:
		count(c, CNT_FLOW_FAIL_IDENTITY);
		break;
	case CAUSE_TLS_HANDSHAKE:
		count(c, CNT_FLOW_FAIL_HANDSHAKE);
		break;
	default:
		count(c, CNT_FLOW_FAIL_OTHER);
	}
}

void flow_count_bad(struct counters *c, enum frame_bad bad)
{
	static const enum counter of[] = {
	    [FRAME_OK] = CNT_FRAME_NOT_SIP, /* never */
	    [FRAME_NOT_SIP] = CNT_FRAME_NOT_SIP,
	    [FRAME_NO_LENGTH] = CNT_FRAME_NO_LENGTH,
	    [FRAME_BAD_LENGTH] = CNT_FRAME_BAD_LENGTH,
	    [FRAME_BARE_LF] = CNT_FRAME_BARE_LF,
	    [FRAME_TOO_BIG] = CNT_FRAME_TOO_BIG,
	    [FRAME_NOMEM] = CNT_NOMEM,
	};

	count(c, of[bad]);
}

/* What a line about an end says. */
struct ending {
	enum log_level level;
	const struct hop *peer;
	bool accepted, was_up;
	const char *cause;
	struct str why;
	double seconds;
};

/* False: there were too many lines. */
static bool log_ending(struct flows *fs, const struct ending *x, struct now now)
{
	uint64_t skipped = 0;

	if (x->level != LOG_DEBUG && !take_line(&fs->down, now, &skipped))
		return false;
	{
		struct log_field field[] = {
		    LOGF_ADDR("peer", &x->peer->addr),
		    LOGF_STR("transport", transport_text(x->peer)),
		    LOGF_ADDR("listener", listener_addr(fs, x->peer)),
		    LOGF_STR("direction", direction(x->accepted)),
		    LOGF_STR("cause", str_from(x->cause)),
		    LOGF_STR("why", x->why.p ? x->why : STR("")),
		    LOGF_BOOL("was_up", x->was_up),
		    LOGF_NUM("seconds", x->seconds),
		    LOGF_INT("skipped", (int64_t)skipped),
		};
		struct log_event e = {x->level, "flow.down", field,
				      ARRAY_LEN(field)};

		say(fs, &e);
	}
	return true;
}

static bool is_orderly(enum flow_why why, enum cause cause)
{
	return why == WHY_IDLE || why == WHY_STOPPED ||
	       (why == WHY_NETWORK && cause == CAUSE_CLOSED);
}

/* One that could not be opened: the same failure again is for debugging. What
 * was left out of the log has not been told. */
static void log_failure(struct flows *fs, struct ending *x, uint64_t what,
			struct now now)
{
	struct flow_told this = {
	    .peer = flow_hash_peer(fs, x->peer), .what = what, .at = now.mono};

	if (was_told(fs, &this)) {
		x->level = LOG_DEBUG;
		log_ending(fs, x, now);
	} else if (log_ending(fs, x, now)) {
		fs->told[fs->told_next++ % FLOW_TOLD] = this;
	}
}

void flow_log_down(struct flow *f, enum flow_why why, enum cause cause,
		   struct str text, struct now now)
{
	struct counters *c = f->fs->c.counters;
	bool was_up = f->state == FLOW_OPEN;
	struct ending x = {
	    .level = was_up && is_orderly(why, cause) ? LOG_INFO : LOG_WARN,
	    .peer = &f->hop,
	    .accepted = f->accepted,
	    .was_up = was_up,
	    .cause = WHY[why] ? WHY[why] : cause_text(cause),
	    .why = text,
	    .seconds = (double)tick_diff(now.mono, f->since) / 1e6,
	};

	if (was_up) {
		count_end(c, why, cause);
		log_ending(f->fs, &x, now);
	} else {
		count_failure(c, cause);
		log_failure(f->fs, &x,
			    hash_failure(f->fs, &f->hop, cause, text), now);
	}
}

void flow_log_no_handshake(struct flows *fs, const struct flow_event *e,
			   struct now now)
{
	struct ending x = {.level = LOG_WARN,
			   .peer = &e->peer,
			   .accepted = true,
			   .cause = cause_text(e->cause),
			   .why = e->text};

	count(fs->c.counters, CNT_FLOW_REFUSED_TLS);
	log_ending(fs, &x, now);
}

void flow_log_refused(struct flows *fs, const struct hop *peer, struct str why,
		      struct now now)
{
	uint64_t skipped = 0;

	if (!take_line(&fs->refused, now, &skipped))
		return;
	{
		struct log_field field[] = {
		    LOGF_ADDR("peer", &peer->addr),
		    LOGF_STR("transport", transport_text(peer)),
		    LOGF_ADDR("listener", listener_addr(fs, peer)),
		    LOGF_STR("why", why),
		    LOGF_INT("skipped", (int64_t)skipped),
		};
		struct log_event e = {LOG_WARN, "flow.refused", field,
				      ARRAY_LEN(field)};

		say(fs, &e);
	}
}
