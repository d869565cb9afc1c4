/*
 * A whole node with its script: inputs are lists of steps (fuzz/steps.h), what
 * has to hold for every message and at rest is in fuzz/world.c. The world is
 * used again for many inputs. FUZZ_HISTORY names a file that holds all that the
 * present one has seen; that file is an input, which begins with "history\n".
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	INPUTS_MAX = 1024, /* of one world: it remembers a little of each */
	THOROUGH = 16      /* a collection costs as much as so many inputs */
};

static void run(struct fw *w, struct str input, bool thorough)
{
	struct step step[STEPS_MAX];
	size_t n = input_read(input, step);

	fw_begin(w);
	for (size_t i = 0; i < n; i++)
		step_run(w, &step[i]);
	fw_end(w, thorough);
}

static FILE *history(bool begin)
{
	const char *name = getenv("FUZZ_HISTORY");
	FILE *out = name ? fopen(name, begin ? "wb" : "ab") : NULL;

	if (out && begin)
		fputs("history\n", out);
	return out;
}

static void remember(struct str input, bool begin)
{
	FILE *out = history(begin);
	uint32_t n = (uint32_t)input.n;

	if (!out)
		return;
	fwrite(&n, sizeof(n), 1, out);
	fwrite(input.p, 1, input.n, out);
	fclose(out);
}

/* All that a world saw, in a new one. */
static void run_history(struct str bytes)
{
	struct fw *w = fw_new();
	uint32_t n;

	while (bytes.n > sizeof(n)) {
		memcpy(&n, bytes.p, sizeof(n));
		run(w, str_sub(bytes, sizeof(n), sizeof(n) + n),
		    w->inputs % THOROUGH == 0);
		bytes = str_sub(bytes, sizeof(n) + (size_t)n, bytes.n);
	}
	fw_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fw *w;
	struct str input = {(const char *)data, size};

	if (str_starts(input, STR("history\n"))) {
		run_history(str_sub(input, 8, input.n));
		return 0;
	}
	if (w && w->inputs >= INPUTS_MAX)
		fw_free(&w);
	remember(input, !w);
	if (!w)
		w = fw_new();
	run(w, input, w->inputs % THOROUGH == 0);
	return 0;
}
