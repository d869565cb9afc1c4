#include "sim/sim_stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ev.what of EV_STREAM; `side` is whose segment it is, or who is told. */
enum stream_ev { ARRIVE, AGAIN, NEXT, RESET, LATE };

void sim_streams_init(struct sim *s)
{
	if (map_init(&s->conn_map, &s->mem))
		abort();
}

void sim_streams_fini(struct sim *s)
{
	for (size_t i = 0; i < s->conns; i++)
		if (s->conn[i])
			sim_conn_free(s, s->conn[i]);
	mem_free(&s->mem, s->conn);
	map_fini(&s->conn_map);
}

struct conn *sim_conn_new(struct sim *s)
{
	struct conn *c = sim_alloc(s, sizeof(*c));

	s->conn =
	    sim_grow(s, s->conn, s->conns, &s->conn_cap, sizeof(struct conn *));
	s->conn[s->conns++] = c;
	c->no = (unsigned)s->conns;
	for (int i = 0; i < 2; i++) {
		c->end[i].conn = c;
		list_init(&c->end[i].out);
		list_init(&c->end[i].unwritten);
	}
	return c;
}

static void free_seg(struct sim *s, struct seg *seg)
{
	if (seg->last && seg->packet->p.fate == SIM_FLYING)
		sim_trace_fate(s, seg->packet, SIM_LOST);
	list_remove(&seg->link);
	mem_free(&s->mem, seg);
}

void sim_conn_free(struct sim *s, struct conn *c)
{
	s->conn[c->no - 1] = NULL;
	for (int i = 0; i < 2; i++) {
		list_each_safe (it, &c->end[i].out)
			free_seg(s, container_of(it, struct seg, link));
		list_each_safe (it, &c->end[i].unwritten)
			mem_free(&s->mem,
				 container_of(it, struct unwritten, link));
		if (c->end[i].known)
			map_remove(&s->conn_map, &c->end[i].by_hop);
	}
	mem_free(&s->mem, c);
}

static struct ev *plan(struct sim *s, struct end *e, enum stream_ev what,
		       int64_t at)
{
	struct ev *ev = sim_queue(s, EV_STREAM, at);

	ev->conn = e->conn;
	ev->side = e != &e->conn->end[0];
	ev->what = what;
	e->conn->events++;
	return ev;
}

void sim_conn_watch(struct sim *s, struct end *e, int64_t at)
{
	plan(s, e, LATE, at);
}

/* ---- sending ---------------------------------------------------------- */

/* The last of them is when the sender gives up. */
static void try_later(struct sim *s, struct end *from, struct seg *seg)
{
	bool syn = seg->kind == SEG_SYN;
	int64_t first = syn ? SECONDS(1) : MILLIS(200);
	int64_t most = syn ? SECONDS(4) : SECONDS(1);
	int64_t wait = first << (seg->tries < 8 ? seg->tries : 8);
	int64_t at = s->now + (wait < most ? wait : most);
	int64_t ends = seg->sent + USER_TIMEOUT;

	seg->tries++;
	plan(s, from, AGAIN, at < ends ? at : ends)->seg = seg;
}

static void launch(struct sim *s, struct end *from, struct seg *seg)
{
	int64_t takes = sim_carry(s, from->host, &sim_other(from)->addr);

	if (takes < 0) {
		try_later(s, from, seg);
		return;
	}
	if (from->latest < s->now + takes)
		from->latest = s->now + takes;
	plan(s, from, ARRIVE, s->now + takes)->seg = seg;
}

static struct seg *put(struct sim *s, struct end *from, const struct seg *copy)
{
	struct seg *seg = sim_alloc(s, sizeof(*seg));

	*seg = *copy;
	seg->sent = s->now;
	list_append(&from->out, &seg->link);
	launch(s, from, seg);
	return seg;
}

void sim_seg_put(struct sim *s, struct end *from, enum seg_kind kind,
		 const char *text)
{
	struct seg seg = {.kind = kind, .text = text};

	put(s, from, &seg);
}

void sim_seg_data(struct sim *s, struct end *from, struct str bytes,
		  size_t piece)
{
	struct end *to = sim_other(from);
	struct sim_packet copy = {
	    .sent = s->now,
	    .from = from->addr,
	    .to = to->addr,
	    .transport = from->transport,
	    .node = from->node,
	    .bytes = bytes,
	};
	struct seg seg = {.kind = SEG_DATA};
	struct sim_link link = {0};
	struct str rest;

	seg.packet = sim_trace_packet(s, &copy, from->host);
	if (to->host) {
		seg.packet->p.to_host = to->host;
		seg.packet->direct = true;
	}
	rest = seg.packet->p.bytes;
	if (to->host)
		sim_link_get(s, from->host, to->host, &link);
	if (!piece)
		piece = link.chunk ? link.chunk : rest.n;
	from->out_bytes += rest.n;
	while (rest.n) {
		seg.bytes = str_sub(rest, 0, piece);
		rest = str_sub(rest, seg.bytes.n, rest.n);
		seg.last = rest.n == 0;
		put(s, from, &seg);
	}
}

void sim_seg_abort(struct sim *s, struct end *from)
{
	from->aborted = true;
	from->fin = false;
	list_each_safe (it, &from->unwritten)
		mem_free(&s->mem, container_of(it, struct unwritten, link));
	list_init(&from->unwritten);
	from->unwritten_bytes = 0;
}

void sim_seg_reset(struct sim *s, unsigned host, struct end *to)
{
	struct end *from = sim_other(to);
	int64_t takes = host ? sim_carry(s, host, &to->addr) : 0;
	int64_t at = s->now + takes;

	if (takes < 0)
		return; /* never sent again */
	plan(s, to, RESET, at > from->latest ? at : from->latest);
}

/* ---- receiving -------------------------------------------------------- */

/* Of several that wait for one that was late, one after the other: the endpoint
 * is told of one at a time. */
static bool take_next(struct sim *s, struct end *from, struct sim_event *out_r)
{
	struct end *to = sim_other(from);
	struct list *first = list_first(&from->out);
	struct seg *seg = first ? container_of(first, struct seg, link) : NULL;
	bool tell;

	if (!seg || !seg->arrived)
		return false;
	list_remove(&seg->link);
	from->out_bytes -= seg->bytes.n;
	tell = sim_conn_arrive(s, to, seg, out_r);
	free_seg(s, seg);
	first = list_first(&from->out);
	if (first && container_of(first, struct seg, link)->arrived)
		plan(s, from, NEXT, s->now);
	return tell;
}

static bool arrive(struct sim *s, struct end *from, struct seg *seg,
		   struct sim_event *out_r)
{
	struct end *to = sim_other(from);
	unsigned owner = to->host && sim_has(s, to->host, &to->addr)
			     ? to->host
			     : sim_reach(s, from->host, &to->addr);

	if (!owner || s->machine[owner].off || !sim_conn_takes(s, to)) {
		try_later(s, from, seg);
		return false;
	}
	seg->arrived = true;
	if (!to->host || to->host == owner)
		return take_next(s, from, out_r);
	/* The address has moved to a machine that knows nothing of it. */
	sim_seg_abort(s, from);
	sim_seg_reset(s, owner, from);
	return false;
}

static bool again(struct sim *s, struct end *from, struct seg *seg,
		  struct sim_event *out_r)
{
	if (from->aborted) {
		from->out_bytes -= seg->bytes.n;
		free_seg(s, seg);
		return false;
	}
	if (s->now < seg->sent + USER_TIMEOUT) {
		launch(s, from, seg);
		return false;
	}
	from->out_bytes -= seg->bytes.n;
	free_seg(s, seg);
	return sim_conn_give_up(s, from, out_r);
}

static bool over(const struct end *e)
{
	return (e->state == END_NONE || e->state == END_CLOSED) && !e->fin;
}

bool sim_stream_event(struct sim *s, struct ev *ev, struct sim_event *out_r)
{
	struct conn *c = ev->conn;
	struct end *e = &c->end[ev->side];
	bool tell = false;

	sim_trace_mark(s, TRACE_STREAM, c->no,
		       (uint64_t)ev->what * 2 + (uint64_t)ev->side);
	switch ((enum stream_ev)ev->what) {
	case ARRIVE:
		tell = arrive(s, e, ev->seg, out_r);
		break;
	case AGAIN:
		tell = again(s, e, ev->seg, out_r);
		break;
	case NEXT:
		tell = take_next(s, e, out_r);
		break;
	case RESET:
		tell = sim_conn_reset(s, e, out_r);
		break;
	case LATE:
		tell = sim_conn_late(s, e, out_r);
		break;
	}
	if (--c->events == 0 && over(&c->end[0]) && over(&c->end[1]))
		sim_conn_free(s, c);
	return tell;
}
