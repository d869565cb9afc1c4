#include "cli/version.h"

#include <ares.h>
#include <ev.h>
#include <link.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "core/node.h"
#include "control/control_int.h"
#include "host/tls.h"
#include "lua/generation.h"
#include "transport/frame.h"

/* Of the Lua that is loaded, not of the headers we were compiled with. */
extern const char lua_ident[];

static void print(const char *what, const char *value)
{
	printf("  %-22s %s\n", what, value);
}

static void print_number(const char *what, long value)
{
	printf("  %-22s %ld\n", what, value);
}

/* "$LuaVersion: Lua 5.4.4  Copyright ..." */
static void print_lua(void)
{
	const char *text = strstr(lua_ident, "Lua 5");
	int n = 0;

	if (!text)
		text = "Lua";
	else
		n = (int)strcspn(text + 4, " ");
	printf("  %-22s %.*s\n", "Lua", n, n ? text + 4 : "");
}

/* libosip2 cannot be asked; its file has the version in its name. */
static int find_osip(struct dl_phdr_info *info, size_t size, void *ctx)
{
	char **found = ctx;

	(void)size;
	if (!strstr(info->dlpi_name, "libosipparser2"))
		return 0;
	*found = realpath(info->dlpi_name, NULL);
	return 1;
}

static void print_osip(void)
{
	char *path = NULL, *slash;

	dl_iterate_phdr(find_osip, &path);
	slash = path ? strrchr(path, '/') : NULL;
	print("libosip2", slash ? slash + 1 : "linked in");
	free(path);
}

static void print_libraries(void)
{
	char ev[32];

	puts("\nLibraries, as they are now:");
	print_lua();
	print_osip();
	snprintf(ev, sizeof(ev), "%d.%d", ev_version_major(),
		 ev_version_minor());
	print("libev", ev);
	print("c-ares", ares_version(NULL));
	print("OpenSSL", tls_library());
	print("libmicrohttpd", MHD_get_version());
}

static void print_limits(void)
{
	puts("\nLimits:");
	print_number("workers", NODE_MAX_WORKERS);
	print_number("listeners", LISTENER_MAX);
	print_number("earlier generations", GENERATION_RETIRED_MAX);
	print_number("sets of TLS options", TLS_CLIENT_MAX);
	print_number("bytes of a message", MSG_MAX_BYTES);
	print_number("bytes of a header", FRAME_MAX_HEADER);
	print_number("header fields", MSG_MAX_HEADERS);
	print_number("bytes of a URI", MSG_MAX_URI);
}

static void print_system(void)
{
	struct utsname u;

	if (uname(&u) == 0)
		printf("  %-22s %s %s %s\n", "system", u.sysname, u.release,
		       u.machine);
}

void version_print(const struct version_build *build, bool all)
{
	printf("tandem %s\n", build->version);
	if (!all)
		return;
	puts("\nBuild:");
	print("compiler", __VERSION__);
	print("flags", build->flags);
	print_system();
	print_libraries();
	print_limits();
	puts("\nPaths:");
	print("script", build->script);
	print("Lua files", build->lua_dir);
	print("module for specs", build->lib_dir);
}
