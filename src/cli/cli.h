/*
 * What the command line of `run` and `check` says, and what other commands
 * share with them. It reads arguments, and touches nothing else.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "cli/args.h"
#include "control/control.h"

#define CLI_SCRIPT "/etc/tandem/route.lua"

/* Who has more servers than this writes a script. */
enum { CLI_SERVERS = 32 };

struct cli {
	struct control_conf conf;
	const char *listen[LISTENER_MAX]; /* as written; conf.listens of them */
	const char *server[CLI_SERVERS];  /* instead of a script */
	size_t servers;
	bool has_config;
	bool dump, strict; /* of check */
	bool help;
	int version;  /* how often it was asked for */
	char *script; /* that was made of the servers */
};

/* The options of run, and of check. */
extern const struct args_option cli_run_options[], cli_check_options[];
extern const size_t cli_run_options_n, cli_check_options_n;

/* Reads the arguments of a command. False with the reason in why[n]. Free it
 * with cli_fini in any case. */
bool cli_parse(struct cli *c, const struct args_option *options,
	       size_t n_options, int argc, char *const *argv, char *why,
	       size_t n);
void cli_fini(struct cli *c);

/* A SIP URI. False with the reason, a suggestion in it, in which the argument
 * is called what[0..]: "server ". */
bool cli_uri(const char *what, const char *text, struct uri *out_r, char *why,
	     size_t n);
/* Seconds, more than 0. False with the reason. */
bool cli_seconds(const char *option, const char *value, double *out_r,
		 char *why, size_t n);
/* The level of --log-level into *out_r. False with the reason. */
bool cli_log_level(const char *value, int *out_r, char *why, size_t n);

#endif
