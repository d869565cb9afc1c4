/*
 * Calls the script answers itself: a 2xx of our own is repeated until its ACK
 * comes (RFC 3261 13.3.1.4). The transaction does not do that (RFC 6026 7.1: a
 * 2xx is its sender's to repeat), and the response context is gone by then.
 */
#include <string.h>
#include "proxy/context.h"

struct answered {
	struct map_node node; /* proxy.answers, by tag */
	struct proxy *proxy;
	struct hop to;
	char tag[TAG_LEN]; /* our To tag: a MAC of the INVITE, so one of a kind
			    */
	struct timer repeat;
	int64_t interval;
	tick_t give_up;
	size_t n;
	char bytes[]; /* the response */
};

static uint64_t tag_hash(const struct proxy *p, const char *tag)
{
	return siphash24(p->c.table_key, tag, TAG_LEN);
}

static void forget(struct answered *a)
{
	timer_stop(a->proxy->c.timers, &a->repeat);
	map_remove(&a->proxy->answers, &a->node);
	mem_free(a->proxy->c.mem, a);
}

static void on_repeat(struct timer *t, struct now now)
{
	struct answered *a = container_of(t, struct answered, repeat);
	const struct proxy_conf *c = &a->proxy->c;

	if (!tick_before(now.mono, a->give_up)) {
		/* 13.3.1.4 would have us send BYE; a script that answers calls
		 * has no dialog to send it in, so the caller's silence ends it.
		 */
		count(c->counters, CNT_NO_ACK);
		forget(a);
		return;
	}
	count(c->counters, CNT_RETRANS_OUT);
	count_message(c->counters, CNT_SENT_RESPONSE, a->to.transport);
	c->host->send(c->host->ctx, &a->to, (struct str){a->bytes, a->n});
	a->interval *= 2;
	if (a->interval > c->settings->times.t2)
		a->interval = c->settings->times.t2;
	timer_arm(c->timers, &a->repeat, tick_add(now.mono, a->interval));
}

void answered_keep(struct request *r, struct str bytes, const char tag[TAG_LEN],
		   struct now now)
{
	struct proxy *p = r->proxy;
	struct answered *a = mem_zalloc(p->c.mem, sizeof(*a) + bytes.n);

	if (!a) {
		count(p->c.counters, CNT_NOMEM);
		return; /* sent once; that may have to do */
	}
	a->proxy = p;
	a->to = r->from;
	a->to.tls_name = NULL; /* borrowed; it goes back on its connection */
	memcpy(a->tag, tag, TAG_LEN);
	a->n = bytes.n;
	memcpy(a->bytes, bytes.p, bytes.n);
	a->interval = p->c.settings->times.t1;
	a->give_up = tick_add(now.mono, 64 * p->c.settings->times.t1);
	timer_init(&a->repeat, on_repeat);
	timer_arm(p->c.timers, &a->repeat, tick_add(now.mono, a->interval));
	map_add(&p->answers, &a->node, tag_hash(p, tag));
}

static bool is_match(const struct map_node *node, const void *key)
{
	return memcmp(container_of(node, struct answered, node)->tag, key,
		      TAG_LEN) == 0;
}

bool answered_on_ack(struct proxy *p, const struct msg_key *key)
{
	struct map_node *node;

	if (p->answers.n == 0 || key->to_tag.n != TAG_LEN)
		return false;
	node = map_find(&p->answers, tag_hash(p, key->to_tag.p), is_match,
			key->to_tag.p);
	if (node)
		forget(container_of(node, struct answered, node));
	return node != NULL;
}

void answered_fini(struct proxy *p)
{
	map_settle(&p->answers);
	for (size_t i = 0; i < p->answers.buckets; i++)
		while (p->answers.bucket[i])
			forget(container_of(p->answers.bucket[i],
					    struct answered, node));
	map_fini(&p->answers);
}
