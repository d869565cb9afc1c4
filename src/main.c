/*
 * The command line of tandem: says what is wanted and calls it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/args.h"
#include "host/control.h"
#include "util/list.h"
#include "util/log.h"

#define DEFAULT_SCRIPT "/etc/tandem/route.lua"

struct settings_of_args {
	struct control_conf conf;
	bool dump, help, version;
};

struct command {
	const char *name;
	const char *usage, *summary;
	const struct args_option *options;
	size_t n_options;
	int (*run)(const struct settings_of_args *s);
};

#define OPTION_CONFIG                                                          \
	{                                                                      \
		'c', "config", "FILE", "the script (" DEFAULT_SCRIPT ")"       \
	}
#define OPTION_LISTEN                                                          \
	{                                                                      \
		'l', "listen", "ADDR",                                         \
		    "udp: or tcp:IP[:PORT], instead of sip.listen"             \
	}
#define OPTION_LUA_DIR                                                         \
	{                                                                      \
		0, "lua-dir", "DIR",                                           \
		    "where tandem/init.lua is (or TANDEM_LUA)"                 \
	}
#define OPTION_LOG_LEVEL                                                       \
	{                                                                      \
		'L', "log-level", "LEVEL", "error, warn, info or debug"        \
	}
#define OPTION_LOG_FORMAT                                                      \
	{                                                                      \
		0, "log-format", "FORMAT", "logfmt or json"                    \
	}
#define OPTION_HELP                                                            \
	{                                                                      \
		'h', "help", NULL, "this text"                                 \
	}
#define OPTION_VERSION                                                         \
	{                                                                      \
		'V', "version", NULL, "the version"                            \
	}

static const struct args_option run_options[] = {
    OPTION_CONFIG,
    OPTION_LISTEN,
    {'s', "ctl", "PATH", "control socket (" DEFAULT_CTL "), or none"},
    {0, "http", "IP:PORT", "status and metrics over TCP as well"},
    {0, "http-token", "FILE", "who sends this token may change things there"},
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_LUA_DIR,
    OPTION_HELP,
    OPTION_VERSION,
};

static const struct args_option check_options[] = {
    OPTION_CONFIG,    {0, "dump", NULL, "write all declarations as JSON"},
    OPTION_LOG_LEVEL, OPTION_LOG_FORMAT,
    OPTION_LUA_DIR,   OPTION_HELP,
    OPTION_VERSION,
};

static int run(const struct settings_of_args *s)
{
	return control_run(&s->conf);
}

static int check(const struct settings_of_args *s)
{
	return control_check(&s->conf, s->dump);
}

/* The first is the one that is meant when none is named. */
static const struct command commands[] = {
    {"run", "tandem [run] [-c FILE] [-l ADDR]... [-L LEVEL]",
     "route calls, in the foreground, until TERM or INT", run_options,
     ARRAY_LEN(run_options), run},
    {"check", "tandem check [-c FILE] [--dump]",
     "load the script and say whether it is right: no ports, no network",
     check_options, ARRAY_LEN(check_options), check},
};

static bool set_log_level(struct settings_of_args *s, const char *value,
			  char *why, size_t n)
{
	s->conf.log_level = log_level_parse(str_from(value));
	if (s->conf.log_level < 0)
		snprintf(why, n,
			 "--log-level is error, warn, info or debug, not '%s'",
			 value);
	return s->conf.log_level >= 0;
}

static bool set_log_format(struct settings_of_args *s, const char *value,
			   char *why, size_t n)
{
	s->conf.json = strcmp(value, "json") == 0;
	if (s->conf.json || strcmp(value, "logfmt") == 0)
		return true;
	snprintf(why, n, "--log-format is logfmt or json, not '%s'", value);
	return false;
}

static bool add_listener(struct settings_of_args *s, const char *value,
			 char *why, size_t n)
{
	const char *wrong = "too many";
	struct listener l;

	if (s->conf.listens < LISTENER_MAX &&
	    listener_parse(str_from(value), &l, &wrong)) {
		if (l.transport != TRANSPORT_TLS) {
			s->conf.listen[s->conf.listens++] = l;
			return true;
		}
		wrong = "needs a certificate: write it into the script: "
			"sip.listen { { \"tls:...\", cert = ..., key = ... } }";
	}
	snprintf(why, n, "--listen %s: %s", value, wrong);
	return false;
}

static bool set_http(struct settings_of_args *s, const char *value, char *why,
		     size_t n)
{
	if (addr_parse(str_from(value), &s->conf.http) && s->conf.http.port)
		return true;
	snprintf(why, n, "--http is IP:PORT, as 127.0.0.1:9091, not '%s'",
		 value);
	return false;
}

static bool on_option(void *ctx, const char *name, const char *value, char *why,
		      size_t n)
{
	struct settings_of_args *s = ctx;

	if (strcmp(name, "config") == 0)
		s->conf.script = value;
	else if (strcmp(name, "lua-dir") == 0)
		s->conf.lua_dir = value;
	else if (strcmp(name, "dump") == 0)
		s->dump = true;
	else if (strcmp(name, "help") == 0)
		s->help = true;
	else if (strcmp(name, "version") == 0)
		s->version = true;
	else if (strcmp(name, "ctl") == 0)
		s->conf.ctl = value;
	else if (strcmp(name, "http-token") == 0)
		s->conf.http_token = value;
	else if (strcmp(name, "http") == 0)
		return set_http(s, value, why, n);
	else if (strcmp(name, "listen") == 0)
		return add_listener(s, value, why, n);
	else if (strcmp(name, "log-level") == 0)
		return set_log_level(s, value, why, n);
	else if (strcmp(name, "log-format") == 0)
		return set_log_format(s, value, why, n);
	return true;
}

static void help(const struct command *only)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (!only || only == &commands[i])
			printf("%s%s\n      %s\n",
			       i && !only ? "" : "Usage: ", commands[i].usage,
			       commands[i].summary);
	puts("\nOptions:");
	args_help((only ? only : commands)->options,
		  (only ? only : commands)->n_options);
	if (!only)
		puts("\n'tandem COMMAND --help' says more about a command.");
}

/* The command and how many words named it; NULL for an unknown one. */
static const struct command *find_command(int argc, char **argv, int *words_r)
{
	*words_r = 0;
	if (argc < 2 || (argv[1][0] == '-' && strcmp(argv[1], "-t") != 0))
		return &commands[0];
	*words_r = 1;
	if (strcmp(argv[1], "-t") == 0)
		return &commands[1];
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return &commands[i];
	return NULL;
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

int main(int argc, char **argv)
{
	struct settings_of_args s = {
	    .conf = {.script = DEFAULT_SCRIPT,
		     .lua_dir = getenv("TANDEM_LUA"),
		     .lua_fallback = TANDEM_LUADIR,
		     .version = TANDEM_VERSION,
		     .log_level = -1},
	};
	char why[512];
	int words;
	const struct command *c = find_command(argc, argv, &words);

	open_standard_streams();
	if (!c)
		return unknown_command(argv[1]);
	if (!args_parse(c->options, c->n_options, argc - 1 - words,
			argv + 1 + words, on_option, &s, why, sizeof(why))) {
		fprintf(stderr, "tandem: %s\nTry 'tandem %s%s--help'.\n", why,
			words ? c->name : "", words ? " " : "");
		return EXIT_CONFIG;
	}
	if (s.help)
		help(words ? c : NULL);
	else if (s.version)
		puts("tandem " TANDEM_VERSION);
	else
		return c->run(&s);
	return EXIT_FINE;
}
