#include "host/transitions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/unit.h"

static void note(struct transitions *t, const char *key, const char *to)
{
	struct log_field f[] = {LOGF_STR("pool", STR("pbx")),
				LOGF_STR("server", STR("a")),
				LOGF_STR("to", str_from(to))};
	struct log_event e = {LOG_DEBUG, key, f, 3};

	transitions_note(t, &e, (wall_t){0});
}

/* What is there since `since`, and it is as wanted. */
static void check(struct transitions *t, uint64_t since, const char *want)
{
	char *text = transitions_since(t, since);

	CHECK(text != NULL);
	if (strcmp(text, want) != 0)
		printf("got  %s\nwant %s\n", text, want);
	CHECK(strcmp(text, want) == 0);
	free(text);
}

#define LINE(seq, to)                                                          \
	"{\"seq\":" seq ",\"ts\":\"1970-01-01T00:00:00.000Z\","                \
	"\"level\":\"debug\",\"event\":\"server.health\",\"pool\":\"pbx\","    \
	"\"server\":\"a\",\"to\":\"" to "\"}"

TEST(transitions_have_numbers)
{
	struct transitions *t = transitions_new(NULL, NULL);

	check(t, 0, "{\"last\":0,\"events\":[]}");
	note(t, "server.health", "down");
	note(t, "request", "x");
	note(t, "server.health", "up");
	check(t, 0,
	      "{\"last\":2,\"events\":[" LINE("1", "down") "," LINE("2",
								    "up") "]}");
	check(t, 1, "{\"last\":2,\"events\":[" LINE("2", "up") "]}");
	check(t, 2, "{\"last\":2,\"events\":[]}");
	/* of a process before */
	check(t, 1000,
	      "{\"last\":2,\"events\":[" LINE("1", "down") "," LINE("2",
								    "up") "]}");
	check(t, UINT64_MAX,
	      "{\"last\":2,\"events\":[" LINE("1", "down") "," LINE("2",
								    "up") "]}");
	transitions_free(&t);
	CHECK(!t);
	transitions_free(&t);
}

TEST(the_kinds_of_transitions)
{
	static const char *const kinds[] = {
	    "server.health", "server.admin", "server.hold",     "pool.state",
	    "pool.tier",     "reload",       "config.rejected",
	};
	struct transitions *t = transitions_new(NULL, NULL);
	char *text;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		note(t, kinds[i], "x");
	note(t, "server.healthy", "x");
	note(t, "reload.begin", "x");
	note(t, "script", "x");
	text = transitions_since(t, 0);
	CHECK(strncmp(text, "{\"last\":7,", 10) == 0);
	free(text);
	transitions_free(&t);
}

TEST(the_oldest_are_forgotten)
{
	struct transitions *t = transitions_new(NULL, NULL);
	char *text;
	int lines = 0;

	for (int i = 0; i < TRANSITIONS_KEPT + 5; i++)
		note(t, "server.health", "up");
	text = transitions_since(t, 0);
	for (const char *p = text; (p = strstr(p, "\"seq\":")); p++)
		lines++;
	CHECK_INT(lines, TRANSITIONS_KEPT);
	CHECK(strstr(text, "[{\"seq\":6,") != NULL);
	CHECK(strstr(text, "{\"seq\":205,") != NULL);
	free(text);
	check(t, 204, "{\"last\":205,\"events\":[" LINE("205", "up") "]}");
	transitions_free(&t);
}

static void told(void *ctx, const struct transition *t)
{
	char *out = ctx;

	snprintf(out, 256, "%s %.*s %.*s %.*s %.*s %d", t->event,
		 STR_FMT(t->pool), STR_FMT(t->server), STR_FMT(t->from),
		 STR_FMT(t->to), t->json.p[0] == '{');
}

TEST(whoever_wants_is_told)
{
	char out[256] = "";
	struct transitions *t = transitions_new(told, out);

	note(t, "request", "x");
	CHECK_STR(str_from(out), "");
	note(t, "server.health", "down");
	CHECK_STR(str_from(out), "server.health pbx a  down 1");
	transitions_free(&t);
}

static void *many(void *arg)
{
	for (int i = 0; i < 500; i++)
		note(arg, "pool.tier", "1");
	return NULL;
}

TEST(several_threads)
{
	struct transitions *t = transitions_new(NULL, NULL);
	pthread_t thread[4];
	char *text;

	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&thread[i], NULL, many, t) == 0);
	for (int i = 0; i < 100; i++)
		free(transitions_since(t, 0));
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	text = transitions_since(t, 1999);
	CHECK(strncmp(text, "{\"last\":2000,\"events\":[{\"seq\":2000,", 35) ==
	      0);
	free(text);
	transitions_free(&t);
}

TEST(of_one_that_is_too_long_its_key_is_kept)
{
	static char reason[9000];
	struct transitions *t = transitions_new(NULL, NULL);
	struct log_field f[] = {
	    LOGF_STR("reason", ((struct str){reason, 9000}))};
	struct log_event e = {LOG_ERROR, "config.rejected", f, 1};

	memset(reason, 'x', sizeof(reason));
	transitions_note(t, &e, (wall_t){0});
	check(t, 0,
	      "{\"last\":1,\"events\":[{\"seq\":1,"
	      "\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"error\","
	      "\"event\":\"config.rejected\",\"truncated\":true}]}");
	transitions_free(&t);
}
