/*
 * The way of mirrored messages to their collectors (util/hep.h): datagrams from
 * sockets that SIP knows nothing of. Never waits: what the kernel does not take
 * is counted and gone. One per worker.
 */
#ifndef HOST_HEP_H
#define HOST_HEP_H

#include "host/logsink.h"
#include "host/outages.h"
#include "util/counters.h"

/* One in the settings, and one that an operator has named. */
enum { HEP_COLLECTORS = 2 };

struct hep_way {
	struct addr to; /* none: free */
	int fd;         /* -1: it could not be opened */
	struct outage_seen seen;
	uint64_t used; /* the order of use */
};

struct heps {
	struct hep_way way[HEP_COLLECTORS];
	uint64_t uses;
	struct logsink *log;     /* borrowed */
	struct outages *outages; /* borrowed; the same for all workers */
};

void heps_init(struct heps *h, struct logsink *log, struct outages *outages);
void heps_close(struct heps *h);
/* Sends one datagram. Counts it (CNT_HEP_*) and tells `outages` what became of
 * it, which says once when a collector cannot be reached: by UDP that is known
 * only of one whose machine says that nobody listens, and a datagram later. */
void heps_send(struct heps *h, struct counters *c, const struct addr *to,
	       struct str packet);

#endif
