#include "host/files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 64 * 1024 * 1024 };

/* The name of a file inside a directory; false when it is too long. */
static bool join(char out[FILES_PATH], const char *dir, const char *name)
{
	return snprintf(out, FILES_PATH, "%s%s%s", dir, *dir ? "/" : "", name) <
	       FILES_PATH;
}

static char *grow(char *p, size_t *cap)
{
	char *bigger = *cap < FILE_MAX ? realloc(p, *cap * 2) : NULL;

	if (bigger)
		*cap *= 2;
	else
		free(p);
	return bigger;
}

static int read_all(int fd, char **bytes_r, size_t *n_r)
{
	size_t cap = 16 * 1024, n = 0;
	char *p = malloc(cap);

	while (p) {
		ssize_t got = read(fd, p + n, cap - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int err = errno;

			free(p);
			return err;
		}
		if (got == 0) {
			*bytes_r = p;
			*n_r = n;
			return 0;
		}
		n += (size_t)got;
		if (n == cap)
			p = grow(p, &cap);
	}
	return ENOMEM;
}

static int read_file(const char *path, char **bytes_r, size_t *n_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return errno;
	err = read_all(fd, bytes_r, n_r);
	close(fd);
	return err;
}

static bool try_file(const char *path, char **bytes_r, size_t *n_r, char *shown,
		     size_t shown_n)
{
	if (read_file(path, bytes_r, n_r) != 0)
		return false;
	snprintf(shown, shown_n, "%s", path);
	return true;
}

/* Names of modules are words with dots between them: nothing that leads out of
 * the directories they are looked for in. */
static bool is_module_name(const char *name)
{
	char before = '.';

	for (; *name; name++) {
		if (*name == '.' ? before == '.'
				 : !isalnum((unsigned char)*name) &&
				       *name != '_' && *name != '-')
			return false;
		before = *name;
	}
	return before != '.';
}

static bool load_from(const char *dir, const char *module, char **bytes_r,
		      size_t *n_r, char *shown, size_t shown_n)
{
	static const char *const tail[] = {".lua", "/init.lua"};
	char name[FILES_PATH], path[FILES_PATH];

	for (size_t i = 0; i < ARRAY_LEN(tail); i++) {
		size_t n = strlen(module);

		if (snprintf(name, sizeof(name), "%s%s", module, tail[i]) >=
		    (int)sizeof(name))
			return false;
		for (size_t k = 0; k < n; k++)
			if (name[k] == '.')
				name[k] = '/';
		if (join(path, dir, name) &&
		    try_file(path, bytes_r, n_r, shown, shown_n))
			return true;
	}
	return false;
}

static bool load_module(const struct files *f, const char *name, char **bytes_r,
			size_t *n_r, char *shown, size_t shown_n)
{
	char own[FILES_PATH];

	if (!is_module_name(name))
		return false;
	/* Ours come from our directory alone, so that a stray tandem/ beside
	 * the script cannot replace half of them. */
	if (strcmp(name, "tandem") == 0 || strncmp(name, "tandem.", 7) == 0)
		return load_from(f->lua_dir, name, bytes_r, n_r, shown,
				 shown_n);
	return load_from(f->dir, name, bytes_r, n_r, shown, shown_n) ||
	       (join(own, f->dir, "lua") &&
		load_from(own, name, bytes_r, n_r, shown, shown_n));
}

/* A path may not climb. */
static bool has_dotdot(const char *path)
{
	const char *p = path;

	while ((p = strstr(p, "..")) != NULL) {
		if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
			return true;
		p += 2;
	}
	return false;
}

static bool load(void *ctx, const char *name, bool is_module, char **bytes_r,
		 size_t *n_r, char *shown, size_t shown_n)
{
	const struct files *f = ctx;
	char path[FILES_PATH];

	if (is_module)
		return load_module(f, name, bytes_r, n_r, shown, shown_n);
	if (f->text && strcmp(name, f->script) == 0) {
		*bytes_r = strdup(f->text);
		*n_r = strlen(f->text);
		snprintf(shown, shown_n, "%s", name);
		return *bytes_r != NULL;
	}
	if (strcmp(name, f->script) == 0 || *name == '/')
		return try_file(name, bytes_r, n_r, shown, shown_n);
	return !has_dotdot(name) && join(path, f->dir, name) &&
	       try_file(path, bytes_r, n_r, shown, shown_n);
}

bool files_find(const struct files *f, const char *name, char out[FILES_PATH])
{
	return join(out, *name == '/' ? "" : f->dir, name);
}

struct loader files_loader(struct files *f)
{
	return (struct loader){.ctx = f, .load = load};
}

/* ---- finding the directories ---- */

static bool holds(const char *dir, const char *name)
{
	char path[FILES_PATH];

	return join(path, dir, name) && access(path, R_OK) == 0;
}

static bool holds_tandem(const char *dir)
{
	return holds(dir, "tandem/init.lua");
}

/* Cuts the last component off; "" stays for a name without directory. */
static void cut_name(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash == path)
		slash++;
	*(slash ? slash : path) = '\0';
}

/* The first of n places beside the executable that holds `name`. */
static bool find_beside(const char *const *places, size_t n_places,
			const char *name, char out[FILES_PATH])
{
	char exe[FILES_PATH], real[FILES_PATH];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n <= 0)
		return false;
	exe[n] = '\0';
	cut_name(exe);
	for (size_t i = 0; i < n_places; i++) {
		if (!join(real, exe, places[i]) || !holds(real, name))
			continue;
		return realpath(real, out) != NULL;
	}
	return false;
}

static bool find_lua_beside(char out[FILES_PATH])
{
	static const char *const places[] = {"../lua", "../../lua",
					     "../share/tandem/lua"};

	return find_beside(places, ARRAY_LEN(places), "tandem/init.lua", out);
}

bool files_find_lib(char out[FILES_PATH])
{
	static const char *const places[] = {"lua", "../lib/tandem/lua"};

	return find_beside(places, ARRAY_LEN(places), "tandem/simcore.so", out);
}

int files_find_lua(struct files *f, const char *lua_dir, const char *fallback,
		   char *why, size_t n)
{
	if (!lua_dir && find_lua_beside(f->lua_dir))
		return 0;
	if (!lua_dir)
		lua_dir = fallback;
	snprintf(f->lua_dir, sizeof(f->lua_dir), "%s", lua_dir);
	if (holds_tandem(f->lua_dir))
		return 0;
	snprintf(why, n,
		 "%s/tandem/init.lua is not there: name the directory of "
		 "Tandem's Lua files with --lua-dir or TANDEM_LUA",
		 lua_dir);
	return ENOENT;
}

int files_init(struct files *f, const char *script, const char *lua_dir,
	       const char *fallback, char *why, size_t n)
{
	int fd, err = 0;

	if (strlen(script) >= sizeof(f->script)) {
		snprintf(why, n, "the name of the script is too long");
		return ENAMETOOLONG;
	}
	f->text = NULL;
	strcpy(f->script, script);
	strcpy(f->dir, script);
	cut_name(f->dir);
	fd = open(script, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err = errno;
		snprintf(why, n, "cannot read %s: %s", script, strerror(err));
		return err;
	}
	close(fd);
	return files_find_lua(f, lua_dir, fallback, why, n);
}

int files_init_text(struct files *f, const char *name, const char *text,
		    const char *lua_dir, const char *fallback, char *why,
		    size_t n)
{
	snprintf(f->script, sizeof(f->script), "%s", name);
	f->dir[0] = '\0';
	f->text = text;
	return files_find_lua(f, lua_dir, fallback, why, n);
}
