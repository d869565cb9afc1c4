/*
 * Where the script and the modules it requires are found on disk. This is the
 * whole of what a script can reach of the file system, and only while loading.
 */
#ifndef HOST_FILES_H
#define HOST_FILES_H

#include "lua/script.h"

enum { FILES_PATH = 4096 };

struct files {
	char script[FILES_PATH];  /* as the operator named it */
	char dir[FILES_PATH];     /* its directory */
	char lua_dir[FILES_PATH]; /* holds tandem/ */
	const char *text;         /* of a script that is no file; or NULL */
};

/* `lua_dir` NULL: beside the executable (../lua, ../../lua,
 * ../share/tandem/lua), else `fallback`. 0, or an errno with an explanation in
 * why[n]: the script cannot be read, or there is no tandem/init.lua. */
int files_init(struct files *f, const char *script, const char *lua_dir,
	       const char *fallback, char *why, size_t n);
/* Only the second half of that: where tandem/init.lua is. */
int files_find_lua(struct files *f, const char *lua_dir, const char *fallback,
		   char *why, size_t n);
/* The same for a script that is no file: its text, which is borrowed, and a
 * name for it. What it names is meant from the working directory. */
int files_init_text(struct files *f, const char *name, const char *text,
		    const char *lua_dir, const char *fallback, char *why,
		    size_t n);
/* Where the Lua module in C is, if it is beside the executable: the directory
 * that holds tandem/simcore.so. */
bool files_find_lib(char out[FILES_PATH]);
/* The path of a file that is named in the script: meant from its directory. */
bool files_find(const struct files *f, const char *name, char out[FILES_PATH]);
/* Borrows `f`. */
struct loader files_loader(struct files *f);

#endif
