/*
 * A worker that runs, with its thread, its loop and its socket: what the thread
 * that asks it to rest may rely on. What it does for calls is in spec/e2e.
 */
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/worker_int.h"
#include "support/unit.h"

static const char route[] =
    "local core = require 'tandem.core'\n"
    "core.finish(function() return { dump = '{}', listen = { {"
    " transport = 'udp', host = '127.0.0.1', port = 5060 } },"
    " settings = {} } end)\n"
    "core.handler('initial', nil, function(req) req:_reply(404) end)\n";

struct world {
	struct logsink *log;
	struct outages outages;
	struct node *node;
	struct worker *worker;
	ev_async early; /* handled before what the control thread asks */
	sem_t in_early;
	int fd;         /* of a server */
	struct hop hop; /* the way there */
};

static bool load_file(void *ctx, const char *name, bool is_module,
		      char **bytes_r, size_t *n_r, char *shown, size_t shown_n)
{
	(void)ctx;
	if (is_module)
		return false;
	*bytes_r = strdup(route);
	*n_r = sizeof(route) - 1;
	snprintf(shown, shown_n, "%s", name);
	return true;
}

static void on_log(void *ctx, const struct log_event *e)
{
	(void)ctx;
	(void)e;
}

static struct script *load(void)
{
	struct script_conf conf = {
	    .loader = {NULL, load_file},
	    .path = "route.lua",
	    .log = on_log,
	    .seed = "0123456789abcde",
	};
	char why[256] = "";
	struct script *s = script_load(&conf, why, sizeof(why));

	if (!s)
		printf("%s\n", why);
	CHECK(s != NULL);
	return s;
}

static void open_server(struct world *w)
{
	struct sockaddr_storage ss = {0};
	socklen_t n = sizeof(ss);
	struct addr a;

	CHECK(addr_parse(STR("127.0.0.1"), &a));
	w->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	n = addr_to_sockaddr(&a, (struct sockaddr *)&ss);
	CHECK(bind(w->fd, (struct sockaddr *)&ss, n) == 0);
	CHECK(getsockname(w->fd, (struct sockaddr *)&ss, &n) == 0);
	w->hop = (struct hop){.transport = TRANSPORT_UDP};
	addr_from_sockaddr(&w->hop.addr, (struct sockaddr *)&ss);
	w->hop.local = w->node->listeners.l[0].addr;
}

/* In the worker: it has something to send, and in the same turn of its loop it
 * is asked to rest. */
static void on_early(struct ev_loop *loop, ev_async *a, int events)
{
	struct world *w = a->data;

	(void)events;
	worker_begin(w->worker);
	w->worker->host.send(w->worker, &w->hop, STR("OPTIONS"));
	sem_post(&w->in_early);
	while (!atomic_load(&w->worker->rest))
		sched_yield();
	ev_feed_event(loop, &w->worker->async, EV_ASYNC);
}

static void open_world(struct world *w)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	struct worker_conf conf = {.peers = &w->worker, .script = load()};
	char why[256];

	memset(w, 0, sizeof(*w));
	sem_init(&w->in_early, 0, 0);
	conf.log = w->log = logsink_new(STDOUT_FILENO, false, LOG_ERROR);
	outages_init(&w->outages);
	conf.outages = &w->outages;
	conf.node = w->node = node_new(1, &keys);
	CHECK(w->log && w->node);
	CHECK_INT(script_apply(conf.script, w->node), 0);
	w->node->listeners.l[0].addr.port = 0; /* any */
	w->worker = worker_new(&conf);
	CHECK(w->worker != NULL);
	CHECK_INT(worker_listen(w->worker, why, sizeof(why)), 0);
	open_server(w);
	ev_async_init(&w->early, on_early);
	w->early.data = w;
	ev_async_start(w->worker->loop, &w->early);
	CHECK_INT(worker_start(w->worker), 0);
	worker_go(w->worker);
}

static void close_world(struct world *w)
{
	worker_stop(w->worker);
	CHECK(worker_stopped(w->worker));
	worker_leave(w->worker);
	CHECK(worker_join(w->worker));
	worker_free(&w->worker);
	outages_fini(&w->outages);
	node_free(&w->node);
	logsink_free(&w->log);
	close(w->fd);
	sem_destroy(&w->in_early);
}

TEST(worker_that_rests_has_sent_what_was_to_be_sent)
{
	static struct world w;
	char got[64] = "";

	open_world(&w);
	ev_async_send(w.worker->loop, &w.early);
	sem_wait(&w.in_early);
	CHECK(worker_rest(w.worker));
	/* What is sent to this machine is there at once. */
	CHECK_INT(recv(w.fd, got, sizeof(got), MSG_DONTWAIT), 7);
	CHECK(strcmp(got, "OPTIONS") == 0);
	worker_resume(w.worker);
	close_world(&w);
}

TEST(worker_that_has_rested_goes_on)
{
	static struct world w;
	struct timeval patience = {.tv_sec = 20};
	static const char request[] =
	    "OPTIONS sip:bob@127.0.0.1 SIP/2.0\r\n"
	    "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1;rport\r\n"
	    "From: <sip:a@example.com>;tag=1\r\n"
	    "To: <sip:b@example.com>\r\n"
	    "Call-ID: 1\r\n"
	    "CSeq: 1 OPTIONS\r\n"
	    "Max-Forwards: 70\r\n"
	    "Content-Length: 0\r\n\r\n";
	struct sockaddr_storage ss = {0};
	char got[1024] = "";
	socklen_t n;

	open_world(&w);
	n = addr_to_sockaddr(&w.hop.local, (struct sockaddr *)&ss);
	setsockopt(w.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	CHECK(worker_rest(w.worker));
	CHECK(sendto(w.fd, request, sizeof(request) - 1, 0,
		     (struct sockaddr *)&ss, n) > 0);
	worker_resume(w.worker);
	CHECK(recv(w.fd, got, sizeof(got) - 1, 0) > 0);
	CHECK(strncmp(got, "SIP/2.0 404 ", 12) == 0);
	close_world(&w);
}
