#include "transaction/branch.h"

#include <assert.h>
#include <string.h>

#include "transaction/inner.h"

/* One key makes several things: the first word says which. */
enum { USE_T = 1, USE_MAC, USE_TO_TAG, USE_BRIEF_TAG, USE_OLD_BRIEF_TAG };

static const char COOKIE[] = "z9hG4bK1"; /* with our version */
enum { COOKIE_LEN = sizeof(COOKIE) - 1, AT_T = COOKIE_LEN + 2 };

unsigned branch_h8(struct str call_id)
{
	static const struct sipkey public = {0x74616e64656d0001, 0x68380001};

	return siphash24(public, call_id.p, call_id.n) & 0xff;
}

struct upstream_id upstream_id(const struct msg_key *key,
			       const struct hop *from)
{
	return (struct upstream_id){
	    .branch = key->via.branch,
	    .host = key->via.host,
	    .port = key->via.port,
	    .source = from->addr,
	    .call_id = key->call_id,
	    .from_tag = key->from_tag,
	    .cseq = key->cseq,
	};
}

struct upstream_id upstream_id_echoed(const struct msg_key *key,
				      const struct via *second)
{
	struct upstream_id id = {
	    .branch = second->branch,
	    .host = second->host,
	    .port = second->port,
	    .call_id = key->call_id,
	    .from_tag = key->from_tag,
	    .cseq = key->cseq,
	};

	/* An address that is none leaves the family at ADDR_NONE, which no
	 * MAC of ours covers. */
	if (second->received.n && addr_parse_ip(second->received, &id.source))
		id.source.port = second->rport;
	return id;
}

static void hash_upstream(struct siphash *h, const struct upstream_id *up)
{
	siphash_str(h, up->branch);
	siphash_lower(h, up->host);
	siphash_u64(h, up->port);
	siphash_addr(h, &up->source);
	siphash_str(h, up->call_id);
	siphash_str(h, up->from_tag);
	siphash_u64(h, up->cseq);
}

static uint64_t mac(const struct branch *b, struct sipkey key,
		    const struct upstream_id *up)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_u64(&h, USE_MAC);
	hash_upstream(&h, up);
	siphash_u64(&h, b->t);
	siphash_u64(&h, b->l);
	return siphash_end(&h);
}

void branch_write(char out[BRANCH_LEN], struct sipkey key,
		  const struct upstream_id *up, const struct hop *target,
		  unsigned visit, uint64_t loop)
{
	struct branch b = {.h8 = branch_h8(up->call_id), .l = loop};
	struct siphash h;

	siphash_init(&h, key);
	siphash_u64(&h, USE_T);
	hash_upstream(&h, up);
	siphash_addr(&h, &target->addr);
	siphash_u64(&h, target->transport);
	siphash_u64(&h, visit);
	if (up->transaction)
		siphash_u64(&h, up->transaction);
	b.t = siphash_end(&h);
	b.mac = mac(&b, key, up);

	memcpy(out, COOKIE, COOKIE_LEN);
	str_put_hex(out + COOKIE_LEN, 2, b.h8);
	str_put_hex(out + AT_T, 16, b.t);
	str_put_hex(out + AT_T + 16, 16, b.l);
	str_put_hex(out + AT_T + 32, 16, b.mac);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool branch_parse(struct str text, struct branch *out_r)
{
	struct branch b;
	int high, low;

	static_assert(AT_T + 48 == BRANCH_LEN, "layout");
	if (text.n != BRANCH_LEN ||
	    !str_caseeq(str_sub(text, 0, COOKIE_LEN), STR(COOKIE)))
		return false;
	high = hex_digit(text.p[COOKIE_LEN]);
	low = hex_digit(text.p[COOKIE_LEN + 1]);
	if (high < 0 || low < 0 ||
	    !str_hex64(str_sub(text, AT_T, AT_T + 16), &b.t) ||
	    !str_hex64(str_sub(text, AT_T + 16, AT_T + 32), &b.l) ||
	    !str_hex64(str_sub(text, AT_T + 32, AT_T + 48), &b.mac))
		return false;
	b.h8 = (unsigned)(high << 4 | low);
	*out_r = b;
	return true;
}

bool branch_t(struct str text, uint64_t *t_r)
{
	return text.n == BRANCH_LEN &&
	       str_hex64(str_sub(text, AT_T, AT_T + 16), t_r);
}

bool branch_verify(const struct branch *b, const struct sipkeys *keys,
		   const struct upstream_id *up)
{
	uint64_t h8 = b->h8 ^ branch_h8(up->call_id);
	bool good = (h8 | (mac(b, keys->now, up) ^ b->mac)) == 0;

	/* All are looked at in full whatever the first one says. */
	if (keys->has_other)
		good |= (h8 | (mac(b, keys->other, up) ^ b->mac)) == 0;
	return good;
}

static uint64_t to_tag(struct sipkey key, const struct upstream_id *up)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_u64(&h, USE_TO_TAG);
	hash_upstream(&h, up);
	return siphash_end(&h);
}

void branch_to_tag(char out[TAG_LEN], struct sipkey key,
		   const struct upstream_id *up)
{
	str_put_hex(out, TAG_LEN, to_tag(key, up));
}

static uint64_t end_brief(struct siphash *h)
{
	uint64_t tag = siphash_end(h);

	return tag ? tag : 1;
}

/* The key of the transaction again, but cheaper than to write it down first. */
bool branch_brief_tag_by_via(struct sipkey key, const struct via *via,
			     struct str call_id, uint32_t cseq, uint64_t *tag_r)
{
	struct siphash h;

	if (!server_key_is_new(via->branch))
		return false;
	siphash_init(&h, key);
	siphash_u64(&h, USE_BRIEF_TAG);
	siphash_u64(&h, server_key_port(via));
	siphash_lower(&h, via->host);
	siphash_str(&h, via->branch);
	siphash_str(&h, call_id);
	siphash_u64(&h, cseq);
	*tag_r = end_brief(&h);
	return true;
}

uint64_t branch_brief_tag(struct sipkey key, const struct msg *m,
			  const struct msg_key *mk)
{
	struct server_key k;
	struct siphash h;
	uint64_t tag;

	if (branch_brief_tag_by_via(key, &mk->via, mk->call_id, mk->cseq, &tag))
		return tag;
	server_key_make(&k, m, mk);
	siphash_init(&h, key);
	siphash_u64(&h, USE_OLD_BRIEF_TAG);
	server_key_add(&k, &h);
	return end_brief(&h);
}

bool branch_is_to_tag(struct str tag, const struct sipkeys *keys,
		      const struct upstream_id *up)
{
	uint64_t found;
	bool same;

	if (tag.n != TAG_LEN || !str_hex64(tag, &found))
		return false;
	same = found == to_tag(keys->now, up);
	if (keys->has_other)
		same |= found == to_tag(keys->other, up);
	return same;
}
