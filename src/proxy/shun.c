#include "proxy/shun.h"

static const int64_t lasts[] = {
    [SHUN_FAILED] = SECONDS(30),
    [SHUN_NO_TCP] = SECONDS(600),
};

static bool is_about(const struct shunned *s, enum shun why,
		     const struct hop *hop)
{
	return s->why == why && s->transport == hop->transport &&
	       addr_eq(&s->addr, &hop->addr);
}

static size_t find(const struct shun_list *l, enum shun why,
		   const struct hop *hop)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (is_about(&l->at[i], why, hop))
			break;
	return i;
}

void shun_add(struct shun_list *l, enum shun why, const struct hop *hop,
	      tick_t now)
{
	size_t i = find(l, why, hop);

	if (i == l->n && l->n < SHUNNED)
		l->n++;
	else if (i == l->n)
		i = l->next++ % SHUNNED;
	l->at[i] = (struct shunned){.addr = hop->addr,
				    .transport = hop->transport,
				    .why = (uint8_t)why,
				    .until = tick_add(now, lasts[why])};
}

void shun_end(struct shun_list *l, enum shun why, const struct hop *hop)
{
	size_t i = find(l, why, hop);

	if (i < l->n)
		l->at[i] = l->at[--l->n];
}

bool shun_has(const struct shun_list *l, enum shun why, const struct hop *hop,
	      tick_t now)
{
	size_t i = find(l, why, hop);

	return i < l->n && tick_before(now, l->at[i].until);
}
