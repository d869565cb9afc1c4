/*
 * A process whose work takes time: each message that it is given, each that it
 * sends and each request that its script is given costs so much of its worker,
 * and meanwhile what comes waits, in the order in which it came. A socket that
 * is full loses what comes then. Timers that are due wait, too.
 */
#include "sim/sim_stream.h"

#include <assert.h>

static struct machine_node *node_of(const struct sim *s, unsigned id)
{
	assert(id > 0 && id <= s->nodes);
	return s->node[id - 1];
}

bool sim_is_slow(const struct machine_node *n, const struct sim_worker *w)
{
	return n->cost.receive || n->cost.send || n->cost.request || w->todo;
}

static void wake(struct sim *s, unsigned id, struct sim_worker *w)
{
	struct ev *e;

	if (w->woken || !w->todo)
		return;
	e = sim_queue(s, EV_WORK, w->busy);
	e->node = id;
	e->worker = w->worker;
	e->boots = node_of(s, id)->boots;
	w->woken = true;
}

static bool has_room(struct machine_node *n, struct sim_worker *w,
		     const struct ev *e)
{
	size_t bytes = e->kind == EV_PACKET ? e->packet->p.bytes.n : 0;

	if (bytes > n->cost.buffer - w->waiting)
		return false;
	w->waiting += bytes;
	return true;
}

bool sim_slow_event(struct sim *s, unsigned id, const struct ev *e)
{
	struct machine_node *n = node_of(s, id);
	struct sim_worker *w = n->worker[e->worker];
	struct ev *own;

	if (!sim_is_slow(n, w))
		return false;
	if (!has_room(n, w, e)) {
		sim_trace_fate(s, e->packet, SIM_FULL);
		return true;
	}
	own = sim_alloc(s, sizeof(*own));
	*own = *e;
	own->next = NULL;
	if (!own->came)
		own->came = s->now;
	if (w->todo)
		w->todo_last->next = own;
	else
		w->todo = own;
	w->todo_last = own;
	wake(s, id, w);
	return true;
}

static struct ev *take(struct sim_worker *w)
{
	struct ev *e = w->todo;

	w->todo = e->next;
	if (e->kind == EV_PACKET)
		w->waiting -= e->packet->p.bytes.n;
	return e;
}

void sim_slow_work(struct sim *s, const struct ev *work)
{
	struct machine_node *n = node_of(s, work->node);
	struct sim_worker *w;
	struct ev *e;

	if (n->boots != work->boots || work->worker >= n->workers)
		return;
	w = n->worker[work->worker];
	w->woken = false;
	if (n->paused || !w->todo)
		return;         /* sim_slow_wake comes */
	if (w->busy > s->now) { /* by timers meanwhile */
		wake(s, work->node, w);
		return;
	}
	e = take(w);
	sim_node_handle(s, e);
	sim_event_free(s, e);
	wake(s, work->node, w);
}

void sim_slow_wake(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	for (unsigned i = 0; i < n->workers; i++)
		wake(s, id, n->worker[i]);
}

void sim_slow_begin(struct sim_worker *w)
{
	struct core_stats stats;

	core_stats(w->core, &stats);
	w->begun = stats.begun;
	w->sends = 0;
}

void sim_slow_end(struct sim_worker *w, bool input)
{
	struct sim *s = w->sim;
	const struct sim_cost *c = &node_of(s, w->node)->cost;
	struct core_stats stats;

	core_stats(w->core, &stats);
	if (w->busy < s->now)
		w->busy = s->now;
	w->busy += (input ? c->receive : 0) + (int64_t)w->sends * c->send +
		   (int64_t)(stats.begun - w->begun) * c->request;
}

void sim_node_slow(struct sim *s, unsigned id, const struct sim_cost *cost)
{
	node_of(s, id)->cost = *cost;
}

void sim_slow_forget(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	for (unsigned i = 0; i < n->workers; i++) {
		struct sim_worker *w = n->worker[i];

		while (w->todo) {
			struct ev *e = take(w);

			if (e->kind == EV_PACKET)
				sim_trace_fate(s, e->packet, SIM_DEAD);
			sim_event_free(s, e);
		}
		w->busy = 0;
		w->waiting = 0;
		w->woken = false;
	}
}
