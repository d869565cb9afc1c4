/*
 * Who connects to us. What is over a limit is closed before it is read.
 */
#include "transport/flows_int.h"

static void refuse(struct flows *fs, const struct hop *peer,
		   enum counter reason, const char *why, struct now now)
{
	count(fs->c.counters, reason);
	if (reason != CNT_NOMEM)
		flow_log_refused(fs, peer, str_from(why), now);
	fs->c.host->close(fs->c.host->ctx, peer);
}

static void refuse_by(struct flows *fs, const struct hop *peer,
		      enum admit verdict, struct now now)
{
	if (verdict == ADMIT_FULL)
		refuse(fs, peer, CNT_FLOW_REFUSED_ALL, "connections", now);
	else if (verdict == ADMIT_SOURCE_FULL)
		refuse(fs, peer, CNT_FLOW_REFUSED_SOURCE, "per_source", now);
	else
		refuse(fs, peer, CNT_NOMEM, NULL, now);
}

void flow_accept(struct flows *fs, const struct hop *peer, struct now now)
{
	const struct stream_limits *l = fs->c.limits;
	struct source *s;
	enum admit verdict =
	    admission_accept(fs->c.admission, &peer->addr, l, &s);
	struct flow *f;

	if (verdict != ADMIT_OK) {
		refuse_by(fs, peer, verdict, now);
		return;
	}
	f = flow_new(fs, peer, true);
	if (!f) {
		admission_leave(fs->c.admission, s);
		refuse_by(fs, peer, ADMIT_NOMEM, now);
		return;
	}
	f->source = s;
	flow_enter(f, FLOW_OPEN, l->header);
	flow_log_up(f, now);
}
