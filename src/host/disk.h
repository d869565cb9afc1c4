/*
 * Files in the state directory, as wholes: read, and replaced so that at any
 * moment there is either the old one or the new one, also after a crash of the
 * machine. Whoever calls waits for the disk. All return 0 or an errno.
 */
#ifndef HOST_DISK_H
#define HOST_DISK_H

#include "util/str.h"

/* Writes the parts, one after the other; mode 0600. */
int disk_replace(const char *dir, const char *name, const struct str *part,
		 size_t n);
/* There is no such file any more. */
int disk_remove(const char *dir, const char *name);
/* It is called NAME.damaged from now on. */
int disk_set_aside(const char *dir, const char *name);
/* malloc'd, with a NUL behind it; nothing on failure (ENOENT: no such file). */
int disk_read(const char *dir, const char *name, char **bytes_r, size_t *n_r);

#endif
