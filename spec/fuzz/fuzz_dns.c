/*
 * Any bytes as the answer of a DNS server to a question, or (most of the time)
 * as what follows a header and a question that fit, so that the records are
 * reached. Beyond "nothing is read outside, and it ends" it asserts that
 *   what is found keeps the limits, and names are names;
 *   what follows the message changes nothing;
 *   a message that is cut off is never more than the whole one.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transport/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char name[] = "a.bc";
static const uint16_t types[] = {DNS_A, DNS_AAAA, DNS_SRV, DNS_NAPTR};

static void check_name(const char *s)
{
	size_t n = strnlen(s, DNS_NAME), label = 0;

	assert(n < DNS_NAME);
	for (size_t i = 0; i < n; i++) {
		if (s[i] != '.')
			assert(dns_is_host_byte(s[i]) &&
			       dns_lower(s[i]) == s[i]);
		label = s[i] == '.' ? 0 : label + 1;
		assert(label <= 63 && (label || i));
	}
}

static void check_record(const union dns_record *r, uint16_t type)
{
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		assert(r->addr.family == (type == DNS_A ? ADDR_V4 : ADDR_V6));
		assert(r->addr.port == 0 && !addr_is_unsendable(&r->addr));
		break;
	case DNS_SRV:
		assert(r->srv.port || !r->srv.target[0]);
		check_name(r->srv.target);
		break;
	default:
		assert(r->naptr.transport < TRANSPORT_N);
		assert(r->naptr.flag == 's' || r->naptr.flag == 'a');
		check_name(r->naptr.next);
	}
}

static void check(const struct dns_answer *a, uint16_t type)
{
	bool addrs = type == DNS_A || type == DNS_AAAA;

	assert(a->n <= (addrs ? DNS_ADDRS : DNS_RECORDS));
	assert((a->verdict == DNS_FOUND) == (a->n > 0));
	for (unsigned i = 0; i < a->n; i++)
		check_record(&a->r[i], type);
	if (a->verdict == DNS_FOUND)
		assert(a->ttl <= INT32_MAX);
}

/* A copy that ends where it ends, and one that does not. */
static void read_both(const uint8_t *bytes, size_t n, uint16_t type)
{
	static struct dns_answer a, b;
	char *exact = malloc(n ? n : 1), *longer = malloc(n + 64);

	memcpy(exact, bytes, n);
	memcpy(longer, bytes, n);
	memset(longer + n, 0xc0, 64);
	dns_answer_read((struct str){exact, n}, name, type, &a);
	check(&a, type);
	dns_answer_read((struct str){longer, n + 64}, name, type, &b);
	assert(a.verdict == DNS_BAD ||
	       (a.verdict == b.verdict && a.n == b.n && a.ttl == b.ttl));
	dns_answer_read((struct str){exact, n / 2}, name, type, &b);
	check(&b, type);
	free(exact);
	free(longer);
}

/* A header and our question before the bytes: rcode and the counts of answers
 * and authorities are the first three. */
static void read_records(const uint8_t *data, size_t size, uint16_t type)
{
	uint8_t header[] = {0, 1, 0x81, 0x80, 0,   1,   0, 0, 0, 0, 0,
			    0, 1, 'a',  2,    'b', 'c', 0, 0, 0, 0, 1};
	uint8_t *m;

	if (size < 3)
		return;
	m = malloc(sizeof(header) + size);
	header[3] |= data[0] & 3;
	header[7] = data[1];
	header[9] = data[2];
	header[19] = (uint8_t)type;
	memcpy(m, header, sizeof(header));
	memcpy(m + sizeof(header), data + 3, size - 3);
	read_both(m, sizeof(header) + size - 3, type);
	free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint16_t type;

	if (!size)
		return 0;
	type = types[data[0] & 3];
	if (data[0] & 0xc0)
		read_records(data + 1, size - 1, type);
	else
		read_both(data + 1, size - 1, type);
	return 0;
}
