/*
 * An input of fuzz_core is a list of steps: what arrives, what is answered to
 * what was sent, what fails, how time passes. It begins with 0x1e, and so does
 * each step: 0x1e, a letter, three characters, then text up to the next 0x1e.
 * Anything else is one datagram of a stranger (so a torture message is an
 * input). A character c stands for the number (c - '0') mod 64.
 *
 *   D peer . .   text     a datagram
 *   O peer tls . -        a peer connects
 *   S conn cut . text     bytes of a connection, in pieces of `cut` * 7
 *   U conn . .   -        a connection that the node opens is up
 *   X conn cause . -      a connection ends
 *   A back tag . text     an answer to a request sent: "200 OK", more headers
 *   P back . .   -        a message that arrived arrives again
 *   C back . .   -        CANCEL of a request that arrived
 *   K back . .   -        ACK of a response sent
 *   B back side . text    a request in the dialog of a response sent: its
 *                         method, more headers
 *   I back cause cut -    ICMP about what was sent
 *   Q back how ttl text   an answer to a DNS question
 *   T n . .      -        time
 *   M which at row -      memory runs out
 *   W on . .  N on . .    the node drains; its addresses are elsewhere
 *
 * `back` counts from the last, 0. In the text of D and S "$x0" is taken from
 * the last message sent, "$x1" from the one before: x is b branch, t To tag, f
 * From tag, i Call-ID, c CSeq number, v all Via fields, r Record-Route as Route
 * fields, p the first Path value, u Request-URI, k Contact URI. "$$" is "$".
 */
#ifndef FUZZ_STEPS_H
#define FUZZ_STEPS_H

#include "fuzz/world.h"

enum { STEPS_MAX = 48, STEP_MARK = 0x1e };

struct step {
	char op;
	unsigned a, b, c;
	struct str text;
	struct str whole; /* without the mark */
};

/* The number of steps in out[STEPS_MAX]. */
size_t input_read(struct str input, struct step *out);
void step_run(struct fw *w, const struct step *s);

#endif
