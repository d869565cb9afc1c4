/*
 * A look at a message without reading it: for whoever only passes it on to the
 * one that will read it.
 */
#ifndef MESSAGE_PEEK_H
#define MESSAGE_PEEK_H

#include "util/str.h"

/* The value of the first line that looks like a Call-ID, without the blanks
 * around it; STR_NONE when there is none. It is what msg_key finds in every
 * message that msg_index takes, but for a folded value. */
struct str msg_peek_call_id(struct str raw);

#endif
