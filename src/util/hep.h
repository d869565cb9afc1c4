/*
 * HEP3, the encapsulation that SIP captures are sent in to a collector (Homer,
 * sngrep, Wireshark): one packet is a message as it was on the wire, with the
 * addresses, the time and who has seen it. Writes packets; sends nothing.
 */
#ifndef UTIL_HEP_H
#define UTIL_HEP_H

#include "util/addr.h"
#include "util/buf.h"
#include "util/tick.h"

/* The payload; numbers of the HEP registry. */
enum hep_type { HEP_SIP = 1, HEP_LOG = 100 };

enum {
	/* What one UDP datagram carries, over IPv4. */
	HEP_MAX = 65535 - 20 - 8,
	/* Where collectors listen. */
	HEP_PORT = 9060,
	/* Of correlation id, node name and password each; the rest is cut. */
	HEP_TEXT = 255
};

struct hep {
	struct addr from, to; /* of one family; none counts as IPv4's 0.0.0.0 */
	bool tcp;             /* IP protocol: TCP, TLS also; else UDP */
	wall_t time;
	enum hep_type type;
	uint32_t id;            /* of the capture agent */
	struct str password;    /* or STR_NONE, as the two below */
	struct str correlation; /* Call-ID */
	struct str node;        /* a name for the agent */
	struct str payload;
};

/* Appends one packet. The payload is its end, *payload_r bytes of it: fewer
 * than were given when it had to be cut to HEP_MAX. */
void hep_write(struct buf *b, const struct hep *h, size_t *payload_r);

#endif
