/*
 * Which of the sockets at one address the kernel gives a datagram to: a
 * response to that of the worker whose call it is, by the branch that we have
 * put into our Via; anything else to one that the addresses hash to, as without
 * it. It only saves handing over: a message may come to any worker.
 */
#ifndef HOST_STEER_H
#define HOST_STEER_H

/* Of `workers` UDP sockets that share an address (SO_REUSEPORT),
 * bound in the order of the workers; fd is any of them. 0, or -1 and errno:
 * then nothing has changed. */
int steer_responses(int fd, unsigned workers);

#endif
