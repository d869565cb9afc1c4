/*
 * The calls that are up at servers, one record each, so that `calls` and the
 * resources of a server are exact (semantics 25). One table per core: a dialog
 * belongs to one worker, by its Call-ID.
 *
 * A record begins when a 2xx to an INVITE that an attempt sent to a member goes
 * up to the caller; every dialog counts, also a second one of a fork and one
 * that comes late, at the server that answered. It ends once, by the first of
 *   - the final answer to a BYE of either side (not 401 and 407: the call goes
 *     on), or nobody answering it (RFC 3261 15.1.1),
 *   - a 481 to another request of its session (12.2.1.2; RFC 5057: one to
 *     SUBSCRIBE, NOTIFY or PRACK does not speak of the session),
 *   - the session timer of RFC 4028, half a minute later; where there is none
 *     max_duration of the server after the last 2xx to INVITE or UPDATE.
 * A record that has ended stays for 64*T1 from its begin, so that a repeated
 * 2xx begins no second one.
 *
 * It holds keyed hashes instead of texts, so that it is small and can be read
 * back after a restart (calls_image.h). Their key is that of the table and
 * stays with it: the texts are gone when the key of the cluster is replaced.
 */
#ifndef PROXY_CALLS_H
#define PROXY_CALLS_H

#include "message/scan.h"
#include "proxy/members.h"
#include "util/counters.h"
#include "util/map.h"
#include "util/siphash.h"
#include "util/timer.h"

struct calls_conf {
	struct mem *mem;
	struct timers *timers;
	struct counters *counters;
	struct sipkey key;          /* of the hashes */
	const struct sipkeys *keys; /* of the node: they sign images */
	int64_t t1;                 /* microseconds */
};

struct calls;

/* Both ways round the same: From and To change sides within a dialog. */
struct call_name {
	uint64_t call_id, tag[2]; /* keyed hashes */
};

struct call_record {
	struct map_node node;
	struct list link; /* calls.list */
	struct calls *calls;
	struct timer timer; /* up: the last moment; ended: when it is freed */
	struct call_name name;
	struct member *member;
	load_units units;
	tick_t began;
	uint8_t h8;   /* of the Call-ID: whose it is */
	bool ended;   /* counts no more */
	bool session; /* the timer is that of the session */
};

struct calls {
	struct calls_conf c;
	struct map map;
	struct list list; /* in the order in which they began */
	size_t n_up;
	bool changed; /* set by every change; cleared by who saves them */
};

int calls_init(struct calls *cs, const struct calls_conf *conf);
/* The same as calls_forget, and the end. */
void calls_fini(struct calls *cs);
/* Forgets all of them: what they count is given back. */
void calls_forget(struct calls *cs);
/* Bytes of the heap that only grew to be used again. */
size_t calls_spare_bytes(const struct calls *cs);

/* A 2xx to INVITE or UPDATE has gone up. With a member it may begin a call,
 * which takes `units` there; it refreshes one that it belongs to. */
void calls_on_2xx(struct calls *cs, struct member *m, load_units units,
		  struct msg *res, const struct msg_key *key, struct now now);
/* A request has got its final answer, or with code 0 will never have one. */
void calls_on_final(struct calls *cs, const struct msg_key *request,
		    enum method method, int code, struct now now);

bool calls_has(const struct calls *cs, const struct call_name *name);
/* For calls_image.c: a record that counts from now on; NULL when there is one
 * of that name already or memory ran out. */
struct call_record *calls_add(struct calls *cs, const struct call_name *name,
			      struct member *m, load_units units);
/* What is not extended ends `us` from now; 0: never. */
void call_arm(struct call_record *r, int64_t us, bool session, struct now now);

#endif
