/* The start line of a message; for msg.c alone. */
#ifndef MESSAGE_MSG_START_H
#define MESSAGE_MSG_START_H

#include "message/msg.h"

/* Fills is_request and method, uri, status, reason from the line (without
 * CRLF). On failure what could be told apart is filled in all the same. */
enum msg_bad msg_start_line(struct msg *m, struct str line);

#endif
