/*
 * What the network says about datagrams it did not deliver: the error queue of
 * a UDP socket (IP_RECVERR) and the errors of send calls, in the vocabulary of
 * causes. What comes out is a hint: anybody may forge an ICMP message; the core
 * looks for its own branch in the quoted bytes.
 */
#ifndef HOST_ICMP_H
#define HOST_ICMP_H

#include "host/dgram.h"

struct sock_extended_err;

/* CAUSE_NONE when it says nothing about the peer ("fragmentation needed", a
 * local error that the send call reported already). */
enum cause icmp_cause(const struct sock_extended_err *e);
/* Of an error that a send call returned for its own datagram. `is_ours`: the
 * source address is one of this machine's. */
enum cause icmp_send_cause(int err, bool is_ours);
/* True when a send or receive call may have returned the error on behalf of an
 * earlier datagram to somebody else: drain, then try again. */
bool icmp_may_be_stale(int err);
/* Empties the error queue of the socket into `out`: original destination,
 * cause, quoted payload. `from` is the hop they were sent through. Returns how
 * many entries it read, also of those that were not worth telling. */
unsigned icmp_drain(int fd, const struct hop *from, struct dgram_queue *out);

#endif
