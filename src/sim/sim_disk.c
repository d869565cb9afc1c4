/*
 * The disk of a machine, as far as a proxy needs one: the snapshot of the calls
 * that host/statefile.c keeps in state_dir, and the texts beside it. It
 * outlives the process, and holds what was written last: a second ago at most
 * when the process is killed.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_int.h"
#include "util/err.h"

#define SAVE_EVERY SECONDS(1)

static void put(struct sim *s, struct machine_node *n, struct str bytes)
{
	char *copy = sim_alloc(s, bytes.n + 1);

	memcpy(copy, bytes.p, bytes.n);
	mem_free(&s->mem, (char *)(uintptr_t)n->disk.p);
	n->disk = (struct str){copy, bytes.n};
}

void sim_node_set_disk(struct sim *s, unsigned id, struct str bytes)
{
	put(s, s->node[id - 1], bytes);
}

struct str sim_node_disk(const struct sim *s, unsigned id)
{
	return s->node[id - 1]->disk;
}

/* ---- texts ---- */

static struct sim_kept *find(struct machine_node *n, struct str name)
{
	for (unsigned i = 0; i < SIM_KEPT; i++)
		if (n->kept[i].name.n && str_eq(n->kept[i].name, name))
			return &n->kept[i];
	return NULL;
}

static struct str copy(struct sim *s, struct str bytes)
{
	char *p = sim_alloc(s, bytes.n + 1);

	if (bytes.n)
		memcpy(p, bytes.p, bytes.n);
	return (struct str){p, bytes.n};
}

static void drop(struct sim *s, struct str *bytes)
{
	mem_free(&s->mem, (char *)(uintptr_t)bytes->p);
	*bytes = STR_NONE;
}

void sim_node_keep(struct sim *s, unsigned id, struct str name,
		   struct str bytes)
{
	struct machine_node *n = s->node[id - 1];
	struct sim_kept *k = find(n, name);

	for (unsigned i = 0; i < SIM_KEPT && !k; i++)
		if (!n->kept[i].name.n)
			k = &n->kept[i];
	if (!k)
		abort();
	drop(s, &k->bytes);
	if (!k->name.n)
		k->name = copy(s, name);
	if (bytes.n)
		k->bytes = copy(s, bytes);
}

struct str sim_node_kept(const struct sim *s, unsigned id, struct str name)
{
	const struct sim_kept *k = find(s->node[id - 1], name);

	return k ? k->bytes : STR_NONE;
}

void sim_disk_free(struct sim *s, struct machine_node *n)
{
	drop(s, &n->disk);
	for (unsigned i = 0; i < SIM_KEPT; i++) {
		drop(s, &n->kept[i].name);
		drop(s, &n->kept[i].bytes);
	}
}

/* ---- calls ---- */

static void append(struct sim *s, struct str *all, const char *bytes, size_t n)
{
	char *p = sim_alloc(s, all->n + n);

	memcpy(p, all->p, all->n);
	memcpy(p + all->n, bytes, n);
	mem_free(&s->mem, (char *)(uintptr_t)all->p);
	*all = (struct str){p, all->n + n};
}

void sim_disk_save(struct sim *s, unsigned id)
{
	struct machine_node *n = s->node[id - 1];
	struct str all = {sim_alloc(s, 1), 0};

	for (unsigned i = 0; i < n->workers; i++) {
		size_t size;
		char *bytes = core_save_calls(n->worker[i]->core,
					      sim_node_now(s, id), &size);

		if (!bytes)
			abort();
		append(s, &all, bytes, size);
		free(bytes);
	}
	mem_free(&s->mem, (char *)(uintptr_t)n->disk.p);
	n->disk = all;
}

static void plan_next(struct sim *s, unsigned id)
{
	struct ev *e = sim_queue(s, EV_SAVE, s->now + SAVE_EVERY);

	e->node = id;
	e->boots = s->node[id - 1]->boots;
}

/* With this worker: the same for all, so one of them tells. */
static void say_damaged(struct sim_worker *w, const char *file, const char *why)
{
	struct log_field f[] = {LOGF_STR("file", str_from(file)),
				LOGF_STR("why", str_from(why))};
	struct log_event e = {LOG_ERROR, "state.damaged", f, ARRAY_LEN(f)};

	w->host.log(w->host.ctx, &e);
}

void sim_disk_start(struct sim *s, unsigned id)
{
	struct machine_node *n = s->node[id - 1];
	const struct script *script = n->worker[0]->scripts.present;

	n->has_state = script && script_plan(script)->state_dir;
	if (!n->has_state)
		return;
	for (unsigned i = 0; i < n->workers; i++) {
		int err = core_restore_calls(n->worker[i]->core,
					     sim_node_now(s, id), n->disk);

		if (err && i == 0)
			say_damaged(n->worker[i], "calls", err_text(err));
	}
	sim_node_touched(s, id);
	plan_next(s, id);
}

void sim_disk_tick(struct sim *s, unsigned id, unsigned boots)
{
	struct machine_node *n = s->node[id - 1];
	bool changed = false;

	if (n->boots != boots || !n->workers)
		return; /* of a process that is gone */
	for (unsigned i = 0; i < n->workers; i++)
		changed = changed || core_calls_changed(n->worker[i]->core);
	if (changed)
		sim_disk_save(s, id);
	plan_next(s, id);
}
