/*
 * What a script declares that the proxy core itself must know. Built while
 * loading, frozen afterwards, shared by the workers of a node.
 */
#ifndef PROXY_SETTINGS_H
#define PROXY_SETTINGS_H

#include <stdint.h>

#include "transaction/txn.h"
#include "transport/limits.h"
#include "util/addr.h"
#include "util/hep.h"
#include "util/mem.h"

enum trying_mode { TRYING_COMMIT, TRYING_RFC }; /* semantics 11 */
enum late_answer { LATE_BYE, LATE_FORWARD };    /* semantics 2 */
/* Semantics 20: what is relayed of the transactions that another node, or the
 * process before, has begun. */
enum stateless_relay { RELAY_ALL, RELAY_INVITE, RELAY_NONE };

enum { NODES_MAX = 8 };
/* Half of what the machine has. */
#define MEMORY_DEFAULT SIZE_MAX

/* Where messages are mirrored to, and as what (util/hep.h). */
struct hep_conf {
	struct addr collector; /* none: nowhere */
	uint32_t id;           /* of this proxy as a capture agent */
	double share;          /* of the calls, 0 to 1 */
	bool redact;           /* leave secrets out (util/redact.h) */
	char name[HEP_TEXT + 1], password[HEP_TEXT + 1];
};

enum { EXEMPT_MAX = 16, EXEMPT_LEN = 32 };

/* When it is too much (overload.h). */
struct overload_conf {
	int64_t delay;        /* that messages may have; 0: any */
	uint32_t retry_after; /* seconds, in the mean; 0: is not said */
	unsigned n_exempt;
	char exempt[EXEMPT_MAX][EXEMPT_LEN + 1]; /* who may be called */
};

struct settings {
	struct txn_times times;
	enum trying_mode trying;
	enum late_answer late_answer;
	enum stateless_relay stateless_relay;
	struct addr node[NODES_MAX]; /* of the cluster, this one too; by UDP */
	unsigned n_nodes;
	struct addr_net
	    *trust; /* sources that may use foreign Routes and URIs */
	size_t n_trust;
	struct str *domains; /* hosts we serve, lower case */
	size_t n_domains;
	int64_t timer_c; /* microseconds; more than 3 minutes */
	/* For so long a proxy that drains only says so; microseconds. */
	int64_t drain_notice;
	struct stream_limits streams;
	struct dns_limits dns;
	/* A request of more bytes goes by TCP, if it can (18.1.1); 0: never */
	size_t udp_max;
	bool udp_gso; /* messages of one length to one peer leave together */
	struct hep_conf hep;
	struct overload_conf overload;
	size_t max_memory; /* of the cores' heaps together, bytes; 0: any */
	size_t why_memory; /* bytes of traces per worker (why.h); 0: none */
};

/* RFC 3261's own figures: T1 500 ms, T2 4 s, T4 5 s, Timer C 181 s. */
void settings_init(struct settings *s);
/* Frees its lists and what they name. */
void settings_fini(struct settings *s, struct mem *m);
bool settings_trusts(const struct settings *s, const struct addr *source);
/* The host of a URI is one of `domains`. */
bool settings_serves(const struct settings *s, struct str host);

#endif
