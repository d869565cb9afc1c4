#include "host/worker_int.h"

#include <time.h>

#include "util/err.h"

enum {
	SAVE_S = 1,
	/* Many calls are saved less often: a hundredth of the time goes into
	 * it at most. */
	SAVE_SHARE = 100,
};

/* No turn of the loop takes so long, but for a slow script. */
static const double PAUSE_S = 0.05;

void upkeep_addresses(struct worker *w)
{
	uint32_t changed = source_refresh(w->source);

	for (unsigned i = 0; i < w->ports; i++) {
		struct udp *u = &w->port[i].udp;
		bool here = source_has(w->source, i);

		u->is_away = !here && u->hop.local.family == ADDR_V6;
		/* All of them see it: one tells. */
		if (!(changed >> i & 1) || w->conf.index != 0)
			continue;
		logsink_say(
		    w->conf.log, LOG_INFO, "listener.address",
		    LOGF_ADDR("listener", &u->hop.local),
		    LOGF_STR("state", here ? STR("here") : STR("elsewhere")));
	}
	/* What a connection had as its address may be none of a listener. */
	if (changed)
		streams_check_local(w->streams);
}

void upkeep_after_pause(struct worker *w)
{
	if (ev_time() - ev_now(w->loop) < PAUSE_S)
		return;
	upkeep_addresses(w);
	ev_now_update(w->loop);
}

void upkeep_on_fault(struct worker *w, const struct dgram *d)
{
	const struct listeners *ls = &w->listeners;

	if (d->cause == CAUSE_NO_SOURCE &&
	    !addr_is_any(&ls->l[d->hop.listener].addr) &&
	    source_has(w->source, d->hop.listener))
		upkeep_addresses(w);
}

static void report_losses(struct worker *w, struct port *p)
{
	const struct udp_stats *s = &p->udp.stats, *t = &p->told;
	const struct addr *a = &w->listeners.l[p->udp.hop.listener].addr;
	struct log_field f[] = {
	    LOGF_ADDR("listener", a),
	    LOGF_INT("receive_buffer", (int64_t)(s->kernel - t->kernel)),
	    LOGF_INT("truncated", (int64_t)(s->truncated - t->truncated)),
	    LOGF_INT("send_queue", (int64_t)(s->overflow - t->overflow)),
	    LOGF_INT("interface", (int64_t)(s->no_buffer - t->no_buffer)),
	};
	struct log_event e = {LOG_WARN, "udp.lost", f, ARRAY_LEN(f)};
	struct counters *c = core_counters(w->core);
	int64_t sum = 0;

	for (size_t i = 1; i < e.n; i++) {
		sum += f[i].u.i;
		c->v[CNT_UDP_RECEIVE + i - 1] += (uint64_t)f[i].u.i;
	}
	c->v[CNT_UDP_JOINED] += s->joined - t->joined;
	if (sum)
		logsink_write(w->conf.log, &e);
	p->told = *s;
}

static void report_lost_mail(struct worker *w)
{
	if (w->lost != w->lost_told)
		logsink_say(w->conf.log, LOG_WARN, "worker.lost",
			    LOGF_INT("worker", w->conf.index),
			    LOGF_INT("n", (int64_t)(w->lost - w->lost_told)));
	w->lost_told = w->lost;
	core_counters(w->core)->v[CNT_MAIL_LOST] = w->lost;
}

/* The core's counters are those that are shown. */
static void count_streams(struct worker *w)
{
	struct counters *c = core_counters(w->core);
	struct streams_stats s;

	streams_stats(w->streams, &s);
	c->v[CNT_ACCEPT_PAUSED] = s.pauses;
	c->v[CNT_STREAM_UNSENT] = s.unsent;
	if (s.refused != c->v[CNT_TLS_REFUSED])
		logsink_say(w->conf.log, LOG_WARN, "tls.refused",
			    LOGF_INT("n", (int64_t)(s.refused -
						    c->v[CNT_TLS_REFUSED])));
	c->v[CNT_TLS_REFUSED] = s.refused;
}

void upkeep_losses(struct worker *w)
{
	count_streams(w);
	for (unsigned i = 0; i < w->ports; i++)
		report_losses(w, &w->port[i]);
	report_lost_mail(w);
}

/* ---- the calls ---- */

void upkeep_restore(struct worker *w, struct now now)
{
	int err =
	    core_restore_calls(w->core, now, statefile_found(w->conf.state));

	/* All of them read the same: one tells. */
	if (err && w->conf.index == 0)
		logsink_say(w->conf.log, LOG_ERROR, "state.damaged",
			    LOGF_STR("file", STR("calls")),
			    LOGF_STR("why", str_from(err_text(err))));
	w->is_saved = false;
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double upkeep_save(struct worker *w, struct now now)
{
	uint64_t failures = statefile_failures(w->conf.state);
	double began = cpu_seconds(), took;
	char *bytes;
	size_t n;

	if (w->conf.index == 0)
		core_counters(w->core)->v[CNT_STATE_UNWRITABLE] = failures;
	if (w->is_saved && !core_calls_changed(w->core))
		return SAVE_S;
	bytes = core_save_calls(w->core, now, &n);
	if (!bytes)
		return SAVE_S; /* next time */
	statefile_put(w->conf.state, w->conf.index, bytes, n);
	w->is_saved = true;
	took = SAVE_SHARE * (cpu_seconds() - began);
	return took > SAVE_S ? took : SAVE_S;
}

void upkeep_report(struct worker *w)
{
	struct core_stats core;
	struct script_stats script;

	core_stats(w->core, &core);
	succession_stats(&w->scripts, &script);
	logsink_say(w->conf.log, LOG_INFO, "stats",
		    LOGF_INT("worker", w->conf.index),
		    LOGF_INT("bytes", (int64_t)core.bytes),
		    LOGF_INT("requests", (int64_t)core.requests),
		    LOGF_INT("servers", (int64_t)core.servers),
		    LOGF_INT("clients", (int64_t)core.clients),
		    LOGF_INT("flows", (int64_t)core.flows),
		    LOGF_INT("timers", (int64_t)core.timers),
		    LOGF_INT("tasks", (int64_t)script.tasks),
		    LOGF_INT("lua_bytes", (int64_t)script.lua_bytes),
		    LOGF_INT("lua_errors", (int64_t)script.errors));
}
