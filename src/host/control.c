#include "host/control.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "host/files.h"
#include "host/keyfile.h"
#include "host/worker.h"
#include "util/err.h"

/* More workers need the hand-over of datagrams between sockets. */
enum { WORKERS_MAX = 1, WHY = 4096 };

struct control {
	const struct control_conf *conf;
	struct files files;
	struct logsink *log;
	struct node *node;
	unsigned workers;
	struct script *script[WORKERS_MAX];
	struct worker *worker[WORKERS_MAX];
	const struct plan *plan; /* of script 0 */
	char why[WHY];           /* the error, written when all is freed */
};

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

static struct now read_now(void)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct now){
	    {SECONDS(mono.tv_sec) + mono.tv_nsec / 1000},
	    {SECONDS(wall.tv_sec) + wall.tv_nsec / 1000},
	};
}

static struct script *load_script(struct control *c, unsigned worker)
{
	struct script_conf sc = {
	    .loader = files_loader(&c->files),
	    .path = c->conf->script,
	    .worker = worker,
	    .cpu_us = cpu_us,
	    .log = log_event,
	    .log_ctx = c,
	    .now = read_now(),
	};

	keyfile_random(sc.seed, sizeof(sc.seed));
	return script_load(&sc, c->why, sizeof(c->why));
}

/* ---- starting, in order; each returns an exit code ---- */

static int load(struct control *c)
{
	const struct control_conf *conf = c->conf;
	int level = conf->log_level;

	c->log = logsink_new(STDERR_FILENO, conf->json,
			     level < 0 ? LOG_INFO : (enum log_level)level);
	if (!c->log) {
		snprintf(c->why, WHY, "%s", err_text(ERR_NOMEM));
		return EXIT_FAILED;
	}
	if (files_init(&c->files, conf->script, conf->lua_dir,
		       conf->lua_fallback, c->why, WHY) != 0)
		return EXIT_CONFIG;
	c->script[0] = load_script(c, 0);
	if (!c->script[0])
		return EXIT_CONFIG;
	c->plan = script_plan(c->script[0]);
	if (level < 0)
		logsink_set_level(c->log, c->plan->log_level);
	return EXIT_FINE;
}

static int load_others(struct control *c)
{
	c->workers = c->plan->workers ? c->plan->workers : 1;
	if (c->workers > WORKERS_MAX) {
		logsink_say(c->log, LOG_WARN, "workers.limited",
			    LOGF_INT("asked", c->workers),
			    LOGF_INT("workers", WORKERS_MAX));
		c->workers = WORKERS_MAX;
	}
	for (unsigned i = 1; i < c->workers; i++)
		if (!(c->script[i] = load_script(c, i)))
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
		snprintf(c->why, WHY,
			 "%s: nothing to listen on: add sip.listen { "
			 "\"udp:0.0.0.0:5060\" }",
			 c->conf->script);
	for (unsigned i = 0; i < ls->n; i++) {
		char text[ADDR_TEXT];

		if (ls->l[i].transport == TRANSPORT_UDP)
			continue;
		snprintf(c->why, WHY,
			 "cannot listen on %s:%s: this version speaks UDP only",
			 transport_name(ls->l[i].transport),
			 addr_text(&ls->l[i].addr, text));
		return false;
	}
	return ls->n > 0;
}

static int make_node(struct control *c)
{
	uint8_t key[KEY_BYTES];
	enum key_origin origin;
	int err;

	if (keyfile_get(c->plan->key_file, c->plan->state_dir, key, &origin,
			c->why, WHY) != 0)
		return EXIT_CONFIG;
	c->node = node_new(c->workers, key);
	explicit_bzero(key, sizeof(key));
	err = c->node ? script_apply(c->script[0], c->node) : ERR_NOMEM;
	if (err) {
		snprintf(c->why, WHY, "%s: %s", c->conf->script, err_text(err));
		return err == ERR_NOMEM ? EXIT_FAILED : EXIT_CONFIG;
	}
	if (!choose_listeners(c))
		return EXIT_CONFIG;
	c->node->key_is_temporary = origin == KEY_TEMPORARY;
	c->node->trace =
	    (c->conf->log_level < 0 ? (int)c->plan->log_level
				    : c->conf->log_level) >= LOG_DEBUG;
	if (origin == KEY_TEMPORARY)
		logsink_say(
		    c->log, LOG_WARN, "key.temporary",
		    LOGF_STR("hint", STR("calls do not survive a restart; set "
					 "state_dir or key_file")));
	return EXIT_FINE;
}

static int make_workers(struct control *c)
{
	for (unsigned i = 0; i < c->workers; i++) {
		struct worker_conf wc = {
		    .node = c->node,
		    .script = c->script[i],
		    .index = i,
		    .log = c->log,
		    .peers = c->worker,
		};

		keyfile_random(wc.seed, sizeof(wc.seed));
		c->worker[i] = worker_new(&wc);
		if (!c->worker[i]) {
			snprintf(c->why, WHY, "%s", err_text(ERR_NOMEM));
			return EXIT_FAILED;
		}
	}
	if (worker_listen(c->worker[0], c->why, WHY) != 0)
		return EXIT_FAILED;
	return EXIT_FINE;
}

static void stop_workers(struct control *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		worker_stop(c->worker[i]);
	for (unsigned i = 0; i < n; i++)
		worker_join(c->worker[i]);
}

static int start_workers(struct control *c)
{
	for (unsigned i = 0; i < c->workers; i++) {
		int err = worker_start(c->worker[i]);

		if (!err)
			continue;
		snprintf(c->why, WHY, "cannot start: %s", err_text(err));
		stop_workers(c, i);
		return EXIT_FAILED;
	}
	return EXIT_FINE;
}

/* ---- running ---- */

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

static void log_start(struct control *c)
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
		    LOGF_INT("servers", (int64_t)c->node->members.n),
		    LOGF_INT("workers", c->workers), LOGF_INT("pid", getpid()));
}

static void block(sigset_t *set, int sig)
{
	sigaddset(set, sig);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* Whoever asks twice does not want to wait: the second signal ends the process
 * at once. */
static void restore_signals(const sigset_t *set)
{
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
}

static void on_hup(struct control *c)
{
	logsink_say(
	    c->log, LOG_WARN, "reload.ignored",
	    LOGF_STR("hint", STR("this version cannot reload: restart it to "
				 "apply a changed script")));
}

static void wait_for_end(struct control *c, const sigset_t *set)
{
	int sig = 0;

	while (sig != SIGTERM && sig != SIGINT) {
		if (sigwait(set, &sig) != 0)
			continue;
		if (sig == SIGHUP)
			on_hup(c);
		for (unsigned i = 0; sig == SIGUSR1 && i < c->workers; i++)
			worker_report(c->worker[i]);
	}
	logsink_say(
	    c->log, LOG_INFO, "stop",
	    LOGF_STR("signal", sig == SIGTERM ? STR("TERM") : STR("INT")));
}

static int serve(struct control *c)
{
	sigset_t set;
	int code;

	sigemptyset(&set);
	signal(SIGPIPE, SIG_IGN);
	block(&set, SIGHUP);
	block(&set, SIGUSR1);
	if ((code = load(c)) != EXIT_FINE)
		return code;
	/* Not earlier: a script that loads for ever can be interrupted. */
	block(&set, SIGTERM);
	block(&set, SIGINT);
	if ((code = load_others(c)) != EXIT_FINE ||
	    (code = make_node(c)) != EXIT_FINE ||
	    (code = make_workers(c)) != EXIT_FINE ||
	    (code = start_workers(c)) != EXIT_FINE)
		return code;
	log_start(c);
	wait_for_end(c, &set);
	restore_signals(&set);
	stop_workers(c, c->workers);
	return EXIT_FINE;
}

/* Frees everything, then tells what went wrong: after what was logged. */
static int end(struct control *c, int code)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		worker_free(&c->worker[i]);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		script_free(&c->script[i]);
	node_free(&c->node);
	logsink_free(&c->log);
	if (code != EXIT_FINE)
		fprintf(stderr, "tandem: %s\n", c->why);
	free(c);
	return code;
}

static struct control *control_new(const struct control_conf *conf)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c)
		c->conf = conf;
	else
		fprintf(stderr, "tandem: %s\n", err_text(ERR_NOMEM));
	return c;
}

int control_run(const struct control_conf *conf)
{
	struct control *c = control_new(conf);

	return c ? end(c, serve(c)) : EXIT_FAILED;
}

int control_check(const struct control_conf *conf, bool dump)
{
	struct control *c = control_new(conf);
	int code;

	if (!c)
		return EXIT_FAILED;
	code = load(c);
	if (code == EXIT_FINE) {
		puts(dump ? c->plan->dump : "OK");
		if (fflush(stdout) != 0) {
			snprintf(c->why, WHY, "cannot write the result");
			code = EXIT_FAILED;
		}
	}
	return end(c, code);
}
