#include "transport/resolver_note.h"

#include <assert.h>
#include "util/list.h"

enum {
	DOWN_AFTER = 2, /* questions in a row without an answer */
	BAD_PAUSE = 10  /* s; between two lines about bad answers */
};

_Static_assert(CNT_DNS_A_UNREACHABLE - CNT_DNS_A_CACHED == RESULT_UNREACHABLE,
	       "the counters of a type follow the order of enum result");

static const struct type {
	uint16_t type;
	enum counter first;
	const char *name;
} TYPES[] = {{DNS_A, CNT_DNS_A_CACHED, "A"},
	     {DNS_AAAA, CNT_DNS_AAAA_CACHED, "AAAA"},
	     {DNS_SRV, CNT_DNS_SRV_CACHED, "SRV"},
	     {DNS_NAPTR, CNT_DNS_NAPTR_CACHED, "NAPTR"}};

static const struct type *type_of(const struct query *q)
{
	size_t i = 0;

	while (i < ARRAY_LEN(TYPES) && TYPES[i].type != q->type)
		i++;
	assert(i < ARRAY_LEN(TYPES));
	return &TYPES[i];
}

static void say(struct resolver_note *n, const struct log_event *e)
{
	n->host->log(n->host->ctx, e);
}

/* Whoever asks for names in the Internet gets bad answers all the time. */
static void say_bad(struct resolver_note *n, const struct query *q,
		    const char *reason, struct now now)
{
	struct log_field f[] = {LOGF_STR("name", str_from(q->name)),
				LOGF_STR("type", str_from(type_of(q)->name)),
				LOGF_STR("reason", str_from(reason))};
	struct log_event e = {LOG_WARN, "dns.bad", f, ARRAY_LEN(f)};

	if (tick_before(now.mono, n->bad_at))
		return;
	n->bad_at = tick_add(now.mono, SECONDS(BAD_PAUSE));
	say(n, &e);
}

static void say_down(struct resolver_note *n, const struct query *q,
		     const char *reason)
{
	struct log_field f[] = {LOGF_STR("name", str_from(q->name)),
				LOGF_STR("type", str_from(type_of(q)->name)),
				LOGF_STR("reason", str_from(reason))};
	struct log_event e = {LOG_WARN, "dns.down", f, ARRAY_LEN(f)};

	say(n, &e);
}

static void say_up(struct resolver_note *n, struct now now)
{
	double seconds = (double)tick_diff(now.mono, n->down_since) / 1e6;
	struct log_field f[] = {LOGF_NUM("down", seconds)};
	struct log_event e = {LOG_INFO, "dns.up", f, ARRAY_LEN(f)};

	say(n, &e);
}

void note_init(struct resolver_note *n, const struct host *host,
	       struct counters *counters)
{
	*n = (struct resolver_note){.host = host,
				    .counters = counters,
				    .answered_at = {INT64_MIN},
				    .bad_at = {INT64_MIN}};
}

void note_count(struct resolver_note *n, const struct query *q,
		enum result result)
{
	count(n->counters, type_of(q)->first + (enum counter)result);
}

bool note_answered(struct resolver_note *n, struct now now)
{
	n->unanswered = 0;
	n->answered_at = now.mono;
	if (!n->down)
		return false;
	n->down = false;
	say_up(n, now);
	return true;
}

void note_read(struct resolver_note *n, const struct query *q,
	       const struct dns_answer *a, struct now now)
{
	static const struct {
		enum result result;
		const char *bad;
	} verdict[] = {[DNS_FOUND] = {RESULT_FOUND, NULL},
		       [DNS_NONE] = {RESULT_NONE, NULL},
		       [DNS_FAILED] = {RESULT_SERVFAIL, "servfail"},
		       [DNS_BAD] = {RESULT_MALFORMED, "malformed"}};

	note_count(n, q, verdict[a->verdict].result);
	if (verdict[a->verdict].bad)
		say_bad(n, q, verdict[a->verdict].bad, now);
	if (!a->dropped)
		return;
	n->counters->v[CNT_DNS_DROPPED] += a->dropped;
	say_bad(n, q, "too_many_records", now);
}

void note_unanswered(struct resolver_note *n, const struct query *q,
		     enum answer_status status, tick_t asked_at, struct now now)
{
	bool timeout = status == ANSWER_TIMEOUT;

	note_count(n, q, timeout ? RESULT_TIMEOUT : RESULT_UNREACHABLE);
	if (tick_before(asked_at, n->answered_at))
		return;
	n->unanswered++;
	if (n->down || n->unanswered < DOWN_AFTER)
		return;
	n->down = true;
	n->down_since = now.mono;
	say_down(n, q, timeout ? "timeout" : "unreachable");
}
