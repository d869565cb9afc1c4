#include "transport/listener.h"

#include "support/unit.h"
#include "util/counters.h"
#include "util/list.h"

static struct listener listener(const char *text, const char *advertise)
{
	struct listener l;
	const char *why;

	CHECK(listener_parse(str_from(text), &l, &why));
	CHECK(why == NULL);
	for (size_t i = 0; advertise[i]; i++)
		l.advertise[i] = advertise[i];
	return l;
}

static struct addr addr(const char *text)
{
	struct addr a;

	CHECK(addr_parse(str_from(text), &a));
	return a;
}

/* udp on one address, tcp on all of them, tls with a name, udp on IPv6. */
static struct listeners four(void)
{
	struct listeners ls = {.n = 4, .owns = 3};

	ls.l[0] = listener("udp:192.0.2.1:5060", "");
	ls.l[1] = listener("tcp:0.0.0.0:5070", "");
	ls.l[2] = listener("tls:192.0.2.1", "sip.example.org");
	ls.l[3] = listener("udp:[2001:db8::1]:5060", "");
	ls.own[0] = addr("2001:db8::1");
	ls.own[1] = addr("192.0.2.1");
	ls.own[2] = addr("198.51.100.7");
	return ls;
}

static bool ours(const struct listeners *ls, const char *text)
{
	struct uri uri;

	CHECK(scan_uri(str_from(text), &uri));
	return listener_is_ours(ls, &uri);
}

/* RFC 3261 19.1.2: default ports. */
TEST(parse_with_default_ports)
{
	CHECK_INT(listener("udp:127.0.0.1", "").addr.port, 5060);
	CHECK_INT(listener("tcp:0.0.0.0", "").addr.port, 5060);
	CHECK_INT(listener("TLS:[::]", "").addr.port, 5061);
	CHECK_INT(listener("tls:[::1]:5090", "").addr.port, 5090);
	CHECK_INT(listener("tls:[::1]:5090", "").transport, TRANSPORT_TLS);
	CHECK_INT(listener("udp:[::]:5060", "").addr.family, ADDR_V6);
}

TEST(parse_refuses_with_a_reason)
{
	static const char *const bad[] = {
	    "",
	    "udp",
	    "udp:",
	    "ws:127.0.0.1:80",
	    "127.0.0.1:5060",
	    "udp:example.org:5060",
	    "udp:127.0.0.1:0",
	    "udp:127.0.0.1:65536",
	    "udp:127.0.0.1:5060 ",
	    "udp: 127.0.0.1",
	    "udp:224.0.0.1:5060",
	    "udp:255.255.255.255",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct listener l = {.transport = 77};
		const char *why = NULL;

		CHECK(!listener_parse(str_from(bad[i]), &l, &why));
		CHECK(why != NULL);
		CHECK_INT(l.transport, 77);
	}
}

static struct str host_of(const struct listeners *ls, unsigned i,
			  const char *local, char space[64])
{
	struct hop hop = {.listener = (uint16_t)i};
	struct buf b;

	if (local)
		hop.local = addr(local);
	buf_fixed(&b, space, 64);
	listener_write_host(ls, &hop, &b);
	CHECK(buf_ok(&b));
	return buf_str(&b);
}

TEST(host_is_the_advertised_name_or_the_local_address)
{
	struct listeners ls = four();
	char s[64];

	CHECK_STR(host_of(&ls, 0, NULL, s), "192.0.2.1:5060");
	CHECK_STR(host_of(&ls, 1, "198.51.100.7", s), "198.51.100.7:5070");
	/* The port is the listener's, not that of the connection. */
	CHECK_STR(host_of(&ls, 1, "198.51.100.7:40000", s),
		  "198.51.100.7:5070");
	CHECK_STR(host_of(&ls, 2, "198.51.100.7", s), "sip.example.org");
	CHECK_STR(host_of(&ls, 3, NULL, s), "[2001:db8::1]:5060");
	/* The host has not chosen: the first of its family. */
	CHECK_STR(host_of(&ls, 1, NULL, s), "192.0.2.1:5070");
	ls.owns = 0;
	CHECK_STR(host_of(&ls, 1, NULL, s), "0.0.0.0:5070");
}

TEST(our_addresses_in_uris)
{
	struct listeners ls = four();

	CHECK(ours(&ls, "sip:192.0.2.1"));
	CHECK(ours(&ls, "sip:192.0.2.1:5060;lr"));
	CHECK(ours(&ls, "sip:192.0.2.1;transport=tcp"));
	CHECK(!ours(&ls, "sip:192.0.2.1:5080"));
	CHECK(!ours(&ls, "sip:192.0.2.2"));
	/* Default port by transport: the TLS listener has 5061. */
	CHECK(ours(&ls, "sips:192.0.2.1"));
	CHECK(ours(&ls, "sip:192.0.2.1;transport=TLS"));
	CHECK(ours(&ls, "sip:192.0.2.1:5061;transport=tls"));
	/* IPv6, however it is written. */
	CHECK(ours(&ls, "sip:[2001:db8::1]"));
	CHECK(ours(&ls, "sip:[2001:DB8:0:0::1]:5060"));
	CHECK(!ours(&ls, "sip:[2001:db8::2]"));
	CHECK(!ours(&ls, "tel:+15551234"));
}

TEST(wildcard_listeners_own_the_machines_addresses)
{
	struct listeners ls = four();

	CHECK(ours(&ls, "sip:198.51.100.7:5070"));
	CHECK(ours(&ls, "sip:192.0.2.1:5070"));
	CHECK(ours(&ls, "sip:127.0.0.1:5070"));
	CHECK(!ours(&ls, "sip:198.51.100.7:5060"));
	CHECK(!ours(&ls, "sip:198.51.100.8:5070"));
	CHECK(!ours(&ls, "sip:[2001:db8::1]:5070"));
}

TEST(our_names_in_uris)
{
	struct listeners ls = four();

	CHECK(ours(&ls, "sips:sip.example.org"));
	CHECK(ours(&ls, "sip:SIP.Example.ORG:5061"));
	CHECK(ours(&ls, "sips:sip.example.org."));
	CHECK(!ours(&ls, "sip:sip.example.org"));
	CHECK(!ours(&ls, "sip:example.org:5061"));

	ls.l[0] = listener("udp:192.0.2.1:5060", "edge.example.org:6000");
	CHECK(ours(&ls, "sip:edge.example.org:6000"));
	CHECK(!ours(&ls, "sip:edge.example.org"));
	CHECK(!ours(&ls, "sip:edge.example.org:5060"));
	CHECK(ours(&ls, "sip:192.0.2.1"));

	/* A public address in front of a NAT, another port behind it. */
	ls.l[0] = listener("udp:192.0.2.1:5080", "[2001:db8::9]:5060");
	CHECK(ours(&ls, "sip:[2001:db8::9]"));
	CHECK(!ours(&ls, "sip:[2001:db8::9]:5080"));
	ls.l[0] = listener("udp:192.0.2.1:5080", "203.0.113.5");
	CHECK(ours(&ls, "sip:203.0.113.5"));
	CHECK(ours(&ls, "sip:203.0.113.5:5080"));
	CHECK(!ours(&ls, "sip:203.0.113.5:5081"));
}

TEST(addresses_by_transport)
{
	struct listeners ls = four();
	struct addr a = addr("192.0.2.1:5060"), b = addr("127.0.0.1:5070");

	CHECK(listener_is_our_addr(&ls, TRANSPORT_UDP, &a));
	CHECK(!listener_is_our_addr(&ls, TRANSPORT_TCP, &a));
	CHECK(listener_is_our_addr(&ls, TRANSPORT_TCP, &b));
	a.port = 5061;
	CHECK(!listener_is_our_addr(&ls, TRANSPORT_UDP, &a));
	CHECK(listener_is_our_addr(&ls, TRANSPORT_TLS, &a));
}

TEST(the_listener_that_a_uri_names)
{
	static const struct {
		const char *uri;
		int prefer, found;
	} cases[] = {
	    {"sip:192.0.2.1", 0, 0},
	    {"sip:192.0.2.1;transport=udp;lr", 0, 0},
	    {"sip:192.0.2.1;transport=tcp", 0, 1},
	    {"sip:192.0.2.1;transport=TLS", 0, 2},
	    {"sip:192.0.2.1:5061;transport=tls", 0, 2},
	    {"sips:192.0.2.1", 0, 2},
	    {"sips:192.0.2.1;transport=tcp", 0, 2},
	    {"sip:192.0.2.1;transport=sctp", 0, -1},
	    {"sip:192.0.2.1:5061", 0, -1},
	    {"sip:[2001:DB8::1]", 0, 3},
	    {"sip:us.example.com", 0, 4},
	    {"sip:us.example.com", 5, 5},
	    {"sip:us.example.com;transport=tcp", 5, -1},
	    {"tel:+49301234", 0, -1},
	};
	struct listeners ls = {.n = 6};

	ls.l[0] = listener("udp:192.0.2.1:5060", "");
	ls.l[1] = listener("tcp:192.0.2.1:5060", "");
	ls.l[2] = listener("tls:192.0.2.1:5061", "");
	ls.l[3] = listener("udp:[2001:db8::1]:5060", "");
	ls.l[4] = listener("udp:192.0.2.2:5060", "us.example.com");
	ls.l[5] = listener("udp:192.0.2.3:5060", "us.example.com");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct uri u;

		CHECK(scan_uri(str_from(cases[i].uri), &u));
		CHECK_INT(listener_of_uri(&ls, &u, cases[i].prefer),
			  cases[i].found);
	}
}

TEST(choice_of_a_listener)
{
	struct listeners ls = four();
	struct addr v4 = addr("10.0.0.1:5060"), v6 = addr("[2001:db8::5]:5060");

	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v4, -1, NULL), 0);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v6, -1, NULL), 3);
	CHECK_INT(listener_for(&ls, TRANSPORT_TCP, &v4, 0, NULL), 1);
	CHECK_INT(listener_for(&ls, TRANSPORT_TCP, &v6, -1, NULL), -1);
	CHECK_INT(listener_for(&ls, TRANSPORT_TLS, &v4, 99, NULL), 2);
	ls.l[1] = listener("udp:192.0.2.1:5070", "");
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v4, 1, NULL), 1);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v4, 3, NULL), 0);
}

/* Two virtual addresses, each of two families. */
TEST(choice_of_a_listener_that_goes_with_another)
{
	struct listeners ls = {.n = 6};
	struct addr v4 = addr("10.0.0.1:5060"), v6 = addr("[2001:db8::5]:5060");

	ls.l[0] = listener("udp:[2001:db8::101]:5060", "");
	ls.l[1] = listener("udp:10.0.0.101:5060", "");
	ls.l[2] = listener("udp:10.0.0.102:5060", "");
	ls.l[3] = listener("tcp:[2001:db8::101]:5060", "");
	ls.l[4] = listener("udp:[2001:db8::102]:5060", "");
	ls.l[5] = listener("udp:10.0.0.103:5060", "");
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v6, 1, NULL), 0);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v6, 2, NULL), 4);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v4, 4, NULL), 2);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &v6, 5, NULL), 0);
	CHECK_INT(listener_for(&ls, TRANSPORT_TCP, &v6, 2, NULL), 3);
}

/* Two services on each of two addresses. */
TEST(choice_of_a_listener_at_an_address)
{
	struct listeners ls = {.n = 6};
	struct addr to = addr("10.0.0.1:5060"), here = addr("10.0.0.102:5060");

	ls.l[0] = listener("udp:10.0.0.101:5060", "");
	ls.l[1] = listener("udp:10.0.0.102:5060", "");
	ls.l[2] = listener("udp:10.0.0.102:5080", "");
	ls.l[3] = listener("tls:10.0.0.102:5061", "");
	ls.l[4] = listener("tls:10.0.0.101:5061", "");
	ls.l[5] = listener("tls:10.0.0.102:5081", "");
	CHECK_INT(listener_for(&ls, TRANSPORT_TLS, &to, 1, &here), 3);
	CHECK_INT(listener_for(&ls, TRANSPORT_TLS, &to, 2, &here), 5);
	CHECK_INT(listener_for(&ls, TRANSPORT_UDP, &to, 2, &here), 2);
	here = addr("10.0.0.103:5060");
	CHECK_INT(listener_for(&ls, TRANSPORT_TLS, &to, 1, &here), -1);
	ls.l[4] = listener("tls:0.0.0.0:5062", "");
	CHECK_INT(listener_for(&ls, TRANSPORT_TLS, &to, 1, &here), 4);
}

TEST(transports)
{
	CHECK_INT(transport_parse(STR("udp")), TRANSPORT_UDP);
	CHECK_INT(transport_parse(STR("TCP")), TRANSPORT_TCP);
	CHECK_INT(transport_parse(STR("Tls")), TRANSPORT_TLS);
	CHECK_INT(transport_parse(STR("TLS-SCTP")), -1);
	CHECK_INT(transport_parse(STR_NONE), -1);
	CHECK_STR(str_from(transport_name(TRANSPORT_TLS)), "tls");
	CHECK_STR(transport_via(TRANSPORT_UDP), "UDP");
	CHECK_INT(transport_port(TRANSPORT_TCP), 5060);
	CHECK_INT(transport_port(TRANSPORT_TLS), 5061);
	CHECK(!transport_reliable(TRANSPORT_UDP));
	CHECK(transport_reliable(TRANSPORT_TLS));
}

TEST(causes_and_counters_have_names)
{
	CHECK_STR(str_from(cause_text(CAUSE_SILENT)), "silent");
	CHECK_STR(str_from(cause_text(CAUSE_TOO_BIG)), "too_big");
	for (int i = 0; i < CAUSE_N; i++)
		CHECK(cause_text((enum cause)i) != NULL);
	CHECK_STR(str_from(counter_info(CNT_RETRANS_OUT)->metric),
		  "tandem_retransmissions_total");
	CHECK_STR(str_from(counter_info(CNT_RETRANS_OUT)->label),
		  "direction=out");
	for (int i = 0; i < COUNTER_N; i++)
		CHECK(counter_info((enum counter)i)->metric != NULL);
}

TEST(certificates_go_by_address)
{
	struct listeners ls = four();
	struct listener from[2] = {listener("tls:192.0.2.1", ""),
				   listener("tcp:0.0.0.0:5070", "")};

	from[0].tls.cert[0] = 'n';
	from[1].tls.cert[0] = 'x';
	listeners_take_tls(&ls, from, 1);
	CHECK_INT(ls.l[2].tls.cert[0], 'n');
	CHECK_INT(ls.l[1].tls.cert[0], 0);
	CHECK_INT(ls.l[0].tls.cert[0], 0);
	/* one that is not there any more keeps what it has */
	listeners_take_tls(&ls, from + 1, 1);
	CHECK_INT(ls.l[2].tls.cert[0], 'n');
}

/* ---- places, as Lua writes them ---- */

TEST(a_place_is_an_address_with_a_transport)
{
	struct hop hop = {.listener = 7};
	char text[ADDR_TEXT];

	CHECK(hop_parse_place(STR("10.0.0.1:5070;transport=TCP"), &hop));
	CHECK_STR(str_from(addr_text(&hop.addr, text)), "10.0.0.1:5070");
	CHECK_INT(hop.transport, TRANSPORT_TCP);
	CHECK_INT(hop.listener, 7);
	CHECK(hop_parse_place(STR("[2001:db8::1];transport=tls"), &hop));
	CHECK_STR(str_from(addr_text(&hop.addr, text)), "[2001:db8::1]:5061");
	CHECK(hop_parse_place(STR("10.0.0.1"), &hop));
	CHECK_INT(hop.transport, TRANSPORT_UDP);
	CHECK_INT(hop.addr.port, 5060);
	CHECK(!hop_parse_place(STR("10.0.0.1;transport=sctp"), &hop));
	CHECK(!hop_parse_place(STR("a.example;transport=udp"), &hop));
	CHECK(!hop_parse_place(STR(""), &hop));
}
