/*
 * Connections on the loopback interface, with a loop: what the kernel really
 * does, told in the words of the host boundary. The test plays the core.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/stream.h"
#include "host/tls.h"
#include "support/unit.h"
#include "unit/certs.h"

struct world {
	struct ev_loop *loop;
	struct listeners ls;
	struct stream_limits limits;
	struct dgram_queue faults;
	struct logsink *log;
	struct source *source;
	struct streams *ss;
	/* TLS */
	char dir[64];
	struct cert cert;
	struct tls_clients clients;
	struct tls_set *set;
	struct addr at; /* where to reach the listener */
	/* What was told: "up accepted;error reset 5;down reset;" */
	char told[4096];
	char got[65536];
	size_t n_got;
	struct hop last; /* of the last event */
	char text[256];
	int depth; /* of begin and end */
	/* What the core does in the middle of an entry. */
	bool close_when_up, close_when_got;
	bool slow; /* a piece takes 2 ms, and only its first byte is kept */
	struct str answer;
};

static struct addr addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

/* ---- the core ---- */

static void on_begin(void *ctx)
{
	struct world *w = ctx;

	CHECK_INT(w->depth++, 0);
}

static void on_receive(void *ctx, const struct hop *from, struct str bytes,
		       int64_t waited)
{
	struct world *w = ctx;

	CHECK_INT(w->depth, 1);
	CHECK(waited >= 0);
	CHECK(strstr(w->told, "up") != NULL); /* never before that */
	if (w->slow) {
		usleep(2000);
		bytes.n = 1;
	}
	CHECK(w->n_got + bytes.n < sizeof(w->got));
	memcpy(w->got + w->n_got, bytes.p, bytes.n);
	w->n_got += bytes.n;
	w->last = *from;
	if (w->answer.n)
		streams_send(w->ss, from, w->answer);
	if (w->close_when_got)
		streams_close(w->ss, from);
}

static void note(struct world *w, const char *text)
{
	size_t n = strlen(w->told);

	snprintf(w->told + n, sizeof(w->told) - n, "%s", text);
}

static void on_event(void *ctx, const struct flow_event *e)
{
	struct world *w = ctx;
	char line[128];

	if (e->kind == FLOW_UP)
		snprintf(line, sizeof(line), "up%s;",
			 e->accepted ? " accepted" : "");
	else if (e->kind == FLOW_DOWN)
		snprintf(line, sizeof(line), "down %s;", cause_text(e->cause));
	else
		snprintf(line, sizeof(line), "error %s %zu;",
			 cause_text(e->cause), e->quoted.n);
	note(w, line);
	w->last = e->peer;
	snprintf(w->text, sizeof(w->text), "%.*s", (int)e->text.n,
		 e->text.p ? e->text.p : "");
	if (e->kind == FLOW_UP && w->close_when_up)
		streams_close(w->ss, &e->peer);
}

static void flush(struct world *w)
{
	streams_flush(w->ss);
	streams_tell(w->ss);
	streams_flush(w->ss);
}

static void on_end(void *ctx)
{
	struct world *w = ctx;

	flush(w);
	streams_reap(w->ss);
	CHECK_INT(--w->depth, 0);
}

/* ---- the world ---- */

static void begin_with(struct world *w, const char *listen, enum transport t)
{
	struct streams_conf conf;
	struct listener *l = &w->ls.l[0];
	char why[256] = "";

	w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	w->log = logsink_new(STDERR_FILENO, false, LOG_ERROR);
	stream_limits_init(&w->limits);
	dgram_queue_init(&w->faults);
	l->transport = (uint8_t)t;
	l->addr = w->at = addr(listen);
	w->ls.n = 1;
	w->source = source_new(&w->ls);
	source_refresh(w->source);
	conf = (struct streams_conf){
	    .loop = w->loop,
	    .listeners = &w->ls,
	    .limits = &w->limits,
	    .source = w->source,
	    .faults = &w->faults,
	    .log = w->log,
	    .tls = w->set,
	    .worker = 3,
	    .user = {w, on_begin, on_receive, on_event, on_end},
	};
	w->ss = streams_new(&conf);
	CHECK(w->ss != NULL);
	/* A port that nobody has, found by asking for it. */
	for (uint16_t port = (uint16_t)(20000 + getpid() % 9000);; port++) {
		l->addr.port = w->at.port = port;
		if (streams_listen(w->ss, 0, SOCK_ALONE, why, sizeof(why)) == 0)
			break;
		CHECK(strstr(why, "taken") != NULL);
	}
	streams_start(w->ss);
}

static void begin(struct world *w, const char *listen)
{
	memset(w, 0, sizeof(*w));
	begin_with(w, listen, TRANSPORT_TCP);
}

/* A TLS listener that is pbx.example.com, and a client that trusts it. */
static void begin_tls(struct world *w)
{
	struct tls_set_conf conf = {
	    .listeners = &w->ls, .clients = &w->clients, .used = 2};
	char why[256] = "";

	memset(w, 0, sizeof(*w));
	signal(SIGPIPE, SIG_IGN);
	cert_make(
	    &w->cert, w->dir,
	    &(struct cert_conf){.name = "pbx", .san = "DNS:pbx.example.com"});
	w->ls.n = 1;
	w->ls.l[0].transport = TRANSPORT_TLS;
	strcpy(w->ls.l[0].tls.cert, w->cert.pem);
	strcpy(w->ls.l[0].tls.key, w->cert.key_pem);
	tls_clients_init(&w->clients);
	w->clients.n = 2;
	w->clients.c[1].verify = true;
	strcpy(w->clients.c[1].ca, w->cert.pem);
	w->set = tls_set_new(&conf, why, sizeof(why));
	CHECK_STR(str_from(why), "");
	begin_with(w, "127.0.0.1", TRANSPORT_TLS);
}

static void end(struct world *w)
{
	if (w->set) {
		tls_set_free(&w->set);
		cert_free(&w->cert);
		certs_clear(w->dir);
	}
	streams_free(&w->ss);
	source_free(&w->source);
	dgram_queue_fini(&w->faults);
	logsink_free(&w->log);
	ev_loop_destroy(w->loop);
}

static void on_timeout(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)events;
	*(bool *)t->data = true;
	ev_break(loop, EVBREAK_ONE);
}

/* Turns the loop until the core was told this, for two seconds at most. */
static void until(struct world *w, const char *told)
{
	bool late = false;
	ev_timer t;

	ev_now_update(w->loop);
	ev_timer_init(&t, on_timeout, 2., 0.);
	t.data = &late;
	ev_timer_start(w->loop, &t);
	while (!strstr(w->told, told) && !late)
		ev_run(w->loop, EVRUN_ONCE);
	ev_timer_stop(w->loop, &t);
	if (late)
		fprintf(stderr, "told: %s\n", w->told);
	CHECK(!late);
}

static void turn(struct world *w, double seconds)
{
	bool late = false;
	ev_timer t;

	ev_now_update(w->loop);
	ev_timer_init(&t, on_timeout, seconds, 0.);
	t.data = &late;
	ev_timer_start(w->loop, &t);
	while (!late)
		ev_run(w->loop, EVRUN_ONCE);
}

static size_t open_now(const struct world *w)
{
	struct streams_stats s;

	streams_stats(w->ss, &s);
	return s.open;
}

/* ---- a peer ---- */

static int dial(const struct addr *to)
{
	struct sockaddr_storage sa;
	unsigned len = addr_to_sockaddr(to, (struct sockaddr *)&sa);
	int fd =
	    socket(to->family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	CHECK(connect(fd, (struct sockaddr *)&sa, len) == 0);
	return fd;
}

static int listen_at(struct addr *at)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(at, (struct sockaddr *)&sa);
	int fd =
	    socket(at->family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	CHECK(bind(fd, (struct sockaddr *)&sa, len) == 0);
	CHECK(listen(fd, 5) == 0);
	len = sizeof(sa);
	CHECK(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	addr_from_sockaddr(at, (struct sockaddr *)&sa);
	return fd;
}

/* Everything until the end; -1 after a reset. */
static ssize_t hear_all(int fd, char *out, size_t n)
{
	size_t got = 0;
	ssize_t k;

	while ((k = recv(fd, out + got, n - got, 0)) > 0)
		got += (size_t)k;
	return k < 0 ? -1 : (ssize_t)got;
}

static void reset(int fd)
{
	struct linger l = {1, 0};

	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) == 0);
	close(fd);
}

static struct hop hop_to(const struct addr *to, const char *from)
{
	struct hop hop = {.transport = TRANSPORT_TCP,
			  .worker = 3,
			  .conn = conn_make(3, false, 0x1234560),
			  .addr = *to};

	if (from)
		hop.local = addr(from);
	return hop;
}

/* ---- accepting ---- */

TEST(accepted_is_told_before_its_bytes)
{
	struct world w;
	int fd;

	begin(&w, "127.0.0.1");
	fd = dial(&w.at);
	CHECK_INT(send(fd, "hello", 5, 0), 5);
	until(&w, "up accepted;");
	while (w.n_got < 5)
		ev_run(w.loop, EVRUN_ONCE);
	CHECK(memcmp(w.got, "hello", 5) == 0);
	CHECK_INT(conn_worker(w.last.conn), 3);
	CHECK_INT(w.last.conn & 1, 1);
	CHECK(addr_eq(&w.last.local, &w.at));
	CHECK_INT(w.last.transport, TRANSPORT_TCP);
	close(fd);
	until(&w, "down closed;");
	CHECK_INT(open_now(&w), 0);
	end(&w);
}

TEST(accepted_on_ipv6)
{
	struct world w;
	int fd;

	begin(&w, "::1");
	fd = dial(&w.at);
	until(&w, "up accepted;");
	CHECK_INT(w.last.addr.family, ADDR_V6);
	close(fd);
	end(&w);
}

TEST(reset_by_the_peer_is_told)
{
	struct world w;
	int fd;

	begin(&w, "127.0.0.1");
	fd = dial(&w.at);
	until(&w, "up accepted;");
	reset(fd);
	until(&w, "down reset;");
	end(&w);
}

TEST(answer_goes_back_and_close_lets_it)
{
	struct world w;
	char out[32];
	int fd;

	begin(&w, "127.0.0.1");
	w.answer = STR("bad request");
	w.close_when_got = true;
	fd = dial(&w.at);
	/* More than is read: a reset must not overtake the answer. */
	CHECK_INT(send(fd, "garbage", 7, 0), 7);
	until(&w, "up");
	CHECK_INT(send(fd, "garbage", 7, 0), 7);
	turn(&w, 0.1);
	CHECK_INT(hear_all(fd, out, sizeof(out)), 11);
	CHECK(memcmp(out, "bad request", 11) == 0);
	CHECK_INT(open_now(&w), 1); /* it waits for the other half */
	close(fd);
	turn(&w, 0.1);
	CHECK_INT(open_now(&w), 0);
	CHECK(strstr(w.told, "down") == NULL); /* no word after a close */
	end(&w);
}

TEST(closing_has_a_deadline)
{
	struct world w;
	int fd;

	begin(&w, "127.0.0.1");
	w.answer = STR("x");
	w.close_when_got = true;
	fd = dial(&w.at);
	CHECK_INT(send(fd, "y", 1, 0), 1);
	turn(&w, 1.);
	CHECK_INT(open_now(&w), 1);
	turn(&w, 1.5);
	CHECK_INT(open_now(&w), 0);
	close(fd);
	end(&w);
}

TEST(closed_as_soon_as_it_is_up)
{
	struct world w;
	char c;
	int fd;

	begin(&w, "127.0.0.1");
	w.close_when_up = true;
	fd = dial(&w.at);
	until(&w, "up");
	CHECK_INT(recv(fd, &c, 1, 0), 0);
	CHECK_INT(open_now(&w), 0);
	close(fd);
	end(&w);
}

TEST(many_at_once)
{
	struct world w;
	int fd[100];
	size_t ups = 0;

	begin(&w, "127.0.0.1");
	for (size_t i = 0; i < 100; i++)
		fd[i] = dial(&w.at);
	turn(&w, 0.2);
	for (const char *p = w.told; (p = strstr(p, "up")); p++)
		ups++;
	CHECK_INT(ups, 100);
	CHECK_INT(open_now(&w), 100);
	for (size_t i = 0; i < 100; i++)
		close(fd[i]);
	turn(&w, 0.2);
	CHECK_INT(open_now(&w), 0);
	end(&w);
}

/* Datagrams and timers come first in each turn of the loop: what connections
 * bring must not make it long. */
TEST(who_sends_much_takes_turns)
{
	enum { N = 8, EACH = 4 }; /* connections, pieces at a time */
	static char big[200000];
	struct world w;
	int fd[N];

	begin(&w, "127.0.0.1");
	for (size_t i = 0; i < N; i++)
		fd[i] = dial(&w.at);
	turn(&w, 0.2);
	CHECK_INT(open_now(&w), N);
	for (size_t i = 0; i < N; i++) {
		memset(big, 'a' + (char)i, sizeof(big));
		send(fd[i], big, sizeof(big), MSG_DONTWAIT);
	}
	w.slow = true;
	for (size_t i = 1; i <= N; i++) {
		ev_run(w.loop, EVRUN_NOWAIT);
		CHECK_INT(w.n_got, i * EACH);
	}
	for (size_t i = 0; i < N; i++) {
		size_t n = 0;

		for (size_t k = 0; k < w.n_got; k++)
			n += w.got[k] == 'a' + (char)i;
		CHECK_INT(n, EACH);
		close(fd[i]);
	}
	end(&w);
}

TEST(without_descriptors_accepting_pauses)
{
	struct rlimit old, none;
	struct streams_stats stats;
	struct world w;
	int fd, spare;

	begin(&w, "127.0.0.1");
	logsink_set_level(w.log, (enum log_level) - 1); /* expected noise */
	fd = dial(&w.at);
	spare = dup(fd);
	close(spare);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = (rlim_t)spare;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	turn(&w, 0.3);
	streams_stats(w.ss, &stats);
	CHECK_INT(stats.pauses, 1); /* and no spinning */
	CHECK(!strstr(w.told, "up"));
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	until(&w, "up accepted;");
	close(fd);
	end(&w);
}

/* For names, files, routes and servers. */
TEST(the_last_descriptors_are_not_for_who_connects)
{
	struct rlimit old, few;
	struct streams_stats stats;
	struct world w;
	int fd, spare;
	char c;

	begin(&w, "127.0.0.1");
	logsink_set_level(w.log, (enum log_level) - 1); /* expected noise */
	fd = dial(&w.at);
	spare = dup(fd);
	close(spare);
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	few.rlim_cur = (rlim_t)spare + 2; /* two are left */
	CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	turn(&w, 0.3);
	streams_stats(w.ss, &stats);
	CHECK_INT(stats.pauses, 1);
	CHECK(!strstr(w.told, "up"));
	CHECK_INT(recv(fd, &c, 1, MSG_DONTWAIT), 0); /* and is told so */
	close(fd);
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	fd = dial(&w.at);
	until(&w, "up accepted;");
	close(fd);
	end(&w);
}

TEST(listens_where_it_may_be_one_day)
{
	struct world w;

	begin(&w, "192.0.2.77"); /* nobody's: for documentation */
	end(&w);
}

/* ---- opening ---- */

TEST(opens_from_the_address_it_is_told)
{
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at), fd;
	struct hop hop = hop_to(&at, "127.0.0.1:5060");
	char out[16];

	begin(&w, "127.0.0.1");
	hop.addr = at;
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("first"));
	streams_send(w.ss, &hop, STR("second"));
	flush(&w);
	CHECK(w.told[0] == '\0');
	until(&w, "up;");
	CHECK(w.last.conn == hop.conn);
	CHECK(addr_ip_eq(&w.last.local, &hop.local));
	CHECK(w.last.local.port != 0 && w.last.local.port != 5060);
	fd = accept(server, NULL, NULL);
	streams_close(w.ss, &hop);
	flush(&w);
	CHECK_INT(hear_all(fd, out, sizeof(out)), 11);
	CHECK(memcmp(out, "firstsecond", 11) == 0);
	close(fd);
	close(server);
	end(&w);
}

TEST(what_waits_can_be_taken_back)
{
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at), fd;
	struct hop hop = hop_to(&at, "127.0.0.1"), none = hop;
	char out[16];

	begin(&w, "127.0.0.1");
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("first"));
	streams_send(w.ss, &hop, STR("second"));
	streams_send(w.ss, &hop, STR("third"));
	none.conn++;
	CHECK(!streams_withdraw(w.ss, &none, STR("second")));
	CHECK(streams_withdraw(w.ss, &hop, STR("second")));
	CHECK(!streams_withdraw(w.ss, &hop, STR("second")));
	until(&w, "up;");
	CHECK(!streams_withdraw(w.ss, &hop, STR("third")));
	fd = accept(server, NULL, NULL);
	streams_close(w.ss, &hop);
	flush(&w);
	CHECK_INT(hear_all(fd, out, sizeof(out)), 10);
	CHECK(memcmp(out, "firstthird", 10) == 0);
	close(fd);
	close(server);
	end(&w);
}

TEST(refused_comes_back_with_what_waited)
{
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at);
	struct hop hop = hop_to(&at, "127.0.0.1");

	close(server);
	begin(&w, "127.0.0.1");
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("12345"));
	CHECK(w.told[0] == '\0'); /* not inside of the verb */
	until(&w, "down");
	CHECK_STR(str_from(w.told), "error refused 5;down refused;");
	CHECK_STR(str_from(w.text), "Connection refused");
	/* It is gone: what comes for it now comes back too. */
	streams_send(w.ss, &hop, STR("late"));
	CHECK_INT(w.faults.n, 1);
	CHECK_INT(open_now(&w), 0);
	end(&w);
}

TEST(never_from_an_address_that_is_elsewhere)
{
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at);
	struct hop hop = hop_to(&at, "192.0.2.77");

	begin(&w, "192.0.2.77");
	streams_open(w.ss, &hop);
	flush(&w);
	CHECK_STR(str_from(w.told), "down no_source;");
	close(server);
	end(&w);
}

TEST(close_while_it_opens_is_silent)
{
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at);
	struct hop hop = hop_to(&at, NULL);

	begin(&w, "127.0.0.1");
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("x"));
	streams_close(w.ss, &hop);
	flush(&w);
	turn(&w, 0.1);
	CHECK_STR(str_from(w.told), "");
	CHECK_INT(open_now(&w), 0);
	close(server);
	end(&w);
}

/* ---- the queue ---- */

TEST(who_does_not_read_is_reset)
{
	static char big[60000];
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at), fd;
	struct hop hop = hop_to(&at, NULL);
	size_t errors = 0, sent = 0;

	begin(&w, "127.0.0.1");
	streams_open(w.ss, &hop);
	until(&w, "up;");
	fd = accept(server, NULL, NULL);
	for (; !strstr(w.told, "down"); sent++) {
		CHECK(sent < 10000);
		streams_send(w.ss, &hop, (struct str){big, sizeof(big)});
		flush(&w);
		streams_reap(w.ss);
	}
	for (const char *p = w.told; (p = strstr(p, "error reset 60000")); p++)
		errors++;
	/* What exceeded the limit is among them, and all that was waiting. */
	CHECK_INT(errors, w.limits.queue / sizeof(big) + 1);
	CHECK(sent > errors);
	CHECK(strstr(w.told, "down reset;")[11] == '\0'); /* the last word */
	CHECK_INT(open_now(&w), 0);
	close(fd);
	close(server);
	end(&w);
}

TEST(a_slow_reader_gets_it_all_in_order)
{
	static char big[50000], out[sizeof(big) * 5];
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at), fd;
	struct hop hop = hop_to(&at, NULL);
	size_t got = 0;

	begin(&w, "127.0.0.1");
	w.limits.queue = sizeof(out);
	streams_open(w.ss, &hop);
	until(&w, "up;");
	fd = accept(server, NULL, NULL);
	for (char c = 'a'; c < 'f'; c++) {
		memset(big, c, sizeof(big));
		streams_send(w.ss, &hop, (struct str){big, sizeof(big)});
	}
	flush(&w);
	while (got < sizeof(out)) {
		ssize_t n = recv(fd, out + got, 3000, MSG_DONTWAIT);

		if (n > 0)
			got += (size_t)n;
		ev_run(w.loop, EVRUN_NOWAIT);
	}
	for (size_t i = 0; i < sizeof(out); i++)
		CHECK_INT(out[i], 'a' + (char)(i / sizeof(big)));
	close(fd);
	close(server);
	end(&w);
}

TEST(more_in_one_go_than_may_wait)
{
	static char big[60000];
	struct world w;
	struct addr at = addr("127.0.0.1");
	int server = listen_at(&at), fd;
	struct hop hop = hop_to(&at, NULL);
	size_t got = 0;

	begin(&w, "127.0.0.1");
	w.limits.queue = 100000;
	streams_open(w.ss, &hop);
	until(&w, "up;");
	fd = accept(server, NULL, NULL);
	for (int i = 0; i < 10; i++) /* nothing between them */
		streams_send(w.ss, &hop, (struct str){big, sizeof(big)});
	flush(&w);
	CHECK(!strstr(w.told, "down"));
	while (got < 10 * sizeof(big)) {
		char out[4096];
		ssize_t n = recv(fd, out, sizeof(out), 0);

		CHECK(n > 0);
		got += (size_t)n;
		ev_run(w.loop, EVRUN_NOWAIT);
	}
	close(fd);
	close(server);
	end(&w);
}

/* ---- our own address ---- */

TEST(keeps_those_whose_address_is_here)
{
	struct world w;
	int fd;

	begin(&w, "127.0.0.9"); /* of no interface, and yet local */
	fd = dial(&w.at);
	until(&w, "up");
	streams_check_local(w.ss);
	CHECK(!streams_have_news(w.ss));
	close(fd);
	end(&w);
}

/* ---- TLS, with ourselves ---- */

static struct hop tls_hop(const struct world *w, const char *name)
{
	struct hop hop = hop_to(&w->at, "127.0.0.1");

	hop.transport = TRANSPORT_TLS;
	hop.tls = 1;
	hop.tls_name = name;
	return hop;
}

TEST(tls_carries_messages)
{
	static char big[60000];
	struct world w;
	struct hop hop;

	begin_tls(&w);
	hop = tls_hop(&w, "pbx.example.com");
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("first"));
	memset(big, 'x', sizeof(big));
	streams_send(w.ss, &hop, (struct str){big, sizeof(big)});
	until(&w, "up;");
	until(&w, "up accepted;");
	while (w.n_got < sizeof(big) + 5)
		ev_run(w.loop, EVRUN_ONCE);
	CHECK(memcmp(w.got, "firstxxx", 8) == 0);
	CHECK(w.got[sizeof(big) + 4] == 'x');
	streams_close(w.ss, &hop);
	until(&w, "down closed;"); /* the accepted one */
	CHECK_INT(open_now(&w), 0);
	end(&w);
}

TEST(tls_to_somebody_else)
{
	struct world w;
	struct hop hop;

	begin_tls(&w);
	hop = tls_hop(&w, "sip.example.net");
	streams_open(w.ss, &hop);
	streams_send(w.ss, &hop, STR("12345"));
	until(&w, "down tls_identity");
	CHECK(strstr(w.told, "error tls_identity 5;down tls_identity;"));
	CHECK(!strstr(w.told, "up;"));
	CHECK_INT(w.n_got, 0); /* nothing of it was sent */
	end(&w);
}

TEST(tls_handshake_has_a_deadline)
{
	struct world w;
	int fd;

	begin_tls(&w);
	w.limits.handshake = 100000;
	fd = dial(&w.at);
	until(&w, "down");
	CHECK_STR(str_from(w.told), "down tls_handshake;");
	CHECK_STR(str_from(w.text), "the handshake took too long");
	close(fd);
	end(&w);
}

TEST(tls_handshakes_of_one_peer_are_limited)
{
	struct streams_stats stats;
	struct world w;
	int fd[3];
	char c;

	begin_tls(&w);
	w.limits.per_source = 2;
	for (int i = 0; i < 3; i++)
		fd[i] = dial(&w.at);
	turn(&w, 0.1);
	streams_stats(w.ss, &stats);
	CHECK_INT(stats.open, 2);
	CHECK_INT(stats.refused, 1);
	CHECK_INT(recv(fd[2], &c, 1, 0), 0);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	turn(&w, 0.1);
	CHECK_INT(open_now(&w), 0);
	end(&w);
}

TEST(tls_needs_certificates)
{
	struct world w;
	struct hop hop;

	begin(&w, "127.0.0.1");
	hop = tls_hop(&w, NULL);
	streams_open(w.ss, &hop);
	until(&w, "down tls_handshake;");
	end(&w);
}
