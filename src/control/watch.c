#include "control/watch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/err.h"
#include "util/list.h"

enum {
	/* Time stamps of files may be as coarse as this. */
	LOOK_S = 1,
	/* And those of the kernel lag behind its clock by a tick. */
	TICK_US = 20 * 1000,
};

/* What tells one state of a file from another; all 0: there is none. */
struct look {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec written, changed;
};

struct watched {
	struct list link;
	struct look seen;
	bool wanted;
	char path[];
};

struct watch {
	struct ev_loop *loop;
	ev_timer timer;
	void (*on_change)(void *ctx);
	void *ctx;
	struct list files;
	bool pending; /* something changed and is to be told */
};

static struct look look_at(const char *path)
{
	struct look l = {.ino = 0};
	struct stat st;

	if (stat(path, &st) != 0)
		return l;
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	l.size = st.st_size;
	l.written = st.st_mtim;
	l.changed = st.st_ctim;
	return l;
}

static bool changed_since(const struct look *l, int64_t since)
{
	int64_t us =
	    (int64_t)l->changed.tv_sec * 1000000 + l->changed.tv_nsec / 1000;

	return us + TICK_US >= since;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct look *a, const struct look *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       same_time(a->written, b->written) &&
	       same_time(a->changed, b->changed);
}

static void on_look(struct ev_loop *loop, ev_timer *t, int events)
{
	struct watch *w = t->data;
	bool changed = false;

	(void)loop;
	(void)events;
	list_each (it, &w->files) {
		struct watched *f = container_of(it, struct watched, link);
		struct look now = look_at(f->path);

		changed = changed || !same(&now, &f->seen);
		f->seen = now;
	}
	if (changed) {
		w->pending = true;
	} else if (w->pending) {
		w->pending = false;
		w->on_change(w->ctx);
	}
}

struct watch *watch_new(struct ev_loop *loop, void (*on_change)(void *ctx),
			void *ctx)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->loop = loop;
	w->on_change = on_change;
	w->ctx = ctx;
	list_init(&w->files);
	ev_timer_init(&w->timer, on_look, LOOK_S, LOOK_S);
	w->timer.data = w;
	return w;
}

void watch_begin(struct watch *w)
{
	list_each (it, &w->files)
		container_of(it, struct watched, link)->wanted = false;
}

static struct watched *find(struct watch *w, const char *path)
{
	list_each (it, &w->files) {
		struct watched *f = container_of(it, struct watched, link);

		if (strcmp(f->path, path) == 0)
			return f;
	}
	return NULL;
}

int watch_add(struct watch *w, const char *path, int64_t since)
{
	struct watched *f = find(w, path);
	size_t n = strlen(path) + 1;

	if (!f) {
		f = calloc(1, sizeof(*f) + n);
		if (!f)
			return ERR_NOMEM;
		memcpy(f->path, path, n);
		f->seen = look_at(path);
		if (changed_since(&f->seen, since))
			f->seen = (struct look){.ino = 0};
		list_append(&w->files, &f->link);
	}
	f->wanted = true;
	return 0;
}

void watch_end(struct watch *w)
{
	list_each_safe (it, &w->files) {
		struct watched *f = container_of(it, struct watched, link);

		if (f->wanted)
			continue;
		list_remove(it);
		free(f);
	}
	if (list_empty(&w->files))
		ev_timer_stop(w->loop, &w->timer);
	else if (!ev_is_active(&w->timer))
		ev_timer_again(w->loop, &w->timer);
}

void watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	*wp = NULL;
	if (!w)
		return;
	ev_timer_stop(w->loop, &w->timer);
	list_each_safe (it, &w->files)
		free(container_of(it, struct watched, link));
	free(w);
}
