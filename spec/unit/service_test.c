/*
 * What a service manager is told, and by whom.
 */
#include "control/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/unit.h"
#include "util/list.h"

/* A manager's socket in the abstract namespace: nothing is left behind. */
static int make_manager(char name[64])
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int n = snprintf(name, 64, "@tandem-unit-%d", getpid());

	memcpy(a.sun_path, name, (size_t)n);
	a.sun_path[0] = '\0';
	CHECK_INT(bind(fd, (struct sockaddr *)&a,
		       (socklen_t)(sizeof(a.sun_family) + (size_t)n)),
		  0);
	return fd;
}

static const char *heard(int fd, char text[1024])
{
	ssize_t n = recv(fd, text, 1023, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

TEST(service_hears_lines)
{
	struct service s;
	char name[64], text[1024];
	int fd = make_manager(name);

	setenv("NOTIFY_SOCKET", name, 1);
	service_open(&s);
	service_say(&s, "READY=1\nSTATUS=%d calls", 7);
	CHECK_STR(str_from(heard(fd, text)), "READY=1\nSTATUS=7 calls\n");
	service_reloading(&s);
	CHECK(strstr(heard(fd, text), "RELOADING=1\nMONOTONIC_USEC="));
	service_close(&s);
	service_say(&s, "READY=1");
	CHECK_STR(str_from(heard(fd, text)), "");
	close(fd);
}

TEST(service_is_not_inherited)
{
	struct service s;
	char name[64];
	int fd = make_manager(name);

	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	service_open(&s);
	CHECK_INT(s.watchdog, 3000000);
	CHECK(!getenv("NOTIFY_SOCKET"));
	CHECK(!getenv("WATCHDOG_USEC"));
	CHECK(!getenv("WATCHDOG_PID"));
	service_close(&s);
	close(fd);
}

TEST(service_watchdog_may_be_of_another)
{
	static const struct {
		const char *usec, *pid;
	} wrong[] = {{"3000000", "1"}, {"-1", NULL}, {"0", NULL},
		     {"", NULL},       {"9x", NULL}, {NULL, NULL}};
	char name[64];
	int fd = make_manager(name);

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct service s;

		setenv("NOTIFY_SOCKET", name, 1);
		if (wrong[i].usec)
			setenv("WATCHDOG_USEC", wrong[i].usec, 1);
		if (wrong[i].pid)
			setenv("WATCHDOG_PID", wrong[i].pid, 1);
		service_open(&s);
		CHECK_INT(s.watchdog, 0);
		service_close(&s);
	}
	close(fd);
}

TEST(service_may_be_nobody)
{
	static char longer[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
	const char *none[] = {NULL, "", "/", "relative", "vsock:2:1", longer};

	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		struct service s;

		if (none[i])
			setenv("NOTIFY_SOCKET", none[i], 1);
		setenv("WATCHDOG_USEC", "3000000", 1);
		service_open(&s);
		CHECK_INT(s.fd, -1);
		CHECK_INT(s.watchdog, 0);
		service_say(&s, "READY=1");
		service_close(&s);
	}
}

/* Its queue is full, or it is gone: we go on, soon. */
TEST(service_that_does_not_read)
{
	struct service s;
	struct timespec a, b;
	char name[64];
	int fd = make_manager(name);

	setenv("NOTIFY_SOCKET", name, 1);
	service_open(&s);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 5000 && errno != EAGAIN; i++)
		service_say(&s, "WATCHDOG=1");
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK_INT(errno, EAGAIN);
	CHECK(b.tv_sec - a.tv_sec < 5);
	close(fd);
	service_say(&s, "WATCHDOG=1");
	CHECK_INT(errno, ECONNREFUSED);
	service_close(&s);
}

TEST(service_hears_nothing_that_is_cut)
{
	static char longer[600];
	struct service s;
	char name[64], text[1024];
	int fd = make_manager(name);

	memset(longer, 'x', sizeof(longer) - 1);
	setenv("NOTIFY_SOCKET", name, 1);
	service_open(&s);
	service_say(&s, "STATUS=%s", longer);
	CHECK_STR(str_from(heard(fd, text)), "");
	service_close(&s);
	close(fd);
}
