/*
 * The service manager that started us, if one did: systemd's notification
 * protocol (sd_notify(3)), datagrams of VARIABLE=VALUE lines to a UNIX socket.
 * Never waits for long: who does not read is not told.
 */
#ifndef CONTROL_SERVICE_H
#define CONTROL_SERVICE_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct service {
	int fd; /* -1: nobody wants to know */
	struct sockaddr_un addr;
	socklen_t len;
	/* So often, in microseconds, it wants to hear that we are well; 0: not
	 * at all. */
	int64_t watchdog;
};

/* Reads NOTIFY_SOCKET and WATCHDOG_*, and takes them out of the environment: a
 * program that we start is not to speak for us. While there is one thread. */
void service_open(struct service *s);
void service_close(struct service *s);
/* Sends these lines, printf-like: "READY=1\nSTATUS=%d calls". */
void service_say(const struct service *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A reload begins; READY=1 ends it. */
void service_reloading(const struct service *s);

#endif
