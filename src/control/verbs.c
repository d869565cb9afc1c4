#include "control/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/control_int.h"
#include "control/keys.h"
#include "control/process.h"

typedef void verb_fn(struct control *c, const struct str *arg, size_t n,
		     struct console_call *call);

struct verb {
	const char *name;
	size_t args; /* at least */
	verb_fn *fn;
};

/* ask WORKER WHAT [JSON]: of the script in that worker */
static void ask(struct control *c, const struct str *arg, size_t n,
		struct console_call *call)
{
	unsigned long i = strtoul(arg[0].p, NULL, 10);
	struct str args = n > 2 ? arg[2] : STR_NONE;

	if (i >= c->workers) {
		console_answer(call, false, STR("there is no such worker"));
		return;
	}
	asks_put(c->asks, c->worker[i], (unsigned)i, arg[1], args, call);
}

/* info: what this process is, in one JSON object */
static void info(struct control *c, const struct str *arg, size_t n,
		 struct console_call *call)
{
	const struct sipkeys *keys = &c->node->keys;
	struct key_text now, other;
	struct log_field f[] = {
	    LOGF_STR("version", str_from(c->conf->version)),
	    LOGF_STR("script", str_from(c->conf->script)),
	    LOGF_INT("pid", getpid()),
	    LOGF_INT("workers", c->workers),
	    LOGF_INT("generation", c->node->generation),
	    LOGF_INT("descriptors", c->descriptors),
	    LOGF_NUM("started", (double)c->started.us / 1e6),
	    LOGF_NUM("now", (double)control_now().wall.us / 1e6),
	    LOGF_BOOL("draining", atomic_load(&c->node->draining)),
	    LOGF_BOOL("stopping", c->stop.begun),
	    LOGF_BOOL("key_is_temporary", c->key_origin == KEY_TEMPORARY),
	    LOGF_STR("key_origin", str_from(keyfile_origin(c->key_origin))),
	    LOGF_STR("key_signs", keys_show(keys->now, &now)),
	    LOGF_STR("key_verifies", keys->has_other
					 ? keys_show(keys->other, &other)
					 : STR("")),
	    LOGF_STR("state_dir",
		     str_from(c->state ? statefile_dir(c->state) : "")),
	};
	char space[8192];
	struct buf b;

	(void)arg;
	(void)n;
	buf_fixed(&b, space, sizeof(space));
	log_write_fields(&b, f, ARRAY_LEN(f));
	console_answer(call, buf_ok(&b), buf_str(&b));
}

/* dump: all declarations of the present script, in canonical JSON */
static void dump(struct control *c, const struct str *arg, size_t n,
		 struct console_call *call)
{
	(void)arg;
	(void)n;
	console_answer(call, true, str_from(c->plan->dump));
}

/* reload [EDIT]: loads the script again, and waits for what comes of it */
static void reload(struct control *c, const struct str *arg, size_t n,
		   struct console_call *call)
{
	reload_ask(c, n ? arg[0] : STR_NONE, call);
}

/* look [PATH]: loads a script and gives its declarations */
static void look(struct control *c, const struct str *arg, size_t n,
		 struct console_call *call)
{
	reload_look(c, n ? arg[0] : STR_NONE, call);
}

/* reloads: how the last one went */
static void reloads(struct control *c, const struct str *arg, size_t n,
		    struct console_call *call)
{
	char space[6 * CONTROL_WHY];
	struct buf b;

	(void)arg;
	(void)n;
	buf_fixed(&b, space, sizeof(space));
	reload_tell(c, &b);
	console_answer(call, buf_ok(&b), buf_str(&b));
}

/* overrides: those of the present script, as JSON */
static void overrides(struct control *c, const struct str *arg, size_t n,
		      struct console_call *call)
{
	(void)arg;
	(void)n;
	console_answer(call, true,
		       c->plan->overrides ? str_from(c->plan->overrides)
					  : STR("{}"));
}

/* kept: once what operators have ordered is on the disk; or why it is not */
static void kept(struct control *c, const struct str *arg, size_t n,
		 struct console_call *call)
{
	(void)arg;
	(void)n;
	kept_ask(c->kept, STR(OVERRIDES_FILE), call);
}

static double last_reload(const struct control *c)
{
	return (double)(c->taken_over.us ? c->taken_over : c->started).us / 1e6;
}

static void write_notify(struct buf *b, struct control *c)
{
	uint64_t v[NOTIFY_N];

	notifier_counts(c->notifier, v);
	for (int i = 0; i < NOTIFY_N; i++)
		buf_printf(b,
			   ",[\"tandem_notify_total\",[\"result\",\"%s\"],"
			   "%" PRIu64 "]",
			   notify_result_text((enum notify_result)i), v[i]);
}

/* metrics: what this thread counts, as [[name, [label, value, ...], number],
 * ...]: see lua/tandem/control/catalog.lua */
static void metrics(struct control *c, const struct str *arg, size_t n,
		    struct console_call *call)
{
	struct process_facts p;
	char space[2048];
	struct buf b;

	(void)arg;
	(void)n;
	process_facts(&p);
	buf_fixed(&b, space, sizeof(space));
	buf_printf(&b, "[[\"tandem_workers\",[],%u]", c->workers);
	buf_printf(&b, ",[\"tandem_config_generation\",[],%u]",
		   c->node->generation);
	buf_printf(&b, ",[\"tandem_config_last_reload_successful\",[],%d]",
		   !c->rejected);
	buf_printf(&b,
		   ",[\"tandem_config_last_reload_success_timestamp_seconds\""
		   ",[],%.3f]",
		   last_reload(c));
	buf_printf(&b, ",[\"tandem_log_dropped_total\",[],%" PRIu64 "]",
		   logsink_lost(c->log));
	write_notify(&b, c);
	buf_printf(&b, ",[\"process_cpu_seconds_total\",[],%.6f]", p.cpu);
	buf_printf(&b, ",[\"process_resident_memory_bytes\",[],%" PRId64 "]",
		   p.resident);
	buf_printf(&b, ",[\"process_virtual_memory_bytes\",[],%" PRId64 "]",
		   p.virtual);
	buf_printf(&b, ",[\"process_open_fds\",[],%" PRId64 "]", p.fds);
	buf_printf(&b, ",[\"process_max_fds\",[],%" PRId64 "]", p.max_fds);
	buf_printf(&b, ",[\"process_start_time_seconds\",[],%.2f]]", c->began);
	console_answer(call, buf_ok(&b), buf_str(&b));
}

/* Who did it over the API, for the log: "ctl uid 1000". */
static void by_whom(char out[64], struct str who)
{
	snprintf(out, 64, "ctl %.*s", STR_FMT(who));
}

/* drain on|off WHO */
static void drain(struct control *c, const struct str *arg, size_t n,
		  struct console_call *call)
{
	char by[64];

	(void)n;
	by_whom(by, arg[1]);
	if (stop_drain(c, str_eq(arg[0], STR("on")), by))
		console_answer(call, true, STR(""));
	else
		console_answer(call, false, STR("the process is stopping"));
}

/* stop WHO: as TERM; once it is under way nothing more */
static void stop(struct control *c, const struct str *arg, size_t n,
		 struct console_call *call)
{
	char by[64];

	(void)n;
	by_whom(by, arg[0]);
	if (!c->stop.begun)
		stop_begin(c, by);
	console_answer(call, true, STR(""));
}

/* events SINCE: the transitions after that number */
static void events(struct control *c, const struct str *arg, size_t n,
		   struct console_call *call)
{
	char *text =
	    transitions_since(c->transitions, strtoull(arg[0].p, NULL, 10));

	(void)n;
	console_answer(call, text != NULL,
		       text ? str_from(text) : str_from(err_text(ERR_NOMEM)));
	free(text);
}

static const struct verb verbs[] = {
    {"ask", 2, ask},
    {"drain", 2, drain},
    {"dump", 0, dump},
    {"events", 1, events},
    {"info", 0, info},
    {"kept", 0, kept},
    {"log_level", 3, observe_set_level},
    {"look", 0, look},
    {"metrics", 0, metrics},
    {"overrides", 0, overrides},
    {"reload", 0, reload},
    {"reloads", 0, reloads},
    {"stop", 1, stop},
    {"trace", 5, observe_trace},
};

void verbs_do(void *control, struct str name, const struct str *arg, size_t n,
	      struct console_call *call)
{
	char why[128];

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (!str_eq(name, str_from(v->name)) || n < v->args)
			continue;
		v->fn(control, arg, n, call);
		return;
	}
	snprintf(why, sizeof(why), "no verb '%.*s' with %zu arguments",
		 STR_FMT(name), n);
	console_answer(call, false, str_from(why));
}
