/*
 * A process that is stopped for a while (SIGSTOP): its kernel goes on. What
 * comes waits in the buffers of its sockets, timers that are due wait too, and
 * when it is told to go on it finds all that at once.
 */
#include "sim/sim_stream.h"

#include <assert.h>
#include <string.h>

static struct machine_node *node_of(const struct sim *s, unsigned id)
{
	assert(id > 0 && id <= s->nodes);
	return s->node[id - 1];
}

static void hold(struct sim *s, struct machine_node *n, struct ev *e)
{
	n->held =
	    sim_grow(s, n->held, n->n_held, &n->held_cap, sizeof(struct ev *));
	n->held[n->n_held++] = e;
}

/* An event as it was queued, and its node has to have it later. */
static struct ev *copy(struct sim *s, const struct ev *e)
{
	struct ev *c = sim_alloc(s, sizeof(*c));

	*c = *e;
	return c;
}

bool sim_pause_event(struct sim *s, unsigned id, struct ev *e)
{
	struct machine_node *n = node_of(s, id);

	if (!n->paused || e->boots != n->boots)
		return false;
	hold(s, n, copy(s, e));
	e->post = NULL; /* the copy has it */
	e->text = NULL;
	return true;
}

static bool has_room(struct machine_node *n, struct sim_worker *w, size_t bytes)
{
	if (bytes > n->buffer - w->waiting)
		return false;
	w->waiting += bytes;
	return true;
}

bool sim_pause_packet(struct sim *s, unsigned id, struct packet *p,
		      struct sim_worker *w, const struct hop *peer)
{
	struct machine_node *n = node_of(s, id);
	struct ev e = {.kind = EV_PACKET,
		       .came = s->now,
		       .packet = p,
		       .node = id,
		       .worker = w->worker,
		       .boots = n->boots,
		       .flow.peer = *peer};

	if (!n->paused)
		return sim_slow_event(s, id, &e);
	if (has_room(n, w, p->p.bytes.n))
		hold(s, n, copy(s, &e));
	else
		sim_trace_fate(s, p, SIM_FULL);
	return true;
}

/* What a connection brings: the bytes, or that it is up. `name` is the peer's,
 * borrowed. */
bool sim_pause_stream(struct sim *s, const struct end *e, bool is_up,
		      const char *name, struct str bytes)
{
	struct machine_node *n = node_of(s, e->node);
	struct ev *ev;

	if (!n->paused && !sim_is_slow(n, n->worker[e->worker]))
		return false;
	ev = sim_alloc(s, sizeof(*ev));
	ev->came = s->now;
	ev->kind = is_up ? EV_FLOW : EV_INPUT;
	ev->node = e->node;
	ev->worker = e->worker;
	ev->boots = n->boots;
	ev->flow = (struct flow_event){
	    .kind = FLOW_UP, .accepted = e == &e->conn->end[1], .peer = e->hop};
	ev->flow.peer.tls_name = NULL;
	if (name)
		bytes = str_from(name);
	ev->text = sim_alloc(s, bytes.n + 1);
	memcpy(ev->text, bytes.p ? bytes.p : "", bytes.n);
	ev->index = bytes.n;
	if (name)
		ev->flow.peer.tls_name = ev->text;
	if (n->paused) {
		hold(s, n, ev);
	} else {
		sim_slow_event(s, e->node, ev);
		mem_free(&s->mem, ev);
	}
	return true;
}

void sim_node_pause(struct sim *s, unsigned id, size_t buffer)
{
	struct machine_node *n = node_of(s, id);

	n->paused = true;
	n->buffer = buffer;
	for (unsigned i = 0; i < n->workers; i++)
		n->worker[i]->waiting = 0;
	sim_trace_mark(s, TRACE_PAUSE, id, buffer);
}

bool sim_node_paused(const struct sim *s, unsigned id)
{
	return node_of(s, id)->paused;
}

void sim_node_resume(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	if (!n->paused)
		return;
	n->paused = false;
	sim_trace_mark(s, TRACE_PAUSE, id, 0);
	for (size_t i = 0; i < n->n_held; i++)
		sim_queue_again(s, n->held[i]);
	n->n_held = 0;
	sim_slow_wake(s, id);
	sim_node_touched(s, id);
}

void sim_pause_end(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	sim_slow_forget(s, id);
	n->paused = false;
	for (size_t i = 0; i < n->n_held; i++) {
		if (n->held[i]->kind == EV_PACKET)
			sim_trace_fate(s, n->held[i]->packet, SIM_DEAD);
		sim_event_free(s, n->held[i]);
	}
	mem_free(&s->mem, n->held);
	n->held = NULL;
	n->n_held = n->held_cap = 0;
}
