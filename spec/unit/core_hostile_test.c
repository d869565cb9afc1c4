/*
 * What a hostile datagram may cost: a 65 kB one of tiny headers is refused
 * after the headers a message may have. That the rest is not even looked at is
 * shown by taking it away; that libosip2 is not asked, by its allocator.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <osip2/osip.h>
#include "message/field.h"
#include "proxy_world.h"

enum { PAGE = 4096, DATAGRAM = 16 * PAGE };

static size_t library_calls;
static char space[1 << 20];
static size_t used;

static void *counting_malloc(size_t n)
{
	void *p = space + used;

	library_calls++;
	used += (n + 15) & ~(size_t)15;
	return used <= sizeof(space) ? p : NULL;
}

static void *counting_realloc(void *old, size_t n)
{
	void *p = counting_malloc(n);

	if (p && old)
		memcpy(p, old, n); /* reads beyond the old end: ours as well */
	return p;
}

static void no_free(void *p)
{
	(void)p;
}

static void count_library_calls(void)
{
	field_init();
	osip_set_allocators(counting_malloc, counting_realloc, no_free);
}

static void receive(struct pw *w, struct str bytes)
{
	struct hop from = {.transport = TRANSPORT_UDP};

	addr_parse(STR(ALICE), &from.addr);
	addr_parse(STR(US), &from.local);
	core_receive(w->core[0], w->now, &from, bytes);
}

/* Its To is of the kind that libosip2 is asked about (message/plain.h). */
static const char request[] = "INVITE sip:bob@example.com SIP/2.0\r\n"
			      "Via: SIP/2.0/UDP 192.0.2.7:5060;branch="
			      "z9hG4bKabc\r\n"
			      "From: <sip:alice@example.com>;tag=1\r\n"
			      "To: \"Bob\" <sip:bob@example.com>\r\n"
			      "Call-ID: hostile@192.0.2.7\r\n"
			      "CSeq: 1 INVITE\r\n";

TEST(tiny_headers_are_refused_without_reading_them_all)
{
	struct pw *w = pw_open(1);
	char *p = mmap(NULL, DATAGRAM, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t n = sizeof(request) - 1;

	CHECK(p != MAP_FAILED);
	memcpy(p, request, n);
	for (; n + 5 <= DATAGRAM; n += 5)
		memcpy(p + n, "X:1\r\n", 5);
	/* 128 headers are in the first page; whoever reads on dies. */
	CHECK_INT(mprotect(p + PAGE, DATAGRAM - PAGE, PROT_NONE), 0);
	count_library_calls();
	receive(w, (struct str){p, DATAGRAM - 1});
	CHECK_INT(library_calls, 0);
	/* a good Via and all that an answer needs came first */
	CHECK_INT(w->n, 1);
	CHECK(strstr(w->sent[0].text, "400 Too many headers") != NULL);
	CHECK_INT(core_counters(w->core[0])->v[CNT_BAD_SIZE], 1);
	munmap(p, DATAGRAM);
	pw_close(w);
}

/* The other way round: the count above means something. */
TEST(a_new_request_does_ask_the_library)
{
	struct pw *w = pw_open(1);
	char text[1024];

	snprintf(text, sizeof(text), "%sContent-Length: 0\r\n\r\n", request);
	w->plan.reply = 486;
	count_library_calls();
	receive(w, str_from(text));
	CHECK(library_calls > 0);
	library_calls = 0;
	receive(w, str_from(text)); /* a retransmission does not */
	CHECK_INT(library_calls, 0);
	pw_close(w);
}
