#include "lua/error_rate.h"

#include <string.h>

#include "util/siphash.h"

static const int64_t minute = SECONDS(60);

/* "route.lua:22:" of "route.lua:22: attempt to ...": what follows may be
 * another text each time. Without a line all of it. */
static struct str place_of(struct str message)
{
	size_t i = str_find(message, ':');

	while (i < message.n) {
		size_t k = i + 1;

		while (k < message.n && message.p[k] >= '0' &&
		       message.p[k] <= '9')
			k++;
		if (k > i + 1 && k < message.n && message.p[k] == ':')
			return str_sub(message, 0, k);
		i += 1 + str_find(str_sub(message, i + 1, message.n), ':');
	}
	return message;
}

static uint64_t hash_place(const char *what, struct str message)
{
	struct siphash h;

	siphash_init(&h, (struct sipkey){0x6572726f72, 0x706c616365});
	siphash_str(&h, str_from(what));
	siphash_str(&h, place_of(message));
	return siphash_end(&h) | 1;
}

/* The place, or the one whose minute is over, or ends, first. */
static struct error_place *find(struct error_rate *r, uint64_t hash)
{
	struct error_place *oldest = &r->place[0];

	for (size_t i = 0; i < ERROR_PLACES; i++) {
		struct error_place *p = &r->place[i];

		if (p->hash == hash)
			return p;
		if (tick_before(p->end, oldest->end))
			oldest = p;
	}
	return oldest;
}

static void begin(struct error_place *p, uint64_t hash, const char *what,
		  struct str message, tick_t now)
{
	uint64_t suppressed = p->hash == hash ? p->suppressed : 0;

	message = str_sub(message, 0, ERROR_TEXT);
	*p = (struct error_place){.hash = hash,
				  .end = tick_add(now, minute),
				  .suppressed = suppressed,
				  .what = what,
				  .n = message.n};
	memcpy(p->text, message.p, message.n);
}

bool error_rate_take(struct error_rate *r, const char *what, struct str message,
		     tick_t now, uint64_t *suppressed_r)
{
	uint64_t hash = hash_place(what, message);
	struct error_place *p = find(r, hash);

	if (p->hash != hash || !tick_before(now, p->end))
		begin(p, hash, what, message, now);
	if (p->shown >= ERRORS_SHOWN) {
		p->suppressed++;
		if (tick_before(p->end, r->due))
			r->due = p->end;
		return false;
	}
	p->shown++;
	*suppressed_r = p->suppressed;
	p->suppressed = 0;
	return true;
}

const struct error_place *error_rate_next(struct error_rate *r, tick_t now,
					  uint64_t *suppressed_r)
{
	if (tick_before(now, r->due))
		return NULL;
	r->due = TICK_NEVER;
	for (size_t i = 0; i < ERROR_PLACES; i++) {
		struct error_place *p = &r->place[i];

		if (!p->suppressed)
			continue;
		if (!tick_before(now, p->end)) {
			*suppressed_r = p->suppressed;
			p->suppressed = 0;
			r->due = now; /* there may be more */
			return p;
		}
		if (tick_before(p->end, r->due))
			r->due = p->end;
	}
	return NULL;
}

void error_rate_init(struct error_rate *r)
{
	memset(r, 0, sizeof(*r));
	r->due = TICK_NEVER;
}
