#include "sim/sim_int.h"

#include <assert.h>
#include <string.h>

const char *sim_fate_text(enum sim_fate fate)
{
	static const char *const text[] = {
	    [SIM_FLYING] = "flying",   [SIM_DELIVERED] = "delivered",
	    [SIM_LOST] = "lost",       [SIM_CUT] = "cut",
	    [SIM_REFUSED] = "refused", [SIM_DEAD] = "dead",
	    [SIM_NOBODY] = "nobody",   [SIM_TOO_BIG] = "too_big",
	    [SIM_UNSENT] = "unsent",   [SIM_FULL] = "full",
	};

	return (size_t)fate < ARRAY_LEN(text) ? text[fate] : "?";
}

void sim_trace_init(struct sim *s)
{
	/* A key of its own that no seed changes: two seeds with equal runs
	 * have equal hashes. */
	siphash_init(&s->trace, (struct sipkey){0x74616e64656d, 0x73696d});
}

void sim_trace_fini(struct sim *s)
{
	for (size_t i = 0; i < s->packets; i++)
		mem_free(&s->mem, s->packet[i]);
	mem_free(&s->mem, s->packet);
	for (size_t i = 0; i < s->logs; i++)
		mem_free(&s->mem, s->log[i]);
	mem_free(&s->mem, s->log);
	mem_free(&s->mem, s->note);
}

static void note(struct sim *s, enum sim_note_kind kind, size_t index,
		 enum sim_fate fate, unsigned host)
{
	s->note = sim_grow(s, s->note, s->notes, &s->note_cap,
			   sizeof(struct sim_note));
	s->note[s->notes++] = (struct sim_note){.at = s->now,
						.index = index,
						.kind = kind,
						.fate = fate,
						.host = host};
}

size_t sim_notes(const struct sim *s)
{
	return s->notes;
}

const struct sim_note *sim_note(const struct sim *s, size_t i)
{
	assert(i > 0 && i <= s->notes);
	return &s->note[i - 1];
}

uint64_t sim_hash(const struct sim *s)
{
	struct siphash copy = s->trace;

	return siphash_end(&copy);
}

void sim_trace_mark(struct sim *s, enum trace what, uint64_t a, uint64_t b)
{
	siphash_u64(&s->trace, (uint64_t)what);
	siphash_u64(&s->trace, (uint64_t)s->now);
	siphash_u64(&s->trace, a);
	siphash_u64(&s->trace, b);
}

/* ---- packets ---------------------------------------------------------- */

struct packet *sim_trace_packet(struct sim *s, const struct sim_packet *packet,
				unsigned host)
{
	struct packet *p = sim_alloc(s, sizeof(*p) + packet->bytes.n);
	char *bytes = (char *)(p + 1);

	if (packet->bytes.n)
		memcpy(bytes, packet->bytes.p, packet->bytes.n);
	p->p = *packet;
	p->p.bytes.p = bytes;
	p->p.from_host = host;
	p->p.to_host = sim_owner(s, &packet->to);
	s->packet = sim_grow(s, s->packet, s->packets, &s->packet_cap,
			     sizeof(struct packet *));
	s->packet[s->packets++] = p;
	p->no = s->packets;
	note(s, SIM_NOTE_SENT, s->packets, SIM_FLYING, host);
	sim_trace_mark(s, TRACE_SEND, packet->node, (uint64_t)packet->icmp);
	siphash_addr(&s->trace, &packet->from);
	siphash_addr(&s->trace, &packet->to);
	siphash_str(&s->trace, p->p.bytes);
	return p;
}

void sim_trace_fate(struct sim *s, struct packet *p, enum sim_fate fate)
{
	unsigned host = p->direct ? p->p.to_host : sim_owner(s, &p->p.to);

	sim_trace_mark(s, TRACE_FATE, p->no, (uint64_t)fate);
	note(s, SIM_NOTE_FATE, p->no, fate, host);
	/* Of a packet that was duplicated one copy may have come through. */
	if (p->p.fate != SIM_DELIVERED)
		p->p.fate = fate;
}

size_t sim_packets(const struct sim *s)
{
	return s->packets;
}

void sim_packet(const struct sim *s, size_t i, struct sim_packet *out_r)
{
	assert(i > 0 && i <= s->packets);
	*out_r = s->packet[i - 1]->p;
}

/* ---- log events ------------------------------------------------------- */

static size_t field_bytes(const struct log_field *f)
{
	size_t n = strlen(f->key) + 1;

	if (f->type == LOG_STR)
		n += f->u.s.n;
	if (f->type == LOG_ADDR)
		n += sizeof(struct addr);
	return n;
}

static void trace_field(struct sim *s, const struct log_field *f)
{
	siphash_str(&s->trace, str_from(f->key));
	switch (f->type) {
	case LOG_STR:
		siphash_str(&s->trace, f->u.s);
		break;
	case LOG_ADDR:
		siphash_addr(&s->trace, f->u.a);
		break;
	case LOG_NUM:
		siphash_bytes(&s->trace, &f->u.d, sizeof(f->u.d));
		break;
	case LOG_INT:
	case LOG_BOOL:
		siphash_u64(&s->trace, (uint64_t)f->u.i);
		break;
	}
}

static char *put(char **at, const void *bytes, size_t n)
{
	char *here = *at;

	if (n)
		memcpy(here, bytes, n);
	*at += n;
	return here;
}

/* A deep copy in one block: the event, its fields, addresses, then text. */
static struct sim_log *copy_event(struct sim *s, const struct log_event *e)
{
	size_t size = strlen(e->key) + 1;
	struct log_field *field;
	struct sim_log *log;
	char *at;

	for (size_t i = 0; i < e->n; i++)
		size += field_bytes(&e->field[i]);
	log = sim_alloc(s, sizeof(*log) + e->n * sizeof(*field) + size);
	field = (struct log_field *)(log + 1);
	at = (char *)(field + e->n);
	log->event = *e;
	log->event.field = field;
	for (size_t i = 0; i < e->n; i++) {
		field[i] = e->field[i];
		/* Before any text, so that they are aligned. */
		if (field[i].type == LOG_ADDR)
			field[i].u.a = (void *)put(&at, e->field[i].u.a,
						   sizeof(struct addr));
	}
	log->event.key = put(&at, e->key, strlen(e->key) + 1);
	for (size_t i = 0; i < e->n; i++) {
		field[i].key =
		    put(&at, e->field[i].key, strlen(e->field[i].key) + 1);
		if (field[i].type == LOG_STR)
			field[i].u.s.p =
			    put(&at, e->field[i].u.s.p, e->field[i].u.s.n);
	}
	return log;
}

void sim_trace_log(struct sim *s, unsigned node, unsigned worker,
		   const struct log_event *e)
{
	struct sim_log *log = copy_event(s, e);

	log->at = s->now;
	log->node = node;
	log->worker = worker;
	log->wall = sim_node_now(s, node).wall;
	s->log =
	    sim_grow(s, s->log, s->logs, &s->log_cap, sizeof(struct sim_log *));
	s->log[s->logs++] = log;
	note(s, SIM_NOTE_LOG, s->logs, SIM_FLYING, 0);
	sim_trace_mark(s, TRACE_LOG, node * 256 + worker, (uint64_t)e->level);
	siphash_str(&s->trace, str_from(e->key));
	for (size_t i = 0; i < e->n; i++)
		trace_field(s, &e->field[i]);
}

size_t sim_logs(const struct sim *s)
{
	return s->logs;
}

const struct sim_log *sim_log(const struct sim *s, size_t i)
{
	assert(i > 0 && i <= s->logs);
	return s->log[i - 1];
}
