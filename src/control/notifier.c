#include "control/notifier.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/program.h"
#include "util/list.h"

enum {
	MINUTE_S = 60,
	/* One line about failures in so long. */
	QUIET_S = 10,
	ENV_MAX = 320, /* a variable: names of pools and servers are short */
	ENV_OWN = 4,
};

struct notice {
	struct list link;
	char env[ENV_OWN][ENV_MAX];
	size_t n;
	char json[]; /* without its last brace */
};

struct notifier {
	struct logsink *log;
	char **env; /* ours, with room for those of a notice */
	size_t n_env;
	atomic_int_least64_t until; /* when a running program is killed */
	pthread_t thread;
	/* The rest is under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t more;
	bool started, closing;
	char *program; /* NULL: none */
	unsigned per_minute;
	int64_t timeout;
	struct list queue; /* struct notice */
	size_t queued;
	int64_t minute;     /* monotonic seconds: when it began */
	unsigned in_minute; /* taken since then */
	uint64_t skipped;   /* and not told yet */
	uint64_t count[NOTIFY_N];
	/* the thread's */
	int64_t complained; /* monotonic seconds, of the last line */
	uint64_t uncomplained;
};

const char *notify_result_text(enum notify_result r)
{
	static const char *const text[] = {
#define X(id, label) [id] = label,
	    NOTIFY_LIST(X)
#undef X
	};

	return (size_t)r < ARRAY_LEN(text) ? text[r] : "?";
}

static int64_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* ---- notices ---- */

static bool is_news(const struct transition *t)
{
	if (str_eq(t->from, STR("none")))
		return false;
	return strcmp(t->event, "server.health") != 0 ||
	       (!str_eq(t->to, STR("falling")) &&
		!str_eq(t->to, STR("rising")));
}

static void set_env(char out[ENV_MAX], const char *name, struct str value)
{
	snprintf(out, ENV_MAX, "%s=%.*s", name, STR_FMT(value));
}

static struct notice *notice_new(const struct transition *t)
{
	size_t n = t->json.n - 1; /* more may be added before the brace */
	struct notice *x = malloc(sizeof(*x) + n);

	if (!x)
		return NULL;
	list_init(&x->link);
	set_env(x->env[0], "TANDEM_EVENT", str_from(t->event));
	set_env(x->env[1], "TANDEM_POOL", t->pool);
	set_env(x->env[2], "TANDEM_SERVER", t->server);
	set_env(x->env[3], "TANDEM_TO", t->to);
	x->n = n;
	memcpy(x->json, t->json.p, n);
	return x;
}

static struct notice *pop(struct notifier *n)
{
	struct list *it = list_first(&n->queue);

	if (!it)
		return NULL;
	list_remove(it);
	n->queued--;
	return container_of(it, struct notice, link);
}

static void skip(struct notifier *n)
{
	n->skipped++;
	n->count[NOTIFY_SKIPPED]++;
}

/* One more in this minute? */
static bool may_take(struct notifier *n)
{
	int64_t t = seconds();

	if (t - n->minute >= MINUTE_S) {
		n->minute = t;
		n->in_minute = 0;
	}
	return n->in_minute < n->per_minute;
}

static void put(struct notifier *n, const struct transition *t)
{
	struct notice *x = may_take(n) ? notice_new(t) : NULL;

	if (!x) {
		skip(n);
		return;
	}
	if (n->queued >= NOTIFIER_QUEUE) {
		free(pop(n));
		skip(n);
	}
	n->in_minute++;
	n->queued++;
	list_append(&n->queue, &x->link);
}

void notifier_put(struct notifier *n, const struct transition *t)
{
	if (!is_news(t))
		return;
	pthread_mutex_lock(&n->lock);
	if (n->program && !n->closing) {
		put(n, t);
		pthread_cond_signal(&n->more);
	}
	pthread_mutex_unlock(&n->lock);
}

/* ---- running ---- */

static void complain(struct notifier *n, const struct program_run *r,
		     const struct notice *x)
{
	static const char *const reasons[] = {
	    [PROGRAM_EXITED] = "exit",
	    [PROGRAM_SIGNAL] = "signal",
	    [PROGRAM_TIMEOUT] = "timeout",
	    [PROGRAM_UNSTARTED] = "start",
	};
	const char *error =
	    r->end == PROGRAM_UNSTARTED ? strerror(r->status) : r->output;
	int64_t t = seconds();

	if (n->complained && t - n->complained < QUIET_S) {
		n->uncomplained++;
		return;
	}
	n->complained = t;
	logsink_say(n->log, LOG_ERROR, "notify.failed",
		    LOGF_STR("program", str_from(r->path)),
		    LOGF_STR("about", str_from(strchr(x->env[0], '=') + 1)),
		    LOGF_STR("reason", str_from(reasons[r->end])),
		    LOGF_INT("status", r->status),
		    LOGF_STR("error", str_trim(str_from(error))),
		    LOGF_INT("suppressed", (int64_t)n->uncomplained));
	n->uncomplained = 0;
}

static enum notify_result result_of(const struct program_run *r)
{
	if (r->end == PROGRAM_TIMEOUT)
		return NOTIFY_TIMEOUT;
	return r->end == PROGRAM_EXITED && r->status == 0 ? NOTIFY_OK
							  : NOTIFY_FAILED;
}

/* The input: its JSON, with how many were left out before it. */
static char *finish_json(const struct notice *x, uint64_t skipped,
			 struct str *out_r)
{
	size_t room = x->n + 64;
	char *text = malloc(room);
	struct buf b;

	if (!text)
		return NULL;
	buf_fixed(&b, text, room);
	buf_put(&b, (struct str){x->json, x->n});
	if (skipped)
		buf_printf(&b, ",\"skipped\":%" PRIu64, skipped);
	BUF_LIT(&b, "}\n");
	*out_r = buf_str(&b);
	return text;
}

/* Without the lock, which is taken for the result. */
static void run_one(struct notifier *n, struct notice *x, char *program,
		    uint64_t skipped, int64_t timeout)
{
	struct program_run r = {.path = program,
				.env = n->env,
				.timeout = timeout,
				.until = &n->until,
				.end = PROGRAM_UNSTARTED,
				.status = ENOMEM};
	char *text = NULL;

	for (size_t i = 0; i < ENV_OWN; i++)
		n->env[n->n_env + i] = x->env[i];
	if (program)
		text = finish_json(x, skipped, &r.input);
	if (text)
		program_run(&r);
	if (program && result_of(&r) != NOTIFY_OK)
		complain(n, &r, x);
	free(text);
	pthread_mutex_lock(&n->lock);
	n->count[result_of(&r)]++;
	pthread_mutex_unlock(&n->lock);
}

/* Nothing followed what was left out: that has to be told all the same, when
 * its minute is over. */
static struct notice *summary(struct notifier *n)
{
	struct log_event e = {LOG_WARN, "notify.skipped", NULL, 0};
	struct transition t = {.event = e.key};
	struct timespec ts;
	char space[128];
	struct buf b;

	if (!n->skipped || !may_take(n))
		return NULL;
	clock_gettime(CLOCK_REALTIME, &ts);
	buf_fixed(&b, space, sizeof(space));
	log_write_json(&b, &e, (wall_t){SECONDS(ts.tv_sec)});
	t.json = buf_str(&b);
	n->in_minute++;
	return notice_new(&t);
}

/* Of the time at the end of the process. */
static bool is_over(const struct notifier *n)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return SECONDS(ts.tv_sec) + ts.tv_nsec / 1000 >= atomic_load(&n->until);
}

static void wait_for_more(struct notifier *n)
{
	struct timespec until;

	if (!n->skipped || !n->program) {
		pthread_cond_wait(&n->more, &n->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec = n->minute + MINUTE_S;
	pthread_cond_timedwait(&n->more, &n->lock, &until);
}

static void *run(void *arg)
{
	struct notifier *n = arg;

	pthread_mutex_lock(&n->lock);
	for (;;) {
		struct notice *x = is_over(n) ? NULL : pop(n);
		uint64_t skipped;
		int64_t timeout = n->timeout;
		char *program;

		if (!x && n->program && !n->closing)
			x = summary(n);
		if (!x && n->closing)
			break;
		if (!x) {
			wait_for_more(n);
			continue;
		}
		skipped = n->skipped;
		n->skipped = 0;
		program = n->program ? strdup(n->program) : NULL;
		pthread_mutex_unlock(&n->lock);
		run_one(n, x, program, skipped, timeout);
		free(program);
		free(x);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* Signals are for the thread that waits for them. */
static bool start(struct notifier *n)
{
	sigset_t all, before;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&n->thread, NULL, run, n) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

void notifier_set(struct notifier *n, const char *program, unsigned per_minute,
		  int64_t timeout)
{
	struct notice *x;

	pthread_mutex_lock(&n->lock);
	free(n->program);
	n->program = program ? strdup(program) : NULL;
	n->per_minute = per_minute;
	n->timeout = timeout;
	while (!n->program && (x = pop(n)) != NULL) {
		free(x);
		skip(n);
	}
	if (n->program && !n->started)
		n->started = start(n);
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
}

void notifier_counts(struct notifier *n, uint64_t out_r[NOTIFY_N])
{
	pthread_mutex_lock(&n->lock);
	memcpy(out_r, n->count, sizeof(n->count));
	pthread_mutex_unlock(&n->lock);
}

/* ---- life ---- */

/* A copy, since others may change theirs while a program is being started. */
static bool copy_env(struct notifier *n)
{
	size_t count = 0;

	while (environ[count])
		count++;
	n->env = calloc(count + ENV_OWN + 1, sizeof(*n->env));
	for (; n->env && n->n_env < count; n->n_env++) {
		n->env[n->n_env] = strdup(environ[n->n_env]);
		if (!n->env[n->n_env])
			return false;
	}
	return n->env != NULL;
}

static void destroy(struct notifier *n)
{
	struct notice *x;

	while ((x = pop(n)) != NULL)
		free(x);
	for (size_t i = 0; i < n->n_env; i++)
		free(n->env[i]);
	free(n->env);
	free(n->program);
	pthread_cond_destroy(&n->more);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

struct notifier *notifier_new(struct logsink *log)
{
	struct notifier *n = calloc(1, sizeof(*n));
	pthread_condattr_t attr;

	if (!n)
		return NULL;
	n->log = log;
	list_init(&n->queue);
	atomic_init(&n->until, INT64_MAX);
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&n->more, &attr);
	pthread_condattr_destroy(&attr);
	if (copy_env(n))
		return n;
	destroy(n);
	return NULL;
}

void notifier_free(struct notifier **np)
{
	struct notifier *n = *np;
	struct timespec ts;
	bool started;

	*np = NULL;
	if (!n)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	atomic_store(&n->until, SECONDS(ts.tv_sec) + ts.tv_nsec / 1000 +
				    MILLIS(NOTIFIER_END_MS));
	pthread_mutex_lock(&n->lock);
	n->closing = true;
	started = n->started;
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
	if (started)
		pthread_join(n->thread, NULL);
	destroy(n);
}
