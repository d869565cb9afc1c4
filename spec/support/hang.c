/*
 * For specs of the watchdog: preloaded into the proxy, it makes a worker hang
 * in a call of C. Whoever reads a datagram with "X-Hang: SECONDS" does not come
 * back before.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef int recvmmsg_fn(int, struct mmsghdr *, unsigned, int,
			struct timespec *);

static void look(const struct msghdr *m, size_t n)
{
	static const char word[] = "X-Hang: ";
	const char *at =
	    memmem(m->msg_iov[0].iov_base, n, word, sizeof(word) - 1);

	if (at)
		sleep((unsigned)atoi(at + sizeof(word) - 1));
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags,
	     struct timespec *timeout)
{
	recvmmsg_fn *real = (recvmmsg_fn *)dlsym(RTLD_NEXT, "recvmmsg");
	int got = real(fd, m, n, flags, timeout);

	for (int i = 0; i < got; i++)
		look(&m[i].msg_hdr, m[i].msg_len);
	return got;
}
