/*
 * Request validation, RFC 3261 16.3, in its order. Syntax was checked by the
 * index; what is left of step 1 is the grammar of the fields we route by.
 */
#include "message/field.h"
#include "proxy/context.h"

uint64_t loop_hash(const struct proxy *p, struct sipkey secret,
		   const struct msg *m, const struct msg_key *key,
		   const struct hop *from)
{
	/* RFC 5393 4.2.1: everything a routing decision may rest on, so that a
	 * changed Request-URI is a spiral and the same one a loop. What a
	 * member sends goes another way than what its callers send.
	 * Proxy-Require and Proxy-Authorization are left out: a CANCEL may not
	 * have them (9.1), and a node that never saw its INVITE has to find the
	 * branch of that again (semantics 20). */
	const struct member *source = proxy_member_at(p, &from->addr);
	const struct hdr *f = msg_first(m, HDR_ROUTE);
	struct siphash h;

	siphash_init(&h, secret);
	siphash_str(&h, STR("loop"));
	siphash_str(&h, m->uri);
	siphash_str(&h, key->call_id);
	siphash_str(&h, key->from_tag);
	siphash_str(&h, key->to_tag);
	siphash_u64(&h, key->cseq);
	siphash_u64(&h, source ? source->id : 0);
	for (; f; f = msg_next(m, f))
		siphash_str(&h, msg_hdr_value(m, f));
	return siphash_end(&h);
}

/* Moves on to the next value that is a Via, on this line or a later one. */
static bool next_via(const struct msg *m, const struct hdr **line,
		     struct str *rest, struct via *via)
{
	while (!rest->p || !scan_via(*rest, via, rest)) {
		*line = msg_next(m, *line);
		if (!*line)
			return false;
		*rest = msg_hdr_value(m, *line);
	}
	return true;
}

/* RFC 5393 4.2.2 */
bool validate_is_loop(const struct proxy *p, const struct msg *m,
		      const struct msg_key *key, const struct hop *from)
{
	const struct sipkeys *keys = p->c.keys;
	const struct hdr *line = msg_first(m, HDR_VIA);
	struct str rest = key->via_rest;
	struct via via = key->via;
	uint64_t now = 0, other = 0;
	bool hashed = false;
	struct branch b;

	do {
		if (!branch_parse(via.branch, &b) ||
		    !via_is_ours(p->c.listeners, &via))
			continue;
		/* few requests come this far */
		if (!hashed) {
			now = other = loop_hash(p, keys->now, m, key, from);
			if (keys->has_other)
				other = loop_hash(p, keys->other, m, key, from);
			hashed = true;
		}
		if (b.l == now || b.l == other)
			return true;
	} while (next_via(m, &line, &rest, &via));
	return false;
}

/* "Unsupported: ..." (20.40) for everything in Proxy-Require: we extend
 * nothing.
 */
static struct str unsupported(struct proxy *p, const struct msg *m)
{
	const struct hdr *f = msg_first(m, HDR_PROXY_REQUIRE);
	struct buf b;

	buf_arena(&b, p->c.scratch, 128);
	for (; f; f = msg_next(m, f)) {
		BUF_LIT(&b, "Unsupported: ");
		buf_put(&b, msg_hdr_unfolded(m, f));
		BUF_LIT(&b, "\r\n");
	}
	return buf_ok(&b) ? buf_str(&b) : STR_NONE;
}

/* RFC 3261 19.1.6: tel is a Request-URI as well; where it goes is the policy's.
 */
static bool scheme_known(struct str scheme)
{
	return str_caseeq(scheme, STR("sip")) ||
	       str_caseeq(scheme, STR("sips")) ||
	       str_caseeq(scheme, STR("tel"));
}

void proxy_count_bad(struct counters *c, enum msg_bad bad)
{
	static const enum counter of[MSG_BAD_COUNT] = {
	    [MSG_OK] = COUNTER_N,
	    [MSG_NOMEM] = CNT_NOMEM,
	    [MSG_EMPTY] = CNT_BAD_NOT_SIP,
	    [MSG_NOT_SIP] = CNT_BAD_NOT_SIP,
	    [MSG_BAD_START] = CNT_BAD_START,
	    [MSG_BAD_METHOD] = CNT_BAD_START,
	    [MSG_BAD_URI] = CNT_BAD_START,
	    [MSG_URI_TOO_LONG] = CNT_BAD_SIZE,
	    [MSG_BAD_VERSION] = CNT_BAD_START,
	    [MSG_BAD_STATUS] = CNT_BAD_START,
	    [MSG_BAD_HEADER] = CNT_BAD_HEADER,
	    [MSG_BAD_HEADER_NAME] = CNT_BAD_HEADER,
	    [MSG_BAD_CHAR] = CNT_BAD_HEADER,
	    [MSG_NO_END] = CNT_BAD_HEADER,
	    [MSG_TOO_MANY_HEADERS] = CNT_BAD_SIZE,
	    [MSG_LINE_TOO_LONG] = CNT_BAD_SIZE,
	    [MSG_TOO_BIG] = CNT_BAD_SIZE,
	    [MSG_DUPLICATE] = CNT_BAD_HEADER,
	    [MSG_BAD_LENGTH] = CNT_BAD_LENGTH,
	    [MSG_SHORT_BODY] = CNT_BAD_LENGTH,
	    [MSG_NO_VIA] = CNT_BAD_VIA,
	    [MSG_BAD_VIA] = CNT_BAD_VIA,
	    [MSG_BAD_FROM] = CNT_BAD_IDENTITY,
	    [MSG_BAD_TO] = CNT_BAD_IDENTITY,
	    [MSG_BAD_CALL_ID] = CNT_BAD_IDENTITY,
	    [MSG_BAD_CSEQ] = CNT_BAD_IDENTITY,
	    [MSG_CSEQ_METHOD] = CNT_BAD_IDENTITY,
	    [MSG_BAD_MAX_FORWARDS] = CNT_BAD_ROUTING,
	    [MSG_BAD_ROUTE] = CNT_BAD_ROUTING,
	    [MSG_BAD_CONTACT] = CNT_BAD_ROUTING,
	};

	if (bad != MSG_OK)
		count(c, of[bad]);
}

int validate_request(struct proxy *p, struct msg *m, const struct msg_key *key,
		     const struct hop *from, struct str *reason_r,
		     struct str *headers_r)
{
	const struct hdr *f;
	struct uri uri;
	enum msg_bad bad;
	uint32_t hops;

	*reason_r = *headers_r = STR_NONE;
	/* 16.3 step 1: reasonable syntax */
	bad = field_check(m, &uri);
	if (bad != MSG_OK && bad != MSG_NOMEM) {
		proxy_count_bad(p->c.counters, bad);
		*reason_r = msg_bad_text(bad);
		return msg_bad_code(bad) ? msg_bad_code(bad) : 400;
	}
	/* 16.3 step 2, 8.2.2.1: URI scheme */
	if (!uri.text.p) {
		count(p->c.counters, CNT_BAD_START);
		return 400;
	}
	if (!scheme_known(uri.scheme)) {
		count(p->c.counters, CNT_BAD_SCHEME);
		return 416;
	}
	/* 16.3 step 3, 20.22: Max-Forwards; zero may still be answered for
	 * ourselves */
	f = msg_first(m, HDR_MAX_FORWARDS);
	if (f && str_u32(msg_hdr_value(m, f), 255, &hops) && hops == 0 &&
	    !(m->method_id == METHOD_OPTIONS &&
	      listener_is_ours(p->c.listeners, &uri))) {
		count(p->c.counters, CNT_BAD_HOPS);
		return 483;
	}
	/* 16.3 step 4, 21.4.20: loops, before anything is forwarded (RFC 5393
	 * 4.1) */
	if (validate_is_loop(p, m, key, from)) {
		count(p->c.counters, CNT_LOOP);
		return 482;
	}
	/* 16.3 step 5: Proxy-Require; not of CANCEL and ACK (20.29), which do
	 * not come here */
	if (msg_first(m, HDR_PROXY_REQUIRE)) {
		count(p->c.counters, CNT_BAD_EXTENSION);
		*headers_r = unsupported(p, m);
		return 420;
	}
	/* step 6, Proxy-Authorization, is the script's business */
	return 0;
}
