#include "host/statefile.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "host/disk.h"

enum {
	RETRY_S = 1,
	STATE_WORKERS = 64,
	STATE_NAME = 32,
	DOCS = 4, /* more names than are used */
};

static const char calls[] = "calls";

struct part {
	char *bytes;
	size_t n;
};

/* A text that is kept under a name. */
struct doc {
	char name[STATE_NAME];
	char *bytes; /* NULL: they are on the disk, or being written */
	size_t n;    /* 0: there is to be no file */
	unsigned version, tried; /* of the bytes; the last that was written */
	int err;                 /* of that */
	bool failing;            /* the thread's: told already */
};

struct statefile {
	struct logsink *log;
	char *dir;
	struct part found;
	unsigned workers;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct part *part; /* by worker */
	unsigned have;     /* workers that have put one */
	bool dirty, closing;
	struct doc doc[DOCS];
	unsigned docs;
	void (*on_round)(void *ctx);
	void *round_ctx;
	bool failing; /* the thread's: told already */
	_Atomic uint64_t failures;
};

/* ---- the snapshot of the calls ---- */

static void find(struct statefile *sf)
{
	int err = disk_read(sf->dir, calls, &sf->found.bytes, &sf->found.n);

	if (err && err != ENOENT)
		logsink_say(sf->log, LOG_ERROR, "state.unreadable",
			    LOGF_STR("file", str_from(calls)),
			    LOGF_STR("why", str_from(strerror(err))));
}

/* ---- the thread ---- */

static void say_failing(struct statefile *sf, const char *name, int err)
{
	logsink_say(sf->log, LOG_ERROR, "state.unwritable",
		    LOGF_STR("file", str_from(name)),
		    LOGF_STR("why", str_from(strerror(err))));
}

static void say_working(struct statefile *sf, const char *name)
{
	logsink_say(sf->log, LOG_INFO, "state.writable",
		    LOGF_STR("file", str_from(name)));
}

/* Says once that a file cannot be written, and once that it can be again. */
static void note(struct statefile *sf, const char *name, bool *failing, int err)
{
	if (err)
		atomic_fetch_add(&sf->failures, 1);
	if (err && !*failing)
		say_failing(sf, name, err);
	else if (!err && *failing)
		say_working(sf, name);
	*failing = err != 0;
}

static bool has_news(const struct statefile *sf)
{
	return sf->dirty && sf->have == sf->workers;
}

/* A copy of the list; the bytes are ours until they are given back. */
static void take(struct statefile *sf, struct part *out)
{
	for (unsigned i = 0; i < sf->workers; i++) {
		out[i] = sf->part[i];
		sf->part[i].bytes = NULL;
	}
	sf->dirty = false;
}

/* What was not replaced meanwhile goes back. */
static void give_back(struct statefile *sf, struct part *from)
{
	for (unsigned i = 0; i < sf->workers; i++) {
		if (sf->part[i].bytes)
			free(from[i].bytes);
		else
			sf->part[i] = from[i];
	}
}

static void write_news(struct statefile *sf, struct part *work)
{
	struct str bytes[STATE_WORKERS];
	int err;

	take(sf, work);
	pthread_mutex_unlock(&sf->lock);
	for (unsigned i = 0; i < sf->workers; i++)
		bytes[i] = (struct str){work[i].bytes, work[i].n};
	err = disk_replace(sf->dir, calls, bytes, sf->workers);
	note(sf, calls, &sf->failing, err);
	pthread_mutex_lock(&sf->lock);
	give_back(sf, work);
	sf->dirty = sf->dirty || err;
}

/* ---- what is kept by name ---- */

static bool docs_have_news(const struct statefile *sf)
{
	for (unsigned i = 0; i < sf->docs; i++)
		if (sf->doc[i].tried != sf->doc[i].version)
			return true;
	return false;
}

static bool docs_fail(const struct statefile *sf)
{
	for (unsigned i = 0; i < sf->docs; i++)
		if (sf->doc[i].failing)
			return true;
	return false;
}

/* Tries what has not been tried, or has failed. The bytes are ours meanwhile,
 * unless others take their place. */
static void write_doc(struct statefile *sf, struct doc *d)
{
	struct str bytes = {d->bytes, d->n};
	unsigned version = d->version;
	int err;

	d->bytes = NULL;
	pthread_mutex_unlock(&sf->lock);
	err = bytes.n ? disk_replace(sf->dir, d->name, &bytes, 1)
		      : disk_remove(sf->dir, d->name);
	note(sf, d->name, &d->failing, err);
	pthread_mutex_lock(&sf->lock);
	d->tried = version;
	d->err = err;
	if (d->version == version && err)
		d->bytes = (char *)(uintptr_t)bytes.p;
	else
		free((char *)(uintptr_t)bytes.p);
}

static void write_docs(struct statefile *sf)
{
	bool any = false;

	for (unsigned i = 0; i < sf->docs; i++) {
		struct doc *d = &sf->doc[i];

		if (d->tried == d->version && !d->failing)
			continue;
		write_doc(sf, d);
		any = true;
	}
	if (any && sf->on_round)
		sf->on_round(sf->round_ctx);
}

static struct doc *find_doc(struct statefile *sf, struct str name, bool make)
{
	struct doc *d;

	for (unsigned i = 0; i < sf->docs; i++)
		if (str_eq(name, str_from(sf->doc[i].name)))
			return &sf->doc[i];
	if (!make || sf->docs == DOCS || name.n >= STATE_NAME)
		return NULL;
	d = &sf->doc[sf->docs++];
	memcpy(d->name, name.p, name.n);
	return d;
}

void statefile_keep(struct statefile *sf, struct str name, struct str bytes)
{
	char *copy = malloc(bytes.n + 1);
	struct doc *d;

	if (!copy)
		return; /* the next one may find room */
	if (bytes.n)
		memcpy(copy, bytes.p, bytes.n);
	pthread_mutex_lock(&sf->lock);
	d = find_doc(sf, name, true);
	if (d) {
		free(d->bytes);
		d->bytes = copy;
		d->n = bytes.n;
		d->version++;
		pthread_cond_signal(&sf->changed);
	} else {
		free(copy);
	}
	pthread_mutex_unlock(&sf->lock);
}

bool statefile_is_kept(struct statefile *sf, struct str name, int *err_r)
{
	const struct doc *d;
	bool done;

	pthread_mutex_lock(&sf->lock);
	d = find_doc(sf, name, false);
	done = !d || d->tried == d->version;
	*err_r = d && done ? d->err : 0;
	pthread_mutex_unlock(&sf->lock);
	return done;
}

void statefile_on_round(struct statefile *sf, void (*fn)(void *ctx), void *ctx)
{
	pthread_mutex_lock(&sf->lock);
	sf->on_round = fn;
	sf->round_ctx = ctx;
	pthread_mutex_unlock(&sf->lock);
}

/* ---- the thread itself ---- */

static void pause_a_moment(struct statefile *sf)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_S;
	while (!sf->closing && !docs_have_news(sf) &&
	       pthread_cond_clockwait(&sf->changed, &sf->lock, CLOCK_MONOTONIC,
				      &until) == 0)
		;
}

static void *run(void *arg)
{
	struct statefile *sf = arg;
	struct part *work = sf->part + sf->workers; /* room for it: see open */

	pthread_mutex_lock(&sf->lock);
	while (!sf->closing) {
		if (has_news(sf))
			write_news(sf, work);
		write_docs(sf);
		if (sf->failing || docs_fail(sf))
			pause_a_moment(sf);
		else if (!has_news(sf) && !docs_have_news(sf) && !sf->closing)
			pthread_cond_wait(&sf->changed, &sf->lock);
	}
	if (has_news(sf))
		write_news(sf, work);
	write_docs(sf);
	pthread_mutex_unlock(&sf->lock);
	return NULL;
}

/* Signals are for the control thread. */
static int start(struct statefile *sf)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&sf->thread, NULL, run, sf);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

/* ---- life ---- */

static void discard(struct statefile *sf)
{
	for (unsigned i = 0; sf->part && i < sf->workers; i++)
		free(sf->part[i].bytes);
	for (unsigned i = 0; i < sf->docs; i++)
		free(sf->doc[i].bytes);
	free(sf->part);
	free(sf->found.bytes);
	free(sf->dir);
	pthread_cond_destroy(&sf->changed);
	pthread_mutex_destroy(&sf->lock);
	free(sf);
}

struct statefile *statefile_open(const char *dir, unsigned workers,
				 struct logsink *log)
{
	struct statefile *sf = calloc(1, sizeof(*sf));

	assert(workers <= STATE_WORKERS);
	if (!sf)
		return NULL;
	sf->log = log;
	sf->workers = workers;
	pthread_mutex_init(&sf->lock, NULL);
	pthread_cond_init(&sf->changed, NULL);
	sf->dir = strdup(dir);
	sf->part = calloc(2 * (size_t)workers, sizeof(*sf->part));
	if (!sf->dir || !sf->part) {
		discard(sf);
		return NULL;
	}
	mkdir(dir, 0700); /* what that means shows when writing */
	find(sf);
	if (start(sf) != 0) {
		discard(sf);
		return NULL;
	}
	return sf;
}

const char *statefile_dir(const struct statefile *sf)
{
	return sf->dir;
}

struct str statefile_found(const struct statefile *sf)
{
	return (struct str){sf->found.bytes, sf->found.n};
}

void statefile_put(struct statefile *sf, unsigned worker, char *bytes, size_t n)
{
	struct part *p = &sf->part[worker];

	pthread_mutex_lock(&sf->lock);
	if (!p->bytes && !p->n)
		sf->have++;
	free(p->bytes);
	*p = (struct part){bytes, n};
	sf->dirty = true;
	pthread_cond_signal(&sf->changed);
	pthread_mutex_unlock(&sf->lock);
}

uint64_t statefile_failures(const struct statefile *sf)
{
	return atomic_load(&sf->failures);
}

void statefile_close(struct statefile **sfp)
{
	struct statefile *sf = *sfp;

	if (!sf)
		return;
	*sfp = NULL;
	pthread_mutex_lock(&sf->lock);
	sf->closing = true;
	pthread_cond_signal(&sf->changed);
	pthread_mutex_unlock(&sf->lock);
	pthread_join(sf->thread, NULL);
	discard(sf);
}
