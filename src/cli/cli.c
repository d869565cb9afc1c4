#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/node.h"
#include "cli/builtin.h"
#include "util/list.h"
#include "util/log.h"

/* ---- the options ---- */

#define OPTION_CONFIG                                                          \
	{                                                                      \
		'c', "config", "FILE", "the script (" CLI_SCRIPT ")"           \
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
		0, "log-format", "FORMAT", "auto (logfmt), logfmt or json"     \
	}
#define OPTION_SERVERS                                                         \
	{                                                                      \
		0, "", "SERVER", ""                                            \
	}
#define OPTION_HELP                                                            \
	{                                                                      \
		'h', "help", NULL, "this text"                                 \
	}
#define OPTION_VERSION                                                         \
	{                                                                      \
		'V', "version", NULL,                                          \
		    "the version; -VV: and all it is made of"                  \
	}

const struct args_option cli_run_options[] = {
    OPTION_CONFIG,
    OPTION_LISTEN,
    {'s', "ctl", "PATH", "control socket (" DEFAULT_CTL "), or none"},
    {0, "http", "IP:PORT", "status and metrics over TCP as well"},
    {0, "http-token", "FILE", "who sends this token may change things there"},
    {0, "workers", "N", "worker threads, instead of sip.settings"},
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_LUA_DIR,
    OPTION_SERVERS,
    OPTION_HELP,
    OPTION_VERSION,
};
const size_t cli_run_options_n = ARRAY_LEN(cli_run_options);

const struct args_option cli_check_options[] = {
    OPTION_CONFIG,
    OPTION_LISTEN,
    {0, "dump", "[=json]", "write all declarations as JSON"},
    {0, "strict", NULL, "a warning is an error"},
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT,
    OPTION_LUA_DIR,
    OPTION_SERVERS,
    OPTION_HELP,
    OPTION_VERSION,
};
const size_t cli_check_options_n = ARRAY_LEN(cli_check_options);

/* ---- their values ---- */

static bool is_sip(const char *text, struct uri *out_r)
{
	return scan_uri(str_from(text), out_r) && out_r->is_sip;
}

bool cli_uri(const char *what, const char *text, struct uri *out_r, char *why,
	     size_t n)
{
	char longer[512];

	if (is_sip(text, out_r))
		return true;
	/* "10.0.0.1:5060" is what people write first. */
	snprintf(longer, sizeof(longer), "sip:%s", text);
	if (is_sip(longer, out_r) && !str_starts(str_from(text), STR("tel:")))
		snprintf(why, n, "%s'%s' is no SIP URI; did you mean %s?", what,
			 text, longer);
	else
		snprintf(why, n, "%s'%s' is no SIP URI, such as sip:10.0.0.1",
			 what, text);
	return false;
}

bool cli_seconds(const char *option, const char *value, double *out_r,
		 char *why, size_t n)
{
	char *end;
	double seconds = strtod(value, &end);

	if (*value && !*end && isfinite(seconds) && seconds > 0 &&
	    seconds <= 86400) {
		*out_r = seconds;
		return true;
	}
	snprintf(why, n, "--%s is a number of seconds, not '%s'", option,
		 value);
	return false;
}

bool cli_log_level(const char *value, int *out_r, char *why, size_t n)
{
	*out_r = log_level_parse(str_from(value));
	if (*out_r < 0)
		snprintf(why, n,
			 "--log-level is error, warn, info or debug, not '%s'",
			 value);
	return *out_r >= 0;
}

typedef bool setter(struct cli *c, const char *value, char *why, size_t n);

static bool set_log_level(struct cli *c, const char *value, char *why, size_t n)
{
	return cli_log_level(value, &c->conf.log_level, why, n);
}

static bool set_log_format(struct cli *c, const char *value, char *why,
			   size_t n)
{
	c->conf.json = strcmp(value, "json") == 0;
	if (c->conf.json || strcmp(value, "logfmt") == 0 ||
	    strcmp(value, "auto") == 0)
		return true;
	snprintf(why, n, "--log-format is auto, logfmt or json, not '%s'",
		 value);
	return false;
}

static bool add_listener(struct cli *c, const char *value, char *why, size_t n)
{
	const char *wrong = "too many";
	struct listener l;

	if (c->conf.listens < LISTENER_MAX &&
	    listener_parse(str_from(value), &l, &wrong)) {
		if (l.transport != TRANSPORT_TLS) {
			c->listen[c->conf.listens] = value;
			c->conf.listen[c->conf.listens++] = l;
			return true;
		}
		wrong = "needs a certificate: write it into the script: "
			"sip.listen { { \"tls:...\", cert = ..., key = ... } }";
	}
	snprintf(why, n, "--listen %s: %s", value, wrong);
	return false;
}

static bool set_workers(struct cli *c, const char *value, char *why, size_t n)
{
	uint32_t workers;

	if (str_u32(str_from(value), NODE_MAX_WORKERS, &workers) && workers) {
		c->conf.workers = workers;
		return true;
	}
	snprintf(why, n, "--workers is a number from 1 to %d, not '%s'",
		 NODE_MAX_WORKERS, value);
	return false;
}

static bool add_server(struct cli *c, const char *value, char *why, size_t n)
{
	if (strstr(value, ".lua") && !strchr(value, ':')) {
		snprintf(why, n,
			 "unexpected argument '%s'; did you mean -c %s?", value,
			 value);
		return false;
	}
	if (c->servers == CLI_SERVERS) {
		snprintf(why, n, "more than %d servers: write a script",
			 CLI_SERVERS);
		return false;
	}
	c->server[c->servers++] = value;
	return true;
}

static bool set_config(struct cli *c, const char *value, char *why, size_t n)
{
	(void)why;
	(void)n;
	c->conf.script = value;
	c->conf.advice = NULL;
	c->has_config = true;
	return true;
}

static bool set_lua_dir(struct cli *c, const char *value, char *why, size_t n)
{
	(void)why;
	(void)n;
	c->conf.lua_dir = value;
	return true;
}

/* An empty name would be an address that the system chooses, for anybody. */
static bool set_ctl(struct cli *c, const char *value, char *why, size_t n)
{
	c->conf.ctl = value;
	if (!*value)
		snprintf(why, n, "--ctl is the path of a socket, or none");
	return *value != '\0';
}

static bool set_http(struct cli *c, const char *value, char *why, size_t n)
{
	if (addr_parse(str_from(value), &c->conf.http) && c->conf.http.port)
		return true;
	snprintf(why, n, "--http is IP:PORT, as 127.0.0.1:9091, not '%s'",
		 value);
	return false;
}

static bool set_http_token(struct cli *c, const char *value, char *why,
			   size_t n)
{
	(void)why;
	(void)n;
	c->conf.http_token = value;
	return true;
}

static bool set_dump(struct cli *c, const char *value, char *why, size_t n)
{
	c->dump = !value || strcmp(value, "json") == 0;
	if (!c->dump)
		snprintf(why, n, "--dump writes json, not '%s'", value);
	return c->dump;
}

static bool set_switch(struct cli *c, const char *name)
{
	if (strcmp(name, "help") == 0)
		c->help = true;
	else if (strcmp(name, "version") == 0)
		c->version++;
	else if (strcmp(name, "strict") == 0)
		c->strict = true;
	return true;
}

static bool on_option(void *ctx, const char *name, const char *value, char *why,
		      size_t n)
{
	static const struct {
		const char *name;
		setter *set;
	} setters[] = {
	    {"", add_server},
	    {"ctl", set_ctl},
	    {"http", set_http},
	    {"http-token", set_http_token},
	    {"config", set_config},
	    {"dump", set_dump},
	    {"listen", add_listener},
	    {"log-format", set_log_format},
	    {"log-level", set_log_level},
	    {"lua-dir", set_lua_dir},
	    {"workers", set_workers},
	};
	struct cli *c = ctx;

	for (size_t i = 0; i < ARRAY_LEN(setters); i++)
		if (strcmp(name, setters[i].name) == 0)
			return setters[i].set(c, value, why, n);
	return set_switch(c, name);
}

/* ---- all of it ---- */

/* Servers become a script, in which the listeners are declared. */
static bool make_script(struct cli *c, char *why, size_t n)
{
	if (c->has_config) {
		snprintf(why, n,
			 "'%s' and -c exclude each other: add the server to a "
			 "pool of %s, or leave out -c",
			 c->server[0], c->conf.script);
		return false;
	}
	c->script = builtin_servers(c->server, c->servers, c->listen,
				    c->conf.listens, why, n);
	c->conf.script = "command line";
	c->conf.text = c->script;
	c->conf.listens = 0;
	return c->script != NULL;
}

bool cli_parse(struct cli *c, const struct args_option *options,
	       size_t n_options, int argc, char *const *argv, char *why,
	       size_t n)
{
	*c = (struct cli){
	    .conf = {.script = CLI_SCRIPT,
		     .advice = "; name a script (-c FILE), or servers "
			       "(tandem sip:10.0.0.1 sip:10.0.0.2), or begin "
			       "with 'tandem init DIR'",
		     .lua_dir = getenv("TANDEM_LUA"),
		     .log_level = -1},
	};
	if (!args_parse(options, n_options, argc, argv, on_option, c, why, n))
		return false;
	if (c->help || c->version)
		return true;
	if (c->conf.http_token && c->conf.http.family == ADDR_NONE) {
		snprintf(why, n,
			 "--http-token is for --http IP:PORT, which is not "
			 "there");
		return false;
	}
	return !c->servers || make_script(c, why, n);
}

void cli_fini(struct cli *c)
{
	free(c->script);
	c->script = NULL;
}
