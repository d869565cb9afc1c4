#include "host/logsink.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/thread.h"

enum {
	RING = 512 * 1024,
	LINE = 16 * 1024,
	/* A pipe that polls writable takes this much without blocking. */
	CHUNK = 4096,
	POLL_MS = 100,
	CLOSE_S = 1,
};

struct logsink {
	int fd;
	bool json, prefix;
	atomic_int level;
	atomic_ulong warnings;
	void (*tap)(void *ctx, const struct log_event *e);
	void *tap_ctx;
	atomic_bool closing;
	struct thread thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	/* The rest is under the lock. Lines of any length, oldest at `head`. */
	size_t head, n;
	bool waiting;           /* the thread waits for a first line */
	uint64_t dropped, lost; /* since the last report, and ever */
	char ring[RING];
};

/* sd_journal: standard error is the journal when JOURNAL_STREAM names it. That
 * the variable is set does not suffice, children inherit it. */
static bool is_journal(int fd)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void put(struct logsink *s, struct str line)
{
	size_t tail = (s->head + s->n) % RING, first = RING - tail;

	if (first > line.n)
		first = line.n;
	memcpy(s->ring + tail, line.p, first);
	memcpy(s->ring, line.p + first, line.n - first);
	s->n += line.n;
}

static wall_t wall_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (wall_t){SECONDS(ts.tv_sec) + ts.tv_nsec / 1000};
}

static void write_event(const struct logsink *s, struct buf *b,
			const struct log_event *e)
{
	static const char priority[] = {
	    [LOG_ERROR] = '3',
	    [LOG_WARN] = '4',
	    [LOG_INFO] = '6',
	    [LOG_DEBUG] = '7',
	};

	b->n = 0;
	b->bad = false;
	if (s->prefix)
		buf_printf(b, "<%c>", priority[e->level]);
	if (s->json)
		log_write_json(b, e, wall_now());
	else
		log_write_logfmt(b, e, wall_now());
	buf_char(b, '\n');
}

/* The whole line; of an event that is too long only its key, so that what
 * reads the log still gets valid lines. */
static struct str format(const struct logsink *s, char space[LINE],
			 const struct log_event *e)
{
	struct log_field cut[] = {LOGF_BOOL("truncated", true)};
	struct log_event brief = {e->level, e->key, cut, 1};
	struct buf b;

	buf_fixed(&b, space, LINE);
	write_event(s, &b, e);
	if (!buf_ok(&b))
		write_event(s, &b, &brief);
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

void logsink_write(struct logsink *s, const struct log_event *e)
{
	char space[LINE];
	struct str line;

	if (e->level <= LOG_WARN)
		atomic_fetch_add(&s->warnings, 1);
	if (s->tap)
		s->tap(s->tap_ctx, e);
	if ((int)e->level >
	    atomic_load_explicit(&s->level, memory_order_relaxed))
		return;
	line = format(s, space, e);
	pthread_mutex_lock(&s->lock);
	if (!line.n || line.n > RING - s->n) {
		s->dropped++;
		s->lost++;
	} else {
		put(s, line);
		if (s->waiting)
			pthread_cond_signal(&s->more);
		s->waiting = false;
	}
	pthread_mutex_unlock(&s->lock);
}

enum log_level logsink_level(struct logsink *s)
{
	return (enum log_level)atomic_load(&s->level);
}

void logsink_set_level(struct logsink *s, enum log_level level)
{
	atomic_store(&s->level, (int)level);
}

void logsink_tap(struct logsink *s,
		 void (*fn)(void *ctx, const struct log_event *e), void *ctx)
{
	s->tap = fn;
	s->tap_ctx = ctx;
}

uint64_t logsink_lost(struct logsink *s)
{
	uint64_t lost;

	pthread_mutex_lock(&s->lock);
	lost = s->lost;
	pthread_mutex_unlock(&s->lock);
	return lost;
}

unsigned long logsink_warnings(const struct logsink *s)
{
	return atomic_load(&s->warnings);
}

/* ---- the thread ---- */

static void write_all(const struct logsink *s, const char *p, size_t n)
{
	while (n) {
		struct pollfd pfd = {s->fd, POLLOUT, 0};
		ssize_t done = -1;
		int r = poll(&pfd, 1, POLL_MS);

		if (r == 0 || (r < 0 && errno == EINTR))
			continue; /* nobody reads; logsink_free gives up */
		if (r > 0)
			done = write(s->fd, p, n);
		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done <= 0)
			return; /* no reader is left */
		p += done;
		n -= (size_t)done;
	}
}

/* Takes whole lines, as many as fit; part of a line that does not. */
static size_t take(struct logsink *s, char chunk[CHUNK])
{
	size_t n = s->n < CHUNK ? s->n : CHUNK, first = RING - s->head;
	char *end;

	if (first > n)
		first = n;
	memcpy(chunk, s->ring + s->head, first);
	memcpy(chunk + first, s->ring, n - first);
	end = memrchr(chunk, '\n', n);
	if (end)
		n = (size_t)(end - chunk) + 1;
	s->head = (s->head + n) % RING;
	s->n -= n;
	return n;
}

static void report_drops(struct logsink *s)
{
	struct log_field f[] = {LOGF_INT("lines", (int64_t)s->dropped)};
	struct log_event e = {LOG_WARN, "log.dropped", f, 1};
	char space[LINE];

	s->dropped = 0;
	put(s, format(s, space, &e));
}

/* Lines come in bursts: a moment later one write takes many, and waking this
 * thread costs the worker next to nothing. */
static void gather(struct logsink *s)
{
	static const struct timespec moment = {.tv_nsec = 10000000};

	if (atomic_load(&s->closing))
		return;
	pthread_mutex_unlock(&s->lock);
	nanosleep(&moment, NULL);
	pthread_mutex_lock(&s->lock);
}

static void run(void *arg)
{
	struct logsink *s = arg;
	char chunk[CHUNK];

	pthread_mutex_lock(&s->lock);
	for (;;) {
		size_t n;

		/* All that was kept is out: there is room for the report. */
		if (!s->n && s->dropped)
			report_drops(s);
		if (!s->n && atomic_load(&s->closing))
			break;
		if (!s->n) {
			s->waiting = true;
			pthread_cond_wait(&s->more, &s->lock);
			gather(s);
			continue;
		}
		n = take(s, chunk);
		pthread_mutex_unlock(&s->lock);
		write_all(s, chunk, n);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

/* Signals are for the thread that waits for them. */
static int start_thread(struct logsink *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = thread_start(&s->thread, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

struct logsink *logsink_new(int fd, bool json, enum log_level level)
{
	struct logsink *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = fd;
	s->json = json;
	s->prefix = is_journal(fd);
	atomic_init(&s->level, (int)level);
	atomic_init(&s->closing, false);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	if (start_thread(s) != 0) {
		free(s);
		return NULL;
	}
	return s;
}

void logsink_free(struct logsink **s)
{
	struct logsink *sink = *s;

	*s = NULL;
	if (!sink)
		return;
	pthread_mutex_lock(&sink->lock);
	atomic_store(&sink->closing, true);
	pthread_cond_signal(&sink->more);
	pthread_mutex_unlock(&sink->lock);
	/* Or it is stuck in a write that will never end. The process is about
	 * to; what the thread still uses stays. */
	if (!thread_join(&sink->thread, CLOSE_S))
		return;
	pthread_cond_destroy(&sink->more);
	pthread_mutex_destroy(&sink->lock);
	free(sink);
}
