#include "sim/sim_int.h"

#include <assert.h>
#include <string.h>

#include "util/err.h"

static struct machine_node *node_of(const struct sim *s, unsigned id)
{
	assert(id > 0 && id <= s->nodes);
	return s->node[id - 1];
}

unsigned sim_node(struct sim *s, const struct addr *ip, unsigned n)
{
	struct machine_node *node = sim_alloc(s, sizeof(*node));

	assert(n > 0 && n <= ARRAY_LEN(node->ip));
	s->node = sim_grow(s, s->node, s->nodes, &s->node_cap,
			   sizeof(struct machine_node *));
	s->node[s->nodes++] = node;
	/* Monotonic clocks of two machines have nothing to do with each
	 * other. */
	node->epoch = SECONDS(1000) * (int64_t)s->nodes;
	node->host = sim_host(s, &ip[0]);
	s->machine[node->host].node = (unsigned)s->nodes;
	for (unsigned i = 0; i < n; i++)
		sim_node_take(s, (unsigned)s->nodes, &ip[i]);
	return (unsigned)s->nodes;
}

/* The core finds its own addresses in the list of listeners. */
static void tell_own(struct machine_node *n)
{
	struct listeners *ls;

	if (!n->shared)
		return;
	ls = &n->shared->listeners;
	for (ls->owns = 0; ls->owns < n->ips; ls->owns++)
		ls->own[ls->owns] = n->ip[ls->owns];
}

static bool add_ip(struct machine_node *n, const struct addr *ip)
{
	for (unsigned i = 0; i < n->ips; i++)
		if (addr_ip_eq(&n->ip[i], ip))
			return true;
	if (n->ips == ARRAY_LEN(n->ip))
		return false;
	n->ip[n->ips] = *ip;
	n->ip[n->ips++].port = 0;
	return true;
}

bool sim_node_take(struct sim *s, unsigned id, const struct addr *ip)
{
	struct machine_node *n = node_of(s, id);

	if (!add_ip(n, ip))
		return false;
	sim_split_end(s, ip);
	for (unsigned i = 1; i <= s->nodes; i++)
		if (i != id)
			sim_node_drop(s, i, ip);
	sim_host_take(s, n->host, ip);
	tell_own(n);
	return true;
}

bool sim_node_split(struct sim *s, const struct addr *ip, unsigned from,
		    const unsigned *node, const struct sim_split *conf)
{
	struct sim_split sp = *conf;
	unsigned owner = sim_owner(s, ip);
	bool owned = from && owner;

	for (unsigned i = 0; i < sp.n; i++) {
		struct machine_node *n = node_of(s, node[i]);

		if (!add_ip(n, ip))
			return false;
		tell_own(n);
		sp.host[i] = n->host;
		owned = owned || owner == n->host;
	}
	if (!owned)
		sim_host_take(s, sp.host[0], ip);
	sim_split_add(s, from, ip, &sp);
	return true;
}

void sim_node_drop(struct sim *s, unsigned id, const struct addr *ip)
{
	struct machine_node *n = node_of(s, id);
	unsigned kept = 0;

	for (unsigned i = 0; i < n->ips; i++)
		if (!addr_ip_eq(&n->ip[i], ip))
			n->ip[kept++] = n->ip[i];
	n->ips = kept;
	sim_host_drop(s, n->host, ip);
	sim_streams_lost(s, id, ip);
	tell_own(n);
}

bool sim_node_owns(const struct sim *s, unsigned id, const struct addr *ip)
{
	return sim_has(s, node_of(s, id)->host, ip);
}

static void take_listeners(struct sim *s, unsigned id)
{
	const struct listeners *ls = &node_of(s, id)->shared->listeners;

	for (unsigned i = 0; i < ls->n; i++)
		if (!addr_is_any(&ls->l[i].addr))
			sim_node_take(s, id, &ls->l[i].addr);
}

/* ---- starting --------------------------------------------------------- */

static void random_bytes(struct sim *s, uint8_t out[16])
{
	for (int i = 0; i < 16; i++)
		out[i] = (uint8_t)rand_u64(&s->boots);
}

static struct sim_worker *make_worker(struct sim *s, unsigned id, unsigned i)
{
	struct machine_node *n = node_of(s, id);
	struct sim_worker *w = n->worker[i];

	if (!w)
		w = n->worker[i] = sim_alloc(s, sizeof(*w));
	w->sim = s;
	w->node = id;
	w->worker = i;
	w->host = sim_verbs(w);
	if (!w->core)
		w->deadline = INT64_MAX;
	return w;
}

struct load_ctx {
	struct sim *s;
	unsigned id;
	const struct sim_node_conf *conf;
	struct str overrides;
};

static void fill_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	const struct load_ctx *l = ctx;
	struct sim_worker *w = make_worker(l->s, l->id, i);

	out_r->loader = l->conf->loader;
	out_r->path = l->conf->path;
	out_r->log = w->host.log;
	out_r->log_ctx = w->host.ctx;
	out_r->now = sim_node_now(l->s, l->id);
	out_r->overrides = l->overrides;
	out_r->edit = l->conf->edit;
	out_r->collect_every = l->conf->collect_every;
	random_bytes(l->s, out_r->seed);
}

static int load(struct sim *s, unsigned id, const struct sim_node_conf *conf,
		struct str overrides, unsigned workers, struct generation *g,
		const struct reason *why)
{
	struct load_ctx ctx = {s, id, conf, overrides};

	return generation_load(g, workers, fill_conf, &ctx, why->text, why->n);
}

static void log_damaged(struct sim *s, unsigned id, const char *why)
{
	struct log_field f[] = {LOGF_STR("file", STR("overrides.json")),
				LOGF_STR("why", str_from(why))};
	struct log_event e = {LOG_ERROR, "state.damaged", f, ARRAY_LEN(f)};

	sim_trace_log(s, id, 0, &e);
}

/* Where the overrides are is only known when the script is loaded; with them it
 * may be another one. */
static int load_first(struct sim *s, unsigned id,
		      const struct sim_node_conf *conf, struct generation *g,
		      const struct reason *why)
{
	struct str kept = sim_node_kept(s, id, STR("overrides.json"));
	struct generation again = {.n = 0};
	int err = load(s, id, conf, STR_NONE, conf->workers, g, why);

	if (err || !kept.n || !script_plan(g->script[0])->state_dir)
		return err;
	if (load(s, id, conf, kept, g->n, &again, why) == 0) {
		generation_free(g);
		*g = again;
		return 0;
	}
	log_damaged(s, id, why->text);
	sim_node_keep(s, id, STR("overrides.json"), STR(""));
	return 0;
}

/* A node without a script listens where it is told to. */
static int listen_bare(struct node *shared, const struct sim_node_conf *conf,
		       const struct reason *why)
{
	struct listeners *ls = &shared->listeners;
	const char *text = conf->listen, *problem = "no listener";

	if (!text || !listener_parse(str_from(text), &ls->l[0], &problem))
		return reason_set(why, ERR_CONFIG, "%s", problem);
	ls->n = 1;
	return 0;
}

static int make_cores(struct sim *s, unsigned id, struct generation *g,
		      unsigned workers)
{
	struct machine_node *n = node_of(s, id);

	for (unsigned i = 0; i < workers; i++) {
		struct sim_worker *w = make_worker(s, id, i);
		uint8_t seed[16];

		random_bytes(s, seed);
		w->core =
		    core_new(n->shared, i, &w->host, seed, sim_node_now(s, id));
		if (!w->core)
			return ERR_NOMEM;
		n->workers = i + 1;
		if (g->n) {
			w->scripts.present = g->script[i];
			g->script[i] = NULL;
		}
	}
	g->n = 0;
	return 0;
}

static int bind_scripts(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);
	int err = 0;

	for (unsigned i = 0; i < n->workers && !err; i++)
		if (n->worker[i]->scripts.present)
			err = script_bind(n->worker[i]->scripts.present,
					  n->worker[i]->core,
					  sim_node_now(s, id));
	sim_node_touched(s, id);
	return err;
}

static void destroy(struct sim *s, unsigned id);

int sim_node_start(struct sim *s, unsigned id, const struct sim_node_conf *conf,
		   char *text, size_t textlen)
{
	struct machine_node *n = node_of(s, id);
	struct reason why = {text, textlen};
	struct generation g = {.n = 0};
	struct sipkeys keys = {.now = s->key};
	int err = 0;

	assert(!n->workers);
	if (conf->path)
		err = load_first(s, id, conf, &g, &why);
	if (err)
		return err;
	n->boots++;
	n->muted = false;
	sim_trace_mark(s, TRACE_NODE, id, n->boots);
	n->shared = node_new(g.n             ? g.n
			     : conf->workers ? conf->workers
					     : 1,
			     conf->has_keys ? &conf->keys : &keys);
	if (!n->shared)
		err = ERR_NOMEM;
	else if (g.n)
		err = script_apply(g.script[0], n->shared);
	else
		err = listen_bare(n->shared, conf, &why);
	if (!err && g.n && script_plan(g.script[0])->state_dir)
		n->shared->kept = sim_node_kept(s, id, STR("health.json"));
	tell_own(n);
	if (!err && conf->own_listeners)
		take_listeners(s, id);
	if (!err)
		err = make_cores(s, id, &g, n->shared->workers);
	if (!err)
		err = bind_scripts(s, id);
	if (!err)
		sim_disk_start(s, id);
	if (err && err != ERR_CONFIG)
		reason_set(&why, err, "%s", err_text(err));
	generation_free(&g);
	if (err)
		destroy(s, id);
	return err;
}

static void log_rejected(struct sim *s, unsigned id, const char *why)
{
	const struct machine_node *n = node_of(s, id);
	struct log_field f[] = {LOGF_INT("generation", n->shared->generation),
				LOGF_STR("reason", str_from(why))};
	struct log_event e = {LOG_ERROR, "config.rejected", f, ARRAY_LEN(f)};

	sim_trace_log(s, id, 0, &e);
}

int sim_node_reload(struct sim *s, unsigned id,
		    const struct sim_node_conf *conf, char *text,
		    size_t textlen)
{
	struct machine_node *n = node_of(s, id);
	struct reason why = {text, textlen};
	struct succession *worker[NODE_MAX_WORKERS];
	struct generation g = {.n = 0};
	const struct script *present = sim_node_script(s, id, 0);
	const char *kept = present ? script_plan(present)->overrides : NULL;
	int err = load(s, id, conf, kept ? str_from(kept) : STR_NONE,
		       n->workers, &g, &why);

	for (unsigned i = 0; i < n->workers; i++)
		worker[i] = &n->worker[i]->scripts;
	if (!err)
		err = generation_switch(&g, n->shared, worker,
					sim_node_now(s, id), text, textlen);
	if (!err && conf->has_keys)
		node_set_keys(n->shared, &conf->keys);
	generation_free(&g);
	if (err)
		log_rejected(s, id, text);
	sim_node_touched(s, id);
	return err;
}

/* ---- stopping --------------------------------------------------------- */

static void destroy(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	sim_pause_end(s, id);
	for (unsigned i = 0; i < n->workers; i++) {
		succession_unbind(&n->worker[i]->scripts, sim_node_now(s, id));
		if (n->worker[i]->core && !n->muted)
			core_stop(n->worker[i]->core, sim_node_now(s, id));
	}
	sim_streams_end(s, id, n->muted);
	if (n->has_state && !n->muted)
		sim_disk_save(s, id);
	n->has_state = false;
	/* Handles point into the core, so they go before it. */
	for (unsigned i = 0; i < n->workers; i++) {
		struct sim_worker *w = n->worker[i];

		succession_free(&w->scripts);
		core_free(&w->core);
		w->deadline = INT64_MAX;
	}
	node_free(&n->shared);
	n->workers = 0;
}

void sim_node_stop(struct sim *s, unsigned id)
{
	if (sim_node_runs(s, id))
		destroy(s, id);
}

void sim_node_drain(struct sim *s, unsigned id, bool on)
{
	if (sim_node_runs(s, id))
		atomic_store(&node_of(s, id)->shared->draining, on);
}

bool sim_node_is_quiet(const struct sim *s, unsigned id)
{
	const struct machine_node *n = node_of(s, id);
	bool quiet = true;

	/* All of them are asked, as each asks itself. */
	for (unsigned i = 0; i < n->workers; i++)
		if (!core_is_quiet(n->worker[i]->core, sim_node_now(s, id)))
			quiet = false;
	return quiet;
}

int64_t sim_node_stop_timeout(const struct sim *s, unsigned id)
{
	const struct script *script =
	    sim_node_runs(s, id) ? sim_node_script(s, id, 0) : NULL;

	return script ? script_plan(script)->stop_timeout : 0;
}

void sim_node_kill(struct sim *s, unsigned id)
{
	node_of(s, id)->muted = true;
	sim_trace_mark(s, TRACE_NODE, id, 0);
	sim_node_stop(s, id);
}

void sim_nodes_fini(struct sim *s)
{
	for (unsigned id = 1; id <= s->nodes; id++) {
		struct machine_node *n = node_of(s, id);

		sim_node_kill(s, id);
		for (size_t i = 0; i < ARRAY_LEN(n->worker); i++)
			mem_free(&s->mem, n->worker[i]);
		sim_disk_free(s, n);
		mem_free(&s->mem, n);
	}
	mem_free(&s->mem, s->node);
}

/* ---- questions -------------------------------------------------------- */

unsigned sim_nodes(const struct sim *s)
{
	return (unsigned)s->nodes;
}

unsigned sim_node_host(const struct sim *s, unsigned id)
{
	return node_of(s, id)->host;
}

bool sim_node_runs(const struct sim *s, unsigned id)
{
	return node_of(s, id)->workers > 0;
}

void sim_node_skew(struct sim *s, unsigned id, int64_t us)
{
	node_of(s, id)->skew += us;
}

unsigned sim_node_workers(const struct sim *s, unsigned id)
{
	return node_of(s, id)->workers;
}

struct node *sim_node_shared(const struct sim *s, unsigned id)
{
	return node_of(s, id)->shared;
}

struct core *sim_node_core(const struct sim *s, unsigned id, unsigned worker)
{
	assert(worker < node_of(s, id)->workers);
	return node_of(s, id)->worker[worker]->core;
}

struct script *sim_node_script(const struct sim *s, unsigned id,
			       unsigned worker)
{
	assert(worker < node_of(s, id)->workers);
	return node_of(s, id)->worker[worker]->scripts.present;
}

const struct succession *sim_node_scripts(const struct sim *s, unsigned id,
					  unsigned worker)
{
	assert(worker < node_of(s, id)->workers);
	return &node_of(s, id)->worker[worker]->scripts;
}

struct now sim_node_now(const struct sim *s, unsigned id)
{
	const struct machine_node *n = node_of(s, id);

	return (struct now){
	    .mono = {n->epoch + s->now},
	    .wall = {s->start + s->now + n->skew},
	};
}

void sim_node_touched(struct sim *s, unsigned id)
{
	struct machine_node *n = node_of(s, id);

	for (unsigned i = 0; i < n->workers; i++) {
		succession_sweep(&n->worker[i]->scripts);
		sim_worker_touch(n->worker[i]);
	}
}
