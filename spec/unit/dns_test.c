/*
 * The host's half of DNS: c-ares on a loop, with a server on the loopback
 * interface that runs in the same loop. The test plays the core.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/dns.h"
#include "unit/dns_world.h"
#include "util/list.h"

struct world {
	struct ev_loop *loop;
	struct logsink *log;
	struct dns_limits limits;
	struct dns *dns;
	/* the server */
	struct addr at;
	int udp, tcp;
	ev_io udp_io, tcp_io, connection_io;
	unsigned by_udp, by_tcp; /* questions it got */
	bool silent, refuses;
	/* the core */
	struct query q[8];
	char told[512]; /* "name:n bytes" "name:timeout" "name:failed" */
	unsigned answers;
	bool ask_again; /* when an answer comes */
	ev_timer end;
	bool late;
	int depth;
};

/* ---- the server ---- */

/* Answers by what the name begins with: big: cut off by UDP; fail: a
 * refusal;
 * mute: nothing. */
static size_t reply_to(struct world *w, const unsigned char *in, size_t n,
		       bool tcp, unsigned char out[4096])
{
	struct dns_text t;
	char name[DNS_NAME];
	size_t at = 12, len = 0;
	uint16_t type;
	bool refuse;

	CHECK(n > 16);
	while (in[at]) {
		if (len)
			name[len++] = '.';
		memcpy(name + len, in + at + 1, in[at]);
		len += in[at];
		at += 1u + in[at];
	}
	name[len] = '\0';
	type = (uint16_t)(in[at + 1] << 8 | in[at + 2]);
	if (w->silent || strncmp(name, "mute", 4) == 0)
		return 0;
	refuse = w->refuses || strncmp(name, "fail", 4) == 0;
	dns_text_init(&t, name, type, refuse ? 5 : 0);
	t.b[0] = in[0];
	t.b[1] = in[1];
	if (strncmp(name, "big", 3) == 0 && !tcp)
		t.b[2] |= 2; /* TC */
	else if (!refuse)
		dns_text_record(&t, DNS_ANSWER, name, DNS_A, 60, "10.0.0.1");
	dns_text_str(&t);
	memcpy(out, t.b, t.n);
	return t.n;
}

static void on_udp(struct ev_loop *loop, ev_io *io, int events)
{
	struct world *w = io->data;
	unsigned char in[2048], out[4096];
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	ssize_t n =
	    recvfrom(w->udp, in, sizeof(in), 0, (struct sockaddr *)&from, &len);
	size_t size;

	(void)loop;
	(void)events;
	CHECK(n > 0);
	w->by_udp++;
	size = reply_to(w, in, (size_t)n, false, out);
	if (size)
		CHECK(sendto(w->udp, out, size, 0, (struct sockaddr *)&from,
			     len) == (ssize_t)size);
}

/* The question is there in one piece: it is small. */
static void on_connection(struct ev_loop *loop, ev_io *io, int events)
{
	struct world *w = io->data;
	unsigned char in[2048], out[4096 + 2];
	ssize_t n = recv(io->fd, in, sizeof(in), 0);
	size_t size;

	(void)events;
	if (n > 0) {
		CHECK(n > 2);
		w->by_tcp++;
		size = reply_to(w, in + 2, (size_t)n - 2, true, out + 2);
		out[0] = (unsigned char)(size >> 8);
		out[1] = (unsigned char)size;
		CHECK(send(io->fd, out, size + 2, 0) == (ssize_t)size + 2);
		return;
	}
	ev_io_stop(loop, io);
	close(io->fd);
}

/* One connection at a time is enough. */
static void on_tcp(struct ev_loop *loop, ev_io *io, int events)
{
	struct world *w = io->data;
	int fd = accept4(w->tcp, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	CHECK(fd >= 0 && !ev_is_active(&w->connection_io));
	ev_io_init(&w->connection_io, on_connection, fd, EV_READ);
	w->connection_io.data = w;
	ev_io_start(loop, &w->connection_io);
}

static int bind_to(struct addr *at, int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	CHECK(fd >= 0);
	addr_to_sockaddr(at, (struct sockaddr *)&sa);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)) != 0) {
		close(fd);
		return -1;
	}
	CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	addr_from_sockaddr(at, (struct sockaddr *)&sa);
	return fd;
}

/* One port for both. */
static void open_server(struct world *w)
{
	do {
		if (!w->at.family)
			CHECK(addr_parse(STR("127.0.0.1"), &w->at));
		w->udp = bind_to(&w->at, SOCK_DGRAM);
		CHECK(w->udp >= 0);
		w->tcp = bind_to(&w->at, SOCK_STREAM);
		if (w->tcp < 0) {
			close(w->udp);
			w->at.family = 0;
		}
	} while (w->tcp < 0);
	CHECK(listen(w->tcp, 8) == 0);
	ev_io_init(&w->udp_io, on_udp, w->udp, EV_READ);
	ev_io_init(&w->tcp_io, on_tcp, w->tcp, EV_READ);
	w->udp_io.data = w->tcp_io.data = w;
	ev_io_start(w->loop, &w->udp_io);
	ev_io_start(w->loop, &w->tcp_io);
}

static void close_tcp(struct world *w)
{
	ev_io_stop(w->loop, &w->tcp_io);
	close(w->tcp);
	w->tcp = -1;
}

static void close_server(struct world *w)
{
	ev_io_stop(w->loop, &w->udp_io);
	close(w->udp);
	if (w->tcp >= 0)
		close_tcp(w);
	if (ev_is_active(&w->connection_io)) {
		ev_io_stop(w->loop, &w->connection_io);
		close(w->connection_io.fd);
	}
}

/* ---- the core ---- */

static void on_begin(void *ctx)
{
	struct world *w = ctx;

	CHECK_INT(w->depth++, 0);
}

static void query(struct world *w, unsigned i, const char *name)
{
	w->q[i] = (struct query){.type = DNS_A};
	memcpy(w->q[i].name, name, strlen(name) + 1);
	dns_query(w->dns, &w->q[i]);
}

static void on_answer(void *ctx, struct query *q, const struct answer *a)
{
	struct world *w = ctx;
	size_t n = strlen(w->told);
	struct dns_answer read;

	w->answers++;
	if (a->status == ANSWER_REPLY)
		dns_answer_read(a->bytes, q->name, q->type, &read);
	snprintf(w->told + n, sizeof(w->told) - n, "%s:%s ", q->name,
		 a->status == ANSWER_TIMEOUT   ? "timeout"
		 : a->status == ANSWER_FAILED  ? "failed"
		 : a->status == ANSWER_NO_NAME ? "no_name"
		 : read.verdict == DNS_FOUND   ? "found"
		 : read.verdict == DNS_FAILED  ? "servfail"
					       : "bad");
	if (w->ask_again) {
		w->ask_again = false;
		query(w, 7, "again.example");
	}
}

static void on_end(void *ctx)
{
	struct world *w = ctx;

	while (dns_have_news(w->dns))
		dns_tell(w->dns);
	CHECK_INT(--w->depth, 0);
}

static void on_late(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	((struct world *)t->data)->late = true;
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	w->log = logsink_new(open("/dev/null", O_WRONLY | O_CLOEXEC), false,
			     LOG_INFO);
	dns_limits_init(&w->limits);
	open_server(w);
	w->limits.servers = 1;
	w->limits.server[0] = w->at;
	w->dns = dns_new(
	    &(struct dns_conf){.loop = w->loop,
			       .limits = &w->limits,
			       .log = w->log,
			       .user = {w, on_begin, on_answer, on_end}});
	CHECK(w->dns != NULL);
	ev_timer_init(&w->end, on_late, 8., 0.);
	w->end.data = w;
}

static void world_fini(struct world *w)
{
	close_server(w);
	dns_free(&w->dns);
	ev_loop_destroy(w->loop);
	logsink_free(&w->log);
}

/* Runs until so many answers have come. */
static void run(struct world *w, unsigned answers)
{
	w->depth++;
	on_end(w); /* what came without the loop */
	ev_timer_start(w->loop, &w->end);
	while (w->answers < answers && !w->late)
		ev_run(w->loop, EVRUN_ONCE);
	ev_timer_stop(w->loop, &w->end);
	CHECK(!w->late);
}

static struct world w;

TEST(a_question_and_its_answer)
{
	world_init(&w);
	query(&w, 0, "a.example");
	query(&w, 1, "_sip._udp.b.example");
	run(&w, 2);
	CHECK(strstr(w.told, "a.example:found "));
	CHECK(strstr(w.told, "_sip._udp.b.example:found "));
	CHECK_INT(w.by_udp, 2);
	world_fini(&w);
}

/* Neither /etc/hosts nor a search domain has a say. */
TEST(names_go_as_they_are)
{
	world_init(&w);
	query(&w, 0, "localhost");
	run(&w, 1);
	query(&w, 1, "a");
	run(&w, 2);
	CHECK_STR(str_from(w.told), "localhost:found a:found ");
	CHECK_INT(w.by_udp, 2);
	world_fini(&w);
}

/* RFC 7686: nobody is to be asked. */
TEST(names_that_are_kept_from_servers)
{
	world_init(&w);
	query(&w, 0, "a.onion");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "a.onion:no_name ");
	CHECK_INT(w.by_udp, 0);
	world_fini(&w);
}

TEST(a_refusal_is_an_answer)
{
	world_init(&w);
	query(&w, 0, "fail.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "fail.example:servfail ");
	world_fini(&w);
}

TEST(cut_off_it_is_asked_for_by_tcp)
{
	world_init(&w);
	query(&w, 0, "big.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "big.example:found ");
	CHECK_INT(w.by_tcp, 1);
	world_fini(&w);
}

/* Where there is no TCP the others under way go on; what is cut off is given as
 * it is. */
TEST(one_that_needs_tcp_does_not_cost_the_others)
{
	world_init(&w);
	close_tcp(&w);
	query(&w, 0, "mute.example");
	query(&w, 1, "big.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "big.example:bad ");
	run(&w, 2);
	CHECK_STR(str_from(w.told), "big.example:bad mute.example:timeout ");
	CHECK_INT(w.by_udp, 4);
	world_fini(&w);
}

TEST(silence_ends_after_three_tries)
{
	ev_tstamp began;

	world_init(&w);
	began = ev_time();
	query(&w, 0, "mute.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "mute.example:timeout ");
	CHECK_INT(w.by_udp, 3);
	CHECK(ev_time() - began > 3.4);
	world_fini(&w);
}

TEST(nobody_there)
{
	world_init(&w);
	close_server(&w);
	query(&w, 0, "a.example");
	query(&w, 1, "b.example");
	run(&w, 2);
	/* as "failed" or "timeout": the errors of one socket are shared */
	CHECK(!strstr(w.told, "found"));
	/* and back, at the same address */
	open_server(&w);
	query(&w, 2, "c.example");
	run(&w, 3);
	CHECK(strstr(w.told, "c.example:found "));
	world_fini(&w);
}

TEST(taken_back)
{
	world_init(&w);
	query(&w, 0, "mute.example");
	dns_unquery(w.dns, &w.q[0]);
	memset(&w.q[0], 0x5a, sizeof(w.q[0])); /* it is the core's again */
	query(&w, 1, "a.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "a.example:found ");
	world_fini(&w);
}

TEST(an_answer_makes_a_question)
{
	world_init(&w);
	w.ask_again = true;
	query(&w, 0, "a.example");
	run(&w, 2);
	CHECK_STR(str_from(w.told), "a.example:found again.example:found ");
	world_fini(&w);
}

/* What was asked before a reload is waited for; what comes after goes to the
 * new server. */
TEST(other_servers)
{
	struct world *old = &w;
	unsigned before;

	world_init(old);
	query(old, 0, "mute.example");
	before = old->by_udp;
	CHECK(addr_parse(STR("127.0.0.1:1"), &old->limits.server[0]));
	dns_reload(old->dns);
	query(old, 1, "a.example");
	run(old, 1);
	CHECK_STR(str_from(old->told), "a.example:failed ");
	old->limits.server[0] = old->at;
	dns_reload(old->dns);
	query(old, 2, "b.example");
	run(old, 2);
	CHECK_STR(str_from(old->told), "a.example:failed b.example:found ");
	run(old, 3);
	CHECK_STR(str_from(old->told), "a.example:failed b.example:found "
				       "mute.example:timeout ");
	CHECK(old->by_udp > before);
	world_fini(old);
}

/* w asks itself first, and then the other. */
static void init_two(struct world *other)
{
	world_init(other);
	world_init(&w);
	w.limits.servers = 2;
	w.limits.server[1] = other->at;
	dns_reload(w.dns);
	/* one loop for both */
	ev_io_stop(other->loop, &other->udp_io);
	ev_io_start(w.loop, &other->udp_io);
}

static void fini_two(struct world *other)
{
	ev_io_stop(w.loop, &other->udp_io);
	world_fini(other);
	world_fini(&w);
}

TEST(the_second_server_is_asked_when_the_first_is_silent)
{
	static struct world other;

	init_two(&other);
	w.silent = true;
	query(&w, 0, "a.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "a.example:found ");
	CHECK_INT(w.by_udp, 1);
	CHECK_INT(other.by_udp, 1);
	fini_two(&other);
}

TEST(the_second_server_is_asked_when_the_first_refuses)
{
	static struct world other;

	init_two(&other);
	w.refuses = true;
	query(&w, 0, "a.example");
	run(&w, 1);
	CHECK_STR(str_from(w.told), "a.example:found ");
	query(&w, 1, "fail.example");
	run(&w, 2);
	CHECK_STR(str_from(w.told), "a.example:found fail.example:servfail ");
	CHECK_INT(w.by_udp, 2);
	CHECK_INT(other.by_udp, 2);
	fini_two(&other);
}

TEST(closed_with_questions_under_way)
{
	world_init(&w);
	query(&w, 0, "mute.example");
	dns_reload(w.dns);
	query(&w, 1, "mute.example");
	dns_unquery(w.dns, &w.q[1]);
	world_fini(&w);
	CHECK_INT(w.answers, 0);
}
