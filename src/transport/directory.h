/*
 * The connections that were opened to the workers of a node. Who calls over one
 * and does not listen for others is reached over that alone, whichever worker
 * has the call: a worker that has no connection to somebody looks here whether
 * another has. The only thing of the connections that workers share; they come
 * here when one is accepted, when it ends, and when they find none of their
 * own.
 *
 * With one worker there is none (NULL), and nothing to find.
 */
#ifndef TRANSPORT_DIRECTORY_H
#define TRANSPORT_DIRECTORY_H

#include "transport/hop.h"
#include "util/siphash.h"

struct directory;
struct directory_entry;

/* NULL when memory ran out. */
struct directory *directory_new(struct sipkey key);
void directory_free(struct directory **d); /* asserts that it is empty */

/* It is there, until directory_leave. Copies the hop. NULL when memory ran
 * out, or d is NULL: then others do not find it. */
struct directory_entry *directory_enter(struct directory *d,
					const struct hop *peer);
void directory_leave(struct directory *d, struct directory_entry *e);
/* One that may carry what goes to this hop (hop_may_take): its `conn`; 0, there
 * is none. */
uint64_t directory_find(struct directory *d, const struct hop *to);

#endif
