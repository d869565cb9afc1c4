/*
 * For specs about the clock on the wall: preloaded into the proxy, it makes
 * that clock go wrong by as many seconds as the file of $CLOCK_FILE says (eight
 * bytes, a double), from the moment on they are written. The monotonic clock
 * is the kernel's, as when an administrator sets the time.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
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
