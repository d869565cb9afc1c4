#include "host/outages.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
	/* An outage is over after so long, and so many: where nobody listens
	 * every other datagram seems to be taken. */
	UP_S = 2,
	UP_GOOD = 3,
};

static int64_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

void outages_init(struct outages *o)
{
	memset(o, 0, sizeof(*o));
	pthread_mutex_init(&o->lock, NULL);
}

void outages_fini(struct outages *o)
{
	pthread_mutex_destroy(&o->lock);
}

/* ---- under the lock ---- */

static struct outage *find(struct outages *o, const struct addr *to)
{
	for (size_t i = 0; i < OUTAGES_MAX; i++) {
		struct outage *at = &o->at[i];

		if (at->to.family != ADDR_NONE && addr_eq(&at->to, to))
			return at;
	}
	return NULL;
}

/* In a free place, or in that of the one which nobody has seen for the longest
 * time: a collector that is not used any more. */
static struct outage *begin(struct outages *o, const struct addr *to)
{
	struct outage *oldest = &o->at[0];

	for (size_t i = 1; i < OUTAGES_MAX; i++)
		if (o->at[i].failed < oldest->failed)
			oldest = &o->at[i];
	if (oldest->to.family == ADDR_NONE)
		atomic_fetch_add(&o->open, 1);
	*oldest = (struct outage){
	    .to = *to, .change = atomic_fetch_add(&o->changes, 1) + 1};
	return oldest;
}

static void end(struct outages *o, struct outage *at)
{
	*at = (struct outage){0};
	atomic_fetch_sub(&o->open, 1);
	atomic_fetch_add(&o->changes, 1);
}

/* A refusal is of the packet before, and that may have been in an outage which
 * others have seen end since. */
static bool is_old(const struct outages *o, const struct outage_seen *seen,
		   int error)
{
	return error == ECONNREFUSED &&
	       seen->changes != atomic_load(&o->changes);
}

static void count_good(struct outage_seen *seen, const struct outage *at)
{
	if (seen->changes < at->change) /* before it */
		seen->good = 0;
	seen->good++;
}

/* ---- what senders tell ---- */

void outages_failed(struct outages *o, const struct addr *to,
		    struct outage_seen *seen, struct logsink *log,
		    const char *reason, int error)
{
	struct outage *at;

	pthread_mutex_lock(&o->lock);
	at = find(o, to);
	if (!at && !is_old(o, seen, error)) {
		at = begin(o, to);
		logsink_say(log, LOG_WARN, "hep.down",
			    LOGF_ADDR("collector", to),
			    LOGF_STR("reason", str_from(reason)),
			    LOGF_STR("error", str_from(strerror(error))));
	}
	if (at) {
		at->lost++;
		at->failed = seconds();
	}
	*seen = (struct outage_seen){.changes = atomic_load(&o->changes)};
	pthread_mutex_unlock(&o->lock);
}

void outages_went_well(struct outages *o, const struct addr *to,
		       struct outage_seen *seen, struct logsink *log)
{
	struct outage *at;

	/* One may begin between these two: what went well before it does not
	 * count, then, either. */
	if (!atomic_load(&o->open)) {
		*seen = (struct outage_seen){atomic_load(&o->changes), 0};
		return;
	}
	pthread_mutex_lock(&o->lock);
	at = find(o, to);
	if (at)
		count_good(seen, at);
	if (at && seen->good >= UP_GOOD && seconds() - at->failed >= UP_S) {
		logsink_say(log, LOG_INFO, "hep.up", LOGF_ADDR("collector", to),
			    LOGF_INT("dropped", (int64_t)at->lost));
		end(o, at);
	}
	seen->changes = atomic_load(&o->changes);
	pthread_mutex_unlock(&o->lock);
}
