#include "control/review.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control/control_int.h"
#include "host/keyfile.h"

struct review {
	const struct control *c;
	unsigned long n;
};

static void __attribute__((format(printf, 2, 3)))
warn(struct review *r, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "tandem: %s: warning: ", r->c->conf->script);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	r->n++;
}

static bool is_public(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & S_IROTH);
}

/* The lines of a text, each ended by a newline. */
static bool next_line(struct str *text, struct str *line_r)
{
	if (!text->n)
		return false;
	*line_r = str_cut(text, '\n');
	return true;
}

static void say_findings(struct review *r, struct str text)
{
	struct str line;

	while (next_line(&text, &line))
		warn(r, "%.*s", (int)line.n, line.p);
}

static void judge_secrets(struct review *r, struct str text)
{
	char name[FILES_PATH], path[FILES_PATH];
	struct str line;

	while (next_line(&text, &line)) {
		snprintf(name, sizeof(name), "%.*s", (int)line.n, line.p);
		if (!line.n)
			snprintf(path, sizeof(path), "%s", r->c->conf->script);
		else if (!files_find(&r->c->files, name, path))
			continue;
		if (is_public(path))
			warn(r,
			     "%s holds a password and everybody may read it: "
			     "chmod o= %s",
			     path, path);
	}
}

static void judge_keys(struct review *r)
{
	const struct plan *p = r->c->plan;

	for (unsigned i = 0; i < p->listeners; i++) {
		const char *key = p->listener[i].tls.key;

		if (*key && is_public(key))
			warn(r,
			     "the private key %s may be read by everybody: "
			     "chmod o= %s",
			     key, key);
	}
	if (p->key_file && keyfile_judge(p->key_file))
		warn(r, "the key file %s %s", p->key_file,
		     keyfile_judge(p->key_file));
}

/* It is made at the start, but not what it is in. */
static void judge_state(struct review *r)
{
	const char *dir = r->c->plan->state_dir;
	char parent[FILES_PATH];
	struct stat st;
	char *slash;

	if (!dir)
		return;
	if (stat(dir, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			warn(r, "state_dir %s is no directory", dir);
		return;
	}
	snprintf(parent, sizeof(parent), "%s", dir);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return;
	*slash = '\0';
	if (stat(parent, &st) != 0)
		warn(r, "state_dir %s cannot be made: %s: %s", dir, parent,
		     strerror(errno));
}

unsigned long review_print(const struct control *c)
{
	struct review r = {.c = c};
	const struct plan *p = c->plan;

	if (c->conf->text)
		return 0;
	if (!p->listeners && !c->conf->listens)
		warn(&r, "no sip.listen: it runs with --listen only");
	if (p->findings)
		say_findings(&r, str_from(p->findings));
	if (p->secrets)
		judge_secrets(&r, str_from(p->secrets));
	judge_state(&r);
	judge_keys(&r);
	return r.n;
}
