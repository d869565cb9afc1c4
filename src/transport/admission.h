/*
 * How many connections the workers of a node have together, and how many of
 * them each source has opened: what their limits are about, so that a limit is
 * the same number however many workers there are. One for all of them.
 */
#ifndef TRANSPORT_ADMISSION_H
#define TRANSPORT_ADMISSION_H

#include <stdbool.h>
#include "transport/limits.h"
#include "util/siphash.h"

struct admission;
/* One IP, or a /64 of IPv6, that connects to us. */
struct source;

enum admit { ADMIT_OK, ADMIT_FULL, ADMIT_SOURCE_FULL, ADMIT_NOMEM };

/* NULL when memory ran out. */
struct admission *admission_new(struct sipkey key);
void admission_free(struct admission **a); /* asserts that nobody is left */

/* Somebody connects to us. ADMIT_OK: he counts, until admission_leave with this
 * source. ADMIT_FULL, ADMIT_SOURCE_FULL: there are as many as the limits allow,
 * of all or of his. */
enum admit admission_accept(struct admission *a, const struct addr *peer,
			    const struct stream_limits *l,
			    struct source **source_r);
/* The same for one that we open: false when there are too many. Its source is
 * NULL. */
bool admission_open(struct admission *a, const struct stream_limits *l);
void admission_leave(struct admission *a, struct source *s);

#endif
