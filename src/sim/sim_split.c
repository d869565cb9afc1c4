/*
 * Split brain: an address that several machines believe to be theirs. Each has
 * it and sends from it; who sends to it reaches what its neighbour table says,
 * which is one of them, each in turn, or, with a hub, all.
 */
#include "sim/sim_int.h"

#include <assert.h>

struct split {
	struct split *next; /* sim.splits */
	struct addr ip;
	unsigned from; /* only what this machine sends; 0: all do */
	struct sim_split conf;
	int64_t since;
};

static bool names(const struct split *sp, unsigned host)
{
	for (unsigned i = 0; i < sp->conf.n; i++)
		if (sp->conf.host[i] == host)
			return true;
	return false;
}

static void remove_split(struct sim *s, struct split **at)
{
	struct split *sp = *at;

	*at = sp->next;
	mem_free(&s->mem, sp);
}

static struct split **find(struct sim *s, unsigned from, const struct addr *ip)
{
	struct split **at = &s->splits;

	while (*at && ((*at)->from != from || !addr_ip_eq(&(*at)->ip, ip)))
		at = &(*at)->next;
	return at;
}

void sim_split_add(struct sim *s, unsigned from, const struct addr *ip,
		   const struct sim_split *conf)
{
	struct split **old = find(s, from, ip), *sp = sim_alloc(s, sizeof(*sp));

	assert(conf->n > 0 && conf->n <= SIM_SPLIT_MAX);
	if (*old)
		remove_split(s, old);
	*sp = (struct split){.next = s->splits,
			     .ip = *ip,
			     .from = from,
			     .conf = *conf,
			     .since = s->now};
	s->splits = sp;
}

void sim_split_end(struct sim *s, const struct addr *ip)
{
	struct split **at = &s->splits;

	while (*at)
		if (addr_ip_eq(&(*at)->ip, ip))
			remove_split(s, at);
		else
			at = &(*at)->next;
}

unsigned sim_split_leave(struct sim *s, unsigned host, const struct addr *ip)
{
	struct split **at = &s->splits;
	unsigned heir = 0;

	while (*at) {
		struct split *sp = *at;
		unsigned kept = 0;

		if (!addr_ip_eq(&sp->ip, ip)) {
			at = &sp->next;
			continue;
		}
		for (unsigned i = 0; i < sp->conf.n; i++)
			if (sp->conf.host[i] != host)
				sp->conf.host[kept++] = sp->conf.host[i];
		sp->conf.n = kept;
		if (kept)
			heir = sp->conf.host[0];
		if (kept > 1)
			at = &sp->next;
		else
			remove_split(s, at);
	}
	return heir;
}

bool sim_split_has(const struct sim *s, unsigned host, const struct addr *ip)
{
	for (const struct split *sp = s->splits; sp; sp = sp->next)
		if (addr_ip_eq(&sp->ip, ip) && names(sp, host))
			return true;
	return false;
}

/* What is said of one sender comes before what is said of all. */
static const struct split *rule(const struct sim *s, unsigned from,
				const struct addr *ip)
{
	const struct split *all = NULL;

	for (const struct split *sp = s->splits; sp; sp = sp->next) {
		if (!addr_ip_eq(&sp->ip, ip))
			continue;
		if (sp->from == from)
			return sp;
		if (!sp->from)
			all = sp;
	}
	return all;
}

static unsigned turn(const struct sim *s, const struct split *sp)
{
	int64_t turns = (s->now - sp->since) / sp->conf.period;

	return sp->conf.host[(uint64_t)turns % sp->conf.n];
}

unsigned sim_split_pick(struct sim *s, unsigned from, const struct addr *ip,
			unsigned host_r[SIM_SPLIT_MAX])
{
	const struct split *sp = s->splits ? rule(s, from, ip) : NULL;

	if (!sp)
		return 0;
	switch (sp->conf.mode) {
	case SIM_SPLIT_RANDOM:
		host_r[0] = sp->conf.host[rand_below(&s->net, sp->conf.n)];
		return 1;
	case SIM_SPLIT_TURNS:
		host_r[0] = turn(s, sp);
		return 1;
	case SIM_SPLIT_ALL:
		break;
	}
	for (unsigned i = 0; i < sp->conf.n; i++)
		host_r[i] = sp->conf.host[i];
	return sp->conf.n;
}

unsigned sim_reach(const struct sim *s, unsigned from, const struct addr *ip)
{
	const struct split *sp = s->splits ? rule(s, from, ip) : NULL;

	if (!sp)
		return sim_owner(s, ip);
	return sp->conf.mode == SIM_SPLIT_TURNS ? turn(s, sp)
						: sp->conf.host[0];
}

void sim_split_fini(struct sim *s)
{
	while (s->splits)
		remove_split(s, &s->splits);
}
