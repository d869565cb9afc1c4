/*
 * Scripts that are no files of the operator: one of lua/tandem/built_in, called
 * with options of the command line. This makes the text that is loaded; what it
 * means is in Lua.
 *
 *	builtin_begin(&b, "servers");
 *	builtin_list(&b, "servers", uri, n);
 *	text = builtin_end(&b);
 */
#ifndef CLI_BUILTIN_H
#define CLI_BUILTIN_H

#include <stddef.h>
#include <stdio.h>

struct builtin {
	FILE *out;
	char *text;
	size_t n;
};

void builtin_begin(struct builtin *b, const char *name);
/* Left out when it is NULL. Any bytes. */
void builtin_str(struct builtin *b, const char *key, const char *value);
void builtin_number(struct builtin *b, const char *key, double value);
void builtin_list(struct builtin *b, const char *key, const char *const *value,
		  size_t n);
/* malloc'd; NULL when memory ran out. */
char *builtin_end(struct builtin *b);

/* The script of `tandem SERVER...`: fails over between these, in this order.
 * `listen` as on the command line, none: the default. NULL with the reason,
 * which names the argument. */
char *builtin_servers(const char *const *uri, size_t n,
		      const char *const *listen, size_t listens, char *why,
		      size_t why_n);

#endif
