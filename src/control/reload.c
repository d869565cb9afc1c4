#include "control/reload.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control_int.h"
#include "control/keys.h"
#include "host/tls.h"
#include "util/err.h"

/* After which a change of a file that came while too many earlier generations
 * had requests is tried again: nobody else would. */
enum { RETRY_S = 10 };

/* More are not kept waiting for their turn. */
enum { WISHES_MAX = 64 };

/* What somebody wants: the script loaded again; the same with an edit of the
 * overrides; or only a look at a script. */
struct wish {
	struct list link;
	const char *cause;
	struct console_call *call; /* who waits for it, or NULL */
	bool look;
	struct str edit; /* STR_NONE: none; in the same memory, as path */
	const char *path;
	char text[];
};

/* How a reload went, for who asks later. */
struct verdict {
	bool ok;
	const char *cause;
	wall_t when, success;
	unsigned rejected; /* the generation that was not to be; 0: none */
	wall_t rejected_at;
	char why[CONTROL_WHY];
};

struct reload {
	struct control *control;
	ev_async done;
	ev_timer retry;
	struct list wishes; /* that wait for their turn */
	size_t n_wishes;
	struct list served; /* those of the one that runs: the same for all */
	const char *cause;
	bool look;
	struct str edit;
	const char *path;
	pthread_t thread;
	bool running; /* the thread is */
	atomic_bool give_up;
	struct verdict last;
	struct files other; /* where a script is that is only looked at */
	/* the thread's until `done` */
	struct generation loaded;
	struct listeners listeners; /* with the certificates of the new one */
	struct tls_clients clients;
	struct tls_set *tls;
	struct sipkeys keys;
	bool has_keys; /* read from the key file */
	int err;
	char why[CONTROL_WHY];
};

const char reload_by_signal[] = "signal", reload_by_file[] = "file";
const char reload_by_ctl[] = "ctl", reload_by_override[] = "override";

/* ---- the thread ---- */

static void script_conf(void *ctx, unsigned i, struct script_conf *out_r)
{
	struct reload *r = ctx;

	control_script_conf(r->control, i, out_r);
	out_r->give_up = &r->give_up;
	out_r->edit = r->edit;
	if (r->path) {
		out_r->loader = files_loader(&r->other);
		out_r->path = r->path;
	}
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

/* Where the keys come from stays; what is in a file, and which, may change. */
static int read_keys(struct reload *r)
{
	const char *path = script_plan(r->loaded.script[0])->key_file;

	r->has_keys = path && r->control->key_origin == KEY_FILE;
	if (r->has_keys &&
	    keyfile_read(path, &r->keys, r->why, sizeof(r->why)) != 0)
		return ERR_CONFIG;
	return 0;
}

static void *run(void *arg)
{
	struct reload *r = arg;

	r->err = 0;
	if (r->path && files_init(&r->other, r->path, r->control->files.lua_dir,
				  NULL, r->why, sizeof(r->why)) != 0)
		r->err = ERR_CONFIG;
	if (!r->err)
		r->err =
		    generation_load(&r->loaded, r->control->workers,
				    script_conf, r, r->why, sizeof(r->why));
	if (!r->err && !r->path)
		r->err = read_certs(r);
	if (!r->err && !r->path)
		r->err = read_keys(r);
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
	struct succession *scripts[NODE_MAX_WORKERS];
	int err;

	if (!rest_all(c, r))
		return ERR_LIMIT;
	for (unsigned i = 0; i < c->workers; i++)
		scripts[i] = worker_scripts(c->worker[i]);
	err = generation_switch(&r->loaded, c->node, scripts, control_now(),
				r->why, sizeof(r->why));
	if (!err) {
		c->taken_over = control_now().wall;
		c->plan = script_plan(scripts[0]->present);
		control_set_level(c);
		control_set_notify(c);
		use_certs(c, r);
		if (r->has_keys)
			keys_use(c, &r->keys);
		watch_data(c);
	}
	for (unsigned i = 0; i < c->workers; i++)
		worker_resume(c->worker[i]);
	return err;
}

static void log_rejected(struct control *c, const char *why)
{
	logsink_say(c->log, LOG_ERROR, "config.rejected",
		    LOGF_INT("generation", c->node->generation),
		    LOGF_STR("reason", str_from(why)));
}

static void reject(struct control *c, const char *why)
{
	struct verdict *v = &c->reload->last;

	v->ok = false;
	c->rejected = true;
	v->rejected = c->node->generation + 1;
	v->rejected_at = control_now().wall;
	snprintf(v->why, sizeof(v->why), "%s", why);
}

/* The service manager waits for that, unless we are on our way out. */
static void say_ready(struct control *c)
{
	if (!c->stop.begun)
		service_say(&c->service, "READY=1");
}

/* ---- who waits for it ---- */

static void wish_end(struct wish *w, bool ok, struct str answer)
{
	if (w->call)
		console_answer(w->call, ok, answer);
	free(w);
}

/* What the HTTP API is told: routes/reload.lua. */
static struct str outcome(const struct reload *r, struct buf *b)
{
	const struct control *c = r->control;
	struct log_field f[] = {
	    LOGF_BOOL("ok", !r->err),
	    LOGF_INT("generation", c->node->generation),
	    LOGF_BOOL("busy", r->err == ERR_LIMIT),
	    LOGF_STR("error", r->err ? str_from(r->why) : STR("")),
	};

	log_write_fields(b, f, r->err ? ARRAY_LEN(f) : 2);
	return buf_str(b);
}

static void tell(struct reload *r)
{
	char space[6 * CONTROL_WHY];
	struct list now;
	struct buf b;
	struct str answer;

	buf_fixed(&b, space, sizeof(space));
	answer = outcome(r, &b);
	if (r->look && !r->err)
		answer = str_from(script_plan(r->loaded.script[0])->dump);
	list_init(&now);
	while (!list_empty(&r->served)) {
		struct list *it = list_first(&r->served);

		list_remove(it);
		list_append(&now, it);
	}
	/* What they do then may wish for more. */
	list_each_safe (it, &now)
		wish_end(container_of(it, struct wish, link), true, answer);
}

static void serve(struct reload *r, struct wish *w)
{
	list_remove(&w->link);
	list_append(&r->served, &w->link);
	r->n_wishes--;
}

static bool is_plain(const struct wish *w)
{
	return !w->look && !w->edit.p;
}

/* The first one; and with one that wants nothing special all others like it. */
static void take_wishes(struct reload *r)
{
	struct wish *first =
	    container_of(list_first(&r->wishes), struct wish, link);

	r->cause = first->cause;
	r->look = first->look;
	r->edit = first->edit;
	r->path = first->path;
	serve(r, first);
	if (!is_plain(first))
		return;
	list_each_safe (it, &r->wishes) {
		struct wish *w = container_of(it, struct wish, link);

		if (is_plain(w))
			serve(r, w);
	}
}

static void begin(struct control *c);

static void approve(struct control *c)
{
	struct verdict *v = &c->reload->last;

	v->ok = true;
	c->rejected = false;
	v->success = control_now().wall;
}

/* An edit that was refused says nothing of the script. */
static void judge(struct control *c)
{
	struct reload *r = c->reload;

	if (r->err)
		log_rejected(c, r->why);
	if (r->err && r->edit.p)
		return;
	r->last.cause = r->cause;
	r->last.when = control_now().wall;
	if (r->err)
		reject(c, r->why);
	else
		approve(c);
}

static void finish(struct control *c)
{
	struct reload *r = c->reload;

	if (!r->err && !r->look)
		r->err = switch_over(c, r);
	if (!r->look)
		judge(c);
	tell(r);
	generation_free(&r->loaded);
	tls_set_free(&r->tls);
}

static void on_done(struct ev_loop *loop, ev_async *a, int events)
{
	struct control *c = a->data;
	struct reload *r = c->reload;

	(void)loop;
	(void)events;
	pthread_join(r->thread, NULL);
	finish(c);
	r->running = false;
	if (list_empty(&r->wishes)) {
		say_ready(c);
		if (r->err == ERR_LIMIT && r->cause == reload_by_file)
			ev_timer_again(c->loop, &r->retry);
		return;
	}
	begin(c);
}

static void on_retry(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)events;
	ev_timer_stop(loop, t);
	reload_begin(t->data, reload_by_file);
}

static void announce(struct control *c)
{
	struct reload *r = c->reload;

	if (r->look)
		return;
	if (!c->stop.begun)
		service_reloading(&c->service);
	logsink_say(c->log, LOG_INFO, "reload.begin",
		    LOGF_STR("cause", str_from(r->cause)));
	c->load_began = control_now().wall.us;
}

static void begin(struct control *c)
{
	struct reload *r = c->reload;

	take_wishes(r);
	announce(c);
	/* Not the addresses of the machine, which a worker keeps up to date. */
	memcpy(r->listeners.l, c->node->listeners.l, sizeof(r->listeners.l));
	r->listeners.n = c->node->listeners.n;
	r->clients = c->node->tls;
	r->running = pthread_create(&r->thread, NULL, run, r) == 0;
	if (r->running)
		return;
	r->err = ERR_NOMEM;
	snprintf(r->why, sizeof(r->why), "%s", err_text(ERR_NOMEM));
	finish(c);
	say_ready(c);
}

/* NULL: memory has run out, or too many wait. The texts are copied. */
static struct wish *wish(struct reload *r, const char *cause, struct str edit,
			 struct str path)
{
	struct wish *w = NULL;

	if (r->n_wishes < WISHES_MAX)
		w = calloc(1, sizeof(*w) + edit.n + path.n + 1);
	if (!w)
		return NULL;
	w->cause = cause;
	if (edit.n) {
		memcpy(w->text, edit.p, edit.n);
		w->edit = (struct str){w->text, edit.n};
	}
	if (path.n) {
		memcpy(w->text + edit.n, path.p, path.n);
		w->path = w->text + edit.n;
	}
	list_append(&r->wishes, &w->link);
	r->n_wishes++;
	return w;
}

static void want(struct control *c)
{
	struct reload *r = c->reload;

	ev_timer_stop(c->loop, &r->retry);
	if (!r->running)
		begin(c);
}

static void put(struct control *c, struct wish *w, struct console_call *call)
{
	if (!w) {
		console_answer(call, false,
			       STR("too many wait for a reload already"));
		return;
	}
	w->call = call;
	want(c);
}

/* ---- life ---- */

int reload_init(struct control *c)
{
	struct reload *r = calloc(1, sizeof(*r));

	c->reload = r;
	if (!r)
		return ERR_NOMEM;
	r->control = c;
	list_init(&r->wishes);
	list_init(&r->served);
	r->last.ok = true;
	r->last.cause = "start";
	r->last.when = r->last.success = control_now().wall;
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

	list_each (it, &r->wishes) {
		const struct wish *w = container_of(it, struct wish, link);

		if (is_plain(w) && !w->call)
			return; /* it will see what has changed since */
	}
	if (wish(r, cause, STR_NONE, STR_NONE))
		want(c);
	else
		log_rejected(c, err_text(ERR_NOMEM));
}

void reload_ask(struct control *c, struct str edit, struct console_call *call)
{
	put(c,
	    wish(c->reload, edit.n ? reload_by_override : reload_by_ctl, edit,
		 STR_NONE),
	    call);
}

void reload_look(struct control *c, struct str path, struct console_call *call)
{
	struct wish *w = wish(c->reload, reload_by_ctl, STR_NONE, path);

	if (w)
		w->look = true;
	put(c, w, call);
}

static double seconds(wall_t t)
{
	return (double)t.us / 1e6;
}

void reload_tell(const struct control *c, struct buf *b)
{
	const struct verdict *v = &c->reload->last;
	struct log_field f[] = {
	    LOGF_BOOL("ok", v->ok),
	    LOGF_STR("cause", str_from(v->cause)),
	    LOGF_NUM("when", seconds(v->when)),
	    LOGF_NUM("success_when", seconds(v->success)),
	    LOGF_INT("generation", c->node->generation),
	    LOGF_INT("rejected_generation", v->rejected),
	    LOGF_NUM("rejected_when", seconds(v->rejected_at)),
	    LOGF_STR("rejected_reason", str_from(v->why)),
	};

	log_write_fields(b, f, v->rejected ? ARRAY_LEN(f) : ARRAY_LEN(f) - 3);
}

static void forget(struct list *wishes)
{
	list_each_safe (it, wishes) {
		struct wish *w = container_of(it, struct wish, link);

		list_remove(it);
		wish_end(w, false, STR("the proxy ends"));
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
	forget(&r->served);
	forget(&r->wishes);
	free(r);
}
