#include "cli/builtin.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "message/scan.h"
#include "util/err.h"

/* ---- text ---- */

void builtin_begin(struct builtin *b, const char *name)
{
	*b = (struct builtin){.out = NULL};
	b->out = open_memstream(&b->text, &b->n);
	if (b->out)
		fprintf(b->out, "require \"tandem.built_in.%s\" {", name);
}

/* Bytes that mean something to Lua, and all that are no ASCII, as \ddd. */
static void put_quoted(FILE *out, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	putc('"', out);
	for (; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
			fprintf(out, "\\%03u", *p);
		else
			putc(*p, out);
	putc('"', out);
}

void builtin_str(struct builtin *b, const char *key, const char *value)
{
	if (!b->out || !value)
		return;
	fprintf(b->out, "%s=", key);
	put_quoted(b->out, value);
	putc(',', b->out);
}

void builtin_number(struct builtin *b, const char *key, double value)
{
	if (b->out)
		fprintf(b->out, "%s=%.17g,", key, value);
}

void builtin_list(struct builtin *b, const char *key, const char *const *value,
		  size_t n)
{
	if (!b->out)
		return;
	fprintf(b->out, "%s={", key);
	for (size_t i = 0; i < n; i++) {
		put_quoted(b->out, value[i]);
		putc(',', b->out);
	}
	fputs("},", b->out);
}

char *builtin_end(struct builtin *b)
{
	bool ok;

	if (!b->out)
		return NULL;
	fputs("}\n", b->out);
	ok = !ferror(b->out);
	ok = fclose(b->out) == 0 && ok;
	if (ok)
		return b->text;
	free(b->text);
	return NULL;
}

/* ---- servers ---- */

/* Always false. */
static bool __attribute__((format(printf, 3, 4)))
say(char *why, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, n, fmt, ap);
	va_end(ap);
	return false;
}

static bool needs_tls(const struct uri *u)
{
	struct str name;

	return u->is_sips || (scan_param(u->params, STR("transport"), &name) &&
			      str_caseeq(name, STR("tls")));
}

static bool check_server(const char *text, char *why, size_t n)
{
	struct uri u;

	if (!cli_uri("server ", text, &u, why, n))
		return false;
	return !needs_tls(&u) ||
	       say(why, n,
		   "server '%s': TLS needs a listener with a certificate: "
		   "write a script, see sip.listen",
		   text);
}

char *builtin_servers(const char *const *uri, size_t n,
		      const char *const *listen, size_t listens, char *why,
		      size_t why_n)
{
	struct builtin b;
	char *text;

	for (size_t i = 0; i < n; i++) {
		if (!check_server(uri[i], why, why_n))
			return NULL;
		for (size_t j = 0; j < i; j++) {
			if (strcmp(uri[i], uri[j]) != 0)
				continue;
			say(why, why_n, "server '%s' is there twice", uri[i]);
			return NULL;
		}
	}
	builtin_begin(&b, "servers");
	builtin_list(&b, "listen", listen, listens);
	builtin_list(&b, "servers", uri, n);
	text = builtin_end(&b);
	if (!text)
		say(why, why_n, "%s", err_text(ERR_NOMEM));
	return text;
}
