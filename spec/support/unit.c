#include "support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct unit_test *first, **last = &first;

uint32_t unit_collect_every(void)
{
	const char *n = getenv("TANDEM_GC");

	return n ? (uint32_t)strtoul(n, NULL, 10) : 0;
}

void unit_register(struct unit_test *t)
{
	*last = t;
	last = &t->next;
}

/* Ends the test, and with it the process that runs it; a test that fails may
 * leak what it holds. */
_Noreturn static void fail(void)
{
	fflush(stdout);
	_exit(1);
}

void unit_check(const char *file, int line, const char *expr, bool ok)
{
	if (ok)
		return;
	printf("%s:%d: %s is false\n", file, line, expr);
	fail();
}

void unit_check_int(const char *file, int line, const char *expr, int64_t got,
		    int64_t want)
{
	if (got == want)
		return;
	printf("%s:%d: %s is %" PRId64 ", not %" PRId64 "\n", file, line, expr,
	       got, want);
	fail();
}

static void print_str(struct str s)
{
	if (s.p == NULL) {
		printf("(none)");
		return;
	}
	putchar('"');
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c >= ' ' && c < 0x7f)
			putchar(c);
		else
			printf("\\x%02x", c);
	}
	putchar('"');
}

void unit_check_str(const char *file, int line, const char *expr,
		    struct str got, struct str want)
{
	if (got.p != NULL && got.n == want.n &&
	    memcmp(got.p, want.p, want.n) == 0)
		return;
	printf("%s:%d: %s is ", file, line, expr);
	print_str(got);
	printf(", not ");
	print_str(want);
	putchar('\n');
	fail();
}

/* "spec/unit/str_test.c" and "cut" give "str_test.cut". */
static void full_name(const struct unit_test *t, char *out, size_t size)
{
	const char *slash = strrchr(t->file, '/');
	const char *file = slash != NULL ? slash + 1 : t->file;

	snprintf(out, size, "%.*s.%s", (int)strcspn(file, "."), file, t->name);
}

static bool run(const struct unit_test *t, const char *name, bool nofork)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	if (nofork) {
		t->run();
		return true;
	}
	child = fork();
	if (child == 0) {
		t->run();
		exit(0); /* the leak check runs here */
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("unit");
		exit(2);
	}
	if (status == 0)
		return true;
	if (WIFSIGNALED(status))
		printf("FAILED %s: signal %d (%s)\n", name, WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else
		printf("FAILED %s\n", name);
	return false;
}

int main(int argc, char **argv)
{
	bool list = false, nofork = false;
	const char *filter = "";
	int passed = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			list = true;
		else if (strcmp(argv[i], "--nofork") == 0)
			nofork = true;
		else
			filter = argv[i];
	}
	for (const struct unit_test *t = first; t != NULL; t = t->next) {
		char name[256];

		full_name(t, name, sizeof(name));
		if (strstr(name, filter) == NULL)
			continue;
		if (list)
			puts(name);
		else if (run(t, name, nofork))
			passed++;
		else
			failed++;
	}
	if (!list)
		printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
