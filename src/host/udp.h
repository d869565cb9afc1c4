/*
 * A UDP socket of one listener: opening it, receiving in batches, sending in
 * batches. It knows nothing of the loop and never calls the core: what fails is
 * put into a queue of faults that the worker tells to the core later.
 */
#ifndef HOST_UDP_H
#define HOST_UDP_H

#include "host/dgram.h"
#include "host/sent.h"
#include "host/sock.h"
#include "transport/listener.h"

enum { UDP_BATCH = 32 };

/* Since the socket was opened. Each of the last line is a message lost. */
struct udp_stats {
	uint64_t in, out, joined; /* of `out`, not alone: see host/join.h */
	uint64_t truncated, overflow, no_buffer, kernel;
};

struct udp {
	int fd;
	int rcvbuf; /* what the kernel granted, in its own doubled count */
	bool is_any;
	/* The bound address is on another machine now: a socket may be bound
	 * before its address is taken over (IP_FREEBIND). IPv4 refuses to send
	 * then, but IPv6 really would; what is set here stops it. */
	bool is_away;
	bool joins;      /* what is alike can leave together */
	const bool *gso; /* and may; borrowed, read each time; NULL: it may */
	struct hop hop;  /* template: listener, transport, local address */
	struct dgram_queue queue;
	struct sent sent;
	struct dgram_queue *faults; /* borrowed */
	unsigned retries;           /* of what is at the head */
	uint32_t kernel_seen;       /* last value of SO_RXQ_OVFL */
	/* When the kernel received what udp_take gave last: wall time, in
	 * microseconds; 0: it does not say. */
	int64_t came;
	struct udp_stats stats;
};

/* Memory for one batch of received datagrams; one per worker is enough. */
struct udp_batch;
struct udp_batch *udp_batch_new(void); /* NULL when memory ran out */
void udp_batch_free(struct udp_batch **b);

/* Without a socket: fd is -1. */
void udp_init(struct udp *u, const struct listener *l, unsigned index,
	      struct dgram_queue *faults);
/* Binds. 0, or an errno with an explanation in why[n]. */
int udp_open(struct udp *u, const struct listener *l, unsigned index,
	     enum sock_sharing sharing, struct dgram_queue *faults, char *why,
	     size_t n);
void udp_close(struct udp *u);

/* Receives at most UDP_BATCH datagrams; how many slots of the batch are used.
 * What the network says about datagrams that were sent goes to the faults. */
unsigned udp_receive(struct udp *u, struct udp_batch *b);
/* The datagram in slot i, valid until the next udp_receive. False when it must
 * be ignored (cut off); that is counted. */
bool udp_take(struct udp *u, struct udp_batch *b, unsigned i, struct hop *hop_r,
	      struct str *bytes_r);

/* Queues a copy; may already send what is waiting. Losses are counted. */
void udp_send(struct udp *u, const struct hop *to, struct str bytes);
/* Sends what is queued. False: the kernel takes no more now; call again when
 * the socket is writable. */
bool udp_flush(struct udp *u);
/* What the network says about a request. For what this socket itself is told
 * it does so by itself; but of sockets that share a port the kernel may tell
 * another one, by the addresses. Of what left together with it the rest is
 * queued, to be sent again, or among the faults. */
void udp_refused(struct udp *u, const struct refusal *why);
/* Frees what was kept for that and is too old now; from time to time. */
void udp_tidy(struct udp *u);

#endif
