/*
 * Private to the transaction layer: what its files share.
 */
#ifndef TRANSACTION_INNER_H
#define TRANSACTION_INNER_H

#include "transaction/txn.h"

/* ---- txns.c: the lives of blocks ---- */

/* Frees a client that is TERMINATED and in no map, and its server when that
 * only waited for it; the owner is told. Timer functions and client_on_error do
 * so, after the last callback about it; of what the user may call only
 * server_disown frees anything, namely that server. */
void client_bury(struct client *c);
/* Frees a server that is TERMINATED when its last client is gone. */
void server_settle(struct server *s);

/* The scratch arena's failed flag as it was before; a failure of our own is
 * handled on the spot and must not look like one of the message's. */
bool scratch_begin(struct txns *t);
void scratch_end(struct txns *t, bool failed_before);

/* Copies bytes into *own, an owned string; what was in it is freed. On
 * ERR_NOMEM the old value stays. */
int owned_set(struct mem *m, struct str *own, struct str bytes);
void owned_free(struct mem *m, struct str *own);

/* ---- key.c: RFC 3261 17.2.3 ---- */

struct server_key {
	struct str part[6]; /* equal in a transaction's messages, hashed */
	unsigned parts;
	unsigned host;     /* which part compares in any case; 0: none */
	struct str to_tag; /* RFC 2543 only */
	bool has_to_tag;   /* it takes part in the comparison */
	struct str method; /* INVITE for ACK */
	bool any_method;   /* for CANCEL: the one it is for */
	char num[24];      /* text of a part */
};

/* A branch that identifies its request. */
bool server_key_is_new(struct str branch);
/* The port of the sent-by, which has a default (18.1.1). */
uint16_t server_key_port(const struct via *via);
void server_key_make(struct server_key *k, const struct msg *m,
		     const struct msg_key *key);
/* From the caller's top Via alone, the method to be filled in. False: its
 * branch does not identify the request (RFC 2543). */
bool server_key_of_via(struct server_key *k, const struct via *via);
/* From a response whose top Via is the caller's; likewise. */
bool server_key_of_final(struct server_key *k, const struct msg_key *key);
/* Puts its parts into a hash: the same whatever the method. */
void server_key_add(const struct server_key *k, struct siphash *h);
/* For the map: of the parts alone. */
uint64_t server_key_hash(const struct server_key *k, struct sipkey key);
/* For server.id. */
uint64_t server_key_id(const struct server_key *k, struct sipkey key);
size_t server_key_size(const struct server_key *k);
void server_key_write(const struct server_key *k, char *out);
bool server_key_eq(const struct server_key *k, struct str stored);

/* ---- record.c: what a client keeps of its request ---- */

/* Cuts the image down to what CANCEL and ACK need and puts `reason` (unless
 * empty) behind it; without memory it stays as it is. */
void client_shrink(struct client *c, struct str reason);
/* Bytes of the CANCEL in scratch; STR_NONE when memory ran out. */
struct str client_write_cancel(struct client *c, struct str reason);
/* ACKs a non-2xx final (17.1.1.3) and keeps the ACK in place of the image. */
void client_ack(struct client *c, const struct msg *response);
void client_drop_image(struct client *c);

#endif
