#include "sim/sim_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A core that wants to be called again at once, this often in a row, will
 * never come to rest. */
enum { SPIN_MAX = 10000 };

struct sim *sim_new(uint64_t seed, int64_t start)
{
	struct mem mem;
	struct sim *s;
	uint8_t key[16];

	mem_init(&mem);
	s = mem_zalloc(&mem, sizeof(*s));
	if (!s)
		abort();
	s->mem = mem;
	s->start = start;
	/* Streams of their own: one more identifier does not move the next
	 * loss, and one more node does not rename the calls. */
	rand_seed(&s->net, seed);
	rand_seed(&s->ids, seed ^ 0x6964656e74696679);
	rand_seed(&s->boots, seed ^ 0x626f6f7473747261);
	rand_seed(&s->names, seed ^ 0x636f6e6e65637473);
	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)rand_u64(&s->boots);
	s->key = sipkey_load(key);
	sim_net_init(s);
	sim_streams_init(s);
	sim_trace_init(s);
	return s;
}

void sim_event_free(struct sim *s, struct ev *e)
{
	if (e->post)
		sim_post_free(s, &e->post);
	mem_free(&s->mem, e->text);
	mem_free(&s->mem, e);
}

void sim_free(struct sim **sp)
{
	struct sim *s = *sp;
	struct mem mem;

	*sp = NULL;
	if (!s)
		return;
	sim_nodes_fini(s);
	sim_split_fini(s);
	sim_dns_fini(s);
	sim_streams_fini(s);
	for (size_t i = 0; i < s->heap_n; i++)
		sim_event_free(s, s->heap[i]);
	mem_free(&s->mem, s->heap);
	sim_net_fini(s);
	sim_trace_fini(s);
	mem = s->mem;
	mem_free(&mem, s);
	assert(mem.blocks == 0);
}

int64_t sim_now(const struct sim *s)
{
	return s->now;
}

struct rand *sim_rand(struct sim *s)
{
	return &s->ids;
}

const char *sim_trouble(const struct sim *s)
{
	return s->trouble;
}

void *sim_alloc(struct sim *s, size_t n)
{
	void *p = mem_zalloc(&s->mem, n);

	if (!p)
		abort();
	return p;
}

void *sim_grow(struct sim *s, void *array, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap ? 2 * *cap : 16;
	array = mem_realloc(&s->mem, array, *cap * size);
	if (!array)
		abort();
	return array;
}

/* ---- the queue: a heap by time, and by age within one time ------------ */

static bool earlier(const struct ev *a, const struct ev *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void swap(struct ev **heap, size_t a, size_t b)
{
	struct ev *e = heap[a];

	heap[a] = heap[b];
	heap[b] = e;
}

static void put(struct sim *s, struct ev *e, int64_t at)
{
	size_t i = s->heap_n;

	e->at = at < s->now ? s->now : at;
	e->seq = ++s->seq;
	s->heap =
	    sim_grow(s, s->heap, s->heap_n, &s->heap_cap, sizeof(struct ev *));
	s->heap[s->heap_n++] = e;
	for (; i > 0 && earlier(s->heap[i], s->heap[(i - 1) / 2]);
	     i = (i - 1) / 2)
		swap(s->heap, i, (i - 1) / 2);
}

struct ev *sim_queue(struct sim *s, enum ev_kind kind, int64_t at)
{
	struct ev *e = sim_alloc(s, sizeof(*e));

	e->kind = kind;
	put(s, e, at);
	return e;
}

void sim_queue_again(struct sim *s, struct ev *e)
{
	put(s, e, s->now);
}

static struct ev *pop(struct sim *s)
{
	struct ev *top = s->heap[0];
	size_t i = 0, child;

	s->heap[0] = s->heap[--s->heap_n];
	while ((child = 2 * i + 1) < s->heap_n) {
		if (child + 1 < s->heap_n &&
		    earlier(s->heap[child + 1], s->heap[child]))
			child++;
		if (!earlier(s->heap[child], s->heap[i]))
			break;
		swap(s->heap, i, child);
		i = child;
	}
	return top;
}

uint64_t sim_timer(struct sim *s, int64_t at)
{
	return sim_queue(s, EV_TIMER, at)->seq;
}

/* ---- running ---------------------------------------------------------- */

/* True when an endpoint is to be told. */
static bool dispatch(struct sim *s, struct ev *e, struct sim_event *out_r)
{
	bool tell = false;

	switch (e->kind) {
	case EV_TIMER:
		*out_r = (struct sim_event){.kind = SIM_TIMER, .id = e->seq};
		tell = true;
		break;
	case EV_PACKET:
		if (e->node)
			sim_node_event(s, e);
		else
			tell = sim_arrive(s, e->packet, out_r);
		break;
	case EV_POST:
	case EV_FLOW:
	case EV_INPUT:
		sim_node_event(s, e);
		break;
	case EV_WORK:
		sim_slow_work(s, e);
		break;
	case EV_SAVE:
		if (!sim_pause_event(s, e->node, e))
			sim_disk_tick(s, e->node, e->boots);
		break;
	case EV_STREAM:
		tell = sim_stream_event(s, e, out_r);
		break;
	case EV_QUERY:
	case EV_ANSWER:
		tell = sim_dns_event(s, e, out_r);
		break;
	}
	sim_event_free(s, e);
	return tell;
}

bool sim_next(struct sim *s, int64_t until, struct sim_event *out_r)
{
	unsigned spins = 0;

	while (!s->trouble) {
		struct sim_worker *w = sim_node_first(s);
		int64_t due = w ? w->deadline : INT64_MAX, next = due;

		if (s->heap_n && s->heap[0]->at < next)
			next = s->heap[0]->at;
		if (next > until)
			break;
		if (next > s->now) {
			s->now = next;
			spins = 0;
		}
		/* A core handles its timers before its input anyway. */
		if (due == next) {
			sim_node_expire(s, w);
			if (++spins > SPIN_MAX)
				s->trouble = "a core wants to be called again "
					     "and again at the same time";
		} else if (dispatch(s, pop(s), out_r)) {
			return true;
		}
	}
	if (until > s->now && !s->trouble)
		s->now = until;
	return false;
}
