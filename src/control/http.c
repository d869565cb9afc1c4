#include "control/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/http_sock.h"

enum {
	BODY_MAX = 1 << 20,
	QUERY_MAX = 16,
	WHO = 32,
	TOKEN_MIN = 16,
	TOKEN_MAX = 256,
	CLIENT_MEMORY = 32 * 1024,
	CLIENTS_UNIX = 256,
	CLIENTS_TCP = 128,
	CLIENTS_PER_IP = 32,
	SILENCE_S = 10,
	DOORS = 2,
};

struct door {
	struct http *http;
	struct MHD_Daemon *daemon;
	bool is_unix;
	bool is_local; /* on a loopback address: see is_addressed */
	ev_io readable;
	ev_timer timer;
};

struct http {
	struct ev_loop *loop;
	struct console *console;
	struct door door[DOORS];
	unsigned n;
	ev_prepare prepare;
	char *path; /* of the UNIX socket */
	char token[TOKEN_MAX];
	size_t token_n; /* 0: there is none */
};

enum phase { READING, ASKED, SUSPENDED, ANSWERED };

/* One request and its reply. */
struct exchange {
	struct door *door;
	struct MHD_Connection *conn;
	enum phase phase;
	char *body;
	size_t n;
	unsigned status;
	struct MHD_Response *response;
	char who[WHO];
	struct console_pair query[QUERY_MAX];
	size_t n_query;
};

/* ---- replies ---- */

static void add_headers(struct MHD_Response *r, const char *type)
{
	static const char *const fixed[][2] = {
	    {"Cache-Control", "no-store"},
	    {"X-Content-Type-Options", "nosniff"},
	    {"X-Frame-Options", "DENY"},
	    {"Content-Security-Policy",
	     "default-src 'none'; style-src 'unsafe-inline'; "
	     "script-src 'unsafe-inline'; connect-src 'self'; "
	     "img-src data:; frame-ancestors 'none'; base-uri 'none'"},
	};

	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		MHD_add_response_header(r, fixed[i][0], fixed[i][1]);
}

static void set_reply(struct exchange *x, unsigned status, struct str type,
		      struct str body)
{
	char kind[128];

	snprintf(kind, sizeof(kind), "%.*s", STR_FMT(type));
	x->status = status;
	x->response = MHD_create_response_from_buffer(
	    body.n, (void *)(uintptr_t)(body.p ? body.p : ""),
	    MHD_RESPMEM_MUST_COPY);
	if (x->response)
		add_headers(x->response, kind);
	x->phase = ANSWERED;
}

static void refuse(struct exchange *x, unsigned status, struct str why)
{
	set_reply(x, status, STR("application/json"), why);
}

static enum MHD_Result send_reply(struct exchange *x)
{
	if (!x->response)
		return MHD_NO;
	return MHD_queue_response(x->conn, x->status, x->response);
}

static void on_end(void *ctx, const struct console_reply *r)
{
	struct exchange *x = ctx;
	bool waited = x->phase == SUSPENDED;

	set_reply(x, r->status, r->type, r->body);
	if (!waited)
		return;
	MHD_resume_connection(x->conn);
	/* Its own wake-up does not reach a loop that is not its own. */
	ev_feed_event(x->door->http->loop, &x->door->readable, EV_READ);
}

/* ---- requests ---- */

static struct exchange *exchange_new(struct door *d,
				     struct MHD_Connection *conn)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x) {
		x->door = d;
		x->conn = conn;
	}
	return x;
}

static bool add_body(struct exchange *x, const char *bytes, size_t n)
{
	char *p;

	if (x->phase != READING)
		return true; /* refused; the rest is of no interest */
	if (n > BODY_MAX - x->n) {
		refuse(x, MHD_HTTP_CONTENT_TOO_LARGE,
		       STR("{\"error\":\"the body is too large\"}\n"));
		return true;
	}
	p = realloc(x->body, x->n + n);
	if (!p)
		return false;
	memcpy(p + x->n, bytes, n);
	x->body = p;
	x->n += n;
	return true;
}

static enum MHD_Result add_query(void *ctx, enum MHD_ValueKind kind,
				 const char *name, const char *value)
{
	struct exchange *x = ctx;

	(void)kind;
	if (x->n_query == QUERY_MAX)
		return MHD_NO;
	x->query[x->n_query++] =
	    (struct console_pair){str_from(name), str_from(value ? value : "")};
	return MHD_YES;
}

static bool is_own_name(struct str host)
{
	struct addr a;

	return addr_parse(host, &a) ||
	       str_caseeq(str_cut(&host, ':'), STR("localhost"));
}

/* A page of anywhere, in the browser of somebody on this machine, reaches what
 * listens on loopback by a name of its own that leads there (DNS rebinding),
 * and the browser lets it read the answers. It tells us that name. */
static bool is_addressed(const struct exchange *x)
{
	const char *host = MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND,
						       MHD_HTTP_HEADER_HOST);

	return !x->door->is_local || (host && is_own_name(str_from(host)));
}

static bool has_token(const struct exchange *x)
{
	static const char scheme[] = "Bearer ";
	const struct http *h = x->door->http;
	const char *given = MHD_lookup_connection_value(
	    x->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
	size_t n = sizeof(scheme) - 1;

	return h->token_n && given && strncmp(given, scheme, n) == 0 &&
	       strlen(given + n) == h->token_n &&
	       CRYPTO_memcmp(given + n, h->token, h->token_n) == 0;
}

/* True: it may change things. */
static bool name_sender(struct exchange *x)
{
	const union MHD_ConnectionInfo *info;

	if (!x->door->is_unix) {
		bool ok = has_token(x);

		snprintf(x->who, sizeof(x->who), ok ? "token" : "http");
		return ok;
	}
	info =
	    MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (info)
		http_sock_peer(info->connect_fd, x->who, sizeof(x->who));
	return true;
}

static void ask(struct exchange *x, const char *url, const char *method)
{
	struct console_request rq = {
	    .method = str_from(method),
	    .path = str_from(url),
	    .body = {x->body, x->n},
	};

	if (!is_addressed(x)) {
		refuse(
		    x, MHD_HTTP_FORBIDDEN,
		    STR("{\"error\":\"this address answers to an IP address "
			"or to localhost, and to no other name: ask "
			"http://127.0.0.1:PORT, or send such a Host header\"}"
			"\n"));
		return;
	}
	rq.may_write = name_sender(x);
	rq.who = str_from(x->who);
	MHD_get_connection_values(x->conn, MHD_GET_ARGUMENT_KIND, add_query, x);
	rq.query = x->query;
	rq.n_query = x->n_query;
	x->phase = ASKED;
	console_request(x->door->http->console, &rq, on_end, x);
	if (x->phase == ASKED) {
		x->phase = SUSPENDED;
		MHD_suspend_connection(x->conn);
	}
}

/* Called for the headers, for each piece of the body, at its end, and once more
 * when the answer is there. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *conn,
				  const char *url, const char *method,
				  const char *version, const char *upload,
				  size_t *upload_n, void **slot)
{
	struct exchange *x = *slot;

	(void)version;
	if (!x) {
		*slot = exchange_new(ctx, conn);
		return *slot ? MHD_YES : MHD_NO;
	}
	if (*upload_n) {
		bool ok = add_body(x, upload, *upload_n);

		*upload_n = 0;
		return ok ? MHD_YES : MHD_NO;
	}
	if (x->phase == READING)
		ask(x, url, method);
	return x->phase == ANSWERED ? send_reply(x) : MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *conn, void **slot,
			 enum MHD_RequestTerminationCode code)
{
	struct door *d = ctx;
	struct exchange *x = *slot;

	(void)conn;
	(void)code;
	*slot = NULL;
	if (!x)
		return;
	console_forget(d->http->console, x);
	if (x->response)
		MHD_destroy_response(x->response);
	free(x->body);
	free(x);
}

/* ---- the loop ---- */

/* Twice: a door that was full listens again only from the next turn on, and
 * when all have left in this one, nothing comes any more that would bring it.
 */
static void turn(struct door *d)
{
	MHD_run(d->daemon);
	MHD_run(d->daemon);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
	(void)loop;
	(void)events;
	turn(io->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	turn(t->data);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *p, int events)
{
	struct http *h = p->data;

	(void)events;
	for (unsigned i = 0; i < h->n; i++) {
		struct door *d = &h->door[i];
		MHD_UNSIGNED_LONG_LONG ms;

		ev_timer_stop(loop, &d->timer);
		if (MHD_get_timeout(d->daemon, &ms) != MHD_YES)
			continue;
		ev_timer_set(&d->timer, (double)ms / 1e3, 0.);
		ev_timer_start(loop, &d->timer);
	}
}

struct http *http_new(struct ev_loop *loop, struct console *console)
{
	struct http *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->loop = loop;
	h->console = console;
	ev_prepare_init(&h->prepare, on_prepare);
	h->prepare.data = h;
	ev_prepare_start(loop, &h->prepare);
	return h;
}

/* A part of a path may have an escaped '/' in it, as Call-IDs do: the router
 * splits first, and then unescapes. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *conn, char *s)
{
	(void)ctx;
	(void)conn;
	return strlen(s);
}

/* The socket is the daemon's when this succeeds. */
static int open_door(struct http *h, int fd, bool is_unix, char *why, size_t n)
{
	struct door *d = &h->door[h->n];
	const union MHD_DaemonInfo *info;

	d->http = h;
	d->is_unix = is_unix;
	d->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request,
	    d, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED,
	    on_completed, d, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
	    MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CLIENT_MEMORY,
	    MHD_OPTION_CONNECTION_LIMIT,
	    (unsigned)(is_unix ? CLIENTS_UNIX : CLIENTS_TCP),
	    MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	    (unsigned)(is_unix ? 0 : CLIENTS_PER_IP), MHD_OPTION_END);
	if (!d->daemon) {
		snprintf(why, n, "the HTTP server cannot start: %s",
			 strerror(errno));
		close(fd);
		return errno ? errno : ENOMEM;
	}
	info = MHD_get_daemon_info(d->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	ev_io_init(&d->readable, on_readable, info->epoll_fd, EV_READ);
	ev_timer_init(&d->timer, on_timer, 0., 0.);
	d->readable.data = d->timer.data = d;
	ev_io_start(h->loop, &d->readable);
	h->n++;
	return 0;
}

int http_open_unix(struct http *h, const char *path, char *why, size_t n)
{
	int fd = http_sock_unix(path, why, n), err;

	if (fd < 0)
		return errno;
	h->path = strdup(path);
	err = open_door(h, fd, true, why, n);
	if (err)
		unlink(path);
	return err;
}

static int read_token(char token[TOKEN_MAX], size_t *n_r, const char *file,
		      char *why, size_t n)
{
	FILE *f = fopen(file, "re");
	int err = errno;

	if (!f) {
		snprintf(why, n, "cannot read the token file %s: %s", file,
			 strerror(err));
		return err;
	}
	if (!fgets(token, TOKEN_MAX, f))
		token[0] = '\0';
	fclose(f);
	*n_r = strcspn(token, "\r\n");
	token[*n_r] = '\0';
	if (*n_r >= TOKEN_MIN && *n_r < TOKEN_MAX - 1)
		return 0;
	*n_r = 0;
	snprintf(why, n,
		 "the token in %s must have %d to %d characters; make one "
		 "with: openssl rand -hex 32",
		 file, TOKEN_MIN, TOKEN_MAX - 2);
	return EINVAL;
}

int http_check_token(const char *file, char *why, size_t n)
{
	char token[TOKEN_MAX];
	size_t token_n;
	int err = read_token(token, &token_n, file, why, n);

	OPENSSL_cleanse(token, sizeof(token));
	return err;
}

int http_open_tcp(struct http *h, const struct addr *a, const char *token_file,
		  char *why, size_t n)
{
	int err = token_file
		      ? read_token(h->token, &h->token_n, token_file, why, n)
		      : 0,
	    fd;

	if (err)
		return err;
	fd = http_sock_tcp(a, why, n);
	if (fd < 0)
		return errno;
	h->door[h->n].is_local = addr_is_loopback(a);
	return open_door(h, fd, false, why, n);
}

void http_free(struct http **hp)
{
	struct http *h = *hp;

	*hp = NULL;
	if (!h)
		return;
	for (unsigned i = 0; i < h->n; i++) {
		ev_io_stop(h->loop, &h->door[i].readable);
		ev_timer_stop(h->loop, &h->door[i].timer);
		MHD_stop_daemon(h->door[i].daemon);
	}
	ev_prepare_stop(h->loop, &h->prepare);
	if (h->path)
		unlink(h->path);
	free(h->path);
	OPENSSL_cleanse(h->token, sizeof(h->token));
	free(h);
}
