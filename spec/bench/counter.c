/*
 * Counts what a program asks of the C library: the calls that become system
 * calls on the way of a message, and allocations. Preloaded, it costs some
 * nanoseconds for each, where strace stops the program and so changes how many
 * messages share a wake. What the library does by itself (futex, mprotect) it
 * does not see.
 *
 *   LD_PRELOAD=counter.so BENCH_COUNTS=FILE program ...
 *
 * FILE is COUNTED numbers of 64 bits in the order of the list below, added to
 * by all processes of the program while they run.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum counted {
	RECV,
	RECVFROM,
	RECVMSG,
	RECVMMSG,
	SEND,
	SENDTO,
	SENDMSG,
	SENDMMSG,
	EPOLL_WAIT,
	EPOLL_CTL,
	POLL,
	READ,
	WRITE,
	WRITEV,
	ALLOCATION,
	COUNTED,
};

/* Until there is a file: of the process alone. */
static _Atomic uint64_t unseen[COUNTED];
static _Atomic uint64_t *counts = unseen;

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static void count(enum counted what)
{
	atomic_fetch_add_explicit(&counts[what], 1, memory_order_relaxed);
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("BENCH_COUNTS");
	int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	void *p;

	if (fd < 0)
		return;
	if (ftruncate(fd, sizeof(unseen)))
		abort();
	p = mmap(NULL, sizeof(unseen), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 0);
	if (p == MAP_FAILED)
		abort();
	close(fd);
	counts = p;
}

void *malloc(size_t n)
{
	count(ALLOCATION);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	count(ALLOCATION);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	count(ALLOCATION);
	return __libc_realloc(p, n);
}

/* A function that counts and calls the one it hides. */
#define COUNT(what, type, name, parameters, arguments)                         \
	type name parameters                                                   \
	{                                                                      \
		static _Atomic(void *) next;                                   \
		void *fn = atomic_load_explicit(&next, memory_order_relaxed);  \
                                                                               \
		if (!fn) {                                                     \
			fn = dlsym(RTLD_NEXT, #name);                          \
			atomic_store_explicit(&next, fn,                       \
					      memory_order_relaxed);           \
		}                                                              \
		count(what);                                                   \
		return ((type(*) parameters)fn)arguments;                      \
	}

COUNT(ALLOCATION, int, posix_memalign, (void **p_r, size_t alignment, size_t n),
      (p_r, alignment, n))
COUNT(RECV, ssize_t, recv, (int fd, void *p, size_t n, int flags),
      (fd, p, n, flags))
COUNT(RECVFROM, ssize_t, recvfrom,
      (int fd, void *restrict p, size_t n, int flags,
       struct sockaddr *restrict from, socklen_t *restrict size),
      (fd, p, n, flags, from, size))
COUNT(RECVMSG, ssize_t, recvmsg, (int fd, struct msghdr *m, int flags),
      (fd, m, flags))
COUNT(RECVMMSG, int, recvmmsg,
      (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t),
      (fd, m, n, flags, t))
COUNT(SEND, ssize_t, send, (int fd, const void *p, size_t n, int flags),
      (fd, p, n, flags))
COUNT(SENDTO, ssize_t, sendto,
      (int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
       socklen_t size),
      (fd, p, n, flags, to, size))
COUNT(SENDMSG, ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags),
      (fd, m, flags))
COUNT(SENDMMSG, int, sendmmsg,
      (int fd, struct mmsghdr *m, unsigned n, int flags), (fd, m, n, flags))
COUNT(EPOLL_WAIT, int, epoll_wait,
      (int fd, struct epoll_event *e, int n, int timeout), (fd, e, n, timeout))
COUNT(EPOLL_CTL, int, epoll_ctl,
      (int fd, int op, int other, struct epoll_event *e), (fd, op, other, e))
COUNT(POLL, int, poll, (struct pollfd * list, nfds_t n, int timeout),
      (list, n, timeout))
COUNT(READ, ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
COUNT(WRITE, ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
COUNT(WRITEV, ssize_t, writev, (int fd, const struct iovec *v, int n),
      (fd, v, n))
