/*
 * Answers nobody waits for any more (semantics 2): a 2xx from a server that was
 * given up, after the response context is gone or after our own final.
 */
#include "proxy/context.h"

/* Up as it is, without our Via: the caller may still be there. */
static void forward_up(struct proxy *p, struct client *c, struct msg *m,
		       const struct msg_key *key, struct now now)
{
	struct edits e;
	struct buf b;

	edits_init(&e, m, p->c.scratch);
	edit_pop_value(&e, HDR_VIA);
	buf_arena(&b, p->c.scratch, m->raw.n);
	if (forward_put(p, &e, &c->up->from, &b) != 0) {
		count(p->c.counters, CNT_NOMEM);
		return; /* the server repeats it */
	}
	server_respond(c->up, buf_str(&b), m->status, now);
	calls_on_2xx(&p->calls, c->peer, c->cost, m, key, now);
	shared_on_2xx(p, c->peer, false, key, now);
}

/* ACKs it and ends the call, as its caller would. */
static void ack_and_bye(struct proxy *p, struct client *c, struct msg *m,
			struct now now)
{
	struct dialog d;

	/* a request of our own recorded no route: all of it is the server's */
	if (!dialog_from_2xx(p, m, &c->hop, c->up != NULL, &d, now))
		return;
	dialog_send_ack(p, &d, now);
	if (!dialog_send_bye(p, &d, now))
		return;
	count(p->c.counters, CNT_LATE_2XX_BYE);
	note_late_alone(p, c, m, true, now);
}

void late_on_response(struct proxy *p, struct client *c, struct msg *m,
		      const struct msg_key *key, struct now now)
{
	struct server *up = c->up;
	bool call_is_up = up && up->code >= 200 && up->code < 300;

	if (call_is_up) {
		/* the same again, or a fork below */
		forward_up(p, c, m, key, now);
		return;
	}
	if (up && up->code >= 300 &&
	    p->c.settings->late_answer == LATE_FORWARD) {
		count(p->c.counters, CNT_LATE_2XX_FORWARD);
		note_late_alone(p, c, m, false, now);
		forward_up(p, c, m, key, now);
		return;
	}
	/* No final of ours went out, because the address was elsewhere. With it
	 * the caller is ours again; without, who has it passes this on. */
	if (up && up->yielded) {
		if (!forward_has_source(p, &up->from))
			count(p->c.counters, CNT_NO_SOURCE);
		else if (!orphan_overtake(p, c, m, now))
			forward_up(p, c, m, key, now);
		return;
	}
	/* Our final went out, the request was dropped, or it was a request of
	 * our own: end the call, or the server keeps a ghost. */
	ack_and_bye(p, c, m, now);
}
