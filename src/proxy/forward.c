/*
 * Request forwarding, RFC 3261 16.6. Every attempt starts from the request as
 * received plus the edits made so far (16.6 steps 1 and 5), and gets its own
 * branch, Via, Record- Route and source address, made for the socket it leaves
 * from.
 */
#include <string.h>
#include "proxy/context.h"

enum { MAX_BREADTH = 60 }; /* RFC 5393 5.3.3: where there is no header */

/* The listener the request came by, or of another transport the one at the same
 * address: a virtual one moves with all of its listeners. -1: there is none, or
 * it cannot go on from there: the kernel refuses when one end is loopback and
 * the other is not. */
static int listener_beside(const struct listeners *ls, const struct hop *from,
			   const struct hop *hop)
{
	if (from->local.family != hop->addr.family ||
	    addr_is_loopback(&from->local) != addr_is_loopback(&hop->addr))
		return -1;
	return listener_for(ls, (enum transport)hop->transport, &hop->addr,
			    from->listener, &from->local);
}

/*
 * Semantics 21: the address the request arrived on, whatever has become of it
 * since; where that cannot be, the one that goes with it, and else the first
 * that is ours now: of two virtual addresses the other may be on another
 * machine. A request of our own has the first that fits, or none.
 */
bool forward_choose_source(struct proxy *p, const struct hop *from,
			   struct hop *hop)
{
	const struct listeners *ls = p->c.listeners;
	int l = from ? listener_beside(ls, from, hop) : -1;

	if (hop->addr.port == 0 || addr_is_unsendable(&hop->addr))
		return false;
	if (l >= 0) {
		hop->listener = (uint16_t)l;
		hop->local = from->local;
		hop->local.port = ls->l[l].addr.port;
		return true;
	}
	l = listener_for(ls, (enum transport)hop->transport, &hop->addr,
			 from ? from->listener : -1, NULL);
	if (l < 0 || forward_use_listener(p, (unsigned)l, hop))
		return l >= 0;
	for (unsigned i = 0; from && i < ls->n; i++)
		if (forward_use_listener(p, i, hop))
			return true;
	return false;
}

bool forward_use_listener(struct proxy *p, unsigned listener, struct hop *hop)
{
	int l = listener_for(p->c.listeners, (enum transport)hop->transport,
			     &hop->addr, (int)listener, NULL);

	if (l != (int)listener || hop->addr.port == 0 ||
	    addr_is_unsendable(&hop->addr))
		return false;
	hop->listener = (uint16_t)l;
	return p->c.host->source(p->c.host->ctx, hop->listener, &hop->addr,
				 &hop->local);
}

bool forward_has_source(const struct proxy *p, const struct hop *hop)
{
	const struct host *h = p->c.host;
	struct addr own;

	return h->source(h->ctx, hop->listener, &hop->addr, &own);
}

bool forward_go_on(struct proxy *p, const struct hop *from, int door,
		   struct hop *hop)
{
	if (door >= 0 && forward_use_listener(p, (unsigned)door, hop))
		return true;
	return forward_choose_source(p, from, hop);
}

uint32_t forward_breadth(const struct request *r, size_t i, size_t n)
{
	const struct hdr *f = msg_find(&r->msg, STR("Max-Breadth"));
	uint32_t all = MAX_BREADTH;

	if (f && !str_u32(msg_hdr_value(&r->msg, f), MAX_BREADTH, &all))
		all = MAX_BREADTH;
	return all / (uint32_t)n + (i < all % n);
}

bool forward_is_sips(const struct request *r, const struct attempt *att)
{
	struct str uri = r->edits.uri.p ? r->edits.uri : r->msg.uri;

	if (att->target.uri.p)
		uri = att->target.uri;
	return str_caseeq(str_sub(uri, 0, scan_scheme(uri)), STR("sips"));
}

/* 16.6 step 3. */
static int count_down(struct request *r, struct edits *e)
{
	const struct hdr *f = msg_first(&r->msg, HDR_MAX_FORWARDS);
	uint32_t hops = 70;
	char text[12];
	struct buf b;

	if (f && !str_u32(msg_hdr_value(&r->msg, f), 255, &hops))
		return ERR_SYNTAX;
	buf_fixed(&b, text, sizeof(text));
	buf_u64(&b, f ? hops - 1 : hops);
	return edit_set(e, STR("Max-Forwards"), buf_str(&b));
}

static int set_breadth(const struct attempt *att, struct edits *e)
{
	char text[12];
	struct buf b;

	buf_fixed(&b, text, sizeof(text));
	buf_u64(&b, att->breadth);
	return edit_set(e, STR("Max-Breadth"), buf_str(&b));
}

/* Semantics 4: host[:port] of the Request-URI replaced, the rest kept. */
struct str forward_with_host(struct arena *a, struct str uri_text,
			     struct str host)
{
	struct uri u;
	struct buf b;
	size_t from, to;

	if (!scan_uri(uri_text, &u) || !u.host.p)
		return uri_text;
	from = (size_t)(u.host.p - uri_text.p);
	to = from + u.host.n;
	if (u.port)
		while (to < uri_text.n && uri_text.p[to] != ';' &&
		       uri_text.p[to] != '?')
			to++;
	buf_arena(&b, a, uri_text.n + host.n);
	buf_put(&b, str_sub(uri_text, 0, from));
	buf_put(&b, host);
	buf_put(&b, str_sub(uri_text, to, uri_text.n));
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

int forward_strictly(struct edits *e, struct str uri, struct str next)
{
	struct buf b;
	int err;

	buf_arena(&b, e->arena, uri.n + 2);
	buf_char(&b, '<');
	buf_put(&b, uri);
	buf_char(&b, '>');
	if (!buf_ok(&b))
		return ERR_NOMEM;
	err = edit_pop_value(e, HDR_ROUTE);
	if (!err)
		err = edit_add(e, STR("Route"), buf_str(&b));
	return err ? err : edit_uri(e, next);
}

/*
 * 16.6 step 2: the URI of a target without what a Request-URI may not have
 * (19.1.1): a method. Headers, which would be a request of their author's
 * (19.1.5), edit_uri leaves out. The text itself when there is nothing to be
 * left out; STR_NONE when memory ran out.
 */
static struct str as_request_uri(struct arena *a, struct str text)
{
	struct str name, value, params;
	struct uri u;
	struct buf b;

	if (!scan_uri(text, &u) || !u.is_sip ||
	    !scan_param(u.params, STR("method"), &value))
		return text;
	buf_arena(&b, a, text.n);
	buf_put(&b, str_sub(text, 0, (size_t)(u.params.p - 1 - text.p)));
	for (params = u.params; scan_next_param(&params, &name, &value);) {
		if (str_caseeq(name, STR("method")))
			continue;
		buf_char(&b, ';');
		buf_put(&b, name);
		if (value.p) {
			buf_char(&b, '=');
			buf_put(&b, value);
		}
	}
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* 16.6 steps 2 and 6: Request-URI, Path as Route, a strict router ahead. */
static int set_targets(struct request *r, const struct attempt *att,
		       struct edits *e)
{
	const struct target *t = &att->target;
	struct str uri = e->uri.p ? e->uri : r->msg.uri;
	struct str own = STR_NONE;
	int err = 0;

	if (t->uri.p)
		own = as_request_uri(r->arena, t->uri);
	if (t->uri.p)
		err = own.p ? edit_uri(e, own) : ERR_NOMEM;
	else
		err = shared_edit(e, uri, t);
	if (!err && t->route.p)
		err = edit_add_first(e, HDR_ROUTE, t->route);
	if (!err && t->by_route && r->route.next_is_strict)
		err = forward_strictly(e, uri, r->route.next);
	return err;
}

static unsigned visits_before(const struct request *r,
			      const struct attempt *att)
{
	unsigned n = 0;

	list_each (it, &r->attempts) {
		const struct attempt *a =
		    container_of(it, struct attempt, link);

		if (a != att && a->branch[0] != '\0' &&
		    a->target.hop.transport == att->target.hop.transport &&
		    addr_eq(&a->target.hop.addr, &att->target.hop.addr))
			n++;
	}
	return n;
}

static bool is_in_use(const struct request *r, const struct attempt *att)
{
	struct str branch = {att->branch, BRANCH_LEN};

	list_each (it, &r->attempts) {
		const struct attempt *a =
		    container_of(it, struct attempt, link);

		if (a != att && memcmp(a->branch, att->branch, BRANCH_LEN) == 0)
			return true;
	}
	return client_find(r->proxy->c.txns, branch, r->msg.method_id,
			   r->msg.method) != NULL;
}

/* The branch is a function of the request and the visit. A request that was
 * dropped and came again may find it still in use by what was given up then:
 * the answers must not go there. Attempts since then are so many visits
 * further on. */
static void choose_branch(struct request *r, struct attempt *att)
{
	unsigned visit = visits_before(r, att);

	do {
		branch_write(att->branch, r->sign, &r->up, &att->target.hop,
			     visit++, r->loop);
	} while (is_in_use(r, att));
}

/* 16.6 step 8, above the caller's Via, which says now where it came from. */
static int add_via(struct request *r, struct attempt *att, struct edits *e)
{
	struct proxy *p = r->proxy;
	struct buf b;
	int err = edit_replace_value(e, HDR_VIA, r->via);

	if (err)
		return err;
	choose_branch(r, att);
	buf_arena(&b, p->c.scratch, 128);
	via_write(&b, p->c.listeners, &att->target.hop,
		  (struct str){att->branch, BRANCH_LEN});
	return buf_ok(&b) ? edit_prepend(e, STR("Via"), buf_str(&b))
			  : ERR_NOMEM;
}

/* 16.6 step 9, 20.14. */
int forward_put(struct proxy *p, const struct edits *e, const struct hop *to,
		struct buf *out)
{
	const struct msg *m = e->msg;
	struct edits own;
	int err;

	if (!transport_reliable((enum transport)to->transport) ||
	    m->has_length || e->has_body)
		return edits_write(e, out);
	edits_copy(&own, e, p->c.scratch);
	err = edit_body(&own, m->body);
	return err ? err : edits_write(&own, out);
}

int forward_write(struct request *r, struct attempt *att, struct str *out_r)
{
	struct edits e;
	struct buf b;
	int err;

	/* step 1: a copy of the request */
	edits_copy(&e, &r->edits, r->proxy->c.scratch);
	/* step 3: Max-Forwards */
	err = count_down(r, &e);
	if (!err && att->breadth)
		err = set_breadth(att, &e);
	/* step 4: Record-Route; and Path for a REGISTER */
	if (!err)
		err = path_add(r, att, &e);
	/* steps 2, 5, 6: Request-URI, additional fields, routing information */
	if (!err)
		err = set_targets(r, att, &e);
	/* step 8: Via */
	if (!err)
		err = add_via(r, att, &e);
	if (err)
		return err;
	/* step 9: Content-Length */
	buf_arena(&b, r->proxy->c.scratch, r->msg.raw.n + 512);
	err = forward_put(r->proxy, &e, &att->target.hop, &b);
	*out_r = buf_str(&b);
	return err;
}
