#include <string.h>

#include "transaction/inner.h"

/* Only what follows the cookie can identify anything (8.1.1.7); the cookie
 * alone (RFC 4475 "badbranch") is the branch of an RFC 2543 element. */
bool server_key_is_new(struct str branch)
{
	return branch.n > 7 &&
	       str_caseeq(str_sub(branch, 0, 7), STR("z9hG4bK"));
}

static struct str number(struct server_key *k, uint64_t v)
{
	struct buf b;

	buf_fixed(&b, k->num, sizeof(k->num));
	buf_u64(&b, v);
	return buf_str(&b);
}

uint16_t server_key_port(const struct via *via)
{
	int t;

	if (via->port)
		return via->port;
	t = transport_parse(via->transport);
	return transport_port(t < 0 ? TRANSPORT_UDP : t);
}

/* 17.2.3: branch and sent-by. The branch is compared byte by byte: some clients
 * count theirs in base 62. */
static void make_new(struct server_key *k, const struct via *via)
{
	k->part[0] = STR("3261");
	k->part[1] = via->branch;
	k->part[2] = via->host;
	k->part[3] = number(k, server_key_port(via));
	k->parts = 4;
	k->host = 2;
}

/* 17.2.3, for RFC 2543: Request-URI, tags, Call-ID, CSeq number, top Via. The
 * To tag of an ACK is that of the response and is compared elsewhere. */
static void make_old(struct server_key *k, const struct msg *m,
		     const struct msg_key *key)
{
	k->part[0] = STR("2543");
	k->part[1] = m->uri;
	k->part[2] = key->from_tag;
	k->part[3] = key->call_id;
	k->part[4] = number(k, key->cseq);
	k->part[5] = key->via.text;
	k->parts = 6;
	k->to_tag = key->to_tag;
	k->has_to_tag = key->cseq_id != METHOD_ACK;
}

void server_key_make(struct server_key *k, const struct msg *m,
		     const struct msg_key *key)
{
	*k = (struct server_key){0};
	if (server_key_is_new(key->via.branch))
		make_new(k, &key->via);
	else
		make_old(k, m, key);
	if (key->cseq_id == METHOD_ACK)
		k->method = method_name(METHOD_INVITE);
	else
		k->method = key->cseq_method;
}

bool server_key_of_via(struct server_key *k, const struct via *via)
{
	*k = (struct server_key){0};
	if (!server_key_is_new(via->branch))
		return false;
	make_new(k, via);
	return true;
}

bool server_key_of_final(struct server_key *k, const struct msg_key *key)
{
	bool is_one = server_key_of_via(k, &key->via);

	k->method = key->cseq_method;
	return is_one;
}

void server_key_add(const struct server_key *k, struct siphash *h)
{
	for (unsigned i = 0; i < k->parts; i++) {
		if (i && i == k->host)
			siphash_lower(h, k->part[i]);
		else
			siphash_str(h, k->part[i]);
	}
}

uint64_t server_key_hash(const struct server_key *k, struct sipkey key)
{
	struct siphash h;

	siphash_init(&h, key);
	server_key_add(k, &h);
	return siphash_end(&h);
}

uint64_t server_key_id(const struct server_key *k, struct sipkey key)
{
	struct siphash h;

	siphash_init(&h, key);
	server_key_add(k, &h);
	siphash_str(&h, k->to_tag);
	siphash_str(&h, k->method);
	return siphash_end(&h);
}

/* Stored as the parts, To tag and method with a NUL after each but the last:
 * no header field can hold one (msg_index). */
size_t server_key_size(const struct server_key *k)
{
	size_t n = k->parts + 1 + k->to_tag.n + k->method.n;

	for (unsigned i = 0; i < k->parts; i++)
		n += k->part[i].n;
	return n;
}

static char *put(char *out, struct str s)
{
	if (s.n)
		memcpy(out, s.p, s.n);
	return out + s.n;
}

void server_key_write(const struct server_key *k, char *out)
{
	for (unsigned i = 0; i < k->parts; i++) {
		out = put(out, k->part[i]);
		*out++ = '\0';
	}
	out = put(out, k->to_tag);
	*out++ = '\0';
	put(out, k->method);
}

bool server_key_eq(const struct server_key *k, struct str stored)
{
	struct str rest = stored, tag;

	for (unsigned i = 0; i < k->parts; i++) {
		struct str part = str_cut(&rest, '\0');
		bool same = i && i == k->host ? str_caseeq(part, k->part[i])
					      : str_eq(part, k->part[i]);

		if (!same)
			return false;
	}
	tag = str_cut(&rest, '\0');
	if (k->has_to_tag && !str_eq(tag, k->to_tag))
		return false;
	if (!k->any_method)
		return str_eq(rest, k->method);
	return !str_eq(rest, method_name(METHOD_CANCEL));
}
