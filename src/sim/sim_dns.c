/*
 * DNS of the simulated world: questions of nodes go to whoever drives it
 * (SIM_QUERY), which answers as a server would, or not; what is not answered
 * ends as it does with the host of production.
 */
#include "sim/sim_int.h"

#include <assert.h>
#include <string.h>

struct question {
	struct query *q; /* NULL: it was taken back */
	unsigned node, worker, boots;
	char name[DNS_NAME];
	uint16_t type;
};

void sim_ask(struct sim_worker *w, struct query *q)
{
	struct sim *s = w->sim;
	struct question *qn = sim_alloc(s, sizeof(*qn));

	*qn = (struct question){.q = q,
				.node = w->node,
				.worker = w->worker,
				.boots = s->node[w->node - 1]->boots,
				.type = q->type};
	strncat(qn->name, q->name, sizeof(qn->name) - 1);
	s->question = sim_grow(s, s->question, s->questions, &s->question_cap,
			       sizeof(struct question *));
	s->question[s->questions++] = qn;
	q->host = qn;
	sim_queue(s, EV_QUERY, s->now)->index = s->questions;
}

void sim_unask(struct sim_worker *w, struct query *q)
{
	struct question *qn = q->host;

	assert(qn->q == q && qn->worker == w->worker);
	qn->q = NULL;
	q->host = NULL;
}

void sim_dns_fini(struct sim *s)
{
	for (size_t i = 0; i < s->questions; i++)
		mem_free(&s->mem, s->question[i]);
	mem_free(&s->mem, s->question);
}

void sim_answer(struct sim *s, uint64_t id, int64_t after,
		enum answer_status status, struct str bytes)
{
	struct ev *e;

	assert(id > 0 && id <= s->questions && s->question[id - 1]);
	e = sim_queue(s, EV_ANSWER, s->now + after);
	e->index = id;
	e->answer.status = status;
	if (!bytes.n)
		return;
	e->text = sim_alloc(s, bytes.n);
	memcpy(e->text, bytes.p, bytes.n);
	e->answer.bytes = (struct str){e->text, bytes.n};
}

static void answer(struct sim *s, struct ev *e)
{
	struct question *qn = s->question[e->index - 1];
	struct machine_node *n = s->node[qn->node - 1];
	struct query *q = qn->q;

	e->boots = qn->boots;
	if (q && sim_pause_event(s, qn->node, e))
		return;
	s->question[e->index - 1] = NULL;
	if (q && n->boots == qn->boots && qn->worker < n->workers) {
		q->host = NULL;
		sim_trace_mark(s, TRACE_QUERY, e->index,
			       (uint64_t)e->answer.status);
		siphash_str(&s->trace, e->answer.bytes);
		core_answer(n->worker[qn->worker]->core,
			    sim_node_now(s, qn->node), q, &e->answer);
		sim_node_touched(s, qn->node);
	}
	mem_free(&s->mem, qn);
}

/* Whoever drives the world is asked; what has been answered goes to the core.
 */
bool sim_dns_event(struct sim *s, struct ev *e, struct sim_event *out_r)
{
	const struct question *qn;

	if (e->kind == EV_ANSWER) {
		answer(s, e);
		return false;
	}
	qn = s->question[e->index - 1];
	sim_trace_mark(s, TRACE_QUERY, qn->type, qn->node);
	siphash_str(&s->trace, str_from(qn->name));
	*out_r = (struct sim_event){.kind = SIM_QUERY,
				    .id = e->index,
				    .text = str_from(qn->name),
				    .type = qn->type,
				    .node = qn->node};
	return true;
}
