#include "util/counters.h"

#include <assert.h>

static const struct counter_info INFO[COUNTER_N] = {
#define X(id, metric, label) [id] = {metric, label},
    COUNTER_LIST(X)
#undef X
};

static const struct counter_info HISTOGRAM_INFO[HISTOGRAM_N] = {
#define X(id, metric, label) [id] = {metric, label},
    HISTOGRAM_LIST(X)
#undef X
};

const struct counter_info *counter_info(enum counter c)
{
	assert((unsigned)c < COUNTER_N);
	return &INFO[c];
}

const struct counter_info *histogram_info(enum hist h)
{
	assert((unsigned)h < HISTOGRAM_N);
	return &HISTOGRAM_INFO[h];
}

/* The registry of RFC 3261 27.4 as it is today. */
static const uint16_t CODES[] = {
    100, 180, 181, 182, 183, 199, 200, 202, 204, 300, 301, 302, 305, 380, 400,
    401, 402, 403, 404, 405, 406, 407, 408, 410, 412, 413, 414, 415, 416, 417,
    420, 421, 422, 423, 424, 425, 428, 429, 430, 433, 436, 437, 438, 439, 440,
    469, 470, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 494,
    500, 501, 502, 503, 504, 505, 513, 555, 580, 600, 603, 604, 606, 607, 608};

enum { CODES_N = sizeof(CODES) / sizeof(CODES[0]), CLASSES = 6 };

unsigned counters_code(unsigned i)
{
	if (i < CLASSES)
		return i + 1;
	return i - CLASSES < CODES_N ? CODES[i - CLASSES] : 0;
}

uint64_t counters_responses(const struct counters *c, unsigned method,
			    unsigned code)
{
	uint64_t n = 0;

	assert(method < COUNTER_METHODS);
	if (code >= 100)
		return c->response[method][code - 100];
	for (unsigned i = 100 * code; i < 100 * code + 100; i++)
		n += c->response[method][i - 100];
	for (unsigned i = 0; i < CODES_N; i++)
		if (CODES[i] / 100 == code)
			n -= c->response[method][CODES[i] - 100];
	return n;
}
