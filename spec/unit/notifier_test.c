#include "control/notifier.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "control/program.h"
#include "support/unit.h"

/* The clock of this program, which a test may put forward; what waits in the
 * kernel does not notice. */
static _Atomic long skipped_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int err = (int)syscall(SYS_clock_gettime, id, ts);

	ts->tv_sec += skipped_s;
	return err;
}

struct world {
	char dir[32], program[64];
	int null;
	struct logsink *log;
	struct notifier *n;
};

/* A notifier whose program is this script. */
static void world_open(struct world *w, const char *script)
{
	FILE *f;

	strcpy(w->dir, "/tmp/notifier-XXXXXX");
	CHECK(mkdtemp(w->dir) != NULL);
	snprintf(w->program, sizeof(w->program), "%s/page", w->dir);
	f = fopen(w->program, "w");
	fprintf(f, "#!/bin/sh\n%s\n", script);
	fclose(f);
	chmod(w->program, 0700);
	w->null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	w->log = logsink_new(w->null, false, LOG_ERROR);
	w->n = notifier_new(w->log);
}

static void world_close(struct world *w)
{
	char command[64];

	notifier_free(&w->n);
	CHECK(!w->n);
	logsink_free(&w->log);
	close(w->null);
	snprintf(command, sizeof(command), "rm -rf %s", w->dir);
	CHECK(system(command) == 0);
}

static void put(struct world *w, const char *event, const char *from,
		const char *to)
{
	struct transition t = {.event = event,
			       .pool = STR("pbx"),
			       .from = str_from(from),
			       .to = str_from(to),
			       .json = STR("{}")};

	notifier_put(w->n, &t);
}

static uint64_t count_of(struct world *w, enum notify_result r)
{
	uint64_t v[NOTIFY_N];

	notifier_counts(w->n, v);
	return v[r];
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void wait_for(struct world *w, enum notify_result r, uint64_t n)
{
	static const struct timespec moment = {.tv_nsec = 5000000};
	double end = seconds() + 10;

	while (count_of(w, r) < n && seconds() < end)
		nanosleep(&moment, NULL);
	CHECK_INT(count_of(w, r), n);
}

/* Until the program has begun to write. */
static void wait_told(const struct world *w)
{
	static const struct timespec moment = {.tv_nsec = 5000000};
	double end = seconds() + 10;
	char path[64];

	snprintf(path, sizeof(path), "%s/told", w->dir);
	while (access(path, F_OK) != 0 && seconds() < end)
		nanosleep(&moment, NULL);
	CHECK(access(path, F_OK) == 0);
}

static void read_all(const struct world *w, char out[512])
{
	char path[64];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/told", w->dir);
	f = fopen(path, "r");
	CHECK(f != NULL);
	n = fread(out, 1, 511, f);
	out[n] = '\0';
	fclose(f);
}

TEST(nobody_is_told_without_a_program)
{
	char told[512];
	struct world w;

	world_open(&w, "echo $TANDEM_TO >>${0%/*}/told");
	put(&w, "server.health", "falling", "down");
	notifier_set(w.n, w.program, 100, SECONDS(5));
	notifier_set(w.n, NULL, 0, 0);
	put(&w, "server.health", "falling", "down");
	notifier_set(w.n, w.program, 100, SECONDS(5));
	put(&w, "server.health", "rising", "up");
	CHECK_INT(count_of(&w, NOTIFY_SKIPPED), 0);
	notifier_free(&w.n); /* tells what is left */
	read_all(&w, told);
	CHECK_STR(str_from(told), "up\n");
	world_close(&w);
}

TEST(what_is_no_news_is_not_told)
{
	char told[512];
	struct world w;

	world_open(&w, "echo $TANDEM_EVENT $TANDEM_TO >>${0%/*}/told");
	notifier_set(w.n, w.program, 100, SECONDS(5));
	put(&w, "server.health", "none", "unknown");
	put(&w, "pool.state", "none", "up");
	put(&w, "server.health", "up", "falling");
	put(&w, "server.health", "down", "rising");
	put(&w, "pool.state", "up", "down");
	put(&w, "server.health", "falling", "down");
	put(&w, "reload", "", "");
	wait_for(&w, NOTIFY_OK, 3);
	CHECK_INT(count_of(&w, NOTIFY_FAILED), 0);
	notifier_free(&w.n);
	read_all(&w, told);
	CHECK_STR(str_from(told),
		  "pool.state down\nserver.health down\nreload\n");
	world_close(&w);
}

/* A reload took it away while they waited for their turn. */
TEST(without_a_program_they_are_left_out)
{
	struct world w;

	world_open(&w, "sleep 0.2");
	notifier_set(w.n, w.program, 100, SECONDS(5));
	for (int i = 0; i < 5; i++)
		put(&w, "pool.state", "up", "down");
	notifier_set(w.n, NULL, 0, 0);
	CHECK(count_of(&w, NOTIFY_SKIPPED) >= 4); /* one may be running */
	world_close(&w);
}

/* The end does not wait for a program that hangs, nor for all of the queue. */
TEST(a_full_queue_and_the_end)
{
	const uint64_t more = 20;
	struct world w;
	double begin;

	world_open(&w, "sleep 100");
	notifier_set(w.n, w.program, 1000, SECONDS(50));
	for (uint64_t i = 0; i < NOTIFIER_QUEUE + more; i++)
		put(&w, "pool.state", "up", "down");
	/* one of them may be running */
	CHECK(count_of(&w, NOTIFY_SKIPPED) >= more - 1);
	CHECK(count_of(&w, NOTIFY_SKIPPED) <= more);
	begin = seconds();
	world_close(&w);
	CHECK(seconds() - begin < 5);
}

TEST(the_most_of_a_minute)
{
	struct world w;

	world_open(&w, "exit 0");
	notifier_set(w.n, w.program, 2, SECONDS(5));
	for (int i = 0; i < 5; i++)
		put(&w, "pool.state", "up", "down");
	CHECK_INT(count_of(&w, NOTIFY_SKIPPED), 3);
	wait_for(&w, NOTIFY_OK, 2);
	world_close(&w);
}

TEST(what_was_left_out_is_told_in_the_next_one)
{
	char told[512], go[64];
	struct world w;

	/* The first one runs until the next is in the queue: with an empty
	 * queue the end of the minute would be told by itself. */
	world_open(&w, "cat >>${0%/*}/told; "
		       "while [ ! -e ${0%/*}/go ]; do sleep 0.01; done");
	snprintf(go, sizeof(go), "%s/go", w.dir);
	notifier_set(w.n, w.program, 1, SECONDS(300));
	put(&w, "pool.state", "up", "down");
	wait_told(&w);
	for (int i = 0; i < 4; i++)
		put(&w, "pool.state", "up", "down");
	CHECK_INT(count_of(&w, NOTIFY_SKIPPED), 4);
	skipped_s = 61;
	put(&w, "pool.state", "down", "up");
	close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	wait_for(&w, NOTIFY_OK, 2);
	read_all(&w, told);
	CHECK_STR(str_from(told), "{}\n{,\"skipped\":4}\n");
	world_close(&w);
}

TEST(what_was_left_out_is_told_when_none_follows)
{
	char told[512];
	struct world w;

	world_open(&w, "cat >>${0%/*}/told; echo $TANDEM_EVENT, "
		       "$TANDEM_POOL >>${0%/*}/told");
	notifier_set(w.n, w.program, 1, SECONDS(5));
	put(&w, "pool.state", "up", "down");
	wait_for(&w, NOTIFY_OK, 1);
	for (int i = 0; i < 4; i++)
		put(&w, "pool.state", "up", "down");
	CHECK_INT(count_of(&w, NOTIFY_SKIPPED), 4);
	skipped_s = 61;
	/* wakes it, as the end of the minute would */
	notifier_set(w.n, w.program, 1, SECONDS(5));
	wait_for(&w, NOTIFY_OK, 2);
	read_all(&w, told);
	CHECK(strncmp(told, "{}\npool.state, pbx\n{\"ts\":\"20", 28) == 0);
	CHECK(strstr(told, "\"event\":\"notify.skipped\",\"skipped\":4}\n"
			   "notify.skipped,\n") != NULL);
	world_close(&w);
}

static double cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Something was left out, its minute is over, and there is nobody to tell. */
TEST(without_a_program_it_sleeps)
{
	static const struct timespec moment = {.tv_nsec = 300000000};
	struct world w;
	double begin;

	world_open(&w, "exit 0");
	skipped_s = -100;
	notifier_set(w.n, w.program, 0, SECONDS(5));
	put(&w, "pool.state", "up", "down");
	CHECK_INT(count_of(&w, NOTIFY_SKIPPED), 1);
	notifier_set(w.n, NULL, 0, 0);
	begin = cpu();
	nanosleep(&moment, NULL);
	CHECK(cpu() - begin < 0.1);
	skipped_s = 0;
	world_close(&w);
}

TEST(a_program_and_its_end)
{
	static const struct {
		const char *script;
		enum program_end end;
		int status;
		const char *output;
	} cases[] = {
	    {"cat; exit 0", PROGRAM_EXITED, 0, "input"},
	    {"exit 7", PROGRAM_EXITED, 7, ""},
	    {"kill -9 $$", PROGRAM_SIGNAL, 9, ""},
	    {"echo out; echo err >&2; sleep 100", PROGRAM_TIMEOUT, 9,
	     "out\nerr\n"},
	    /* more than is kept, and than a pipe takes */
	    {"yes | head -c 200000; exit 3", PROGRAM_EXITED, 3, NULL},
	    /* and that without end, faster than it is read */
	    {"yes & yes & yes", PROGRAM_TIMEOUT, 9, NULL},
	    /* it closes its output and goes on */
	    {"exec >&- 2>&-; sleep 0.1; exit 4", PROGRAM_EXITED, 4, ""},
	};
	atomic_int_least64_t until = INT64_MAX;
	struct world w;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct program_run r = {.input = STR("input"),
					.timeout = MILLIS(700),
					.until = &until};
		char *env[] = {(char[]){"PATH=/usr/bin:/bin"}, NULL};

		world_open(&w, cases[i].script);
		r.path = w.program;
		r.env = env;
		program_run(&r);
		CHECK_INT(r.end, cases[i].end);
		CHECK_INT(r.status, cases[i].status);
		if (cases[i].output)
			CHECK(strcmp(r.output, cases[i].output) == 0);
		else
			CHECK_INT(strlen(r.output), PROGRAM_OUTPUT - 1);
		world_close(&w);
	}
}

TEST(what_cannot_be_run)
{
	atomic_int_least64_t until = INT64_MAX;
	struct program_run r = {
	    .path = "/nonexistent", .timeout = SECONDS(1), .until = &until};
	char *env[] = {NULL}, text[256];
	struct reason why = {text, sizeof(text)};

	r.env = env;
	program_run(&r);
	CHECK_INT(r.end, PROGRAM_UNSTARTED);
	CHECK_INT(r.status, 2);
	CHECK(!program_check("/nonexistent", &why));
	CHECK(strcmp(text, "/nonexistent: No such file or directory") == 0);
	CHECK(!program_check("/tmp", &why));
	CHECK(strcmp(text, "/tmp is not a file") == 0);
	CHECK(program_check("/bin/sh", &why));
}
