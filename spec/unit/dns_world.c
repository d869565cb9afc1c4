#include "unit/dns_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages ---- */

void dns_text_u8(struct dns_text *t, unsigned v)
{
	CHECK(t->n < sizeof(t->b));
	t->b[t->n++] = (unsigned char)v;
}

void dns_text_u16(struct dns_text *t, unsigned v)
{
	dns_text_u8(t, v >> 8);
	dns_text_u8(t, v & 0xff);
}

static void u32(struct dns_text *t, uint32_t v)
{
	dns_text_u16(t, v >> 16);
	dns_text_u16(t, v & 0xffff);
}

static void set_u16(struct dns_text *t, size_t at, size_t v)
{
	t->b[at] = (unsigned char)(v >> 8);
	t->b[at + 1] = (unsigned char)v;
}

void dns_text_string(struct dns_text *t, const char *s)
{
	dns_text_u8(t, (unsigned)strlen(s));
	while (*s)
		dns_text_u8(t, (unsigned char)*s++);
}

void dns_text_name(struct dns_text *t, const char *name)
{
	struct str rest = str_from(name);

	while (rest.n) {
		struct str label = str_cut(&rest, '.');

		dns_text_u8(t, (unsigned)label.n);
		for (size_t i = 0; i < label.n; i++)
			dns_text_u8(t, (unsigned char)label.p[i]);
	}
	dns_text_u8(t, 0);
}

void dns_text_init(struct dns_text *t, const char *name, uint16_t type,
		   unsigned rcode)
{
	t->n = t->rdata = 0;
	dns_text_u16(t, 0x1234);
	dns_text_u16(t, 0x8180 | rcode);
	dns_text_u16(t, 1);
	for (int i = 0; i < 3; i++)
		dns_text_u16(t, 0);
	dns_text_name(t, name);
	dns_text_u16(t, type);
	dns_text_u16(t, 1);
}

static void end_record(struct dns_text *t)
{
	if (t->rdata)
		set_u16(t, t->rdata, t->n - t->rdata - 2);
	t->rdata = 0;
}

void dns_text_rr(struct dns_text *t, int section, const char *owner,
		 uint16_t type, uint32_t ttl)
{
	end_record(t);
	set_u16(t, (size_t)section,
		(size_t)(t->b[section] << 8 | t->b[section + 1]) + 1);
	dns_text_name(t, owner);
	dns_text_u16(t, type);
	dns_text_u16(t, 1);
	u32(t, ttl);
	t->rdata = t->n;
	dns_text_u16(t, 0);
}

static const char *word(struct str *rest, char out[DNS_NAME])
{
	struct str w = str_cut(rest, ' ');

	CHECK(w.n < DNS_NAME);
	if (str_eq(w, STR("-")))
		w.n = 0;
	memcpy(out, w.p, w.n);
	out[w.n] = '\0';
	return out;
}

static void put_data(struct dns_text *t, uint16_t type, const char *data)
{
	struct str rest = str_from(data);
	char w[DNS_NAME];
	struct addr a;

	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		CHECK(addr_parse_ip(rest, &a));
		for (int i = 0; i < (type == DNS_A ? 4 : 16); i++)
			dns_text_u8(t, a.ip[i]);
		break;
	case DNS_SRV:
		for (int i = 0; i < 3; i++)
			dns_text_u16(t, (unsigned)atoi(word(&rest, w)));
		dns_text_name(t, word(&rest, w));
		break;
	case DNS_NAPTR:
		for (int i = 0; i < 2; i++)
			dns_text_u16(t, (unsigned)atoi(word(&rest, w)));
		for (int i = 0; i < 3; i++)
			dns_text_string(t, word(&rest, w));
		dns_text_name(t, word(&rest, w));
		break;
	default:
		dns_text_name(t, data);
	}
}

void dns_text_record(struct dns_text *t, int section, const char *owner,
		     uint16_t type, uint32_t ttl, const char *data)
{
	dns_text_rr(t, section, owner, type, ttl);
	put_data(t, type, data);
}

void dns_text_soa(struct dns_text *t, const char *zone, uint32_t ttl,
		  uint32_t minimum)
{
	dns_text_rr(t, DNS_AUTHORITY, zone, DNS_SOA, ttl);
	dns_text_name(t, "ns.example");
	dns_text_name(t, "root.example");
	for (int i = 0; i < 4; i++)
		u32(t, 7200);
	u32(t, minimum);
}

struct str dns_text_str(struct dns_text *t)
{
	end_record(t);
	return (struct str){(const char *)t->b, t->n};
}

/* ---- the world ---- */

static void on_query(void *ctx, struct query *q)
{
	struct dns_world *w = ctx;

	CHECK(w->n < ARRAY_LEN(w->asked));
	w->asked[w->n++] = q;
	w->questions++;
}

static void remove_question(struct dns_world *w, unsigned i)
{
	CHECK(i < w->n);
	w->n--;
	memmove(&w->asked[i], &w->asked[i + 1],
		(w->n - i) * sizeof(w->asked[0]));
}

static void on_unquery(void *ctx, struct query *q)
{
	struct dns_world *w = ctx;
	unsigned i = 0;

	while (i < w->n && w->asked[i] != q)
		i++;
	remove_question(w, i);
	w->dropped++;
}

static void on_log(void *ctx, const struct log_event *e)
{
	struct dns_world *w = ctx;
	size_t n = strlen(w->log);

	snprintf(w->log + n, sizeof(w->log) - n, "%s ", e->key);
}

void dns_world_init(struct dns_world *w, const struct zone_line *zone)
{
	memset(w, 0, sizeof(*w));
	mem_init(&w->mem);
	rand_seed(&w->rand, 1);
	dns_limits_init(&w->limits);
	w->zone = zone;
	w->host = (struct host){
	    .ctx = w, .query = on_query, .unquery = on_unquery, .log = on_log};
	w->timers = timers_new(&w->mem, w->now.mono);
	CHECK(w->timers != NULL);
	w->rs = resolver_new(&(struct resolver_conf){.mem = &w->mem,
						     .timers = w->timers,
						     .host = &w->host,
						     .limits = &w->limits,
						     .counters = &w->counters,
						     .rand = &w->rand});
	CHECK(w->rs != NULL);
}

void dns_world_fini(struct dns_world *w)
{
	CHECK_INT(timers_count(w->timers), 0);
	resolver_free(&w->rs);
	CHECK_INT(w->n, 0);
	timers_free(&w->timers);
	CHECK_INT(w->mem.bytes, 0);
}

void dns_world_run(struct dns_world *w, int64_t us)
{
	tick_t end = tick_add(w->now.mono, us);

	while (!tick_before(end, timers_next(w->timers))) {
		w->now.mono = timers_next(w->timers);
		timers_run(w->timers, w->now);
	}
	w->now.mono = end;
	timers_run(w->timers, w->now);
}

static void answer(struct dns_world *w, unsigned i, const struct answer *a)
{
	struct query *q = w->asked[i];

	remove_question(w, i);
	CHECK(resolver_on_answer(w->rs, q, a, w->now));
}

void dns_world_fail(struct dns_world *w, unsigned i, enum answer_status status)
{
	answer(w, i, &(struct answer){.status = status});
}

void dns_world_reply(struct dns_world *w, unsigned i, struct str bytes)
{
	answer(w, i, &(struct answer){ANSWER_REPLY, bytes});
}

void dns_text_answer(struct dns_text *t, const struct zone_line *zone,
		     const struct query *q)
{
	bool any = false;

	dns_text_init(t, q->name, q->type, 0);
	for (const struct zone_line *z = zone; z->name; z++) {
		if (strcmp(z->name, q->name) != 0 || z->type != q->type)
			continue;
		any = true;
		dns_text_record(t, DNS_ANSWER, z->name, z->type, z->ttl,
				z->data);
	}
	if (!any)
		dns_text_soa(t, "example", 60, 60);
}

void dns_world_answer(struct dns_world *w, unsigned i)
{
	const struct query *q = w->asked[i];
	struct dns_text t;

	if (w->servfail) {
		dns_text_init(&t, q->name, q->type, 2);
		dns_text_soa(&t, "example", 60, 60);
	} else {
		dns_text_answer(&t, w->zone, q);
	}
	dns_world_reply(w, i, dns_text_str(&t));
}

void dns_world_answer_all(struct dns_world *w)
{
	while (w->n)
		dns_world_answer(w, 0);
}

void dns_world_fail_all(struct dns_world *w, enum answer_status status)
{
	while (w->n)
		dns_world_fail(w, 0, status);
}

int dns_world_find(const struct dns_world *w, const char *name, uint16_t type)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->asked[i]->type == type &&
		    strcmp(w->asked[i]->name, name) == 0)
			return (int)i;
	return -1;
}

struct locate_ask dns_world_ask(const char *text)
{
	struct locate_ask ask;
	struct uri uri;

	CHECK(scan_uri(str_from(text), &uri));
	CHECK(locate_of_uri(&uri, &ask));
	ask.usable4 = ask.usable6 =
	    1u << TRANSPORT_UDP | 1u << TRANSPORT_TCP | 1u << TRANSPORT_TLS;
	ask.seed = 1;
	return ask;
}

static void on_found(void *ctx, const struct places *found, struct now now)
{
	struct dns_world *w = ctx;

	CHECK_INT(now.mono.us, w->now.mono.us);
	w->found = *found;
	w->calls++;
}

struct locate *dns_world_start(struct dns_world *w,
			       const struct locate_ask *ask)
{
	struct locate *l = locate_start(w->rs, ask, on_found, w, w->now);

	CHECK(l != NULL);
	return l;
}

void dns_world_locate(struct dns_world *w, const struct locate_ask *ask)
{
	unsigned calls = w->calls;

	dns_world_start(w, ask);
	CHECK_INT(w->calls, calls);
	dns_world_run(w, MILLIS(1));
	dns_world_answer_all(w);
	CHECK_INT(w->calls, calls + 1);
}

const char *dns_world_places(const struct places *p, char out[2048])
{
	size_t n = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < p->n; i++) {
		const struct place *at = &p->at[i];
		char addr[ADDR_TEXT];

		n += (size_t)snprintf(
		    out + n, 2048 - n, "%s%d %s:%s %d", i ? ", " : "", at->rank,
		    transport_name((enum transport)at->transport),
		    addr_text(&at->addr, addr), at->weight);
	}
	return out;
}
