/*
 * Any bytes as a stream: cut into pieces as the first bytes say, it gives the
 * same messages as in one piece; a message that the index accepts is exactly as
 * long as the framer says, or two readers of one stream would disagree about
 * where the next one begins.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "message/msg.h"
#include "transport/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 4096, CUTS = 8 };

struct run {
	struct mem mem;
	struct frame f;
	uint64_t hash; /* of everything found */
	size_t pings, messages;
	struct arena *arena;
};

static void mix(struct run *r, struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		r->hash = (r->hash ^ (uint8_t)s.p[i]) * 0x100000001b3;
	r->hash = (r->hash ^ s.n) * 0x100000001b3;
}

static void on_message(struct run *r, struct str bytes)
{
	struct msg m;

	r->messages++;
	mix(r, bytes);
	if (msg_index(&m, r->arena, bytes) == MSG_OK)
		assert(m.raw.p == bytes.p && m.raw.n == bytes.n &&
		       m.has_length);
	arena_reset(r->arena);
}

static enum frame_found feed(struct run *r, struct str piece)
{
	enum frame_found found;
	struct str out;

	for (;;) {
		found = frame_next(&r->f, MAX, &piece, &out);
		if (found == FRAME_MORE) {
			assert(!piece.n);
			return found;
		}
		if (found == FRAME_BAD) {
			mix(r, (struct str){"bad", (size_t)r->f.bad % 4});
			return found;
		}
		if (found == FRAME_PING)
			r->pings++;
		else
			on_message(r, out);
	}
}

static void run(struct run *r, struct str all, const uint8_t *cut, size_t cuts)
{
	enum frame_found found = FRAME_MORE;

	for (size_t at = 0, i = 0; at < all.n && found != FRAME_BAD; i++) {
		size_t n = cuts ? (size_t)cut[i % cuts] + 1 : all.n;

		found = feed(r, str_sub(all, at, at + n));
		at += n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run a = {.hash = 1}, b = {.hash = 1};
	struct arena_cache *cache;
	struct mem mem;
	struct str all;

	if (size < CUTS)
		return 0;
	all = (struct str){(const char *)data + CUTS, size - CUTS};
	mem_init(&mem);
	cache = arena_cache_new(&mem);
	a.arena = b.arena = arena_new(cache);
	assert(a.arena);
	mem_init(&a.mem);
	mem_init(&b.mem);
	frame_init(&a.f, &a.mem);
	frame_init(&b.f, &b.mem);
	run(&a, all, NULL, 0);
	run(&b, all, data, CUTS);
	assert(a.hash == b.hash && a.pings == b.pings &&
	       a.messages == b.messages && a.f.bad == b.f.bad &&
	       frame_inside(&a.f) == frame_inside(&b.f));
	frame_fini(&a.f);
	frame_fini(&b.f);
	assert(!a.mem.bytes && !b.mem.bytes);
	arena_free(&a.arena);
	arena_cache_free(&cache);
	return 0;
}
