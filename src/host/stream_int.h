/*
 * What the files of the streams share: a connection and its states. Nobody else
 * includes this.
 */
#ifndef HOST_STREAM_INT_H
#define HOST_STREAM_INT_H

#include "host/sock.h"
#include "host/stream.h"
#include "host/tls.h"
#include "util/map.h"

enum {
	/* No less than a TLS record: then nothing that was read from the
	 * socket stays in the library, where no poll would see it. */
	STREAM_PIECE = 16384,
};

enum stream_state {
	STREAM_CONNECTING,
	STREAM_SHAKING, /* hands: TLS */
	STREAM_UP,
	STREAM_FAILED,  /* no descriptor any more; not told yet */
	STREAM_CLOSING, /* the core has closed it: the rest goes out */
	STREAM_DEAD,    /* to be freed */
};

struct stream {
	struct map_node node; /* by hop.conn; while the core may name it */
	struct list link;     /* streams.all, or .dead */
	struct list dirty;    /* streams.dirty */
	struct list news;     /* streams.news */
	struct list guest;    /* streams.guests */
	struct list ready;    /* streams.ready */
	struct streams *ss;
	struct hop hop;
	char *tls_name; /* hop.tls_name, owned */
	int fd;
	struct tls *tls; /* or NULL */
	enum stream_state state;
	bool accepted;
	bool is_half;   /* we have ended our half */
	bool is_behind; /* what had come was too much for one turn */
	double since;   /* ev_time: something to read has been there */
	bool tell_up, tell_down;
	enum cause cause; /* of the end */
	char *why;        /* the same in words, or NULL */
	ev_io io;
	ev_timer deadline;
	struct dgram_queue queue;
	size_t written; /* of its first message */
};

struct acceptor {
	struct list link;
	struct streams *ss;
	unsigned listener;
	int fd;
	ev_io io;
	ev_timer resume;
	bool is_paused;
};

struct streams {
	struct streams_conf conf;
	struct mem mem;
	struct map map;
	struct list all, dead, dirty, news, acceptors;
	struct streams_stats stats;
	struct list guests; /* accepted, in the middle of a TLS handshake */
	unsigned n_guests, n_closing;
	struct list
	    ready;      /* with something to read: who waited longest first */
	ev_check turns; /* when they have theirs */
	char *piece;    /* STREAM_PIECE bytes: what was just read */
};

/* stream.c */
/* A connection over fd, which it owns if this succeeds; NULL: no memory. */
struct stream *stream_new(struct streams *ss, int fd, const struct hop *hop,
			  bool accepted);
/* It has ended; what was not written and this will be told. `why` may be NULL.
 */
void stream_fail(struct stream *s, enum cause cause, const char *why);
/* Gives the descriptor back; idempotent. */
void stream_drop(struct stream *s);
/* Tells what there is to tell of it; it may be dead afterwards. */
void stream_tell(struct stream *s);
/* The handshake of an accepted one is over; idempotent. */
void stream_shaken(struct stream *s);
/* The core does not know it any more, or never did. */
void stream_bury(struct stream *s);
void stream_expect(struct stream *s, int events); /* EV_READ | EV_WRITE */

/* stream_io.c */
/* The first step of an accepted one. */
void stream_begin(struct stream *s);
void stream_on_io(struct ev_loop *loop, ev_io *io, int events);
void stream_on_deadline(struct ev_loop *loop, ev_timer *t, int events);
/* Reads from those that are ready, for a while. */
void stream_on_turns(struct ev_loop *loop, ev_check *c, int events);
/* Writes what is queued, as far as it goes. */
void stream_write(struct stream *s);
/* What an errno of connecting or of a connection means. */
enum cause stream_cause(const struct stream *s, int err);

/* acceptor.c */
void acceptor_free(struct acceptor *a);

#endif
