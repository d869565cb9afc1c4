#include "control/service.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
	TEXT = 512,
	/* A queue that is full now is empty soon, or has no reader. */
	WAIT_US = 100000,
};

/* A path, or "@name" in the abstract namespace. */
static bool set_addr(struct service *s, const char *name)
{
	size_t n = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || n < 2 ||
	    n >= sizeof(s->addr.sun_path))
		return false;
	s->addr.sun_family = AF_UNIX;
	memcpy(s->addr.sun_path, name, n);
	if (name[0] == '@')
		s->addr.sun_path[0] = '\0';
	s->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return true;
}

static void make_socket(struct service *s)
{
	struct timeval wait = {.tv_usec = WAIT_US};

	s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd >= 0)
		setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
}

static int64_t positive(const char *name)
{
	const char *text = getenv(name);
	char *end = NULL;
	long long n = text ? strtoll(text, &end, 10) : 0;

	return end && end > text && !*end && n > 0 ? n : 0;
}

void service_open(struct service *s)
{
	const char *name = getenv("NOTIFY_SOCKET");
	int64_t pid = positive("WATCHDOG_PID");

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	if (name && set_addr(s, name))
		make_socket(s);
	/* Meant for who started us, perhaps, and inherited. */
	if (s->fd >= 0 && (!pid || pid == getpid()))
		s->watchdog = positive("WATCHDOG_USEC");
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void service_close(struct service *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void service_say(const struct service *s, const char *format, ...)
{
	char text[TEXT];
	va_list args;
	int n;

	if (s->fd < 0)
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(text) - 1)
		return;
	text[n++] = '\n';
	while (sendto(s->fd, text, (size_t)n, MSG_NOSIGNAL,
		      (const struct sockaddr *)&s->addr, s->len) < 0 &&
	       errno == EINTR)
		;
}

void service_reloading(const struct service *s)
{
	struct timespec ts;

	/* Newer managers want to know that this is news. */
	clock_gettime(CLOCK_MONOTONIC, &ts);
	service_say(s, "RELOADING=1\nMONOTONIC_USEC=%lld",
		    (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
}
