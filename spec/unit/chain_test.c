#include "util/chain.h"

#include <string.h>

#include "support/unit.h"

enum { MOST = 5 };

/* What is in the list, read from the first and back from the last: "3 1 2". */
static void check_is(struct chain *head, const struct chain *node,
		     const char *expected)
{
	char forth[4 * MOST] = "", back[4 * MOST] = "";
	struct chain *last = NULL;
	size_t n = 0;

	for (struct chain *it = head; it; last = it, it = it->next)
		forth[n++] = (char)('0' + (it - node));
	CHECK(strcmp(forth, expected) == 0);
	for (struct chain *it = last; it; it = it->prev)
		back[--n] = (char)('0' + (it - node));
	CHECK(strcmp(back, expected) == 0);
}

TEST(chain_has_the_newest_first)
{
	struct chain *head = NULL, node[MOST];

	check_is(head, node, "");
	for (int i = 0; i < MOST; i++)
		chain_prepend(&head, &node[i]);
	check_is(head, node, "43210");
}

TEST(chain_loses_its_first_its_last_and_one_between)
{
	struct chain *head = NULL, node[MOST];

	for (int i = 0; i < MOST; i++)
		chain_prepend(&head, &node[i]);
	chain_remove(&head, &node[4]);
	check_is(head, node, "3210");
	chain_remove(&head, &node[0]);
	check_is(head, node, "321");
	chain_remove(&head, &node[2]);
	check_is(head, node, "31");
	chain_prepend(&head, &node[2]); /* comes back */
	check_is(head, node, "231");
	CHECK(!chain_is_alone(&node[2]));
	CHECK(!chain_is_alone(&node[3]));
	CHECK(!chain_is_alone(&node[1]));
	chain_remove(&head, &node[2]);
	chain_remove(&head, &node[1]);
	CHECK(chain_is_alone(&node[3]));
	chain_remove(&head, &node[3]);
	CHECK(head == NULL);
}

TEST(chain_may_have_another_head)
{
	struct chain *head = NULL, *other, node[2];

	chain_prepend(&head, &node[0]);
	chain_prepend(&head, &node[1]);
	other = head;
	chain_remove(&other, &node[1]);
	check_is(other, node, "0");
}
