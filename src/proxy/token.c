#include "proxy/token.h"

#include <string.h>

static const struct str prefix = {"flow1-", 6};

enum {
	/* transport, two IPv6 addresses with port and scope, connection, MAC */
	TOKEN_HEX = 2 + 2 * (2 + 32 + 4 + 8) + 16 + 16,
	TOKEN_MAX = 6 + 1 + TOKEN_HEX
};

static uint64_t token_mac(struct sipkey key, struct str signed_text)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_str(&h, STR("flow token 1"));
	siphash_str(&h, signed_text);
	return siphash_end(&h);
}

static void put_addr(struct buf *out, const struct addr *a)
{
	size_t n = a->family == ADDR_V6 ? 16 : a->family == ADDR_V4 ? 4 : 0;

	buf_hex(out, 2, a->family);
	for (size_t i = 0; i < n; i++)
		buf_hex(out, 2, a->ip[i]);
	buf_hex(out, 4, a->port);
	if (a->family == ADDR_V6)
		buf_hex(out, 8, a->scope);
}

void token_write(struct buf *out, struct sipkey key, const struct token *t)
{
	char text[TOKEN_MAX];
	struct buf b;

	buf_fixed(&b, text, sizeof(text));
	buf_put(&b, prefix);
	buf_char(&b, (char)t->side);
	buf_hex(&b, 2, t->transport);
	put_addr(&b, &t->local);
	put_addr(&b, &t->peer);
	if (transport_reliable((enum transport)t->transport))
		buf_hex(&b, 16, t->conn);
	buf_put(out, buf_str(&b));
	buf_hex(out, 16, token_mac(key, buf_str(&b)));
}

/* Cuts so many hex digits off; false when they are not there. */
static bool take_hex(struct str *rest, size_t digits, uint64_t *out_r)
{
	char padded[16];
	struct str taken = str_sub(*rest, 0, digits);

	if (taken.n != digits)
		return false;
	memset(padded, '0', sizeof(padded));
	memcpy(padded + sizeof(padded) - digits, taken.p, digits);
	*rest = str_sub(*rest, digits, rest->n);
	return str_hex64((struct str){padded, sizeof(padded)}, out_r);
}

static bool take_addr(struct str *rest, struct addr *a)
{
	uint64_t v;
	size_t n;

	memset(a, 0, sizeof(*a));
	if (!take_hex(rest, 2, &v) || (v != ADDR_V4 && v != ADDR_V6))
		return false;
	a->family = (uint8_t)v;
	n = a->family == ADDR_V6 ? 16 : 4;
	for (size_t i = 0; i < n; i++) {
		if (!take_hex(rest, 2, &v))
			return false;
		a->ip[i] = (uint8_t)v;
	}
	if (!take_hex(rest, 4, &v))
		return false;
	a->port = (uint16_t)v;
	if (a->family == ADDR_V6) {
		if (!take_hex(rest, 8, &v))
			return false;
		a->scope = (uint32_t)v;
	}
	return true;
}

static bool is_side(char c)
{
	return c == TOKEN_PATH || c == TOKEN_CALLER || c == TOKEN_CALLEE;
}

/* Whole-word comparison: no byte-wise timing to learn a MAC from. */
static bool is_signed(struct str text, const struct sipkeys *keys, uint64_t mac)
{
	bool good = mac == token_mac(keys->now, text);

	if (keys->has_other)
		good |= mac == token_mac(keys->other, text);
	return good;
}

enum token_found token_read(struct str user, const struct sipkeys *keys,
			    struct token *out_r)
{
	struct str rest = str_sub(user, prefix.n, user.n);
	struct token t = {.side = TOKEN_PATH};
	uint64_t v, mac;

	if (!str_starts(user, prefix))
		return TOKEN_NONE;
	if (!rest.n || !is_side(rest.p[0]))
		return TOKEN_BAD;
	t.side = (enum token_side)rest.p[0];
	rest = str_sub(rest, 1, rest.n);
	if (!take_hex(&rest, 2, &v) || v >= TRANSPORT_N)
		return TOKEN_BAD;
	t.transport = (uint8_t)v;
	if (!take_addr(&rest, &t.local) || !take_addr(&rest, &t.peer))
		return TOKEN_BAD;
	if (transport_reliable((enum transport)t.transport) &&
	    !take_hex(&rest, 16, &t.conn))
		return TOKEN_BAD;
	if (rest.n != 16 || !str_hex64(rest, &mac) ||
	    !is_signed(str_sub(user, 0, user.n - 16), keys, mac))
		return TOKEN_BAD;
	*out_r = t;
	return TOKEN_OK;
}
