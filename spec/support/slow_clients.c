/*
 * A crowd of clients that connect and then take their time, for specs:
 *
 *	slow_clients PORT COUNT SECONDS
 *
 * COUNT connections to 127.0.0.1:PORT send the first bytes of a request, one
 * every SECONDS; 0: they send nothing. Says "open N" when all are open, and
 * when the last was closed by the other side "closed N after A to B s".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 10000, TICK_MS = 100 };

struct crowd {
	struct pollfd p[CLIENTS];
	double since[CLIENTS];
	int n, closed;
	double first, last; /* how long the first and the last lived */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int dial(in_port_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail("connect");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void note_end(struct crowd *c, int i)
{
	double lived = now() - c->since[i];

	close(c->p[i].fd);
	c->p[i].fd = -1; /* poll leaves it out */
	if (c->closed++ == 0)
		c->first = lived;
	c->last = lived;
}

static void look(struct crowd *c)
{
	char byte;

	if (poll(c->p, (nfds_t)c->n, TICK_MS) <= 0)
		return;
	for (int i = 0; i < c->n; i++)
		if (c->p[i].fd >= 0 && c->p[i].revents &&
		    recv(c->p[i].fd, &byte, 1, 0) <= 0)
			note_end(c, i);
}

static void say_one(struct crowd *c, size_t round)
{
	static const char text[] = "OPTIONS sip:example.com SIP/2.0\r\n";

	for (int i = 0; i < c->n; i++)
		if (c->p[i].fd >= 0)
			(void)!send(c->p[i].fd, &text[round % 30], 1,
				    MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
	static struct crowd c;
	struct rlimit l;
	size_t round = 0;
	double every, next;

	if (argc != 4)
		return 2;
	c.n = atoi(argv[2]);
	every = atof(argv[3]);
	if (c.n > CLIENTS)
		return 2;
	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	for (int i = 0; i < c.n; i++) {
		c.p[i].fd = dial((in_port_t)atoi(argv[1]));
		c.p[i].events = POLLIN;
		c.since[i] = now();
	}
	printf("open %d\n", c.n);
	fflush(stdout);
	next = now();
	while (c.closed < c.n) {
		if (every > 0 && now() >= next) {
			say_one(&c, round++);
			next += every;
		}
		look(&c);
	}
	printf("closed %d after %.1f to %.1f s\n", c.closed, c.first, c.last);
	return 0;
}
