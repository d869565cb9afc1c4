#include "transport/dns_answer.h"

#include <string.h>

enum {
	HEADER = 12,
	QR = 0x8000,
	OPCODE = 0x7800,
	TC = 0x0200,
	RCODE = 0x000f,
	NXDOMAIN = 3,
	CLASS_IN = 1,
	LABEL_MAX = 63,
	POINTER = 0xc0,
	POINTERS = 127,  /* in a name: more than there can be labels */
	NAME_TEXT = 253, /* RFC 1035: 255 bytes, as text without the last dot */
	RR_FIXED = 10,   /* type, class, TTL, length */
	RRS = 128        /* of the answer section that are looked at */
};

/* A record of the message, as offsets: `end` is behind its data. */
struct rr {
	size_t owner, data, end;
	uint16_t type;
	uint32_t ttl;
};

struct reader {
	struct str m;
	size_t n; /* of rr */
	struct rr rr[RRS];
	struct dns_answer *out;
};

static unsigned byte_at(struct str m, size_t at)
{
	return (unsigned char)m.p[at];
}

static uint16_t u16_at(struct str m, size_t at)
{
	return (uint16_t)(byte_at(m, at) << 8 | byte_at(m, at + 1));
}

static uint32_t u32_at(struct str m, size_t at)
{
	return (uint32_t)u16_at(m, at) << 16 | u16_at(m, at + 2);
}

enum name { NAME_BAD, NAME_ODD, NAME_OK };

/* Adds a label to the text. */
static enum name put_label(struct str label, char out[DNS_NAME], size_t *n)
{
	enum name is = NAME_OK;

	if (*n + label.n + 1 > NAME_TEXT + 1)
		return NAME_BAD;
	if (*n)
		out[(*n)++] = '.';
	for (size_t i = 0; i < label.n; i++) {
		if (!dns_is_host_byte(label.p[i]))
			is = NAME_ODD;
		out[(*n)++] = dns_lower(label.p[i]);
	}
	return is;
}

/*
 * RFC 1035 4.1.4. A pointer has to lead to before the labels that ended with
 * it: so there is no loop. *end_r is behind the name where it began.
 */
static enum name read_name(struct str m, size_t at, char out[DNS_NAME],
			   size_t *end_r)
{
	enum name is = NAME_OK;
	size_t n = 0, end = 0, from = at;
	unsigned pointers = 0;

	while (at < m.n && byte_at(m, at) != 0) {
		unsigned len = byte_at(m, at);

		if (len >= POINTER) {
			size_t to;

			if (at + 2 > m.n || ++pointers > POINTERS)
				return NAME_BAD;
			to = u16_at(m, at) & 0x3fffu;
			if (to >= from)
				return NAME_BAD;
			end = end ? end : at + 2;
			at = from = to;
			continue;
		}
		if (len > LABEL_MAX || at + 1 + len > m.n)
			return NAME_BAD;
		switch (put_label(str_sub(m, at + 1, at + 1 + len), out, &n)) {
		case NAME_BAD:
			return NAME_BAD;
		case NAME_ODD:
			is = NAME_ODD;
			break;
		case NAME_OK:
			break;
		}
		at += 1 + len;
	}
	if (at >= m.n)
		return NAME_BAD;
	out[n] = '\0';
	*end_r = end ? end : at + 1;
	return is;
}

/* Behind the name at `at`; 0: malformed. */
static size_t skip_name(struct str m, size_t at)
{
	while (at < m.n) {
		unsigned len = byte_at(m, at);

		if (len >= POINTER)
			return at + 2 <= m.n ? at + 2 : 0;
		if (len > LABEL_MAX)
			return 0;
		at += 1 + len;
		if (len == 0)
			return at;
	}
	return 0;
}

static bool name_is(struct str m, size_t at, const char *name)
{
	char text[DNS_NAME];
	size_t end;

	return read_name(m, at, text, &end) == NAME_OK &&
	       strcmp(text, name) == 0;
}

/* RFC 1035 4.1.3. Behind the record; 0: malformed. */
static size_t read_rr(struct str m, size_t at, struct rr *out_r)
{
	size_t fixed = skip_name(m, at);

	if (!fixed || m.n - fixed < RR_FIXED)
		return 0;
	*out_r = (struct rr){.owner = at,
			     .type = u16_at(m, fixed),
			     .ttl = u32_at(m, fixed + 4),
			     .data = fixed + RR_FIXED};
	/* RFC 2181 8: with the highest bit it is none */
	if (out_r->ttl > INT32_MAX)
		out_r->ttl = 0;
	out_r->end = out_r->data + u16_at(m, fixed + 8);
	if (out_r->end > m.n)
		return 0;
	if (u16_at(m, fixed + 2) != CLASS_IN)
		out_r->type = 0;
	return out_r->end;
}

/* Behind the answer section; 0: malformed. */
static size_t read_section(struct reader *r, size_t at, unsigned count)
{
	for (unsigned i = 0; at && i < count; i++) {
		struct rr rr;

		at = read_rr(r->m, at, &rr);
		if (!at)
			break;
		if (r->n < RRS)
			r->rr[r->n++] = rr;
		else
			r->out->dropped++;
	}
	return at;
}

/* ---- what is in a record: false when it is malformed ---- */

static bool read_addr(const struct reader *r, const struct rr *rr,
		      struct addr *out_r, bool *use_r)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t n = rr->type == DNS_A ? 4 : 16;

	if (rr->end - rr->data != n)
		return false;
	memset(out_r, 0, sizeof(*out_r));
	out_r->family = rr->type == DNS_A ? ADDR_V4 : ADDR_V6;
	memcpy(out_r->ip, r->m.p + rr->data, n);
	*use_r = !addr_is_unsendable(out_r) &&
		 (n == 4 || memcmp(out_r->ip, mapped, sizeof(mapped)) != 0);
	return true;
}

/* RFC 2782 */
static bool read_srv(const struct reader *r, const struct rr *rr,
		     struct dns_srv *out_r, bool *use_r)
{
	enum name is;
	size_t end;

	if (rr->end - rr->data < 7)
		return false;
	out_r->priority = u16_at(r->m, rr->data);
	out_r->weight = u16_at(r->m, rr->data + 2);
	out_r->port = u16_at(r->m, rr->data + 4);
	is = read_name(r->m, rr->data + 6, out_r->target, &end);
	*use_r = is == NAME_OK && (out_r->port != 0 || !out_r->target[0]);
	return is != NAME_BAD && end == rr->end;
}

/* <character-string>; false when it does not end in the record. */
static bool read_text(const struct reader *r, const struct rr *rr, size_t *at,
		      struct str *out_r)
{
	size_t n;

	if (*at >= rr->end)
		return false;
	n = byte_at(r->m, *at);
	if (n > rr->end - *at - 1)
		return false;
	*out_r = str_sub(r->m, *at + 1, *at + 1 + n);
	*at += 1 + n;
	return true;
}

static int transport_of_service(struct str service)
{
	if (str_caseeq(service, STR("SIP+D2U")))
		return TRANSPORT_UDP;
	if (str_caseeq(service, STR("SIP+D2T")))
		return TRANSPORT_TCP;
	if (str_caseeq(service, STR("SIPS+D2T")))
		return TRANSPORT_TLS;
	return -1;
}

/* RFC 3403 4.1, RFC 3263 4.1. One with a regular expression is not for SIP. */
static bool read_naptr(const struct reader *r, const struct rr *rr,
		       struct dns_naptr *out_r, bool *use_r)
{
	struct str flags, service, regexp;
	size_t at = rr->data + 4, end;
	int transport;
	enum name is;

	if (rr->end - rr->data < 4 || !read_text(r, rr, &at, &flags) ||
	    !read_text(r, rr, &at, &service) || !read_text(r, rr, &at, &regexp))
		return false;
	out_r->order = u16_at(r->m, rr->data);
	out_r->preference = u16_at(r->m, rr->data + 2);
	out_r->flag = flags.n == 1 ? dns_lower(flags.p[0]) : '\0';
	transport = transport_of_service(service);
	out_r->transport = (uint8_t)transport;
	is = read_name(r->m, at, out_r->next, &end);
	*use_r = transport >= 0 && regexp.n == 0 && is == NAME_OK &&
		 out_r->next[0] && (out_r->flag == 's' || out_r->flag == 'a');
	return is != NAME_BAD && end == rr->end;
}

static bool read_record(const struct reader *r, const struct rr *rr,
			union dns_record *out_r, bool *use_r)
{
	switch (rr->type) {
	case DNS_A:
	case DNS_AAAA:
		return read_addr(r, rr, &out_r->addr, use_r);
	case DNS_SRV:
		return read_srv(r, rr, &out_r->srv, use_r);
	default:
		return read_naptr(r, rr, &out_r->naptr, use_r);
	}
}

/* ---- their order ---- */

static int compare_addr(const union dns_record *a, const union dns_record *b)
{
	return memcmp(a->addr.ip, b->addr.ip, sizeof(a->addr.ip));
}

static int compare_srv(const union dns_record *a, const union dns_record *b)
{
	if (a->srv.priority != b->srv.priority)
		return a->srv.priority < b->srv.priority ? -1 : 1;
	if (strcmp(a->srv.target, b->srv.target) != 0)
		return strcmp(a->srv.target, b->srv.target);
	return (int)a->srv.port - (int)b->srv.port;
}

static int compare_naptr(const union dns_record *a, const union dns_record *b)
{
	if (a->naptr.order != b->naptr.order)
		return (int)a->naptr.order - (int)b->naptr.order;
	if (a->naptr.preference != b->naptr.preference)
		return (int)a->naptr.preference - (int)b->naptr.preference;
	return strcmp(a->naptr.next, b->naptr.next);
}

dns_compare_fn *dns_compare(uint16_t type)
{
	return type == DNS_SRV     ? compare_srv
	       : type == DNS_NAPTR ? compare_naptr
				   : compare_addr;
}

/* One of too many: it takes the place of the last of those that are kept, if it
 * comes before that. */
static void displace(struct dns_answer *out, const union dns_record *rec,
		     dns_compare_fn *compare)
{
	unsigned last = 0;

	for (unsigned i = 1; i < out->n; i++)
		if (compare(&out->r[i], &out->r[last]) > 0)
			last = i;
	if (compare(rec, &out->r[last]) < 0)
		out->r[last] = *rec;
	out->dropped++;
}

/* ---- the answer ---- */

static void least(uint32_t *ttl, uint32_t other)
{
	if (other < *ttl)
		*ttl = other;
}

/* The records of this owner and type. False: one is malformed. *any_r says
 * whether there was one, of use or not. */
static bool collect(struct reader *r, const char *owner, uint16_t type,
		    bool *any_r)
{
	bool addrs = type == DNS_A || type == DNS_AAAA;
	unsigned max = addrs ? DNS_ADDRS : DNS_RECORDS;
	struct dns_answer *out = r->out;

	*any_r = false;
	for (size_t i = 0; i < r->n; i++) {
		union dns_record rec;
		bool use;

		if (r->rr[i].type != type ||
		    !name_is(r->m, r->rr[i].owner, owner))
			continue;
		if (!read_record(r, &r->rr[i], &rec, &use))
			return false;
		*any_r = true;
		least(&out->ttl, r->rr[i].ttl);
		if (!use)
			continue;
		if (out->n < max)
			out->r[out->n++] = rec;
		else
			displace(out, &rec, dns_compare(type));
	}
	return true;
}

/* What `name` is another name for; false: it is none, or malformed. */
static bool follow_alias(struct reader *r, char name[DNS_NAME])
{
	for (size_t i = 0; i < r->n; i++) {
		char target[DNS_NAME];
		size_t end;

		if (r->rr[i].type != DNS_CNAME ||
		    !name_is(r->m, r->rr[i].owner, name))
			continue;
		if (read_name(r->m, r->rr[i].data, target, &end) != NAME_OK)
			return false;
		memcpy(name, target, sizeof(target));
		least(&r->out->ttl, r->rr[i].ttl);
		return true;
	}
	return false;
}

/* `zone` is `name` or above it. */
static bool is_above(const char *zone, const char *name)
{
	size_t z = strlen(zone), n = strlen(name);

	return z == 0 || (z <= n && strcmp(name + n - z, zone) == 0 &&
			  (z == n || name[n - z - 1] == '.'));
}

/* RFC 2308 5: how long it stays that there is nothing; 0 when nobody says.
 * False: malformed. */
static bool negative_ttl(struct str m, size_t at, const char *name,
			 uint32_t *ttl_r)
{
	unsigned count = u16_at(m, 8);

	*ttl_r = 0;
	for (unsigned i = 0; i < count; i++) {
		char zone[DNS_NAME];
		struct rr rr;
		size_t end;

		at = read_rr(m, at, &rr);
		if (!at)
			return false;
		if (rr.type != DNS_SOA || rr.end - rr.data < 20 || *ttl_r ||
		    read_name(m, rr.owner, zone, &end) != NAME_OK ||
		    !is_above(zone, name))
			continue;
		*ttl_r = u32_at(m, rr.end - 4);
		least(ttl_r, rr.ttl);
	}
	return true;
}

/* RFC 1035 4.1.1, 4.1.2: behind the question, 0 when it is not ours. */
static size_t read_question(struct str m, const char *name, uint16_t type)
{
	char text[DNS_NAME];
	size_t at;

	if (u16_at(m, 4) != 1 || read_name(m, HEADER, text, &at) != NAME_OK ||
	    strcmp(text, name) != 0 || m.n - at < 4)
		return 0;
	if (u16_at(m, at) != type || u16_at(m, at + 2) != CLASS_IN)
		return 0;
	return at + 4;
}

static enum dns_verdict read_answers(struct reader *r, size_t authority,
				     const char *question, uint16_t type,
				     bool no_name)
{
	struct dns_answer *out = r->out;
	char name[DNS_NAME];
	uint32_t ttl;
	bool any = false;

	memcpy(name, question, strlen(question) + 1);
	for (unsigned i = 0;; i++) {
		/* RFC 2308 2.1: it is the last alias that is not there */
		if (!no_name && !collect(r, name, type, &any))
			return DNS_BAD;
		if (any || !follow_alias(r, name))
			break;
		if (i == DNS_CNAMES)
			return DNS_BAD;
	}
	if (out->n)
		return DNS_FOUND;
	if (any) /* of no use, for its TTL */
		return DNS_NONE;
	if (!negative_ttl(r->m, authority, name, &ttl))
		return DNS_BAD;
	least(&out->ttl, ttl);
	return DNS_NONE;
}

void dns_answer_read(struct str msg, const char *name, uint16_t type,
		     struct dns_answer *out_r)
{
	struct reader r = {.m = msg, .out = out_r};
	unsigned flags;
	size_t at;

	out_r->verdict = DNS_BAD;
	out_r->n = out_r->dropped = 0;
	out_r->ttl = UINT32_MAX;
	if (msg.n < HEADER)
		return;
	flags = u16_at(msg, 2);
	if (!(flags & QR) || (flags & OPCODE))
		return;
	if ((flags & RCODE) != 0 && (flags & RCODE) != NXDOMAIN) {
		out_r->verdict = DNS_FAILED;
		return;
	}
	/* The host has asked again by TCP: what is cut off now is no answer. */
	at = flags & TC ? 0 : read_question(msg, name, type);
	if (at)
		at = read_section(&r, at, u16_at(msg, 6));
	if (at)
		out_r->verdict = read_answers(&r, at, name, type,
					      (flags & RCODE) == NXDOMAIN);
	if (out_r->verdict != DNS_FOUND)
		out_r->n = 0;
}
