/*
 * Who is shown the messages of a core: the filter that an operator sets.
 */
#include <stdio.h>
#include <string.h>
#include "core/core.h"
#include "support/unit.h"

struct world {
	struct node *node;
	struct core *core;
	struct now now;
	struct host host;
	int sends;
	char log[8192];       /* "LEVEL EVENT dir line|" of each */
	char collected[8192]; /* "COLLECTOR type|" of each */
};

static void fake_send(void *ctx, const struct hop *to, struct str bytes)
{
	(void)to;
	(void)bytes;
	((struct world *)ctx)->sends++;
}

static bool fake_source(void *ctx, unsigned listener, const struct addr *to,
			struct addr *out_r)
{
	(void)ctx;
	(void)listener;
	(void)to;
	return addr_parse(STR("10.0.0.100:5060"), out_r);
}

static void add(char out[8192], const char *a, struct str b, struct str c)
{
	size_t n = strlen(out);

	snprintf(out + n, 8192 - n, "%s %.*s %.*s|", a, STR_FMT(b), STR_FMT(c));
}

static void fake_log(void *ctx, const struct log_event *e)
{
	struct world *w = ctx;

	if (strcmp(e->key, "sip.message") == 0)
		add(w->log, log_level_name(e->level), e->field[0].u.s,
		    str_sub(e->field[2].u.s, 0,
			    str_find(e->field[2].u.s, ' ')));
}

static void fake_mirror(void *ctx, const struct addr *collector,
			struct str packet)
{
	struct world *w = ctx;
	char text[ADDR_TEXT];

	add(w->collected, addr_text(collector, text), str_sub(packet, 0, 4),
	    STR(""));
}

static void world_open(struct world *w)
{
	static const uint8_t key[16] = "0123456789abcde";
	const struct sipkeys keys = {.now = sipkey_load(key)};
	const char *why;

	memset(w, 0, sizeof(*w));
	w->now.mono.us = SECONDS(1000);
	w->host = (struct host){.ctx = w,
				.send = fake_send,
				.source = fake_source,
				.log = fake_log,
				.mirror = fake_mirror};
	w->node = node_new(1, &keys);
	listener_parse(STR("udp:10.0.0.100:5060"), &w->node->listeners.l[0],
		       &why);
	w->node->listeners.n = 1;
	w->core = core_new(w->node, 0, &w->host, key, w->now);
}

static void world_close(struct world *w)
{
	core_free(&w->core);
	node_free(&w->node);
}

/* A request outside of any dialog; without a policy it gets a 503. */
static void give(struct world *w, const char *call_id, const char *from,
		 const char *to)
{
	struct hop hop = {.transport = TRANSPORT_UDP};
	char text[2048];

	snprintf(text, sizeof(text),
		 "OPTIONS sip:bob@example.com SIP/2.0\r\n"
		 "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK%s%s\r\n"
		 "From: <%s>;tag=1\r\nTo: <%s>\r\nCall-ID: %s\r\n"
		 "CSeq: 1 OPTIONS\r\n\r\n",
		 call_id, from + 4, from, to, call_id);
	w->log[0] = w->collected[0] = '\0';
	addr_parse(STR("192.0.2.7:5060"), &hop.addr);
	addr_parse(STR("10.0.0.100:5060"), &hop.local);
	core_receive(w->core, w->now, &hop, str_from(text));
}

/* Every message that this text begins with. */
static void give_cut(struct world *w, const char *text)
{
	struct hop hop = {.transport = TRANSPORT_UDP};

	addr_parse(STR("192.0.2.7:5060"), &hop.addr);
	addr_parse(STR("10.0.0.100:5060"), &hop.local);
	for (size_t n = 0; n <= strlen(text); n++) {
		w->log[0] = w->collected[0] = '\0';
		core_receive(w->core, w->now, &hop, (struct str){text, n});
	}
}

static struct capture_filter filter(const char *call_id, const char *user)
{
	struct capture_filter f = {.until = {SECONDS(1010)}};

	snprintf(f.call_id, sizeof(f.call_id), "%s", call_id);
	snprintf(f.user, sizeof(f.user), "%s", user);
	return f;
}

static const char both[] = "info in OPTIONS|info out SIP/2.0|";

TEST(nothing_is_shown_to_nobody)
{
	struct world w;

	world_open(&w);
	CHECK(!capture_is_on(&w.node->capture));
	give(&w, "c1", "sip:a@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	CHECK_STR(str_from(w.collected), "");
	capture_log(w.node, true);
	give(&w, "c1", "sip:a@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "debug in OPTIONS|debug out SIP/2.0|");
	world_close(&w);
}

TEST(a_call_is_shown_by_its_call_id_until_the_time_is_over)
{
	struct capture_filter f = filter("c1", "");
	struct world w;

	world_open(&w);
	capture_set_filter(w.node, &f);
	give(&w, "c2", "sip:a@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	give(&w, "c1", "sip:a@h", "sip:b@h");
	CHECK(strcmp(w.log, both) == 0);
	/* with all messages in the log these are there once */
	capture_log(w.node, true);
	give(&w, "c1", "sip:x@h", "sip:b@h");
	CHECK(strcmp(w.log, both) == 0);
	capture_log(w.node, false);
	capture_set_level(w.node, LOG_WARN);
	give(&w, "c1", "sip:z@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "warn in OPTIONS|warn out SIP/2.0|");
	w.now.mono.us = SECONDS(1010);
	give(&w, "c1", "sip:y@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	capture_set_filter(w.node, NULL);
	CHECK(!capture_is_on(&w.node->capture));
	world_close(&w);
}

TEST(the_calls_of_a_user_are_shown_as_a_whole)
{
	struct capture_filter f = filter("", "alice");
	struct world w;

	world_open(&w);
	capture_set_filter(w.node, &f);
	/* not those that are for him */
	give(&w, "c1", "sip:bob@h", "sip:alice@h");
	CHECK_STR(str_from(w.log), "");
	give(&w, "c2", "sip:alice:pw@h", "sip:bob@h");
	CHECK(strcmp(w.log, both) == 0);
	/* the other side of the same call */
	give(&w, "c2", "sip:bob@h", "sip:alice@h");
	CHECK(strcmp(w.log, both) == 0);
	/* a new filter has not seen it */
	capture_set_filter(w.node, &f);
	give(&w, "c2", "sip:carol@h", "sip:alice@h");
	CHECK_STR(str_from(w.log), "");
	world_close(&w);
}

TEST(both_of_a_filter_must_fit)
{
	struct capture_filter f = filter("c1", "alice");
	struct world w;

	world_open(&w);
	capture_set_filter(w.node, &f);
	give(&w, "c1", "sip:bob@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	give(&w, "c2", "sip:alice@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	give(&w, "c1", "sip:alice@h", "sip:b@h");
	CHECK(strcmp(w.log, both) == 0);
	world_close(&w);
}

TEST(many_calls_of_a_user_push_out_the_oldest)
{
	struct capture_filter f = filter("", "alice");
	char id[16];
	struct world w;

	world_open(&w);
	capture_set_filter(w.node, &f);
	for (int i = 0; i <= CAPTURE_CALLS; i++) {
		snprintf(id, sizeof(id), "c%d", i);
		give(&w, id, "sip:alice@h", "sip:b@h");
		CHECK(strcmp(w.log, both) == 0);
	}
	give(&w, "c0", "sip:b@h", "sip:alice@h");
	CHECK_STR(str_from(w.log), "");
	give(&w, "c1", "sip:b@h", "sip:alice@h");
	CHECK(strcmp(w.log, both) == 0);
	world_close(&w);
}

TEST(a_collector_gets_it_once)
{
	struct capture_filter f = filter("c1", "");
	struct world w;

	world_open(&w);
	addr_parse(STR("192.0.2.9:9060"), &f.collector);
	capture_set_filter(w.node, &f);
	give(&w, "c1", "sip:a@h", "sip:b@h");
	CHECK_STR(str_from(w.log), "");
	CHECK_STR(str_from(w.collected),
		  "192.0.2.9:9060 HEP3 |192.0.2.9:9060 HEP3 |");
	/* also when it is the one of the settings */
	w.node->settings.hep.collector = f.collector;
	capture_on_settings(w.node);
	give(&w, "c1", "sip:x@h", "sip:b@h");
	CHECK_STR(str_from(w.collected),
		  "192.0.2.9:9060 HEP3 |192.0.2.9:9060 HEP3 |");
	give(&w, "c2", "sip:a@h", "sip:b@h");
	CHECK_STR(str_from(w.collected),
		  "192.0.2.9:9060 HEP3 |192.0.2.9:9060 HEP3 |");
	addr_parse(STR("192.0.2.8:9060"), &w.node->settings.hep.collector);
	give(&w, "c1", "sip:y@h", "sip:b@h");
	CHECK_STR(str_from(w.collected),
		  "192.0.2.8:9060 HEP3 |192.0.2.9:9060 HEP3 |"
		  "192.0.2.8:9060 HEP3 |192.0.2.9:9060 HEP3 |");
	world_close(&w);
}

/* What nobody can be shown costs no message. */
TEST(a_collector_without_memory)
{
	struct hop hop = {.transport = TRANSPORT_UDP};
	static char text[30000];
	struct world w;
	struct mem *m;
	int n;

	world_open(&w);
	addr_parse(STR("192.0.2.9:9060"), &w.node->settings.hep.collector);
	capture_on_settings(w.node);
	addr_parse(STR("192.0.2.7:5060"), &hop.addr);
	addr_parse(STR("10.0.0.100:5060"), &hop.local);
	n = snprintf(text, sizeof(text),
		     "OPTIONS sip:bob@example.com SIP/2.0\r\n"
		     "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx\r\n"
		     "From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n"
		     "Call-ID: x\r\nCSeq: 1 OPTIONS\r\n"
		     "Content-Length: 20000\r\n\r\n");
	memset(text + n, 'x', 20000);
	m = core_mem(w.core);
	m->fail_at = m->calls + 1; /* its packet does not fit in 4 kB */
	m->fail_for = 1;
	core_receive(w.core, w.now, &hop,
		     (struct str){text, (size_t)n + 20000});
	CHECK_INT(core_counters(w.core)->v[CNT_HEP_NOMEM], 1);
	CHECK_INT(w.sends, 1);
	CHECK_STR(str_from(w.collected), "192.0.2.9:9060 HEP3 |");
	world_close(&w);
}

TEST(what_is_malformed_is_shown_as_far_as_it_goes)
{
	static const char *const messages[] = {
	    "OPTIONS sip:bob@example.com SIP/2.0\r\n\r\n",
	    "SIP/2.0 200 OK\r\n\r\n",
	    "OPTIONS sip:bob@example.com SIP/2.0\r\n"
	    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKcut\r\n"
	    "From: <sip:alice@example.net>;tag=1\r\n"
	    "To: <sip:bob@example.com>\r\nCSeq: 1 OPTIONS\r\n"
	    "Call-ID: cut\r\n\r\n",
	    "SIP/2.0 200 OK\r\nCall-ID: cut\r\nCSeq: 1 OPTIONS\r\n"
	    "From: <sip:alice@example.net>;tag=1\r\n\r\n",
	    "OPTIONS sip:bob@example.com SIP/2.0\r\nFrom:\r\nTo:\r\n"
	    "Call-ID:\r\nCSeq:\r\nVia:\r\n\r\n",
	};
	struct capture_filter f = filter("", "alice");
	struct world w;

	world_open(&w);
	capture_log(w.node, true);
	addr_parse(STR("192.0.2.9:9060"), &f.collector);
	capture_set_filter(w.node, &f);
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		give_cut(&w, messages[i]);
		CHECK(strstr(w.log, "debug in") || strstr(w.log, "info in"));
	}
	world_close(&w);
}
