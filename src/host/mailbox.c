#include "host/mailbox.h"

#include <stdlib.h>
#include <string.h>

void mailbox_init(struct mailbox *m)
{
	pthread_mutex_init(&m->lock, NULL);
	list_init(&m->list);
	m->n = 0;
	m->lost = 0;
}

void mailbox_fini(struct mailbox *m)
{
	struct list left;

	mailbox_take(m, &left);
	list_each_safe (it, &left)
		free(container_of(it, struct letter, link));
	pthread_mutex_destroy(&m->lock);
}

static struct str append(char **at, struct str s)
{
	struct str copy = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

static struct letter *letter_new(const struct post *post)
{
	/* Whom a client has proved to be goes along with what it sent. */
	const char *name = post->from.tls_name;
	struct str who = {name, name ? strlen(name) + 1 : 0};
	struct letter *l =
	    malloc(sizeof(*l) + who.n + post->topic.n + post->bytes.n);
	char *at;

	if (!l)
		return NULL;
	at = l->bytes;
	l->post = *post;
	l->post.from.tls_name = name ? append(&at, who).p : NULL;
	l->post.topic = append(&at, post->topic);
	l->post.bytes = append(&at, post->bytes);
	return l;
}

bool mailbox_put(struct mailbox *m, const struct post *post)
{
	struct letter *l = letter_new(post);
	bool was_empty;

	pthread_mutex_lock(&m->lock);
	was_empty = m->n == 0;
	if (!l || m->n >= MAILBOX_MAX) {
		m->lost++;
		was_empty = false;
	} else {
		list_append(&m->list, &l->link);
		m->n++;
		l = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	free(l);
	return was_empty;
}

void mailbox_take(struct mailbox *m, struct list *out)
{
	list_init(out);
	pthread_mutex_lock(&m->lock);
	while (!list_empty(&m->list)) {
		struct list *first = list_first(&m->list);

		list_remove(first);
		list_append(out, first);
	}
	m->n = 0;
	pthread_mutex_unlock(&m->lock);
}
