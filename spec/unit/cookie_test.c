/* Record-Route cookies: who may have made one, and which way a request goes. */
#include <string.h>
#include "proxy/cookie.h"
#include "support/unit.h"

static const struct sipkeys OLD = {.now = {1, 2}};
static const struct sipkeys ADDED = {
    .now = {1, 2}, .other = {3, 4}, .has_other = true};
static const struct sipkeys SWAPPED = {
    .now = {3, 4}, .other = {1, 2}, .has_other = true};
static const struct sipkeys NEW = {.now = {3, 4}};

static struct str make(const struct sipkeys *keys)
{
	static char text[COOKIE_LEN];

	cookie_write(text, keys->now, STR("call"), STR("caller"), COOKIE_CALLEE,
		     77);
	return (struct str){text, COOKIE_LEN};
}

static bool reads(const struct sipkeys *keys, struct str text,
		  const char *call_id, const char *from, const char *to,
		  struct cookie *out_r)
{
	return cookie_read(text, keys, str_from(call_id), str_from(from),
			   str_from(to), out_r);
}

TEST(a_cookie_gives_member_side_and_direction)
{
	struct str text = make(&OLD);
	struct cookie c;

	CHECK(reads(&OLD, text, "call", "caller", "callee", &c));
	CHECK(c.from_caller);
	CHECK_INT(c.side, COOKIE_CALLEE);
	CHECK(c.id == 77);
	CHECK(reads(&OLD, text, "call", "callee", "caller", &c));
	CHECK(!c.from_caller);
}

TEST(a_cookie_belongs_to_its_call)
{
	struct str text = make(&OLD);
	struct cookie c;

	CHECK(!reads(&OLD, text, "other", "caller", "callee", &c));
	CHECK(!reads(&OLD, text, "call", "x", "y", &c));
	CHECK(!reads(&OLD, text, "call", "x", "", &c));
	CHECK(!reads(&OLD, text, "call", "", "", &c));
	CHECK(!reads(&OLD, str_sub(text, 0, 33), "call", "caller", "", &c));
	CHECK(!reads(&NEW, text, "call", "caller", "callee", &c));
}

TEST(no_character_of_a_cookie_may_change)
{
	struct str text = make(&ADDED);
	char copy[COOKIE_LEN];
	struct cookie c;

	for (size_t i = 0; i < COOKIE_LEN; i++) {
		memcpy(copy, text.p, COOKIE_LEN);
		copy[i] = copy[i] == '0' ? '1' : '0';
		CHECK(!reads(&ADDED, (struct str){copy, COOKIE_LEN}, "call",
			     "caller", "callee", &c));
	}
	memcpy(copy, text.p, COOKIE_LEN);
	copy[1] = COOKIE_CALLER;
	CHECK(!reads(&ADDED, (struct str){copy, COOKIE_LEN}, "call", "caller",
		     "callee", &c));
}

/* Nodes at neighbouring steps of a rotation read what the other wrote. */
TEST(either_key_is_believed)
{
	static const struct sipkeys *const step[] = {&OLD, &ADDED, &SWAPPED,
						     &NEW};
	struct cookie c;

	for (int signer = 0; signer < 4; signer++)
		for (int i = 0; i < 4; i++) {
			bool known = sipkeys_have(step[i], step[signer]->now);

			CHECK_INT(reads(step[i], make(step[signer]), "call",
					"callee", "caller", &c),
				  known);
			CHECK(!known || !c.from_caller);
			CHECK(known || i - signer > 1 || signer - i > 1);
		}
}
