#include "util/hep.h"

/* Chunk types of vendor 0. */
enum {
	FAMILY = 1,
	PROTOCOL = 2,
	FROM_V4 = 3,
	TO_V4 = 4,
	FROM_V6 = 5,
	TO_V6 = 6,
	FROM_PORT = 7,
	TO_PORT = 8,
	TIME_SECONDS = 9,
	TIME_MICROS = 10,
	TYPE = 11,
	AGENT = 12,
	PASSWORD = 14,
	PAYLOAD = 15,
	CORRELATION = 17,
	NODE = 19
};

enum {
	HEADER = 6, /* "HEP3" and the length of the packet */
	CHUNK = 6,  /* vendor, type and length of a chunk */
	/* The values are those of the BSDs' and Linux's AF_ constants. */
	FAMILY_V4 = 2,
	FAMILY_V6 = 10,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17
};

static void put_number(struct buf *b, uint64_t v, size_t bytes)
{
	while (bytes-- > 0)
		buf_char(b, (char)(v >> bytes * 8 & 0xff));
}

static void put_chunk(struct buf *b, unsigned type, size_t n)
{
	put_number(b, 0, 2); /* vendor: the protocol's own */
	put_number(b, type, 2);
	put_number(b, CHUNK + n, 2);
}

static void put_value(struct buf *b, unsigned type, uint64_t v, size_t bytes)
{
	put_chunk(b, type, bytes);
	put_number(b, v, bytes);
}

static void put_text(struct buf *b, unsigned type, struct str s)
{
	s = str_sub(s, 0, HEP_TEXT);
	if (!s.n)
		return;
	put_chunk(b, type, s.n);
	buf_put(b, s);
}

static void put_ip(struct buf *b, unsigned type, const struct addr *a, size_t n)
{
	put_chunk(b, type, n);
	buf_put(b, (struct str){(const char *)a->ip, n});
}

static void put_addresses(struct buf *b, const struct hep *h)
{
	if (h->from.family == ADDR_V6 || h->to.family == ADDR_V6) {
		put_value(b, FAMILY, FAMILY_V6, 1);
		put_ip(b, FROM_V6, &h->from, 16);
		put_ip(b, TO_V6, &h->to, 16);
	} else {
		put_value(b, FAMILY, FAMILY_V4, 1);
		put_ip(b, FROM_V4, &h->from, 4);
		put_ip(b, TO_V4, &h->to, 4);
	}
	put_value(b, PROTOCOL, h->tcp ? PROTOCOL_TCP : PROTOCOL_UDP, 1);
	put_value(b, FROM_PORT, h->from.port, 2);
	put_value(b, TO_PORT, h->to.port, 2);
}

/* A length of two bytes that is known only now. */
static void set_length(struct buf *b, size_t at, size_t n)
{
	if (!buf_ok(b))
		return;
	b->p[at] = (char)(n >> 8 & 0xff);
	b->p[at + 1] = (char)(n & 0xff);
}

void hep_write(struct buf *b, const struct hep *h, size_t *payload_r)
{
	size_t start = b->n, room;
	struct str payload;

	BUF_LIT(b, "HEP3");
	put_number(b, 0, 2);
	put_addresses(b, h);
	put_value(b, TIME_SECONDS, (uint64_t)(h->time.us / SECONDS(1)), 4);
	put_value(b, TIME_MICROS, (uint64_t)(h->time.us % SECONDS(1)), 4);
	put_value(b, TYPE, h->type, 1);
	put_value(b, AGENT, h->id, 4);
	put_text(b, PASSWORD, h->password);
	put_text(b, CORRELATION, h->correlation);
	put_text(b, NODE, h->node);
	/* All before it is shorter than a kilobyte. */
	room = HEP_MAX - (b->n - start) - CHUNK;
	payload = str_sub(h->payload, 0, room);
	put_chunk(b, PAYLOAD, payload.n);
	buf_put(b, payload);
	set_length(b, start + HEADER - 2, b->n - start);
	*payload_r = payload.n;
}
