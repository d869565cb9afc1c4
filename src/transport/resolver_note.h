/*
 * What the resolver counts and logs, for transport/resolver.c alone: each
 * look-up by type and result, in one line that nobody answers any more and in
 * one that somebody does again, and answers of no use at a bounded rate.
 */
#ifndef TRANSPORT_RESOLVER_NOTE_H
#define TRANSPORT_RESOLVER_NOTE_H

#include "transport/dns_answer.h"
#include "util/counters.h"
#include "util/tick.h"

enum result { /* in the order of DNS_COUNTERS */
	      RESULT_CACHED,
	      RESULT_STALE,
	      RESULT_FOUND,
	      RESULT_NONE,
	      RESULT_SERVFAIL,
	      RESULT_MALFORMED,
	      RESULT_TIMEOUT,
	      RESULT_UNREACHABLE
};

struct resolver_note {
	const struct host *host;
	struct counters *counters;
	unsigned unanswered; /* questions in a row */
	tick_t answered_at;
	bool down; /* and it has been said */
	tick_t down_since;
	tick_t bad_at; /* no line about bad answers before */
};

void note_init(struct resolver_note *n, const struct host *host,
	       struct counters *counters);
void note_count(struct resolver_note *n, const struct query *q,
		enum result result);
/* Somebody has answered. True: for the first time since nobody did. */
bool note_answered(struct resolver_note *n, struct now now);
/* What the answer said. */
void note_read(struct resolver_note *n, const struct query *q,
	       const struct dns_answer *a, struct now now);
/* ANSWER_TIMEOUT, ANSWER_FAILED. When somebody has answered another question
 * since this one was asked, it is the name's fault, not the resolver's. */
void note_unanswered(struct resolver_note *n, const struct query *q,
		     enum answer_status status, tick_t asked_at,
		     struct now now);

#endif
