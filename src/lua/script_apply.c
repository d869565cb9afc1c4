#include "lua/script_int.h"

#include <string.h>

/*
 * What a script declares that the node itself must know: settings and
 * listeners.
 */

static int copy_trust(const struct script *s, struct mem *m, struct settings *t)
{
	size_t bytes = s->n_trust * sizeof(*t->trust);

	if (!s->n_trust)
		return 0;
	t->trust = mem_alloc(m, bytes);
	if (!t->trust)
		return ERR_NOMEM;
	memcpy(t->trust, s->trust, bytes);
	t->n_trust = s->n_trust;
	return 0;
}

static int copy_domains(const struct script *s, struct mem *m,
			struct settings *t)
{
	if (!s->n_domains)
		return 0;
	t->domains = mem_zalloc(m, s->n_domains * sizeof(*t->domains));
	if (!t->domains)
		return ERR_NOMEM;
	for (size_t i = 0; i < s->n_domains; i++) {
		char *p = mem_alloc(m, s->domains[i].n);

		if (!p)
			return ERR_NOMEM;
		memcpy(p, s->domains[i].p, s->domains[i].n);
		t->domains[i] = (struct str){p, s->domains[i].n};
		t->n_domains++;
	}
	return 0;
}

int script_settings(const struct script *s, struct mem *m,
		    struct settings *out_r)
{
	int err;

	settings_init(out_r);
	out_r->times = s->plan.times;
	out_r->trying = s->plan.trying;
	out_r->drain_notice = s->plan.drain_notice;
	out_r->late_answer = s->plan.late_answer;
	out_r->stateless_relay = s->plan.stateless_relay;
	memcpy(out_r->node, s->plan.node, sizeof(out_r->node));
	out_r->n_nodes = s->plan.n_nodes;
	out_r->streams = s->plan.streams;
	out_r->udp_max = s->plan.udp_max;
	out_r->udp_gso = s->plan.udp_gso;
	out_r->why_memory = s->plan.why_memory;
	out_r->max_memory = s->plan.max_memory;
	out_r->overload = s->plan.overload;
	out_r->dns = s->plan.dns;
	out_r->hep = s->plan.hep;
	err = copy_trust(s, m, out_r);
	if (!err)
		err = copy_domains(s, m, out_r);
	if (err)
		settings_fini(out_r, m);
	return err;
}

int script_apply(const struct script *s, struct node *node)
{
	struct settings new;
	int err = script_settings(s, &node->mem, &new);

	if (err)
		return err;
	settings_fini(&node->settings, &node->mem);
	node->settings = new;
	memcpy(node->listeners.l, s->plan.listener, sizeof(s->plan.listener));
	node->listeners.n = s->plan.listeners;
	return 0;
}
