/*
 * Response processing, RFC 3261 16.7: what is kept, what goes up at once, and
 * which final is best.
 */
#include <string.h>
#include "message/field.h"
#include "proxy/context.h"

/* A copy of a response in the context's arena, without our Via (16.7 steps 3
 * and 4). */
struct response *response_keep(struct request *r, struct attempt *a,
			       struct msg *m)
{
	struct response *res = arena_zalloc(r->arena, sizeof(*res));

	if (!res || !msg_copy(&res->msg, m, r->arena))
		return NULL;
	res->code = m->status;
	res->member = a->target.member;
	res->addr = a->target.hop.addr;
	res->attempt = a->number;
	edits_init(&res->edits, &res->msg, r->arena);
	/* 16.7 step 3: remove the topmost Via */
	if (edit_pop_value(&res->edits, HDR_VIA) != 0)
		return NULL;
	return res;
}

/* A final of our own making that a policy handles like a real one. */
struct response *response_local(struct request *r, struct attempt *a, int code,
				struct str reason)
{
	struct response *res = arena_zalloc(r->arena, sizeof(*res));
	char tag[TAG_LEN];
	struct reply reply = {.code = code, .reason = reason, .via = r->via};
	struct buf b;

	branch_to_tag(tag, r->sign, &r->up);
	reply.to_tag = (struct str){tag, TAG_LEN};
	buf_arena(&b, r->arena, 512);
	if (!res || reply_write(&r->msg, &reply, &b) != 0 ||
	    msg_index(&res->msg, r->arena, buf_str(&b)) != MSG_OK)
		return NULL;
	res->code = code;
	res->local = true;
	res->member = a->target.member;
	res->addr = a->target.hop.addr;
	res->attempt = a->number;
	edits_init(&res->edits, &res->msg, r->arena);
	return res;
}

static bool has_given_up(const struct request *r, struct now now)
{
	return r->msg.method_id != METHOD_INVITE &&
	       request_age(r, now) >= 64 * r->proxy->c.settings->times.t1;
}

/* RFC 4320 4.2, 4.3: no 408 to a non-INVITE, and nothing once its caller has
 * given up. */
static bool comes_too_late(const struct request *r, int code, struct now now)
{
	return code >= 200 &&
	       ((r->msg.method_id != METHOD_INVITE && code == 408) ||
		has_given_up(r, now));
}

static bool is_away(const struct request *r)
{
	const struct hop *from = &r->server->from;

	return from->transport == TRANSPORT_UDP &&
	       !forward_has_source(r->proxy, from);
}

/* The address that it would come from is not here. Who has it now is asked
 * again by the caller, and by what the servers answer, and decides; a refusal
 * of our own, repeated until the address is back, would end that call. That of
 * a server stands. */
static bool has_no_say(const struct request *r, int code)
{
	return code >= 300 && (r->ceded || is_away(r));
}

void response_cede(struct request *r)
{
	r->ceded = r->ceded || is_away(r);
}

void response_withhold(struct request *r, enum counter why, struct now now)
{
	r->dropped = true;
	/* Its caller repeats it until it gives up, and is not to have it
	 * decided again. What another node has to say is not ours to keep. */
	if (!r->server->invite && !r->server->yielded && !has_given_up(r, now))
		server_withhold(r->server, now);
	note_step(r, STEP_WITHHELD, now);
	count(r->proxy->c.counters, why);
	calls_on_final(&r->proxy->calls, &r->key, r->msg.method_id, 0, now);
}

/* To the caller, by its server transaction (16.7 step 9). */
static void send_up(struct request *r, struct str bytes, int code,
		    struct now now)
{
	struct histogram *hist = r->proxy->c.counters->hist;
	bool invite = r->msg.method_id == METHOD_INVITE;

	if (code >= 200) {
		trying_stop(r);
		cancel_stop(r);
		timer_stop(r->proxy->c.timers, &r->owe);
	}
	if (comes_too_late(r, code, now)) {
		response_withhold(r, CNT_NONINVITE_TIMEOUT, now);
		return;
	}
	/* What a caller hears first that is not our own 100. */
	if (code > 100 && !r->spoke)
		histogram_add(
		    &hist[invite ? HIST_DELAY_INVITE : HIST_DELAY_OTHER],
		    request_age(r, now));
	r->spoke = r->spoke || code > 100;
	if (code >= 200) {
		calls_on_final(&r->proxy->calls, &r->key, r->msg.method_id,
			       code, now);
		if (!r->final_sent) {
			r->took = request_age(r, now);
			histogram_add(&hist[invite ? HIST_REQUEST_INVITE
						   : HIST_REQUEST_OTHER],
				      r->took);
		}
		r->final_sent = true;
		r->code = code;
	}
	note_reply(r, code, now);
	/* Without memory it was sent, and is only not repeated. */
	if (server_respond(r->server, bytes, code, now) == ERR_NOMEM)
		count(r->proxy->c.counters, CNT_NOMEM);
}

/* True: then nothing of ours is sent. */
static bool yields(struct request *r, int code, struct now now)
{
	if (!has_no_say(r, code))
		return false;
	r->server->yielded = true;
	trying_stop(r);
	cancel_stop(r);
	timer_stop(r->proxy->c.timers, &r->owe);
	response_withhold(r, CNT_NO_SOURCE, now);
	return true;
}

static void send_own(struct request *r, struct str bytes, int code,
		     struct now now)
{
	if (!yields(r, code, now))
		send_up(r, bytes, code, now);
}

int response_send(struct request *r, struct msg *m, struct edits *e, int code,
		  struct now now)
{
	struct buf b;
	int err;

	buf_arena(&b, r->proxy->c.scratch, m->raw.n + 64);
	err = forward_put(r->proxy, e, &r->server->from, &b);
	if (err)
		count(r->proxy->c.counters, CNT_NOMEM);
	else
		send_up(r, buf_str(&b), code, now);
	return err;
}

void response_watch(struct request *r, struct attempt *a, struct response *res,
		    struct now now)
{
	const struct policy *policy = r->policy;

	if (a->opts.watch && policy && policy->on_response)
		policy->on_response(policy->ctx, r, res, now);
}

/* More than our Via was changed. */
static bool was_edited(const struct response *res)
{
	return res->edits.n > 1 || res->edits.has_body || res->edits.status ||
	       res->edits.reason.p;
}

/* It went up: a call begins, or is refreshed. */
static void track(struct request *r, struct attempt *a, struct msg *m,
		  const struct msg_key *key, struct now now)
{
	if (r->msg.method_id == METHOD_INVITE)
		shared_on_2xx(r->proxy, a->target.member, a->target.for_sibling,
			      key, now);
	if (r->msg.method_id == METHOD_INVITE ||
	    r->msg.method_id == METHOD_UPDATE)
		calls_on_2xx(&r->proxy->calls, attempt_call_member(a),
			     a->target.units, m, key, now);
}

static bool has_2xx(const struct attempt *a)
{
	return a->res && a->res->code / 100 == 2;
}

/* A 2xx that nobody waits for: our own final went out, or it was dropped. */
static bool is_unwanted(const struct request *r)
{
	if (r->dropped)
		return true;
	return r->final_sent && r->server->code >= 300 &&
	       r->proxy->c.settings->late_answer == LATE_BYE;
}

/*
 * 16.7 step 5 with semantics 1 and 2: a 2xx to INVITE goes up at once, from
 * whichever branch and however often, and decides the request. For other
 * methods only the first final counts.
 */
void response_on_2xx(struct request *r, struct attempt *a, struct client *c,
		     struct msg *m, const struct msg_key *key, struct now now)
{
	struct proxy *p = r->proxy;
	bool late = !a->open && !has_2xx(a);
	struct response *res;

	if (is_unwanted(r)) {
		attempt_end(a, false, STR_NONE, now);
		if (r->msg.method_id == METHOD_INVITE)
			late_on_response(p, c, m, key, now);
		else
			count(p->c.counters, CNT_LATE_FINAL);
		return;
	}
	if (has_2xx(a) && str_eq(a->res->msg.raw, m->raw)) {
		/* the same again: as the policy saw it the first time */
		response_send(r, &a->res->msg, &a->res->edits, a->res->code,
			      now);
		track(r, a, m, key, now);
		return;
	}
	res = response_keep(r, a, m);
	if (!res) {
		count(p->c.counters, CNT_NOMEM);
		attempt_await_repeat(a, now);
		return;
	}
	if (late || r->answer)
		note_late(r, a->target.member, now);
	else
		note_answer(a, res, now);
	response_watch(r, a, res, now);
	if (response_send(r, &res->msg, &res->edits, res->code, now) != 0) {
		attempt_await_repeat(a, now);
		return;
	}
	if (late)
		count(p->c.counters, CNT_LATE_2XX_FORWARD);
	r->held = r->msg.method_id == METHOD_INVITE && was_edited(res);
	res->sent_up = true;
	a->res = res;
	/* Before the attempt ends: it is counted as one or the other. */
	track(r, a, m, key, now);
	attempt_end(a, false, STR_NONE, now);
	if (r->decided && !r->cancelled)
		return; /* a second 2xx */
	r->decided = true;
	r->answer = res;
	attempts_cancel_others(r, a, now);
}

/* 16.7 step 6: 6xx, then the lowest class; within 4xx those that let the
 * caller mend the request; what we made up ourselves comes last. An unknown
 * code is as good as its class (8.1.3.2). */
static int rank(const struct response *res)
{
	static const int mending[] = {401, 407, 415, 420, 484};
	int code = res->code, base = code >= 600 ? 0 : code / 100 * 1000;

	if (res->local)
		return 100000 + base + code % 100;
	for (size_t i = 0; i < ARRAY_LEN(mending); i++)
		if (code == mending[i])
			return base + (int)i;
	/* 503 last of its class: it says least about the request */
	return base + 100 + (code == 503 ? 500 : code % 100);
}

struct response *response_better(struct response *a, struct response *b)
{
	if (!a || !b)
		return a ? a : b;
	return rank(b) < rank(a) ? b : a;
}

/* 16.7 step 7: the challenges of all branches go up together. */
static void merge_challenges(struct request *r, struct response *best)
{
	static const enum hdr_id ids[] = {HDR_WWW_AUTHENTICATE,
					  HDR_PROXY_AUTHENTICATE};

	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		if (a->group != r->group || !a->res || a->res == best ||
		    a->res->local ||
		    (a->res->code != 401 && a->res->code != 407))
			continue;
		for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
			const struct hdr *f = msg_first(&a->res->msg, ids[i]);

			for (; f; f = msg_next(&a->res->msg, f)) {
				struct str v =
				    msg_hdr_unfolded(&a->res->msg, f);

				if (v.p)
					edit_add(&best->edits, hdr_name(ids[i]),
						 v);
			}
		}
	}
}

struct response *response_best(struct request *r)
{
	struct response *best = NULL;

	list_each (it, &r->attempts) {
		struct attempt *a = container_of(it, struct attempt, link);

		if (a->group == r->group && a->res)
			best = response_better(best, a->res);
	}
	if (best && (best->code == 401 || best->code == 407))
		merge_challenges(r, best);
	return best;
}

int request_forward(struct request *r, struct response *res, bool keep_503,
		    struct now now)
{
	int code, err;

	if (r->done || (r->verb && !r->decided))
		return ERR_STATE;
	if (res->sent_up) {
		r->verb = true;
		return 0;
	}
	if (r->decided) {
		count(r->proxy->c.counters, CNT_AFTER_DECIDED);
		return 0;
	}
	if (res->code < 200 || r->try_open)
		return ERR_STATE;
	code = res->edits.status ? res->edits.status : res->code;
	/* 16.7 step 6: a 503 says that this proxy can serve nobody, which is
	 * the policy's to claim (keep_503), not a server's. */
	if (code == 503 && !keep_503) {
		code = 500;
		edit_status(&res->edits, code, reply_phrase(code));
		edit_remove(&res->edits, STR("Retry-After"));
	}
	err = res->local && yields(r, code, now)
		  ? 0
		  : response_send(r, &res->msg, &res->edits, code, now);
	if (err)
		return err; /* the policy may still answer */
	r->verb = true;
	res->sent_up = true;
	return 0;
}

static int write_own(struct request *r, const struct reply *reply,
		     char tag[TAG_LEN], struct buf *b)
{
	struct reply full = *reply;

	branch_to_tag(tag, r->sign, &r->up);
	full.to_tag = (struct str){tag, TAG_LEN};
	full.via = r->via;
	buf_arena(b, r->proxy->c.scratch, 512);
	return reply_write(&r->msg, &full, b);
}

static void on_owe(struct timer *t, struct now now)
{
	struct request *r = container_of(t, struct request, owe);

	response_owe(r, r->owed, now);
}

void response_owe(struct request *r, int code, struct now now)
{
	struct proxy *p = r->proxy;
	struct reply reply = {.code = code};
	char tag[TAG_LEN];
	struct buf b;

	r->owed = code;
	if (write_own(r, &reply, tag, &b) != 0) {
		count(p->c.counters, CNT_NOMEM);
		timer_init(&r->owe, on_owe);
		timer_arm(p->c.timers, &r->owe,
			  tick_add(now.mono, p->c.settings->times.t1));
		return;
	}
	r->owed = 0;
	r->verb = true;
	send_own(r, buf_str(&b), code, now);
	request_check_end(r);
}

/* RFC 3261 8.2.6.1, RFC 4320 4.1, 4.2: to a non-INVITE no provisional but 100,
 * and no 408. */
static bool may_reply(const struct request *r, int code)
{
	if (r->msg.method_id == METHOD_INVITE)
		return true;
	return code != 408 && (code == 100 || code >= 200);
}

int request_reply(struct request *r, const struct reply *reply, struct now now)
{
	char tag[TAG_LEN];
	struct buf b;
	int err;

	if (r->done || (r->verb && !r->decided))
		return ERR_STATE;
	if (r->decided) {
		count(r->proxy->c.counters, CNT_AFTER_DECIDED);
		return 0;
	}
	if (r->try_open && reply->code >= 200)
		return ERR_STATE;
	if (!may_reply(r, reply->code))
		return ERR_STATE;
	err = write_own(r, reply, tag, &b);
	if (err)
		return err;
	/* Of a non-INVITE the proxy says 100 itself when it may (trying.c). */
	if (reply->code == 100 && r->msg.method_id != METHOD_INVITE)
		return 0;
	r->verb = r->verb || reply->code >= 200;
	r->decided =
	    reply->code / 100 == 2 && r->msg.method_id == METHOD_INVITE;
	send_own(r, buf_str(&b), reply->code, now);
	if (r->decided)
		answered_keep(r, buf_str(&b), tag, now);
	return 0;
}
