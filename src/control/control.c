#include "control/control_int.h"
#include "control/keys.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/process.h"
#include "control/review.h"
#include "host/tls.h"
#include "control/verbs.h"
#include "util/err.h"

/* ---- signals ---- */

static void mask(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(how, &set, NULL);
}

static void on_hup(struct ev_loop *loop, ev_signal *w, int events)
{
	struct control *c = w->data;

	(void)loop;
	(void)events;
	reload_begin(c, reload_by_signal);
}

static void on_usr1(struct ev_loop *loop, ev_signal *w, int events)
{
	struct control *c = w->data;

	(void)loop;
	(void)events;
	for (unsigned i = 0; i < c->workers; i++)
		worker_report(c->worker[i]);
}

static void on_term(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	stop_begin(w->data, "TERM");
}

static void on_interrupt(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	stop_now(w->data, "INT");
}

static void watch_signal(struct control *c, ev_signal *w, int sig,
			 void (*on)(struct ev_loop *, ev_signal *, int))
{
	ev_signal_init(w, on, sig);
	w->data = c;
	ev_signal_start(c->loop, w);
	mask(SIG_UNBLOCK, sig); /* in this thread only */
}

static void watch_signals(struct control *c)
{
	watch_signal(c, &c->hup, SIGHUP, on_hup);
	watch_signal(c, &c->usr1, SIGUSR1, on_usr1);
	watch_signal(c, &c->term, SIGTERM, on_term);
	watch_signal(c, &c->interrupt, SIGINT, on_interrupt);
}

/* ---- life ---- */

static void on_data(void *ctx)
{
	reload_begin(ctx, reload_by_file);
}

static int make_loop(struct control *c)
{
	c->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (c->loop)
		c->watch = watch_new(c->loop, on_data, c);
	if (c->watch && reload_init(c) == 0 && stop_init(c) == 0 &&
	    watchdog_start(c) == 0)
		return EXIT_FINE;
	snprintf(c->why, CONTROL_WHY, "%s", err_text(ERR_NOMEM));
	return EXIT_FAILED;
}

/* The default is for where it was installed: nobody who just tries it has to
 * have that directory. */
static const char *socket_path(const struct control *c)
{
	const char *path = c->conf->ctl;

	if (!path)
		return access("/run/tandem", W_OK) == 0 ? DEFAULT_CTL : NULL;
	return strcmp(path, "none") == 0 ? NULL : path;
}

static void on_api_failed(void *ctx, struct str trace)
{
	struct control *c = ctx;

	logsink_say(c->log, LOG_ERROR, "api.error", LOGF_STR("trace", trace));
}

static int open_api(struct control *c)
{
	struct console_conf console = {.lua_dir = c->files.lua_dir,
				       .verb = verbs_do,
				       .failed = on_api_failed,
				       .ctx = c};
	const char *path = socket_path(c);
	bool tcp = c->conf->http.family != ADDR_NONE;

	if (!path && !tcp)
		return EXIT_FINE;
	c->console = console_new(&console, c->why, CONTROL_WHY);
	if (!c->console)
		return EXIT_CONFIG;
	c->asks = asks_new(c->loop);
	c->kept = kept_new(c->loop, c->state);
	c->http = http_new(c->loop, c->console);
	if (!c->asks || !c->kept || !c->http) {
		snprintf(c->why, CONTROL_WHY, "%s", err_text(ERR_NOMEM));
		return EXIT_FAILED;
	}
	if (path && http_open_unix(c->http, path, c->why, CONTROL_WHY) != 0)
		return EXIT_FAILED;
	if (tcp && http_open_tcp(c->http, &c->conf->http, c->conf->http_token,
				 c->why, CONTROL_WHY) != 0)
		return EXIT_FAILED;
	return EXIT_FINE;
}

static void close_api(struct control *c)
{
	if (c->console)
		console_end(c->console);
	http_free(&c->http);
	asks_free(&c->asks);
	kept_free(&c->kept);
	console_free(&c->console);
}

static int serve(struct control *c)
{
	int code;

	signal(SIGPIPE, SIG_IGN);
	/* Whoever started us may ignore it: then nobody could be told how a
	 * program ended that we have started. */
	signal(SIGCHLD, SIG_DFL);
	mask(SIG_BLOCK, SIGHUP);
	mask(SIG_BLOCK, SIGUSR1);
	if (c->conf->http_token &&
	    http_check_token(c->conf->http_token, c->why, CONTROL_WHY) != 0)
		return EXIT_CONFIG;
	if ((code = startup_load(c)) != EXIT_FINE)
		return code;
	/* Not earlier: a script that loads for ever can be interrupted. */
	mask(SIG_BLOCK, SIGTERM);
	mask(SIG_BLOCK, SIGINT);
	if ((code = startup_take_up(c)) != EXIT_FINE ||
	    (code = startup_load_others(c)) != EXIT_FINE ||
	    (code = startup_make_node(c)) != EXIT_FINE ||
	    (code = startup_read_certs(c)) != EXIT_FINE ||
	    (code = startup_make_workers(c)) != EXIT_FINE ||
	    (code = make_loop(c)) != EXIT_FINE ||
	    (code = open_api(c)) != EXIT_FINE ||
	    (code = startup_run_workers(c)) != EXIT_FINE)
		return code;
	watch_signals(c);
	c->started = control_now().wall;
	c->began = process_began();
	startup_log(c);
	service_say(&c->service, "READY=1");
	ev_run(c->loop, 0);
	reload_free(c); /* it needs the workers */
	control_stop_workers(c, c->workers);
	stop_log(c);
	return EXIT_FINE;
}

/* Frees everything, then tells what went wrong: after what was logged. */
int control_end(struct control *c, int code)
{
	reload_free(c);
	close_api(c);
	stop_free(c);
	observe_free(c);
	watchdog_free(c);
	service_close(&c->service);
	watch_free(&c->watch);
	for (unsigned i = 0; i < NODE_MAX_WORKERS; i++)
		worker_free(&c->worker[i]);
	outages_fini(&c->outages);
	tls_set_free(&c->tls);
	statefile_close(&c->state); /* writes what the workers saved last */
	generation_free(&c->loaded);
	node_free(&c->node);
	free(c->overrides);
	free(c->known);
	if (c->loop)
		ev_loop_destroy(c->loop);
	notifier_free(&c->notifier); /* what has just changed is told yet */
	logsink_free(&c->log);
	transitions_free(&c->transitions);
	if (code != EXIT_FINE)
		fprintf(stderr, "tandem: %s\n", c->why);
	free(c);
	return code;
}

struct control *control_new(const struct control_conf *conf)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c) {
		c->conf = conf;
		c->service.fd = -1;
		outages_init(&c->outages);
	} else {
		fprintf(stderr, "tandem: %s\n", err_text(ERR_NOMEM));
	}
	return c;
}

int control_run(const struct control_conf *conf)
{
	struct control *c = control_new(conf);

	if (!c)
		return EXIT_FAILED;
	service_open(&c->service);
	umask(S_IWGRP | S_IRWXO); /* what we write is no stranger's business */
	return control_end(c, serve(c));
}

static int write_result(struct control *c, bool dump)
{
	puts(dump ? c->plan->dump : "OK");
	if (fflush(stdout) == 0)
		return EXIT_FINE;
	snprintf(c->why, CONTROL_WHY, "cannot write the result");
	return EXIT_FAILED;
}

int control_check(const struct control_conf *conf, bool dump, bool strict)
{
	struct control *c = control_new(conf);
	unsigned long warnings;
	int code;

	if (!c)
		return EXIT_FAILED;
	code = startup_load(c);
	if (code == EXIT_FINE)
		code = certs_try(c);
	if (code == EXIT_FINE)
		code = keys_try(c);
	if (code == EXIT_FINE) {
		warnings = review_print(c) + logsink_warnings(c->log);
		if (strict && warnings) {
			snprintf(c->why, CONTROL_WHY,
				 "%s: %lu warning%s, and --strict",
				 conf->script, warnings,
				 warnings == 1 ? "" : "s");
			code = EXIT_CONFIG;
		} else {
			code = write_result(c, dump);
		}
	}
	return control_end(c, code);
}
