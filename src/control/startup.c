#include "control/process.h"
#include "control/control_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/keyfile.h"
#include "control/program.h"
#include "util/err.h"

/*
 * Starting: from the name of a script to running workers.
 */

/* ---- what the script asks of us ---- */

static int64_t cpu_us(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
}

static void log_event(void *ctx, const struct log_event *e)
{
	struct control *c = ctx;

	logsink_write(c->log, e);
}

static bool find_program(void *ctx, const char *name, char *out, size_t n,
			 const struct reason *why)
{
	struct control *c = ctx;
	char path[FILES_PATH];

	if (!files_find(&c->files, name, path) || strlen(path) >= n) {
		reason_set(why, ERR_CONFIG, "the name of a file is too long");
		return false;
	}
	memcpy(out, path, strlen(path) + 1);
	return program_check(path, why);
}

struct now control_now(void)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct now){
	    {SECONDS(mono.tv_sec) + mono.tv_nsec / 1000},
	    {SECONDS(wall.tv_sec) + wall.tv_nsec / 1000},
	};
}

/* Also from the thread of a reload. */
void control_script_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	struct control *c = ctx;

	if (i < NODE_MAX_WORKERS)
		out_r->ticker = &c->ticker[i];
	out_r->loader = files_loader(&c->files);
	out_r->path = c->conf->script;
	out_r->cpu_us = cpu_us;
	out_r->log = log_event;
	out_r->log_ctx = c;
	out_r->tls = certs_check;
	out_r->tls_ctx = c;
	out_r->quit = c->quit;
	out_r->quit_ctx = c->quit_ctx;
	out_r->program = find_program;
	out_r->program_ctx = c;
	out_r->now = control_now();
	if (c->overrides)
		out_r->overrides = str_from(c->overrides);
	else if (c->plan && c->plan->overrides)
		out_r->overrides = str_from(c->plan->overrides);
	keyfile_random(out_r->seed, sizeof(out_r->seed));
}

/* ---- the steps ---- */

static int find_files(struct control *c)
{
	const struct control_conf *conf = c->conf;
	int err;

	if (conf->text)
		return files_init_text(&c->files, conf->script, conf->text,
				       conf->lua_dir, conf->lua_fallback,
				       c->why, CONTROL_WHY);
	err = files_init(&c->files, conf->script, conf->lua_dir,
			 conf->lua_fallback, c->why, CONTROL_WHY);
	if (err == ENOENT && conf->advice && access(conf->script, F_OK) != 0)
		strncat(c->why, conf->advice, CONTROL_WHY - strlen(c->why) - 1);
	return err;
}

static void on_event(void *ctx, const struct log_event *e)
{
	struct control *c = ctx;

	if (is_transition(e))
		transitions_note(c->transitions, e, control_now().wall);
}

static void on_transition(void *ctx, const struct transition *t)
{
	struct control *c = ctx;

	notifier_put(c->notifier, t);
}

int startup_load(struct control *c)
{
	const struct control_conf *conf = c->conf;
	int level = conf->log_level;

	c->log = logsink_new(STDERR_FILENO, conf->json,
			     level < 0 ? LOG_INFO : (enum log_level)level);
	observe_init(c);
	if (c->log)
		c->notifier = notifier_new(c->log);
	if (c->notifier)
		c->transitions = transitions_new(on_transition, c);
	if (!c->transitions) {
		snprintf(c->why, CONTROL_WHY, "%s", err_text(ERR_NOMEM));
		return EXIT_FAILED;
	}
	logsink_tap(c->log, on_event, c);
	if (find_files(c) != 0)
		return EXIT_CONFIG;
	c->load_began = control_now().wall.us;
	if (generation_load(&c->loaded, 1, control_script_conf, c, c->why,
			    CONTROL_WHY) != 0)
		return EXIT_CONFIG;
	c->plan = script_plan(c->loaded.script[0]);
	return EXIT_FINE;
}

/* ---- what is kept ---- */

static void say_damaged(struct control *c, const char *file, const char *why)
{
	logsink_say(c->log, LOG_ERROR, "state.damaged",
		    LOGF_STR("file", str_from(file)),
		    LOGF_STR("why", str_from(why)));
}

static void say_unreadable(struct control *c, const char *file, int err)
{
	logsink_say(c->log, LOG_ERROR, "state.unreadable",
		    LOGF_STR("file", str_from(file)),
		    LOGF_STR("why", str_from(strerror(err))));
}

static char *read_kept(struct control *c, const char *name)
{
	char *text;
	size_t n;
	int err = disk_read(c->plan->state_dir, name, &text, &n);

	if (err && err != ENOENT)
		say_unreadable(c, name, err);
	if (text && strlen(text) == n)
		return text;
	if (text)
		say_damaged(c, name, "there is a NUL in it");
	free(text);
	return NULL;
}

/* Where the overrides are is only known when the script is loaded; with them it
 * may be another one. */
static void load_again(struct control *c)
{
	struct generation g = {.n = 0};

	if (generation_load(&g, 1, control_script_conf, c, c->why,
			    CONTROL_WHY) == 0) {
		generation_free(&c->loaded);
		c->loaded = g;
		c->plan = script_plan(g.script[0]);
	} else {
		say_damaged(c, OVERRIDES_FILE, c->why);
		disk_set_aside(c->plan->state_dir, OVERRIDES_FILE);
	}
	free(c->overrides);
	c->overrides = NULL; /* the plan has them now */
}

int startup_take_up(struct control *c)
{
	if (!c->plan->state_dir)
		return EXIT_FINE;
	c->known = read_kept(c, HEALTH_FILE);
	c->overrides = read_kept(c, OVERRIDES_FILE);
	if (c->overrides)
		load_again(c);
	return EXIT_FINE;
}

void control_set_level(struct control *c)
{
	int level = observe_level(c);

	if (level < 0)
		level = c->conf->log_level;
	if (level < 0)
		level = c->plan->log_level;
	logsink_set_level(c->log, (enum log_level)level);
	capture_log(c->node, level >= LOG_DEBUG);
	/* To be seen whatever the level is. */
	capture_set_level(c->node,
			  level < LOG_INFO ? (enum log_level)level : LOG_INFO);
}

void control_set_notify(struct control *c)
{
	const struct plan *p = c->plan;

	notifier_set(c->notifier, p->notify, p->notify_per_minute,
		     p->notify_timeout);
}

int startup_load_others(struct control *c)
{
	c->workers = c->conf->workers ? c->conf->workers : c->plan->workers;
	if (generation_load(&c->loaded, c->workers, control_script_conf, c,
			    c->why, CONTROL_WHY) != 0)
		return EXIT_CONFIG;
	return EXIT_FINE;
}

static bool choose_listeners(struct control *c)
{
	struct listeners *ls = &c->node->listeners;

	if (c->conf->listens) {
		memcpy(ls->l, c->conf->listen, sizeof(ls->l));
		ls->n = c->conf->listens;
	}
	if (!ls->n)
		snprintf(c->why, CONTROL_WHY,
			 "%s: nothing to listen on: add sip.listen { "
			 "\"udp:0.0.0.0:5060\" }",
			 c->conf->script);
	return ls->n > 0;
}

int startup_make_node(struct control *c)
{
	struct sipkeys keys;
	int err;

	if (keyfile_get(c->plan->key_file, c->plan->state_dir, &keys,
			&c->key_origin, c->why, CONTROL_WHY) != 0)
		return EXIT_CONFIG;
	c->node = node_new(c->workers, &keys);
	explicit_bzero(&keys, sizeof(keys));
	err = c->node ? script_apply(c->loaded.script[0], c->node) : ERR_NOMEM;
	if (err) {
		snprintf(c->why, CONTROL_WHY, "%s: %s", c->conf->script,
			 err_text(err));
		return err == ERR_NOMEM ? EXIT_FAILED : EXIT_CONFIG;
	}
	if (!choose_listeners(c))
		return EXIT_CONFIG;
	c->node->memory = process_memory();
	if (c->known)
		c->node->kept = str_from(c->known);
	control_set_level(c);
	if (c->key_origin == KEY_TEMPORARY)
		logsink_say(
		    c->log, LOG_WARN, "key.temporary",
		    LOGF_STR("hint", STR("calls do not survive a restart; set "
					 "state_dir or key_file")));
	return EXIT_FINE;
}

int startup_read_certs(struct control *c)
{
	struct reason why = {c->why, CONTROL_WHY};
	struct tls_clients clients = c->node->tls;

	c->tls = certs_read(c, c->loaded.script[0], &c->node->listeners,
			    &clients, NULL, &why);
	return c->tls ? EXIT_FINE : EXIT_CONFIG;
}

/* As many descriptors as we may have: each connection is one. */
static void raise_descriptors(struct control *c)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) == 0)
		c->descriptors = (long long)l.rlim_cur;
}

static bool open_state(struct control *c)
{
	if (!c->plan->state_dir)
		return true;
	c->state = statefile_open(c->plan->state_dir, c->workers, c->log);
	return c->state != NULL;
}

int startup_make_workers(struct control *c)
{
	raise_descriptors(c);
	if (!open_state(c)) {
		snprintf(c->why, CONTROL_WHY, "%s", err_text(ERR_NOMEM));
		return EXIT_FAILED;
	}
	for (unsigned i = 0; i < c->workers; i++) {
		struct worker_conf wc = {
		    .node = c->node,
		    .script = c->loaded.script[i],
		    .index = i,
		    .log = c->log,
		    .tls = c->tls,
		    .state = c->state,
		    .ticker = &c->ticker[i],
		    .outages = &c->outages,
		    .peers = c->worker,
		};

		keyfile_random(wc.seed, sizeof(wc.seed));
		c->worker[i] = worker_new(&wc);
		if (!c->worker[i]) {
			snprintf(c->why, CONTROL_WHY, "%s",
				 err_text(ERR_NOMEM));
			return EXIT_FAILED;
		}
		c->loaded.script[i] = NULL; /* the worker's now */
	}
	c->loaded.n = 0;
	for (unsigned i = 0; i < c->workers; i++)
		if (worker_listen(c->worker[i], c->why, CONTROL_WHY) != 0)
			return EXIT_FAILED;
	return EXIT_FINE;
}

void control_stop_workers(struct control *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		worker_stop(c->worker[i]);
	for (unsigned i = 0; i < n; i++)
		if (!worker_stopped(c->worker[i]))
			watchdog_abort(c, i, 0);
	for (unsigned i = 0; i < n; i++)
		worker_leave(c->worker[i]);
	for (unsigned i = 0; i < n; i++)
		if (!worker_join(c->worker[i]))
			watchdog_abort(c, i, 0);
}

static void let_go(struct control *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		worker_go(c->worker[i]);
}

int startup_run_workers(struct control *c)
{
	control_set_notify(c); /* what a script does at once is told, too */
	for (unsigned i = 0; i < c->workers; i++) {
		int err = worker_start(c->worker[i]);

		if (!err)
			continue;
		snprintf(c->why, CONTROL_WHY, "cannot start: %s",
			 err_text(err));
		let_go(c, i);
		control_stop_workers(c, i);
		return EXIT_FAILED;
	}
	let_go(c, c->workers);
	return EXIT_FINE;
}

/* ---- what it says then ---- */

static void write_listeners(struct buf *b, const struct listeners *ls)
{
	for (unsigned i = 0; i < ls->n; i++) {
		if (i)
			buf_char(b, ',');
		buf_put(b, str_from(transport_name(ls->l[i].transport)));
		buf_char(b, ':');
		addr_write(b, &ls->l[i].addr);
	}
}

/* Members are named pool/server. */
static int64_t count_pools(const struct members *ms)
{
	int64_t pools = 0;

	list_each (it, &ms->list) {
		struct str name =
		    str_from(container_of(it, struct member, link)->name);
		struct str pool = str_sub(name, 0, str_find(name, '/') + 1);
		bool seen = false;

		list_each (before, &ms->list) {
			struct str other = str_from(
			    container_of(before, struct member, link)->name);

			if (before == it)
				break;
			seen = seen || str_starts(other, pool);
		}
		pools += !seen;
	}
	return pools;
}

void startup_log(struct control *c)
{
	char space[LISTENER_MAX * (ADDR_TEXT + 8)];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	write_listeners(&b, &c->node->listeners);
	logsink_say(c->log, LOG_INFO, "start",
		    LOGF_STR("version", str_from(c->conf->version)),
		    LOGF_STR("script", str_from(c->conf->script)),
		    LOGF_STR("listen", buf_str(&b)),
		    LOGF_INT("pools", count_pools(&c->node->members)),
		    LOGF_INT("servers", members_count(&c->node->members)),
		    LOGF_INT("workers", c->workers),
		    LOGF_INT("descriptors", c->descriptors),
		    LOGF_INT("pid", getpid()));
}
