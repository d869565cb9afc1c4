/* The file with the calls, on a real disk. */
#include "support/unit.h"
#include "host/disk.h"
#include "host/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct place {
	char root[64], dir[80], file[96];
	struct logsink *log;
	int log_fd;
};

static void make_place(struct place *p)
{
	char log[96];

	strcpy(p->root, "/tmp/statefile_test.XXXXXX");
	CHECK(mkdtemp(p->root) != NULL);
	snprintf(p->dir, sizeof(p->dir), "%s/state", p->root);
	snprintf(p->file, sizeof(p->file), "%s/calls", p->dir);
	snprintf(log, sizeof(log), "%s/log", p->root);
	p->log_fd = open(log, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(log);
	p->log = logsink_new(p->log_fd, false, LOG_INFO);
}

/* What was logged, and the place is gone. */
static void end_place(struct place *p, char *log, size_t n)
{
	ssize_t got;

	logsink_free(&p->log);
	got = pread(p->log_fd, log, n - 1, 0);
	log[got < 0 ? 0 : got] = '\0';
	close(p->log_fd);
	unlink(p->file);
	rmdir(p->dir);
	CHECK_INT(rmdir(p->root), 0); /* nothing else was left */
}

static void put(struct statefile *sf, unsigned worker, const char *text)
{
	statefile_put(sf, worker, strdup(text), strlen(text));
}

static void check_found(const struct statefile *sf, const char *text)
{
	struct str s = statefile_found(sf);

	CHECK(str_eq(s, str_from(text)));
}

static int times(const char *log, const char *what)
{
	int n = 0;

	for (; (log = strstr(log, what)) != NULL; log++)
		n++;
	return n;
}

/* True within five seconds. */
static bool soon(bool (*done)(void *), void *arg)
{
	time_t end = time(NULL) + 5;

	while (!done(arg)) {
		if (time(NULL) > end)
			return false;
		sched_yield();
	}
	return true;
}

static bool is_there(void *file)
{
	return access(file, F_OK) == 0;
}

static bool has_failed(void *sf)
{
	return statefile_failures(sf) > 0;
}

TEST(what_was_put_last_is_found_by_the_next)
{
	struct place p;
	struct statefile *sf;
	struct stat st;
	char log[2000];

	make_place(&p);
	sf = statefile_open(p.dir, 2, p.log);
	check_found(sf, "");
	put(sf, 0, "old");
	put(sf, 1, " and two");
	put(sf, 0, "one");
	statefile_close(&sf);
	CHECK(!sf);
	CHECK_INT(stat(p.file, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	CHECK_INT(stat(p.dir, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0700);

	sf = statefile_open(p.dir, 1, p.log);
	check_found(sf, "one and two");
	statefile_close(&sf); /* nothing was put: it stays */
	sf = statefile_open(p.dir, 1, p.log);
	check_found(sf, "one and two");
	put(sf, 0, "three");
	CHECK_INT(statefile_failures(sf), 0);
	statefile_close(&sf);
	sf = statefile_open(p.dir, 1, p.log);
	check_found(sf, "three");
	statefile_close(&sf);
	end_place(&p, log, sizeof(log));
	CHECK(strcmp(log, "") == 0);
}

TEST(it_is_written_while_the_process_runs)
{
	struct place p;
	struct statefile *sf;
	char log[2000];

	make_place(&p);
	sf = statefile_open(p.dir, 1, p.log);
	put(sf, 0, "x");
	CHECK(soon(is_there, p.file));
	statefile_close(&sf);
	end_place(&p, log, sizeof(log));
}

TEST(nothing_is_written_before_every_worker_has_spoken)
{
	struct place p;
	struct statefile *sf;
	char log[2000];

	make_place(&p);
	sf = statefile_open(p.dir, 2, p.log);
	put(sf, 0, "x");
	put(sf, 0, "y");
	statefile_close(&sf);
	CHECK(!is_there(p.file));
	end_place(&p, log, sizeof(log));
}

TEST(a_directory_that_cannot_be_written_is_tried_again_and_told_once)
{
	struct place p;
	struct statefile *sf;
	char log[2000];

	make_place(&p);
	sf = statefile_open(p.dir, 1, p.log);
	CHECK_INT(rmdir(p.dir), 0);
	put(sf, 0, "first");
	CHECK(soon(has_failed, sf));
	put(sf, 0, "second");
	CHECK_INT(mkdir(p.dir, 0700), 0);
	CHECK(soon(is_there, p.file));
	statefile_close(&sf);
	sf = statefile_open(p.dir, 1, p.log);
	check_found(sf, "second");
	statefile_close(&sf);
	end_place(&p, log, sizeof(log));
	CHECK_INT(times(log, "event=state.unwritable"), 1);
	CHECK_INT(times(log, "event=state.writable"), 1);
}

TEST(what_cannot_be_read_is_told_and_replaced)
{
	struct place p;
	struct statefile *sf;
	char log[2000];

	make_place(&p);
	CHECK_INT(mkdir(p.dir, 0700), 0);
	CHECK_INT(mkdir(p.file, 0700), 0);
	sf = statefile_open(p.dir, 1, p.log);
	check_found(sf, "");
	put(sf, 0, "x");
	CHECK(soon(has_failed, sf)); /* no file can take the place of that */
	CHECK_INT(rmdir(p.file), 0);
	CHECK(soon(is_there, p.file));
	statefile_close(&sf);
	end_place(&p, log, sizeof(log));
	CHECK_INT(times(log, "event=state.unreadable"), 1);
}

/* ---- texts by name ---- */

#define TEXT "overrides.json"

static void keep(struct statefile *sf, const char *text)
{
	statefile_keep(sf, STR(TEXT), str_from(text));
}

static bool was_tried(void *sf)
{
	int err;

	return statefile_is_kept(sf, STR(TEXT), &err);
}

static int result(struct statefile *sf)
{
	int err = -1;

	CHECK(soon(was_tried, sf));
	CHECK(statefile_is_kept(sf, STR(TEXT), &err));
	return err;
}

static void check_text(const struct place *p, const char *text)
{
	char *bytes;
	size_t n;
	int err = disk_read(p->dir, TEXT, &bytes, &n);

	CHECK_INT(err, text ? 0 : ENOENT);
	CHECK(!text || (n == strlen(text) && strcmp(bytes, text) == 0));
	free(bytes);
}

static void count_round(void *ctx)
{
	atomic_fetch_add((atomic_int *)ctx, 1);
}

TEST(a_text_is_kept_under_its_name_and_taken_away)
{
	struct place p;
	struct statefile *sf;
	atomic_int rounds = 0;
	char log[2000], path[128];
	struct stat st;

	make_place(&p);
	sf = statefile_open(p.dir, 2, p.log);
	statefile_on_round(sf, count_round, &rounds);
	CHECK_INT(result(sf), 0); /* nothing was to be kept */
	keep(sf, "{}");
	CHECK_INT(result(sf), 0);
	check_text(&p, "{}");
	snprintf(path, sizeof(path), "%s/%s", p.dir, TEXT);
	CHECK_INT(stat(path, &st), 0);
	CHECK_INT(st.st_mode & 0777, 0600);
	keep(sf, "old");
	keep(sf, "new");
	CHECK_INT(result(sf), 0);
	check_text(&p, "new");
	keep(sf, "");
	CHECK_INT(result(sf), 0);
	check_text(&p, NULL);
	statefile_on_round(sf, NULL, NULL);
	CHECK(atomic_load(&rounds) >= 3);
	CHECK(!is_there(p.file)); /* the calls are another matter */
	keep(sf, "last");
	statefile_close(&sf); /* waits for that */
	check_text(&p, "last");
	CHECK_INT(disk_set_aside(p.dir, TEXT), 0);
	check_text(&p, NULL);
	strcat(path, ".damaged");
	CHECK_INT(unlink(path), 0);
	end_place(&p, log, sizeof(log));
	CHECK(strcmp(log, "") == 0);
}

TEST(a_text_that_cannot_be_kept_is_tried_again_and_says_why)
{
	struct place p;
	struct statefile *sf;
	char log[2000];

	make_place(&p);
	sf = statefile_open(p.dir, 1, p.log);
	CHECK_INT(rmdir(p.dir), 0);
	keep(sf, "one");
	CHECK_INT(result(sf), ENOENT);
	keep(sf, "two");
	CHECK_INT(result(sf), ENOENT);
	CHECK(statefile_failures(sf) >= 2);
	CHECK_INT(mkdir(p.dir, 0700), 0);
	put(sf, 0, "calls");
	while (result(sf) != 0)
		sched_yield();
	check_text(&p, "two");
	statefile_close(&sf);
	CHECK_INT(disk_remove(p.dir, TEXT), 0);
	CHECK_INT(disk_remove(p.dir, TEXT), 0); /* there is none */
	end_place(&p, log, sizeof(log));
	CHECK_INT(times(log, "event=state.unwritable file=overrides.json"), 1);
	CHECK_INT(times(log, "event=state.writable file=overrides.json"), 1);
}
