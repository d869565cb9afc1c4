/*
 * The C unit tests: a test is a function that registers itself, runs in a
 * process of its own (so a crash, a sanitiser report or a leak is the failure
 *of that one test), and ends at its first failing check. Arguments of checks
 *are evaluated once.
 *
 *	TEST(cut_at_separator)
 *	{
 *		struct str rest = STR("a;b");
 *		CHECK_STR(str_cut(&rest, ';'), "a");
 *		CHECK(rest.p != NULL);
 *		CHECK_INT(rest.n, 1);
 *	}
 *
 * build/san/unit [--list] [--nofork] [FILTER]: FILTER is a part of
 * "file.test_name"; --nofork is for the debugger.
 */
#ifndef SUPPORT_UNIT_H
#define SUPPORT_UNIT_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include "util/str.h"

struct unit_test {
	const char *file;
	const char *name;
	void (*run)(void);
	struct unit_test *next;
};

#define TEST(id)                                                               \
	static void test_##id(void);                                           \
	static struct unit_test unit_##id = {__FILE__, #id, test_##id, NULL};  \
	__attribute__((constructor)) static void unit_register_##id(void)      \
	{                                                                      \
		unit_register(&unit_##id);                                     \
	}                                                                      \
	static void test_##id(void)

#define CHECK(expr) unit_check(__FILE__, __LINE__, #expr, (expr))
/* Any two integers that fit in an int64_t. */
#define CHECK_INT(got, want)                                                   \
	unit_check_int(__FILE__, __LINE__, #got, (int64_t)(got),               \
		       (int64_t)(want))
/* A struct str and a literal, which may hold NUL bytes. */
#define CHECK_STR(got, lit)                                                    \
	unit_check_str(__FILE__, __LINE__, #got, (got), STR("" lit))

/* TANDEM_GC: for Lua states, as vm_conf.collect_every; 0 without it. */
uint32_t unit_collect_every(void);
void unit_register(struct unit_test *t);
void unit_check(const char *file, int line, const char *expr, bool ok);
void unit_check_int(const char *file, int line, const char *expr, int64_t got,
		    int64_t want);
void unit_check_str(const char *file, int line, const char *expr,
		    struct str got, struct str want);

#endif
