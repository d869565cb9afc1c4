/*
 * Reads one DNS answer as it came (RFC 1035), for one question: own expansion
 * of names, owner names checked, aliases followed within the message. It knows
 * A, AAAA, SRV (RFC 2782), the NAPTR records of SIP (RFC 3263 4.1) and, of
 * answers that there is nothing, the SOA (RFC 2308). The additional section is
 * not read: what it says has not been asked for, and the cache asks once.
 *
 * Names are given in lower case, without the last dot; "" is the root. One with
 * a byte in it that no host name has is never equal to one that was asked for,
 * and a record that leads to one is left out.
 */
#ifndef TRANSPORT_DNS_ANSWER_H
#define TRANSPORT_DNS_ANSWER_H

#include "transport/host.h"

enum {
	DNS_RECORDS = 16, /* of SRV and NAPTR; more are left out */
	DNS_ADDRS = 8,    /* of A and AAAA */
	DNS_CNAMES = 8    /* aliases in a row */
};

struct dns_srv {
	uint16_t priority, weight, port;
	char target[DNS_NAME]; /* "": the service is not offered */
};

struct dns_naptr {
	uint16_t order, preference;
	uint8_t transport; /* SIP+D2U, SIP+D2T, SIPS+D2T */
	char flag;         /* 's': next comes SRV, 'a': A and AAAA */
	char next[DNS_NAME];
};

union dns_record {
	struct addr addr; /* without a port */
	struct dns_srv srv;
	struct dns_naptr naptr;
};

enum dns_verdict {
	DNS_FOUND,  /* n > 0 */
	DNS_NONE,   /* the name is not there, or has nothing of this type, or
		     * nothing of use */
	DNS_FAILED, /* the server says that it cannot say: SERVFAIL, REFUSED */
	DNS_BAD     /* malformed, cut off, or no answer to this question */
};

struct dns_answer {
	enum dns_verdict verdict;
	uint32_t ttl;     /* s; the least on the way. DNS_NONE: what the SOA
			   * says, 0 without one */
	unsigned n;       /* DNS_FOUND; of too many those that sort first */
	unsigned dropped; /* records over a limit */
	union dns_record r[DNS_RECORDS];
};

/* Which of two records of a type sorts first: by priority, or order and
 * preference, then by name or address. Servers turn their answers round: the
 * order in which records come says nothing. */
typedef int dns_compare_fn(const union dns_record *a,
			   const union dns_record *b);
dns_compare_fn *dns_compare(uint16_t type);

/* A byte that a label may have here; underscores and more than letters and
 * digits, as the world has them. */
static inline bool dns_is_host_byte(char c)
{
	return c > ' ' && c <= '~' && c != '.' && c != '\\';
}

static inline char dns_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* `name` as in struct query. Never reads outside of `msg`; the time it takes
 * grows with the size of the message and nothing else. */
void dns_answer_read(struct str msg, const char *name, uint16_t type,
		     struct dns_answer *out_r);

#endif
