/*
 * The wire: between the layers and the connections, and between those and the
 * host. What passes to the host is shown to whom it may concern (capture.h).
 */
#include "core/core_int.h"

/* ---- what transactions, the proxy and the resolver use ---- */

static void wire_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct core *c = ctx;

	flows_send(c->flows, to, bytes);
}

static bool wire_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	struct core *c = ctx;

	return c->host->source(c->host->ctx, listener, to, out_r);
}

static void wire_log(void *ctx, const struct log_event *e)
{
	struct core *c = ctx;

	c->host->log(c->host->ctx, e);
}

static void wire_query(void *ctx, struct query *q)
{
	struct core *c = ctx;

	c->host->query(c->host->ctx, q);
}

static void wire_unquery(void *ctx, struct query *q)
{
	struct core *c = ctx;

	c->host->unquery(c->host->ctx, q);
}

/* ---- what the connections use ---- */

static void net_send(void *ctx, const struct hop *to, struct str bytes)
{
	struct core *c = ctx;

	if (capture_is_on(&c->node->capture))
		capture_message(c, false, to, bytes);
	c->host->send(c->host->ctx, to, bytes);
}

static void net_open(void *ctx, const struct hop *flow)
{
	struct core *c = ctx;

	c->host->open(c->host->ctx, flow);
}

static bool net_withdraw(void *ctx, const struct hop *to, struct str bytes)
{
	struct core *c = ctx;

	return c->host->withdraw(c->host->ctx, to, bytes);
}

static void net_close(void *ctx, const struct hop *flow)
{
	struct core *c = ctx;

	c->host->close(c->host->ctx, flow);
}

static void net_post(void *ctx, unsigned worker, const struct post *msg)
{
	struct core *c = ctx;

	c->host->post(c->host->ctx, worker, msg);
}

void wire_init(struct core *c)
{
	c->wire = (struct host){.ctx = c,
				.send = wire_send,
				.query = wire_query,
				.unquery = wire_unquery,
				.source = wire_source,
				.log = wire_log};
	c->net = (struct host){.ctx = c,
			       .send = net_send,
			       .open = net_open,
			       .withdraw = net_withdraw,
			       .close = net_close,
			       .post = net_post,
			       .log = wire_log};
}
