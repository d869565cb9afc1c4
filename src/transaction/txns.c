#include <assert.h>
#include <string.h>

#include "transaction/inner.h"
#include "util/err.h"

int txns_init(struct txns *t, struct mem *m)
{
	t->mem = m;
	t->n_servers = t->n_clients = 0;
	if (map_init(&t->servers, m) < 0)
		return ERR_NOMEM;
	if (map_init(&t->clients, m) < 0) {
		map_fini(&t->servers);
		return ERR_NOMEM;
	}
	return 0;
}

static void server_free(struct server *s)
{
	struct txns *t = s->txns;

	assert(!s->owner && !timer_armed(&s->retransmit) &&
	       !timer_armed(&s->end));
	owned_free(t->mem, &s->last);
	mem_free(t->mem, s);
	t->n_servers--;
}

static void client_free(struct client *c)
{
	struct txns *t = c->txns;

	assert(!c->owner && !timer_armed(&c->retransmit) &&
	       !timer_armed(&c->end));
	owned_free(t->mem, &c->image);
	mem_free(t->mem, c);
	t->n_clients--;
}

/* At the end of the core: nobody is told. */
static void client_discard(struct client *c)
{
	struct server *up = c->up;

	c->owner = NULL;
	timer_stop(c->txns->timers, &c->retransmit);
	timer_stop(c->txns->timers, &c->end);
	flows_unlink(&c->flow);
	list_remove(&c->up_link);
	if (up && up->state == SERVER_TERMINATED && list_empty(&up->clients)) {
		up->owner = NULL;
		server_free(up);
	}
	client_free(c);
}

static void server_discard(struct server *s)
{
	s->owner = NULL;
	timer_stop(s->txns->timers, &s->retransmit);
	timer_stop(s->txns->timers, &s->end);
	flows_unlink(&s->flow);
	server_free(s);
}

void txns_fini(struct txns *t)
{
	struct map_node *node;

	map_settle(&t->clients);
	map_settle(&t->servers);
	/* Clients first: they may hold the last servers outside the map. */
	for (size_t i = 0; i < t->clients.buckets; i++) {
		while ((node = t->clients.bucket[i])) {
			map_remove(&t->clients, node);
			client_discard(container_of(node, struct client, node));
		}
	}
	for (size_t i = 0; i < t->servers.buckets; i++) {
		while ((node = t->servers.bucket[i])) {
			map_remove(&t->servers, node);
			server_discard(container_of(node, struct server, node));
		}
	}
	assert(t->n_servers == 0 && t->n_clients == 0);
	map_fini(&t->clients);
	map_fini(&t->servers);
}

uint64_t txns_send(struct txns *t, const struct hop *to, struct str bytes,
		   enum counter kind)
{
	count_message(t->counters, kind, to->transport);
	return flows_send(t->flows, to, bytes);
}

void server_settle(struct server *s)
{
	struct txns *t = s->txns;

	if (s->state != SERVER_TERMINATED || !list_empty(&s->clients))
		return;
	if (s->owner)
		t->user.on_server_end(t->user.ctx, s);
	s->owner = NULL;
	server_free(s);
}

void client_bury(struct client *c)
{
	struct txns *t = c->txns;
	struct server *up = c->up;

	assert(c->state == CLIENT_TERMINATED);
	if (c->owner)
		t->user.on_client_end(t->user.ctx, c);
	c->owner = NULL;
	list_remove(&c->up_link);
	client_free(c);
	if (up)
		server_settle(up);
}

bool scratch_begin(struct txns *t)
{
	return arena_failed(t->scratch);
}

void scratch_end(struct txns *t, bool failed_before)
{
	if (!failed_before)
		arena_clear_failed(t->scratch);
}

int owned_set(struct mem *m, struct str *own, struct str bytes)
{
	char *p = mem_alloc(m, bytes.n ? bytes.n : 1);

	if (!p)
		return ERR_NOMEM;
	if (bytes.n)
		memcpy(p, bytes.p, bytes.n);
	owned_free(m, own);
	*own = (struct str){p, bytes.n};
	return 0;
}

void owned_free(struct mem *m, struct str *own)
{
	mem_free(m, (void *)own->p);
	*own = STR_NONE;
}
