/*
 * A program that is run with a text on its standard input, while somebody
 * watches: in a process group of its own, with no descriptor of ours, its
 * output kept for the log, ended when it takes too long.
 */
#ifndef CONTROL_PROGRAM_H
#define CONTROL_PROGRAM_H

#include <stdatomic.h>
#include <stdint.h>
#include "util/err.h"
#include "util/str.h"

enum { PROGRAM_OUTPUT = 512 };

enum program_end {
	PROGRAM_EXITED,   /* status: its exit code */
	PROGRAM_SIGNAL,   /* status: that ended it */
	PROGRAM_TIMEOUT,  /* it was killed */
	PROGRAM_UNSTARTED /* status: an errno */
};

struct program_run {
	const char *path;
	char *const *env;
	struct str input; /* as much as a pipe holds, 64 kB */
	int64_t timeout;  /* microseconds */
	/* Monotonic microseconds after which it is killed whatever its time
	 * is; another thread may set it. INT64_MAX: never. */
	const atomic_int_least64_t *until;
	/* out */
	enum program_end end;
	int status;
	char output[PROGRAM_OUTPUT]; /* the beginning, with NUL */
};

/* Runs it to its end. */
void program_run(struct program_run *r);
/* Is this a file that can be run? False with the reason. */
bool program_check(const char *path, const struct reason *why);

#endif
