/*
 * The cluster key: 16 bytes that all nodes of a cluster share, from a file. It
 * signs branches and Record-Route cookies.
 */
#ifndef HOST_KEYFILE_H
#define HOST_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_BYTES = 16 };

enum key_origin {
	KEY_FILE,      /* of the operator */
	KEY_STATE,     /* of the state directory, perhaps made just now */
	KEY_TEMPORARY, /* neither is given: lost with the process */
};

/* Finds or makes the key. `key_file` and `state_dir` may be NULL. 0, or an
 * errno with an explanation in why[n].
 *
 * A key file holds at least 32 hexadecimal digits, or at least 16 bytes of
 * anything; white space at the end does not count. Only its owner may read it.
 * 16 bytes are the key itself, more are digested. */
int keyfile_get(const char *key_file, const char *state_dir,
		uint8_t key_r[KEY_BYTES], enum key_origin *origin_r, char *why,
		size_t n);
/* What is wrong with the mode of a key file, or NULL; also when it is not
 * there, or not for us to look at. */
const char *keyfile_judge(const char *path);
/* Bytes nobody can predict. */
void keyfile_random(void *bytes, size_t n);

#endif
