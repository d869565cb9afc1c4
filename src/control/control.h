/*
 * The control thread: loads the script, makes the node, binds, starts the
 * workers (startup.c), and then turns a loop of its own for signals and timers.
 * The rest of the program happens in workers.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "transport/listener.h"

/* Exit codes; scripts and service managers rely on them. */
enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1, /* at run time: a retry may succeed */
	EXIT_CONFIG = 2, /* usage or configuration: nothing was started */
};

#define DEFAULT_CTL "/run/tandem/ctl.sock"

struct control_conf {
	const char *script;       /* path, or a name for `text` */
	const char *text;         /* of a script that is no file; or NULL */
	const char *advice;       /* when there is no such file; or NULL */
	const char *lua_dir;      /* NULL: look beside the executable */
	const char *lua_fallback; /* and then here */
	const char *version;
	/* Instead of what the script declares; none: as it says. */
	struct listener listen[LISTENER_MAX];
	unsigned listens;
	unsigned workers; /* 0: what the script says */
	int log_level;    /* enum log_level; -1: what the script says */
	bool json;        /* log format */
	/* The control API: a path, "none", or NULL for DEFAULT_CTL where its
	 * directory exists. */
	const char *ctl;
	struct addr http;       /* and on TCP; family ADDR_NONE: not */
	const char *http_token; /* the file of who may change things there */
};

/* In the foreground until TERM or INT; USR1 logs what is alive. Errors go to
 * standard error; returns an exit code. */
int control_run(const struct control_conf *conf);
/* Loads the script and nothing else: no root, no ports, no network. Writes
 * "OK", or all declarations as JSON, and warnings of what is right but probably
 * not meant; `strict`: those are errors. */
int control_check(const struct control_conf *conf, bool dump, bool strict);

#endif
