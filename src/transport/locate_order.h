/*
 * In which order the records of one name are gone through, for
 * transport/locate.c alone. Servers turn their answers round, so the order of
 * the records in the answer decides nothing: they are sorted first, and what is
 * equal is then drawn with a seed. Two nodes with the same records and the same
 * seed draw alike.
 */
#ifndef TRANSPORT_LOCATE_ORDER_H
#define TRANSPORT_LOCATE_ORDER_H

#include "transport/dns_answer.h"
#include "util/rand.h"

/* The seed for one drawing of a search: `what` tells those of a name apart. */
uint64_t order_seed(uint64_t seed, const char *name, unsigned what);
/* `out` has room for n pointers into `r`. */
void order_addrs(const union dns_record **out, const union dns_record *r,
		 unsigned n, uint64_t seed);
void order_naptr(const union dns_record **out, const union dns_record *r,
		 unsigned n); /* order, preference */
void order_srv(const union dns_record **out, const union dns_record *r,
	       unsigned n); /* priority */
/* SRV records of one priority, by weight (RFC 2782), in place. */
void order_by_weight(const union dns_record **r, unsigned n, uint64_t seed);

#endif
