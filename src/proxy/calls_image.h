/*
 * The calls of one worker as bytes, to be read back by the process that comes
 * after it, whatever number of workers that has: a record goes to the worker
 * that its Call-ID belongs to. Servers and resources are written by name, times
 * as what is left of them. A checksum under the node's key covers it all; what
 * does not fit is refused, never believed in part. The key of the hashes is in
 * it, so that the cluster's may have been replaced since.
 */
#ifndef PROXY_CALLS_IMAGE_H
#define PROXY_CALLS_IMAGE_H

#include "proxy/calls.h"

size_t calls_image_size(const struct calls *cs, const struct members *ms);
/* Writes exactly so many bytes. */
void calls_image_write(const struct calls *cs, const struct members *ms,
		       struct now now, char *out);

/* Takes the first image off *rest and adds the calls that belong to `worker` of
 * `workers`; they count from now on. What is unknown here or has run out is
 * skipped and counted. A table without records takes over the key of the
 * hashes. 0; ERR_SYNTAX for what is damaged or of another key or version,
 * ERR_NOMEM: then nothing of it was added. */
int calls_image_read(struct calls *cs, const struct members *ms,
		     struct str *rest, unsigned worker, unsigned workers,
		     struct now now);

#endif
