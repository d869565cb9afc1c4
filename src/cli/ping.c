#include "cli/ping.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/builtin.h"
#include "cli/cli.h"
#include "control/control_int.h"
#include "util/err.h"

enum {
	SECRET = 256,
	WHY = 256,
	/* What the script itself limits is over by then; seconds. */
	GRACE = 5,
};

const struct args_option ping_options[] = {
    {0, "register", NULL, "ask for the bindings of the user in the URI"},
    {0, "invite", NULL, "make a call; when it is answered, hang up"},
    {'t', "timeout", "SECONDS", "to the final answer (5)"},
    {'w', "warn", "SECONDS", "an answer that took longer is a warning"},
    {0, "expect", "CODES", "answers that are well: 200,404 (any 2xx)"},
    {'u', "user", "NAME", "who we are when we are asked for a password"},
    {0, "password-file", "FILE", "its first line is the password"},
    {0, "password-env", "NAME", "so is this environment variable"},
    {0, "from", "URI", "who calls (ourselves)"},
    {0, "ca", "FILE", "who vouches for the server (the system's CAs)"},
    {0, "cert", "FILE", "what we show when it asks for a certificate"},
    {0, "key", "FILE", "and its private key"},
    {0, "insecure", NULL, "believe any certificate"},
    {0, "dns", "IP[:PORT]", "the name server to ask (the system's)"},
    {'q', "quiet", NULL, "only the exit code"},
    {'L', "log-level", "LEVEL", "error, warn, info or debug (error)"},
    {0, "lua-dir", "DIR", "where tandem/init.lua is (or TANDEM_LUA)"},
    {0, "", "URI", ""},
    {'h', "help", NULL, "this text"},
};
const size_t ping_options_n = ARRAY_LEN(ping_options);

struct ping {
	const char *uri, *method, *user, *from, *expect, *dns;
	const char *ca, *cert, *key;
	const char *password_file, *password_env;
	const char *lua_dir;
	char password[SECRET];
	double timeout, warn;
	int log_level;
	bool insecure, quiet, help;
	/* From here on while it runs. */
	sem_t done;
	int code;
	char *text;    /* the worker's, malloc'd; NULL: nothing yet */
	char why[WHY]; /* there is no TLS */
};

/* ---- arguments ---- */

static bool set_text(struct ping *p, const char *name, const char *value)
{
	const struct {
		const char *name, **where;
	} texts[] = {
	    {"user", &p->user},
	    {"from", &p->from},
	    {"expect", &p->expect},
	    {"dns", &p->dns},
	    {"ca", &p->ca},
	    {"cert", &p->cert},
	    {"key", &p->key},
	    {"password-file", &p->password_file},
	    {"password-env", &p->password_env},
	    {"lua-dir", &p->lua_dir},
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (strcmp(name, texts[i].name) != 0)
			continue;
		*texts[i].where = value;
		return true;
	}
	return false;
}

static bool set_method(struct ping *p, const char *method, char *why, size_t n)
{
	if (!p->method) {
		p->method = method;
		return true;
	}
	snprintf(why, n, "--register and --invite exclude each other");
	return false;
}

static bool set_uri(struct ping *p, const char *value, char *why, size_t n)
{
	if (p->uri) {
		snprintf(why, n, "one URI, not '%s' as well", value);
		return false;
	}
	p->uri = value;
	return true;
}

static bool on_option(void *ctx, const char *name, const char *value, char *why,
		      size_t n)
{
	struct ping *p = ctx;

	if (!*name)
		return set_uri(p, value, why, n);
	if (strcmp(name, "register") == 0)
		return set_method(p, "REGISTER", why, n);
	if (strcmp(name, "invite") == 0)
		return set_method(p, "INVITE", why, n);
	if (strcmp(name, "timeout") == 0)
		return cli_seconds(name, value, &p->timeout, why, n);
	if (strcmp(name, "warn") == 0)
		return cli_seconds(name, value, &p->warn, why, n);
	if (strcmp(name, "log-level") == 0)
		return cli_log_level(value, &p->log_level, why, n);
	if (strcmp(name, "insecure") == 0)
		p->insecure = true;
	else if (strcmp(name, "quiet") == 0)
		p->quiet = true;
	else if (strcmp(name, "help") == 0)
		p->help = true;
	else
		return set_text(p, name, value);
	return true;
}

/* ---- the password ---- */

static bool take_password(struct ping *p, const char *text, char *why, size_t n)
{
	size_t len = strcspn(text, "\r\n");

	if (len && len < SECRET) {
		memcpy(p->password, text, len);
		p->password[len] = '\0';
		return true;
	}
	snprintf(why, n,
		 len ? "the password is too long" : "the password is empty");
	return false;
}

static bool read_password_file(struct ping *p, char *why, size_t n)
{
	char text[SECRET + 2] = "";
	int fd = open(p->password_file, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	bool ok = false;

	if (got < 0)
		snprintf(why, n, "cannot read %s: %s", p->password_file,
			 strerror(errno));
	else
		ok = take_password(p, text, why, n);
	if (fd >= 0)
		close(fd);
	explicit_bzero(text, sizeof(text));
	return ok;
}

static bool read_password(struct ping *p, char *why, size_t n)
{
	const char *text;

	if (p->password_file && p->password_env) {
		snprintf(why, n,
			 "--password-file and --password-env exclude each "
			 "other");
		return false;
	}
	if (p->password_file)
		return read_password_file(p, why, n);
	if (!p->password_env)
		return true;
	text = getenv(p->password_env);
	if (text)
		return take_password(p, text, why, n);
	snprintf(why, n, "there is no environment variable %s",
		 p->password_env);
	return false;
}

/* ---- do they fit together? ---- */

static bool is_code_list(const char *text)
{
	struct str list = str_from(text);
	uint32_t code;

	while (list.n)
		if (!str_u32(str_cut(&list, ','), 699, &code) || code < 200)
			return false;
	return *text && text[strlen(text) - 1] != ',';
}

static bool is_address(const char *text)
{
	struct addr a;

	return addr_parse(str_from(text), &a);
}

/* What is wrong, or NULL. */
static const char *find_wrong(const struct ping *p)
{
	bool has_password = p->password_file || p->password_env;

	if (!p->uri)
		return "a SIP URI is needed: tandem ping sip:10.0.0.1";
	if (has_password != (p->user != NULL))
		return "--user and a password (--password-file or "
		       "--password-env) go together";
	if (p->expect && !is_code_list(p->expect))
		return "--expect is a list of codes from 200 to 699, as "
		       "200,404";
	if (p->dns && !is_address(p->dns))
		return "--dns is an IP address, perhaps with a port";
	if ((p->cert == NULL) != (p->key == NULL))
		return "--cert and --key go together";
	if (p->ca && p->insecure)
		return "--ca and --insecure exclude each other";
	return NULL;
}

static bool check(struct ping *p, char *why, size_t n)
{
	const char *wrong = find_wrong(p);
	struct uri u;

	if (wrong)
		snprintf(why, n, "%s", wrong);
	if (wrong || (p->from && !cli_uri("--from ", p->from, &u, why, n)) ||
	    !cli_uri("", p->uri, &u, why, n) || !read_password(p, why, n))
		return false;
	if (!p->method)
		p->method = "OPTIONS";
	if (strcmp(p->method, "REGISTER") != 0 || u.user.n || p->user)
		return true;
	snprintf(why, n, "--register needs a user: sip:1000@%.*s",
		 (int)u.host.n, u.host.p);
	return false;
}

struct ping *ping_parse(int argc, char *const *argv, char *why, size_t n)
{
	struct ping *p = calloc(1, sizeof(*p));

	if (!p) {
		snprintf(why, n, "%s", err_text(ERR_NOMEM));
		return NULL;
	}
	p->timeout = 5;
	p->log_level = LOG_ERROR;
	p->lua_dir = getenv("TANDEM_LUA");
	if (!args_parse(ping_options, ping_options_n, argc, argv, on_option, p,
			why, n) ||
	    (!p->help && !check(p, why, n)))
		ping_free(&p);
	return p;
}

bool ping_wants_help(const struct ping *p)
{
	return p->help;
}

void ping_free(struct ping **pp)
{
	struct ping *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	explicit_bzero(p->password, sizeof(p->password));
	free(p->text);
	free(p);
}

/* ---- what the script says ---- */

/* The first word counts. */
static void on_quit(void *ctx, int code, struct str text)
{
	struct ping *p = ctx;

	if (p->text)
		return;
	p->text = strndup(text.p ? text.p : "", text.n);
	p->code = p->text ? code : PING_UNKNOWN;
	sem_post(&p->done);
}

static struct str field_of(const struct log_event *e, const char *key)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcmp(e->field[i].key, key) == 0 &&
		    e->field[i].type == LOG_STR && e->field[i].u.s.n)
			return e->field[i].u.s;
	return STR("");
}

/* Why there is no TLS is in words only here. */
static void on_event(void *ctx, const struct log_event *e)
{
	struct ping *p = ctx;

	if (strcmp(e->key, "flow.down") == 0 &&
	    str_starts(field_of(e, "cause"), STR("tls")))
		snprintf(p->why, WHY, "%.*s", (int)field_of(e, "why").n,
			 field_of(e, "why").p);
}

/* The line, with what is known besides before its figures. */
static void print(const struct ping *p)
{
	const char *figures = strstr(p->text, " | ");
	size_t n = figures ? (size_t)(figures - p->text) : strlen(p->text);
	bool more = p->code == PING_CRITICAL && p->why[0];

	if (p->quiet)
		return;
	for (const char *c = p->why; *c && more; c++)
		more = *c != '|' && *c != '\n';
	printf("%.*s%s%s%s\n", (int)n, p->text, more ? ": " : "",
	       more ? p->why : "", figures ? figures : "");
}

/* ---- running ---- */

static void add_listener(struct control_conf *conf, enum transport t,
			 const char *any)
{
	struct listener *l = &conf->listen[conf->listens++];

	l->transport = (uint8_t)t;
	addr_parse(str_from(any), &l->addr);
	l->addr.port = 0; /* any */
}

static bool has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Of every kind: names may lead to any of them. */
static void listen_everywhere(struct control_conf *conf)
{
	static const enum transport all[] = {TRANSPORT_UDP, TRANSPORT_TCP,
					     TRANSPORT_TLS};
	bool v6 = has_ipv6();

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		add_listener(conf, all[i], "0.0.0.0");
		if (v6)
			add_listener(conf, all[i], "[::]");
	}
}

static char *make_script(const struct ping *p)
{
	struct builtin b;

	builtin_begin(&b, "ping");
	builtin_str(&b, "uri", p->uri);
	builtin_str(&b, "method", p->method);
	builtin_number(&b, "timeout", p->timeout);
	if (p->warn > 0)
		builtin_number(&b, "warn", p->warn);
	builtin_str(&b, "expect", p->expect);
	builtin_str(&b, "user", p->user);
	builtin_str(&b, "password", p->user ? p->password : NULL);
	builtin_str(&b, "from", p->from);
	builtin_str(&b, "dns", p->dns);
	return builtin_end(&b);
}

static bool set_path(char path[TLS_PATH], const char *name)
{
	if (!name)
		return true;
	return snprintf(path, TLS_PATH, "%s", name) < TLS_PATH;
}

/* How whoever is no server of a pool is reached by TLS. */
static int set_tls(const struct ping *p, struct control *c)
{
	struct tls_conf *tls = &c->node->tls.c[0];

	tls->verify = !p->insecure;
	if (set_path(tls->ca, p->ca) && set_path(tls->cert, p->cert) &&
	    set_path(tls->key, p->key))
		return EXIT_FINE;
	snprintf(c->why, CONTROL_WHY, "the name of a file is too long");
	return EXIT_CONFIG;
}

static void wait_for_end(struct ping *p)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)p->timeout * 2 + GRACE;
	while (sem_clockwait(&p->done, CLOCK_MONOTONIC, &until) < 0 &&
	       errno == EINTR)
		;
}

static int ask(struct ping *p, struct control *c)
{
	int code;

	if ((code = startup_load(c)) != EXIT_FINE)
		return code;
	logsink_tap(c->log, on_event, p);
	if ((code = startup_load_others(c)) != EXIT_FINE ||
	    (code = startup_make_node(c)) != EXIT_FINE ||
	    (code = set_tls(p, c)) != EXIT_FINE ||
	    (code = startup_read_certs(c)) != EXIT_FINE ||
	    (code = startup_make_workers(c)) != EXIT_FINE ||
	    (code = startup_run_workers(c)) != EXIT_FINE)
		return code;
	wait_for_end(p);
	control_stop_workers(c, c->workers);
	if (p->text)
		return EXIT_FINE;
	snprintf(c->why, CONTROL_WHY, "there was no end to it");
	return EXIT_FAILED;
}

/* Without an answer there is a reason in c->why. */
static void take_reason(struct ping *p, const struct control *c)
{
	free(p->text);
	p->code = PING_UNKNOWN;
	if (asprintf(&p->text, "SIP UNKNOWN - %s", c->why) < 0)
		p->text = NULL;
}

int ping_run(struct ping *p, const char *lua_fallback)
{
	struct control_conf conf = {.script = "ping",
				    .lua_dir = p->lua_dir,
				    .lua_fallback = lua_fallback,
				    .version = "",
				    .workers = 1,
				    .log_level = p->log_level};
	char *script = make_script(p);
	struct control *c;

	signal(SIGPIPE, SIG_IGN);
	conf.text = script;
	listen_everywhere(&conf);
	c = script ? control_new(&conf) : NULL;
	sem_init(&p->done, 0, 0);
	p->code = PING_UNKNOWN;
	if (c) {
		c->quit = on_quit;
		c->quit_ctx = p;
		if (ask(p, c) != EXIT_FINE)
			take_reason(p, c);
		control_end(c, EXIT_FINE);
	}
	if (script)
		explicit_bzero(script, strlen(script));
	free(script);
	if (p->text)
		print(p);
	sem_destroy(&p->done);
	return p->code;
}
