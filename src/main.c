/*
 * The commands of tandem: finds the one that is meant and calls it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "control/control.h"
#include "host/files.h"
#include "cli/ping.h"
#include "cli/tester.h"
#include "cli/version.h"
#include "lua/console.h"
#include "util/list.h"
#include "util/slab.h"

struct command {
	const char *name;
	const char *usage, *summary;
	const struct args_option *options;
	const size_t *n_options;
	/* Given what follows its name, if it was named. An exit code. */
	int (*run)(const struct command *c, bool named, int argc, char **argv);
	/* Of run and check. */
	int (*start)(const struct cli *cli);
	/* Of a command in Lua, which reads its arguments itself. */
	const char *module;
};

/* For commands that read their own arguments. */
static const struct args_option help_option[] = {
    {'h', "help", NULL, "this text"},
};
static const size_t help_option_n = ARRAY_LEN(help_option);

static const struct version_build build = {
    .version = TANDEM_VERSION,
    .script = CLI_SCRIPT,
    .lua_dir = TANDEM_LUADIR,
    .lib_dir = TANDEM_LIBDIR,
    .flags = TANDEM_FLAGS,
};

static int run_started(const struct command *c, bool named, int argc,
		       char **argv);
static int run_ping(const struct command *c, bool named, int argc, char **argv);
static int run_lua(const struct command *c, bool named, int argc, char **argv);
static int run_tests(const struct command *c, bool named, int argc,
		     char **argv);

static int start_run(const struct cli *cli)
{
	return control_run(&cli->conf);
}

static int start_check(const struct cli *cli)
{
	return control_check(&cli->conf, cli->dump, cli->strict);
}

/* The first is the one that is meant when none is named. */
static const struct command commands[] = {
    {"run", "tandem [run] [-c FILE | SERVER...] [-l ADDR]... [-L LEVEL]",
     "route calls, in the foreground, until TERM or INT", cli_run_options,
     &cli_run_options_n, run_started, start_run, NULL},
    {"check", "tandem check [-c FILE | SERVER...] [--dump] [--strict]",
     "load the script and say whether it is right: no ports, no network",
     cli_check_options, &cli_check_options_n, run_started, start_check, NULL},
    {"ping", "tandem ping [--register | --invite] [-t SECONDS] URI",
     "ask a SIP server something; exit codes as of a Nagios plugin",
     ping_options, &ping_options_n, run_ping, NULL, NULL},
    {"ctl", "tandem ctl [-s SOCKET] [-o FORMAT] VERB ...",
     "ask the running proxy, or tell it what to do", NULL, NULL, run_lua, NULL,
     "tandem.command.ctl"},
    {"init", "tandem init DIR",
     "begin a policy: a script, its spec, and settings for the tools",
     help_option, &help_option_n, run_lua, NULL, "tandem.command.init"},
    {"test", "tandem test [ARGUMENTS of busted]",
     "run the specs of a policy, in this folder", help_option, &help_option_n,
     run_tests, NULL, NULL},
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

/* ---- help ---- */

static void print_usage(const struct command *c, const char *before)
{
	printf("%s%s\n      %s\n", before, c->usage, c->summary);
}

static void print_options(const struct command *c, const char *title)
{
	puts(title);
	args_help(c->options, *c->n_options);
}

static int help_command(const struct command *c)
{
	char word[] = "--help", *argv[] = {word, NULL};

	if (c->module && !c->options)
		return c->run(c, true, 1, argv);
	print_usage(c, "Usage: ");
	print_options(c, "\nOptions:");
	return EXIT_FINE;
}

static int help_all(void)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		print_usage(&commands[i], i ? "" : "Usage: ");
	print_options(&commands[0], "\nOptions of run:");
	puts("\n'tandem COMMAND --help' says more about a command. A SERVER is "
	     "a\n"
	     "SIP URI; of several the first that works takes the calls.");
	return EXIT_FINE;
}

static int unknown_command(const char *word)
{
	const char *names[ARRAY_LEN(commands)], *like;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	like = args_closest(word, names, ARRAY_LEN(names));
	fprintf(stderr, "tandem: unknown command '%s'", word);
	if (like)
		fprintf(stderr, "; did you mean '%s'?", like);
	else if (strstr(word, ".lua"))
		fprintf(stderr, "; did you mean -c %s?", word);
	fputs("\nTry 'tandem --help'.\n", stderr);
	return EXIT_CONFIG;
}

/* `tandem help [COMMAND]` */
static int help(int argc, char **argv)
{
	const struct command *c = argc ? find_command(argv[0]) : NULL;

	if (argc && !c)
		return unknown_command(argv[0]);
	return c ? help_command(c) : help_all();
}

/* ---- running ---- */

static int wrong_usage(const struct command *c, const char *why, int code)
{
	fprintf(stderr, "tandem: %s\nTry 'tandem %s --help'.\n", why, c->name);
	return code;
}

static int run_started(const struct command *c, bool named, int argc,
		       char **argv)
{
	char why[512];
	struct cli cli;
	int code = EXIT_FINE;

	if (!cli_parse(&cli, c->options, *c->n_options, argc, argv, why,
		       sizeof(why))) {
		code = wrong_usage(c, why, EXIT_CONFIG);
	} else if (cli.help) {
		code = named ? help_command(c) : help_all();
	} else if (cli.version) {
		version_print(&build, cli.version > 1);
	} else {
		cli.conf.version = TANDEM_VERSION;
		cli.conf.lua_fallback = TANDEM_LUADIR;
		code = c->start(&cli);
	}
	cli_fini(&cli);
	return code;
}

static int run_ping(const struct command *c, bool named, int argc, char **argv)
{
	char why[512];
	struct ping *p = ping_parse(argc, argv, why, sizeof(why));
	int code;

	(void)named;
	if (!p) /* 2 would say that the server is dead */
		return wrong_usage(c, why, PING_UNKNOWN);
	code =
	    ping_wants_help(p) ? help_command(c) : ping_run(p, TANDEM_LUADIR);
	ping_free(&p);
	return code;
}

static bool wants_help(int argc, char **argv)
{
	return argc &&
	       (strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "--help") == 0);
}

/* Where our Lua files are; false after saying that they are not. */
static bool find_lua(struct files *f)
{
	char why[512];

	if (files_find_lua(f, getenv("TANDEM_LUA"), TANDEM_LUADIR, why,
			   sizeof(why)) == 0)
		return true;
	fprintf(stderr, "tandem: %s\n", why);
	return false;
}

static int run_lua(const struct command *c, bool named, int argc, char **argv)
{
	struct files f;

	(void)named;
	if (c->options && wants_help(argc, argv))
		return help_command(c);
	return find_lua(&f)
		   ? console_run(f.lua_dir, c->module, argc, argv, EXIT_FAILED)
		   : EXIT_CONFIG;
}

static int run_tests(const struct command *c, bool named, int argc, char **argv)
{
	struct files f;

	(void)named;
	if (wants_help(argc, argv))
		return help_command(c);
	return find_lua(&f) ? tester_run(f.lua_dir, TANDEM_LIBDIR, argc, argv)
			    : EXIT_CONFIG;
}

/* Whoever starts us without standard streams shall not find the log in a socket
 * that got one of their numbers. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A word that is no command but a server, or what somebody takes for one. */
static bool is_server(const char *word)
{
	return strpbrk(word, ":@[") != NULL ||
	       (strchr(word, '.') && !strstr(word, ".lua"));
}

int main(int argc, char **argv)
{
	const struct command *c;
	const char *word = argc > 1 ? argv[1] : "--";

	open_standard_streams();
	slabs_return_pages();
	if (strcmp(word, "help") == 0)
		return help(argc - 2, argv + 2);
	if (argc == 2 &&
	    (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0))
		return help_all();
	if (strcmp(word, "-t") == 0)
		word = "check";
	c = find_command(word);
	if (c)
		return c->run(c, true, argc - 2, argv + 2);
	if (word[0] != '-' && !is_server(word))
		return unknown_command(word);
	return commands[0].run(&commands[0], false, argc - 1, argv + 1);
}
