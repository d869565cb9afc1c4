/*
 * Single operations of the core, so many times over: what
 * spec/bench/instructions counts.
 *
 *   micro CASE TIMES
 *
 * It runs the same instructions every time, but for what the allocator does.
 * Whoever counts them for two numbers of times knows those of one, without the
 * start.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/edit.h"
#include "message/field.h"
#include "unit/txn_world.h"

enum { ALIVE = 1000 }; /* transactions among which one is looked for */

static const char INVITE_TEXT[] =
    "INVITE sip:bob@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-4711-1;rport\r\n"
    "From: <sip:alice@example.net>;tag=4711a1\r\n"
    "To: <sip:bob@example.com>\r\n"
    "Call-ID: 1-4711@192.0.2.7\r\n"
    "CSeq: 1 INVITE\r\n"
    "Contact: <sip:alice@192.0.2.7:5060>\r\n"
    "Max-Forwards: 70\r\n"
    "Content-Type: application/sdp\r\n"
    "Content-Length: 100\r\n"
    "\r\n"
    "v=0\r\n"
    "o=- 1 1 IN IP4 192.0.2.7\r\n"
    "s=-\r\n"
    "c=IN IP4 192.0.2.7\r\n"
    "t=0 0\r\n"
    "m=audio 40000 RTP/AVP 0\r\n"
    "a=sendrecv\r\n";
static const struct str INVITE = {INVITE_TEXT, sizeof(INVITE_TEXT) - 1};
static const struct sipkey KEY = {1, 2};

struct bench {
	struct world w;
	struct msg m;
	struct msg_key key;
	struct hop from, to;
	uint64_t sum; /* of results, so that no work is left out */
};

/* ---- what the world of the tests asks for ---- */

static _Noreturn void fail(const char *file, int line, const char *expr)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, expr);
	exit(1);
}

void unit_check(const char *file, int line, const char *expr, bool ok)
{
	if (!ok)
		fail(file, line, expr);
}

void unit_check_int(const char *file, int line, const char *expr, int64_t got,
		    int64_t want)
{
	if (got != want)
		fail(file, line, expr);
}

void unit_check_str(const char *file, int line, const char *expr,
		    struct str got, struct str want)
{
	if (!str_eq(got, want))
		fail(file, line, expr);
}

/* ---- steps: each begins with those before it ---- */

static void do_index(struct bench *b)
{
	arena_reset(b->w.scratch);
	b->sum += (uint64_t)msg_index(&b->m, b->w.scratch, INVITE);
}

static void do_key(struct bench *b)
{
	do_index(b);
	b->sum += (uint64_t)msg_key(&b->m, &b->key);
}

static void do_check(struct bench *b)
{
	do_key(b);
	b->sum += (uint64_t)field_check(&b->m, NULL);
}

static void do_match(struct bench *b)
{
	do_key(b);
	b->sum += server_find(&b->w.t, &b->m, &b->key, &b->from) != NULL;
}

static void do_branch(struct bench *b)
{
	struct upstream_id up;
	char text[BRANCH_LEN];

	do_key(b);
	up = upstream_id(&b->key, &b->from);
	branch_write(text, KEY, &up, &b->to, 0, 0);
	b->sum += (unsigned char)text[BRANCH_LEN - 1];
}

/* What a request that is passed on gets: 16.6. */
static void do_edit(struct bench *b)
{
	struct edits e;
	struct buf out;

	do_key(b);
	edits_init(&e, &b->m, b->w.scratch);
	edit_replace_value(
	    &e, HDR_VIA,
	    STR("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-4711-1;"
		"rport=5060;received=192.0.2.7"));
	edit_prepend(&e, STR("Via"),
		     STR("SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bK1b634a29f1601"
			 "495c5a0000000000000abcbe874f15259ba386"));
	edit_add_first(&e, HDR_RECORD_ROUTE,
		       STR("<sip:10.0.0.5:5060;lr;tandem=0123456789abcdef>"));
	edit_set(&e, STR("Max-Forwards"), STR("69"));
	buf_arena(&out, b->w.scratch, 2048);
	CHECK_INT(edits_write(&e, &out), 0);
	b->sum += out.n;
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} cases[] = {
    {"index", do_index}, {"key", do_key},       {"check", do_check},
    {"match", do_match}, {"branch", do_branch}, {"edit", do_edit},
};

/* Others, and the one that is looked for. */
static void fill(struct bench *b)
{
	char via[96];

	for (int i = 0; i < ALIVE; i++) {
		snprintf(via, sizeof(via),
			 "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-%d-1",
			 4711 + i);
		world_receive(&b->w, request_text(&b->w, "INVITE", via, NULL),
			      TRANSPORT_UDP);
	}
}

int main(int argc, char **argv)
{
	static struct bench b;
	size_t i, n = sizeof(cases) / sizeof(cases[0]);

	for (i = 0; argc == 3 && i < n; i++)
		if (!strcmp(argv[1], cases[i].name))
			break;
	if (argc != 3 || i == n) {
		fprintf(stderr, "micro CASE TIMES\n");
		return 2;
	}
	field_init();
	world_init(&b.w);
	b.from = hop_to(TRANSPORT_UDP, "192.0.2.7:5060");
	b.to = hop_to(TRANSPORT_UDP, "198.51.100.2:5060");
	fill(&b);
	do_match(&b);
	CHECK_INT(b.sum, 1);
	do_check(&b);
	CHECK_INT(b.sum, 1);
	for (long left = strtol(argv[2], NULL, 10); left > 0; left--)
		cases[i].run(&b);
	return b.sum ? 0 : 1;
}
