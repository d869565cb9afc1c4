#include "support/send_fail.h"

#include <errno.h>
#include <sys/socket.h>

int __real_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);

static _Thread_local unsigned fail_times, fail_of, joined;
static _Thread_local int fail_err;

unsigned send_fail(int err, unsigned times, unsigned of)
{
	unsigned n = joined;

	joined = 0;
	fail_err = err;
	fail_times = times;
	fail_of = of;
	return n;
}

/* As the kernel does: it says how many got through, and why not only of the
 * first. */
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	unsigned pass = 0;

	while (pass < n &&
	       !(fail_times && m[pass].msg_hdr.msg_iovlen >= fail_of))
		joined += m[pass++].msg_hdr.msg_iovlen > 1;
	if (pass)
		return __real_sendmmsg(fd, m, pass, flags);
	fail_times--;
	errno = fail_err;
	return -1;
}
