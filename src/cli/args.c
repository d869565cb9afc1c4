#include "cli/args.h"

#include <stdio.h>
#include <string.h>

enum { WORD = 32, NAMES = 32 };

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* How many letters must be changed, added or left out. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD + 1], n = strlen(b);

	if (n > WORD || strlen(a) > WORD)
		return WORD;
	for (size_t k = 0; k <= n; k++)
		row[k] = k;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= n; k++) {
			size_t up = row[k];

			row[k] = min3(up + 1, row[k - 1] + 1,
				      diagonal + (a[i - 1] != b[k - 1]));
			diagonal = up;
		}
	}
	return row[n];
}

const char *args_closest(const char *word, const char *const *list, size_t n)
{
	const char *best = NULL;
	size_t best_d = 3; /* two letters wrong may still be meant */

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, list[i]);

		/* What was meant is longer than what is wrong. */
		if (d < best_d && d < strlen(list[i])) {
			best = list[i];
			best_d = d;
		}
	}
	return best;
}

struct parser {
	const struct args_option *options;
	size_t n_options;
	int argc, at;
	char *const *argv;
	args_fn *fn;
	void *ctx;
	char *why;
	size_t n;
	bool only_words; /* "--" was there */
};

static bool is_optional(const struct args_option *o)
{
	return o->value && o->value[0] == '[';
}

static bool give(struct parser *p, const struct args_option *o,
		 const char *value)
{
	bool needs = o->value && !is_optional(o);

	if (needs && !value && p->at < p->argc)
		value = p->argv[p->at++];
	if (needs && !value) {
		snprintf(p->why, p->n, "--%s needs a value: --%s %s", o->name,
			 o->name, o->value);
		return false;
	}
	return p->fn(p->ctx, o->name, value, p->why, p->n);
}

static const struct args_option *find_name(const struct parser *p,
					   const char *name)
{
	for (size_t i = 0; i < p->n_options; i++)
		if (strcmp(p->options[i].name, name) == 0)
			return &p->options[i];
	return NULL;
}

static bool unknown_name(struct parser *p, const char *name)
{
	const char *names[NAMES], *like;
	size_t n = p->n_options < NAMES ? p->n_options : NAMES;

	for (size_t i = 0; i < n; i++)
		names[i] = p->options[i].name;
	like = args_closest(name, names, n);
	snprintf(p->why, p->n, "unknown option --%s%s%s%s", name,
		 like ? "; did you mean --" : "", like ? like : "",
		 like ? "?" : "");
	return false;
}

static bool parse_long(struct parser *p, const char *arg)
{
	const struct args_option *o;
	char name[2 * WORD];
	const char *equals = strchr(arg, '=');
	size_t len = equals ? (size_t)(equals - arg) : strlen(arg);

	if (len >= sizeof(name))
		len = sizeof(name) - 1;
	memcpy(name, arg, len);
	name[len] = '\0';
	o = find_name(p, name);
	if (!o)
		return unknown_name(p, name);
	if (!equals || o->value)
		return give(p, o, equals ? equals + 1 : NULL);
	snprintf(p->why, p->n, "--%s takes no value", name);
	return false;
}

/* "-abc": switches, the last may be an option with its value. */
static bool parse_letters(struct parser *p, const char *arg)
{
	for (; *arg; arg++) {
		const struct args_option *o = p->options;
		const struct args_option *end = o + p->n_options;

		while (o < end && o->letter != *arg)
			o++;
		if (o == end) {
			snprintf(p->why, p->n, "unknown option -%c", *arg);
			return false;
		}
		if (o->value && !is_optional(o))
			return give(p, o, arg[1] ? arg + 1 : NULL);
		if (!give(p, o, NULL))
			return false;
	}
	return true;
}

static bool parse_one(struct parser *p, const char *arg)
{
	bool is_option = arg[0] == '-' && arg[1] && !p->only_words;

	if (is_option && arg[1] == '-' && arg[2])
		return parse_long(p, arg + 2);
	if (is_option && arg[1] != '-')
		return parse_letters(p, arg + 1);
	if (find_name(p, "")) {
		if (!is_option)
			return p->fn(p->ctx, "", arg, p->why, p->n);
		p->only_words = true;
		return true;
	}
	snprintf(p->why, p->n, "unexpected argument '%s'%s%s%s", arg,
		 strstr(arg, ".lua") ? "; did you mean -c " : "",
		 strstr(arg, ".lua") ? arg : "",
		 strstr(arg, ".lua") ? "?" : "");
	return false;
}

bool args_parse(const struct args_option *options, size_t n_options, int argc,
		char *const *argv, args_fn *fn, void *ctx, char *why, size_t n)
{
	struct parser p = {options, n_options, argc, 0, argv,
			   fn,      ctx,       why,  n, false};

	while (p.at < argc)
		if (!parse_one(&p, argv[p.at++]))
			return false;
	return true;
}

void args_help(const struct args_option *options, size_t n_options)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct args_option *o = &options[i];
		char left[64];

		if (!*o->name)
			continue;
		snprintf(left, sizeof(left), "%c%c%c --%s%s%s",
			 o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			 o->letter ? ',' : ' ', o->name,
			 o->value && !is_optional(o) ? " " : "",
			 o->value ? o->value : "");
		printf("  %-26s %s\n", left, o->help);
	}
}
