/*
 * What is noted of a request while it is handled, and what becomes of that when
 * it has ended (steps.h, why.h).
 */
#include <string.h>
#include "proxy/context.h"

/* ---- while it is open ---- */

static struct str kind_word(enum request_kind kind)
{
	switch (kind) {
	case REQUEST_INITIAL:
		return STR("initial");
	case REQUEST_IN_DIALOG:
		return STR("in_dialog");
	case REQUEST_FROM_SERVER:
		return STR("from_server");
	case REQUEST_SHARED_DIALOG:
		return STR("shared_dialog");
	}
	return STR("");
}

static struct str name_of(const struct member *m)
{
	return m ? str_from(m->name) : STR("");
}

static void put_received(struct steps *s, const struct msg *m,
			 const struct msg_key *key, const struct hop *from,
			 struct str kind, const struct member *source,
			 tick_t now)
{
	if (!steps_add(s, STEP_RECEIVED, now))
		return;
	steps_str(s, m->method);
	steps_str(s, m->uri);
	steps_str(s, key->from_uri);
	steps_str(s, kind);
	steps_str(s, name_of(source));
	steps_peer(s, from);
	steps_local(s, from);
}

void note_received(struct request *r)
{
	struct proxy *p = r->proxy;

	if (p->c.settings->why_memory == 0)
		return;
	steps_init(&r->steps, p->c.mem, r->received);
	put_received(&r->steps, &r->msg, &r->key, &r->from, kind_word(r->kind),
		     r->source, r->received);
}

void note_attempt(struct attempt *a, struct now now)
{
	struct steps *s = &a->req->steps;

	if (!steps_add(s, STEP_ATTEMPT, now.mono))
		return;
	steps_int(s, a->number);
	steps_int(s, a->group);
	steps_str(s, name_of(a->target.member));
	steps_str(s, a->target.member ? STR("") : a->target.next);
	steps_peer(s, &a->target.hop);
}

void note_provisional(struct attempt *a, int code, struct now now)
{
	struct steps *s = &a->req->steps;

	if (!steps_add(s, STEP_PROVISIONAL, now.mono))
		return;
	steps_int(s, a->number);
	steps_int(s, code);
}

void note_answer(struct attempt *a, const struct response *res, struct now now)
{
	struct steps *s = &a->req->steps;

	if (a->noted)
		return;
	a->noted = true;
	if (!steps_add(s, STEP_ANSWER, now.mono))
		return;
	steps_int(s, a->number);
	steps_int(s, res->code);
	steps_int(s, res->local);
}

void note_end(struct attempt *a, struct now now)
{
	struct steps *s = &a->req->steps;

	if (a->res) {
		note_answer(a, a->res, now);
		return;
	}
	a->req->trouble = a->req->trouble || a->failed;
	if (a->noted ||
	    !steps_add(s, a->failed ? STEP_FAILED : STEP_ABANDONED, now.mono))
		return;
	a->noted = true;
	steps_int(s, a->number);
	if (a->failed)
		steps_str(s, str_from(cause_text(a->cause)));
}

void note_cancelling(struct attempt *a, struct now now)
{
	if (steps_add(&a->req->steps, STEP_CANCELLING, now.mono))
		steps_int(&a->req->steps, a->number);
}

void note_step(struct request *r, enum step what, struct now now)
{
	steps_add(&r->steps, what, now.mono);
}

void note_reply(struct request *r, int code, struct now now)
{
	if (code == r->said)
		return; /* once more: a 2xx, or ringing */
	r->said = code;
	if (steps_add(&r->steps, STEP_REPLY, now.mono))
		steps_int(&r->steps, code);
}

static void put_late(struct steps *s, const struct member *m, struct str what,
		     struct now now)
{
	if (!steps_add(s, STEP_LATE, now.mono))
		return;
	steps_str(s, name_of(m));
	steps_str(s, what);
}

void note_late(struct request *r, const struct member *m, struct now now)
{
	put_late(&r->steps, m, STR("forwarded"), now);
}

/* ---- what the policy says ---- */

struct steps *request_steps(struct request *r)
{
	return r->steps.mem ? &r->steps : NULL;
}

void request_by(struct request *r, struct str verb, struct str where,
		struct now now)
{
	static const struct str dots = STR("...");
	size_t n = where.n, most = sizeof(r->at) - 1;

	/* What tells files apart is at their end. */
	if (n > most) {
		memcpy(r->at, dots.p, dots.n);
		where = str_sub(where, n - (most - dots.n), n);
		memcpy(r->at + dots.n, where.p, where.n);
		n = most;
	} else if (n) {
		memcpy(r->at, where.p, n);
	}
	r->at[n] = '\0';
	if (!steps_add(&r->steps, STEP_VERB, now.mono))
		return;
	steps_str(&r->steps, verb);
	steps_str(&r->steps, str_from(r->at));
}

void request_failed(struct request *r, struct str message, struct now now)
{
	r->trouble = r->script_failed = true;
	if (steps_add(&r->steps, STEP_ERROR, now.mono))
		steps_str(&r->steps, message);
}

/* ---- when it has ended ---- */

static struct why_record record_of(const struct request *r, struct now now)
{
	struct why_record w = {
	    .began = r->wall,
	    .took = r->final_sent ? r->took : request_age(r, now),
	    .code = r->code,
	    .failed = r->script_failed || r->dropped || why_is_failure(r->code),
	    .cut = r->steps.cut,
	    .call_id = r->key.call_id,
	    .steps = {r->steps.p, r->steps.n}};

	w.class = w.failed || r->trouble ? WHY_TROUBLE : WHY_GOOD;
	return w;
}

static void keep(struct proxy *p, const struct why_record *w)
{
	if (!why_keep(&p->why, p->c.settings->why_memory, w))
		count(p->c.counters, CNT_WHY_LOST);
}

void note_done(struct request *r, struct now now)
{
	struct why_record w = record_of(r, now);

	if (!r->steps.mem)
		return;
	if (w.steps.n)
		keep(r->proxy, &w);
	else
		count(r->proxy->c.counters, CNT_WHY_LOST);
}

/* One without a response context: a step or two, from the stack. */
static void keep_short(struct proxy *p, struct steps *s, struct str call_id,
		       int code, enum why_class class, struct now now)
{
	struct why_record w = {.began = now.wall,
			       .code = code,
			       .class = class,
			       .failed = true,
			       .cut = s->cut,
			       .call_id = call_id,
			       .steps = {s->p, s->n}};

	keep(p, &w);
	steps_fini(s);
}

/* A message that is not valid has no key, but mostly a Call-ID. */
static struct str call_id_of(const struct msg *m, const struct msg_key *key)
{
	const struct hdr *h = msg_first(m, HDR_CALL_ID);

	if (key->call_id.n || !h)
		return key->call_id;
	return msg_hdr_value(m, h);
}

void note_refused(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from, int code,
		  struct str reason, struct now now)
{
	struct str call_id = call_id_of(m, key);
	struct steps s;

	if (p->c.settings->why_memory == 0 || !call_id.n)
		return;
	steps_init(&s, p->c.mem, now.mono);
	put_received(&s, m, key, from, STR(""), proxy_member_at(p, &from->addr),
		     now.mono);
	if (steps_add(&s, STEP_REFUSED, now.mono)) {
		steps_int(&s, code);
		steps_str(&s, reason);
	}
	keep_short(p, &s, call_id, code, WHY_REFUSED, now);
}

void note_late_alone(struct proxy *p, const struct client *c,
		     const struct msg *m, bool ended, struct now now)
{
	struct request *r = c->up ? request_of(c->up) : NULL;
	struct str what = ended ? STR("ended") : STR("forwarded");
	const struct hdr *f = msg_first(m, HDR_CALL_ID);
	struct steps s;

	if (p->c.settings->why_memory == 0 || !c->up || !f)
		return;
	if (r && r->steps.mem) {
		r->trouble = true;
		put_late(&r->steps, c->peer, what, now);
		return;
	}
	steps_init(&s, p->c.mem, now.mono);
	put_late(&s, c->peer, what, now);
	keep_short(p, &s, msg_hdr_value(m, f), m->status, WHY_TROUBLE, now);
}

void note_takeover(struct proxy *p, struct str call_id, int code,
		   const struct member *m, struct now now)
{
	struct steps s;

	if (p->c.settings->why_memory == 0)
		return;
	steps_init(&s, p->c.mem, now.mono);
	if (steps_add(&s, STEP_TAKEOVER, now.mono)) {
		steps_int(&s, code);
		steps_str(&s, name_of(m));
	}
	keep_short(p, &s, call_id, code, WHY_TROUBLE, now);
}

/* ---- for who asks ---- */

size_t proxy_why(struct proxy *p, struct str call_id, bool failed,
		 struct why_record *out, size_t max, struct now now)
{
	size_t n = why_find(&p->why, call_id, failed, out, max);
	uint64_t serial = p->why.serial;

	list_each (it, &p->requests) {
		struct request *r = container_of(it, struct request, link);
		struct why_record w = record_of(r, now);

		w.open = true;
		w.failed = r->script_failed;
		w.serial = ++serial;
		if ((!failed || w.failed) && r->steps.n &&
		    (!call_id.p || why_is_of(&w, call_id)))
			n = why_add(out, n, max, &w);
	}
	return n;
}

bool proxy_each_request(struct proxy *p,
			bool (*fn)(void *ctx, struct request *r), void *ctx)
{
	list_each (it, &p->requests)
		if (!fn(ctx, container_of(it, struct request, link)))
			return false;
	return true;
}

const char *request_state(const struct request *r)
{
	bool ringing = false;

	list_each (it, &r->attempts) {
		const struct attempt *a =
		    container_of(it, const struct attempt, link);

		ringing = ringing || (a->open && a->ringing);
	}
	if (r->final_sent || r->dropped)
		return "answered";
	if (r->cancelled)
		return "cancelled";
	return ringing ? "ringing" : r->n_open ? "trying" : "deciding";
}
