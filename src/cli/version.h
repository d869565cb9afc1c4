/*
 * `tandem -V` and `tandem -VV`: what this program is, what it was built with
 * and what it runs with. The second is for bug reports.
 */
#ifndef CLI_VERSION_H
#define CLI_VERSION_H

#include <stdbool.h>

/* What the build says: version, flags of the compiler, and where things are
 * looked for. */
struct version_build {
	const char *version, *flags;
	const char *script, *lua_dir, *lib_dir;
};

/* To standard output; with `all` more than the version. */
void version_print(const struct version_build *build, bool all);

#endif
