#include "transport/flows_int.h"

#include <assert.h>
#include <string.h>

/* ---- finding ---- */

static uint64_t hash_conn(const struct flows *fs, uint64_t conn)
{
	struct siphash h;

	siphash_init(&h, fs->c.map_key);
	siphash_u64(&h, conn);
	return siphash_end(&h);
}

uint64_t flow_hash_peer(const struct flows *fs, const struct hop *hop)
{
	struct siphash h;

	siphash_init(&h, fs->c.map_key);
	siphash_u64(&h, hop->transport);
	siphash_addr(&h, &hop->addr);
	return siphash_end(&h);
}

static bool has_conn(const struct map_node *node, const void *key)
{
	const struct flow *f = container_of(node, struct flow, by_conn);

	return f->hop.conn == *(const uint64_t *)key;
}

struct flow *flow_find(const struct flows *fs, uint64_t conn)
{
	struct map_node *node =
	    map_find(&fs->by_conn, hash_conn(fs, conn), has_conn, &conn);

	return node ? container_of(node, struct flow, by_conn) : NULL;
}

static bool leads_to(const struct map_node *node, const void *key)
{
	const struct flow *f = container_of(node, struct flow, by_peer);

	return hop_may_take(&f->hop, f->accepted, key);
}

struct flow *flow_towards(const struct flows *fs, const struct hop *to)
{
	struct map_node *node =
	    map_find(&fs->by_peer, flow_hash_peer(fs, to), leads_to, to);

	return node ? container_of(node, struct flow, by_peer) : NULL;
}

bool flows_may_have(const struct flows *fs, uint64_t conn)
{
	unsigned worker = conn_worker(conn);

	if (worker != fs->c.worker)
		return worker < fs->c.workers;
	return flow_find(fs, conn) != NULL;
}

/* ---- a life ---- */

/* Not up in time, no first message in time, or not the rest of one. */
static void on_limit(struct timer *t, struct now now)
{
	struct flow *f = container_of(t, struct flow, limit);

	if (f->state == FLOW_OPENING)
		flow_end(f, WHY_CONNECT_TIMEOUT, CAUSE_CONNECT_TIMEOUT,
			 STR_NONE, now);
	else
		flow_end(f, WHY_HEADER_TIMEOUT, CAUSE_CLOSED, STR_NONE, now);
}

static void on_idle(struct timer *t, struct now now)
{
	struct flow *f = container_of(t, struct flow, idle);
	int64_t idle = f->fs->c.limits->idle;
	tick_t end = tick_add(f->active, idle);

	if (f->state == FLOW_REMOTE) {
		flow_hold(f);
		timer_arm(f->fs->c.timers, t, tick_add(now.mono, idle / 2));
		return;
	}
	if (!list_empty(&f->waiting))
		end = tick_add(now.mono, idle);
	if (tick_before(now.mono, end))
		timer_arm(f->fs->c.timers, t, end);
	else
		flow_end(f, WHY_IDLE, CAUSE_CLOSED, STR_NONE, now);
}

/* The timer looks when it fires: a message costs no arming. */
void flow_touch(struct flow *f)
{
	f->active = f->fs->c.now->mono;
}

struct flow *flow_new(struct flows *fs, const struct hop *hop, bool accepted)
{
	size_t name = hop->tls_name ? strlen(hop->tls_name) + 1 : 0;
	struct flow *f = mem_zalloc(fs->c.mem, sizeof(*f) + name);

	if (!f)
		return NULL;
	f->fs = fs;
	f->hop = *hop;
	f->hop.worker = (uint8_t)conn_worker(hop->conn);
	if (name)
		f->hop.tls_name = memcpy(f + 1, hop->tls_name, name);
	f->accepted = accepted;
	f->since = f->active = fs->c.now->mono;
	list_init(&f->waiting);
	timer_init(&f->limit, on_limit);
	timer_init(&f->idle, on_idle);
	frame_init(&f->frame, fs->c.mem);
	map_add(&fs->by_conn, &f->by_conn, hash_conn(fs, hop->conn));
	return f;
}

void flow_enter(struct flow *f, enum flow_state state, int64_t limit)
{
	struct flows *fs = f->fs;

	f->state = state;
	list_append(&fs->all, &f->link);
	fs->n++;
	map_add(&fs->by_peer, &f->by_peer, flow_hash_peer(fs, &f->hop));
	if (f->accepted)
		f->entry = directory_enter(fs->c.directory, &f->hop);
	timer_arm(fs->c.timers, &f->limit, tick_add(f->since, limit));
	timer_arm(fs->c.timers, &f->idle,
		  tick_add(f->since, fs->c.limits->idle));
}

static void leave(struct flow *f)
{
	struct flows *fs = f->fs;

	map_remove(&fs->by_conn, &f->by_conn);
	timer_stop(fs->c.timers, &f->idle);
	if (f->state == FLOW_REMOTE)
		return;
	list_remove(&f->link);
	fs->n--;
	map_remove(&fs->by_peer, &f->by_peer);
	directory_leave(fs->c.directory, f->entry);
	timer_stop(fs->c.timers, &f->limit);
	admission_leave(fs->c.admission, f->source);
	flow_drop_backlog(f);
	frame_fini(&f->frame);
}

/* Those of our workers that have sent on it. */
static void tell_workers(struct flow *f, enum cause cause)
{
	const struct flows_conf *c = &f->fs->c;
	struct post post = {
	    .kind = POST_DOWN, .from = f->hop, .cause = (int)cause};

	post.from.tls_name = NULL;
	for (unsigned i = 0; i < c->workers; i++)
		if (f->users >> i & 1)
			c->host->post(c->host->ctx, i, &post);
}

static void tell_waiting(struct flow *f, enum cause cause, struct now now)
{
	bool sent = f->state != FLOW_OPENING;
	struct list *first;

	f->state = FLOW_GONE;
	while ((first = list_first(&f->waiting))) {
		struct flow_link *l =
		    container_of(first, struct flow_link, link);

		flows_answered(l);
		list_remove(&l->link);
		l->flow = NULL;
		if (l->on_down)
			l->on_down(l, cause, sent, now);
	}
}

void flow_end(struct flow *f, enum flow_why why, enum cause cause,
	      struct str text, struct now now)
{
	const struct flows_conf *c = &f->fs->c;

	leave(f);
	if (f->state != FLOW_REMOTE) {
		flow_log_down(f, why, cause, text, now);
		if (why != WHY_NETWORK)
			c->host->close(c->host->ctx, &f->hop);
		tell_workers(f, cause);
	}
	tell_waiting(f, cause, now);
	mem_free(c->mem, f);
}

/* ---- what the host and other workers say ---- */

static void on_up(struct flows *fs, const struct flow_event *e, struct now now)
{
	struct flow *f = flow_find(fs, e->peer.conn);

	if (e->accepted && !f) {
		flow_accept(fs, &e->peer, now);
	} else if (f && f->state == FLOW_OPENING) {
		f->state = FLOW_OPEN;
		timer_stop(fs->c.timers, &f->limit);
		flow_touch(f);
		flow_log_up(f, now);
	}
}

void flows_on_event(struct flows *fs, const struct flow_event *e,
		    struct now now)
{
	struct flow *f;

	if (e->kind == FLOW_UP) {
		on_up(fs, e, now);
		return;
	}
	if (e->kind != FLOW_DOWN)
		return;
	f = flow_find(fs, e->peer.conn);
	if (!f && e->accepted)
		flow_log_no_handshake(fs, e, now);
	else if (f && flow_read_rest(f, now))
		flow_end(f, WHY_NETWORK, e->cause, e->text, now);
}

void flows_on_post_down(struct flows *fs, const struct post *post,
			struct now now)
{
	struct flow *f = flow_find(fs, post->from.conn);

	if (f && f->state == FLOW_REMOTE)
		flow_end(f, WHY_NETWORK, (enum cause)post->cause, STR_NONE,
			 now);
}

/* ---- who waits ---- */

/* A place for those who wait for something of another worker's. That one is
 * told while they do: it sees none of them. */
static struct flow *find_remote(struct flows *fs, uint64_t conn)
{
	struct hop hop = {.conn = conn};
	struct flow *f = flow_find(fs, conn);

	if (f || conn_worker(conn) == fs->c.worker)
		return f;
	f = flow_new(fs, &hop, false);
	if (!f)
		return NULL;
	f->state = FLOW_REMOTE;
	timer_arm(fs->c.timers, &f->idle,
		  tick_add(f->since, fs->c.limits->idle / 2));
	return f;
}

void flows_link(struct flows *fs, struct flow_link *l, uint64_t conn)
{
	struct flow *f = conn ? find_remote(fs, conn) : NULL;

	if (f && f == l->flow)
		return;
	flows_unlink(l);
	if (!f)
		return;
	l->flow = f;
	list_append(&f->waiting, &l->link);
}

void flows_unlink(struct flow_link *l)
{
	struct flow *f = l->flow;

	if (!f)
		return;
	flows_answered(l);
	l->flow = NULL;
	list_remove(&l->link);
	if (f->state == FLOW_REMOTE && list_empty(&f->waiting)) {
		leave(f);
		mem_free(f->fs->c.mem, f);
	}
}

void flows_expect(struct flow_link *l)
{
	if (!l->flow || l->unanswered)
		return;
	l->unanswered = true;
	l->flow->unanswered++;
}

void flows_answered(struct flow_link *l)
{
	if (!l->unanswered)
		return;
	l->unanswered = false;
	l->flow->unanswered--;
}

bool flows_was_quiet(const struct flow_link *l)
{
	return l->flow && l->flow->state == FLOW_OPEN &&
	       l->flow->unanswered == (l->unanswered ? 1 : 0);
}

/* ---- all of them ---- */

static int init_maps(struct flows *fs)
{
	int err = map_init(&fs->by_conn, fs->c.mem);

	if (err)
		return err;
	err = map_init(&fs->by_peer, fs->c.mem);
	if (err)
		map_fini(&fs->by_conn);
	return err;
}

struct flows *flows_new(const struct flows_conf *conf)
{
	struct flows *fs = mem_zalloc(conf->mem, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->c = *conf;
	if (init_maps(fs) != 0) {
		mem_free(conf->mem, fs);
		return NULL;
	}
	list_init(&fs->all);
	list_init(&fs->late);
	list_init(&fs->unsent);
	timer_init(&fs->more, flow_on_more);
	timer_init(&fs->give_back, flow_on_give_back);
	return fs;
}

void flows_free(struct flows **fsp)
{
	struct flows *fs = *fsp;

	if (!fs)
		return;
	list_each_safe (it, &fs->all) {
		struct flow *f = container_of(it, struct flow, link);

		assert(list_empty(&f->waiting));
		leave(f);
		mem_free(fs->c.mem, f);
	}
	list_each_safe (it, &fs->unsent)
		mem_free(fs->c.mem, container_of(it, struct unsent, link));
	timer_stop(fs->c.timers, &fs->more);
	timer_stop(fs->c.timers, &fs->give_back);
	map_fini(&fs->by_conn);
	map_fini(&fs->by_peer);
	mem_free(fs->c.mem, fs);
	*fsp = NULL;
}

void flows_close_all(struct flows *fs, struct now now)
{
	struct list *first;

	while ((first = list_first(&fs->all)))
		flow_end(container_of(first, struct flow, link), WHY_STOPPED,
			 CAUSE_CLOSED, STR_NONE, now);
}

size_t flows_count(const struct flows *fs)
{
	return fs->n;
}

size_t flows_spare_bytes(const struct flows *fs)
{
	return map_bytes(&fs->by_conn) + map_bytes(&fs->by_peer);
}
