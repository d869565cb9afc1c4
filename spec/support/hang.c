/*
 * For specs of the watchdog and of a process that is stopped: preloaded into
 * the proxy, it makes a worker hang in a call of C. Whoever reads a datagram
 * with "X-Hang: SECONDS", or is about to send the first one with
 * "X-Hang-Sending: SECONDS", does not come back before.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef int recvmmsg_fn(int, struct mmsghdr *, unsigned, int,
			struct timespec *);
typedef int sendmmsg_fn(int, struct mmsghdr *, unsigned, int);

static bool look(const struct msghdr *m, size_t n, const char *word)
{
	const char *at = memmem(m->msg_iov[0].iov_base, n, word, strlen(word));

	if (at)
		sleep((unsigned)atoi(at + strlen(word)));
	return at;
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags,
	     struct timespec *timeout)
{
	recvmmsg_fn *real = (recvmmsg_fn *)dlsym(RTLD_NEXT, "recvmmsg");
	int got = real(fd, m, n, flags, timeout);

	for (int i = 0; i < got; i++)
		look(&m[i].msg_hdr, m[i].msg_len, "X-Hang: ");
	return got;
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	sendmmsg_fn *real = (sendmmsg_fn *)dlsym(RTLD_NEXT, "sendmmsg");

	static bool done; /* what cannot be sent is tried again */

	for (unsigned i = 0; i < n && !done; i++)
		done = look(&m[i].msg_hdr, m[i].msg_hdr.msg_iov[0].iov_len,
			    "X-Hang-Sending: ");
	return real(fd, m, n, flags);
}
