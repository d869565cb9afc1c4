/*
 * The cluster key while the process runs: how it is shown, and how others take
 * its place at a reload. What a key file may hold is host/keyfile.h's matter.
 */
#ifndef CONTROL_KEYS_H
#define CONTROL_KEYS_H

#include "util/siphash.h"
#include "util/str.h"

struct control;

struct key_text {
	char s[9];
};

/* The fingerprint of a key, in hex. */
struct str keys_show(struct sipkey key, struct key_text *space);
/* Those of the key file as it is now, while the workers rest: so no message is
 * signed with half a key. Says what has changed, and a warning when what we
 * signed until now is not believed any more. */
void keys_use(struct control *c, const struct sipkeys *keys);

#endif
