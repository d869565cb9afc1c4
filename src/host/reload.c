#include "host/reload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/control_int.h"
#include "host/tls.h"
#include "util/err.h"

/* After which a change of a file that came while too many earlier generations
 * had requests is tried again: nobody else would. */
enum { RETRY_S = 10 };

struct reload {
	struct control *control;
	ev_async done;
	ev_timer retry;
	const char *cause; /* of the one that runs */
	pthread_t thread;
	bool running;      /* the thread is */
	const char *again; /* the cause of the next one, or NULL */
	atomic_bool give_up;
	/* the thread's until `done` */
	struct generation loaded;
	struct listeners listeners; /* with the certificates of the new one */
	struct tls_clients clients;
	struct tls_set *tls;
	int err;
	char why[CONTROL_WHY];
};

const char reload_by_signal[] = "signal", reload_by_file[] = "file";

/* ---- the thread ---- */

static void script_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	struct reload *r = ctx;

	control_script_conf(r->control, i, out_r);
	out_r->give_up = &r->give_up;
}

static int read_certs(struct reload *r)
{
	const struct plan *p = script_plan(r->loaded.script[0]);
	struct reason why = {r->why, sizeof(r->why)};

	listeners_take_tls(&r->listeners, p->listener, p->listeners);
	r->tls = certs_read(r->control, r->loaded.script[0], &r->listeners,
			    &r->clients, r->control->tls, &why);
	return r->tls ? 0 : ERR_CONFIG;
}

static void *run(void *arg)
{
	struct reload *r = arg;

	r->err = generation_load(&r->loaded, r->control->workers, script_conf,
				 r, r->why, sizeof(r->why));
	if (!r->err)
		r->err = read_certs(r);
	ev_async_send(r->control->loop, &r->done);
	return NULL;
}

/* ---- the switch ---- */

static void watch_data(struct control *c)
{
	struct succession *first = worker_scripts(c->worker[0]);
	const char *path;
	int err = 0;

	watch_begin(c->watch);
	for (size_t i = 0; (path = script_data_file(first->present, i)); i++)
		if (watch_add(c->watch, path, c->load_began) != 0)
			err = ERR_NOMEM;
	watch_end(c->watch);
	if (err)
		logsink_say(c->log, LOG_ERROR, "watch.failed",
			    LOGF_STR("error", str_from(err_text(err))));
}

/* While the workers rest. */
static void use_certs(struct control *c, struct reload *r)
{
	for (unsigned i = 0; i < c->workers; i++)
		worker_use_tls(c->worker[i], r->tls);
	tls_set_free(&c->tls);
	c->tls = r->tls;
	r->tls = NULL;
}

/* All of them, or none. */
static bool rest_all(struct control *c, struct reload *r)
{
	for (unsigned i = 0; i < c->workers; i++) {
		if (worker_rest(c->worker[i]))
			continue;
		snprintf(r->why, sizeof(r->why), "worker %u does not answer",
			 i);
		while (i-- > 0)
			worker_resume(c->worker[i]);
		return false;
	}
	return true;
}

static int switch_over(struct control *c, struct reload *r)
{
	struct succession *scripts[CONTROL_WORKERS];
	int err;

	if (!rest_all(c, r))
		return ERR_LIMIT;
	for (unsigned i = 0; i < c->workers; i++)
		scripts[i] = worker_scripts(c->worker[i]);
	err = generation_switch(&r->loaded, c->node, scripts, control_now(),
				r->why, sizeof(r->why));
	if (!err) {
		c->taken_over = control_now().wall;
		c->rejected = false;
		c->plan = script_plan(scripts[0]->present);
		control_set_level(c);
		control_set_notify(c);
		use_certs(c, r);
		watch_data(c);
	}
	for (unsigned i = 0; i < c->workers; i++)
		worker_resume(c->worker[i]);
	return err;
}

static void reject(struct control *c, const char *why)
{
	c->rejected = true;
	logsink_say(c->log, LOG_ERROR, "config.rejected",
		    LOGF_INT("generation", c->node->generation),
		    LOGF_STR("reason", str_from(why)));
}

/* The service manager waits for that, unless we are on our way out. */
static void say_ready(struct control *c)
{
	if (!c->stop.begun)
		service_say(&c->service, "READY=1");
}

static void on_done(struct ev_loop *loop, ev_async *a, int events)
{
	struct control *c = a->data;
	struct reload *r = c->reload;
	const char *again = r->again;

	(void)loop;
	(void)events;
	pthread_join(r->thread, NULL);
	r->running = false;
	if (!r->err)
		r->err = switch_over(c, r);
	if (r->err)
		reject(c, r->why);
	if (!again)
		say_ready(c);
	generation_free(&r->loaded);
	tls_set_free(&r->tls);
	r->again = NULL;
	if (again)
		reload_begin(c, again);
	else if (r->err == ERR_LIMIT && r->cause == reload_by_file)
		ev_timer_again(c->loop, &r->retry);
}

static void on_retry(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)events;
	ev_timer_stop(loop, t);
	reload_begin(t->data, reload_by_file);
}

/* ---- life ---- */

int reload_init(struct control *c)
{
	struct reload *r = calloc(1, sizeof(*r));

	c->reload = r;
	if (!r)
		return ERR_NOMEM;
	r->control = c;
	ev_async_init(&r->done, on_done);
	r->done.data = c;
	ev_async_start(c->loop, &r->done);
	ev_timer_init(&r->retry, on_retry, 0., RETRY_S);
	r->retry.data = c;
	watch_data(c);
	return 0;
}

void reload_begin(struct control *c, const char *cause)
{
	struct reload *r = c->reload;

	if (r->running) {
		r->again = cause;
		return;
	}
	ev_timer_stop(c->loop, &r->retry);
	r->cause = cause;
	if (!c->stop.begun)
		service_reloading(&c->service);
	logsink_say(c->log, LOG_INFO, "reload.begin",
		    LOGF_STR("cause", str_from(cause)));
	c->load_began = control_now().wall.us;
	/* Not the addresses of the machine, which a worker keeps up to date. */
	memcpy(r->listeners.l, c->node->listeners.l, sizeof(r->listeners.l));
	r->listeners.n = c->node->listeners.n;
	r->clients = c->node->tls;
	r->running = pthread_create(&r->thread, NULL, run, r) == 0;
	if (!r->running) {
		reject(c, err_text(ERR_NOMEM));
		say_ready(c);
	}
}

void reload_free(struct control *c)
{
	struct reload *r = c->reload;

	c->reload = NULL;
	if (!r)
		return;
	atomic_store(&r->give_up, true);
	if (r->running)
		pthread_join(r->thread, NULL);
	generation_free(&r->loaded);
	tls_set_free(&r->tls);
	ev_async_stop(c->loop, &r->done);
	ev_timer_stop(c->loop, &r->retry);
	free(r);
}
