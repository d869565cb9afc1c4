#include "host/worker_int.h"

#include <assert.h>

/*
 * What workers send each other: collected during a batch, handed over at its
 * end, delivered like what comes from the network.
 */

enum {
	/* Before sockets, timers and whoever asks get their turn: as much as a
	 * socket gives in one. */
	PARCELS = 4,
};

void worker_post(struct worker *w, unsigned to, const struct post *msg)
{
	if (!outbox_put(&w->outbox, to, &w->conf.peers[to]->mailbox, msg))
		w->lost++;
}

void worker_send_mail(struct worker *w)
{
	for (unsigned i = 0; i < w->outbox.n; i++) {
		struct worker *to = w->conf.peers[i];

		if (!outbox_send(&w->outbox, i, &to->mailbox))
			continue;
		count(core_counters(w->core), CNT_WAKE);
		ev_async_send(to->loop, &to->async);
	}
}

/* Another worker's socket was told what the network says about a request of
 * this one. */
static void on_refusal(struct worker *w, const struct post *post)
{
	const struct hop *to = &post->from;
	struct refusal why = {&to->addr, (enum cause)post->cause, post->bytes};

	assert(to->listener < w->ports);
	if (to->transport == TRANSPORT_UDP)
		udp_refused(&w->port[to->listener].udp, &why);
}

static void deliver(struct worker *w, const struct parcel *p, bool sends_only)
{
	const struct post *post;
	size_t at = 0;
	int n = 0;

	while ((post = parcel_next(p, &at)) != NULL) {
		if (sends_only && post->kind != POST_SEND)
			continue;
		upkeep_after_pause(w);
		if (post->kind == POST_FLOW)
			on_refusal(w, post);
		core_post(w->core, worker_now(w), post);
		if (++n % UDP_BATCH == 0)
			worker_settle(w);
	}
}

static void deliver_all_kinds(void *ctx, const struct parcel *p)
{
	deliver(ctx, p, false);
}

static void deliver_sends(void *ctx, const struct parcel *p)
{
	deliver(ctx, p, true);
}

void worker_deliver_mail(struct worker *w)
{
	bool more =
	    mailbox_some(&w->mailbox, &w->mail, PARCELS, deliver_all_kinds, w);

	worker_settle(w);
	if (more || !mailbox_sleep(&w->mailbox))
		ev_async_send(w->loop, &w->async);
}

void worker_deliver_answers(struct worker *w)
{
	while (mailbox_some(&w->mailbox, &w->mail, PARCELS, deliver_sends, w))
		;
	worker_settle(w);
}
