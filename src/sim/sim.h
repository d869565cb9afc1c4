/*
 * The simulated world: the other host of the core. It has a virtual clock, one
 * queue of packets and deadlines, hosts with addresses, links between them, and
 * nodes that run the real core under a real script. It reads no clock and opens
 * no socket; one seed decides loss, jitter and identifiers, so that a run can
 * be repeated exactly, also by another process (sim_hash).
 *
 * Endpoints (the phones and servers of a test) live outside: sim_next() runs
 * the world until one of them has something to react to. So nothing here ever
 * calls back.
 *
 * Lack of memory in the world itself ends the process: only the memory of nodes
 * is a matter of tests.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "core/core.h"
#include "lua/script.h"

struct sim;
struct succession; /* lua/generation.h */

/* 2026-01-01T00:00:00Z: the wall time at which worlds begin. */
#define SIM_START ((int64_t)1767225600 * 1000000)

/* `start` is the wall time at 0, in microseconds since 1970. */
struct sim *sim_new(uint64_t seed, int64_t start);
void sim_free(struct sim **s);
int64_t sim_now(const struct sim *s); /* microseconds since the world began */
/* For the identifiers endpoints make; the network has a generator of its own,
 * so that neither disturbs the other. */
struct rand *sim_rand(struct sim *s);

/* ---- hosts and links -------------------------------------------------- */

/* A host is a machine: some addresses and at most one node, or endpoints on its
 * ports. Finds the one that has the address (its port is ignored), or makes it.
 */
unsigned sim_host(struct sim *s, const struct addr *ip);
unsigned sim_hosts(const struct sim *s); /* numbered from 1 */
/* The address moves there, as a VIP does. */
void sim_host_take(struct sim *s, unsigned host, const struct addr *ip);
void sim_host_drop(struct sim *s, unsigned host, const struct addr *ip);
/* Without power a host sends nothing and what it is sent vanishes. */
void sim_host_power(struct sim *s, unsigned host, bool on);

enum { SIM_SPLIT_MAX = 4 };

/* Several machines believe that an address is theirs. Who gets a datagram: */
enum sim_split_mode {
	SIM_SPLIT_ALL,
	SIM_SPLIT_RANDOM, /* one of them */
	SIM_SPLIT_TURNS   /* one of them, and after `period` the next */
};

struct sim_split {
	unsigned host[SIM_SPLIT_MAX], n;
	enum sim_split_mode mode;
	int64_t period; /* microseconds */
};

struct sim_link {
	double loss, duplicate, reorder; /* probabilities, 0 to 1 */
	int64_t delay, jitter;           /* microseconds, one way */
	size_t mtu; /* longest datagram; 0: 65507. More comes back as too_big */
	/* Of streams, where a lost segment is sent again and nothing overtakes
	 * or is duplicated: */
	size_t chunk; /* bytes arrive in pieces of so many; 0: as written */
	size_t cut;   /* a connection is reset when so many have; 0: never */
};

/* 1 ms one way and nothing else, until told otherwise. */
void sim_link_init(struct sim_link *conf);
/* For pairs of hosts that have no link of their own. */
void sim_link_default(struct sim *s, const struct sim_link *conf);
/* One direction. */
void sim_link_set(struct sim *s, unsigned from, unsigned to,
		  const struct sim_link *conf);
void sim_link_get(struct sim *s, unsigned from, unsigned to,
		  struct sim_link *out_r);
void sim_link_cut(struct sim *s, unsigned from, unsigned to, bool cut);
void sim_heal(struct sim *s); /* all that was cut */

/* ---- endpoints -------------------------------------------------------- */

enum sim_mode {
	SIM_OPEN,
	SIM_REFUSING, /* nobody listens there: ICMP port unreachable, RST */
	SIM_STALLED   /* of a stream: it takes no connection and no bytes */
};

/* A socket of an endpoint; one of TCP or TLS listens. A number above 0, or 0
 * when the address is taken. */
unsigned sim_attach(struct sim *s, enum transport t, const struct addr *at);
unsigned sim_endpoints(const struct sim *s); /* numbered from 1 */
void sim_mode(struct sim *s, unsigned endpoint, enum sim_mode mode);
unsigned sim_endpoint_host(const struct sim *s, unsigned endpoint);
/* A datagram. */
void sim_send(struct sim *s, unsigned endpoint, const struct addr *to,
	      struct str bytes);

/* What an endpoint shows when TLS is spoken: of the cryptography there is only
 * what it would say in the end. */
struct sim_tls {
	char name[4][DNS_NAME]; /* of the certificate: "sip:example.com",
				 * "example.com" */
	unsigned names;         /* 0: whatever it is asked for */
	char issuer[64];        /* "": known to all; "self": nobody else */
	bool expired;
	bool wants_client; /* demands a certificate of who connects */
};
void sim_set_tls(struct sim *s, unsigned endpoint, const struct sim_tls *tls);

/* One side of a connection has a number, and the other has another: sim_connect
 * and SIM_ACCEPT name them. All that follows comes from sim_next: SIM_UP, then
 * SIM_DATA, at last SIM_DOWN, unless the endpoint has ended it itself. Numbers
 * of what has ended are ignored. */

/* From a port of the endpoint's machine that nobody uses, *from_r. */
unsigned sim_connect(struct sim *s, unsigned endpoint, const struct addr *to,
		     struct addr *from_r);
unsigned sim_conns(const struct sim *s); /* numbers of sides end at 2n + 1 */
/* One message, whole or not, in pieces of so many bytes (0: as the link wants).
 * What does not fit on its way waits. */
void sim_write(struct sim *s, unsigned side, struct str bytes, size_t piece);
void sim_close(struct sim *s, unsigned side); /* after what was written */
void sim_reset(struct sim *s, unsigned side);
/* sim_next will tell of it at that time; it cannot be stopped. */
uint64_t sim_timer(struct sim *s, int64_t at);

/* ---- what an endpoint is told ------------------------------------------ */

enum sim_kind {
	SIM_PACKET,
	SIM_ICMP,
	SIM_TIMER,
	SIM_ACCEPT, /* a peer connects: `side`, `from` */
	SIM_UP,
	SIM_DATA,
	SIM_DOWN,
	SIM_QUERY /* a node asks DNS: `id`, `name`, `type` */
};

struct sim_event {
	enum sim_kind kind;
	unsigned endpoint; /* whose it is; not SIM_TIMER, SIM_QUERY */
	unsigned side;     /* of a connection */
	struct addr from, to;
	struct str bytes; /* borrowed until the next sim_next; what ICMP
			   * quotes */
	uint64_t id;      /* SIM_TIMER, SIM_QUERY */
	enum cause cause; /* SIM_DOWN */
	struct str text;  /* SIM_DOWN: in words; SIM_QUERY: the name */
	uint16_t type;    /* SIM_QUERY: enum dns_type */
	unsigned node;    /* SIM_QUERY */
};

/* Runs the world until an endpoint has to react or the time is `until`. False:
 * nothing happened and it is. */
bool sim_next(struct sim *s, int64_t until, struct sim_event *out_r);
/* What went wrong in the world itself (a core that never comes to rest); NULL
 * when nothing did. */
const char *sim_trouble(const struct sim *s);

/* Answers the question `id` of SIM_QUERY after so many microseconds. */
void sim_answer(struct sim *s, uint64_t id, int64_t after,
		enum answer_status status, struct str bytes);

/* ---- nodes ------------------------------------------------------------ */

struct sim_node_conf {
	struct loader loader; /* used only during the call */
	const char *path;     /* of the script; NULL: none, `listen` instead */
	const char *listen;   /* "udp:0.0.0.0:5060" */
	unsigned workers;     /* 0: what the script says */
	bool own_listeners;   /* the machine has the addresses it listens on */
	struct sipkeys keys;  /* of the cluster */
	bool has_keys;   /* else the world's, and in a reload what it has */
	struct str edit; /* of a reload: changes of overrides */
	uint32_t collect_every; /* garbage of scripts: see lua/vm.h */
};

/* A machine for a proxy, with these addresses. */
unsigned sim_node(struct sim *s, const struct addr *ip, unsigned n);
unsigned sim_nodes(const struct sim *s); /* numbered from 1 */
unsigned sim_node_host(const struct sim *s, unsigned node);
/* The address moves to the node, as a VIP does; false: it has too many. */
bool sim_node_take(struct sim *s, unsigned node, const struct addr *ip);
void sim_node_drop(struct sim *s, unsigned node, const struct addr *ip);
/* Starts the process. 0, or ERR_* with the reason in err. */
int sim_node_start(struct sim *s, unsigned node,
		   const struct sim_node_conf *conf, char *err, size_t errlen);
/* Loads another script in place of the running one (lua/generation.h); on
 * failure nothing has changed. The same results, and the reason is logged. */
int sim_node_reload(struct sim *s, unsigned node,
		    const struct sim_node_conf *conf, char *err, size_t errlen);
/* Split brain: all these nodes have the address from now on, until one takes
 * it. `from` is a host whose view this is; 0: that of all who have none of
 * their own. A connection is made to one of them, and stays with it. False: one
 * has too many addresses. */
bool sim_node_split(struct sim *s, const struct addr *ip, unsigned from,
		    const unsigned *node, const struct sim_split *conf);
/* Has the machine this address now? */
bool sim_node_owns(const struct sim *s, unsigned node, const struct addr *ip);
bool sim_node_runs(const struct sim *s, unsigned node);
/* SIGSTOP: it does nothing, and of what it is sent each worker's socket takes
 * `buffer` bytes; and SIGCONT: everything at once. */
void sim_node_pause(struct sim *s, unsigned node, size_t buffer);
bool sim_node_paused(const struct sim *s, unsigned node);
void sim_node_resume(struct sim *s, unsigned node);
/* What work costs a worker, microseconds: a message that comes, one that it
 * sends, and a request that its script is given; 0: nothing. While it is busy
 * each worker's socket takes `buffer` bytes. */
struct sim_cost {
	int64_t receive, send, request;
	size_t buffer;
};
void sim_node_slow(struct sim *s, unsigned node, const struct sim_cost *cost);
/* Ends the process: as SIGKILL does, or so that open requests are answered. */
void sim_node_kill(struct sim *s, unsigned node);
void sim_node_stop(struct sim *s, unsigned node);
/* It takes nothing new; may it end now (core_is_quiet)?; how long its script
 * wants to wait for that, microseconds. */
void sim_node_drain(struct sim *s, unsigned node, bool on);
bool sim_node_is_quiet(const struct sim *s, unsigned node);
int64_t sim_node_stop_timeout(const struct sim *s, unsigned node);
/* A text that is kept in the script's state_dir; and another one in its place,
 * empty for none. */
struct str sim_node_kept(const struct sim *s, unsigned node, struct str name);
void sim_node_keep(struct sim *s, unsigned node, struct str name,
		   struct str bytes);
/* The snapshot in the script's state_dir, and another one in its place. */
struct str sim_node_disk(const struct sim *s, unsigned node);
void sim_node_set_disk(struct sim *s, unsigned node, struct str bytes);
/* Moves the wall clock of the machine, as NTP or an operator does. */
void sim_node_skew(struct sim *s, unsigned node, int64_t us);
unsigned sim_node_workers(const struct sim *s, unsigned node); /* 0: not up */
struct node *sim_node_shared(const struct sim *s, unsigned node);
struct core *sim_node_core(const struct sim *s, unsigned node, unsigned worker);
struct script *sim_node_script(const struct sim *s, unsigned node,
			       unsigned worker); /* NULL: has none */
const struct succession *sim_node_scripts(const struct sim *s, unsigned node,
					  unsigned worker);
struct now sim_node_now(const struct sim *s, unsigned node);
/* After anything was done to a core or a script from outside. */
void sim_node_touched(struct sim *s, unsigned node);

/* ---- what happened ---------------------------------------------------- */

enum sim_fate {
	SIM_FLYING,
	SIM_DELIVERED,
	SIM_LOST,    /* by the link */
	SIM_CUT,     /* by a partition */
	SIM_REFUSED, /* nobody listens */
	SIM_DEAD,    /* a host without power, here or there; or a process
		      * that ended with it unread */
	SIM_NOBODY,  /* no such address */
	SIM_TOO_BIG,
	SIM_UNSENT, /* the connection it waited for ended before */
	SIM_FULL    /* the socket's buffer is, of a node that is stopped */
};

const char *sim_fate_text(enum sim_fate fate);

struct sim_packet {
	int64_t sent;
	struct addr from, to;
	enum sim_fate fate;
	enum transport transport;
	enum cause icmp;             /* CAUSE_NONE: a message */
	unsigned node;               /* that sent it; 0: none did */
	unsigned from_host, to_host; /* who had the addresses then; 0: nobody */
	struct str bytes;            /* borrowed; lives as long as the world */
};

size_t sim_packets(const struct sim *s); /* numbered from 1 */
void sim_packet(const struct sim *s, size_t i, struct sim_packet *out_r);

struct sim_log {
	int64_t at;
	unsigned node, worker;
	wall_t wall; /* of the node */
	struct log_event event;
};

size_t sim_logs(const struct sim *s); /* numbered from 1 */
const struct sim_log *sim_log(const struct sim *s, size_t i);

/* Packets that were sent, what became of them and log events, in the order in
 * which all that happened. Of a packet that was duplicated each copy has a
 * fate.
 */
enum sim_note_kind { SIM_NOTE_SENT, SIM_NOTE_FATE, SIM_NOTE_LOG };

struct sim_note {
	int64_t at;
	size_t index; /* of the packet, or of the log event */
	enum sim_note_kind kind;
	enum sim_fate fate; /* SIM_NOTE_FATE, and who has the address now: */
	unsigned host;
};

size_t sim_notes(const struct sim *s); /* numbered from 1 */
const struct sim_note *sim_note(const struct sim *s, size_t i);

/* Of everything that happened so far: equal runs, equal hashes. */
uint64_t sim_hash(const struct sim *s);

#endif
