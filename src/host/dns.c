#include "host/dns.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/list.h"

enum {
	TIMEOUT_MS = 500, /* of the first try; each further one takes twice as
			   * long */
	TRIES = 3,
	PACKET = 1232, /* what we say we can take by UDP: no fragments */
	PRIORITY = -1  /* messages come first */
};

/*
 * A question of the core. c-ares has it until its callback, which only notes
 * what came: c-ares may call back from inside ares_query, and must not be
 * called from inside a callback with anything that ends a question.
 */
struct request {
	struct list link; /* dns.done, when c-ares is through with it */
	struct dns *dns;
	struct channel *channel;
	struct query *q; /* NULL: taken back */
	bool by_tcp;     /* it has been asked for so, */
	bool by_others;  /* and the others for it */
	int status;
	struct str bytes;
};

/* Some servers. Those from before a reload stay until nothing is waited for any
 * more. */
struct channel {
	struct list link; /* dns.channels */
	struct dns *dns;
	ares_channel ares;
	size_t waiting;
	struct list watches;
	ev_timer timer;
};

struct watch {
	struct list link;
	struct channel *channel;
	ev_io io;
};

struct dns {
	struct dns_conf conf;
	struct list channels;
	struct channel *present; /* all servers; NULL: there is none */
	/* The same by TCP: where there is none all questions under way in a
	 * channel end, and that must not be those by UDP. */
	struct channel *tcp;
	struct channel *others; /* but the first; NULL: it is the only one */
	struct list done;
	/* Without memory for more than that, linked by query.host; the last
	 * leads to itself. */
	struct query *starved;
};

/* ---- the loop ---- */

static void arm(struct channel *c)
{
	struct ev_loop *loop = c->dns->conf.loop;
	struct timeval tv;

	ev_timer_stop(loop, &c->timer);
	if (!ares_timeout(c->ares, NULL, &tv))
		return;
	ev_now_update(loop);
	ev_timer_set(&c->timer, (double)tv.tv_sec + (double)tv.tv_usec / 1e6,
		     0.);
	ev_timer_start(loop, &c->timer);
}

static void process(struct channel *c, int read_fd, int write_fd)
{
	const struct dns_user *user = &c->dns->conf.user;

	user->begin(user->ctx);
	ares_process_fd(c->ares, read_fd, write_fd);
	arm(c);
	user->end(user->ctx); /* c may be gone */
}

static void on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	process(t->data, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
	struct watch *w = io->data;
	int fd = io->fd;

	(void)loop;
	process(w->channel, events & EV_READ ? fd : ARES_SOCKET_BAD,
		events & EV_WRITE ? fd : ARES_SOCKET_BAD);
}

static struct watch *find_watch(struct channel *c, int fd)
{
	struct watch *w;

	list_each (it, &c->watches) {
		w = container_of(it, struct watch, link);
		if (w->io.fd == fd)
			return w;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL; /* then the question is not answered */
	w->channel = c;
	ev_io_init(&w->io, on_io, fd, 0);
	ev_set_priority(&w->io, PRIORITY);
	w->io.data = w;
	list_append(&c->watches, &w->link);
	return w;
}

/* What c-ares wants to know of a socket; nothing, before it closes it. */
static void on_socket(void *ctx, int fd, int readable, int writable)
{
	struct channel *c = ctx;
	struct ev_loop *loop = c->dns->conf.loop;
	struct watch *w = find_watch(c, fd);

	if (!w)
		return;
	ev_io_stop(loop, &w->io);
	if (!readable && !writable) {
		list_remove(&w->link);
		free(w);
		return;
	}
	ev_io_set(&w->io, fd,
		  (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	ev_io_start(loop, &w->io);
}

/* ---- channels ---- */

/* "127.0.0.1:53,[::1]:53" */
static int set_servers(struct channel *c, const struct dns_limits *limits)
{
	char csv[DNS_SERVERS * (ADDR_TEXT + 1)];
	struct buf b;

	if (!limits->servers)
		return ARES_SUCCESS; /* of /etc/resolv.conf */
	buf_fixed(&b, csv, sizeof(csv));
	for (unsigned i = 0; i < limits->servers; i++) {
		if (i)
			buf_char(&b, ',');
		addr_write(&b, &limits->server[i]);
	}
	buf_char(&b, '\0');
	return ares_set_servers_ports_csv(c->ares, csv);
}

static int init_ares(struct channel *c, int flag)
{
	struct ares_options o = {
	    .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS |
		     ARES_FLAG_NOCHECKRESP | flag,
	    .timeout = TIMEOUT_MS,
	    .tries = TRIES,
	    .ednspsz = PACKET,
	    .lookups = (char[]){"b"},
	    .sock_state_cb = on_socket,
	    .sock_state_cb_data = c,
	};

	return ares_init_options(&c->ares, &o,
				 ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS |
				     ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
				     ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS |
				     ARES_OPT_SOCK_STATE_CB);
}

static struct channel *open_channel(struct dns *d, int flag, int *err)
{
	struct channel *c = calloc(1, sizeof(*c));

	*err = ARES_ENOMEM;
	if (!c)
		return NULL;
	c->dns = d;
	list_init(&c->watches);
	ev_timer_init(&c->timer, on_timer, 0., 0.);
	ev_set_priority(&c->timer, PRIORITY);
	c->timer.data = c;
	*err = init_ares(c, flag);
	if (*err != ARES_SUCCESS) {
		free(c);
		return NULL;
	}
	list_append(&d->channels, &c->link);
	return c;
}

/* From outside of any callback. */
static void close_channel(struct channel *c)
{
	list_remove(&c->link);
	ev_timer_stop(c->dns->conf.loop, &c->timer);
	ares_destroy(c->ares); /* questions end, sockets are closed */
	free(c);
}

/* The servers of `from` but the first; NULL when there is none, or no memory.
 */
static struct channel *open_others(struct dns *d, const struct channel *from)
{
	struct ares_addr_port_node *servers = NULL;
	struct channel *c = NULL;
	int err = ares_get_servers_ports(from->ares, &servers);

	if (err == ARES_SUCCESS && servers && servers->next)
		c = open_channel(d, ARES_FLAG_IGNTC, &err);
	if (c)
		err = ares_set_servers_ports(c->ares, servers->next);
	if (servers)
		ares_free_data(servers);
	if (c && err != ARES_SUCCESS) {
		close_channel(c);
		c = NULL;
	}
	return c;
}

static struct channel *open_all(struct dns *d, int flag, int *err)
{
	struct channel *c = open_channel(d, flag, err);

	if (c)
		*err = set_servers(c, d->conf.limits);
	if (c && *err != ARES_SUCCESS) {
		close_channel(c);
		c = NULL;
	}
	return c;
}

static void open_channels(struct dns *d)
{
	int err;
	struct channel *tcp = open_all(d, ARES_FLAG_USEVC, &err);
	struct channel *c = tcp ? open_all(d, ARES_FLAG_IGNTC, &err) : NULL;

	if (c) {
		d->present = c;
		d->tcp = tcp;
		d->others = open_others(d, c);
		return;
	}
	if (tcp)
		close_channel(tcp);
	logsink_say(d->conf.log, LOG_ERROR, "dns.unavailable",
		    LOGF_STR("reason", str_from(ares_strerror(err))));
}

static void close_old_channels(struct dns *d)
{
	list_each_safe (it, &d->channels) {
		struct channel *c = container_of(it, struct channel, link);

		if (c != d->present && c != d->tcp && c != d->others &&
		    !c->waiting)
			close_channel(c);
	}
}

/* ---- questions ---- */

static void free_request(struct request *r)
{
	list_remove(&r->link);
	free((char *)r->bytes.p);
	free(r);
}

static void on_answer(void *ctx, int status, int timeouts, unsigned char *bytes,
		      int n)
{
	struct request *r = ctx;
	char *copy;

	(void)timeouts;
	r->channel->waiting--;
	list_append(&r->dns->done, &r->link);
	r->status = status;
	if (!bytes || n <= 0)
		return;
	copy = malloc((size_t)n);
	if (!copy) {
		r->status = ARES_ENOMEM;
		return;
	}
	free((char *)r->bytes.p);
	r->bytes = (struct str){memcpy(copy, bytes, (size_t)n), (size_t)n};
}

static void ask(struct request *r, struct channel *c)
{
	r->channel = c;
	if (!c) {
		r->status = ARES_ENOTINITIALIZED;
		list_append(&r->dns->done, &r->link);
		return;
	}
	c->waiting++;
	ares_query(c->ares, r->q->name, ns_c_in, r->q->type, on_answer, r);
	arm(c);
}

void dns_query(struct dns *d, struct query *q)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r) {
		q->host = d->starved ? d->starved : q;
		d->starved = q;
		return;
	}
	q->host = r;
	r->dns = d;
	r->q = q;
	ask(r, d->present);
}

/* The next one; NULL at the end. */
static struct query *next_starved(const struct query *q)
{
	return q->host == q ? NULL : q->host;
}

static bool unstarve(struct dns *d, struct query *q)
{
	struct query *before = NULL, *it = d->starved;

	while (it && it != q) {
		before = it;
		it = next_starved(it);
	}
	if (!it)
		return false;
	if (before)
		before->host = q->host == q ? before : q->host;
	else
		d->starved = next_starved(q);
	return true;
}

void dns_unquery(struct dns *d, struct query *q)
{
	struct request *r = q->host;

	if (unstarve(d, q))
		return;
	r->q = NULL;
	if (list_linked(&r->link))
		free_request(r);
}

bool dns_have_news(const struct dns *d)
{
	return !list_empty(&d->done) || d->starved;
}

static struct answer answer_of(const struct request *r)
{
	if (r->bytes.n) /* if only the one of before */
		return (struct answer){ANSWER_REPLY, r->bytes};
	if (r->status == ARES_ETIMEOUT)
		return (struct answer){.status = ANSWER_TIMEOUT};
	if (r->status == ARES_ENOTFOUND) /* c-ares says so, without asking */
		return (struct answer){.status = ANSWER_NO_NAME};
	return (struct answer){.status = ANSWER_FAILED};
}

static bool is_cut_off(const struct request *r)
{
	return r->bytes.n > 3 && (r->bytes.p[2] & 2);
}

/* SERVFAIL, NOTIMP, REFUSED: another server may know more. */
static bool is_refusal(const struct request *r)
{
	unsigned rcode = r->bytes.n > 3 ? r->bytes.p[3] & 0xf : 0;

	return rcode == 2 || rcode == 4 || rcode == 5;
}

/* Who is to be asked now; NULL: nobody else. */
static struct channel *second_chance(struct request *r)
{
	if (!r->q)
		return NULL;
	if (is_cut_off(r) && !r->by_tcp) {
		r->by_tcp = true;
		return r->dns->tcp;
	}
	if (is_refusal(r) && !r->by_others) {
		r->by_others = true;
		return r->dns->others;
	}
	return NULL;
}

static void tell(struct dns *d, struct request *r)
{
	const struct dns_user *user = &d->conf.user;
	struct channel *again = second_chance(r);
	struct answer a;

	if (again) {
		list_remove(&r->link);
		ask(r, again);
		return;
	}
	a = answer_of(r);
	if (r->q)
		user->answer(user->ctx, r->q, &a);
	free_request(r);
}

static void tell_starved(struct dns *d)
{
	const struct dns_user *user = &d->conf.user;
	struct answer failed = {.status = ANSWER_FAILED};
	struct query *q = d->starved;

	if (!q)
		return;
	d->starved = next_starved(q);
	user->answer(user->ctx, q, &failed);
}

void dns_tell(struct dns *d)
{
	struct list *it;
	size_t n = 0;

	list_each (r, &d->done)
		n++;
	while (n-- && (it = list_first(&d->done)))
		tell(d, container_of(it, struct request, link));
	tell_starved(d);
	close_old_channels(d);
}

/* ---- life ---- */

struct dns *dns_new(const struct dns_conf *conf)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(d);
		return NULL;
	}
	d->conf = *conf;
	list_init(&d->channels);
	list_init(&d->done);
	open_channels(d);
	return d;
}

void dns_reload(struct dns *d)
{
	open_channels(d); /* where it cannot, the one before goes on */
	close_old_channels(d);
}

void dns_free(struct dns **dp)
{
	struct dns *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	list_each_safe (it, &d->channels)
		close_channel(container_of(it, struct channel, link));
	list_each_safe (req, &d->done)
		free_request(container_of(req, struct request, link));
	free(d);
	ares_library_cleanup();
}
