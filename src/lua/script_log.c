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

static void count_error(struct script *s, enum vm_limit limit)
{
	enum counter id = CNT_LUA_ERROR;

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
	struct log_field f[8];
	struct log_event e = {LOG_ERROR, "lua.error", f, 0};

	count_error(s, limit);
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
	script_log(s, &e);
}

void script_failed(struct script *s, const char *what)
{
	script_error(s, what, vm_error(s->vm), vm_error_limit(s->vm), NULL);
}
