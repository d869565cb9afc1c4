#include "message/hdr.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "support/unit.h"
#include "util/list.h"

static const struct {
	enum hdr_id id;
	const char *name;
	char compact;
	bool list, once;
} all[] = {
#define X(id, name, compact, list, once) {id, name, compact, list, once},
    HDR_LIST(X)
#undef X
};

/* As name_hash in hdr.c, to say what its table lacks. */
static size_t slot(const char *name, size_t n)
{
	return (n * 3 + (size_t)(name[0] | 32) * 7 +
		(size_t)(name[n - 1] | 32) * 19 + (size_t)(name[n / 2] | 32)) %
	       128;
}

TEST(every_name_is_found)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct str name = str_from(all[i].name);

		if (hdr_id(name) != all[i].id)
			fprintf(stderr, "by_hash lacks [%zu] = id of %s\n",
				slot(name.p, name.n), all[i].name);
		CHECK_INT(hdr_id(name), all[i].id);
		CHECK(str_eq(hdr_name(all[i].id), name));
		CHECK_INT(hdr_is_list(all[i].id), all[i].list);
		CHECK_INT(hdr_is_single(all[i].id), all[i].once);
	}
}

TEST(case_does_not_matter)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char upper[32], lower[32];
		struct str name = str_from(all[i].name);

		for (size_t j = 0; j < name.n; j++) {
			upper[j] = (char)toupper(name.p[j]);
			lower[j] = (char)tolower(name.p[j]);
		}
		CHECK_INT(hdr_id((struct str){upper, name.n}), all[i].id);
		CHECK_INT(hdr_id((struct str){lower, name.n}), all[i].id);
	}
}

/* RFC 3261 7.3.3. */
TEST(compact_forms)
{
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char c = all[i].compact, up = (char)toupper(c);

		if (!c)
			continue;
		CHECK_INT(hdr_id((struct str){&c, 1}), all[i].id);
		CHECK_INT(hdr_id((struct str){&up, 1}), all[i].id);
	}
	for (int c = 0; c < 256; c++) {
		char ch = (char)c;
		bool known = false;

		for (size_t i = 0; i < ARRAY_LEN(all); i++)
			known |= all[i].compact && tolower(c) == all[i].compact;
		CHECK_INT(hdr_id((struct str){&ch, 1}) != HDR_OTHER, known);
	}
}

/* A hash alone would take these for something they are not. */
TEST(others)
{
	CHECK_INT(hdr_id(STR("Trunk-Address")), HDR_OTHER);
	CHECK_INT(hdr_id(STR("")), HDR_OTHER);
	CHECK_INT(hdr_id(STR_NONE), HDR_OTHER);
	CHECK_INT(hdr_id(STR("Vib")), HDR_OTHER);
	CHECK_INT(hdr_id(STR("Via ")), HDR_OTHER);
	CHECK_INT(hdr_id(STR("VJA")), HDR_OTHER);
	CHECK_INT(hdr_id(STR("Call\rID")), HDR_OTHER); /* '-' ^ ' ' */
	CHECK_INT(hdr_id(STR("To\1")), HDR_OTHER);
	CHECK_STR(hdr_name(HDR_OTHER), "");
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char changed[32];
		struct str name = str_from(all[i].name);

		for (size_t j = 0; j < name.n; j++) {
			memcpy(changed, name.p, name.n);
			changed[j] = '_';
			CHECK_INT(hdr_id((struct str){changed, name.n}),
				  HDR_OTHER);
		}
	}
}

TEST(names_compare_in_any_form)
{
	CHECK(hdr_name_eq(STR("i"), STR("CALL-ID")));
	CHECK(hdr_name_eq(STR("X-Any"), STR("x-aNY")));
	CHECK(!hdr_name_eq(STR("X-Any"), STR("X-Anz")));
	CHECK(!hdr_name_eq(STR("i"), STR("f")));
	CHECK(!hdr_name_eq(STR("Via"), STR("X-Via")));
}
