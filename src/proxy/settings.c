#include "proxy/settings.h"

#include <string.h>

/*
 * Timer C is longer than the 185 s after which a policy gives up a ringing
 * phone by default (ring_timeout), so that the policy's word counts first, and
 * longer than the three minutes RFC 3261 16.6 step 11 asks for.
 */
enum { TIMER_C_SECONDS = 240 };
/* RFC 3261 18.1.1, when the path MTU is not known. */
enum { UDP_MAX = 1300 };
/* What collectors' own examples use. */
enum { HEP_ID = 2001 };
/* Some ten thousand requests: a minute of a busy worker, hours of others. */
enum { WHY_MEMORY = 4 << 20 };

/* Kept below a tenth of T1, so that no caller repeats anything; and well above
 * what a busy loop takes for one turn. */
enum { DELAY_MS = 50, RETRY_AFTER = 5 };

void settings_init(struct settings *s)
{
	memset(s, 0, sizeof(*s));
	s->times.t1 = MILLIS(500);
	s->times.t2 = SECONDS(4);
	s->times.t4 = SECONDS(5);
	s->trying = TRYING_COMMIT;
	s->late_answer = LATE_BYE;
	s->timer_c = SECONDS(TIMER_C_SECONDS);
	stream_limits_init(&s->streams);
	dns_limits_init(&s->dns);
	s->udp_max = UDP_MAX;
	s->udp_gso = true;
	s->hep = (struct hep_conf){.id = HEP_ID, .share = 1, .redact = true};
	s->overload.delay = MILLIS(DELAY_MS);
	s->overload.retry_after = RETRY_AFTER;
	s->max_memory = MEMORY_DEFAULT;
	s->why_memory = WHY_MEMORY;
}

void settings_fini(struct settings *s, struct mem *m)
{
	for (size_t i = 0; i < s->n_domains; i++)
		mem_free(m, (void *)(uintptr_t)s->domains[i].p);
	mem_free(m, s->domains);
	mem_free(m, s->trust);
	s->domains = NULL;
	s->trust = NULL;
	s->n_domains = s->n_trust = 0;
}

bool settings_trusts(const struct settings *s, const struct addr *source)
{
	for (size_t i = 0; i < s->n_trust; i++)
		if (addr_net_has(&s->trust[i], source))
			return true;
	return false;
}

bool settings_serves(const struct settings *s, struct str host)
{
	for (size_t i = 0; i < s->n_domains; i++)
		if (str_caseeq(s->domains[i], host))
			return true;
	return false;
}
