#include "host/ask.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/worker.h"

/* A worker looks between two entries, which take 50 ms of a script at most. */
static const ev_tstamp patience = 5., look_every = 0.5;

struct asks {
	struct ev_loop *loop;
	ev_async async;
	ev_timer timer;
	struct list all; /* control thread's */
	pthread_mutex_t lock;
	struct list answered; /* under the lock */
};

static void ask_free(struct ask *a)
{
	list_remove(&a->link);
	list_remove(&a->all);
	free(a->answer);
	free(a);
}

static void refuse(struct console_call *call, const char *why)
{
	console_answer(call, false, str_from(why));
}

static void finish(struct ask *a)
{
	struct console_call *call = a->call;

	a->call = NULL;
	if (call && a->answer)
		console_answer(call, a->ok, str_from(a->answer));
	else if (call)
		refuse(call, "not enough memory");
	ask_free(a);
}

static void on_async(struct ev_loop *loop, ev_async *w, int events)
{
	struct asks *as = w->data;
	struct list mine;

	(void)loop;
	(void)events;
	list_init(&mine);
	pthread_mutex_lock(&as->lock);
	while (!list_empty(&as->answered)) {
		struct list *it = list_first(&as->answered);

		list_remove(it);
		list_append(&mine, it);
	}
	pthread_mutex_unlock(&as->lock);
	list_each_safe (it, &mine)
		finish(container_of(it, struct ask, link));
	if (list_empty(&as->all))
		ev_timer_stop(as->loop, &as->timer);
}

/* What the question points to stays: the worker may still answer it. */
static void give_up(struct ask *a)
{
	struct console_call *call = a->call;
	char why[64];

	a->call = NULL;
	snprintf(why, sizeof(why), "worker %u does not answer", a->worker);
	refuse(call, why);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	struct asks *as = t->data;
	ev_tstamp now = ev_now(loop);

	(void)events;
	list_each_safe (it, &as->all) {
		struct ask *a = container_of(it, struct ask, all);

		if (a->call && a->deadline <= now)
			give_up(a);
	}
}

struct asks *asks_new(struct ev_loop *loop)
{
	struct asks *as = calloc(1, sizeof(*as));

	if (!as)
		return NULL;
	as->loop = loop;
	list_init(&as->all);
	list_init(&as->answered);
	pthread_mutex_init(&as->lock, NULL);
	ev_async_init(&as->async, on_async);
	ev_timer_init(&as->timer, on_timer, look_every, look_every);
	as->async.data = as->timer.data = as;
	ev_async_start(loop, &as->async);
	return as;
}

static struct str append(char **at, struct str s)
{
	struct str copy = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

void asks_put(struct asks *as, struct worker *w, unsigned index,
	      struct str what, struct str args, struct console_call *call)
{
	struct ask *a = calloc(1, sizeof(*a) + what.n + args.n);
	char *at;

	if (!a) {
		refuse(call, "not enough memory");
		return;
	}
	at = a->text;
	a->what = append(&at, what);
	a->args = append(&at, args);
	a->asks = as;
	a->call = call;
	a->worker = index;
	ev_now_update(as->loop);
	a->deadline = ev_now(as->loop) + patience;
	list_append(&as->all, &a->all);
	ev_timer_start(as->loop, &as->timer);
	worker_ask(w, a);
}

void asks_return(struct ask *a)
{
	struct asks *as = a->asks;

	pthread_mutex_lock(&as->lock);
	list_append(&as->answered, &a->link);
	pthread_mutex_unlock(&as->lock);
	ev_async_send(as->loop, &as->async);
}

void asks_free(struct asks **asp)
{
	struct asks *as = *asp;

	*asp = NULL;
	if (!as)
		return;
	list_each_safe (it, &as->all) {
		struct ask *a = container_of(it, struct ask, all);

		if (a->call)
			refuse(a->call, "the proxy ends");
		ask_free(a);
	}
	ev_async_stop(as->loop, &as->async);
	ev_timer_stop(as->loop, &as->timer);
	pthread_mutex_destroy(&as->lock);
	free(as);
}
