/*
 * For specs about the clock on the wall: preloaded into the proxy, it makes
 * that clock go wrong by as many seconds as the file of $CLOCK_FILE says (eight
 * bytes, a double), from the moment on they are written; what the kernel stamps
 * by that clock is as wrong. The monotonic clock is the kernel's, as when an
 * administrator sets the time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const double *wrong;

__attribute__((constructor)) static void map_file(void)
{
	int fd = open(getenv("CLOCK_FILE"), O_RDONLY | O_CLOEXEC);
	void *p = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	wrong = p;
	close(fd);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long result = syscall(SYS_clock_gettime, id, ts);

	/* Other libraries may ask before the file is there. */
	if (result == 0 && wrong &&
	    (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ts->tv_sec += (time_t)*wrong;
	return (int)result;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;
	int result = clock_gettime(CLOCK_REALTIME, &ts);

	(void)zone;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return result;
}

time_t time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}

static void shift_stamp(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct timespec ts;

		if (c->cmsg_level != SOL_SOCKET ||
		    c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		ts.tv_sec += (time_t)*wrong;
		memcpy(CMSG_DATA(c), &ts, sizeof(ts));
	}
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags,
	     struct timespec *timeout)
{
	long got = syscall(SYS_recvmmsg, fd, m, n, flags, timeout);

	for (long i = 0; i < got; i++)
		shift_stamp(&m[i].msg_hdr);
	return (int)got;
}
