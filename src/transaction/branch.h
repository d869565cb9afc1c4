/*
 * The identifiers we put into messages, all of them keyed and all of them the
 * same on every node that has the key: the Via branch, the To tag of our own
 * responses and (proxy/cookie.h) the Record-Route cookie.
 *
 * Branch: "z9hG4bK" version h8 T L MAC, in hex (semantics 19):
 *   version  1 digit, '1'
 *   h8       2 digits: hash of the Call-ID; the worker is h8 mod N
 *   T       16 digits: hash of upstream transaction, target and visit number
 *   L       16 digits: loop hash of RFC 5393
 *   MAC     16 digits: over the caller's top Via {branch, sent-by, received,
 *           rport}, Call-ID, CSeq number, From tag, T and L
 */
#ifndef TRANSACTION_BRANCH_H
#define TRANSACTION_BRANCH_H

#include "message/scan.h"
#include "util/siphash.h"
#include "transport/hop.h"

enum { BRANCH_LEN = 7 + 1 + 2 + 16 + 16 + 16, TAG_LEN = 16 };

/* What of a request the identifiers are made of. Slices are borrowed. */
struct upstream_id {
	struct str branch; /* of the caller's top Via */
	struct str host;   /* its sent-by */
	uint16_t port;
	struct addr source; /* received and rport as we mark them */
	struct str call_id, from_tag;
	uint32_t cseq;
	/* server.id, 0 where there is none: it tells requests apart that have
	 * the rest in common, as those without a branch may (RFC 2543). */
	uint64_t transaction;
};

struct branch {
	unsigned h8;
	uint64_t t, l, mac;
};

/* The worker (0..n-1) a Call-ID belongs to. The hash has a fixed public key,
 * so that every node and every run agrees. */
unsigned branch_h8(struct str call_id);

/* `key` of the request: its top Via as received plus from where. */
struct upstream_id upstream_id(const struct msg_key *key,
			       const struct hop *from);
/* The same from a response to what we forwarded: `second` is the Via below
 * ours, as we marked it. */
struct upstream_id upstream_id_echoed(const struct msg_key *key,
				      const struct via *second);

void branch_write(char out[BRANCH_LEN], struct sipkey key,
		  const struct upstream_id *up, const struct hop *target,
		  unsigned visit, uint64_t loop);
/* False when the text is not in our format (the MAC is not checked). */
bool branch_parse(struct str text, struct branch *out_r);
/* T alone of a text in our format or one that has its length: different
 * branches of ours have different ones. False when it is not hexadecimal. */
bool branch_t(struct str text, uint64_t *t_r);
/* Checks the MAC of a parsed branch against the upstream identity, as found in
 * a response's second Via, Call-ID, From tag and CSeq: made with any of our
 * keys. Constant time. */
bool branch_verify(const struct branch *b, const struct sipkeys *keys,
		   const struct upstream_id *up);

/* The To tag of responses of our own to this request (RFC 3261 8.2.6.2, 19.3):
 * TAG_LEN hex digits. */
void branch_to_tag(char out[TAG_LEN], struct sipkey key,
		   const struct upstream_id *up);
/* That of a response which is made from no more of its request than what the
 * messages of one transaction have in common (17.2.3), its Call-ID and its CSeq
 * number; as a number, not 0. Some have one branch for all that they send. */
uint64_t branch_brief_tag(struct sipkey key, const struct msg *m,
			  const struct msg_key *mk);
/* The same for a request that was not read. False when its topmost Via does not
 * identify it (RFC 2543). */
bool branch_brief_tag_by_via(struct sipkey key, const struct via *via,
			     struct str call_id, uint32_t cseq,
			     uint64_t *tag_r);
/* A To tag is that of a response of ours to this request, made with any of our
 * keys. */
bool branch_is_to_tag(struct str tag, const struct sipkeys *keys,
		      const struct upstream_id *up);

#endif
