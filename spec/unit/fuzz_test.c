/*
 * What the fuzz targets begin with and what they once failed at
 * (spec/fixtures/fuzz_*, and the torture messages), run by an ordinary
 * compiler's sanitisers: each target over each of its files.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/unit.h"

typedef int one_fn(const uint8_t *data, size_t size);

one_fn one_fuzz_core, one_fuzz_dns, one_fuzz_frame, one_fuzz_key, one_fuzz_lua,
    one_fuzz_msg, one_fuzz_redact;

static void run_file(one_fn *one, const char *dir, const char *name)
{
	char path[512];
	uint8_t *bytes = malloc(1 << 17);
	FILE *in;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	in = fopen(path, "rb");
	CHECK(bytes && in);
	n = fread(bytes, 1, 1 << 17, in);
	CHECK(feof(in));
	fclose(in);
	fprintf(stderr, "%s\n", path); /* the last one is the one that fails */
	CHECK_INT(one(bytes, n), 0);
	free(bytes);
}

/* In a fixed order: what one leaves in a world is there for the next. */
static void run_dir(one_fn *one, const char *dir)
{
	struct dirent **e;
	int n = scandir(dir, &e, NULL, alphasort), files = 0;

	for (int i = 0; i < n; i++) {
		if (e[i]->d_name[0] != '.') {
			run_file(one, dir, e[i]->d_name);
			files++;
		}
		free(e[i]);
	}
	CHECK(files > 0);
	free(e);
}

#define REPLAY(target)                                                         \
	TEST(target)                                                           \
	{                                                                      \
		run_dir(one_##target, "spec/fixtures/" #target);               \
		run_dir(one_##target, "spec/fixtures/torture");                \
	}

REPLAY(fuzz_core)
REPLAY(fuzz_dns)
REPLAY(fuzz_frame)
REPLAY(fuzz_key)
REPLAY(fuzz_lua)
REPLAY(fuzz_msg)
REPLAY(fuzz_redact)
