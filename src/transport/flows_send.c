/*
 * The way out: which connection a message takes, and what becomes of one that
 * finds none.
 */
#include <string.h>
#include "transport/flows_int.h"

/* ---- what could not be sent ---- */

/* Its sender is told in the next run: never from inside his call. */
static void give_back(struct flows *fs, const struct hop *to, struct str bytes,
		      enum cause cause)
{
	struct unsent *u = mem_alloc(fs->c.mem, sizeof(*u) + bytes.n);

	if (!u) {
		count(fs->c.counters, CNT_NOMEM);
		return;
	}
	u->link = (struct list){NULL, NULL};
	u->to = *to;
	u->to.tls_name = NULL; /* borrowed */
	u->cause = cause;
	u->n = bytes.n;
	memcpy(u->bytes, bytes.p, bytes.n);
	list_append(&fs->unsent, &u->link);
	timer_arm(fs->c.timers, &fs->give_back, fs->c.now->mono);
}

static void tell_unsent(struct flows *fs, const struct hop *to,
			struct str bytes, enum cause cause, struct now now)
{
	struct flow_event e = {
	    .kind = FLOW_ERROR, .cause = cause, .peer = *to, .quoted = bytes};

	fs->c.user.on_unsent(fs->c.user.ctx, &e, now);
}

void flow_on_give_back(struct timer *t, struct now now)
{
	struct flows *fs = container_of(t, struct flows, give_back);
	struct list *first;

	while ((first = list_first(&fs->unsent))) {
		struct unsent *u = container_of(first, struct unsent, link);

		list_remove(&u->link);
		tell_unsent(fs, &u->to, (struct str){u->bytes, u->n}, u->cause,
			    now);
		mem_free(fs->c.mem, u);
	}
}

/* ---- ways ---- */

static void write_to(struct flow *f, struct str bytes)
{
	const struct host *h = f->fs->c.host;

	flow_touch(f);
	h->send(h->ctx, &f->hop, bytes);
}

static struct flow *open_flow(struct flows *fs, const struct hop *to,
			      enum cause *cause_r)
{
	const struct host *h = fs->c.host;
	struct hop hop = *to;
	struct flow *f;

	*cause_r = CAUSE_NO_SOURCE;
	if (!admission_open(fs->c.admission, fs->c.limits)) {
		count(fs->c.counters, CNT_FLOW_REFUSED_ALL);
		return NULL;
	}
	hop.conn = conn_make(fs->c.worker, false, rand_u64(fs->c.rand));
	f = flow_new(fs, &hop, false);
	if (!f) {
		admission_leave(fs->c.admission, NULL);
		count(fs->c.counters, CNT_NOMEM);
		return NULL;
	}
	flow_enter(f, FLOW_OPENING, fs->c.limits->connect);
	h->open(h->ctx, &f->hop);
	return f;
}

static void post_send(struct flows *fs, const struct hop *to, struct str bytes)
{
	const struct host *h = fs->c.host;
	struct post post = {.kind = POST_SEND, .from = *to, .bytes = bytes};

	post.from.tls_name = NULL;
	post.from.worker = (uint8_t)fs->c.worker; /* the sender */
	h->post(h->ctx, conn_worker(to->conn), &post);
}

void flow_hold(const struct flow *f)
{
	post_send(f->fs, &f->hop, STR_NONE);
}

/* Over what was opened to another worker; 0: there is none. */
static uint64_t send_by_other(struct flows *fs, const struct hop *to,
			      struct str bytes)
{
	struct hop other = *to;

	other.conn = directory_find(fs->c.directory, to);
	if (other.conn)
		post_send(fs, &other, bytes);
	return other.conn;
}

uint64_t flows_send(struct flows *fs, const struct hop *to, struct str bytes)
{
	const struct host *h = fs->c.host;
	enum cause cause = CAUSE_CLOSED;
	struct flow *f;

	if (!transport_reliable((enum transport)to->transport)) {
		h->send(h->ctx, to, bytes);
		return 0;
	}
	if (to->conn && conn_worker(to->conn) != fs->c.worker &&
	    flows_may_have(fs, to->conn)) {
		post_send(fs, to, bytes);
		return to->conn;
	}
	f = to->conn ? flow_find(fs, to->conn) : flow_towards(fs, to);
	if (!f && !to->conn) {
		uint64_t conn = send_by_other(fs, to, bytes);

		if (conn)
			return conn;
		f = open_flow(fs, to, &cause);
	}
	if (!f) {
		give_back(fs, to, bytes, cause);
		return to->conn;
	}
	write_to(f, bytes);
	return f->hop.conn;
}

void flows_on_post_send(struct flows *fs, const struct post *post)
{
	struct flow *f = flow_find(fs, post->from.conn);
	const struct host *h = fs->c.host;
	struct hop to = post->from;
	struct post down = {
	    .kind = POST_DOWN, .from = to, .cause = CAUSE_CLOSED};

	if (f) {
		f->users |= UINT64_C(1) << (post->from.worker & 63);
		if (post->bytes.n)
			write_to(f, post->bytes);
		flow_touch(f);
		return;
	}
	if (!post->bytes.n) {
		h->post(h->ctx, post->from.worker, &down);
		return;
	}
	to.worker = (uint8_t)conn_worker(to.conn);
	tell_unsent(fs, &to, post->bytes, CAUSE_CLOSED, *fs->c.now);
}

bool flows_withdraw(const struct flow_link *l, struct str bytes)
{
	const struct flow *f = l->flow;
	const struct host *h;

	if (!f || f->state != FLOW_OPENING)
		return false;
	h = f->fs->c.host;
	return h->withdraw(h->ctx, &f->hop, bytes);
}
