#include "proxy/cookie.h"

#include <string.h>

static uint64_t cookie_mac(struct sipkey key, struct str call_id,
			   struct str tag, char side, uint64_t id)
{
	struct siphash h;

	siphash_init(&h, key);
	siphash_str(&h, STR("record-route cookie 1"));
	siphash_str(&h, call_id);
	siphash_str(&h, tag);
	siphash_u64(&h, (uint64_t)(unsigned char)side);
	siphash_u64(&h, id);
	return siphash_end(&h);
}

void cookie_write(char out[COOKIE_LEN], struct sipkey key, struct str call_id,
		  struct str from_tag, enum cookie_side side, uint64_t id)
{
	out[0] = '1';
	out[1] = (char)side;
	str_put_hex(out + 2, 16, id);
	str_put_hex(out + 18, 16,
		    cookie_mac(key, call_id, from_tag, (char)side, id));
}

/* Whole-word comparison: no byte-wise timing to learn a MAC from. */
static bool is_signed(const struct cookie *c, const struct sipkeys *keys,
		      struct str call_id, struct str tag, uint64_t mac)
{
	char side = (char)c->side;
	bool good = mac == cookie_mac(keys->now, call_id, tag, side, c->id);

	if (keys->has_other)
		good |=
		    mac == cookie_mac(keys->other, call_id, tag, side, c->id);
	return good;
}

bool cookie_read(struct str text, const struct sipkeys *keys,
		 struct str call_id, struct str from_tag, struct str to_tag,
		 struct cookie *out_r)
{
	uint64_t id, mac;

	if (text.n != COOKIE_LEN || text.p[0] != '1')
		return false;
	if (text.p[1] != COOKIE_NONE && text.p[1] != COOKIE_CALLEE &&
	    text.p[1] != COOKIE_CALLER)
		return false;
	if (!str_hex64(str_sub(text, 2, 18), &id) ||
	    !str_hex64(str_sub(text, 18, 34), &mac))
		return false;
	out_r->side = (enum cookie_side)text.p[1];
	out_r->id = id;
	out_r->from_caller = is_signed(out_r, keys, call_id, from_tag, mac);
	return out_r->from_caller ||
	       (to_tag.n > 0 && is_signed(out_r, keys, call_id, to_tag, mac));
}
