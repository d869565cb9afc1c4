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
/* Looks at the key file of a script that does not run. A file that is not
 * there, or not ours to read, is none of its faults; its mode is review.h's
 * matter. An exit code, with the reason in c->why. */
int keys_try(struct control *c);
/* Those of the key file as it is now, while the workers rest: so no message is
 * signed with half a key. Says what has changed, and a warning when what we
 * signed until now is not believed any more. */
void keys_use(struct control *c, const struct sipkeys *keys);

#endif
