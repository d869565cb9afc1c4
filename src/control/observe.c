#include "control/observe.h"

#include <stdlib.h>
#include <string.h>

#include "control/control_int.h"

/* Whoever forgets it has it for a day. */
enum { MOST_S = 86400 };

static void refuse(struct console_call *call, const char *why)
{
	console_answer(call, false, str_from(why));
}

/* Seconds, or 0 for what is none. */
static double read_seconds(struct str text)
{
	double s = strtod(text.p, NULL);

	return s > 0 && s <= MOST_S ? s : 0;
}

static void begin_timer(struct control *c, ev_timer *t, double s)
{
	ev_timer_stop(c->loop, t);
	ev_now_update(c->loop);
	ev_timer_set(t, s, 0.);
	ev_timer_start(c->loop, t);
}

/* ---- the log level ---- */

int observe_level(const struct control *c)
{
	return c->observe.level;
}

static void say_level(struct control *c, double s, struct str who)
{
	int level = c->observe.level;
	enum log_level now =
	    level < 0 ? logsink_level(c->log) : (enum log_level)level;

	/* Where everybody sees it: before it becomes quieter, or after. */
	logsink_say(c->log, LOG_WARN, "log.level",
		    LOGF_STR("state", level < 0 ? STR("end") : STR("begin")),
		    LOGF_STR("level", str_from(log_level_name(now))),
		    LOGF_NUM("for", s), LOGF_STR("who", who));
}

static void change_level(struct control *c, int level, double s, struct str who)
{
	c->observe.level = level;
	if (level < 0 || level > (int)logsink_level(c->log)) {
		control_set_level(c);
		say_level(c, s, who);
	} else {
		say_level(c, s, who);
		control_set_level(c);
	}
}

static void on_level_end(struct ev_loop *loop, ev_timer *t, int events)
{
	struct control *c = t->data;

	(void)loop;
	(void)events;
	change_level(c, -1, 0, STR("timer"));
}

void observe_set_level(struct control *c, const struct str *arg, size_t n,
		       struct console_call *call)
{
	int level = arg[0].n ? log_level_parse(arg[0]) : -1;
	double s = read_seconds(arg[1]);

	(void)n;
	if (arg[0].n && level < 0) {
		refuse(call, "a level is error, warn, info or debug");
		return;
	}
	if (level >= 0 && s <= 0) {
		refuse(call, "for so many seconds, up to a day (86400)");
		return;
	}
	if (level < 0)
		ev_timer_stop(c->loop, &c->observe.level_end);
	else
		begin_timer(c, &c->observe.level_end, s);
	if (level >= 0 || c->observe.level >= 0)
		change_level(c, level, s, arg[2]);
	console_answer(call, true, STR("{}"));
}

/* ---- one call on the wire ---- */

static void say_trace(struct control *c, const char *key, double s,
		      struct str who)
{
	const struct capture_filter *f = &c->observe.filter;
	char text[ADDR_TEXT] = "log";

	if (f->collector.family != ADDR_NONE)
		addr_text(&f->collector, text);
	logsink_say(c->log, LOG_WARN, "trace", LOGF_STR("state", str_from(key)),
		    LOGF_STR("call_id", str_from(f->call_id)),
		    LOGF_STR("from", str_from(f->user)),
		    LOGF_STR("collector", str_from(text)), LOGF_NUM("for", s),
		    LOGF_STR("who", who));
}

static void end_trace(struct control *c, struct str who)
{
	struct observe *o = &c->observe;

	if (!o->tracing)
		return;
	ev_timer_stop(c->loop, &o->trace_end);
	capture_set_filter(c->node, NULL);
	say_trace(c, "end", 0, who);
	o->tracing = false;
}

static void on_trace_end(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	end_trace(t->data, STR("timer"));
}

/* NULL, or what is wrong. */
static const char *read_filter(struct capture_filter *f, const struct str *arg)
{
	memset(f, 0, sizeof(*f));
	if (arg[0].n >= CAPTURE_TEXT || arg[1].n >= CAPTURE_TEXT)
		return "a Call-ID or user of 255 bytes at most";
	memcpy(f->call_id, arg[0].p, arg[0].n);
	memcpy(f->user, arg[1].p, arg[1].n);
	if (arg[2].n &&
	    (!str_starts(arg[2], STR("udp:")) ||
	     !addr_parse(str_sub(arg[2], 4, arg[2].n), &f->collector)))
		return "a collector is udp:IP:PORT";
	if (arg[2].n && !f->collector.port)
		f->collector.port = HEP_PORT;
	return NULL;
}

void observe_trace(struct control *c, const struct str *arg, size_t n,
		   struct console_call *call)
{
	struct capture_filter f;
	double s = read_seconds(arg[3]);
	const char *wrong = read_filter(&f, arg);

	(void)n;
	if (wrong) {
		refuse(call, wrong);
		return;
	}
	if ((f.call_id[0] || f.user[0]) && s <= 0) {
		refuse(call, "for so many seconds, up to a day (86400)");
		return;
	}
	end_trace(c, arg[4]);
	if (f.call_id[0] || f.user[0]) {
		f.until = tick_add(control_now().mono, (int64_t)(s * 1e6));
		c->observe.filter = f;
		c->observe.tracing = true;
		capture_set_filter(c->node, &f);
		begin_timer(c, &c->observe.trace_end, s);
		say_trace(c, "begin", s, arg[4]);
	}
	console_answer(call, true, STR("{}"));
}

/* ---- life ---- */

void observe_init(struct control *c)
{
	struct observe *o = &c->observe;

	o->level = -1;
	ev_timer_init(&o->level_end, on_level_end, 0., 0.);
	ev_timer_init(&o->trace_end, on_trace_end, 0., 0.);
	o->level_end.data = o->trace_end.data = c;
}

void observe_free(struct control *c)
{
	if (!c->loop)
		return;
	ev_timer_stop(c->loop, &c->observe.level_end);
	ev_timer_stop(c->loop, &c->observe.trace_end);
}
