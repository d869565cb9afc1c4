/*
 * Flow tokens (RFC 3327, the idea of RFC 5626 5.2): the user part of a SIP URI
 * of ours that says over which flow a phone is reached: from which address of
 * ours, by which transport, to which address, over which connection. It stands
 * in Path values and, during a dialog, in Record-Route values. It holds no
 * state, and its MAC (RFC 3327 6.1) lets any node with the key use it; who
 * holds a token can reach that flow and nothing else.
 *
 * Text: "flow1-" side, then in hex the transport, our address, the peer's, the
 * connection when the transport has any, and the MAC. 53 characters for IPv4
 * over UDP. The URI around it names the listener by its public name.
 */
#ifndef PROXY_TOKEN_H
#define PROXY_TOKEN_H

#include "transport/hop.h"
#include "util/siphash.h"

/* The side is part of what is signed: a token that a dialog needed is no way to
 * call the phone again. */
enum token_side {
	TOKEN_NO_SIDE = 0,  /* no token */
	TOKEN_PATH = 'p',   /* of a registration */
	TOKEN_CALLER = 'u', /* of a dialog whose caller is the phone */
	TOKEN_CALLEE = 'd'  /* of a dialog whose callee is the phone */
};

struct token {
	enum token_side side;
	uint8_t transport; /* enum transport */
	struct addr local; /* ours, with the port of the listener */
	struct addr peer;
	uint64_t conn; /* 0 on transports without connections */
};

enum token_found {
	TOKEN_NONE, /* the text does not begin as a token: some user name */
	TOKEN_BAD,  /* forged, damaged, or made with another key */
	TOKEN_OK
};

void token_write(struct buf *out, struct sipkey key, const struct token *t);
/* Made with any of our keys. */
enum token_found token_read(struct str user, const struct sipkeys *keys,
			    struct token *out_r);

#endif
