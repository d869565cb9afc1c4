/*
 * What a kernel may say to a send: the unit tests are linked with a sendmmsg of
 * our own (ld --wrap), which refuses when told to.
 */
#ifndef SUPPORT_SEND_FAIL_H
#define SUPPORT_SEND_FAIL_H

/* So many times from now on a send of several datagrams together is refused,
 * or, `of` being 1, any; 0 times: none. Gives how many sends of several there
 * have been since the last call of this. */
unsigned send_fail(int err, unsigned times, unsigned of);

#endif
