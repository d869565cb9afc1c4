#include <assert.h>
#include "util/counters.h"

static const struct counter_info INFO[COUNTER_N] = {
#define X(id, metric, label) [id] = {metric, label},
    COUNTER_LIST(X)
#undef X
};

const struct counter_info *counter_info(enum counter c)
{
	assert((unsigned)c < COUNTER_N);
	return &INFO[c];
}
