/*
 * What comes in: whose it is, and what becomes of what cannot be read.
 */
#include "core/core_int.h"

#include <string.h>
#include "message/peek.h"

static bool is_keepalive(struct str bytes)
{
	/* CRLF (RFC 5626), or the zero bytes some phones send. */
	for (size_t i = 0; i < bytes.n; i++)
		if (bytes.p[i] != '\r' && bytes.p[i] != '\n' &&
		    bytes.p[i] != '\0')
			return false;
	return true;
}

/* A call belongs to one worker. */
static bool hand_over(struct core *c, const struct hop *from, struct str bytes,
		      struct str call_id)
{
	struct post post = {.kind = POST_DATAGRAM,
			    .bytes = bytes,
			    .came = late_came(c),
			    .handed = c->now.mono};
	unsigned worker;

	if (c->node->workers == 1)
		return false;
	worker = branch_h8(call_id) % c->node->workers;
	if (worker == c->worker)
		return false;
	post.from = *from;
	count(&c->counters, CNT_HANDOVER);
	c->host->post(c->host->ctx, worker, &post);
	return true;
}

static void receive_bad(struct core *c, struct msg *m, struct msg_key *key,
			enum msg_bad bad, const struct hop *from)
{
	if (bad == MSG_NOMEM)
		count(&c->counters, CNT_NOMEM);
	else if (!m->is_request || !reply_can_answer(m) || !key->via.host.p) {
		count(&c->counters, CNT_PARSE);
		proxy_count_bad(&c->counters, bad);
	} else
		proxy_on_request(c->proxy, m, key, bad, from, c->now);
}

/* The very same bytes. */
static bool is_same(struct str a, struct str b)
{
	return a.p == b.p && a.n == b.n;
}

static bool is_response(struct str bytes)
{
	return bytes.n >= 4 && memcmp(bytes.p, "SIP/", 4) == 0;
}

/* Without reading it: whose it is decides whoever it goes to, once more. What
 * was looked at and is ours is left in *seen_r. Responses mostly come to whose
 * they are: they are read at once. */
static bool hand_over_unread(struct core *c, const struct hop *from,
			     struct str bytes, struct str *seen_r)
{
	*seen_r = STR_NONE;
	if (c->node->workers == 1 || is_response(bytes))
		return false;
	*seen_r = msg_peek_call_id(bytes);
	return seen_r->n && hand_over(c, from, bytes, *seen_r);
}

static bool is_ignored(struct core *c, const struct hop *from, struct str bytes)
{
	if (addr_is_unsendable(&from->addr) || from->addr.port == 0) {
		count(&c->counters, CNT_BAD_SOURCE);
		return true;
	}
	if (is_keepalive(bytes)) {
		count(&c->counters, CNT_KEEPALIVE);
		return true;
	}
	return false;
}

/* In an overload what is refused is not read, if we know that it is ours, and
 * nobody wants to see it. *late_r: how late it is has been noted. */
static bool shed_unread(struct core *c, const struct hop *from,
			struct str bytes, bool ours, bool *late_r)
{
	*late_r = ours && proxy_is_overloaded(c->proxy) &&
		  !capture_is_on(&c->node->capture);
	if (!*late_r)
		return false;
	late_note_input(c, from);
	return proxy_sheds(c->proxy, bytes, from, c->now);
}

/* `seen` is a Call-ID of ours, or empty. */
static void read_message(struct core *c, const struct hop *from,
			 struct str bytes, struct str seen)
{
	bool ours = c->node->workers == 1 || seen.n, late;
	struct msg m;
	struct msg_key key;
	enum msg_bad bad;

	if (shed_unread(c, from, bytes, ours, &late))
		return;
	memset(&key, 0, sizeof(key));
	bad = msg_index(&m, c->scratch, bytes);
	if (bad == MSG_OK)
		bad = msg_key(&m, &key);
	else if (m.is_request && reply_can_answer(&m))
		msg_key(&m, &key); /* what the answer needs */
	if (bad != MSG_OK) {
		if (capture_is_on(&c->node->capture))
			capture_message(c, true, from, bytes);
		receive_bad(c, &m, &key, bad, from);
		return;
	}
	if (!is_same(seen, key.call_id) &&
	    hand_over(c, from, bytes, key.call_id))
		return;
	if (!late)
		late_note_input(c, from);
	if (capture_is_on(&c->node->capture))
		capture_message(c, true, from, m.raw);
	if (m.is_request)
		proxy_on_request(c->proxy, &m, &key, MSG_OK, from, c->now);
	else
		proxy_on_response(c->proxy, &m, &key, from, c->now);
}

void receive_message(struct core *c, const struct hop *from, struct str bytes)
{
	read_message(c, from, bytes, STR_NONE);
}

void receive_bytes(struct core *c, const struct hop *from, struct str bytes)
{
	struct str seen;

	if (!is_ignored(c, from, bytes) &&
	    !hand_over_unread(c, from, bytes, &seen))
		read_message(c, from, bytes, seen);
}

void receive_garbage(struct core *c, const struct hop *from, struct str bytes,
		     int code, struct str reason)
{
	struct msg m;
	struct msg_key key;

	memset(&key, 0, sizeof(key));
	msg_index(&m, c->scratch, bytes);
	if (code && m.is_request && reply_can_answer(&m)) {
		msg_key(&m, &key); /* what the answer needs */
		if (key.via.host.p)
			proxy_refuse(c->proxy, &m, &key, from, code, reason,
				     c->now);
	}
}

/* The worker of a quoted request is in its branch: find our cookie. */
static int worker_of_quoted(const struct core *c, struct str quoted)
{
	static const char cookie[] = "branch=z9hG4bK1";
	struct branch b;
	const char *p = memmem(quoted.p, quoted.n, cookie, sizeof(cookie) - 1);
	size_t at;

	if (!p)
		return -1;
	at = (size_t)(p - quoted.p) + sizeof("branch=") - 1;
	if (!branch_parse(str_sub(quoted, at, at + BRANCH_LEN), &b))
		return -1;
	return (int)(b.h8 % c->node->workers);
}

void receive_flow_error(struct core *c, const struct flow_event *e)
{
	int worker = worker_of_quoted(c, e->quoted);
	struct post post = {.kind = POST_FLOW,
			    .from = e->peer,
			    .bytes = e->quoted,
			    .cause = (int)e->cause};

	if (worker < 0 || (unsigned)worker == c->worker)
		proxy_on_flow_event(c->proxy, e, c->now);
	else
		c->host->post(c->host->ctx, (unsigned)worker, &post);
}
