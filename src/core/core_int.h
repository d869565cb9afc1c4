/*
 * Private to the files of the core: its parts, and the wire between them and
 * the host.
 */
#ifndef CORE_CORE_INT_H
#define CORE_CORE_INT_H

#include "core/core.h"
#include "transport/flows.h"

struct core {
	struct node *node;
	unsigned worker;
	const struct host *host;
	/* The host as the layers above the connections see it, and as the
	 * connections do. */
	struct host wire, net;
	struct mem mem;
	struct arena_cache *arenas;
	struct arena *scratch;
	struct timers *timers;
	struct resolver *resolver;
	struct dns_limits dns; /* it was told of */
	struct flows *flows;
	struct txns txns;
	bool has_txns;
	struct proxy *proxy;
	struct counters counters;
	struct rand rand;
	struct core_user *user; /* the present one, or NULL */
	struct list users;      /* and those before it, oldest first */
	bool busy;              /* an entry is running: none may start */
	struct now now;         /* of that entry */
	bool has_come, is_post; /* its input: `came` is known; another worker
				 * has received it */
	tick_t came;
	tick_t handed; /* is_post: to us, then */
};

void wire_init(struct core *c);
/* receive.c */
/* What has come from the network: is handed over when it belongs to another
 * worker. */
void receive_bytes(struct core *c, const struct hop *from, struct str bytes);
/* A message that probably belongs to this one. */
void receive_message(struct core *c, const struct hop *from, struct str bytes);
/* What ends a stream; who can be told why is told (18.3). */
void receive_garbage(struct core *c, const struct hop *from, struct str bytes,
		     int code, struct str reason);
/* What could not be sent, to the worker whose request it is. */
void receive_flow_error(struct core *c, const struct flow_event *e);
/* late.c: when the input came; how long it has waited; and that timers did. */
tick_t late_came(const struct core *c);
void late_note_input(struct core *c, const struct hop *from);
void late_note_timers(struct core *c, struct now now);
/* capture.c: shows a message to whom it may concern; only while capture_is_on.
 */
void capture_message(struct core *c, bool in, const struct hop *peer,
		     struct str bytes);
/* proxy_conf.on_end */
void capture_decision(void *ctx, struct request *r, struct log_event *e);

#endif
