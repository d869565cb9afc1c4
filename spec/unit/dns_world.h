/*
 * DNS messages as tests want them, and a cache in a world of its own: virtual
 * time, and a host that answers from a zone when it is told to.
 */
#ifndef UNIT_DNS_WORLD_H
#define UNIT_DNS_WORLD_H

#include "support/unit.h"
#include "transport/locate.h"

/* ---- messages ---- */

struct dns_text {
	unsigned char b[16384];
	size_t n;
	size_t rdata; /* where the length of the open record stands; 0: none */
};

enum { DNS_ANSWER = 6, DNS_AUTHORITY = 8 }; /* where the section is counted */

/* A response with this code to a question. */
void dns_text_init(struct dns_text *t, const char *name, uint16_t type,
		   unsigned rcode);
void dns_text_u8(struct dns_text *t, unsigned v);
void dns_text_u16(struct dns_text *t, unsigned v);
void dns_text_name(struct dns_text *t, const char *name);
void dns_text_string(struct dns_text *t, const char *s);
/* A record whose data follow; ends the one before. */
void dns_text_rr(struct dns_text *t, int section, const char *owner,
		 uint16_t type, uint32_t ttl);
/* "10.0.0.1", "2001:db8::1", "priority weight port target",
 * "order preference flag service regexp next" ('-': empty), or a name. */
void dns_text_record(struct dns_text *t, int section, const char *owner,
		     uint16_t type, uint32_t ttl, const char *data);
void dns_text_soa(struct dns_text *t, const char *zone, uint32_t ttl,
		  uint32_t minimum);
struct str dns_text_str(struct dns_text *t);

/* The lines of a zone; a name that is in none of them is not there. */
struct zone_line {
	const char *name;
	uint16_t type;
	uint32_t ttl;
	const char *data;
};
/* What the zone, whose last line has no name, says to a question. */
void dns_text_answer(struct dns_text *t, const struct zone_line *zone,
		     const struct query *q);

/* ---- the world ---- */

struct dns_world {
	struct mem mem;
	struct timers *timers;
	struct counters counters;
	struct rand rand;
	struct host host;
	struct dns_limits limits;
	struct resolver *rs;
	struct now now;
	const struct zone_line *zone; /* up to one without a name */
	struct query *asked[64];      /* under way */
	unsigned n;
	unsigned questions; /* in all */
	unsigned dropped;   /* that were taken back */
	char log[256];      /* keys of what was logged, a space behind each */
	bool servfail;      /* the zone says nothing but that */
	/* of dns_world_locate */
	struct places found;
	unsigned calls;
};

void dns_world_init(struct dns_world *w, const struct zone_line *zone);
/* Checks that nothing is left. */
void dns_world_fini(struct dns_world *w);
/* Runs timers for so long. */
void dns_world_run(struct dns_world *w, int64_t us);
/* Answers question i from the zone, or with this status. */
void dns_world_answer(struct dns_world *w, unsigned i);
void dns_world_fail(struct dns_world *w, unsigned i, enum answer_status status);
void dns_world_reply(struct dns_world *w, unsigned i, struct str bytes);
/* Answers questions, and those that follow, until there is none. */
void dns_world_answer_all(struct dns_world *w);
void dns_world_fail_all(struct dns_world *w, enum answer_status status);
/* The question under way, or -1. */
int dns_world_find(const struct dns_world *w, const char *name, uint16_t type);

/* UDP, TCP and TLS, both families. */
struct locate_ask dns_world_ask(const char *uri);
/* Starts a search whose result will be in w->found. */
struct locate *dns_world_start(struct dns_world *w,
			       const struct locate_ask *ask);
/* From start to result, with all that is asked answered. */
void dns_world_locate(struct dns_world *w, const struct locate_ask *ask);
/* What was found, "rank transport:address weight" separated by commas. */
const char *dns_world_places(const struct places *p, char out[2048]);

#endif
