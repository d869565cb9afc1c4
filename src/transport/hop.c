#include <assert.h>
#include <string.h>
#include <strings.h>
#include "transport/host.h"

static const struct {
	const char *name;
	struct str via;
	uint16_t port;
} TRANSPORT[TRANSPORT_N] = {
    [TRANSPORT_UDP] = {"udp", {"UDP", 3}, 5060},
    [TRANSPORT_TCP] = {"tcp", {"TCP", 3}, 5060},
    [TRANSPORT_TLS] = {"tls", {"TLS", 3}, 5061},
};

const char *transport_name(enum transport t)
{
	assert((unsigned)t < TRANSPORT_N);
	return TRANSPORT[t].name;
}

struct str transport_via(enum transport t)
{
	assert((unsigned)t < TRANSPORT_N);
	return TRANSPORT[t].via;
}

int transport_parse(struct str s)
{
	for (int t = 0; t < TRANSPORT_N; t++) {
		if (str_caseeq(s, TRANSPORT[t].via))
			return t;
	}
	return -1;
}

uint16_t transport_port(enum transport t)
{
	assert((unsigned)t < TRANSPORT_N);
	return TRANSPORT[t].port;
}

const char *cause_text(enum cause c)
{
	static const char *const text[CAUSE_N] = {
#define X(id, text) [id] = text,
	    CAUSE_LIST(X)
#undef X
	};

	assert((unsigned)c < CAUSE_N);
	return text[c];
}

struct str uri_target(const struct uri *uri)
{
	struct str maddr;

	return scan_param(uri->params, STR("maddr"), &maddr) && maddr.p
		   ? maddr
		   : uri->host;
}

bool hop_parse_place(struct str text, struct hop *out_r)
{
	struct str params = text, name;
	struct str place = str_cut(&params, ';');
	int t = TRANSPORT_UDP;

	if (params.p && scan_param(params, STR("transport"), &name))
		t = transport_parse(name);
	if (t < 0 || !addr_parse(place, &out_r->addr))
		return false;
	out_r->transport = (uint8_t)t;
	if (!out_r->addr.port)
		out_r->addr.port = transport_port((enum transport)t);
	return true;
}

bool hop_of_uri(const struct uri *uri, struct hop *out_r)
{
	struct str transport;
	int tp = TRANSPORT_UDP;

	if (!uri->is_sip)
		return false;
	memset(out_r, 0, sizeof(*out_r));
	if (uri->is_sips)
		tp = TRANSPORT_TLS;
	else if (scan_param(uri->params, STR("transport"), &transport))
		tp = transport_parse(transport);
	if (tp < 0 || !addr_parse_ip(uri_target(uri), &out_r->addr))
		return false;
	out_r->transport = (uint8_t)tp;
	out_r->addr.port =
	    uri->port ? uri->port : transport_port((enum transport)tp);
	return true;
}

/* ---- connections ---- */

static bool same_name(const char *a, const char *b)
{
	return a && b ? strcasecmp(a, b) == 0 : a == b;
}

/* RFC 5922 7.3 wants the name checked again when a connection is used again. */
static bool is_identity(const struct hop *conn, bool accepted,
			const struct hop *to)
{
	if (to->transport != TRANSPORT_TLS)
		return true;
	if (accepted)
		return !to->tls_name || same_name(conn->tls_name, to->tls_name);
	return conn->tls == to->tls && same_name(conn->tls_name, to->tls_name);
}

bool hop_may_take(const struct hop *conn, bool accepted, const struct hop *to)
{
	return conn->transport == to->transport &&
	       conn->listener == to->listener &&
	       addr_eq(&conn->addr, &to->addr) &&
	       (to->local.family == ADDR_NONE ||
		addr_ip_eq(&conn->local, &to->local)) &&
	       is_identity(conn, accepted, to);
}
