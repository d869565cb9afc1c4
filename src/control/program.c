#include "control/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/tick.h"

/* How often it is looked whether it has ended. What it writes, and the end of
 * that, is seen at once. */
enum { LOOK_MS = 50 };
/* How much of it is read between two looks: some write without end. */
enum { READS = 64 };

static int64_t mono_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return SECONDS(ts.tv_sec) + ts.tv_nsec / 1000;
}

/* ---- starting ---- */

/* All that it gets of us: input, output, and nothing that we block or ignore.
 */
static int spawn(struct program_run *r, int in, int out, pid_t *pid_r)
{
	char *argv[] = {(char *)(uintptr_t)r->path, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int err;

	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
					    POSIX_SPAWN_SETSIGDEF |
					    POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(pid_r, r->path, &files, &attr, argv, r->env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return err;
}

static void close_both(int fd[2])
{
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

/* The whole input is in the pipe before it begins: a program that does not read
 * holds up nobody. */
static int fill(int fd, struct str input)
{
	ssize_t n = write(fd, input.p, input.n);

	if (n < 0)
		return errno;
	return (size_t)n == input.n ? 0 : EFBIG;
}

/* 0 with the end of its output to read from, or an errno. */
static int start(struct program_run *r, pid_t *pid_r, int *out_r)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, err = 0;

	if (pipe2(in, O_CLOEXEC | O_NONBLOCK) != 0 ||
	    pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0)
		err = errno;
	if (!err)
		err = fill(in[1], r->input);
	/* A program expects to wait for both. */
	if (!err &&
	    (fcntl(in[0], F_SETFL, 0) != 0 || fcntl(out[1], F_SETFL, 0) != 0))
		err = errno;
	if (!err)
		err = spawn(r, in[0], out[1], pid_r);
	close_both(in);
	if (out[1] >= 0)
		close(out[1]);
	*out_r = out[0];
	if (err && out[0] >= 0)
		close(out[0]);
	return err;
}

/* ---- watching ---- */

/* What it has written, or much of it; beyond the room it is read and forgotten.
 * False: that was all. */
static bool take_output(struct program_run *r, int fd, size_t *n)
{
	char waste[4096];

	for (int i = 0; i < READS; i++) {
		bool fits = *n < PROGRAM_OUTPUT - 1;
		ssize_t got =
		    fits ? read(fd, r->output + *n, PROGRAM_OUTPUT - 1 - *n)
			 : read(fd, waste, sizeof(waste));

		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		if (got == 0)
			return false;
		if (fits)
			*n += (size_t)got;
	}
	return true;
}

static void set_end(struct program_run *r, int status)
{
	bool by_signal = WIFSIGNALED(status);

	r->end = by_signal ? PROGRAM_SIGNAL : PROGRAM_EXITED;
	r->status = by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* All of its group, then itself is waited for. */
static void kill_all(struct program_run *r, pid_t pid)
{
	int status;

	kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	r->end = PROGRAM_TIMEOUT;
	r->status = SIGKILL;
}

static void watch(struct program_run *r, pid_t pid, int out)
{
	int64_t end = mono_us() + r->timeout;
	struct pollfd pfd = {out, POLLIN, 0};
	size_t n = 0;
	int status;

	for (;;) {
		/* a negative descriptor is a pause */
		if (poll(&pfd, 1, LOOK_MS) > 0 && !take_output(r, out, &n))
			pfd.fd = -1;
		if (waitpid(pid, &status, WNOHANG) == pid) {
			set_end(r, status);
			break;
		}
		if (mono_us() >= end || mono_us() >= atomic_load(r->until)) {
			kill_all(r, pid);
			break;
		}
	}
	take_output(r, out, &n);
	r->output[n] = '\0';
}

void program_run(struct program_run *r)
{
	int out, err;
	pid_t pid;

	r->output[0] = '\0';
	err = start(r, &pid, &out);
	if (err) {
		r->end = PROGRAM_UNSTARTED;
		r->status = err;
		return;
	}
	watch(r, pid, out);
	close(out);
}

bool program_check(const char *path, const struct reason *why)
{
	struct stat st;

	if (stat(path, &st) != 0)
		reason_set(why, ERR_CONFIG, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		reason_set(why, ERR_CONFIG, "%s is not a file", path);
	else if (access(path, X_OK) != 0)
		reason_set(why, ERR_CONFIG, "%s cannot be run: %s", path,
			   strerror(errno));
	else
		return true;
	return false;
}
