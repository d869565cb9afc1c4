#include "lua/generation.h"

#include <assert.h>
#include <string.h>

#include "util/err.h"

/* ---- loading ---- */

static int load_one(struct generation *g, generation_conf *conf, void *ctx,
		    const struct reason *why)
{
	struct script_conf sc = {.worker = g->n};
	struct script *s;

	conf(ctx, g->n, &sc);
	sc.worker = g->n;
	s = script_load(&sc, why->text, why->n);
	if (!s)
		return ERR_CONFIG;
	g->script[g->n++] = s;
	if (strcmp(script_plan(s)->dump, script_plan(g->script[0])->dump) != 0)
		return reason_set(why, ERR_CONFIG,
				  "the declarations depend on the worker");
	return 0;
}

int generation_load(struct generation *g, unsigned workers,
		    generation_conf *conf, void *ctx, char *why, size_t n)
{
	struct reason r = {why, n};
	int err;

	err = g->n ? 0 : load_one(g, conf, ctx, &r);
	if (!err && !workers)
		workers = script_plan(g->script[0])->workers;
	if (workers > NODE_MAX_WORKERS)
		err = reason_set(&r, ERR_CONFIG, "%u workers are too many",
				 workers);
	while (!err && g->n < workers)
		err = load_one(g, conf, ctx, &r);
	if (err)
		generation_free(g);
	return err;
}

void generation_free(struct generation *g)
{
	for (unsigned i = 0; i < g->n; i++)
		script_free(&g->script[i]);
	g->n = 0;
}

/* ---- what cannot change while it runs ---- */

static void say_kept(struct node *node, const char *setting)
{
	const struct host *host = core_host(node->core[0]);
	struct log_field f[] = {
	    LOGF_STR("setting", str_from(setting)),
	    LOGF_STR("hint", STR("stays as it was until a restart"))};
	struct log_event e = {LOG_WARN, "reload.kept", f, ARRAY_LEN(f)};

	host->log(host->ctx, &e);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Without their certificates, which are read again. */
static bool same_listeners(const struct plan *a, const struct plan *b)
{
	for (unsigned i = 0; i < a->listeners && i < b->listeners; i++) {
		const struct listener *x = &a->listener[i];
		const struct listener *y = &b->listener[i];

		if (x->transport != y->transport ||
		    !addr_eq(&x->addr, &y->addr) ||
		    strcmp(x->advertise, y->advertise) != 0)
			return false;
	}
	return a->listeners == b->listeners;
}

static void say_what_stays(struct node *node, const struct plan *old,
			   const struct plan *new)
{
	if (old->workers != new->workers)
		say_kept(node, "workers");
	if (!same_listeners(old, new))
		say_kept(node, "listen");
	/* one file for another is taken */
	if (!old->key_file != !new->key_file)
		say_kept(node, "key_file");
	if (!same_text(old->state_dir, new->state_dir))
		say_kept(node, "state_dir");
}

/* ---- taking over ---- */

static size_t errors_of(const struct script *s)
{
	struct script_stats stats;

	script_stats(s, &stats);
	return stats.errors;
}

/* May one more be retired in every worker? */
static bool has_room(struct succession *const *worker, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		succession_sweep(worker[i]);
		if (worker[i]->n == GENERATION_RETIRED_MAX &&
		    !script_is_idle(worker[i]->present))
			return false;
	}
	return true;
}

static int attach_all(struct generation *g, struct node *node,
		      struct succession *const *worker, struct now now,
		      const struct reason *why)
{
	for (unsigned i = 0; i < g->n; i++) {
		int err = script_attach(g->script[i], node->core[i],
					worker[i]->present, now);

		if (err)
			return reason_set(why, err, "%s", err_text(err));
	}
	return 0;
}

/* Worker 0 decides for all: it comes last, when nothing else can fail. */
static int start_all(struct generation *g, const struct reason *why)
{
	int err = 0;

	for (unsigned i = g->n; i-- > 0 && !err;)
		err = script_start(g->script[i], why->text, why->n);
	return err;
}

static void replace(struct succession *s, struct script *new, struct now now)
{
	struct script *old = s->present;

	script_retire(old, now);
	script_inherit(new, old);
	script_take_over(new);
	s->present = new;
	if (s->n < GENERATION_RETIRED_MAX) {
		s->retired[s->n++] = old;
		succession_sweep(s);
		return;
	}
	assert(script_is_over(old));
	s->errors += errors_of(old);
	script_free(&old);
}

static void commit(struct generation *g, struct node *node,
		   struct succession *const *worker,
		   const struct settings *settings, struct now now)
{
	settings_fini(&node->settings, &node->mem);
	node->settings = *settings;
	node->generation++;
	listeners_take_tls(&node->listeners,
			   script_plan(g->script[0])->listener,
			   script_plan(g->script[0])->listeners);
	for (unsigned i = 0; i < g->n; i++) {
		core_on_settings(node->core[i]);
		replace(worker[i], g->script[i], now);
	}
	g->n = 0;
}

int generation_switch(struct generation *g, struct node *node,
		      struct succession *const *worker, struct now now,
		      char *why, size_t n)
{
	struct reason r = {why, n};
	struct settings settings;
	struct members_image *before;
	int err;

	assert(g->n == node->workers);
	if (!has_room(worker, g->n))
		return reason_set(
		    &r, ERR_LIMIT,
		    "%d earlier generations still have requests: try "
		    "again when their calls are set up",
		    GENERATION_RETIRED_MAX);
	err = script_settings(g->script[0], &node->mem, &settings);
	if (err)
		return reason_set(&r, err, "%s", err_text(err));
	before = members_save(&node->members);
	if (!before) {
		settings_fini(&settings, &node->mem);
		return reason_set(&r, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
	}
	members_undeclare(&node->members, now.mono);
	err = attach_all(g, node, worker, now, &r);
	if (!err)
		err = start_all(g, &r);
	if (err) {
		generation_free(g);
		settings_fini(&settings, &node->mem);
		members_restore(&node->members, &before);
		return err;
	}
	members_image_free(&node->members, &before);
	say_what_stays(node, script_plan(worker[0]->present),
		       script_plan(g->script[0]));
	commit(g, node, worker, &settings, now);
	return 0;
}

/* ---- the scripts of a worker ---- */

void succession_sweep(struct succession *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n; i++) {
		struct script *old = s->retired[i];

		if (!script_is_over(old)) {
			s->retired[kept++] = old;
			continue;
		}
		s->errors += errors_of(old);
		script_free(&old);
	}
	s->n = kept;
}

void succession_unbind(struct succession *s, struct now now)
{
	for (unsigned i = 0; i < s->n; i++)
		script_unbind(s->retired[i], now);
	if (s->present)
		script_unbind(s->present, now);
}

void succession_free(struct succession *s)
{
	for (unsigned i = 0; i < s->n; i++)
		script_free(&s->retired[i]);
	s->n = 0;
	s->errors = 0;
	script_free(&s->present);
}

void succession_stats(const struct succession *s, struct script_stats *out_r)
{
	struct script_stats one;

	memset(out_r, 0, sizeof(*out_r));
	if (s->present)
		script_stats(s->present, out_r);
	out_r->errors += s->errors;
	for (unsigned i = 0; i < s->n; i++) {
		script_stats(s->retired[i], &one);
		out_r->tasks += one.tasks;
		out_r->timers += one.timers;
		out_r->lua_bytes += one.lua_bytes;
		out_r->errors += one.errors;
	}
}
