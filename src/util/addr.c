#include "util/addr.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

/* IPv4-mapped IPv6 becomes IPv4. */
static void normalise(struct addr *a)
{
	if (a->family != ADDR_V6 || memcmp(a->ip, v4_mapped, 12) != 0)
		return;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
	a->family = ADDR_V4;
	a->scope = 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Four decimal numbers of 0 to 255. A leading zero is refused: some readers
 * take such a number as octal, and two readings of one address are a hole. */
static bool parse_v4(struct str s, uint8_t ip[4])
{
	const char *p = s.p, *end = s.p + s.n;

	for (int i = 0; i < 4; i++) {
		unsigned v;

		if (i && (p == end || *p++ != '.'))
			return false;
		if (p == end || !is_digit(*p))
			return false;
		v = (unsigned)(*p++ - '0');
		for (bool zero = !v; p < end && is_digit(*p); p++) {
			v = v * 10 + (unsigned)(*p - '0');
			if (zero || v > 255)
				return false;
		}
		ip[i] = (uint8_t)v;
	}
	return p == end;
}

/* One to four hex digits. */
static bool parse_group(struct str s, uint8_t out[2])
{
	char text[16];
	uint64_t v;

	if (s.n < 1 || s.n > 4)
		return false;
	memset(text, '0', sizeof(text));
	memcpy(text + sizeof(text) - s.n, s.p, s.n);
	if (!str_hex64((struct str){text, sizeof(text)}, &v))
		return false;
	out[0] = (uint8_t)(v >> 8);
	out[1] = (uint8_t)v;
	return true;
}

/* Groups with a colon between each two, and maybe an IPv4 address as the last:
 * the whole address, or one side of its "::". Returns the number of bytes, at
 * most 16, or -1. */
static int parse_groups(struct str s, uint8_t out[16])
{
	int n = 0;

	if (!s.n)
		return 0;
	while (s.p) {
		struct str part = str_cut(&s, ':');

		if (!s.p && str_find(part, '.') < part.n) {
			if (n > 12 || !parse_v4(part, out + n))
				return -1;
			return n + 4;
		}
		if (n > 14 || !parse_group(part, out + n))
			return -1;
		n += 2;
	}
	return n;
}

/* Offset of the first "::", or s.n. */
static size_t find_gap(struct str s)
{
	for (size_t i = 0; i + 1 < s.n; i++)
		if (s.p[i] == ':' && s.p[i + 1] == ':')
			return i;
	return s.n;
}

/* RFC 5118 4.10: what begins with "::" may go on with ":" when an IPv4 address
 * follows, by the grammar of RFC 3261, which means nothing by it. */
static struct str skip_third_colon(struct str right)
{
	struct str rest = str_sub(right, 1, right.n);

	if (!str_starts(right, STR(":")) || str_find(rest, ':') < rest.n ||
	    str_find(rest, '.') == rest.n)
		return right;
	return rest;
}

/* RFC 4291 section 2.2: "::" stands for one or more groups. `reference`: as in
 * a SIP URI, between brackets. */
static bool parse_v6(struct str s, bool reference, uint8_t ip[16])
{
	size_t gap = find_gap(s);
	struct str left = str_sub(s, 0, gap);
	struct str right = str_sub(s, gap + 2, s.n);
	uint8_t tail[16];
	int n, m;

	memset(ip, 0, 16);
	if (gap == s.n)
		return parse_groups(s, ip) == 16;
	if (str_find(left, '.') < left.n)
		return false;
	if (reference)
		right = skip_third_colon(right);
	n = parse_groups(left, ip);
	m = parse_groups(right, tail);
	if (n < 0 || m < 0 || n + m > 14)
		return false;
	memcpy(ip + 16 - m, tail, (size_t)m);
	return true;
}

bool addr_parse_v4(struct str s, struct addr *out_r)
{
	struct addr a = {.family = ADDR_V4};

	if (!parse_v4(s, a.ip))
		return false;
	*out_r = a;
	return true;
}

/* Text without brackets and without a port. */
static bool parse_bare(struct str s, bool reference, struct addr *out_r)
{
	struct addr a = {.family = ADDR_V6};

	if (addr_parse_v4(s, out_r))
		return true;
	if (str_find(s, ':') == s.n || !parse_v6(s, reference, a.ip))
		return false;
	normalise(&a);
	*out_r = a;
	return true;
}

/* "[...]": only IPv6 is written in brackets. */
static bool parse_bracketed(struct str s, struct addr *out_r)
{
	if (s.n < 2 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	s = str_sub(s, 1, s.n - 1);
	return str_find(s, ':') < s.n && parse_bare(s, true, out_r);
}

bool addr_parse_ip(struct str s, struct addr *out_r)
{
	if (s.n && s.p[0] == '[')
		return parse_bracketed(s, out_r);
	return parse_bare(s, false, out_r);
}

/* Offset of the colon before a port, or s.n: a bare IPv6 address has none, it
 * could not be told from the address. */
static size_t find_port(struct str s)
{
	struct str rest;
	size_t colon;

	if (str_starts(s, STR("["))) {
		colon = str_find(s, ']') + 1;
		return colon < s.n ? colon : s.n;
	}
	colon = str_find(s, ':');
	rest = str_sub(s, colon + 1, s.n);
	return str_find(rest, ':') < rest.n ? s.n : colon;
}

bool addr_parse(struct str s, struct addr *out_r)
{
	size_t end = find_port(s);
	struct str host = str_sub(s, 0, end), port = str_sub(s, end, s.n);
	struct addr a;
	uint32_t v = 0;

	if (port.n &&
	    (port.p[0] != ':' ||
	     !str_u32(str_sub(port, 1, port.n), UINT16_MAX, &v) || v == 0))
		return false;
	if (!addr_parse_ip(host, &a))
		return false;
	a.port = (uint16_t)v;
	*out_r = a;
	return true;
}

static void write_v4(struct buf *b, const uint8_t ip[4])
{
	char text[16];
	size_t n = 0;

	for (int i = 0; i < 4; i++) {
		if (i)
			text[n++] = '.';
		if (ip[i] >= 100)
			text[n++] = (char)('0' + ip[i] / 100);
		if (ip[i] >= 10)
			text[n++] = (char)('0' + ip[i] / 10 % 10);
		text[n++] = (char)('0' + ip[i] % 10);
	}
	buf_put(b, (struct str){text, n});
}

/* RFC 5952 section 4.2: "::" for the first of the longest runs of zeros, but
 * not for a single group. Returns its length in groups. */
static int longest_run(const uint8_t ip[16], int *at_r)
{
	int best = 1;

	*at_r = -1;
	for (int i = 0; i < 8; i++) {
		int n = 0;

		while (i + n < 8 && !ip[2 * (i + n)] && !ip[2 * (i + n) + 1])
			n++;
		if (n > best) {
			best = n;
			*at_r = i;
		}
	}
	return best;
}

static void write_v6(struct buf *b, const uint8_t ip[16])
{
	int at, run = longest_run(ip, &at);

	for (int i = 0; i < 8; i++) {
		uint64_t group = (uint64_t)ip[2 * i] << 8 | ip[2 * i + 1];
		size_t digits = 1;

		if (i == at) {
			BUF_LIT(b, "::");
			i += run - 1;
			continue;
		}
		if (i && i != at + run)
			buf_char(b, ':');
		while (digits < 4 && group >> 4 * digits)
			digits++;
		buf_hex(b, digits, group);
	}
}

void addr_write_ip(struct buf *b, const struct addr *a)
{
	if (a->family == ADDR_V4)
		write_v4(b, a->ip);
	else if (a->family == ADDR_V6)
		write_v6(b, a->ip);
	else
		buf_char(b, '-');
}

void addr_write_host(struct buf *b, const struct addr *a)
{
	if (a->family == ADDR_V6)
		buf_char(b, '[');
	addr_write_ip(b, a);
	if (a->family == ADDR_V6)
		buf_char(b, ']');
}

void addr_write(struct buf *b, const struct addr *a)
{
	addr_write_host(b, a);
	if (a->port) {
		buf_char(b, ':');
		buf_u64(b, a->port);
	}
}

const char *addr_text(const struct addr *a, char out[ADDR_TEXT])
{
	struct buf b;

	buf_fixed(&b, out, ADDR_TEXT - 1);
	addr_write(&b, a);
	assert(buf_ok(&b));
	out[b.n] = '\0';
	return out;
}

static size_t ip_bytes(const struct addr *a)
{
	if (a->family == ADDR_NONE)
		return 0;
	return a->family == ADDR_V4 ? 4 : 16;
}

bool addr_ip_eq(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, ip_bytes(a)) == 0;
}

struct addr addr_holder(const struct addr *a)
{
	struct addr holder = {.family = a->family};

	memcpy(holder.ip, a->ip, a->family == ADDR_V6 ? 8 : ip_bytes(a));
	return holder;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return addr_ip_eq(a, b) && a->port == b->port && a->scope == b->scope;
}

/* All bytes but the last are zero. */
static bool is_small(const struct addr *a)
{
	for (size_t i = 0; i + 1 < ip_bytes(a); i++)
		if (a->ip[i])
			return false;
	return a->family != ADDR_NONE;
}

bool addr_is_any(const struct addr *a)
{
	return is_small(a) && a->ip[ip_bytes(a) - 1] == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	if (a->family == ADDR_V4)
		return a->ip[0] == 127;
	return a->family == ADDR_V6 && is_small(a) && a->ip[15] == 1;
}

bool addr_is_unsendable(const struct addr *a)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};

	if (a->family == ADDR_V4)
		return a->ip[0] == 0 || a->ip[0] >> 4 == 14 ||
		       memcmp(a->ip, broadcast, 4) == 0;
	if (a->family == ADDR_V6)
		return a->ip[0] == 0xff || addr_is_any(a);
	return true;
}

/* Bits from `bits` on become zero, so that equal networks are equal values. */
static void clear_host_bits(struct addr *a, unsigned bits)
{
	for (unsigned i = 0; i < ip_bytes(a); i++) {
		unsigned keep = bits > 8 * i ? bits - 8 * i : 0;

		if (keep < 8)
			a->ip[i] &= (uint8_t)(0xff00u >> keep);
	}
}

bool addr_net_parse(struct str s, struct addr_net *out_r)
{
	struct str ip = str_cut(&s, '/');
	struct addr_net net = {0};
	bool mapped;
	uint32_t bits;

	if (!addr_parse_ip(ip, &net.base))
		return false;
	bits = 8 * (uint32_t)ip_bytes(&net.base);
	mapped = net.base.family == ADDR_V4 && str_find(ip, ':') < ip.n;
	if (s.p) {
		if (s.n > 1 && s.p[0] == '0')
			return false;
		if (!str_u32(s, mapped ? 128 : bits, &bits))
			return false;
		/* Wider than the mapped part it is not a network of IPv4. */
		if (mapped && bits < 96)
			return false;
		bits -= mapped ? 96 : 0;
	}
	clear_host_bits(&net.base, bits);
	net.bits = (uint8_t)bits;
	*out_r = net;
	return true;
}

bool addr_net_has(const struct addr_net *net, const struct addr *a)
{
	size_t whole = net->bits / 8;
	unsigned rest = net->bits % 8;

	if (net->base.family != a->family || a->family == ADDR_NONE ||
	    memcmp(net->base.ip, a->ip, whole) != 0)
		return false;
	return !rest || (net->base.ip[whole] ^ a->ip[whole]) >> (8 - rest) == 0;
}

/* The structs are copied, not cast: the caller's bytes need not be aligned for
 * them, nor be of the type that they are read as. */
void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa)
{
	const void *from = sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	*a = (struct addr){0};
	if (sa->sa_family == AF_INET) {
		memcpy(&in, from, sizeof(in));
		a->family = ADDR_V4;
		memcpy(a->ip, &in.sin_addr, 4);
		a->port = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&in6, from, sizeof(in6));
		a->family = ADDR_V6;
		memcpy(a->ip, &in6.sin6_addr, 16);
		a->port = ntohs(in6.sin6_port);
		/* fe80::/10 */
		if (a->ip[0] == 0xfe && a->ip[1] >> 6 == 2)
			a->scope = in6.sin6_scope_id;
		normalise(a);
	}
}

unsigned addr_to_sockaddr(const struct addr *a, struct sockaddr *out128)
{
	void *to = out128;
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	if (a->family == ADDR_V4) {
		memcpy(&in.sin_addr, a->ip, 4);
		in.sin_port = htons(a->port);
		memcpy(to, &in, sizeof(in));
		return sizeof(in);
	}
	if (a->family == ADDR_V6) {
		memcpy(&in6.sin6_addr, a->ip, 16);
		in6.sin6_port = htons(a->port);
		in6.sin6_scope_id = a->scope;
		memcpy(to, &in6, sizeof(in6));
		return sizeof(in6);
	}
	return 0;
}
