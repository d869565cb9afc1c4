/*
 * What the core says: an event is a level, a stable key ("server.health") and
 * typed fields. The host decides how it looks (logfmt, JSON, a Lua table) and
 * where it goes. Fields are borrowed until the call returns.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stddef.h>
#include <stdint.h>
#include "util/addr.h"
#include "util/buf.h"
#include "util/str.h"
#include "util/tick.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_type { LOG_STR, LOG_INT, LOG_NUM, LOG_ADDR, LOG_BOOL };

struct log_field {
	const char *key;
	enum log_type type;
	union {
		struct str s;
		int64_t i;
		double d;
		const struct addr *a;
	} u;
};

struct log_event {
	enum log_level level;
	const char *key;
	const struct log_field *field;
	size_t n;
};

#define LOGF_STR(k, v)                                                         \
	{                                                                      \
		(k), LOG_STR,                                                  \
		{                                                              \
			.s = (v)                                               \
		}                                                              \
	}
#define LOGF_INT(k, v)                                                         \
	{                                                                      \
		(k), LOG_INT,                                                  \
		{                                                              \
			.i = (v)                                               \
		}                                                              \
	}
#define LOGF_NUM(k, v)                                                         \
	{                                                                      \
		(k), LOG_NUM,                                                  \
		{                                                              \
			.d = (v)                                               \
		}                                                              \
	}
#define LOGF_ADDR(k, v)                                                        \
	{                                                                      \
		(k), LOG_ADDR,                                                 \
		{                                                              \
			.a = (v)                                               \
		}                                                              \
	}
#define LOGF_BOOL(k, v)                                                        \
	{                                                                      \
		(k), LOG_BOOL,                                                 \
		{                                                              \
			.i = (v)                                               \
		}                                                              \
	}

const char *log_level_name(enum log_level level);
int log_level_parse(struct str s); /* enum log_level, or -1 */
/* One line without the newline: ts=... level=... event=KEY k=v ... Values are
 * quoted when they need it and every control or non-ASCII byte is escaped:
 * text from the network cannot forge a line. Secrets (util/redact.h) in values
 * become "***", but in those of the events "script" and "script.print". */
void log_write_logfmt(struct buf *b, const struct log_event *e, wall_t ts);
/* The fields alone, as a JSON object. */
void log_write_fields(struct buf *b, const struct log_field *field, size_t n);
void log_write_json(struct buf *b, const struct log_event *e, wall_t ts);

#endif
