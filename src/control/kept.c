#include "control/kept.h"

#include <stdlib.h>
#include <string.h>

#include "util/list.h"

struct kept {
	struct ev_loop *loop;
	struct statefile *state;
	ev_async tried;
	struct list waiting;
};

struct waiter {
	struct list link;
	struct console_call *call;
	struct str name; /* in the same memory */
	char text[];
};

static void answer(struct console_call *call, int err)
{
	console_answer(call, !err, err ? str_from(strerror(err)) : STR(""));
}

static void on_tried(struct ev_loop *loop, ev_async *a, int events)
{
	struct kept *k = a->data;
	struct list done;
	int err;

	(void)loop;
	(void)events;
	list_init(&done);
	list_each_safe (it, &k->waiting) {
		struct waiter *w = container_of(it, struct waiter, link);

		if (!statefile_is_kept(k->state, w->name, &err))
			continue;
		list_remove(it);
		list_append(&done, it);
	}
	list_each_safe (it, &done) {
		struct waiter *w = container_of(it, struct waiter, link);

		statefile_is_kept(k->state, w->name, &err);
		answer(w->call, err);
		free(w);
	}
}

/* In the thread that writes. */
static void on_round(void *ctx)
{
	struct kept *k = ctx;

	ev_async_send(k->loop, &k->tried);
}

struct kept *kept_new(struct ev_loop *loop, struct statefile *state)
{
	struct kept *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->loop = loop;
	k->state = state;
	list_init(&k->waiting);
	ev_async_init(&k->tried, on_tried);
	k->tried.data = k;
	ev_async_start(loop, &k->tried);
	if (state)
		statefile_on_round(state, on_round, k);
	return k;
}

void kept_ask(struct kept *k, struct str name, struct console_call *call)
{
	struct waiter *w;
	int err;

	if (!k->state) {
		console_answer(call, false,
			       STR("there is no state_dir: it lasts until the "
				   "process ends"));
		return;
	}
	if (statefile_is_kept(k->state, name, &err)) {
		answer(call, err);
		return;
	}
	w = calloc(1, sizeof(*w) + name.n);
	if (!w) {
		console_answer(call, false, STR("not enough memory"));
		return;
	}
	memcpy(w->text, name.p, name.n);
	w->name = (struct str){w->text, name.n};
	w->call = call;
	list_append(&k->waiting, &w->link);
	on_tried(k->loop, &k->tried, 0); /* it may have been just now */
}

void kept_free(struct kept **kp)
{
	struct kept *k = *kp;

	*kp = NULL;
	if (!k)
		return;
	if (k->state)
		statefile_on_round(k->state, NULL, NULL);
	list_each_safe (it, &k->waiting) {
		struct waiter *w = container_of(it, struct waiter, link);

		console_answer(w->call, false, STR("the proxy ends"));
		free(w);
	}
	ev_async_stop(k->loop, &k->tried);
	free(k);
}
