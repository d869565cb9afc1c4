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

static void say(struct flows *fs, enum log_level level, const char *key,
		const struct log_field *f, size_t n)
{
	struct log_event e = {level, key, f, n};

	fs->c.host->log(fs->c.host->ctx, &e);
}

void flow_log_up(struct flow *f, struct now now)
{
	struct flows *fs = f->fs;
	uint64_t skipped = 0;

	count(fs->c.counters,
	      f->accepted ? CNT_FLOW_ACCEPTED : CNT_FLOW_OPENED);
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

		say(fs, LOG_INFO, "flow.up", field, ARRAY_LEN(field));
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

static bool is_orderly(enum flow_why why, enum cause cause)
{
	return why == WHY_IDLE || why == WHY_STOPPED ||
	       (why == WHY_NETWORK && cause == CAUSE_CLOSED);
}

void flow_log_down(struct flow *f, enum flow_why why, enum cause cause,
		   struct str text, struct now now)
{
	struct flows *fs = f->fs;
	bool was_up = f->state == FLOW_OPEN;
	uint64_t skipped = 0;

	if (was_up)
		count_end(fs->c.counters, why, cause);
	else
		count_failure(fs->c.counters, cause);
	if (!take_line(&fs->down, now, &skipped))
		return;
	{
		const char *said = WHY[why] ? WHY[why] : cause_text(cause);
		struct log_field field[] = {
		    LOGF_ADDR("peer", &f->hop.addr),
		    LOGF_STR("transport", transport_text(&f->hop)),
		    LOGF_ADDR("listener", listener_addr(fs, &f->hop)),
		    LOGF_STR("direction", direction(f->accepted)),
		    LOGF_STR("cause", str_from(said)),
		    LOGF_STR("why", text.p ? text : STR("")),
		    LOGF_BOOL("was_up", was_up),
		    LOGF_NUM("seconds",
			     (double)tick_diff(now.mono, f->since) / 1e6),
		    LOGF_INT("skipped", (int64_t)skipped),
		};

		say(fs, is_orderly(why, cause) && was_up ? LOG_INFO : LOG_WARN,
		    "flow.down", field, ARRAY_LEN(field));
	}
}

void flow_log_no_handshake(struct flows *fs, const struct flow_event *e,
			   struct now now)
{
	uint64_t skipped = 0;

	count(fs->c.counters, CNT_FLOW_REFUSED_TLS);
	if (!take_line(&fs->down, now, &skipped))
		return;
	{
		struct log_field field[] = {
		    LOGF_ADDR("peer", &e->peer.addr),
		    LOGF_STR("transport", transport_text(&e->peer)),
		    LOGF_ADDR("listener", listener_addr(fs, &e->peer)),
		    LOGF_STR("direction", direction(true)),
		    LOGF_STR("cause", str_from(cause_text(e->cause))),
		    LOGF_STR("why", e->text.p ? e->text : STR("")),
		    LOGF_BOOL("was_up", false),
		    LOGF_NUM("seconds", 0),
		    LOGF_INT("skipped", (int64_t)skipped),
		};

		say(fs, LOG_WARN, "flow.down", field, ARRAY_LEN(field));
	}
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

		say(fs, LOG_WARN, "flow.refused", field, ARRAY_LEN(field));
	}
}
