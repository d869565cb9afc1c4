/*
 * Intrusive doubly linked list whose head is one pointer to its first node:
 * NULL is empty, so that an array of heads begins as zeroes and may be copied.
 * util/list.h is for all else: there a node finds its way out without its head.
 * The list owns nothing.
 */
#ifndef UTIL_CHAIN_H
#define UTIL_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

struct chain {
	struct chain *next, *prev; /* NULL: the last, the first */
};

/* It becomes the first. Whatever was in the node is overwritten. */
static inline void chain_prepend(struct chain **head, struct chain *node)
{
	node->prev = NULL;
	node->next = *head;
	if (*head)
		(*head)->prev = node;
	*head = node;
}

/* The node has to be in the list of this head, and keeps its pointers. */
static inline void chain_remove(struct chain **head, struct chain *node)
{
	if (node->prev)
		node->prev->next = node->next;
	else
		*head = node->next;
	if (node->next)
		node->next->prev = node->prev;
}

/* The node is in a list: the only one there. */
static inline bool chain_is_alone(const struct chain *node)
{
	return !node->next && !node->prev;
}

#endif
