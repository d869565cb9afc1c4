/*
 * Questions to a DNS server, with c-ares on the loop of one worker: the only
 * file that knows c-ares. It asks and brings back what came, as it came;
 * reading it, keeping it and what follows from it are the core's
 * (transport/resolver.h). Answers are kept until the worker asks for them, so
 * that no verb ever calls the core.
 *
 * /etc/hosts and search domains are not looked at. A question is repeated after
 * 0.5 and 1 s and given up after 3.5 s with one server; of several the next is
 * asked when one is silent or refuses. An answer that does not fit is asked for
 * again by TCP.
 */
#ifndef HOST_DNS_H
#define HOST_DNS_H

#include <ev.h>

#include "host/logsink.h"
#include "transport/host.h"
#include "transport/limits.h"

struct dns;

/* The worker. Every run of calls is between a begin and an end: in the end it
 * tells. */
struct dns_user {
	void *ctx;
	void (*begin)(void *ctx);
	void (*answer)(void *ctx, struct query *q, const struct answer *a);
	void (*end)(void *ctx);
};

/* All borrowed. */
struct dns_conf {
	struct ev_loop *loop;
	const struct dns_limits *limits; /* the servers to ask */
	struct logsink *log;
	struct dns_user user;
};

/* NULL when memory ran out. */
struct dns *dns_new(const struct dns_conf *conf);
/* Tells nobody. */
void dns_free(struct dns **d);
/* The servers may be others now, in `limits` or in /etc/resolv.conf. What has
 * been asked is still waited for. */
void dns_reload(struct dns *d);

/* ---- the verbs (transport/host.h) ---- */
void dns_query(struct dns *d, struct query *q);
void dns_unquery(struct dns *d, struct query *q);

/* ---- after a run of entries ---- */
bool dns_have_news(const struct dns *d);
/* Tells what is there to tell; what comes of it is for the next time. */
void dns_tell(struct dns *d);

#endif
