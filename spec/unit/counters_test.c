/* What is told apart of the responses, so that nobody outside makes labels. */
#include "support/unit.h"
#include "util/counters.h"

#include <string.h>

static struct counters c;

TEST(responses_are_counted_by_code_or_by_class)
{
	memset(&c, 0, sizeof(c));
	count_response(&c, 1, 200);
	count_response(&c, 1, 200);
	count_response(&c, 1, 299); /* no RFC has it */
	count_response(&c, 1, 250);
	count_response(&c, 2, 200);
	count_response(&c, 1, 699);
	count_response(&c, 1, 100);
	count_response(&c, 1, 99); /* none of SIP */
	count_response(&c, 1, 700);
	CHECK_INT(counters_responses(&c, 1, 200), 2);
	CHECK_INT(counters_responses(&c, 2, 200), 1);
	CHECK_INT(counters_responses(&c, 1, 2), 2);
	CHECK_INT(counters_responses(&c, 1, 6), 1);
	CHECK_INT(counters_responses(&c, 1, 100), 1);
	CHECK_INT(counters_responses(&c, 1, 1), 0);
}

TEST(all_responses_are_in_one_of_the_codes)
{
	uint64_t sum = 0;
	unsigned code, n = 0, last = 0;

	memset(&c, 0, sizeof(c));
	for (int i = 100; i < 700; i++)
		count_response(&c, 3, i);
	for (; (code = counters_code(n)) > 0; n++) {
		CHECK(code > last);
		last = code;
		sum += counters_responses(&c, 3, code);
	}
	CHECK_INT(sum, 600);
	CHECK(n < 100); /* series of one method */
}

TEST(messages_are_counted_by_transport)
{
	memset(&c, 0, sizeof(c));
	count_message(&c, CNT_SENT_REQUEST, 2);
	CHECK_INT(c.v[CNT_SENT_REQUEST_TLS], 1);
	CHECK(strcmp(counter_info(CNT_SENT_REQUEST_TLS)->label,
		     "transport=tls,direction=out,kind=request") == 0);
}
