/*
 * A script: one generation of Lua for one worker. Loading runs the file in a
 * fresh state with nothing but a loader: no sockets, no clock, no core (this
 * alone is `tandem check`). Binding attaches it to a core, where it becomes the
 * core's user.
 *
 *	script_load x workers  ->  script_plan  ->  node, cores  ->  script_bind
 */
#ifndef LUA_SCRIPT_H
#define LUA_SCRIPT_H

#include <stdatomic.h>
#include "core/core.h"
#include "util/err.h"

struct script;

/* Finds files for the script and its `require`s. `name` is "route.lua" as
 * given, or a module name ("tandem.pool", "policies.lcr"); is_module tells
 * which. True with malloc'd bytes (freed by the caller) and the name to show in
 * errors. */
struct loader {
	void *ctx;
	bool (*load)(void *ctx, const char *name, bool is_module,
		     char **bytes_r, size_t *n_r, char *shown, size_t shown_n);
};

struct script_conf {
	struct loader loader;
	const char *path; /* of the script, given to the loader */
	unsigned worker;
	/* CPU time of this thread in microseconds; NULL in the simulator, where
	 * only the instruction budget counts. */
	int64_t (*cpu_us)(void *ctx);
	void *cpu_ctx;
	/* Of the thread that will run it; borrowed. NULL: none. */
	struct ticker *ticker;
	/* Set by another thread: a load that is under way ends soon, as failed.
	 * NULL: nobody will. */
	const atomic_bool *give_up;
	/* Where messages go while loading (sip.log at load, warnings). */
	void (*log)(void *ctx, const struct log_event *e);
	void *log_ctx;
	/* What an operator wants otherwise than the script says, and a change
	 * of that which comes with this load: lua/tandem/config/overrides.lua.
	 * Borrowed until it is loaded. */
	struct str overrides, edit;
	/* Checks the files of a TLS listener (`is_server`) or client, and makes
	 * their names absolute. False with the reason. NULL: they are not
	 * looked at. */
	bool (*tls)(void *ctx, struct tls_conf *io, bool is_server,
		    const struct reason *why);
	void *tls_ctx;
	/* The script wants to end the program: with this exit code, after this
	 * was said. In the worker's thread. NULL: it may not. */
	void (*quit)(void *ctx, int code, struct str text);
	void *quit_ctx;
	/* Checks a program that the script names, and makes its name absolute
	 * in out[n]. False with the reason. NULL: it is not looked at. */
	bool (*program)(void *ctx, const char *name, char *out, size_t n,
			const struct reason *why);
	void *program_ctx;
	uint32_t collect_every; /* as in vm_conf (lua/vm.h) */
	uint8_t seed[16];
	struct now now;
};

/* What the script declared, for the host. */
struct plan {
	struct listener listener[LISTENER_MAX];
	unsigned listeners;
	unsigned workers;
	struct txn_times times;
	enum trying_mode trying;
	enum late_answer late_answer;
	enum stateless_relay stateless_relay;
	struct addr node[NODES_MAX];
	unsigned n_nodes;
	struct stream_limits streams;
	size_t udp_max, why_memory, max_memory;
	bool udp_gso;
	struct overload_conf overload;
	enum log_level log_level;
	/* How long TERM waits, and how long a worker may not answer; 0: it need
	 * not. Microseconds. */
	int64_t stop_timeout, watchdog;
	int64_t drain_notice; /* microseconds (proxy/settings.h) */
	struct dns_limits dns;
	struct hep_conf hep;
	const char *notify; /* a program, absolute; NULL: none */
	unsigned notify_per_minute;
	int64_t notify_timeout;
	const char *key_file, *state_dir; /* NULL: not given; owned by script */
	const char *dump; /* canonical JSON of all declarations */
	/* Those that count, for the next load; NULL: none. */
	const char *overrides;
	/* What is probably not meant, a sentence on each line; and the data
	 * files that hold passwords, where an empty line is the script. */
	const char *findings, *secrets;
};

/* Loads; NULL on error with the whole message ("route.lua:14: ...") in
 * err[errlen]. */
struct script *script_load(const struct script_conf *conf, char *err,
			   size_t errlen);
const struct plan *script_plan(const struct script *s);
/* Applies the plan (settings, domains, trust, listeners) to a new node; once
 * per node, before cores are made. 0 or ERR_*. */
int script_apply(const struct script *s, struct node *node);
/* The settings it declares; free them with settings_fini. 0 or ERR_NOMEM. */
int script_settings(const struct script *s, struct mem *m,
		    struct settings *out_r);
/* Attaches it to the core as its user and runs "start". The script is owned by
 * the caller and must outlive the core's use of it. 0 or ERR_*. */
int script_bind(struct script *s, struct core *core, struct now now);
/* The same step by step, for a script that takes over from `before`
 * (generation.c): what can fail changes nothing that others see, except the
 * facts of servers. Whoever does not go through with it frees the script. */
int script_attach(struct script *s, struct core *core,
		  const struct script *before, struct now now);
int script_start(struct script *s, char *err, size_t errlen);
void script_inherit(struct script *s, const struct script *before); /* counts */
void script_take_over(struct script *s);
/* Another one took over: runs "stop", and ends all but what belongs to the
 * requests it has. They go on in it until they end. */
void script_retire(struct script *s, struct now now);
bool script_is_idle(const struct script *s); /* it has no request */
/* It is retired and its last request has ended: free it. */
bool script_is_over(const struct script *s);
/* Stops timers, checks, tasks; open requests are answered 500. Then the core
 * has forgotten it. */
void script_unbind(struct script *s, struct now now);
void script_free(struct script **s);
/* Live Lua things, for the simulator's finish(). */
struct script_stats {
	size_t tasks, timers, lua_bytes, errors;
};
void script_stats(const struct script *s, struct script_stats *out_r);
/* The i-th file whose content it declares, as the loader shows it; NULL at the
 * end. The same may come twice. */
const char *script_data_file(const struct script *s, size_t i);
/* Adds the TLS clients of its servers to the node's, or to a copy of them;
 * those it uses as bits. 0, or ERR_LIMIT: there are too many. */
int script_tls(struct script *s, struct tls_clients *clients, uint32_t *used_r);
/* Stops script timers and health checks, leaving requests alone. */
void script_quiesce(struct script *s, struct now now);
/* Frees what the script does not hold any more: before looking for leaks. */
void script_collect(struct script *s);
/* Asks the Lua half (lua/tandem/answers.lua) on behalf of an operator: `what`,
 * with its arguments as JSON or empty. Between two entries of its core. The
 * answer in JSON (*ok_r), or why there is none as a text for people; malloc'd,
 * NULL when memory ran out. */
char *script_ask(struct script *s, struct str what, struct str args,
		 struct now now, bool *ok_r);
struct lua_State;
struct lua_State *script_lua(struct script *s); /* for the simulator */

#endif
