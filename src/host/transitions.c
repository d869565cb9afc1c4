#include "host/transitions.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/list.h"

enum {
	/* Of one; of a longer one only the key is kept. */
	JSON_MAX = 8192,
	/* {"seq":18446744073709551615, and the comma between two */
	SEQ_MAX = 32,
	/* {"last":N,"events":[]} with a NUL */
	FRAME_MAX = 64,
};

struct transitions {
	pthread_mutex_t lock;
	transition_fn *fn;
	void *ctx;
	uint64_t last;                /* the number of the newest */
	char *json[TRANSITIONS_KEPT]; /* of number n at n % KEPT, or NULL */
};

bool is_transition(const struct log_event *e)
{
	static const char *const keys[] = {
	    "server.health", "server.admin", "server.hold",     "pool.state",
	    "pool.tier",     "reload",       "config.rejected",
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(e->key, keys[i]) == 0)
			return true;
	return false;
}

static struct str text_of(const struct log_event *e, const char *key)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->field[i].type == LOG_STR &&
		    strcmp(e->field[i].key, key) == 0)
			return e->field[i].u.s;
	return STR_NONE;
}

static void keep(struct transitions *t, struct str json)
{
	char **slot = &t->json[++t->last % TRANSITIONS_KEPT];

	free(*slot);
	*slot = malloc(json.n + 1);
	if (*slot) {
		memcpy(*slot, json.p, json.n);
		(*slot)[json.n] = '\0';
	}
}

static void write_event(struct buf *b, char space[JSON_MAX],
			const struct log_event *e, wall_t ts)
{
	struct log_field cut[] = {LOGF_BOOL("truncated", true)};
	struct log_event brief = {e->level, e->key, cut, 1};

	buf_fixed(b, space, JSON_MAX);
	log_write_json(b, e, ts);
	if (buf_ok(b))
		return;
	buf_fixed(b, space, JSON_MAX);
	log_write_json(b, &brief, ts);
}

void transitions_note(struct transitions *t, const struct log_event *e,
		      wall_t ts)
{
	struct transition what = {.event = e->key};
	char space[JSON_MAX];
	struct buf b;

	if (!is_transition(e))
		return;
	write_event(&b, space, e, ts);
	what.pool = text_of(e, "pool");
	what.server = text_of(e, "server");
	what.from = text_of(e, "from");
	what.to = text_of(e, "to");
	what.json = buf_str(&b);
	pthread_mutex_lock(&t->lock);
	keep(t, what.json);
	if (t->fn)
		t->fn(t->ctx, &what);
	pthread_mutex_unlock(&t->lock);
}

/* ---- reading ---- */

/* The first number that is kept and came after `since`; of a number that there
 * has not been yet, the client has it from a process before. */
static uint64_t first_after(const struct transitions *t, uint64_t since)
{
	uint64_t oldest =
	    t->last < TRANSITIONS_KEPT ? 1 : t->last - TRANSITIONS_KEPT + 1;

	return since >= oldest && since <= t->last ? since + 1 : oldest;
}

static size_t room_for(const struct transitions *t, uint64_t from)
{
	size_t n = FRAME_MAX;

	for (uint64_t i = from; i <= t->last; i++)
		if (t->json[i % TRANSITIONS_KEPT])
			n += SEQ_MAX + strlen(t->json[i % TRANSITIONS_KEPT]);
	return n;
}

/* Their objects begin with '{'; each gets its number first. */
static void write_all(const struct transitions *t, uint64_t from, struct buf *b)
{
	bool first = true;

	buf_printf(b, "{\"last\":%" PRIu64 ",\"events\":[", t->last);
	for (uint64_t i = from; i <= t->last; i++) {
		const char *json = t->json[i % TRANSITIONS_KEPT];

		if (!json)
			continue;
		buf_printf(b, "%s{\"seq\":%" PRIu64 ",", first ? "" : ",", i);
		buf_put(b, str_from(json + 1));
		first = false;
	}
	BUF_LIT(b, "]}");
	buf_char(b, '\0');
}

char *transitions_since(struct transitions *t, uint64_t since)
{
	struct buf b;
	uint64_t from;
	char *space;
	size_t room;

	pthread_mutex_lock(&t->lock);
	from = first_after(t, since);
	room = room_for(t, from);
	space = malloc(room);
	if (space) {
		buf_fixed(&b, space, room);
		write_all(t, from, &b);
	}
	pthread_mutex_unlock(&t->lock);
	return space;
}

/* ---- life ---- */

struct transitions *transitions_new(transition_fn *fn, void *ctx)
{
	struct transitions *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->fn = fn;
	t->ctx = ctx;
	return t;
}

void transitions_free(struct transitions **tp)
{
	struct transitions *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	for (size_t i = 0; i < TRANSITIONS_KEPT; i++)
		free(t->json[i]);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
