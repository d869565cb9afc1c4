/*
 * Overload: the worker cannot do what it is sent, and refuses what is new so
 * that what it has begun goes on (docs/explanation/overload.md).
 *
 * What is measured is how long messages had waited when they were read. While
 * they wait longer than a target, and have done so for an interval (the queue
 * does not go away: CoDel's standing queue), a share of what would
 * begin something is refused: none of what waited just the target, all of what
 * waited twice as long. So the share follows from what is there, and settles
 * where what is accepted is what can be done. Requests other than INVITE come
 * later; inside of a dialog nothing is refused, nor are responses.
 *
 * The other bound is memory: beyond it nothing new is taken, either.
 */
#ifndef PROXY_OVERLOAD_H
#define PROXY_OVERLOAD_H

#include "message/msg.h"
#include "transport/hop.h"
#include "transport/listener.h"
#include "util/timer.h"

/* How long a message had waited, microseconds. */
struct delay {
	int64_t all;
	int64_t elsewhere; /* of it: for another worker, that received it */
};

/* One place where messages wait. */
struct queue {
	bool above;   /* those that were read last had waited too long */
	tick_t last;  /* when such a one was read, */
	tick_t since; /* and the first of them */
};

enum {
	/* Where input comes from: a socket for datagrams each; and connections
	 * and what other workers have received. */
	QUEUES = LISTENER_MAX + 1,
	QUEUE_OTHER = LISTENER_MAX,
	/* 1 ms to 32 s, doubled */
	LAG_LEVELS = 16
};

/* A request that belongs to no transaction, as far as it matters here. */
struct offer {
	enum method method;
	struct str uri;
	bool in_dialog;
	/* The same in its repetitions and in its ACK, and from 1. It is seen
	 * outside: the To tag of the refusal. */
	uint64_t id;
};

struct overload {
	struct queue queue[QUEUES];
	/* The input that is being handled. */
	bool standing;
	int64_t delay; /* that it had, */
	int64_t due;   /* and what counts of that against the target */
	/* When something was late by so much, the last time. */
	tick_t lag[LAG_LEVELS];
	/* An episode: from the first that is refused until none has been for a
	 * while. */
	bool on;
	tick_t began, refused_last;
	struct timer end;
	uint64_t *refused;                /* offer.id each, or NULL */
	uint64_t n_refused, n_unanswered; /* in it */
	int64_t longest;
};

#endif
