/*
 * Mutations that keep the structure of an input of fuzz_core (fuzz/steps.h):
 * steps are added, taken away, repeated, exchanged; of a message whole lines
 * are. Every fourth time bytes change as libFuzzer likes, within one step.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/steps.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t an, const uint8_t *b,
				 size_t bn, uint8_t *out, size_t max,
				 unsigned seed);

enum { SPACE = 1 << 16 };

#define HEAD(method, user)                                                     \
	method " sip:" user "@example.com SIP/2.0\r\n"                         \
	       "Via: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK#\r\n"     \
	       "Max-Forwards: 70\r\n"                                          \
	       "From: \"A\" <sip:alice@example.com>;tag=f#\r\n"                \
	       "To: <sip:bob@example.com>\r\nCall-ID: c#@192.0.2.7\r\n"        \
	       "CSeq: 1 " method "\r\n"                                        \
	       "Contact: <sip:alice@192.0.2.7:5060>\r\n"
#define NO_BODY "Content-Length: 0\r\n\r\n"
#define BODY    "Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"
#define USERS(X)                                                               \
	X("bob")                                                               \
	X("far")                                                               \
	X("each")                                                              \
	X("fork")                                                              \
	X("redirect")                                                          \
	X("edit") X("uri") X("own") X("call") X("answer") X("task")

/* '#' becomes a number of two digits. */
static const char *const steps[] = {
#define X(user) "D000" HEAD("INVITE", user) BODY,
    USERS(X)
#undef X
#define X(user) "D100" HEAD("OPTIONS", user) NO_BODY,
	USERS(X)
#undef X
#define X(user) "S000" HEAD("INVITE", user) BODY,
	    USERS(X)
#undef X
		"D300" HEAD("INVITE", "x") BODY,
    "D100" HEAD("REGISTER", "x") "Supported: path\r\nExpires: 60\r\n" NO_BODY,
    "S000" HEAD("REGISTER", "x") "Supported: path\r\nExpires: 60\r\n" NO_BODY,
    "D700" HEAD("INVITE", "x") "Route: <sip:10.0.0.2;lr>\r\n" BODY,
    "D300" HEAD("INVITE", "x") "Route: $p0\r\n" BODY,
    "D000SIP/2.0 200 OK\r\n$v0From: <sip:a@b>;tag=$f0\r\n"
    "To: <sip:b@b>;tag=9\r\nCall-ID: $i0\r\nCSeq: $c0 INVITE\r\n" NO_BODY,
    "D300SIP/2.0 486 Busy\r\n$v1From: <sip:a@b>;tag=$f1\r\n"
    "To: <sip:b@b>;tag=9\r\nCall-ID: $i1\r\nCSeq: $c1 INVITE\r\n" NO_BODY,
    "A000100 Trying\r\n",
    "A000180 Ringing\r\nContact: <sip:bob@10.0.0.1>\r\n",
    "A000200 OK\r\nContact: <sip:bob@10.0.0.1>\r\n",
    "A100200 OK\r\nContact: <sip:bob@10.0.0.1>\r\nSession-Expires: 90\r\n",
    "A010200 OK\r\nContact: <sip:bob@10.0.0.2>\r\n" BODY,
    "A000183 Progress\r\nRequire: 100rel\r\nRSeq: 1\r\n",
    "A000302 Moved\r\nContact: <sip:x@10.0.0.2>;q=0.5, <sip:y@10.0.0.3>\r\n",
    "A000401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", "
    "nonce=\"n#\", qop=\"auth\"\r\n",
    "A000407 Proxy\r\nProxy-Authenticate: Digest realm=\"r\", "
    "nonce=\"n#\"\r\n",
    "A000481 No Dialog\r\n",
    "A000486 Busy Here\r\n",
    "A000487 Terminated\r\n",
    "A100487 Terminated\r\n",
    "A000503 Full\r\nRetry-After: 5\r\n",
    "A000603 Decline\r\n",
    "C000",
    "K000",
    "B000ACK\r\n",
    "B000BYE\r\n",
    "B010BYE\r\n",
    "B000INVITE\r\n",
    "B010INFO\r\n",
    "B000PRACK\r\nRAck: 1 1 INVITE\r\n",
    "B010REFER\r\nRefer-To: <sip:x@example.com>\r\n",
    "P000",
    "P100",
    "O000",
    "O010",
    "U000",
    "X000",
    "X020",
    "I000",
    "I030",
    "I003",
    "Q00010.0.0.1\n",
    "Q0010.0.0.3\n10.0.0.4\n",
    "Q00<5060 gw.example.com\n",
    "Q020",
    "Q040",
    "T000",
    "T200",
    "T400",
    "T500",
    "T600",
    "T900",
    "T;00",
    "M0#0",
    "M2#3",
    "M100",
    "W100",
    "W000",
    "N100",
    "N000",
};

static const char *const lines[] = {
    "Route: <sip:10.0.0.100;lr>\r\n",
    "Route: <sip:10.0.0.2;lr>\r\n",
    "Route: <sip:10.0.0.1>\r\n",
    "Route: <sip:gw.example.com;lr>\r\n",
    "Record-Route: <sip:10.0.0.100;lr;t=1d>\r\n",
    "$r0",
    "$v0",
    "Via: SIP/2.0/TCP 198.51.100.1;branch=$b0\r\n",
    "v: SIP/2.0/UDP [2001:db8::9];maddr=224.0.0.1;branch=z9hG4bK#\r\n",
    "Via: SIP/2.0/UDP 10.0.0.100:5060;branch=$b0\r\n",
    "Max-Forwards: 0\r\n",
    "Max-Forwards: 1\r\n",
    "Max-Breadth: 1\r\n",
    "Proxy-Require: x\r\n",
    "Require: 100rel\r\n",
    "Supported: path, outbound\r\n",
    "Path: <sip:10.0.0.100;lr;ob>\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 99999\r\n",
    "Session-Expires: 90;refresher=uas\r\n",
    "Subject: a,\r\n b, \"c\"\r\n",
    "To: <sip:bob@example.com>;tag=$t0\r\n",
    "To: <sip:bob@example.com>\r\n",
    "From: <sip:alice@example.com>;tag=$f0\r\n",
    "From: sip:alice@example.com\r\n",
    "Call-ID: $i0\r\n",
    "CSeq: 2147483647 INVITE\r\n",
    "CSeq: $c0 CANCEL\r\n",
    "Contact: *\r\n",
    "Contact: <sip:x@10.0.0.1;transport=tls>;expires=0\r\n",
    "Authorization: Digest username=\"u\", realm=\"r\", response=\"#\"\r\n",
    "Retry-After: 99999 (later);duration=1\r\n",
    "Replaces: $i0;to-tag=$t0;from-tag=$f0\r\n",
    "INVITE sips:far@example.com SIP/2.0\r\n",
    "INVITE sip:10.0.0.100 SIP/2.0\r\n",
    "BYE $k0 SIP/2.0\r\n",
    "ACK $k0 SIP/2.0\r\n",
    "INVITE sip:bob@example.com;maddr=203.0.113.9 SIP/2.0\r\n",
    "INVITE sip:bob@example.com;transport=tcp;lr SIP/2.0\r\n",
    "INVITE tel:+1;phone-context=x SIP/2.0\r\n",
    "SIP/2.0 200 OK\r\n",
    "SIP/2.0 699 \r\n",
    "\r\n",
    "\r\n\r\n",
};

struct edit {
	struct rand rand;
	struct step step[STEPS_MAX];
	size_t n;
	char made[4096]; /* the text of a step that is new */
};

static size_t below(struct edit *e, size_t n)
{
	return (size_t)rand_below(&e->rand, n);
}

/* A copy of a template with its numbers. */
static struct str fill(struct edit *e, const char *text, char *out, size_t cap)
{
	size_t n = 0, id = 10 + below(e, 90);

	for (; *text && n + 2 < cap; text++) {
		if (*text != '#') {
			out[n++] = *text;
			continue;
		}
		out[n++] = (char)('0' + id / 10);
		out[n++] = (char)('0' + id % 10);
	}
	return (struct str){out, n};
}

static void set(struct step *s, struct str whole)
{
	s->whole = whole;
}

static void insert(struct edit *e, struct str whole)
{
	size_t at = below(e, e->n + 1);

	if (below(e, 2))
		at = e->n;
	if (e->n == STEPS_MAX)
		return;
	memmove(&e->step[at + 1], &e->step[at],
		(e->n - at) * sizeof(e->step[0]));
	set(&e->step[at], whole);
	e->n++;
}

static void take_away(struct edit *e, size_t at)
{
	e->n--;
	memmove(&e->step[at], &e->step[at + 1],
		(e->n - at) * sizeof(e->step[0]));
}

static void exchange(struct edit *e, size_t i, size_t k)
{
	struct str s = e->step[i].whole;

	set(&e->step[i], e->step[k].whole);
	set(&e->step[k], s);
}

static void turn_number(struct edit *e, struct step *s)
{
	size_t n = s->whole.n < sizeof(e->made) ? s->whole.n : sizeof(e->made);

	if (n < 4)
		return;
	memcpy(e->made, s->whole.p, n);
	e->made[1 + below(e, 3)] = (char)('0' + below(e, below(e, 4) ? 4 : 64));
	set(s, (struct str){e->made, n});
}

/* Where the line that holds this byte begins, or the next one. */
static size_t line_at(struct str s, size_t at, bool next)
{
	if (next) {
		while (at < s.n && s.p[at] != '\n')
			at++;
		return at < s.n ? at + 1 : s.n;
	}
	while (at > 4 && s.p[at - 1] != '\n')
		at--;
	return at;
}

/* A line more, or instead of one, or one less. */
static void turn_line(struct edit *e, struct step *s)
{
	char text[512];
	struct str old = s->whole, new = STR_NONE;
	size_t from, to;
	struct buf out;

	if (old.n < 6)
		return;
	from = line_at(old, 4 + below(e, old.n - 4), false);
	to = below(e, 2) ? line_at(old, from, true) : from;
	if (to == from || below(e, 3))
		new = fill(e, lines[below(e, ARRAY_LEN(lines))], text,
			   sizeof(text));
	buf_fixed(&out, e->made, sizeof(e->made));
	buf_put(&out, str_sub(old, 0, from));
	buf_put(&out, new);
	buf_put(&out, str_sub(old, to, old.n));
	if (buf_ok(&out))
		set(s, buf_str(&out));
}

static void turn_bytes(struct edit *e, struct step *s)
{
	size_t n = s->whole.n;

	if (n < 5 || n > sizeof(e->made) - 64)
		return;
	memcpy(e->made, s->whole.p, n);
	n = 4 + LLVMFuzzerMutate((uint8_t *)e->made + 4, n - 4,
				 sizeof(e->made) - 4);
	set(s, (struct str){e->made, n});
}

static void mutate(struct edit *e)
{
	size_t at = e->n ? below(e, e->n) : 0;
	size_t what = e->n ? below(e, 12) : 0;

	switch (what) {
	case 0:
	case 1:
	case 2:
	case 3:
		insert(e, fill(e, steps[below(e, ARRAY_LEN(steps))], e->made,
			       sizeof(e->made)));
		break;
	case 4:
		take_away(e, at);
		break;
	case 5:
		insert(e, e->step[at].whole);
		break;
	case 6:
		exchange(e, at, below(e, e->n));
		break;
	case 7:
		turn_number(e, &e->step[at]);
		break;
	case 8:
	case 9:
		turn_line(e, &e->step[at]);
		break;
	default:
		turn_bytes(e, &e->step[at]);
	}
}

static size_t write_steps(const struct edit *e, uint8_t *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n; i++) {
		struct str s = e->step[i].whole;

		if (n + 1 + s.n > max)
			break;
		out[n++] = STEP_MARK;
		if (s.n)
			memcpy(out + n, s.p, s.n);
		n += s.n;
	}
	return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned seed)
{
	static char before[SPACE];
	static struct edit e;

	rand_seed(&e.rand, seed);
	if (size > sizeof(before))
		return LLVMFuzzerMutate(data, size, max);
	memcpy(before, data, size);
	/* what is no list of steps: as it is now and then, or as a step */
	if (size && data[0] != STEP_MARK && below(&e, 2))
		return LLVMFuzzerMutate(data, size, max);
	e.n = input_read((struct str){before, size}, e.step);
	if (size && data[0] != STEP_MARK)
		e.n = 0;
	mutate(&e);
	return write_steps(&e, data, max);
}

/* The beginning of one and the end of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t an, const uint8_t *b,
				 size_t bn, uint8_t *out, size_t max,
				 unsigned seed)
{
	static struct edit one, other;
	size_t from, n;

	rand_seed(&one.rand, seed);
	one.n = input_read((struct str){(const char *)a, an}, one.step);
	other.n = input_read((struct str){(const char *)b, bn}, other.step);
	if (!one.n || !other.n || a[0] != STEP_MARK || b[0] != STEP_MARK)
		return 0;
	one.n = 1 + below(&one, one.n);
	from = below(&one, other.n);
	for (n = from; n < other.n && one.n < STEPS_MAX; n++)
		one.step[one.n++] = other.step[n];
	return write_steps(&one, out, max);
}
