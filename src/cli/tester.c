#include "cli/tester.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/control.h"
#include "host/files.h"
#include "util/list.h"

/* Debian's name, that of others, and what it is called where there is only one.
 */
static const char *const interpreters[] = {"lua5.4", "lua54", "lua-5.4", "lua"};

/* Puts `first` before what the variable says; Lua itself prefers the one with
 * its version in the name. False: no memory. */
static bool put_before(const char *name, const char *first)
{
	char versioned[32], *value;
	const char *old;
	bool ok;

	snprintf(versioned, sizeof(versioned), "%s_5_4", name);
	old = getenv(versioned);
	if (!old)
		old = getenv(name);
	if (asprintf(&value, "%s;%s", first, old ? old : ";") < 0)
		return false;
	ok = setenv(versioned, value, 1) == 0;
	free(value);
	return ok;
}

static bool set_paths(const char *lua_dir, const char *lib_dir)
{
	char path[2 * FILES_PATH + 32], cpath[FILES_PATH + 8];
	char found[FILES_PATH];

	if (files_find_lib(found))
		lib_dir = found;
	snprintf(path, sizeof(path), "%s/?.lua;%s/?/init.lua", lua_dir,
		 lua_dir);
	snprintf(cpath, sizeof(cpath), "%s/?.so", lib_dir);
	return put_before("LUA_PATH", path) && put_before("LUA_CPATH", cpath);
}

int tester_run(const char *lua_dir, const char *lib_dir, int argc,
	       char *const *argv)
{
	char runner[FILES_PATH + 32];
	char **args = calloc((size_t)argc + 3, sizeof(*args));

	if (!args || !set_paths(lua_dir, lib_dir)) {
		free(args);
		fputs("tandem: not enough memory\n", stderr);
		return EXIT_FAILED;
	}
	snprintf(runner, sizeof(runner), "%s/tandem/command/busted.lua",
		 lua_dir);
	args[1] = runner;
	for (int i = 0; i < argc; i++)
		args[i + 2] = argv[i];
	for (size_t i = 0; i < ARRAY_LEN(interpreters); i++) {
		args[0] = (char *)(uintptr_t)interpreters[i];
		execvp(args[0], args);
		if (errno != ENOENT)
			break;
	}
	fprintf(stderr,
		"tandem: cannot run Lua 5.4: %s: apt install lua5.4 "
		"lua-busted\n",
		strerror(errno));
	free(args);
	return EXIT_CONFIG;
}
