/*
 * Intrusive doubly linked list with a head node. A zeroed node is not linked.
 * The list owns nothing.
 */
#ifndef UTIL_LIST_H
#define UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

#define container_of(ptr, type, member)                                        \
	((type *)((char *)(ptr)-offsetof(type, member)))
#define list_each(it, head)                                                    \
	for (struct list *it = (head)->next; it != (head); it = it->next)
/* The current node may be removed (and freed) in the body. */
#define list_each_safe(it, head)                                               \
	for (struct list *it = (head)->next, *it##_next = it->next;            \
	     it != (head); it = it##_next, it##_next = it->next)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline void list_init(struct list *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline bool list_linked(const struct list *node)
{
	return node->next != NULL;
}

static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Unlinking a node that is not linked does nothing. */
static inline void list_remove(struct list *node)
{
	if (!node->next)
		return;
	node->prev->next = node->next;
	node->next->prev = node->prev;
	node->next = node->prev = NULL;
}

static inline struct list *list_first(const struct list *head)
{
	return head->next == head ? NULL : head->next;
}

#endif
