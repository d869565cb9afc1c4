#include "core/core_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/calls_image.h"

static void on_message(void *ctx, const struct hop *from, struct str bytes,
		       struct now now);
static void on_garbage(void *ctx, const struct hop *from, struct str bytes,
		       int code, struct str reason, struct now now);
static void on_unsent(void *ctx, const struct flow_event *e, struct now now);

static bool same_servers(const struct dns_limits *a, const struct dns_limits *b)
{
	bool same = a->servers == b->servers;

	for (unsigned i = 0; same && i < a->servers; i++)
		same = addr_eq(&a->server[i], &b->server[i]);
	return same;
}

void core_on_settings(struct core *c)
{
	c->txns.times = c->node->settings.times;
	if (c->proxy)
		proxy_calls(c->proxy)->c.t1 = c->txns.times.t1;
	if (c->resolver && !same_servers(&c->dns, &c->node->settings.dns))
		resolver_expire(c->resolver, c->now);
	c->dns = c->node->settings.dns;
	capture_on_settings(c->node);
}

static const struct listeners *listeners_of(const struct core *c)
{
	return c->host->listeners ? c->host->listeners : &c->node->listeners;
}

static struct flows *make_flows(struct core *c)
{
	struct flows_conf conf = {
	    .mem = &c->mem,
	    .timers = c->timers,
	    .host = &c->net,
	    .listeners = listeners_of(c),
	    .directory = c->node->directory,
	    .admission = c->node->admission,
	    .limits = &c->node->settings.streams,
	    .counters = &c->counters,
	    .rand = &c->rand,
	    .map_key = c->txns.map_key,
	    .now = &c->now,
	    .worker = c->worker,
	    .workers = c->node->workers,
	    .user = {c, on_message, on_garbage, on_unsent},
	};

	return flows_new(&conf);
}

static void init_txns(struct core *c)
{
	uint8_t key[16];
	uint64_t k0 = rand_u64(&c->rand), k1 = rand_u64(&c->rand);

	memcpy(key, &k0, 8);
	memcpy(key + 8, &k1, 8);
	c->txns.map_key = sipkey_load(key);
	c->flows = make_flows(c);
	if (!c->flows)
		return;
	c->has_txns = txns_init(&c->txns, &c->mem) == 0;
	c->txns.scratch = c->scratch;
	c->txns.timers = c->timers;
	c->txns.flows = c->flows;
	c->txns.counters = &c->counters;
	core_on_settings(c);
	c->txns.keys = &c->node->keys;
}

static struct resolver *make_resolver(struct core *c)
{
	struct resolver_conf conf = {.mem = &c->mem,
				     .timers = c->timers,
				     .host = &c->wire,
				     .limits = &c->node->settings.dns,
				     .counters = &c->counters,
				     .rand = &c->rand};

	return resolver_new(&conf);
}

static struct proxy *make_proxy(struct core *c)
{
	struct proxy_conf conf = {
	    .mem = &c->mem,
	    .arenas = c->arenas,
	    .scratch = c->scratch,
	    .timers = c->timers,
	    .txns = &c->txns,
	    .host = &c->wire,
	    .resolver = c->resolver,
	    .listeners = listeners_of(c),
	    .settings = &c->node->settings,
	    .members = &c->node->members,
	    .counters = &c->counters,
	    .keys = &c->node->keys,
	    .table_key = c->node->table_key,
	    .rand = &c->rand,
	    .worker = c->worker,
	    .workers = c->node->workers,
	    .memory = &c->node->memory,
	    .draining = &c->node->draining,
	    .on_end = capture_decision,
	    .on_end_ctx = c,
	    .watched = &c->node->capture.on,
	};

	return proxy_new(&conf);
}

_Static_assert((int)COUNTER_METHODS == (int)METHOD_COUNT,
	       "requests are counted by method");

struct core *core_new(struct node *node, unsigned worker,
		      const struct host *host, const uint8_t seed[16],
		      struct now now)
{
	struct core *c = calloc(1, sizeof(*c));

	assert(worker < node->workers && !node->core[worker]);
	if (!c)
		return NULL;
	mem_init(&c->mem);
	rand_seed_bytes(&c->rand, seed);
	c->node = node;
	c->worker = worker;
	c->host = host;
	wire_init(c);
	list_init(&c->users);
	c->now = now;
	c->arenas = arena_cache_new(&c->mem);
	c->scratch = c->arenas ? arena_new(c->arenas) : NULL;
	c->timers = timers_new(&c->mem, now.mono);
	if (c->scratch && c->timers)
		c->resolver = make_resolver(c);
	if (c->resolver) {
		init_txns(c);
		if (c->has_txns)
			c->proxy = make_proxy(c);
	}
	node->core[worker] = c;
	if (!c->proxy)
		core_free(&c);
	return c;
}

void core_free(struct core **cp)
{
	struct core *c = *cp;

	if (!c)
		return;
	assert(!c->busy);
	c->node->core[c->worker] = NULL;
	proxy_free(&c->proxy);
	if (c->has_txns)
		txns_fini(&c->txns);
	flows_free(&c->flows);
	resolver_free(&c->resolver);
	timers_free(&c->timers);
	arena_free(&c->scratch);
	if (c->arenas)
		arena_cache_free(&c->arenas);
	free(c);
	*cp = NULL;
}

void core_set_user(struct core *c, struct core_user *user)
{
	assert(!c->busy);
	c->user = user;
	if (user)
		list_append(&c->users, &user->link);
	proxy_set_policy(c->proxy, user ? &user->policy : NULL);
}

void core_drop_user(struct core *c, struct core_user *user)
{
	assert(!c->busy);
	if (c->user == user)
		c->user = NULL;
	list_remove(&user->link);
	proxy_drop_policy(c->proxy, &user->policy);
}

struct core_user *core_user(const struct core *c)
{
	return c->user;
}

/* ---- entries ---- */

static void enter(struct core *c, struct now now)
{
	assert(!c->busy); /* a host verb called back into the core */
	c->busy = true;
	c->now = now;
	timers_run(c->timers, now);
	/* what failed there is over, and no fault of the input */
	arena_clear_failed(c->scratch);
}

static bool drain(struct core *c)
{
	bool any = false;

	list_each (it, &c->users) {
		struct core_user *u = container_of(it, struct core_user, link);

		any = u->drain(u->ctx, c->now) || any;
	}
	return any;
}

/* Outcomes make coroutines ready, coroutines make outcomes. */
static void work(struct core *c)
{
	bool any = true;

	while (any) {
		any = proxy_settle(c->proxy, c->now);
		any = drain(c) || any;
	}
	arena_reset(c->scratch);
	arena_clear_failed(c->scratch);
}

static void leave(struct core *c)
{
	work(c);
	c->busy = c->has_come = c->is_post = false;
}

void core_receive(struct core *c, struct now now, const struct hop *from,
		  struct str bytes)
{
	enter(c, now);
	if (transport_reliable((enum transport)from->transport))
		flows_receive(c->flows, from, bytes, now);
	else
		receive_bytes(c, from, bytes);
	leave(c);
}

/* One of a piece may be one of many: each is worked off like an entry. */
static void on_message(void *ctx, const struct hop *from, struct str bytes,
		       struct now now)
{
	struct core *c = ctx;

	(void)now;
	receive_bytes(c, from, bytes);
	work(c);
}

static void on_garbage(void *ctx, const struct hop *from, struct str bytes,
		       int code, struct str reason, struct now now)
{
	(void)now;
	receive_garbage(ctx, from, bytes, code, reason);
	work(ctx);
}

static void on_unsent(void *ctx, const struct flow_event *e, struct now now)
{
	(void)now;
	receive_flow_error(ctx, e);
}

void core_flow_event(struct core *c, struct now now, const struct flow_event *e)
{
	enter(c, now);
	if (e->kind == FLOW_ERROR)
		receive_flow_error(c, e);
	else
		flows_on_event(c->flows, e, now);
	leave(c);
}

void core_answer(struct core *c, struct now now, struct query *q,
		 const struct answer *a)
{
	enter(c, now);
	if (!resolver_on_answer(c->resolver, q, a, now))
		count(&c->counters, CNT_STRAY_ANSWER);
	leave(c);
}

void core_post(struct core *c, struct now now, const struct post *msg)
{
	struct flow_event e = {.kind = FLOW_ERROR,
			       .cause = (enum cause)msg->cause,
			       .peer = msg->from,
			       .quoted = msg->bytes};

	if (msg->kind == POST_DATAGRAM)
		core_came(c, now, msg->came);
	enter(c, now);
	switch (msg->kind) {
	case POST_DATAGRAM:
		c->is_post = true;
		c->handed = msg->handed;
		receive_message(c, &msg->from, msg->bytes);
		break;
	case POST_FLOW:
		proxy_on_flow_event(c->proxy, &e, now);
		break;
	case POST_SEND:
		flows_on_post_send(c->flows, msg);
		break;
	case POST_DOWN:
		flows_on_post_down(c->flows, msg, now);
		break;
	case POST_SCRIPT:
		if (c->user)
			c->user->on_post(c->user->ctx, msg->topic, msg->bytes,
					 now);
		break;
	}
	leave(c);
}

void core_expire(struct core *c, struct now now)
{
	late_note_timers(c, now);
	enter(c, now);
	leave(c);
}

void core_stop(struct core *c, struct now now)
{
	enter(c, now);
	proxy_stop(c->proxy, now);
	leave(c);
}

bool core_is_quiet(const struct core *c, struct now now)
{
	return proxy_is_quiet(c->proxy, now);
}

void core_on_keys(struct core *c)
{
	/* what was saved is signed with the one before */
	proxy_calls(c->proxy)->changed = true;
}

bool core_calls_changed(const struct core *c)
{
	return proxy_calls(c->proxy)->changed;
}

char *core_save_calls(struct core *c, struct now now, size_t *n_r)
{
	struct calls *cs = proxy_calls(c->proxy);
	char *bytes;

	*n_r = calls_image_size(cs, &c->node->members);
	bytes = malloc(*n_r);
	if (!bytes)
		return NULL;
	calls_image_write(cs, &c->node->members, now, bytes);
	cs->changed = false;
	return bytes;
}

int core_restore_calls(struct core *c, struct now now, struct str bytes)
{
	int err = 0;

	enter(c, now);
	while (!err && bytes.n > 0)
		err =
		    calls_image_read(proxy_calls(c->proxy), &c->node->members,
				     &bytes, c->worker, c->node->workers, now);
	leave(c);
	return err;
}

void core_close_flows(struct core *c, struct now now)
{
	enter(c, now);
	flows_close_all(c->flows, now);
	leave(c);
}

void core_forget_calls(struct core *c, struct now now)
{
	enter(c, now);
	calls_forget(proxy_calls(c->proxy));
	leave(c);
}

tick_t core_deadline(const struct core *c)
{
	return timers_next(c->timers);
}

/* ---- for what runs on top ---- */

struct node *core_node(const struct core *c)
{
	return c->node;
}

unsigned core_worker(const struct core *c)
{
	return c->worker;
}

struct mem *core_mem(struct core *c)
{
	return &c->mem;
}

struct arena *core_scratch(struct core *c)
{
	return c->scratch;
}

struct arena_cache *core_arenas(struct core *c)
{
	return c->arenas;
}

struct timers *core_timers(struct core *c)
{
	return c->timers;
}

struct resolver *core_resolver(struct core *c)
{
	return c->resolver;
}

struct proxy *core_proxy(struct core *c)
{
	return c->proxy;
}

const struct host *core_host(const struct core *c)
{
	return c->host;
}

struct rand *core_rand(struct core *c)
{
	return &c->rand;
}

struct counters *core_counters(struct core *c)
{
	return &c->counters;
}

struct now core_now(const struct core *c)
{
	return c->now;
}

void core_stats(const struct core *c, struct core_stats *out_r)
{
	/* What only grew to be reused is no leak: spare chunks, hash buckets.
	 */
	size_t spare =
	    arena_cache_bytes(c->arenas) + proxy_spare_bytes(c->proxy) +
	    resolver_spare_bytes(c->resolver) + flows_spare_bytes(c->flows) +
	    map_bytes(&c->txns.servers) + map_bytes(&c->txns.clients);

	out_r->bytes = c->mem.bytes - spare;
	out_r->servers = c->txns.n_servers;
	out_r->clients = c->txns.n_clients;
	out_r->requests = proxy_requests(c->proxy);
	out_r->begun = proxy_begun(c->proxy);
	out_r->timers = timers_count(c->timers);
	out_r->flows = flows_count(c->flows);
	out_r->calls = proxy_calls(c->proxy)->n_up;
	out_r->overloaded = proxy_is_overloaded(c->proxy);
}
