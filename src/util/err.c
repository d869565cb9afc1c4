#include "util/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *err_text(int err)
{
	switch (err) {
	case ERR_OK:
		return "no error";
#define X(name, value, text)                                                   \
	case name:                                                             \
		return text;
		ERR_LIST(X)
#undef X
	default:
		return "unknown error";
	}
}

int reason_set(const struct reason *why, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, why->n, fmt, args);
	va_end(args);
	return err;
}
