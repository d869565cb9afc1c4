/*
 * How a request is refused that is too much (overload.c): with as little work
 * as can be, for what it costs is taken from the calls that are accepted.
 */
#include "message/glance.h"
#include "proxy/context.h"

static uint64_t id_of(const struct proxy *p, const struct msg *m,
		      const struct msg_key *key)
{
	return branch_brief_tag(p->c.keys->now, m, key);
}

/* ---- what was read ---- */

bool shed_request(struct proxy *p, const struct msg *m,
		  const struct msg_key *key, const struct hop *from,
		  struct now now)
{
	struct offer o = {.method = m->method_id,
			  .uri = m->uri,
			  .in_dialog = key->to_tag.n > 0};
	enum counter why;
	char tag[TAG_LEN];

	if (!overload_may_refuse(p, o.in_dialog))
		return false;
	o.id = id_of(p, m, key);
	why = overload_why(p, &o);
	if (why == COUNTER_N)
		return false;
	if (overload_refuse(p, &o, why, from, now)) {
		str_put_hex(tag, TAG_LEN, o.id);
		stateless_shed(p, m, key, from, (struct str){tag, TAG_LEN},
			       overload_retry_after(p, o.id));
	}
	return true;
}

bool shed_ack(const struct proxy *p, const struct msg *m,
	      const struct msg_key *key)
{
	return p->overload.on && m->method_id == METHOD_ACK &&
	       overload_refused(p, id_of(p, m, key));
}

bool shed_is_tag(const struct proxy *p, const struct msg *m,
		 const struct msg_key *key)
{
	const struct sipkeys *keys = p->c.keys;
	uint64_t found;

	if (key->to_tag.n != TAG_LEN || !str_hex64(key->to_tag, &found))
		return false;
	return found == branch_brief_tag(keys->now, m, key) ||
	       (keys->has_other &&
		found == branch_brief_tag(keys->other, m, key));
}

/* ---- what was not read ---- */

/* What the answer has more than the lines that it repeats, at most. */
enum { ANSWER_MORE = 250 };

/* An answer may be too long for the request: leave that to who can say it more
 * briefly (stateless_write). */
static bool may_amplify(const struct glance *g, const struct hop *from,
			size_t n)
{
	size_t repeated =
	    g->vias.n + g->from.n + g->to.n + g->call_id.n + g->cseq.n;

	return stateless_amplifies(n, from, repeated + ANSWER_MORE);
}

static void answer(struct proxy *p, const struct glance *g, uint64_t id,
		   const struct hop *from, size_t size)
{
	struct str via = via_mark_received(p->c.scratch, &g->via, from);
	char tag[TAG_LEN];
	struct buf b;

	str_put_hex(tag, TAG_LEN, id);
	buf_arena(&b, p->c.scratch, size);
	glance_reply(g, STR("503 Service Unavailable"), via,
		     (struct str){tag, TAG_LEN}, overload_retry_after(p, id),
		     &b);
	if (via.p && buf_ok(&b))
		stateless_send(p, from, g->method, 503, buf_str(&b));
	else
		count(p->c.counters, CNT_NOMEM);
}

static void count_unread(struct proxy *p, const struct glance *g,
			 const struct hop *from)
{
	count_message(p->c.counters, CNT_RECV_REQUEST, from->transport);
	count_request(p->c.counters, g->method);
}

/* The transaction is looked for last: that costs more than all of the rest, of
 * a table that is larger than any cache. */
static bool refuse_unread(struct proxy *p, const struct glance *g, uint64_t id,
			  const struct hop *from, size_t n, struct now now)
{
	struct offer o = {.method = g->method, .uri = g->uri, .id = id};
	enum counter why;

	if (may_amplify(g, from, n) || !p->policy || drain_is_on(p))
		return false;
	why = overload_why(p, &o);
	if (why == COUNTER_N || server_is_known(p->c.txns, &g->via, g->method))
		return false;
	count_unread(p, g, from);
	if (overload_refuse(p, &o, why, from, now))
		answer(p, g, id, from, n);
	return true;
}

static struct str value_of(struct str line)
{
	str_cut(&line, ':');
	return str_trim(line);
}

/* False: what is unusual is read. */
static bool id_unread(const struct proxy *p, const struct glance *g,
		      uint64_t *id_r)
{
	struct str cseq = value_of(g->cseq);
	uint32_t number;

	return str_u32(str_cut(&cseq, ' '), INT32_MAX, &number) &&
	       branch_brief_tag_by_via(p->c.keys->now, &g->via,
				       value_of(g->call_id), number, id_r);
}

bool proxy_sheds(struct proxy *p, struct str bytes, const struct hop *from,
		 struct now now)
{
	struct glance g;
	uint64_t id;

	if (!p->overload.on || !glance_read(&g, bytes) ||
	    g.method == METHOD_CANCEL || !id_unread(p, &g, &id))
		return false;
	if (g.method != METHOD_ACK)
		return refuse_unread(p, &g, id, from, bytes.n, now);
	if (!overload_refused(p, id))
		return false;
	count_unread(p, &g, from);
	return true;
}
