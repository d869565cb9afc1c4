/*
 * The least that a proxy in user space can cost: every message is received once
 * and sent once, unread, in one process and one thread. What comes from the
 * caller goes to the server, what comes from anywhere else to the caller.
 *
 *   relay udp|tcp PORT CALLER_PORT SERVER_PORT     all on 127.0.0.1
 *
 * TCP: one connection of a caller, then one to the server; bytes are passed on
 * as they come. It ends with the signal that ends it.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RCVBUF = 4 << 20 }; /* a burst must not be lost here */

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in address(const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	a.sin_port = htons((uint16_t)atoi(port));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int open_socket(int type, const struct sockaddr_in *own)
{
	int fd = socket(AF_INET, type, 0), size = RCVBUF, on = 1;

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (own) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (bind(fd, (const void *)own, sizeof(*own)))
			die("bind");
	}
	return fd;
}

static void relay_udp(const struct sockaddr_in *own,
		      const struct sockaddr_in *caller,
		      const struct sockaddr_in *server)
{
	static char bytes[65536];
	int fd = open_socket(SOCK_DGRAM, own);

	for (;;) {
		struct sockaddr_in from, to;
		socklen_t size = sizeof(from);
		ssize_t n =
		    recvfrom(fd, bytes, sizeof(bytes), 0, (void *)&from, &size);

		if (n < 0)
			continue;
		to = from.sin_port == caller->sin_port ? *server : *caller;
		sendto(fd, bytes, (size_t)n, 0, (void *)&to, sizeof(to));
	}
}

/* False when one of the two has ended. */
static bool pass_on(int from, int to)
{
	static char bytes[65536];
	ssize_t n = recv(from, bytes, sizeof(bytes), 0);

	return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void relay_connection(int a, const struct sockaddr_in *server)
{
	int b = open_socket(SOCK_STREAM, NULL), on = 1;
	struct pollfd ends[2] = {{.fd = a, .events = POLLIN},
				 {.fd = b, .events = POLLIN}};
	bool open = !connect(b, (const void *)server, sizeof(*server));

	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (open && poll(ends, 2, -1) >= 0)
		for (int i = 0; i < 2 && open; i++)
			if (ends[i].revents)
				open = pass_on(ends[i].fd, ends[!i].fd);
	close(a);
	close(b);
}

static void relay_tcp(const struct sockaddr_in *own,
		      const struct sockaddr_in *server)
{
	int fd = open_socket(SOCK_STREAM, own);

	if (listen(fd, 8))
		die("listen");
	for (;;) {
		int a = accept(fd, NULL, NULL);

		if (a >= 0)
			relay_connection(a, server);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in own, caller, server;

	if (argc != 5) {
		fprintf(stderr, "relay udp|tcp PORT CALLER_PORT SERVER_PORT\n");
		return 2;
	}
	own = address(argv[2]);
	caller = address(argv[3]);
	server = address(argv[4]);
	if (!strcmp(argv[1], "tcp"))
		relay_tcp(&own, &server);
	else
		relay_udp(&own, &caller, &server);
}
