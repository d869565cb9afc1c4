#include "host/hep.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "support/unit.h"

struct world {
	struct heps heps, other; /* of two workers */
	struct outages outages;
	struct counters counters;
	struct logsink *log;
	int out[2]; /* what is logged */
};

static void world_open(struct world *w)
{
	memset(w, 0, sizeof(*w));
	CHECK(pipe2(w->out, O_CLOEXEC) == 0);
	w->log = logsink_new(w->out[1], false, LOG_INFO);
	outages_init(&w->outages);
	heps_init(&w->heps, w->log, &w->outages);
	heps_init(&w->other, w->log, &w->outages);
}

/* Closes it; how many lines with this text were logged. */
static int world_close(struct world *w, const char *text)
{
	static char log[65536];
	int n = 0;
	ssize_t got;

	heps_close(&w->heps);
	heps_close(&w->other);
	outages_fini(&w->outages);
	logsink_free(&w->log);
	close(w->out[1]);
	got = read(w->out[0], log, sizeof(log) - 1);
	log[got > 0 ? got : 0] = '\0';
	for (const char *p = log; (p = strstr(p, text)); p++)
		n++;
	close(w->out[0]);
	return n;
}

/* A collector on the loopback interface. */
static int collector(struct addr *at_r)
{
	struct sockaddr_storage ss = {0};
	socklen_t n = sizeof(ss);
	struct addr any;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	addr_parse(STR("127.0.0.1:1"), &any);
	any.port = 0;
	CHECK(bind(fd, (struct sockaddr *)&ss,
		   addr_to_sockaddr(&any, (struct sockaddr *)&ss)) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&ss, &n) == 0);
	addr_from_sockaddr(at_r, (struct sockaddr *)&ss);
	return fd;
}

static void send_one(struct world *w, const struct addr *to, struct str packet)
{
	heps_send(&w->heps, &w->counters, to, packet);
}

static int received(int fd)
{
	char bytes[64];
	int n = 0;

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		n++;
	return n;
}

TEST(packets_arrive)
{
	struct world w;
	struct addr a;
	int fd = collector(&a);

	world_open(&w);
	for (int i = 0; i < 3; i++)
		send_one(&w, &a, STR("HEP3"));
	CHECK_INT(received(fd), 3);
	CHECK_INT(w.counters.v[CNT_HEP_SENT], 3);
	CHECK_INT(world_close(&w, "hep."), 0);
	close(fd);
}

TEST(nobody_listens_and_then_somebody_does)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	struct world w;
	struct addr a;

	close(collector(&a));
	world_open(&w);
	for (int i = 0; i < 10; i++) {
		send_one(&w, &a, STR("HEP3"));
		nanosleep(&moment, NULL);
	}
	/* of each but the last it is known by now */
	CHECK_INT(w.counters.v[CNT_HEP_REFUSED], 9);
	CHECK_INT(w.counters.v[CNT_HEP_SENT], 10);
	CHECK_INT(world_close(&w, "event=hep.down"), 1);
}

static int bind_to(const struct addr *at)
{
	struct sockaddr_storage ss = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	CHECK(bind(fd, (struct sockaddr *)&ss,
		   addr_to_sockaddr(at, (struct sockaddr *)&ss)) == 0);
	return fd;
}

TEST(an_outage_ends)
{
	static const struct timespec moment = {.tv_nsec = 100000000};
	struct world w;
	struct addr a;
	int fd;

	close(collector(&a));
	world_open(&w);
	for (int i = 0; i < 3; i++) {
		send_one(&w, &a, STR("HEP3"));
		nanosleep(&moment, NULL);
	}
	CHECK(w.outages.open);
	fd = bind_to(&a);
	for (int i = 0; i < 50 && w.outages.open; i++) {
		send_one(&w, &a, STR("HEP3"));
		nanosleep(&moment, NULL);
		/* the first ones may be luck */
		CHECK(i >= 2 || w.outages.open);
	}
	CHECK(!w.outages.open);
	CHECK(received(fd) > 3);
	close(fd);
	CHECK_INT(world_close(&w, "event=hep.up collector=127.0.0.1"), 1);
}

/* As if the last packet had been lost a while ago. */
static void wait_long(struct world *w)
{
	for (int i = 0; i < OUTAGES_MAX; i++)
		w->outages.at[i].failed -= 10;
}

static void send_other(struct world *w, const struct addr *to)
{
	heps_send(&w->other, &w->counters, to, STR("HEP3"));
}

TEST(an_outage_is_one_for_all_workers)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	struct world w;
	struct addr a;
	int fd = collector(&a);

	world_open(&w);
	for (int i = 0; i < 5; i++)
		send_other(&w, &a);
	close(fd);
	for (int i = 0; i < 3; i++) {
		send_one(&w, &a, STR("HEP3"));
		nanosleep(&moment, NULL);
	}
	CHECK_INT(w.outages.open, 1);
	CHECK_INT(w.outages.at[0].lost, 2);
	/* What one has sent before says nothing of what is now. */
	wait_long(&w);
	send_other(&w, &a);
	CHECK_INT(w.outages.open, 1);
	nanosleep(&moment, NULL);
	send_other(&w, &a);
	CHECK_INT(w.outages.at[0].lost, 3);
	fd = bind_to(&a);
	wait_long(&w);
	/* Any of them sees that it is over; the first may be told of a loss. */
	for (int i = 0; i < 4; i++) {
		send_other(&w, &a);
		wait_long(&w);
	}
	CHECK_INT(w.outages.open, 0);
	for (int i = 0; i < 5; i++)
		send_one(&w, &a, STR("HEP3"));
	close(fd);
	CHECK_INT(world_close(&w, "event=hep."), 2); /* one down, one up */
}

TEST(outages_are_of_collectors)
{
	static const struct timespec moment = {.tv_nsec = 20000000};
	struct world w;
	struct addr a[OUTAGES_MAX + 1];

	world_open(&w);
	for (int i = 0; i <= OUTAGES_MAX; i++) {
		close(collector(&a[i]));
		for (int n = 0; n < 2; n++) {
			send_one(&w, &a[i], STR("HEP3"));
			nanosleep(&moment, NULL);
		}
		wait_long(&w);
	}
	/* The one that is seen no more has made place. */
	CHECK_INT(w.outages.open, OUTAGES_MAX);
	CHECK(addr_eq(&w.outages.at[0].to, &a[OUTAGES_MAX]));
	CHECK_INT(world_close(&w, "event=hep.down"), OUTAGES_MAX + 1);
}

TEST(more_collectors_than_are_kept)
{
	struct world w;
	struct addr a[HEP_COLLECTORS + 1];
	int fd[HEP_COLLECTORS + 1];

	world_open(&w);
	for (int i = 0; i <= HEP_COLLECTORS; i++)
		fd[i] = collector(&a[i]);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i <= HEP_COLLECTORS; i++)
			send_one(&w, &a[i], STR("HEP3"));
	for (int i = 0; i <= HEP_COLLECTORS; i++) {
		CHECK_INT(received(fd[i]), 3);
		close(fd[i]);
	}
	CHECK_INT(w.counters.v[CNT_HEP_SENT], 3 * (HEP_COLLECTORS + 1));
	CHECK_INT(world_close(&w, "hep."), 0);
}

TEST(what_no_datagram_takes)
{
	static char big[70000];
	struct world w;
	struct addr a;
	int fd = collector(&a);

	world_open(&w);
	send_one(&w, &a, (struct str){big, sizeof(big)});
	CHECK_INT(w.counters.v[CNT_HEP_OTHER], 1);
	CHECK_INT(received(fd), 0);
	send_one(&w, &a, STR("HEP3"));
	CHECK_INT(received(fd), 1);
	CHECK_INT(world_close(&w, "reason=other"), 1);
	close(fd);
}

/* A network that is not there; or none for this family at all. */
TEST(no_way_to_it)
{
	struct world w;
	struct addr a;

	world_open(&w);
	addr_parse(STR("[2001:db8::9]:9060"), &a);
	send_one(&w, &a, STR("HEP3"));
	send_one(&w, &a, STR("HEP3"));
	CHECK_INT(w.counters.v[CNT_HEP_SENT] + w.counters.v[CNT_HEP_OTHER] +
		      w.counters.v[CNT_HEP_UNREACHABLE],
		  2);
	CHECK(world_close(&w, "hep.down") <= 1);
}
