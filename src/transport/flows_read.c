/*
 * The way in: pieces of a stream become messages, a bounded number at a time,
 * and the time that a message may take is watched.
 */
#include <string.h>
#include "transport/flows_int.h"

enum {
	/* Messages and pings of one connection in one run: others have their
	 * turn after that. */
	READ_MAX = 64,
	/* Of those that wait so many have a turn in one run. */
	TURNS = 4,
	/* With more than those: about as long as it took. The timer may be due
	 * at every datagram, and the crowd must not be served before each. */
	CROWD_PAUSE = MILLIS(10)
};

/* ---- what has to wait ---- */

void flow_drop_backlog(struct flow *f)
{
	list_remove(&f->late.link);
	mem_free(f->fs->c.mem, f->late.p);
	f->late = (struct backlog){.p = NULL};
}

/* False when it is more than may wait, or memory ran out. */
static bool put_off(struct flow *f, struct str bytes)
{
	struct flows *fs = f->fs;
	struct backlog *b = &f->late;
	size_t left = b->n - b->at;
	char *p;

	if (left + bytes.n > fs->c.limits->queue)
		return false;
	p = mem_alloc(fs->c.mem, left + bytes.n);
	if (!p)
		return false;
	if (left)
		memcpy(p, b->p + b->at, left);
	memcpy(p + left, bytes.p, bytes.n);
	mem_free(fs->c.mem, b->p);
	b->p = p;
	b->at = 0;
	b->n = left + bytes.n;
	if (!list_linked(&b->link))
		list_append(&fs->late, &b->link);
	/* Not in this run, which would then never end. */
	if (!timer_armed(&fs->more))
		timer_arm(fs->c.timers, &fs->more,
			  tick_add(fs->c.now->mono, MILLIS(1)));
	return true;
}

/* ---- reading ---- */

/* From the first byte of a message to its last, and to the first message of
 * whoever came to us. `news`: one was completed just now. */
static void watch_time(struct flow *f, bool news, struct now now)
{
	struct timers *ts = f->fs->c.timers;

	if (f->accepted && !f->spoke)
		return; /* counted from its beginning */
	if (!frame_inside(&f->frame))
		timer_stop(ts, &f->limit);
	else if (news || !timer_armed(&f->limit))
		timer_arm(ts, &f->limit,
			  tick_add(now.mono, f->fs->c.limits->header));
}

static void pong(struct flow *f)
{
	const struct flows_conf *c = &f->fs->c;

	count(c->counters, CNT_FLOW_PONG);
	c->host->send(c->host->ctx, &f->hop, STR("\r\n"));
}

static void on_garbage(struct flow *f, struct str bytes, struct now now)
{
	const struct flows_conf *c = &f->fs->c;
	enum frame_bad bad = f->frame.bad;

	flow_count_bad(c->counters, bad);
	c->user.on_garbage(c->user.ctx, &f->hop, bytes, frame_bad_code(bad),
			   frame_bad_text(bad), now);
	flow_end(f, WHY_FRAMING, CAUSE_CLOSED, frame_bad_text(bad), now);
}

/* Works on the piece and leaves in it what has to wait. False: it has ended. */
static bool read_piece(struct flow *f, struct str *piece, struct now now)
{
	const struct flows_conf *c = &f->fs->c;
	bool news = false;
	struct str out;

	for (unsigned n = 0; n < READ_MAX; n++) {
		switch (
		    frame_next(&f->frame, c->limits->message, piece, &out)) {
		case FRAME_MORE:
			watch_time(f, news, now);
			return true;
		case FRAME_BAD:
			on_garbage(f, out, now);
			return false;
		case FRAME_PING:
			pong(f);
			break;
		case FRAME_MESSAGE:
			news = f->spoke = true;
			c->user.on_message(c->user.ctx, &f->hop, out, now);
			break;
		}
		flow_touch(f);
	}
	watch_time(f, news, now);
	return true;
}

static void wait_or_end(struct flow *f, struct str rest, struct now now)
{
	if (rest.n && !put_off(f, rest))
		flow_end(f, WHY_FLOOD, CAUSE_CLOSED, STR_NONE, now);
}

void flows_receive(struct flows *fs, const struct hop *from, struct str bytes,
		   struct now now)
{
	struct flow *f = flow_find(fs, from->conn);

	if (!f || f->state != FLOW_OPEN) {
		count(fs->c.counters, CNT_FLOW_STRAY);
		return;
	}
	if (list_linked(&f->late.link) || read_piece(f, &bytes, now))
		wait_or_end(f, bytes, now);
}

/* False: it has ended. */
static bool read_late(struct flow *f, struct now now)
{
	struct backlog *b = &f->late;
	struct str piece = {b->p + b->at, b->n - b->at};

	if (!read_piece(f, &piece, now))
		return false;
	b->at = b->n - piece.n;
	if (!piece.n)
		flow_drop_backlog(f);
	return true;
}

bool flow_read_rest(struct flow *f, struct now now)
{
	bool is_there = true;

	while (is_there && list_linked(&f->late.link))
		is_there = read_late(f, now);
	return is_there;
}

/* Who had his turn waits behind the others. */
void flow_on_more(struct timer *t, struct now now)
{
	struct flows *fs = container_of(t, struct flows, more);
	struct list *began = list_first(&fs->late), *first = began;

	for (unsigned n = 0; first && n < TURNS; n++) {
		list_remove(first);
		list_append(&fs->late, first);
		read_late(container_of(first, struct flow, late.link), now);
		first = list_first(&fs->late);
		if (first == began)
			break;
	}
	if (!list_empty(&fs->late))
		timer_arm(fs->c.timers, t,
			  tick_add(now.mono,
				   first == began ? MILLIS(1) : CROWD_PAUSE));
}
