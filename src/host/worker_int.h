/*
 * What the files of the worker share: its state. Nobody else includes this.
 */
#ifndef HOST_WORKER_INT_H
#define HOST_WORKER_INT_H

#include <ev.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host/cputick.h"
#include "host/dns.h"
#include "host/hep.h"
#include "host/mailbox.h"
#include "host/source.h"
#include "host/stream.h"
#include "host/thread.h"
#include "host/udp.h"
#include "host/worker.h"

/* A listener; those of streams have no socket here. */
struct port {
	struct udp udp;
	ev_io readable, writable;
	struct worker *worker;
	struct udp_stats told; /* what was reported last */
};

/* Signs of life: the control thread asks, the worker answers with what it has.
 * All of it may be read by anyone. */
struct life {
	atomic_uint asked, answered; /* numbers of questions */
	_Atomic int64_t asked_at;    /* monotonic microseconds */
	atomic_size_t requests, calls;
	atomic_bool quiet; /* core_is_quiet, while it drains */
};

struct worker {
	struct worker_conf conf;
	struct host host;
	/* The node's, with the addresses that the machine has by what this
	 * worker has read. */
	struct listeners listeners;
	struct cputick cputick;
	struct core *core;
	struct succession scripts;
	struct ev_loop *loop;
	ev_timer timer, refresh, save;
	bool is_saved; /* at least once */
	ev_prepare prepare;
	ev_check check;
	ev_async async;
	ev_io netlink;
	tick_t armed; /* what `timer` is set to */
	int64_t wall_offset;
	struct port port[LISTENER_MAX];
	unsigned ports;
	struct udp_batch *batch;
	struct dgram_queue faults;
	struct streams *streams;
	struct dns *dns;
	struct source *source;
	struct heps heps;
	struct mailbox mailbox;
	struct parcel *mail; /* taken out of the box, oldest first */
	struct outbox outbox;
	uint64_t lost, lost_told; /* of what was for other workers */
	pthread_mutex_t asks_lock;
	struct list asks; /* struct ask; under the lock */
	struct life life;
	_Atomic(char *) summary; /* malloc'd, or NULL */
	atomic_bool stop, report, rest, summarise;
	struct thread thread;
	struct latch started, go, resting, resume, answered, leave;
	int error; /* of starting */
};

/* worker.c */
/* The clocks: wall time as of the begin of this turn. */
struct now worker_now(const struct worker *w);
/* Begins a turn of the loop, or a part of it: before the first entry. */
void worker_begin(struct worker *w);
/* Ends a batch of entries: what they sent goes out, what failed is told. */
void worker_settle(struct worker *w);

/* worker_mail.c */
/* Host verb `post`. */
void worker_post(struct worker *w, unsigned to, const struct post *msg);
/* Hands over what it has for others. */
void worker_send_mail(struct worker *w);
/* To the core: what others have for it, or as much as is fair in one turn; then
 * all that is to be sent is. After it the loop may sleep: it is woken for what
 * is left, or comes. */
void worker_deliver_mail(struct worker *w);
/* The same when the core has stopped: only what is to go out. */
void worker_deliver_answers(struct worker *w);

/* worker_listen.c */
/* NULL: no memory */
struct streams *worker_make_streams(struct worker *w);
struct dns *worker_make_dns(struct worker *w);

/* upkeep.c */
/* Reads the addresses of the machine; logs which listeners came or went. */
void upkeep_addresses(struct worker *w);
/* Does it when the loop has last looked what there is a while ago: the process
 * may have been stopped since, in the middle of a turn, and an address may be
 * another machine's by now. */
void upkeep_after_pause(struct worker *w);
/* Does it when a datagram had no source although its listener's address is
 * thought to be here. */
void upkeep_on_fault(struct worker *w, const struct dgram *d);
/* Logs what was lost since the last time: one line per socket, if any. */
void upkeep_losses(struct worker *w);
/* Brings back the calls of the process before. */
void upkeep_restore(struct worker *w, struct now now);
/* Hands its calls over to be written, if any has changed. Returns after how
 * many seconds to do it again. */
double upkeep_save(struct worker *w, struct now now);
/* Logs what is alive. */
void upkeep_report(struct worker *w);

/* worker_life.c */
/* Says what there is, for worker_load. */
void worker_publish(struct worker *w);
/* Answers the question for a sign of life, if there is one. */
void worker_answer(struct worker *w);
/* How its servers are, for worker_summary. */
void worker_write_summary(struct worker *w);

#endif
