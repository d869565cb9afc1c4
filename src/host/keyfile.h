/*
 * The cluster key: 16 bytes that all nodes of a cluster share, from a file. It
 * signs branches, Record-Route cookies and flow tokens. While it is replaced
 * there are two.
 */
#ifndef HOST_KEYFILE_H
#define HOST_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "util/siphash.h"

enum { KEY_BYTES = 16 };

enum key_origin {
	KEY_FILE,      /* of the operator */
	KEY_STATE,     /* of the state directory, perhaps made just now */
	KEY_TEMPORARY, /* neither is given: lost with the process */
};

/* "file", "state_dir" or "temporary". */
const char *keyfile_origin(enum key_origin origin);
/* Finds or makes the keys. `key_file` and `state_dir` may be NULL. 0, or an
 * errno with an explanation in why[n]. */
int keyfile_get(const char *key_file, const char *state_dir,
		struct sipkeys *keys_r, enum key_origin *origin_r, char *why,
		size_t n);
/* Reads a key file; the same results. Only its owner may be able to read it.
 *
 * A text (UTF-8, no control characters) has one or two keys, a line each; the
 * first signs. Blank lines and those that begin with '#' are none. A key is at
 * least 32 hexadecimal digits or at least 16 bytes of anything else. What is no
 * text is one key, the whole of it. White space at the end of a line or file
 * does not count. 16 bytes are the key itself, more are digested. */
int keyfile_read(const char *path, struct sipkeys *keys_r, char *why, size_t n);
/* What is wrong with the mode of a key file, or NULL; also when it is not
 * there, or not for us to look at. */
const char *keyfile_judge(const char *path);
/* Bytes nobody can predict. */
void keyfile_random(void *bytes, size_t n);

#endif
