#include "control/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/control_int.h"

struct str keys_show(struct sipkey key, struct key_text *space)
{
	snprintf(space->s, sizeof(space->s), "%08" PRIx32,
		 sipkey_fingerprint(key));
	return str_from(space->s);
}

int keys_try(struct control *c)
{
	const char *path = c->plan->key_file;
	struct sipkeys keys;
	int err;

	if (!path || keyfile_judge(path))
		return EXIT_FINE;
	err = keyfile_read(path, &keys, c->why, CONTROL_WHY);
	explicit_bzero(&keys, sizeof(keys));
	if (err == EINVAL)
		return EXIT_CONFIG;
	c->why[0] = '\0';
	return EXIT_FINE;
}

static bool same_keys(const struct sipkeys *a, const struct sipkeys *b)
{
	return sipkey_eq(a->now, b->now) && a->has_other == b->has_other &&
	       (!a->has_other || sipkey_eq(a->other, b->other));
}

static void log_change(struct control *c, const struct sipkeys *keys)
{
	struct key_text now, other;
	struct log_field f[] = {
	    LOGF_STR("signs", keys_show(keys->now, &now)),
	    LOGF_STR("verifies", keys_show(keys->other, &other)),
	};
	struct log_event e = {LOG_INFO, "key.changed", f,
			      keys->has_other ? ARRAY_LEN(f)
					      : ARRAY_LEN(f) - 1};

	logsink_write(c->log, &e);
}

void keys_use(struct control *c, const struct sipkeys *keys)
{
	struct sipkey before = c->node->keys.now;
	struct key_text space;

	if (same_keys(&c->node->keys, keys))
		return;
	node_set_keys(c->node, keys);
	log_change(c, keys);
	if (!sipkeys_have(keys, before))
		logsink_say(
		    c->log, LOG_WARN, "key.dropped",
		    LOGF_STR("key", keys_show(before, &space)),
		    LOGF_STR("hint",
			     STR("it signed until now: calls that are up and "
				 "phones that are registered are not known "
				 "any more; make it the second line of the "
				 "key file")));
}
