/*
 * The verbs and facts of a response context, as the policy sees them.
 */
#include <string.h>
#include "proxy/context.h"

struct msg *request_msg(struct request *r)
{
	return &r->msg;
}

const struct msg_key *request_key(const struct request *r)
{
	return &r->key;
}

const struct hop *request_from(const struct request *r)
{
	return &r->from;
}

const struct member *request_source(const struct request *r)
{
	return r->source;
}

struct edits *request_edits(struct request *r)
{
	return &r->edits;
}

int64_t request_age(const struct request *r, struct now now)
{
	return tick_diff(now.mono, r->received);
}

tick_t request_received(const struct request *r)
{
	return r->received;
}

bool request_decided(const struct request *r)
{
	return r->decided;
}

const struct outcome *request_outcome(const struct request *r)
{
	return &r->outcome;
}

void *request_user(const struct request *r)
{
	return r->user;
}

void request_set_user(struct request *r, void *user)
{
	r->user = user;
}

enum request_kind request_kind(const struct request *r)
{
	return r->kind;
}

bool request_answered(const struct request *r)
{
	return r->verb || r->decided || r->dropped;
}

bool request_may_reach(const struct request *r, struct str text)
{
	const struct proxy_conf *c = &r->proxy->c;
	struct uri uri;

	if (r->source || settings_trusts(c->settings, &r->from.addr))
		return true;
	if (!scan_uri(text, &uri))
		return false;
	if (settings_serves(c->settings, uri_target(&uri)))
		return true;
	if (proxy_member_named(r->proxy, &uri))
		return true;
	count(c->counters, CNT_DENIED_URI);
	return false;
}

/* ":1.25", rounded. */
static void write_seconds(struct buf *out, int64_t us)
{
	uint64_t hundredths = us > 0 ? (uint64_t)(us + 5000) / 10000 : 0;

	buf_char(out, ':');
	buf_u64(out, hundredths / 100);
	buf_char(out, '.');
	buf_u64(out, hundredths / 10 % 10);
	buf_u64(out, hundredths % 10);
}

static void write_attempt(const struct attempt *a, struct buf *out)
{
	if (a->target.member)
		buf_put(out, str_from(a->target.member->name));
	else if (a->target.hop.addr.family != ADDR_NONE)
		addr_write(out, &a->target.hop.addr);
	else if (a->way)
		buf_put(out, a->way->host); /* not found */
	buf_char(out, ':');
	if (a->res)
		buf_u64(out, (uint64_t)a->res->code);
	else if (a->failed)
		buf_put(out, str_from(cause_text(a->cause)));
	else
		BUF_LIT(out, "-");
	write_seconds(out, a->took);
}

void request_write_tried(const struct request *r, struct buf *out)
{
	bool first = true;

	list_each (it, &r->attempts) {
		if (!first)
			buf_char(out, ',');
		first = false;
		write_attempt(container_of(it, struct attempt, link), out);
	}
}

/* It went where its dialog is, and nobody decided anything. */
static bool is_routine(const struct request *r)
{
	return r->follow ||
	       (r->kind == REQUEST_SHARED_DIALOG && r->n_tries < 2);
}

bool request_is_initial(const struct request *r)
{
	return r->key.to_tag.n == 0;
}

static void tell(struct request *r, struct log_event *e)
{
	struct proxy *p = r->proxy;

	if (p->c.on_end)
		p->c.on_end(p->c.on_end_ctx, r, e);
	p->c.host->log(p->c.host->ctx, e);
}

/* The trace of a request, for who watches. */
static void log_steps(struct request *r)
{
	struct proxy *p = r->proxy;
	struct buf text;

	if (!p->c.watched || atomic_load(p->c.watched) == 0 || !r->steps.n)
		return;
	buf_arena(&text, p->c.scratch, 512);
	steps_write((struct str){r->steps.p, r->steps.n}, &text);
	{
		struct log_field f[] = {LOGF_STR("method", r->msg.method),
					LOGF_STR("call_id", r->key.call_id),
					LOGF_STR("steps", buf_str(&text))};
		struct log_event e = {LOG_DEBUG, "request.why", f,
				      ARRAY_LEN(f)};

		tell(r, &e);
	}
}

/* One line per request; those of routine only for debugging. */
void request_log(struct request *r, struct now now)
{
	int64_t took = r->final_sent ? r->took : request_age(r, now);
	struct buf tried;

	if (r->logged)
		return; /* when the process was told to end */
	r->logged = true;
	buf_arena(&tried, r->proxy->c.scratch, 128);
	request_write_tried(r, &tried);
	{
		struct log_field f[] = {
		    LOGF_STR("method", r->msg.method),
		    LOGF_STR("call_id", r->key.call_id),
		    LOGF_ADDR("src", &r->from.addr),
		    LOGF_STR("tried", buf_str(&tried)),
		    LOGF_INT("code", r->code),
		    LOGF_NUM("total", (double)took / 1e6),
		    LOGF_STR("at", str_from(r->at)), /* the last: optional */
		};
		struct log_event e = {is_routine(r) ? LOG_DEBUG : LOG_INFO,
				      "request", f,
				      ARRAY_LEN(f) - (r->at[0] ? 0 : 1)};

		tell(r, &e);
	}
	log_steps(r);
}

int request_drop(struct request *r, struct str why, struct now now)
{
	struct log_field f[] = {LOGF_STR("method", r->msg.method),
				LOGF_STR("call_id", r->key.call_id),
				LOGF_ADDR("src", &r->from.addr),
				LOGF_STR("why", why)};
	struct log_event e = {LOG_INFO, "request.drop", f, ARRAY_LEN(f)};
	struct proxy *p = r->proxy;

	if (r->done || (r->verb && !r->decided))
		return ERR_STATE;
	if (r->decided) {
		count(p->c.counters, CNT_AFTER_DECIDED);
		return 0;
	}
	if (r->try_open)
		return ERR_STATE;
	r->verb = r->dropped = true;
	note_step(r, STEP_WITHHELD, now);
	trying_stop(r);
	count(p->c.counters, CNT_SCRIPT_DROP);
	p->c.host->log(p->c.host->ctx, &e);
	return 0;
}

bool request_goes_on(struct request *r, const struct member *m)
{
	struct str full = str_from(m->name), pool = str_cut(&full, '/');

	list_each (it, &r->attempts) {
		const struct attempt *a =
		    container_of(it, struct attempt, link);
		const struct member *other = a->target.member;

		if (r->went_on || a->open || !other || other == m ||
		    (a->res && a->res->code < 300))
			continue;
		if (member_is_of(other, pool))
			return r->went_on = true;
	}
	return false;
}

int request_try(struct request *r, const struct target *t, size_t n,
		const struct try_opts *opts, struct now now)
{
	if (n == 0 || n > PROXY_MAX_FORK)
		return ERR_LIMIT;
	if (r->done || r->try_open || r->outcome_ready ||
	    (r->verb && !r->decided))
		return ERR_STATE;
	if (!r->decided && r->n_tries + n > PROXY_MAX_ATTEMPTS)
		return ERR_LIMIT;
	r->group++;
	r->n_tries += (uint32_t)n;
	r->opts = *opts;
	r->try_open = true;
	memset(&r->outcome, 0, sizeof(r->outcome));
	if (r->decided) {
		outcome_set(r);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		launch(r, &t[i], i, n, now);
	if (r->n_open == 0)
		outcome_set(r);
	return 0;
}

void request_done(struct request *r, struct now now)
{
	(void)now;
	r->done = true;
	/* Spawned tasks may have left a try behind: its branches go on being
	 * counted, and end with it. */
	request_check_end(r);
}
