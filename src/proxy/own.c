/*
 * Requests of our own: health checks and sip.request. A small user agent
 * client (RFC 3261 8.1): it makes up the message (8.1.1), sends it along its
 * route (8.1.2), follows one client transaction to its end,
 * ACKs the 2xx of its INVITE and remembers the dialog for a BYE.
 */
#include <string.h>
#include "proxy/context.h"

struct own {
	struct owner owner;
	struct list link; /* proxy.owns */
	struct proxy *proxy;
	struct arena *arena; /* this struct is in it */
	struct own_conf conf;
	struct way way;        /* conf.hop is the address tried last */
	struct locate *locate; /* where that is is being looked up */
	struct client *client; /* NULL: ended */
	bool for_size;         /* by TCP for no other reason */
	bool got_1xx;
	uint32_t cseq;
	struct response *res;
	bool ended; /* on_end is due or was called */
	bool told;
	enum cause cause;
	bool has_dialog;
	bool hung_up;         /* its BYE was answered, or gave up */
	struct dialog dialog; /* slices in the arena */
	char call_id[16];     /* without conf.dialog */
	char from_tag[16];    /* the same */
	struct timer limit;
};

static void finish(struct own *o, struct response *res, enum cause cause,
		   struct now now)
{
	struct proxy *p = o->proxy;

	timer_stop(p->c.timers, &o->limit);
	if (o->locate)
		locate_stop(&o->locate);
	o->ended = true;
	o->res = res;
	o->cause = cause;
	if (o->conf.dialog && str_eq(o->conf.method, STR("BYE")))
		o->conf.dialog->hung_up = true;
	/* on_end never runs inside own_new: through a timer that is due now */
	timer_arm(p->c.timers, &o->limit, now.mono);
}

static void on_limit(struct timer *t, struct now now)
{
	struct own *o = container_of(t, struct own, limit);

	if (!o->ended) {
		struct client *c = o->client;

		o->client = NULL;
		if (c)
			client_abandon(c, STR_NONE, now);
		o->ended = true;
		o->cause = o->locate ? CAUSE_DNS_TIMEOUT : CAUSE_SILENT;
		if (o->locate)
			locate_stop(&o->locate);
	}
	if (!o->told) {
		o->told = true;
		o->conf.on_end(o->conf.ctx, o, o->res, o->cause, now);
	}
}

static void random_token(struct proxy *p, char out[16])
{
	str_put_hex(out, 16, rand_u64(p->c.rand));
}

/* One whose answers come to this worker. */
static void make_call_id(struct own *o)
{
	const struct proxy_conf *c = &o->proxy->c;
	struct str id = {o->call_id, sizeof(o->call_id)};

	do {
		random_token(o->proxy, o->call_id);
	} while (c->workers && branch_h8(id) % c->workers != c->worker);
}

static struct str call_id_of(const struct own *o)
{
	if (o->conf.dialog)
		return o->conf.dialog->dialog.call_id;
	if (o->conf.call_id.p)
		return o->conf.call_id;
	return (struct str){o->call_id, sizeof(o->call_id)};
}

/* The party line without a tag; our own address when none was given. */
static void write_party(struct own *o, struct buf *b, struct str given,
			bool local)
{
	if (given.p) {
		buf_put(b, given);
	} else if (local) {
		BUF_LIT(b, "<sip:");
		listener_write_host(o->proxy->c.listeners, &o->conf.hop, b);
		buf_char(b, '>');
	} else {
		buf_char(b, '<');
		buf_put(b, o->conf.uri);
		buf_char(b, '>');
	}
}

static void write_identity(struct own *o, struct buf *b)
{
	const struct dialog *d =
	    o->conf.dialog ? &o->conf.dialog->dialog : NULL;

	if (d) {
		if (d->route.p) {
			BUF_LIT(b, "Route: ");
			buf_put(b, d->route);
			BUF_LIT(b, "\r\n");
		}
		BUF_LIT(b, "From: ");
		buf_put(b, d->local);
		BUF_LIT(b, "\r\nTo: ");
		buf_put(b, d->remote);
		return;
	}
	BUF_LIT(b, "From: ");
	write_party(o, b, o->conf.from, true);
	BUF_LIT(b, ";tag=");
	buf_put(b, o->conf.from_tag.p
		       ? o->conf.from_tag
		       : (struct str){o->from_tag, sizeof(o->from_tag)});
	BUF_LIT(b, "\r\nTo: ");
	write_party(o, b, o->conf.to, false);
}

static void write_contact(struct own *o, struct buf *b)
{
	BUF_LIT(b, "Contact: <sip:");
	listener_write_host(o->proxy->c.listeners, &o->conf.hop, b);
	if (o->conf.hop.transport != TRANSPORT_UDP) {
		BUF_LIT(b, ";transport=");
		buf_put(b, str_from(transport_name(
			       (enum transport)o->conf.hop.transport)));
	}
	BUF_LIT(b, ">\r\n");
}

static uint32_t next_cseq(struct own *o)
{
	if (o->conf.dialog)
		return ++o->conf.dialog->dialog.cseq;
	return o->conf.cseq ? o->conf.cseq : 1;
}

static bool write_request(struct own *o, char branch[BRANCH_LEN], struct buf *b)
{
	struct proxy *p = o->proxy;
	char token[16];
	struct upstream_id id = {.branch = {token, 16},
				 .call_id = call_id_of(o)};

	random_token(p, token);
	branch_write(branch, p->c.keys->now, &id, &o->conf.hop, 0, 0);
	buf_put(b, o->conf.method);
	buf_char(b, ' ');
	buf_put(b, o->conf.uri);
	BUF_LIT(b, " SIP/2.0\r\nVia: ");
	via_write(b, p->c.listeners, &o->conf.hop,
		  (struct str){branch, BRANCH_LEN});
	BUF_LIT(b, "\r\nMax-Forwards: 70\r\n");
	write_identity(o, b);
	BUF_LIT(b, "\r\nCall-ID: ");
	buf_put(b, id.call_id);
	BUF_LIT(b, "\r\nCSeq: ");
	buf_u64(b, o->cseq);
	buf_char(b, ' ');
	buf_put(b, o->conf.method);
	BUF_LIT(b, "\r\n");
	if (str_eq(o->conf.method, STR("INVITE")) ||
	    str_eq(o->conf.method, STR("OPTIONS")))
		write_contact(o, b);
	buf_put(b, o->conf.headers);
	BUF_LIT(b, "Content-Length: ");
	buf_u64(b, o->conf.body.n);
	BUF_LIT(b, "\r\n\r\n");
	buf_put(b, o->conf.body);
	return buf_ok(b);
}

static bool copy_conf(struct own *o, const struct own_conf *conf)
{
	struct str *field[] = {&o->conf.method,  &o->conf.uri,
			       &o->conf.from,    &o->conf.to,
			       &o->conf.headers, &o->conf.body,
			       &o->conf.call_id, &o->conf.from_tag};

	o->conf = *conf;
	for (size_t i = 0; i < ARRAY_LEN(field); i++)
		if (field[i]->p)
			*field[i] = arena_str(o->arena, *field[i]);
	if (conf->hop.tls_name)
		o->conf.hop.tls_name =
		    arena_str(o->arena, str_from(conf->hop.tls_name)).p;
	if (conf->dialog) {
		if (!conf->dialog->has_dialog)
			return false;
		o->conf.uri = arena_str(o->arena, conf->dialog->dialog.target);
		o->conf.hop = conf->dialog->dialog.hop;
	}
	return !arena_failed(o->arena);
}

static bool is_the_source(const struct own *o, const struct listener *l)
{
	return l->transport == o->conf.hop.transport &&
	       addr_eq(&l->addr, &o->conf.source);
}

/* Semantics 21: from the address of the traffic while that is ours, else from
 * the listener that was named, else from any that we own. */
static bool choose_source(struct own *o)
{
	const struct listeners *ls = o->proxy->c.listeners;
	struct hop *hop = &o->conf.hop;

	if (forward_choose_source(o->proxy, NULL, hop))
		return true;
	for (unsigned i = 0; i < ls->n; i++)
		if (is_the_source(o, &ls->l[i]) &&
		    forward_use_listener(o->proxy, i, hop))
			return true;
	for (unsigned i = 0; i < ls->n; i++)
		if (forward_use_listener(o->proxy, i, hop))
			return true;
	return false;
}

/* ---- leaving ---- */

static bool is_sips(const struct own *o)
{
	struct uri uri;

	return scan_uri(o->conf.uri, &uri) && uri.is_sips;
}

static bool write_sized(struct own *o, char branch[BRANCH_LEN], struct buf *b,
			struct now now)
{
	struct arena *scratch = o->proxy->c.scratch;
	size_t udp_max = o->proxy->c.settings->udp_max;

	buf_arena(b, scratch, 512);
	if (!write_request(o, branch, b))
		return false;
	o->for_size = (b->n > udp_max || o->way.by_tcp) &&
		      way_by_tcp(o->proxy, &o->way, now, &o->conf.hop);
	if (!o->for_size)
		return true;
	buf_arena(b, scratch, 512);
	return write_request(o, branch, b);
}

/* 0, or why it cannot. */
static int leave(struct own *o, struct now now)
{
	struct proxy *p = o->proxy;
	char branch[BRANCH_LEN];
	struct buf b;

	if (!o->conf.dialog && !choose_source(o))
		return ERR_UNREACHABLE;
	if (is_sips(o) && o->conf.hop.transport != TRANSPORT_TLS)
		return ERR_UNREACHABLE;
	if (!write_sized(o, branch, &b, now))
		return ERR_NOMEM;
	o->client =
	    client_new(p->c.txns, NULL, &o->owner, method_id(o->conf.method),
		       &o->conf.hop, branch, buf_str(&b), now);
	return o->client ? 0 : ERR_NOMEM;
}

/* To the next address for which it can leave; at the last one it ends. */
static int go(struct own *o, struct now now)
{
	int err = ERR_UNREACHABLE;

	while (err == ERR_UNREACHABLE && o->way.next < o->way.n) {
		o->conf.hop = o->way.hop[o->way.next++];
		err = leave(o, now);
	}
	if (err == ERR_UNREACHABLE) {
		finish(o, NULL, CAUSE_NO_SOURCE, now);
		err = 0;
	}
	return err;
}

static void on_located(void *ctx, const struct places *found, struct now now)
{
	struct own *o = ctx;
	uint64_t seed = way_seed(o->proxy, call_id_of(o));
	int err;

	o->locate = NULL;
	err = way_of_found(o->proxy, o->conf.uri, found, seed, o->arena, now,
			   &o->way);
	if (!err)
		err = go(o, now);
	if (err == ERR_NOTFOUND) {
		finish(o, NULL, found->cause, now);
	} else if (err) {
		count(o->proxy->c.counters, CNT_NOMEM);
		finish(o, NULL, CAUSE_NO_SOURCE, now);
	}
}

static int find_way(struct own *o, struct now now)
{
	struct proxy *p = o->proxy;
	struct locate_ask ask;
	enum cause cause;
	int err;

	if (o->conf.hop.addr.family != ADDR_NONE) {
		o->way.fixed = true;
		return way_of_hop(o->arena, &o->conf.hop, &o->way);
	}
	err = way_of_uri(p, o->conf.uri, way_seed(p, call_id_of(o)), o->arena,
			 now, &o->way, &ask, &cause);
	if (err == ERR_NOTFOUND) {
		finish(o, NULL, cause, now);
		return 0;
	}
	if (err != ERR_STATE)
		return err;
	o->locate = locate_start(p->c.resolver, &ask, on_located, o, now);
	return o->locate ? 0 : ERR_NOMEM;
}

static int start(struct own *o, struct now now)
{
	struct proxy *p = o->proxy;
	int64_t t1 = p->c.settings->times.t1;
	int err;

	make_call_id(o);
	random_token(p, o->from_tag);
	o->cseq = next_cseq(o);
	err = find_way(o, now);
	if (!err && o->way.n)
		err = go(o, now);
	/* Timer B ends with a 1xx: without a limit it could ring for ever. */
	if (!err && !o->ended)
		timer_arm(p->c.timers, &o->limit,
			  tick_add(now.mono, o->conf.timeout > 0
						 ? o->conf.timeout
						 : 64 * t1));
	return err;
}

struct own *own_new(struct proxy *p, const struct own_conf *conf,
		    struct now now)
{
	struct arena *arena = arena_new(p->c.arenas);
	struct own *o = arena ? arena_zalloc(arena, sizeof(*o)) : NULL;

	if (!o) {
		arena_free(&arena);
		return NULL;
	}
	o->owner.kind = OWNER_OWN;
	o->proxy = p;
	o->arena = arena;
	timer_init(&o->limit, on_limit);
	list_append(&p->owns, &o->link);
	if (!copy_conf(o, conf) || start(o, now) != 0) {
		count(p->c.counters, CNT_NOMEM);
		own_free(&o, now);
	}
	return o;
}

bool own_has_dialog(const struct own *o)
{
	return o->has_dialog;
}

const struct hop *own_hop(const struct own *o)
{
	return &o->conf.hop;
}

void own_free(struct own **op, struct now now)
{
	struct own *o = *op;
	struct arena *arena;

	if (!o)
		return;
	*op = NULL;
	timer_stop(o->proxy->c.timers, &o->limit);
	if (o->locate)
		locate_stop(&o->locate);
	list_remove(&o->link);
	if (o->client)
		client_disown(o->client, now);
	if (o->has_dialog && !o->hung_up)
		dialog_send_bye(o->proxy, &o->dialog, now);
	arena = o->arena;
	arena_free(&arena);
}

static struct response *keep(struct own *o, struct msg *m)
{
	struct response *res = arena_zalloc(o->arena, sizeof(*res));

	if (!res || !msg_copy(&res->msg, m, o->arena))
		return NULL;
	res->code = m->status;
	res->addr = o->conf.hop.addr;
	edits_init(&res->edits, &res->msg, o->arena);
	return res;
}

/* The slices of a dialog move from the scratch arena into ours. */
static void keep_dialog(struct own *o, const struct dialog *d)
{
	struct str *field[] = {&o->dialog.local,   &o->dialog.remote,
			       &o->dialog.target,  &o->dialog.route,
			       &o->dialog.call_id, &o->dialog.from_tag};

	o->dialog = *d;
	if (d->hop.tls_name)
		o->dialog.hop.tls_name =
		    arena_str(o->arena, str_from(d->hop.tls_name)).p;
	for (size_t i = 0; i < ARRAY_LEN(field); i++)
		if (field[i]->p)
			*field[i] = arena_str(o->arena, *field[i]);
	o->has_dialog = !arena_failed(o->arena);
}

void own_on_response(struct owner *owner, struct msg *m, struct now now)
{
	struct own *o = container_of(owner, struct own, owner);
	bool invite_2xx =
	    str_eq(o->conf.method, STR("INVITE")) && m->status / 100 == 2;
	struct response *res;
	struct dialog d;

	o->got_1xx = true;
	if (m->status < 200)
		return;
	if (invite_2xx &&
	    dialog_from_2xx(o->proxy, m, &o->conf.hop, false, &d, now)) {
		dialog_send_ack(o->proxy, &d, now);
		if (!o->has_dialog)
			keep_dialog(o, &d);
		else if (!str_eq(o->dialog.remote, d.remote))
			dialog_send_bye(o->proxy, &d, now); /* a fork */
	}
	if (o->ended)
		return; /* a repeated 2xx: only its ACK was due */
	res = keep(o, m);
	finish(o, res, res ? CAUSE_NONE : CAUSE_NO_SOURCE, now);
}

/* The same request elsewhere (RFC 3263 4.3), or by the other transport. */
static bool goes_on(struct own *o, enum cause cause, struct now now)
{
	return !o->got_1xx && !o->conf.dialog &&
	       way_goes_on(o->proxy, &o->way, &o->conf.hop, o->for_size, cause,
			   now);
}

void own_on_failure(struct owner *owner, enum cause cause, struct now now)
{
	struct own *o = container_of(owner, struct own, owner);

	o->client = NULL;
	if (o->ended)
		return;
	if (!goes_on(o, cause, now)) {
		finish(o, NULL, cause, now);
	} else if (go(o, now) != 0) {
		count(o->proxy->c.counters, CNT_NOMEM);
		finish(o, NULL, CAUSE_NO_SOURCE, now);
	}
}

void own_on_client_end(struct owner *owner, const struct client *c)
{
	struct own *o = container_of(owner, struct own, owner);

	/* It may have another one since, to the next address. */
	if (o->client == c)
		o->client = NULL;
}
