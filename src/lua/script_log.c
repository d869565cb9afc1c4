#include "lua/script_int.h"

#include <string.h>

void script_log(struct script *s, const struct log_event *e)
{
	if (s->core) {
		const struct host *host = core_host(s->core);

		host->log(host->ctx, e);
	} else if (s->conf.log) {
		s->conf.log(s->conf.log_ctx, e);
	}
}

/* What ran, as it is called in the log. */
static enum counter counter_of(const char *what)
{
	static const struct {
		const char *what;
		enum counter id;
	} of[] = {
	    {"route", CNT_LUA_ROUTE},        {"on_response", CNT_LUA_RESPONSE},
	    {"on_attempt", CNT_LUA_ATTEMPT}, {"timer", CNT_LUA_TIMER},
	    {"message", CNT_LUA_MESSAGE},    {"answer", CNT_LUA_ANSWER},
	    {"the start", CNT_LUA_START},    {"the stop", CNT_LUA_STOP}};

	for (size_t i = 0; i < ARRAY_LEN(of); i++)
		if (strcmp(of[i].what, what) == 0)
			return of[i].id;
	return CNT_LUA_TASK;
}

static void count_error(struct script *s, const char *what, enum vm_limit limit)
{
	enum counter id = counter_of(what);

	s->errors++;
	switch (limit) {
	case VM_LIMIT_NONE:
		break;
	case VM_LIMIT_INSTRUCTIONS:
		id = CNT_LUA_KILL_INSTR;
		break;
	case VM_LIMIT_CPU:
		id = CNT_LUA_KILL_CPU;
		break;
	case VM_LIMIT_MEMORY:
		id = CNT_LUA_KILL_MEM;
		break;
	}
	if (s->core)
		count(core_counters(s->core), id);
}

void script_error(struct script *s, const char *what, const char *trace,
		  enum vm_limit limit, const struct call *call)
{
	struct str text = str_from(trace), rest = text;
	struct str message = str_cut(&rest, '\n');
	struct log_field f[9];
	struct log_event e = {LOG_ERROR, "lua.error", f, 0};
	uint64_t suppressed;

	count_error(s, what, limit);
	if (call)
		request_failed(call->r, message, s->now);
	if (!error_rate_take(&s->error_rate, what, message, s->now.mono,
			     &suppressed))
		return;
	f[e.n++] = (struct log_field)LOGF_STR("script", str_from(s->conf.path));
	f[e.n++] = (struct log_field)LOGF_STR("where", str_from(what));
	if (limit)
		f[e.n++] = (struct log_field)LOGF_STR(
		    "limit", str_from(vm_limit_name(limit)));
	if (call) {
		f[e.n++] = (struct log_field)LOGF_STR(
		    "method", request_msg(call->r)->method);
		f[e.n++] = (struct log_field)LOGF_STR(
		    "call_id", request_key(call->r)->call_id);
	}
	f[e.n++] = (struct log_field)LOGF_STR("error", message);
	if (message.n < text.n)
		f[e.n++] = (struct log_field)LOGF_STR("trace", text);
	if (suppressed)
		f[e.n++] = (struct log_field)LOGF_INT("suppressed",
						      (int64_t)suppressed);
	script_log(s, &e);
}

void script_tell_errors(struct script *s)
{
	const struct error_place *p;
	uint64_t n;

	while ((p = error_rate_next(&s->error_rate, s->now.mono, &n))) {
		struct log_field f[] = {
		    LOGF_STR("script", str_from(s->conf.path)),
		    LOGF_STR("where", str_from(p->what)),
		    LOGF_STR("error", ((struct str){p->text, p->n})),
		    LOGF_INT("suppressed", (int64_t)n)};
		struct log_event e = {LOG_ERROR, "lua.error", f, ARRAY_LEN(f)};

		script_log(s, &e);
	}
}

void script_failed(struct script *s, const char *what)
{
	script_error(s, what, vm_error(s->vm), vm_error_limit(s->vm), NULL);
}
