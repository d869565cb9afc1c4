/*
 * `tandem ping`: one request to one SIP server, and what came of it as a plugin
 * of Nagios says it. It is the proxy with a script of its own
 * (lua/tandem/built_in/ping.lua), on ports that the system chooses.
 */
#ifndef CLI_PING_H
#define CLI_PING_H

#include "cli/args.h"

/* Exit codes of a monitoring plugin. */
enum {
	PING_OK = 0,
	PING_WARNING = 1,
	PING_CRITICAL = 2,
	PING_UNKNOWN = 3, /* also: wrong usage */
};

extern const struct args_option ping_options[];
extern const size_t ping_options_n;

struct ping;

/* Reads the arguments. NULL with the reason in why[n]. */
struct ping *ping_parse(int argc, char *const *argv, char *why, size_t n);
bool ping_wants_help(const struct ping *p);
/* Asks, writes a line on standard output, gives the exit code. */
int ping_run(struct ping *p, const char *lua_fallback);
void ping_free(struct ping **p);

#endif
