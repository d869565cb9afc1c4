#include "transport/via.h"

#include <string.h>

#include "support/unit.h"

struct world {
	struct mem mem;
	struct arena_cache *cache;
	struct arena *arena;
};

static void world_init(struct world *w)
{
	mem_init(&w->mem);
	w->cache = arena_cache_new(&w->mem);
	w->arena = arena_new(w->cache);
	CHECK(w->arena != NULL);
}

static void world_fini(struct world *w)
{
	arena_free(&w->arena);
	arena_cache_free(&w->cache);
	CHECK_INT(w->mem.bytes, 0);
}

static struct hop from(const char *addr)
{
	struct hop hop = {0};

	CHECK(addr_parse(str_from(addr), &hop.addr));
	return hop;
}

static struct str mark(struct world *w, const char *text, const char *addr)
{
	struct hop hop = from(addr);
	struct via via;

	CHECK(scan_via(str_from(text), &via, NULL));
	return via_mark_received(w->arena, &via, &hop);
}

/* RFC 3261 18.2.1. */
TEST(received_and_rport_are_always_added)
{
	struct world w;

	world_init(&w);
	CHECK_STR(mark(&w, "SIP/2.0/UDP a.example.org;branch=z9hG4bKx",
		       "192.0.2.9:1234"),
		  "SIP/2.0/UDP a.example.org;branch=z9hG4bKx"
		  ";received=192.0.2.9;rport=1234");
	/* Also when the sender was right (RFC 3581 4). */
	CHECK_STR(mark(&w, "SIP/2.0/UDP 192.0.2.9:5060;rport;branch=z9hG4bKx",
		       "192.0.2.9:5060"),
		  "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKx"
		  ";received=192.0.2.9;rport=5060");
	CHECK_STR(mark(&w, "SIP/2.0/TCP a", "192.0.2.9:9"),
		  "SIP/2.0/TCP a;received=192.0.2.9;rport=9");
	world_fini(&w);
}

TEST(forged_values_are_replaced)
{
	struct world w;
	struct str got;

	world_init(&w);
	got = mark(&w,
		   "SIP/2.0/UDP a:5070; Received = 203.0.113.1 ;x=1"
		   ";RPORT=99;branch=z9hG4bKx",
		   "192.0.2.9:1234");
	CHECK_STR(got, "SIP/2.0/UDP a:5070;x=1;branch=z9hG4bKx"
		       ";received=192.0.2.9;rport=1234");
	world_fini(&w);
}

TEST(other_parameters_stay_as_they_are)
{
	struct world w;

	world_init(&w);
	CHECK_STR(mark(&w,
		       "SIP/2.0/UDP a;branch=b;q=\"x\\\";received=1;y\";ttl=3",
		       "192.0.2.9:1"),
		  "SIP/2.0/UDP a;branch=b;q=\"x\\\";received=1;y\";ttl=3"
		  ";received=192.0.2.9;rport=1");
	/* Only the first value of a list. */
	CHECK_STR(mark(&w, "SIP/2.0/UDP a;branch=b, SIP/2.0/UDP c;branch=d",
		       "192.0.2.9:1"),
		  "SIP/2.0/UDP a;branch=b;received=192.0.2.9;rport=1");
	world_fini(&w);
}

TEST(ipv6_source_has_no_brackets)
{
	struct world w;

	world_init(&w);
	CHECK_STR(mark(&w, "SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bKx",
		       "[2001:db8::1]:7000"),
		  "SIP/2.0/UDP [2001:db8::9]:5060;branch=z9hG4bKx"
		  ";received=2001:db8::1;rport=7000");
	world_fini(&w);
}

TEST(the_marked_via_can_be_scanned)
{
	struct world w;
	struct via via;

	world_init(&w);
	CHECK(scan_via(
	    mark(&w, "SIP/2.0/UDP a;branch=b;rport", "[2001:db8::1]:7000"),
	    &via, NULL));
	CHECK_STR(via.received, "2001:db8::1");
	CHECK_INT(via.rport, 7000);
	CHECK_STR(via.branch, "b");
	world_fini(&w);
}

TEST(no_memory_gives_none)
{
	struct hop hop = from("192.0.2.9:1234");
	static char text[6000];
	struct world w;
	struct via via;

	world_init(&w);
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, "SIP/2.0/UDP a;branch=", 21);
	via = (struct via){.text = str_from(text)};
	w.mem.fail_at = w.mem.calls + 1;
	w.mem.fail_for = 1;
	CHECK(via_mark_received(w.arena, &via, &hop).p == NULL);
	world_fini(&w);
}

static struct listeners two(void)
{
	struct listeners ls = {.n = 2};
	const char *why;

	CHECK(listener_parse(STR("udp:192.0.2.1:5060"), &ls.l[0], &why));
	CHECK(listener_parse(STR("tls:192.0.2.1"), &ls.l[1], &why));
	strcpy(ls.l[1].advertise, "sip.example.org");
	return ls;
}

/* RFC 3581 3: rport is asked for. */
TEST(writing_our_own)
{
	struct listeners ls = two();
	struct hop udp = {.listener = 0, .transport = TRANSPORT_UDP};
	struct hop tls = {.listener = 1, .transport = TRANSPORT_TLS};
	char space[128];
	struct buf b;

	buf_fixed(&b, space, sizeof(space));
	via_write(&b, &ls, &udp, STR("z9hG4bK1"));
	CHECK_STR(buf_str(&b),
		  "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1");
	buf_fixed(&b, space, sizeof(space));
	via_write(&b, &ls, &tls, STR("z9hG4bK2"));
	CHECK_STR(buf_str(&b),
		  "SIP/2.0/TLS sip.example.org;rport;branch=z9hG4bK2");
}

static bool ours(const char *text)
{
	struct listeners ls = two();
	struct via via;

	CHECK(scan_via(str_from(text), &via, NULL));
	return via_is_ours(&ls, &via);
}

/* RFC 3261 18.1.2. */
TEST(recognising_our_own)
{
	CHECK(ours("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"));
	CHECK(ours("SIP/2.0/udp 192.0.2.1"));
	CHECK(!ours("SIP/2.0/TCP 192.0.2.1:5060"));
	CHECK(!ours("SIP/2.0/UDP 192.0.2.1:5061"));
	CHECK(!ours("SIP/2.0/UDP 192.0.2.2:5060"));
	CHECK(!ours("SIP/2.0/SCTP 192.0.2.1:5060"));
	CHECK(ours("SIP/2.0/TLS Sip.Example.Org"));
	CHECK(ours("SIP/2.0/TLS 192.0.2.1"));
	CHECK(!ours("SIP/2.0/UDP sip.example.org"));
}
