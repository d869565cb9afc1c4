#include "host/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	PATH_ROOM = 4096,
	RETRY_S = 1,
	FOUND_MAX = 1 << 30, /* more is no snapshot of ours */
};

struct part {
	char *bytes;
	size_t n;
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
	bool failing; /* the thread's: told already */
	_Atomic uint64_t failures;
};

/* ---- the file ---- */

static bool path_of(const struct statefile *sf, const char *name,
		    char out[PATH_ROOM])
{
	return snprintf(out, PATH_ROOM, "%s/%s", sf->dir, name) < PATH_ROOM;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

static int write_file(const char *path, const struct part *part, unsigned n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = fd < 0 ? errno : 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = write_all(fd, part[i].bytes, part[i].n);
	if (!err && fsync(fd) < 0)
		err = errno;
	if (fd >= 0 && close(fd) < 0 && !err)
		err = errno;
	return err;
}

/* The new name is on the disk, too. */
static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? errno : 0;

	if (!err && fsync(fd) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* 0 or an errno. */
static int replace(const struct statefile *sf, const struct part *part)
{
	char path[PATH_ROOM], fresh[PATH_ROOM];
	int err;

	if (!path_of(sf, "calls", path) || !path_of(sf, "calls.new", fresh))
		return ENAMETOOLONG;
	err = write_file(fresh, part, sf->workers);
	if (!err && rename(fresh, path) < 0)
		err = errno;
	if (err) {
		unlink(fresh);
		return err;
	}
	return sync_dir(sf->dir);
}

static int read_fd(int fd, struct part *out_r)
{
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;

	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode) || st.st_size > FOUND_MAX)
		return EFBIG;
	out_r->bytes = malloc((size_t)st.st_size + 1);
	if (!out_r->bytes)
		return ENOMEM;
	while (n < (size_t)st.st_size && got > 0) {
		got = read(fd, out_r->bytes + n, (size_t)st.st_size - n);
		if (got < 0)
			return errno;
		n += (size_t)got;
	}
	out_r->n = n;
	return 0;
}

static void find(struct statefile *sf)
{
	char path[PATH_ROOM];
	int fd, err;

	if (!path_of(sf, "calls", path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	err = fd < 0 ? errno : read_fd(fd, &sf->found);
	if (fd >= 0)
		close(fd);
	if (err && err != ENOENT)
		logsink_say(sf->log, LOG_ERROR, "state.unreadable",
			    LOGF_STR("file", STR("calls")),
			    LOGF_STR("why", str_from(strerror(err))));
}

/* ---- the thread ---- */

static void note_failure(struct statefile *sf, int err)
{
	atomic_fetch_add(&sf->failures, 1);
	if (!sf->failing)
		logsink_say(sf->log, LOG_ERROR, "state.unwritable",
			    LOGF_STR("file", STR("calls")),
			    LOGF_STR("why", str_from(strerror(err))));
	sf->failing = true;
}

static void note_success(struct statefile *sf)
{
	if (sf->failing)
		logsink_say(sf->log, LOG_INFO, "state.writable",
			    LOGF_STR("file", STR("calls")));
	sf->failing = false;
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
	int err;

	take(sf, work);
	pthread_mutex_unlock(&sf->lock);
	err = replace(sf, work);
	if (err)
		note_failure(sf, err);
	else
		note_success(sf);
	pthread_mutex_lock(&sf->lock);
	give_back(sf, work);
	sf->dirty = sf->dirty || err;
}

static void pause_a_moment(struct statefile *sf)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += RETRY_S;
	while (!sf->closing &&
	       pthread_cond_timedwait(&sf->changed, &sf->lock, &until) == 0)
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
		if (sf->failing)
			pause_a_moment(sf);
		else if (!has_news(sf) && !sf->closing)
			pthread_cond_wait(&sf->changed, &sf->lock);
	}
	if (has_news(sf))
		write_news(sf, work);
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
