/*
 * Command lines: commands with options, told apart by a table, so that usage,
 * help and suggestions come from one place.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>

/* An option without `value` is a switch. One with an empty name stands for
 * words that are no options; a command without it takes none. */
struct args_option {
	char letter;       /* 0: only the long form */
	const char *name;  /* without "--" */
	const char *value; /* what follows it, for help: "FILE"; "[=json]" need
			    * not be there, and only follows '=' */
	const char *help;
};

/* Told every option, with its value or NULL. False: the value is wrong; the
 * explanation is in why[n]. */
typedef bool args_fn(void *ctx, const char *name, const char *value, char *why,
		     size_t n);

/* Reads all of argv[0..argc). "-c FILE", "-cFILE", "--config FILE",
 * "--config=FILE"; after "--" all are words. False with an explanation, and a
 * suggestion, in why[n]. */
bool args_parse(const struct args_option *options, size_t n_options, int argc,
		char *const *argv, args_fn *fn, void *ctx, char *why, size_t n);
void args_help(const struct args_option *options, size_t n_options);
/* The word of the list that is most like this one, NULL when none is. */
const char *args_closest(const char *word, const char *const *list, size_t n);

#endif
