/*
 * Cables that lose, delay, duplicate and reorder, for specs with machines of
 * their own (support/field.lua):
 *
 *	cable FILE SEED INTERFACE INTERFACE [INTERFACE INTERFACE]...
 *
 * What comes in at one interface of a pair leaves at the other. It works on
 * frames, so that ARP, ICMP, UDP and TCP meet the same weather, and needs no
 * module of the kernel. FILE says what each pair does, one per line:
 *
 *	LOSS DELAY JITTER DUPLICATE REORDER
 *
 * LOSS, DUPLICATE and REORDER are fractions of the frames in each direction,
 * DELAY and JITTER milliseconds: a frame takes DELAY, give or take JITTER, and
 * one that REORDER chooses takes no time. It is read at the start and again at
 * every HUP; each time it says "set N", and what has happened to the frames of
 * each pair so far.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PAIRS = 8,
	WAITING = 1 << 16, /* frames: 5 s at 10 000 per second, and room */
	LARGEST = (1 << 16) + 64, /* what the kernel joins before it sends */
	BATCH = 64,               /* frames read before timers are looked at */
	BUFFERS = 8 << 20,
};

struct weather {
	double loss, delay, jitter, duplicate, reorder;
};

struct pair {
	struct weather w;
	unsigned long frames, lost, duplicated, reordered;
};

/* A frame with the virtio header before it, which says what checksum the
 * kernel still owes it. */
struct frame {
	double due;
	uint64_t order; /* of those that are due at once, first come first */
	int to;
	size_t size;
	unsigned char bytes[];
};

struct cable {
	const char *file;
	struct pair pair[PAIRS];
	struct pollfd fd[2 * PAIRS];
	int n;                          /* interfaces */
	struct frame *waiting[WAITING]; /* a heap, the next one first */
	size_t count;
	uint64_t random, order;
	unsigned long full;
	int sets;
};

static volatile sig_atomic_t told;

static void on_hup(int sig)
{
	(void)sig;
	told = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "cable: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* ---- chance (xorshift64*) ---- */

static double chance(struct cable *c)
{
	c->random ^= c->random >> 12;
	c->random ^= c->random << 25;
	c->random ^= c->random >> 27;
	return (double)((c->random * 0x2545f4914f6cdd1dULL) >> 11) / 0x1p53;
}

/* ---- frames that are on their way ---- */

static int before(const struct frame *a, const struct frame *b)
{
	return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void swap(struct cable *c, size_t i, size_t j)
{
	struct frame *f = c->waiting[i];

	c->waiting[i] = c->waiting[j];
	c->waiting[j] = f;
}

static void put(struct cable *c, struct frame *f)
{
	size_t i = c->count++;

	for (c->waiting[i] = f; i > 0; i = (i - 1) / 2) {
		if (!before(c->waiting[i], c->waiting[(i - 1) / 2]))
			return;
		swap(c, i, (i - 1) / 2);
	}
}

static struct frame *take(struct cable *c)
{
	struct frame *first = c->waiting[0];
	size_t i = 0, least;

	c->waiting[0] = c->waiting[--c->count];
	for (;; i = least) {
		least = i;
		for (size_t j = 2 * i + 1; j <= 2 * i + 2; j++)
			if (j < c->count &&
			    before(c->waiting[j], c->waiting[least]))
				least = j;
		if (least == i)
			return first;
		swap(c, i, least);
	}
}

/* An interface that is down takes nothing: then the frame is lost. */
static void send_due(struct cable *c)
{
	while (c->count && c->waiting[0]->due <= now()) {
		struct frame *f = take(c);

		if (write(c->fd[f->to].fd, f->bytes, f->size) < 0)
			c->pair[f->to / 2].lost++;
		free(f);
	}
}

/* ---- what happens to a frame ---- */

static void copy(struct cable *c, int to, const unsigned char *bytes,
		 size_t size)
{
	const struct weather *w = &c->pair[to / 2].w;
	struct frame *f;
	double takes = w->delay + w->jitter * (2 * chance(c) - 1);

	if (w->reorder > 0 && chance(c) < w->reorder) {
		c->pair[to / 2].reordered++;
		takes = 0;
	}
	if (c->count == WAITING) {
		c->full++;
		return;
	}
	f = malloc(sizeof(*f) + size);
	if (!f)
		fail("memory");
	f->due = now() + (takes > 0 ? takes : 0);
	f->order = c->order++;
	f->to = to;
	f->size = size;
	memcpy(f->bytes, bytes, size);
	put(c, f);
}

static void carry(struct cable *c, int to, const unsigned char *bytes,
		  size_t size)
{
	struct pair *p = &c->pair[to / 2];

	p->frames++;
	if (p->w.loss > 0 && chance(c) < p->w.loss) {
		p->lost++;
		return;
	}
	copy(c, to, bytes, size);
	if (p->w.duplicate > 0 && chance(c) < p->w.duplicate) {
		p->duplicated++;
		copy(c, to, bytes, size);
	}
}

static void receive(struct cable *c, int from)
{
	static unsigned char bytes[LARGEST];

	for (int i = 0; i < BATCH; i++) {
		ssize_t n =
		    recv(c->fd[from].fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n < 0)
			return; /* nothing more, or it is down */
		carry(c, from ^ 1, bytes, (size_t)n);
	}
}

/* ---- setting up ---- */

static void read_file(struct cable *c)
{
	FILE *f = fopen(c->file, "r");

	if (!f)
		fail(c->file);
	for (int i = 0; i < c->n / 2; i++) {
		struct weather *w = &c->pair[i].w;

		if (fscanf(f, "%lf %lf %lf %lf %lf", &w->loss, &w->delay,
			   &w->jitter, &w->duplicate, &w->reorder) != 5) {
			errno = EINVAL;
			fail(c->file);
		}
	}
	fclose(f);
	for (int i = 0; i < c->n / 2; i++) {
		const struct pair *p = &c->pair[i];

		printf("pair %d: %lu frames, %lu lost, %lu duplicated, "
		       "%lu reordered\n",
		       i + 1, p->frames, p->lost, p->duplicated, p->reordered);
	}
	if (c->full)
		printf("%lu frames too many\n", c->full);
	printf("set %d\n", ++c->sets);
	fflush(stdout);
}

static int plug(const char *name)
{
	struct sockaddr_ll sa = {
	    .sll_family = AF_PACKET,
	    .sll_protocol = htons(ETH_P_ALL),
	    .sll_ifindex = (int)if_nametoindex(name),
	};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1, size = BUFFERS;

	if (fd < 0 || !sa.sll_ifindex ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on,
		       sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		fail(name);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return fd;
}

/* Nanoseconds: what is to take 1 ms must not take 2. */
static void wait_for_more(struct cable *c, const sigset_t *open)
{
	struct timespec ts, *timeout = NULL;

	if (c->count) {
		double ms = c->waiting[0]->due - now();

		ms = ms > 0 ? ms : 0;
		ts.tv_sec = (time_t)(ms / 1e3);
		ts.tv_nsec = (long)((ms - (double)ts.tv_sec * 1e3) * 1e6);
		timeout = &ts;
	}
	if (ppoll(c->fd, (nfds_t)c->n, timeout, open) < 0 && errno != EINTR)
		fail("poll");
}

int main(int argc, char **argv)
{
	static struct cable c;
	struct sigaction sa = {.sa_handler = on_hup};
	sigset_t hup, open;

	if (argc < 5 || argc % 2 == 0 || argc - 3 > 2 * PAIRS) {
		fprintf(stderr, "cable FILE SEED INTERFACE INTERFACE ...\n");
		return 2;
	}
	c.file = argv[1];
	c.random = strtoull(argv[2], NULL, 10) * 2 + 1; /* never 0 */
	c.n = argc - 3;
	for (int i = 0; i < c.n; i++)
		c.fd[i] = (struct pollfd){plug(argv[3 + i]), POLLIN, 0};
	/* It is only heard while nothing else is going on. */
	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	sigprocmask(SIG_BLOCK, &hup, &open);
	sigaction(SIGHUP, &sa, NULL);
	for (told = 1;;) {
		if (told) {
			told = 0;
			read_file(&c);
		}
		send_due(&c);
		wait_for_more(&c, &open);
		for (int i = 0; i < c.n; i++)
			if (c.fd[i].revents)
				receive(&c, i);
	}
}
