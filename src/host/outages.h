/*
 * Which collectors of mirrored messages (host/hep.h) cannot be reached. Shared
 * by all workers, so that an operator reads of an outage once, and once of its
 * end. Any thread.
 */
#ifndef HOST_OUTAGES_H
#define HOST_OUTAGES_H

#include <pthread.h>
#include <stdatomic.h>

#include "host/logsink.h"
#include "util/addr.h"

/* The collectors of a script and of an operator, before and after a change. */
enum { OUTAGES_MAX = 4 };

struct outage {
	struct addr to;  /* none: free */
	uint64_t change; /* the one that it began with */
	uint64_t lost;   /* packets */
	int64_t failed;  /* monotonic seconds of the last failure */
};

struct outages {
	pthread_mutex_t lock;
	atomic_uint open;         /* how many there are */
	_Atomic uint64_t changes; /* begins and ends so far */
	struct outage at[OUTAGES_MAX];
};

/* What one sender has seen of a collector. Zero before it has sent anything. */
struct outage_seen {
	uint64_t changes; /* when it sent its last packet */
	unsigned good; /* packets in a row that were not refused, since then */
};

void outages_init(struct outages *o);
void outages_fini(struct outages *o);
/* A packet was lost. Logs hep.down when that begins an outage; `error` is an
 * errno, `reason` the word for it. */
void outages_failed(struct outages *o, const struct addr *to,
		    struct outage_seen *seen, struct logsink *log,
		    const char *reason, int error);
/* A packet was sent. Logs hep.up when that ends an outage. */
void outages_went_well(struct outages *o, const struct addr *to,
		       struct outage_seen *seen, struct logsink *log);

#endif
