/*
 * What the control API can make the process do: the C half of
 * lua/tandem/control/host.lua. Each verb takes strings and gives a text.
 */
#ifndef CONTROL_VERBS_H
#define CONTROL_VERBS_H

#include "lua/console.h"

/* A console_verb whose ctx is the struct control. */
void verbs_do(void *control, struct str verb, const struct str *arg, size_t n,
	      struct console_call *call);

#endif
