/*
 * Who may connect: so many of one source, so many in all. What is over a limit
 * is closed before it is read.
 */
#include "transport/flows_int.h"

enum {
	/* One in so many is for those that we open: a crowd that comes in must
	 * not keep us from our servers. */
	OURS = 10
};

static uint64_t hash_ip(const struct flows *fs, const struct addr *holder)
{
	struct siphash h;

	siphash_init(&h, fs->c.map_key);
	siphash_addr(&h, holder);
	return siphash_end(&h);
}

static bool has_ip(const struct map_node *node, const void *key)
{
	return addr_ip_eq(&container_of(node, struct source, node)->addr, key);
}

static struct source *source_of(struct flows *fs, const struct addr *a)
{
	struct addr holder = addr_holder(a);
	uint64_t hash = hash_ip(fs, &holder);
	struct map_node *node = map_find(&fs->sources, hash, has_ip, &holder);
	struct source *s;

	if (node)
		return container_of(node, struct source, node);
	s = mem_zalloc(fs->c.mem, sizeof(*s));
	if (!s)
		return NULL;
	s->addr = holder;
	map_add(&fs->sources, &s->node, hash);
	return s;
}

static void source_check_end(struct flows *fs, struct source *s)
{
	if (s->n)
		return;
	map_remove(&fs->sources, &s->node);
	mem_free(fs->c.mem, s);
}

void flow_leave_source(struct flow *f)
{
	struct source *s = f->source;

	if (!s)
		return;
	f->source = NULL;
	s->n--;
	source_check_end(f->fs, s);
}

static void refuse(struct flows *fs, const struct hop *peer,
		   enum counter reason, const char *why, struct now now)
{
	count(fs->c.counters, reason);
	if (reason != CNT_NOMEM)
		flow_log_refused(fs, peer, str_from(why), now);
	fs->c.host->close(fs->c.host->ctx, peer);
}

void flow_accept(struct flows *fs, const struct hop *peer, struct now now)
{
	const struct stream_limits *l = fs->c.limits;
	struct source *s;
	struct flow *f;

	if (fs->n >= l->connections - l->connections / OURS) {
		refuse(fs, peer, CNT_FLOW_REFUSED_ALL, "connections", now);
		return;
	}
	s = source_of(fs, &peer->addr);
	if (s && s->n >= l->per_source) {
		refuse(fs, peer, CNT_FLOW_REFUSED_SOURCE, "per_source", now);
		return;
	}
	f = s ? flow_new(fs, peer, true) : NULL;
	if (!f) {
		if (s)
			source_check_end(fs, s);
		refuse(fs, peer, CNT_NOMEM, NULL, now);
		return;
	}
	f->source = s;
	s->n++;
	flow_enter(f, FLOW_OPEN, l->header);
	flow_log_up(f, now);
}
