#include "sim/sim_stream.h"

#include <assert.h>
#include <string.h>

enum {
	SEND_BUFFER = 65536, /* bytes on their way; the rest waits */
	FIRST_PORT = 32768   /* of those given to who connects */
};

static bool is_server(const struct end *e)
{
	return e == &e->conn->end[1];
}

/* ---- writing ---------------------------------------------------------- */

static void wait_to_write(struct sim *s, struct end *e, struct str bytes,
			  size_t piece)
{
	struct unwritten *u = sim_alloc(s, sizeof(*u) + bytes.n);

	memcpy(u + 1, bytes.p, bytes.n);
	u->bytes = (struct str){(char *)(u + 1), bytes.n};
	u->piece = piece;
	list_append(&e->unwritten, &u->link);
	e->unwritten_bytes += bytes.n;
}

static void forget_unwritten(struct sim *s, struct end *e, struct unwritten *u)
{
	e->unwritten_bytes -= u->bytes.n;
	list_remove(&u->link);
	mem_free(&s->mem, u);
}

static bool has_room(const struct end *e)
{
	return e->out_bytes < SEND_BUFFER;
}

static void write_more(struct sim *s, struct end *e)
{
	while (!list_empty(&e->unwritten) && has_room(e)) {
		struct unwritten *u = container_of(list_first(&e->unwritten),
						   struct unwritten, link);

		sim_seg_data(s, e, u->bytes, u->piece);
		forget_unwritten(s, e, u);
	}
	if (e->fin && list_empty(&e->unwritten)) {
		e->fin = false;
		sim_seg_put(s, e, SEG_FIN, NULL);
	}
}

void sim_end_write(struct sim *s, struct end *e, struct str bytes, size_t piece)
{
	if (e->state == END_UP && list_empty(&e->unwritten) && has_room(e))
		sim_seg_data(s, e, bytes, piece);
	else
		wait_to_write(s, e, bytes, piece);
}

bool sim_end_withdraw(struct sim *s, struct end *e, struct str bytes)
{
	if (e->state >= END_UP)
		return false;
	list_each (it, &e->unwritten) {
		struct unwritten *u = container_of(it, struct unwritten, link);

		if (str_eq(u->bytes, bytes)) {
			forget_unwritten(s, e, u);
			return true;
		}
	}
	return false;
}

/* ---- beginning and ending --------------------------------------------- */

void sim_conn_connect(struct sim *s, struct end *e, const struct addr *to)
{
	e->state = END_OPENING;
	e->addr.port = (uint16_t)(FIRST_PORT + s->ports++ % FIRST_PORT);
	sim_other(e)->addr = *to;
	if (e->homeless) {
		sim_conn_watch(s, e, s->now);
		return;
	}
	sim_seg_put(s, e, SEG_SYN, NULL);
	/* A server that took the SYN may be gone before it answers. */
	sim_conn_watch(s, e, s->now + USER_TIMEOUT);
}

/* Nobody here knows it any more. */
static void leave(struct sim *s, struct end *e)
{
	sim_flow_forget(s, e);
	e->state = END_CLOSED;
}

void sim_end_close(struct sim *s, struct end *e)
{
	bool was_up = e->state == END_UP;

	if (e->state == END_HANDSHAKE || (!was_up && is_server(e)))
		sim_seg_reset(s, e->host, sim_other(e));
	leave(s, e);
	if (was_up) {
		e->fin = true;
		write_more(s, e);
	} else {
		sim_seg_abort(s, e);
	}
}

void sim_end_reset(struct sim *s, struct end *e)
{
	sim_seg_reset(s, e->host, sim_other(e));
	sim_seg_abort(s, e);
	leave(s, e);
}

void sim_end_fail(struct sim *s, struct end *e, enum cause cause,
		  const char *text)
{
	struct flow_event down = {.kind = FLOW_DOWN,
				  .cause = cause,
				  .accepted = is_server(e),
				  .peer = e->hop,
				  .text = str_from(text)};

	leave(s, e);
	list_each (it, &e->unwritten)
		sim_bounce(s, e->node, e->worker, &e->hop,
			   container_of(it, struct unwritten, link)->bytes,
			   cause);
	sim_seg_abort(s, e);
	sim_tell_worker(s, e->node, e->worker, &down);
}

/* ---- what an end is told ---------------------------------------------- */

static bool tell(struct end *e, enum sim_kind kind, struct sim_event *out_r)
{
	*out_r = (struct sim_event){
	    .kind = kind,
	    .endpoint = e->endpoint,
	    .side = e->conn->no * 2 + (unsigned)is_server(e),
	    .from = sim_other(e)->addr,
	    .to = e->addr,
	};
	return true;
}

static bool up(struct sim *s, struct end *e, const char *name,
	       struct sim_event *out_r)
{
	e->state = END_UP;
	if (e->known)
		sim_flow_up(s, e, name);
	if (e->state == END_UP)
		write_more(s, e);
	return e->endpoint &&
	       tell(e, is_server(e) ? SIM_ACCEPT : SIM_UP, out_r);
}

/* The connection has ended, and not by this end. What an endpoint is told is
 * borrowed, and has to be static. */
static bool down(struct sim *s, struct end *e, enum cause cause,
		 const char *text, struct sim_event *out_r)
{
	bool unheard = e->state == END_OPENING && is_server(e);

	if (e->state == END_CLOSED || e->state == END_NONE || unheard) {
		sim_seg_abort(s, e);
		leave(s, e);
		return false;
	}
	if (e->known) {
		sim_end_fail(s, e, cause, text);
		return false;
	}
	sim_seg_abort(s, e);
	leave(s, e);
	tell(e, SIM_DOWN, out_r);
	out_r->cause = cause;
	out_r->text = str_from(text);
	return true;
}

bool sim_conn_reset(struct sim *s, struct end *to, struct sim_event *out_r)
{
	switch (to->state) {
	case END_OPENING:
		return down(s, to, CAUSE_REFUSED, NULL, out_r);
	case END_HANDSHAKE:
		return down(s, to, CAUSE_TLS_HANDSHAKE,
			    "the peer reset the connection", out_r);
	default:
		return down(s, to, CAUSE_RESET, NULL, out_r);
	}
}

bool sim_conn_give_up(struct sim *s, struct end *from, struct sim_event *out_r)
{
	enum cause cause =
	    from->state == END_OPENING ? CAUSE_CONNECT_TIMEOUT : CAUSE_RESET;

	sim_seg_reset(s, from->host, sim_other(from));
	return down(s, from, cause, "nothing was acknowledged for 10 s", out_r);
}

/* It is to be up by now: a client after USER_TIMEOUT, a server of TLS after its
 * time for the handshake. */
bool sim_conn_late(struct sim *s, struct end *e, struct sim_event *out_r)
{
	if (!is_server(e) && e->state == END_OPENING)
		return down(
		    s, e, e->homeless ? CAUSE_NO_SOURCE : CAUSE_CONNECT_TIMEOUT,
		    NULL, out_r);
	if (e->state != END_HANDSHAKE)
		return false;
	sim_seg_reset(s, e->host, sim_other(e));
	return down(s, e, CAUSE_TLS_HANDSHAKE, "the handshake took too long",
		    out_r);
}

/* ---- connecting ------------------------------------------------------- */

/* The endpoint whose socket a connection is made to; NULL: none. */
static struct endpoint *endpoint_at(struct sim *s, const struct addr *at)
{
	struct endpoint *ep = sim_endpoint_at(s, at, true);

	return ep && ep->host == sim_owner(s, at) ? ep : NULL;
}

bool sim_conn_takes(struct sim *s, const struct end *to)
{
	const struct endpoint *ep =
	    to->state == END_NONE ? endpoint_at(s, &to->addr)
	    : to->endpoint        ? sim_endpoint(s, to->endpoint)
				  : NULL;

	return !ep || ep->mode != SIM_STALLED;
}

static void accept_or_refuse(struct sim *s, struct end *to)
{
	struct endpoint *ep = endpoint_at(s, &to->addr);
	unsigned owner = sim_reach(s, sim_other(to)->host, &to->addr);
	unsigned node = s->machine[owner].node;
	int l = -1;

	if (to->state != END_NONE)
		return; /* it was reset meanwhile */
	if (!ep && node && sim_node_runs(s, node))
		l = sim_listener_at(s->node[node - 1], &to->addr, true);
	if (ep ? ep->mode == SIM_REFUSING : l < 0) {
		sim_seg_reset(s, owner, sim_other(to));
		return;
	}
	to->host = owner;
	to->state = END_OPENING;
	if (ep) {
		to->endpoint = ep->id;
		to->transport = ep->transport;
	} else {
		sim_flow_accept(s, to, node, l);
	}
	sim_seg_put(s, to, SEG_SYNACK, NULL);
}

static bool connected(struct sim *s, struct end *e, struct sim_event *out_r)
{
	if (e->state != END_OPENING) { /* it has been given up since */
		sim_seg_reset(s, e->host, sim_other(e));
		return false;
	}
	if (e->transport == TRANSPORT_TLS) {
		e->state = END_HANDSHAKE;
		sim_seg_put(s, e, SEG_HELLO, NULL);
		return false;
	}
	sim_seg_put(s, e, SEG_ACK, NULL);
	return up(s, e, NULL, out_r);
}

/* ---- TLS -------------------------------------------------------------- */

static const struct sim_tls *shown_by(const struct sim *s, const struct end *e)
{
	return e->endpoint ? &sim_endpoint(s, e->endpoint)->tls : NULL;
}

static bool on_hello(struct sim *s, struct end *e, struct sim_event *out_r)
{
	if (e->transport == TRANSPORT_TLS) {
		e->state = END_HANDSHAKE;
		sim_seg_put(s, e, SEG_CERT, NULL);
		return false;
	}
	/* What it gets is no SIP, and that is what it can know. */
	if (e->endpoint) {
		sim_end_reset(s, e);
		return false;
	}
	up(s, e, NULL, out_r);
	sim_flow_data(s, e, STR("\x16\x03\x01"));
	return false;
}

/* The client has seen the certificate of the server. */
static bool on_cert(struct sim *s, struct end *e, struct sim_event *out_r)
{
	char text[TLS_TEXT] = "";
	enum cause cause = CAUSE_NONE;

	if (e->known)
		cause = sim_tls_server(sim_flow_tls(s, e), e->hop.tls_name,
				       shown_by(s, sim_other(e)), text);
	if (cause != CAUSE_NONE) {
		sim_seg_put(s, e, SEG_ALERT,
			    "the peer rejects our certificate");
		return down(s, e, cause, text, out_r);
	}
	sim_seg_put(s, e, SEG_DONE, NULL);
	return up(s, e, NULL, out_r);
}

/* And the server what the client has to show. As with TLS 1.3 the client is up
 * already. */
static bool on_done(struct sim *s, struct end *e, struct sim_event *out_r)
{
	struct end *client = sim_other(e);
	const struct sim_tls *shown = shown_by(s, client);
	const char *name = NULL, *why = NULL;
	char text[TLS_TEXT] = "";

	if (e->known) {
		if (sim_tls_client(sim_flow_tls(s, e), shown, &name, text))
			why = "the peer rejects our certificate";
	} else if (shown_by(s, e)->wants_client) {
		bool has = shown ? shown->names > 0
				 : sim_flow_tls(s, client)->cert[0] != '\0';

		if (!has)
			why = "the peer demands a client certificate";
	}
	if (!why)
		return up(s, e, name, out_r);
	sim_seg_put(s, e, SEG_ALERT, why);
	return down(s, e, CAUSE_TLS_HANDSHAKE,
		    e->known ? text : "the client shows no certificate", out_r);
}

/* ---- what arrives ----------------------------------------------------- */

/* The link resets a connection on which so many bytes have passed. */
static struct str cut_off(struct sim *s, struct end *from, struct str bytes)
{
	struct end *to = sim_other(from);
	struct sim_link link;

	sim_link_get(s, from->host, to->host, &link);
	if (link.cut && from->delivered + bytes.n >= link.cut) {
		size_t left =
		    link.cut > from->delivered ? link.cut - from->delivered : 0;

		bytes = str_sub(bytes, 0, left);
		sim_seg_reset(s, 0, to);
		sim_seg_reset(s, to->host, from);
		sim_seg_abort(s, from);
		sim_seg_abort(s, to);
	}
	from->delivered += bytes.n;
	return bytes;
}

static bool on_data(struct sim *s, struct end *e, const struct seg *seg,
		    struct sim_event *out_r)
{
	struct end *from = sim_other(e);
	struct str bytes;
	bool told = false;

	if (e->state == END_HANDSHAKE) {
		sim_seg_reset(s, e->host, from);
		return down(s, e, CAUSE_TLS_HANDSHAKE,
			    "the peer does not speak TLS", out_r);
	}
	if (e->state != END_UP) {
		sim_seg_reset(s, e->host, from);
		return false;
	}
	bytes = cut_off(s, from, seg->bytes);
	if (seg->last && bytes.n == seg->bytes.n)
		sim_trace_fate(s, seg->packet, SIM_DELIVERED);
	if (bytes.n && e->known) {
		sim_flow_data(s, e, bytes);
	} else if (bytes.n) {
		told = tell(e, SIM_DATA, out_r);
		out_r->bytes = bytes;
	}
	write_more(s, from);
	return told;
}

static bool on_fin(struct sim *s, struct end *e, struct sim_event *out_r)
{
	if (e->state == END_HANDSHAKE)
		return down(s, e, CAUSE_TLS_HANDSHAKE,
			    "the peer closed the connection", out_r);
	return down(s, e, CAUSE_CLOSED, NULL, out_r);
}

bool sim_conn_arrive(struct sim *s, struct end *to, const struct seg *seg,
		     struct sim_event *out_r)
{
	bool opening = to->state == END_OPENING;

	switch (seg->kind) {
	case SEG_SYN:
		accept_or_refuse(s, to);
		return false;
	case SEG_SYNACK:
		return connected(s, to, out_r);
	case SEG_ACK:
		if (opening && to->transport == TRANSPORT_TLS)
			to->state = END_HANDSHAKE;
		else if (opening)
			return up(s, to, NULL, out_r);
		return false;
	case SEG_HELLO:
		return opening && on_hello(s, to, out_r);
	case SEG_CERT:
		return to->state == END_HANDSHAKE && on_cert(s, to, out_r);
	case SEG_DONE:
		return to->state == END_HANDSHAKE && on_done(s, to, out_r);
	case SEG_ALERT:
		return down(s, to, CAUSE_TLS_HANDSHAKE, seg->text, out_r);
	case SEG_DATA:
		return on_data(s, to, seg, out_r);
	case SEG_FIN:
		return on_fin(s, to, out_r);
	}
	return false;
}

/* ---- the wider world -------------------------------------------------- */

void sim_streams_dead(struct sim *s, unsigned host)
{
	for (size_t i = 0; i < s->conns; i++)
		for (int k = 0; s->conn[i] && k < 2; k++) {
			struct end *e = &s->conn[i]->end[k];

			if (e->host != host)
				continue;
			leave(s, e);
			sim_seg_abort(s, e);
		}
}

/* ---- endpoints -------------------------------------------------------- */

unsigned sim_connect(struct sim *s, unsigned id, const struct addr *to,
		     struct addr *from_r)
{
	const struct endpoint *ep = sim_endpoint(s, id);
	struct conn *c = sim_conn_new(s);
	struct end *e = &c->end[0];

	e->endpoint = id;
	e->host = ep->host;
	e->transport = ep->transport;
	e->addr = ep->at;
	sim_conn_connect(s, e, to);
	*from_r = e->addr;
	return c->no * 2;
}

unsigned sim_conns(const struct sim *s)
{
	return (unsigned)s->conns;
}

static struct end *end_of(const struct sim *s, unsigned side)
{
	struct conn *c;
	struct end *e;

	assert(side >= 2 && side / 2 <= s->conns);
	c = s->conn[side / 2 - 1];
	e = c ? &c->end[side % 2] : NULL;
	return e && e->endpoint && e->state != END_CLOSED ? e : NULL;
}

void sim_write(struct sim *s, unsigned side, struct str bytes, size_t piece)
{
	struct end *e = end_of(s, side);

	if (e && bytes.n)
		sim_end_write(s, e, bytes, piece);
}

void sim_close(struct sim *s, unsigned side)
{
	struct end *e = end_of(s, side);

	if (e)
		sim_end_close(s, e);
}

void sim_reset(struct sim *s, unsigned side)
{
	struct end *e = end_of(s, side);

	if (e)
		sim_end_reset(s, e);
}
