/*
 * Any bytes as a message that leaves for a collector: what is masked is '*',
 * nothing else changes, no line end moves, and there is no secret left that a
 * second look would find.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "util/redact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No secret has them. */
static bool is_kept(char c)
{
	return c == '\r' || c == '\n' || c == '<' || c == '>' || c == '"' ||
	       c == 127;
}

static void check_masked(const char *before, const char *after, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert(before[i] == after[i] ||
		       (after[i] == '*' && !is_kept(before[i])));
}

static void check_nothing_left(const char *bytes, size_t n)
{
	struct str s = {bytes, n};
	size_t begin, end;

	for (size_t at = 0; redact_find(s, at, &begin, &end); at = end) {
		assert(begin >= at && end > begin && end <= n);
		for (size_t i = begin; i < end; i++)
			assert(bytes[i] == '*' || is_kept(bytes[i]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *once = malloc(size + 1), *twice = malloc(size + 1);

	memcpy(once, data, size);
	redact_message(once, size);
	check_masked((const char *)data, once, size);
	check_nothing_left(once, size);
	memcpy(twice, once, size);
	redact_message(twice, size);
	assert(memcmp(once, twice, size) == 0);
	free(once);
	free(twice);
	return 0;
}
