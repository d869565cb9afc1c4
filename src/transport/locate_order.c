#include "transport/locate_order.h"

#include <string.h>
#include "util/siphash.h"

uint64_t order_seed(uint64_t seed, const char *name, unsigned what)
{
	struct siphash h;

	siphash_init(&h, (struct sipkey){seed, 0});
	siphash_str(&h, str_from(name));
	siphash_u64(&h, what);
	return siphash_end(&h);
}

static void shuffle(const union dns_record **r, unsigned n, struct rand *rand)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned k = (unsigned)rand_below(rand, i);
		const union dns_record *t = r[k];

		r[k] = r[i - 1];
		r[i - 1] = t;
	}
}

/* Servers turn their answers round: the order of the records says nothing. */
static void sort(const union dns_record **r, unsigned n,
		 dns_compare_fn *compare)
{
	for (unsigned i = 1; i < n; i++) {
		const union dns_record *t = r[i];
		unsigned k = i;

		for (; k > 0 && compare(r[k - 1], t) > 0; k--)
			r[k] = r[k - 1];
		r[k] = t;
	}
}

static void sorted(const union dns_record **out, const union dns_record *r,
		   unsigned n, dns_compare_fn *compare)
{
	for (unsigned i = 0; i < n; i++)
		out[i] = &r[i];
	sort(out, n, compare);
}

/* Shuffled first, so that equal weights, and above all zeros, have equal
 * chances to be the first. */
void order_by_weight(const union dns_record **r, unsigned n, uint64_t seed)
{
	struct rand rand;
	unsigned sum = 0, zeros = 0;

	rand_seed(&rand, seed);
	shuffle(r, n, &rand);
	for (unsigned i = 0; i < n; i++) {
		const union dns_record *t = r[i];

		sum += t->srv.weight;
		if (t->srv.weight)
			continue;
		/* zeros stand before the others */
		memmove(&r[zeros + 1], &r[zeros], (i - zeros) * sizeof(*r));
		r[zeros++] = t;
	}
	for (unsigned i = 0; i + 1 < n; i++) {
		uint64_t pick = rand_below(&rand, (uint64_t)sum + 1);
		const union dns_record *t;
		uint64_t run = 0;
		unsigned k = i;

		while ((run += r[k]->srv.weight) < pick)
			k++;
		t = r[k];
		memmove(&r[i + 1], &r[i], (k - i) * sizeof(*r));
		r[i] = t;
		sum -= t->srv.weight;
	}
}

void order_srv(const union dns_record **out, const union dns_record *r,
	       unsigned n)
{
	sorted(out, r, n, dns_compare(DNS_SRV));
}

void order_naptr(const union dns_record **out, const union dns_record *r,
		 unsigned n)
{
	sorted(out, r, n, dns_compare(DNS_NAPTR));
}

void order_addrs(const union dns_record **out, const union dns_record *r,
		 unsigned n, uint64_t seed)
{
	struct rand rand;

	rand_seed(&rand, seed);
	sorted(out, r, n, dns_compare(DNS_A));
	shuffle(out, n, &rand);
}
