/*
 * Connections of the simulated world. sim_stream.c carries segments, in order
 * and without loss, or not at all; sim_conn.c is the life of a connection: who
 * is at its ends and what they are told; sim_tls.c judges identities.
 *
 * A segment that gets lost, or that the other side does not take, is sent again
 * at growing intervals, for ten seconds; then its connection is reset.
 */
#ifndef SIM_SIM_STREAM_H
#define SIM_SIM_STREAM_H

#include "sim/sim_int.h"

enum seg_kind {
	SEG_SYN,
	SEG_SYNACK,
	SEG_ACK, /* the third of the handshake; later ones are not simulated */
	SEG_HELLO, /* TLS: of the client, in place of SEG_ACK */
	SEG_CERT,  /* of the server */
	SEG_DONE,  /* of the client */
	SEG_ALERT, /* ends the connection, with `text` */
	SEG_DATA,
	SEG_FIN
};

/* One thing on its way from one end to the other. */
struct seg {
	struct list link; /* end.out */
	enum seg_kind kind;
	bool arrived; /* before one that was sent earlier */
	unsigned tries;
	int64_t sent; /* for the first time */
	/* SEG_DATA: a piece of that message, whose end it is or not. */
	struct packet *packet;
	struct str bytes;
	bool last;
	const char *text; /* SEG_ALERT, static */
};

/* A message that waits to be written. */
struct unwritten {
	struct list link;
	struct str bytes;
	size_t piece;
};

enum end_state { END_NONE, END_OPENING, END_HANDSHAKE, END_UP, END_CLOSED };

struct end {
	enum end_state state;
	struct conn *conn;
	enum transport transport; /* what it speaks */
	unsigned host;            /* 0: nobody yet */
	struct addr addr;
	unsigned endpoint; /* 0: a node's */
	unsigned node, worker;
	struct hop hop; /* as the node knows it; its name is `name` */
	char name[DNS_NAME];
	struct map_node by_hop; /* sim.conn_map, while the node knows it */
	bool known;             /* it is in there */

	struct list out;       /* struct seg, in order */
	size_t out_bytes;      /* in these */
	struct list unwritten; /* struct unwritten: before it is up, and when
				* too much is on its way */
	size_t unwritten_bytes;
	bool homeless;    /* a node's that has no address to connect from */
	bool fin;         /* ends when all is written */
	bool aborted;     /* nothing is sent again */
	int64_t latest;   /* arrival of what was sent */
	size_t delivered; /* bytes the other end was given */
};

struct conn {
	unsigned no;
	struct end end[2]; /* who connected, and to whom */
	unsigned events;   /* that are queued for it */
};

/* ---- sim_stream.c ---- */
struct conn *sim_conn_new(struct sim *s);
void sim_conn_free(struct sim *s, struct conn *c);
static inline struct end *sim_other(struct end *e)
{
	return &e->conn->end[e == &e->conn->end[0]];
}
void sim_seg_put(struct sim *s, struct end *from, enum seg_kind kind,
		 const char *text);
/* One message, in pieces of so many bytes; 0: as the link wants. */
void sim_seg_data(struct sim *s, struct end *from, struct str bytes,
		  size_t piece);
/* Sends nothing again. What is on its way arrives. */
void sim_seg_abort(struct sim *s, struct end *from);
/* Tells an end, from the machine `host`, that there is no such connection; at
 * once when host is 0. */
void sim_seg_reset(struct sim *s, unsigned host, struct end *to);
/* What the kernel of a proxy is told (TCP_USER_TIMEOUT), and what all do. */
#define USER_TIMEOUT SECONDS(10)
/* sim_conn_late will be called for that end at a time. */
void sim_conn_watch(struct sim *s, struct end *e, int64_t at);

/* ---- sim_conn.c ---- */
/* From its address and a port that nobody uses. */
void sim_conn_connect(struct sim *s, struct end *e, const struct addr *to);
void sim_end_write(struct sim *s, struct end *e, struct str bytes,
		   size_t piece);
/* Before it is up. */
bool sim_end_withdraw(struct sim *s, struct end *e, struct str bytes);
void sim_end_close(struct sim *s, struct end *e);
void sim_end_reset(struct sim *s, struct end *e);
/* Of a node: its messages that wait come back, and it is told. */
void sim_end_fail(struct sim *s, struct end *e, enum cause cause,
		  const char *text);
/* Does the end take it now? Else it is sent again later. */
bool sim_conn_takes(struct sim *s, const struct end *to);
/* These are true when an endpoint is to be told. */
bool sim_conn_arrive(struct sim *s, struct end *to, const struct seg *seg,
		     struct sim_event *out_r);
bool sim_conn_reset(struct sim *s, struct end *to, struct sim_event *out_r);
/* USER_TIMEOUT without success. */
bool sim_conn_give_up(struct sim *s, struct end *from, struct sim_event *out_r);
bool sim_conn_late(struct sim *s, struct end *e, struct sim_event *out_r);

/* ---- sim_tls.c: what one side says of what the other shows. CAUSE_NONE, or
 * why not, with the reason in words ---- */
enum { TLS_TEXT = 400 };

/* A node as the client. `shown` NULL: another node, which is believed. */
enum cause sim_tls_server(const struct tls_conf *conf, const char *wanted,
			  const struct sim_tls *shown, char text[TLS_TEXT]);
/* A node as the server; name_r is what the client has proved, or NULL. */
enum cause sim_tls_client(const struct tls_conf *conf,
			  const struct sim_tls *shown, const char **name_r,
			  char text[TLS_TEXT]);

/* ---- sim_flow.c: what a core asks of its host, and is told ---- */
void sim_open(struct sim_worker *w, const struct hop *flow);
void sim_stream_send(struct sim_worker *w, const struct hop *to,
		     struct str bytes);
bool sim_withdraw(struct sim_worker *w, const struct hop *to, struct str bytes);
void sim_close_flow(struct sim_worker *w, const struct hop *flow);
/* A listener of a node takes the connection. */
void sim_flow_accept(struct sim *s, struct end *e, unsigned node, int listener);
void sim_flow_forget(struct sim *s, struct end *e);
void sim_flow_up(struct sim *s, struct end *e, const char *name);
void sim_flow_data(struct sim *s, struct end *e, struct str bytes);
const struct tls_conf *sim_flow_tls(const struct sim *s, const struct end *e);

/* sim_pause.c: as the others there; `name` is what the peer has proved. */
bool sim_pause_stream(struct sim *s, const struct end *e, bool is_up,
		      const char *name, struct str bytes);

#endif
