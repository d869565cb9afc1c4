/* What the files of the simulated world share; see sim.h. */
#ifndef SIM_SIM_INT_H
#define SIM_SIM_INT_H

#include "sim/sim.h"
#include "lua/generation.h"
#include "util/map.h"
#include "util/rand.h"
#include "util/siphash.h"

/* A datagram, a message in a stream or an ICMP message, in the log and on its
 * way. */
struct packet {
	struct sim_packet p;
	uint64_t no; /* in the log */
	bool direct; /* to its to_host, if that has the address still */
};

/* How the trace tells its parts apart. */
enum trace {
	TRACE_SEND = 1,
	TRACE_FATE,
	TRACE_LOG,
	TRACE_POST,
	TRACE_NODE,
	TRACE_STREAM,
	TRACE_QUERY,
	TRACE_PAUSE
};

/* One machine as the others see it. */
struct machine {
	bool off;
	unsigned node; /* 0: has none */
};

/* An address and whose it is. */
struct owner {
	struct map_node node;
	struct addr ip;
	unsigned host;
	struct owner *next; /* sim.owners: all of them */
};

/* One direction between two machines, made when first used. */
struct pipe {
	struct map_node node;
	unsigned from, to;
	bool own, cut;
	struct sim_link conf; /* `own` only */
	int64_t last;         /* delivery of the last packet: nothing overtakes
			       * but what is to be reordered */
	struct pipe *next;    /* sim.pipes: all of them */
};

struct endpoint {
	struct map_node node;
	enum transport transport;
	struct addr at;
	unsigned id, host;
	enum sim_mode mode;
	struct sim_tls tls;
};

enum ev_kind {
	EV_PACKET,
	EV_TIMER,
	EV_POST,
	EV_FLOW,
	EV_SAVE,
	EV_STREAM, /* sim_stream.h */
	EV_QUERY,
	EV_ANSWER,
	EV_INPUT, /* of a stream, while its node was stopped or busy */
	EV_WORK   /* a worker that was busy (sim_slow.c) */
};

struct conn;     /* sim_stream.h */
struct seg;      /* sim_stream.h */
struct question; /* sim_dns.c */
struct split;    /* sim_split.c */

struct ev {
	int64_t at;
	uint64_t seq;
	enum ev_kind kind;
	struct packet *packet; /* EV_PACKET */
	struct ev *next;       /* of those that wait for a worker */
	int64_t came;          /* it waits since then; 0: it does not */
	unsigned node, worker; /* EV_POST, EV_FLOW, EV_SAVE, EV_INPUT; of an
				* EV_PACKET that has been in a buffer */
	unsigned boots;        /* of the node when it was queued */
	struct post *post;     /* owned, with what it points at */
	struct flow_event flow;
	char *text; /* owned: of `flow`, or the bytes of EV_ANSWER, EV_INPUT */
	/* EV_STREAM */
	struct conn *conn;
	struct seg *seg;
	int what, side;
	/* EV_QUERY, EV_ANSWER */
	uint64_t index; /* of the question; EV_INPUT: how many bytes */
	struct answer answer;
};

struct sim_worker {
	struct sim *sim;
	unsigned node, worker;
	struct host host;
	struct succession scripts;
	struct core *core;
	int64_t deadline; /* in the world's time; INT64_MAX: none */
	size_t waiting;   /* bytes in its socket, while it is stopped or busy */
	/* sim_slow.c: what it has to do, and when it can; what it did */
	struct ev *todo, *todo_last;
	int64_t busy;
	bool woken;
	uint64_t sends, begun;
};

/* A text that is kept in a state_dir; its memory is the world's. */
enum { SIM_KEPT = 4 };
struct sim_kept {
	struct str name, bytes;
};

struct machine_node {
	unsigned host;
	unsigned boots; /* times it was started; 0: never */
	int64_t epoch;  /* monotonic time of the node at 0 */
	int64_t skew;   /* of its wall clock */
	struct addr ip[16];
	unsigned ips;
	unsigned workers; /* 0: the process does not run */
	bool muted;       /* killed: nothing gets out any more */
	bool paused;      /* stopped (sim_pause.c) */
	size_t buffer;    /* bytes that a worker's socket takes */
	struct sim_cost cost;
	struct ev **held; /* owned: for when it goes on */
	size_t n_held, held_cap;
	bool has_state;                 /* its script has a state_dir */
	struct str disk;                /* owned: the calls in there */
	struct sim_kept kept[SIM_KEPT]; /* and the texts, by name */
	struct node *shared;
	struct sim_worker *worker[NODE_MAX_WORKERS];
};

struct sim {
	struct mem mem;
	int64_t now, start;
	uint64_t seq, timers;
	struct sipkey key;
	struct siphash trace;
	struct rand net, ids, boots, names; /* names: of connections */

	struct ev **heap;
	size_t heap_n, heap_cap;

	struct machine *machine; /* numbered from 1 */
	size_t machines, machine_cap;
	struct map ip_map, pipe_map, endpoint_map, conn_map;
	struct owner *owners;
	struct pipe *pipes;
	struct split *splits; /* sim_split.c */
	struct endpoint **endpoint;
	size_t endpoints, endpoint_cap;
	struct sim_link link;

	struct conn **conn; /* by number, from 1; NULL: has ended */
	size_t conns, conn_cap;
	unsigned ports; /* given to who connects */
	struct question **question;
	size_t questions, question_cap;

	struct machine_node **node;
	size_t nodes, node_cap;

	struct packet **packet;
	size_t packets, packet_cap;
	struct sim_log **log;
	size_t logs, log_cap;
	struct sim_note *note;
	size_t notes, note_cap;
	const char *trouble;
};

/* Never NULL. */
void *sim_alloc(struct sim *s, size_t n);
/* Room for one more in an array of n elements. */
void *sim_grow(struct sim *s, void *array, size_t n, size_t *cap, size_t size);
struct ev *sim_queue(struct sim *s, enum ev_kind kind, int64_t at);
/* An event that was taken out of the queue; it is due at once. */
void sim_queue_again(struct sim *s, struct ev *e);
void sim_event_free(struct sim *s, struct ev *e);

void sim_net_init(struct sim *s);
void sim_net_fini(struct sim *s);
/* The machine that has the address now; 0: nobody. */
unsigned sim_owner(const struct sim *s, const struct addr *ip);
/* Does that machine have the address? In a split more than one has. */
bool sim_has(const struct sim *s, unsigned host, const struct addr *ip);
/* Puts a datagram of a host on its way. `node` is 0 for endpoints. SIM_TOO_BIG
 * is known at once, whatever else befalls it only the log tells. */
struct packet *sim_put(struct sim *s, unsigned host, unsigned node,
		       const struct addr *from, const struct addr *to,
		       struct str bytes);
/* A packet gets where it was sent to. True when an endpoint is to be told. */
bool sim_arrive(struct sim *s, struct packet *p, struct sim_event *out_r);
struct endpoint *sim_endpoint(const struct sim *s, unsigned id);
/* The one whose socket this is; `stream` is not of UDP. NULL: nobody's. */
struct endpoint *sim_endpoint_at(const struct sim *s, const struct addr *at,
				 bool stream);
/* How long a segment of a stream takes from a machine to who has the address
 * now; -1: it does not get there. */
int64_t sim_carry(struct sim *s, unsigned from, const struct addr *to);

void sim_streams_init(struct sim *s);
void sim_streams_fini(struct sim *s);
bool sim_stream_event(struct sim *s, struct ev *e, struct sim_event *out_r);
/* The machine has lost its power: it says no more. */
void sim_streams_dead(struct sim *s, unsigned host);
/* The process of a node has ended: its kernel closes, or resets. */
void sim_streams_end(struct sim *s, unsigned node, bool reset);
/* An address has left the node, and its connections with it. */
void sim_streams_lost(struct sim *s, unsigned node, const struct addr *ip);

/* sim_dns.c */
void sim_ask(struct sim_worker *w, struct query *q);
void sim_unask(struct sim_worker *w, struct query *q);
void sim_dns_fini(struct sim *s);
bool sim_dns_event(struct sim *s, struct ev *e, struct sim_event *out_r);

/* sim_disk.c: the process has started, and reads what the one before it wrote;
 * it writes what has changed every second; now, before it ends. */
void sim_disk_start(struct sim *s, unsigned node);
void sim_disk_tick(struct sim *s, unsigned node, unsigned boots);
void sim_disk_save(struct sim *s, unsigned node);

/* sim_split.c */
void sim_split_add(struct sim *s, unsigned from, const struct addr *ip,
		   const struct sim_split *conf);
void sim_split_end(struct sim *s, const struct addr *ip);
/* The machine has the address no more; one that has it still, or 0. */
unsigned sim_split_leave(struct sim *s, unsigned host, const struct addr *ip);
bool sim_split_has(const struct sim *s, unsigned host, const struct addr *ip);
/* Whom a datagram of `from` reaches: how many machines; 0: there is no split.
 */
unsigned sim_split_pick(struct sim *s, unsigned from, const struct addr *ip,
			unsigned host_r[SIM_SPLIT_MAX]);
/* The machine that a connection of `from` to the address would be made to; 0:
 * nobody. */
unsigned sim_reach(const struct sim *s, unsigned from, const struct addr *ip);
void sim_split_fini(struct sim *s);

/* sim_pause.c: true when the node is stopped, and has it when it goes on. */
bool sim_pause_event(struct sim *s, unsigned node, struct ev *e);
bool sim_pause_packet(struct sim *s, unsigned node, struct packet *p,
		      struct sim_worker *w, const struct hop *peer);
/* Its process has ended: what waited for it is gone. */
void sim_pause_end(struct sim *s, unsigned node);

/* sim_slow.c: true when the work of the node costs time, and it has the event
 * when its worker gets to it. What the event owns goes over. */
bool sim_slow_event(struct sim *s, unsigned node, const struct ev *e);
void sim_slow_work(struct sim *s, const struct ev *e); /* EV_WORK */
void sim_slow_wake(struct sim *s, unsigned node);      /* it goes on */
/* Around each entry into a core: an input, or timers. */
void sim_slow_begin(struct sim_worker *w);
void sim_slow_end(struct sim_worker *w, bool input);
bool sim_is_slow(const struct machine_node *n, const struct sim_worker *w);
/* Its process has ended. */
void sim_slow_forget(struct sim *s, unsigned node);

void sim_nodes_fini(struct sim *s);
/* The same for a node; false when nobody listens there. */
bool sim_node_arrive(struct sim *s, unsigned node, struct packet *p);
void sim_node_event(struct sim *s, struct ev *e);
void sim_node_handle(struct sim *s, const struct ev *e); /* at once */
/* The worker whose deadline comes first; NULL when all are idle. */
struct sim_worker *sim_node_first(struct sim *s);
void sim_node_expire(struct sim *s, struct sim_worker *w);

struct host sim_verbs(struct sim_worker *w); /* what a core may ask */
/* The address a node would send from through a listener, or not. */
bool sim_source(const struct machine_node *n, unsigned listener,
		const struct addr *to, struct addr *out_r);
bool sim_owns(const struct machine_node *n, const struct addr *ip);
/* The listener that gets what is sent to the address; -1: none does. */
int sim_listener_at(const struct machine_node *n, const struct addr *at,
		    bool stream);
/* The kernel spreads what comes over the sockets of SO_REUSEPORT by a hash of
 * the addresses, whatever is in it: as one does that takes no program to steer
 * responses (host/steer.h), so that more is handed over. */
unsigned sim_socket_of(const struct sim *s, const struct machine_node *n,
		       const struct addr *from, const struct addr *to);
/* An event for a worker, later and never from inside a verb. */
void sim_tell_worker(struct sim *s, unsigned node, unsigned worker,
		     const struct flow_event *e);
/* A message that could not be sent: it comes back. */
void sim_bounce(struct sim *s, unsigned node, unsigned worker,
		const struct hop *to, struct str bytes, enum cause cause);
void sim_post_free(struct sim *s, struct post **p);
void sim_disk_free(struct sim *s, struct machine_node *n);
void sim_worker_touch(struct sim_worker *w); /* asks for its deadline again */

void sim_trace_init(struct sim *s);
void sim_trace_fini(struct sim *s);
struct packet *sim_trace_packet(struct sim *s, const struct sim_packet *p,
				unsigned host);
void sim_trace_fate(struct sim *s, struct packet *p, enum sim_fate fate);
void sim_trace_log(struct sim *s, unsigned node, unsigned worker,
		   const struct log_event *e);
void sim_trace_mark(struct sim *s, enum trace what, uint64_t a, uint64_t b);

#endif
