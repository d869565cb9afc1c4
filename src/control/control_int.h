/*
 * What the files of the control thread share: its state. Nobody else includes
 * this.
 */
#ifndef CONTROL_CONTROL_INT_H
#define CONTROL_CONTROL_INT_H

#include <ev.h>

#include "host/ask.h"
#include "control/certs.h"
#include "control/control.h"
#include "host/files.h"
#include "host/keyfile.h"
#include "host/outages.h"
#include "lua/ticker.h"
#include "control/http.h"
#include "control/kept.h"
#include "control/notifier.h"
#include "control/observe.h"
#include "control/reload.h"
#include "control/service.h"
#include "control/stop.h"
#include "control/watch.h"
#include "control/watchdog.h"
#include "host/worker.h"

enum {
	CONTROL_WHY = 4096,
};

/* In the state directory, both written by the Lua half. */
#define OVERRIDES_FILE "overrides.json"
#define HEALTH_FILE    "health.json"

struct control {
	const struct control_conf *conf;
	struct files files;
	struct logsink *log;
	struct transitions *transitions;
	struct notifier *notifier;
	struct observe observe;
	struct node *node;
	enum key_origin key_origin;
	unsigned workers;
	struct generation loaded; /* until it is the workers' */
	struct statefile *state;  /* NULL: no state directory */
	char *overrides, *known;  /* read from there; or NULL */
	struct kept *kept;
	struct tls_set *tls; /* that the workers use */
	struct outages outages;
	long long descriptors; /* how many may be open */
	struct worker *worker[NODE_MAX_WORKERS];
	struct ticker ticker[NODE_MAX_WORKERS]; /* of their threads */
	const struct plan *plan; /* of the present script of worker 0 */
	struct ev_loop *loop;
	ev_signal hup, usr1, term, interrupt;
	int64_t load_began; /* wall time of the last load, microseconds */
	struct reload *reload;
	struct watch *watch;
	struct asks *asks;
	struct console *console;
	struct http *http;
	wall_t started;
	double began; /* process_began */
	struct service service;
	struct stop stop;
	struct watchdog watchdog;
	/* For scripts that end the program (cli/ping.c); or NULL. */
	void (*quit)(void *ctx, int code, struct str text);
	void *quit_ctx;
	wall_t taken_over;     /* the last reload that did; 0: none has */
	bool rejected;         /* the last one was */
	char why[CONTROL_WHY]; /* the error, written when all is freed */
};

/* NULL when memory ran out, which it says. `conf` is borrowed. */
struct control *control_new(const struct control_conf *conf);
/* Frees everything, and says c->why unless the code is EXIT_FINE. Returns it.
 */
int control_end(struct control *c, int code);

/* startup.c: the steps of a start, in this order; each returns an exit code
 * and, when it failed, leaves the reason in c->why. */
int startup_load(struct control *c);
int startup_take_up(struct control *c); /* what is in the state directory */
int startup_load_others(struct control *c);
int startup_make_node(struct control *c);
int startup_read_certs(struct control *c);
int startup_make_workers(struct control *c);
int startup_run_workers(struct control *c);
void startup_log(struct control *c); /* says that it runs */
/* What every script is loaded with; in any thread. */
void control_script_conf(void *ctx, unsigned i, struct script_conf *out_r);
struct now control_now(void);
/* The log level that an operator has set for now, else that of the command
 * line, else that of the present script. */
void control_set_level(struct control *c);
/* The present script says who is paged. */
void control_set_notify(struct control *c);
/* Ends the first n workers and waits for them. */
void control_stop_workers(struct control *c, unsigned n);

#endif
