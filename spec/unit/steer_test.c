/*
 * Which socket of several the kernel gives a datagram to, on the loopback
 * interface.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/sock.h"
#include "host/steer.h"
#include "support/unit.h"

enum { WORKERS = 3 };

struct world {
	int fd[WORKERS], peer;
	struct sockaddr_storage to;
	socklen_t len;
};

/* As workers do: the first one alone, and then the others. */
static void setup(struct world *w)
{
	struct addr at;

	CHECK(addr_parse(STR("127.0.0.1"), &at));
	for (int i = 0; i < WORKERS; i++) {
		w->fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		CHECK(w->fd[i] >= 0);
		CHECK_INT(
		    sock_bind(w->fd[i], &at, i ? SOCK_JOINS : SOCK_SHARES), 0);
		at.port = sock_local(w->fd[i]).port;
	}
	w->len = addr_to_sockaddr(&at, (struct sockaddr *)&w->to);
	w->peer = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(w->peer >= 0);
}

static void finish(struct world *w)
{
	for (int i = 0; i < WORKERS; i++)
		close(w->fd[i]);
	close(w->peer);
}

/* Sends it, always from the same address: whose socket has it? */
static int who_gets(struct world *w, const char *text, size_t n)
{
	struct pollfd p[WORKERS];
	char bytes[2048];
	int who = -1;

	CHECK_INT(
	    sendto(w->peer, text, n, 0, (struct sockaddr *)&w->to, w->len),
	    (int)n);
	for (int i = 0; i < WORKERS; i++)
		p[i] = (struct pollfd){w->fd[i], POLLIN, 0};
	CHECK_INT(poll(p, WORKERS, 5000), 1);
	for (int i = 0; i < WORKERS; i++)
		if (p[i].revents)
			who = i;
	CHECK_INT(recv(w->fd[who], bytes, sizeof(bytes), 0), (int)n);
	return who;
}

/* One of n bytes, with a branch and so many blanks before it. */
static int who_gets_one(struct world *w, const char *first, int blanks,
			const char *branch, size_t n)
{
	char text[1024];
	int used = snprintf(text, sizeof(text),
			    "%s %*s\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=%s",
			    first, blanks, "", branch);

	CHECK(used > 0 && (size_t)used <= n);
	memset(text + used, '-', n - (size_t)used);
	return who_gets(w, text, n);
}

/* Whatever the branch, always the same one gets it. */
static void check_by_address(struct world *w, const char *first,
			     const char *cookie, int blanks, size_t n)
{
	int who = -1;

	for (unsigned h8 = 0; h8 < 16; h8++) {
		char branch[32];
		int now;

		snprintf(branch, sizeof(branch), "%s%02x", cookie, h8);
		now = who_gets_one(w, first, blanks, branch, n);
		CHECK(who < 0 || now == who);
		who = now;
	}
}

TEST(responses_come_to_whose_call_it_is)
{
	struct world w;

	setup(&w);
	CHECK_INT(steer_responses(w.fd[WORKERS - 1], WORKERS), 0);
	for (unsigned h8 = 0; h8 < 256; h8++) {
		char branch[32];

		snprintf(branch, sizeof(branch), "z9hG4bK1%02x0123", h8);
		/* Wherever it begins in a word. */
		for (int blanks = 0; blanks < 8; blanks++)
			CHECK_INT(who_gets_one(&w, "SIP/2.0 200", blanks,
					       branch, 500),
				  (int)(h8 % WORKERS));
		for (char *p = branch; *p; p++)
			if (*p >= 'a' && *p <= 'f' && p > branch + 7)
				*p -= 'a' - 'A';
		CHECK_INT(who_gets_one(&w, "SIP/2.0 200", 130, branch, 500),
			  (int)(h8 % WORKERS));
	}
	finish(&w);
}

TEST(what_else_comes_is_spread_by_its_addresses)
{
	struct world w;

	setup(&w);
	check_by_address(&w, "SIP/2.0 200", "z9hG4bK1", 0, 500);
	CHECK_INT(steer_responses(w.fd[WORKERS - 1], WORKERS), 0);
	check_by_address(&w, "INVITE sip:a SIP/2.0", "z9hG4bK1", 0, 500);
	check_by_address(&w, "SIP/2.0 200", "z9hG4bK2", 0, 500);
	check_by_address(&w, "SIP/2.0 200 Nearly a branch is z9hG4b",
			 "z9hG4bK1", 0, 500);
	/* too far behind; too short to look so far */
	check_by_address(&w, "SIP/2.0 200", "z9hG4bK1", 210, 500);
	check_by_address(&w, "SIP/2.0 200", "z9hG4bK1", 0, 100);
	finish(&w);
}
