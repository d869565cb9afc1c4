#include "transport/frame.h"

#include <stdio.h>
#include <string.h>

#include "support/unit.h"

/* What was found, a word each: "m<bytes>" a message of that length, "p" a ping,
 * "b<code>" the end. */
struct reader {
	struct mem mem;
	struct frame f;
	size_t max;
	char found[256];
	char text[512]; /* the last message, or what came of it */
};

static void reader_init(struct reader *r)
{
	memset(r, 0, sizeof(*r));
	mem_init(&r->mem);
	frame_init(&r->f, &r->mem);
	r->max = 65535;
}

static void note(struct reader *r, const char *kind, size_t n)
{
	size_t at = strlen(r->found);

	snprintf(r->found + at, sizeof(r->found) - at, "%s%s%.0zu",
		 at ? " " : "", kind, n);
	if (*kind == 'p')
		r->found[at + (at ? 2 : 1)] = '\0';
}

static void feed(struct reader *r, struct str piece)
{
	enum frame_found found;
	struct str out;

	do {
		found = frame_next(&r->f, r->max, &piece, &out);
		if (found == FRAME_MESSAGE || found == FRAME_BAD)
			snprintf(r->text, sizeof(r->text), "%.*s",
				 STR_FMT(out));
		if (found == FRAME_MESSAGE)
			note(r, "m", out.n);
		else if (found == FRAME_PING)
			note(r, "p", 0);
		else if (found == FRAME_BAD)
			note(r, "b", (size_t)frame_bad_code(r->f.bad));
	} while (found != FRAME_MORE && found != FRAME_BAD);
}

static void reader_fini(struct reader *r)
{
	frame_fini(&r->f);
	CHECK_INT(r->mem.bytes, 0);
}

/* In pieces of `step` bytes. */
static void feed_all(struct reader *r, struct str all, size_t step)
{
	for (size_t i = 0; i < all.n && r->f.state != FRAME_ENDED; i += step)
		feed(r, str_sub(all, i, i + step));
}

static void check_found(struct str all, size_t max, const char *want)
{
	for (size_t step = 1; step <= all.n; step++) {
		struct reader r;

		reader_init(&r);
		r.max = max;
		feed_all(&r, all, step);
		if (strcmp(r.found, want) != 0)
			printf("in pieces of %zu: %s\n", step, r.found);
		CHECK(strcmp(r.found, want) == 0);
		reader_fini(&r);
	}
}

#define START             "OPTIONS sip:x SIP/2.0\r\n"
#define FOUND(text, want) check_found(STR(text), 65535, want)

/* RFC 3261 7.5, 18.3. */
TEST(messages_follow_each_other)
{
	FOUND(START "Content-Length: 3\r\n\r\nabc"
		    "SIP/2.0 200 OK\r\nl: 0\r\n\r\n" START "L:1\r\n\r\nx",
	      "m47 m24 m31");
}

TEST(length_is_read_in_every_spelling)
{
	FOUND(START "cOnTeNt-lEnGtH \t:\r\n  2 \r\n\r\nab", "m52");
	FOUND(START "l:002\r\n\r\nab", "m34");
	/* the same twice cuts the stream the same; msg_index refuses it */
	FOUND(START "l: 1\r\nContent-Length: 1\r\n\r\nx", "m51");
}

TEST(length_is_looked_for_in_names_only)
{
	FOUND(START "X: a\r\n Content-Length: 9\r\nl: 0\r\n\r\n", "m57");
	FOUND(START "Subject: l: 9\r\nlx: 9\r\nl: 0\r\n\r\n", "m53");
}

TEST(no_length_is_bad)
{
	FOUND(START "Via: x\r\n\r\nabc", "b400");
	FOUND(START "\r\n", "b400");
}

TEST(two_lengths_are_bad)
{
	FOUND(START "l: 1\r\nContent-Length: 2\r\n\r\nab", "b400");
	FOUND(START "l: 1\r\nl: x\r\n\r\nab", "b400");
}

TEST(malformed_lengths_are_bad)
{
	FOUND(START "l: \r\n\r\n", "b400");
	FOUND(START "l: -1\r\n\r\n", "b400");
	FOUND(START "l: +1\r\n\r\n", "b400");
	FOUND(START "l: 0x1\r\n\r\n", "b400");
	FOUND(START "l: 1 1\r\n\r\n", "b400");
	FOUND(START "l: 1\r\n 1\r\n\r\n", "b400");
	FOUND(START "l: 1, 1\r\n\r\n", "b400");
}

/* RFC 3261 21.5.7. */
TEST(too_long_is_told_from_the_header)
{
	FOUND(START "l: 65535\r\n\r\n", "b513");
	FOUND(START "l: 99999999999999999999999\r\n\r\n", "b513");
	check_found(STR(START "l: 3\r\n\r\nabc"), 34, "m34");
	check_found(STR(START "l: 3\r\n\r\nabc"), 33, "b513");
	check_found(STR(START "l: 3\r\n\r\nabc"), 20, "b513");
}

TEST(what_came_of_a_bad_message_is_handed_out)
{
	struct reader r;

	reader_init(&r);
	feed(&r, STR(START "From: x\r\nl: y\r\n\r\nGET"));
	CHECK_STR(str_from(r.text), START "From: x\r\nl: y\r\n\r\n");
	CHECK_STR(frame_bad_text(r.f.bad), "Bad Content-Length");
	/* and it is the last thing */
	feed(&r, STR(START "l: 0\r\n\r\n"));
	CHECK(strcmp(r.found, "b400 b400") == 0);
	reader_fini(&r);
}

/* RFC 5626 4.4.1. */
TEST(pings_and_single_line_ends)
{
	FOUND("\r\n\r\n", "p");
	FOUND("\r\n", "");
	FOUND("\r\n" START "l: 0\r\n\r\n"
	      "\r\n" START "l: 0\r\n\r\n\r\n\r\n",
	      "m31 m31 p");
	FOUND("\r\n\r\n\r\n\r\n\r\n" START "l: 0\r\n\r\n", "p p m31");
}

TEST(other_line_ends_between_messages_are_bad)
{
	FOUND("\n", "b");
	FOUND("\rx", "b");
	FOUND("\r\r", "b");
	FOUND("\r\n\n", "b");
}

TEST(what_is_not_sip_ends_at_once)
{
	FOUND("\x16\x03\x01", "b");
	FOUND("\0", "b");
	FOUND(" ", "b");
	FOUND("hello\"", "b");
	FOUND("hello world\r\n", "b");
	FOUND("GET / HTTP/1.1\r\n", "b");
}

TEST(bare_line_feeds_end_with_the_header)
{
	FOUND("OPTIONS sip:x SIP/2.0\nl: 0\n\n", "b400");
	FOUND(START "X: y\nl: 0\r\n\r\n", "b400");
}

static void check_endless(const char *start, char c, const char *want)
{
	size_t n = strlen(start);
	char text[2 * FRAME_MAX_HEADER];

	memset(text, c, sizeof(text));
	memcpy(text, start, n);
	for (size_t step = 1; step < sizeof(text); step = step * 7 + 1) {
		struct reader r;

		reader_init(&r);
		feed_all(&r, (struct str){text, sizeof(text)}, step);
		CHECK(strcmp(r.found, want) == 0);
		/* nobody buys more memory than the cap */
		CHECK(r.mem.bytes <= 2 * FRAME_MAX_HEADER);
		reader_fini(&r);
	}
}

TEST(endless_headers_end_at_the_cap)
{
	check_endless("", 'A', "b");
	check_endless("OPTIONS ", 'A', "b");
	check_endless(START "X: ", 'A', "b513");
	check_endless(START, '\n', "b400");
}

TEST(silence_costs_no_memory)
{
	struct reader r;

	reader_init(&r);
	feed(&r, STR(START "l: 0\r\n\r\n"));
	CHECK_INT(r.mem.bytes, 0);
	CHECK(!frame_inside(&r.f));
	feed(&r, STR("O"));
	CHECK(frame_inside(&r.f));
	CHECK(r.mem.bytes <= 512);
	reader_fini(&r);
}

TEST(promised_bytes_cost_no_memory)
{
	struct reader r;

	reader_init(&r);
	feed(&r, STR(START "l: 60000\r\n\r\nx"));
	CHECK(r.mem.bytes <= 512);
	reader_fini(&r);
}

TEST(no_memory_ends_it)
{
	struct reader r;

	reader_init(&r);
	r.mem.fail_at = 1;
	feed(&r, STR(START "l: 0\r\n\r\n"));
	CHECK(strcmp(r.found, "b") == 0);
	CHECK_INT(r.f.bad, FRAME_NOMEM);
	reader_fini(&r);
}
