/*
 * The parts of the production host that need neither loop nor sockets.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/errqueue.h> /* needs <time.h> before it */

#include "cli/args.h"
#include "cli/builtin.h"
#include "host/files.h"
#include "host/icmp.h"
#include "host/keyfile.h"
#include "host/logsink.h"
#include "host/mailbox.h"
#include "host/source.h"
#include "support/unit.h"

/* ---- a directory of the test ---- */

struct box {
	char dir[64], path[128];
};

static void make_place(struct box *p)
{
	strcpy(p->dir, "/tmp/tandem-unit-XXXXXX");
	CHECK(mkdtemp(p->dir) != NULL);
}

static const char *in(struct box *p, const char *name)
{
	snprintf(p->path, sizeof(p->path), "%s/%s", p->dir, name);
	return p->path;
}

static const char *put(struct box *p, const char *name, const char *text,
		       mode_t mode)
{
	FILE *f = fopen(in(p, name), "w");

	CHECK(f != NULL);
	fputs(text, f);
	CHECK(fclose(f) == 0 && chmod(p->path, mode) == 0);
	return p->path;
}

static void clear(struct box *p)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", p->dir);
	CHECK_INT(system(command), 0);
}

/* ---- causes ---- */

static enum cause told(uint8_t origin, int err)
{
	struct sock_extended_err e = {.ee_origin = origin,
				      .ee_errno = (uint32_t)err};

	return icmp_cause(&e);
}

/* RFC 3261 18.4. */
TEST(icmp_is_a_cause)
{
	CHECK_INT(told(SO_EE_ORIGIN_ICMP, ECONNREFUSED), CAUSE_ICMP_PORT);
	CHECK_INT(told(SO_EE_ORIGIN_ICMP, EHOSTUNREACH), CAUSE_ICMP_HOST);
	CHECK_INT(told(SO_EE_ORIGIN_ICMP, ENETUNREACH), CAUSE_ICMP_NET);
	CHECK_INT(told(SO_EE_ORIGIN_ICMP6, ECONNREFUSED), CAUSE_ICMP_PORT);
	CHECK_INT(told(SO_EE_ORIGIN_ICMP6, EACCES), CAUSE_ICMP_HOST);
	/* "Fragmentation needed" is no death, and what the send call reported
	 * is not told twice. */
	CHECK_INT(told(SO_EE_ORIGIN_ICMP, EMSGSIZE), CAUSE_NONE);
	CHECK_INT(told(SO_EE_ORIGIN_LOCAL, ECONNREFUSED), CAUSE_NONE);
}

TEST(send_error_is_a_cause)
{
	CHECK_INT(icmp_send_cause(EMSGSIZE, true), CAUSE_TOO_BIG);
	CHECK_INT(icmp_send_cause(EADDRNOTAVAIL, true), CAUSE_NO_SOURCE);
	CHECK_INT(icmp_send_cause(ENETUNREACH, false), CAUSE_NO_SOURCE);
	CHECK_INT(icmp_send_cause(ENETUNREACH, true), CAUSE_ICMP_NET);
	CHECK_INT(icmp_send_cause(EPERM, true), CAUSE_ICMP_HOST);
	CHECK(icmp_may_be_stale(ECONNREFUSED));
	CHECK(!icmp_may_be_stale(EAGAIN));
	CHECK(!icmp_may_be_stale(EPERM));
}

/* ---- own addresses ---- */

TEST(source_is_the_listener_or_the_route)
{
	struct listeners ls = {.n = 3};
	struct source *s = source_new(&ls);
	struct addr to, from;

	CHECK(addr_parse(STR("127.0.0.1:5060"), &ls.l[0].addr));
	CHECK(addr_parse(STR("0.0.0.0:5070"), &ls.l[1].addr));
	CHECK(addr_parse(STR("192.0.2.77:5080"), &ls.l[2].addr));
	CHECK_INT(source_refresh(s), 4); /* the third is elsewhere */
	CHECK_INT(source_refresh(s), 0); /* still */
	CHECK(source_has(s, 0) && source_has(s, 1) && !source_has(s, 2));
	CHECK(ls.owns > 0);
	CHECK(addr_parse(STR("127.0.0.9:99"), &to));
	CHECK(source_find(s, 0, &to, &from) && addr_eq(&from, &ls.l[0].addr));
	for (int cached = 0; cached < 2; cached++) {
		CHECK(source_find(s, 1, &to, &from));
		CHECK(addr_ip_eq(&from, &ls.l[0].addr));
		CHECK_INT(from.port, 5070);
	}
	CHECK(!source_find(s, 2, &to, &from));
	CHECK(!source_find(s, 3, &to, &from));
	CHECK(addr_parse(STR("[::1]:99"), &to)); /* not of this family */
	CHECK(!source_find(s, 1, &to, &from));
	source_free(&s);
}

/* ---- the command line ---- */

static bool note_option(void *ctx, const char *name, const char *value,
			char *why, size_t n)
{
	char *out = ctx;
	size_t used = strlen(out);

	(void)why;
	(void)n;
	snprintf(out + used, 128 - used, "%s=%s;", name, value ? value : "");
	return true;
}

/* "config=x;dump=;" or the complaint. */
static void check_args(const char *a, const char *b, const char *want)
{
	static const struct args_option options[] = {
	    {'c', "config", "FILE", ""},
	    {'d', "dump", NULL, ""},
	};
	char *argv[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
	char out[128] = "", why[128];
	bool ok = args_parse(options, 2, b ? 2 : 1, argv, note_option, out, why,
			     sizeof(why));

	CHECK_INT(strcmp(ok ? out : why, want), 0);
}

TEST(options_have_many_forms)
{
	check_args("-c", "x", "config=x;");
	check_args("-cx", NULL, "config=x;");
	check_args("-dcx", NULL, "dump=;config=x;");
	check_args("--config", "x", "config=x;");
	check_args("--config=x", "--dump", "config=x;dump=;");
	check_args("-c", "--dump", "config=--dump;");
}

TEST(wrong_options_get_advice)
{
	check_args("--confg", "x",
		   "unknown option --confg; did you mean --config?");
	check_args("--nothing", NULL, "unknown option --nothing");
	check_args("-x", NULL, "unknown option -x");
	check_args("-c", NULL, "--config needs a value: --config FILE");
	check_args("--dump=1", NULL, "--dump takes no value");
	check_args("a.lua", NULL,
		   "unexpected argument 'a.lua'; did you mean -c a.lua?");
	check_args("-", NULL, "unexpected argument '-'");
	check_args("--", NULL, "unexpected argument '--'");
}

/* "config=x;=word;" */
static void check_words(const char *a, const char *b, const char *want)
{
	static const struct args_option options[] = {
	    {'c', "config", "FILE", ""},
	    {0, "dump", "[=json]", ""},
	    {0, "", "WORD", ""},
	};
	char *argv[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
	char out[128] = "", why[128];
	bool ok =
	    args_parse(options, 3, 2, argv, note_option, out, why, sizeof(why));

	CHECK_INT(strcmp(ok ? out : why, want), 0);
}

TEST(words_are_taken_where_they_are_wanted)
{
	check_words("sip:a", "-cx", "=sip:a;config=x;");
	check_words("--", "-c", "=-c;");
	check_words("-", "x", "=-;=x;");
	check_words("--dump", "x", "dump=;=x;");
	check_words("--dump=json", "x", "dump=json;=x;");
	check_words("x", "--confg",
		    "unknown option --confg; did you mean --config?");
}

/* ---- files ---- */

static bool find(struct files *f, const char *name, const char *want)
{
	struct loader l = files_loader(f);
	char *bytes, shown[256];
	size_t n;

	if (!l.load(l.ctx, name, true, &bytes, &n, shown, sizeof(shown)))
		return false;
	CHECK_INT(strcmp(shown + strlen(f->dir) + 1, want), 0);
	free(bytes);
	return true;
}

TEST(a_script_may_be_a_text)
{
	struct box p;
	struct files f;
	struct loader l;
	char why[256], shown[64], *bytes = NULL;
	size_t n = 0;

	make_place(&p);
	CHECK(mkdir(in(&p, "tandem"), 0700) == 0);
	put(&p, "tandem/init.lua", "", 0600);
	CHECK_INT(files_init_text(&f, "command line", "return 1", p.dir,
				  "/nowhere", why, sizeof(why)),
		  0);
	l = files_loader(&f);
	CHECK(l.load(l.ctx, "command line", false, &bytes, &n, shown,
		     sizeof(shown)));
	CHECK_INT(n, 8);
	CHECK_INT(strcmp(bytes, "return 1"), 0);
	CHECK_INT(strcmp(shown, "command line"), 0);
	free(bytes);
	CHECK(!l.load(l.ctx, "other", false, &bytes, &n, shown, sizeof(shown)));
	clear(&p);
}

/* ---- scripts of the command line ---- */

TEST(words_of_the_command_line_are_data_in_a_script)
{
	static const char *const words[] = {"a\"]]\\ \n", "\xc3\xa4"};
	struct builtin b;
	char *text;

	builtin_begin(&b, "x");
	builtin_str(&b, "none", NULL);
	builtin_str(&b, "s", "--[[");
	builtin_number(&b, "t", 0.5);
	builtin_list(&b, "l", words, 2);
	text = builtin_end(&b);
	CHECK(text && strcmp(text, "require \"tandem.built_in.x\" "
				   "{s=\"--[[\",t=0.5,l={"
				   "\"a\\034]]\\092 \\010\","
				   "\"\\195\\164\",},}\n") == 0);
	free(text);
}

static void refuse_servers(const char *a, const char *b, const char *want)
{
	const char *const servers[] = {a, b};
	char why[256] = "";
	char *text = builtin_servers(servers, 2, NULL, 0, why, sizeof(why));

	CHECK(!text);
	CHECK_INT(strcmp(why, want), 0);
	free(text);
}

TEST(servers_of_the_command_line_are_refused_by_name)
{
	refuse_servers("sip:a", "sip:a", "server 'sip:a' is there twice");
	refuse_servers("sip:a", "b.example",
		       "server 'b.example' is no SIP URI; did you mean "
		       "sip:b.example?");
	refuse_servers("tel:1", "sip:a",
		       "server 'tel:1' is no SIP URI, such as sip:10.0.0.1");
	refuse_servers("sip:a", "sips:b",
		       "server 'sips:b': TLS needs a listener with a "
		       "certificate: write a script, see sip.listen");
}

TEST(modules_are_found_in_their_places_only)
{
	struct box p;
	struct files f;
	char why[256], script[128], dir[64];

	make_place(&p);
	CHECK(mkdir(in(&p, "tandem"), 0700) == 0);
	CHECK(mkdir(in(&p, "lua"), 0700) == 0);
	CHECK(mkdir(in(&p, "lua/tandem"), 0700) == 0);
	put(&p, "tandem/init.lua", "", 0600);
	put(&p, "lua/tandem/mine.lua", "", 0600);
	put(&p, "lua/own.lua", "", 0600);
	put(&p, "near.lua", "", 0600);
	strcpy(script, put(&p, "route.lua", "x", 0600));
	strcpy(dir, p.dir);
	CHECK_INT(files_init(&f, script, dir, "/nowhere", why, sizeof(why)), 0);
	CHECK(find(&f, "tandem", "tandem/init.lua"));
	CHECK(find(&f, "own", "lua/own.lua"));
	CHECK(find(&f, "near", "near.lua"));
	CHECK(!find(&f, "tandem.mine", "")); /* ours are not the script's */
	CHECK(!find(&f, "..near", ""));
	CHECK(!find(&f, "lua..own", ""));
	CHECK(!find(&f, "lua/own", ""));
	CHECK(!find(&f, "", ""));
	CHECK(files_init(&f, script, "/nowhere", dir, why, sizeof(why)) != 0);
	CHECK(strstr(why, "--lua-dir"));
	clear(&p);
}

/* ---- the key ---- */

static int get_key(const char *file, const char *dir, struct sipkeys *keys,
		   char why[256])
{
	enum key_origin origin;

	return keyfile_get(file, dir, keys, &origin, why, 256);
}

/* What is read of a file that holds these bytes; or why it is not. */
static bool read_bytes(struct box *p, const char *bytes, size_t n,
		       struct sipkeys *keys, char why[256])
{
	FILE *f;

	in(p, "key");
	unlink(p->path);
	f = fopen(p->path, "w");
	CHECK(f && fwrite(bytes, 1, n, f) == n);
	fclose(f);
	CHECK_INT(chmod(p->path, 0400), 0);
	return keyfile_read(p->path, keys, why, 256) == 0;
}

static bool read_text(struct box *p, const char *text, struct sipkeys *keys,
		      char why[256])
{
	return read_bytes(p, text, strlen(text), keys, why);
}

static struct sipkey raw(const char *bytes)
{
	return sipkey_load((const uint8_t *)bytes);
}

#define HEX "000102030405060708090A0b0c0d0e0f"
#define HEX_BYTES                                                              \
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"

TEST(key_files_hold_hexadecimal_or_bytes)
{
	struct sipkeys keys;
	struct box p;
	char why[256];

	make_place(&p);
	CHECK(read_text(&p, HEX "\n", &keys, why));
	CHECK(sipkey_eq(keys.now, raw(HEX_BYTES)));
	CHECK(!keys.has_other);
	CHECK(read_text(&p, "sixteen bytes...", &keys, why));
	CHECK(sipkey_eq(keys.now, raw("sixteen bytes...")));
	CHECK(read_text(&p, "correct horse battery staple", &keys, why));
	CHECK(!sipkey_eq(keys.now, raw("correct horse battery staple")));
	CHECK(!read_text(&p, "too short\n\n\n\n\n\n\n\n\n\n\n", &keys, why));
	CHECK(strstr(why, "line 1 holds no key"));
	CHECK(!read_text(&p, "0011223344556677", &keys, why)); /* 8 bytes */
	CHECK(!read_text(&p, "", &keys, why));
	CHECK(strstr(why, "holds no key"));
	put(&p, "k5", "sixteen bytes...", 0440);
	CHECK(get_key(p.path, NULL, &keys, why) != 0);
	CHECK(strstr(why, "chmod 600"));
	CHECK(get_key(in(&p, "none"), NULL, &keys, why) != 0);
	clear(&p);
}

/* What is no text is one key, whatever is in it. */
TEST(key_files_may_be_binary)
{
	static const char lines[] =
	    "\x80 first line of it\nand the second one\n";
	static const char nul[] = "0123456789\n\0abcdefghij";
	struct sipkeys keys, same;
	struct box p;
	char why[256];

	make_place(&p);
	CHECK(read_bytes(&p, HEX_BYTES, 16, &keys, why));
	CHECK(sipkey_eq(keys.now, raw(HEX_BYTES)));
	CHECK(read_bytes(&p, HEX_BYTES "\n", 17, &keys, why));
	CHECK(sipkey_eq(keys.now, raw(HEX_BYTES)));
	/* one that ends in white space by chance */
	CHECK(read_bytes(&p, "\x01 fourteen more\n", 16, &keys, why));
	CHECK(sipkey_eq(keys.now, raw("\x01 fourteen more\n")));
	CHECK(read_bytes(&p, lines, sizeof(lines) - 1, &keys, why));
	CHECK(!keys.has_other);
	CHECK(read_bytes(&p, lines, sizeof(lines) - 2, &same, why));
	CHECK(sipkey_eq(keys.now, same.now));
	CHECK(read_bytes(&p, nul, sizeof(nul) - 1, &keys, why));
	CHECK(!keys.has_other);
	CHECK(!read_bytes(&p, "\x01\x02", 2, &keys, why));
	clear(&p);
}

TEST(key_files_hold_two_keys)
{
	struct sipkeys keys;
	struct box p;
	char why[256];

	make_place(&p);
	CHECK(read_text(&p, "sixteen bytes...\n" HEX "\n", &keys, why));
	CHECK(sipkey_eq(keys.now, raw("sixteen bytes...")));
	CHECK(keys.has_other);
	CHECK(sipkey_eq(keys.other, raw(HEX_BYTES)));
	CHECK(read_text(&p,
			"# of May\r\n\r\n" HEX "  \r\n\n#old:\n"
			"sixteen bytes...",
			&keys, why));
	CHECK(sipkey_eq(keys.now, raw(HEX_BYTES)));
	CHECK(sipkey_eq(keys.other, raw("sixteen bytes...")));
	/* UTF-8 is text */
	CHECK(
	    read_text(&p, "zw\xc3\xb6lf Boxk\xc3\xa4mpfer\n" HEX, &keys, why));
	CHECK(keys.has_other);
	CHECK(sipkey_eq(keys.other, raw(HEX_BYTES)));
	/* one after two */
	CHECK(read_text(&p, HEX, &keys, why));
	CHECK(!keys.has_other);
	clear(&p);
}

TEST(key_files_say_which_line_is_wrong)
{
	static const char *const bad[][2] = {
	    {HEX "\nshort\n", "line 2 holds no key"},
	    {HEX "\n\n# so\n" HEX "\n", "line 4 repeats the key above"},
	    {HEX "\nsixteen bytes...\nseventeen bytes..",
	     "line 3 is one key too "
	     "many"},
	    {HEX "\n " HEX, "line 2 begins with white space"},
	    {"# the key goes here\n", "holds no key"},
	};
	struct sipkeys keys;
	struct box p;
	char why[256], *big = calloc(1, 5001);

	make_place(&p);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		CHECK(!read_text(&p, bad[i][0], &keys, why));
		CHECK(strstr(why, bad[i][1]));
		CHECK(strstr(why, p.path));
	}
	memset(big, '#', 5000);
	CHECK(!read_text(&p, big, &keys, why));
	CHECK(strstr(why, "is too long"));
	free(big);
	clear(&p);
}

TEST(fingerprints_tell_keys_apart)
{
	struct sipkeys keys = {.now = raw(HEX_BYTES), .other = {0, 1}};

	/* the same on every machine */
	CHECK_INT(sipkey_fingerprint(raw(HEX_BYTES)), 0x8a5e9be9);
	CHECK(sipkey_fingerprint(raw("sixteen bytes...")) !=
	      sipkey_fingerprint(raw(HEX_BYTES)));
	CHECK(sipkeys_have(&keys, raw(HEX_BYTES)));
	CHECK(!sipkeys_have(&keys, (struct sipkey){0, 1}));
	keys.has_other = true;
	CHECK(sipkeys_have(&keys, (struct sipkey){0, 1}));
	CHECK(!sipkeys_have(&keys, (struct sipkey){1, 0}));
}

TEST(state_directory_keeps_its_key)
{
	struct sipkeys first, second;
	struct box p;
	struct stat st;
	char why[256], dir[128];

	make_place(&p);
	strcpy(dir, in(&p, "state"));
	CHECK_INT(get_key(NULL, dir, &first, why), 0);
	CHECK_INT(get_key(NULL, dir, &second, why), 0);
	CHECK(sipkey_eq(first.now, second.now));
	CHECK(stat(in(&p, "state/key"), &st) == 0);
	CHECK_INT(st.st_mode & 0777, 0400);
	CHECK_INT(get_key(NULL, NULL, &second, why), 0); /* a temporary one */
	CHECK(!sipkey_eq(first.now, second.now));
	CHECK(!second.has_other);
	clear(&p);
}

/* ---- mail ---- */

struct mail {
	struct outbox out;
	struct mailbox box;
	char text[32];
	struct post post;
};

static void mail_setup(struct mail *m)
{
	memset(m, 0, sizeof(*m));
	mailbox_init(&m->box);
	CHECK_INT(outbox_init(&m->out, 2), 0);
	strcpy(m->text, "hello");
	m->post = (struct post){
	    .kind = POST_SCRIPT, .topic = STR("topic"), .bytes = {m->text, 5}};
}

static void mail_fini(struct mail *m)
{
	mailbox_fini(&m->box);
	outbox_fini(&m->out);
}

static bool mail_put(struct mail *m)
{
	return outbox_put(&m->out, 1, &m->box, &m->post);
}

/* How many messages there are; they are numbered by `cause`. */
static int read_all(struct mail *m)
{
	struct parcel *p = mailbox_take(&m->box);
	const struct post *post;
	int n = 0;

	for (; p; p = mailbox_return(&m->box, p))
		for (size_t at = 0; (post = parcel_next(p, &at)); n++)
			CHECK_INT(post->cause, n);
	return n;
}

TEST(mail_wakes_who_sleeps_once)
{
	struct mail m;

	mail_setup(&m);
	CHECK(mail_put(&m));
	CHECK(!outbox_send(&m.out, 1, &m.box)); /* will look before it sleeps */
	CHECK(!mailbox_sleep(&m.box));          /* and finds it */
	CHECK_INT(read_all(&m), 1);
	CHECK(mailbox_sleep(&m.box));
	CHECK(mailbox_sleep(&m.box)); /* twice is once */
	CHECK(mailbox_take(&m.box) == NULL);
	CHECK(!outbox_send(&m.out, 1, &m.box)); /* nothing */
	CHECK(mail_put(&m));
	CHECK(outbox_send(&m.out, 1, &m.box));
	m.post.cause = 1;
	CHECK(mail_put(&m));
	CHECK(!outbox_send(&m.out, 1, &m.box)); /* has been woken */
	CHECK_INT(read_all(&m), 2);
	CHECK(mailbox_sleep(&m.box));
	mailbox_wake(&m.box); /* by something else */
	mailbox_wake(&m.box);
	m.post.cause = 0;
	CHECK(mail_put(&m));
	CHECK(!outbox_send(&m.out, 1, &m.box));
	mailbox_wake(&m.box); /* takes nothing away */
	CHECK_INT(read_all(&m), 1);
	mail_fini(&m);
}

TEST(mail_is_a_copy)
{
	char name[] = "a.example";
	const struct post *post;
	struct parcel *p;
	struct mail m;
	size_t at = 0;

	mail_setup(&m);
	m.post.from.tls_name = name;
	for (int i = 0; i < 2; i++) {
		CHECK(mail_put(&m));
		outbox_send(&m.out, 1, &m.box);
	}
	memset(m.text, 'x', 5);
	memset(name, 'x', 9);
	p = mailbox_take(&m.box);
	post = parcel_next(p, &at);
	CHECK_STR(post->topic, "topic");
	CHECK_STR(post->bytes, "hello");
	CHECK_STR(str_from(post->from.tls_name), "a.example");
	CHECK(parcel_next(p, &at) == NULL);
	p = mailbox_return(&m.box, p);
	CHECK(mailbox_return(&m.box, p) == NULL);
	CHECK(mailbox_take(&m.box) == NULL);
	mail_fini(&m);
}

TEST(mail_keeps_its_order_over_parcels_and_batches)
{
	struct mail m;
	char *big = calloc(1, 60000);

	mail_setup(&m);
	CHECK(mailbox_sleep(&m.box));
	for (int i = 0; i < 3000; i++) {
		m.post.cause = i;
		/* larger than a parcel; what follows goes after it */
		m.post.bytes = i % 100 ? (struct str){m.text, 5}
				       : (struct str){big, 60000};
		CHECK(mail_put(&m));
		if (i % 700 == 0)
			CHECK_INT(outbox_send(&m.out, 1, &m.box), i == 0);
	}
	CHECK(!outbox_send(&m.out, 1, &m.box));
	CHECK_INT(read_all(&m), 3000);
	CHECK_INT(m.box.bytes, 0);
	free(big);
	mail_fini(&m);
}

TEST(mail_that_is_repeated_is_lost_first)
{
	enum { SIZE = 65535 };
	char *big = calloc(1, SIZE);
	struct mail m;

	mail_setup(&m);
	m.post.kind = POST_DATAGRAM;
	m.post.bytes = (struct str){big, SIZE};
	while (mail_put(&m)) {
		m.post.cause++;
		outbox_send(&m.out, 1, &m.box);
	}
	CHECK(m.post.cause > MAILBOX_DATAGRAMS / (SIZE + 1024));
	CHECK(m.post.cause < MAILBOX_DATAGRAMS / SIZE + 1);
	m.post.from.transport = TRANSPORT_TCP;
	CHECK(mail_put(&m)); /* nobody would send it again */
	m.post.cause++;
	m.post.kind = POST_SCRIPT;
	m.post.from.transport = TRANSPORT_UDP;
	CHECK(mail_put(&m));
	m.post.cause++;
	outbox_send(&m.out, 1, &m.box);
	CHECK_INT(read_all(&m), m.post.cause);
	m.post.kind = POST_DATAGRAM;
	m.post.cause = 0;
	CHECK(mail_put(&m)); /* there is room again */
	free(big);
	mail_fini(&m);
}

static void count_letters(void *ctx, const struct parcel *p)
{
	for (size_t at = 0; parcel_next(p, &at);)
		++*(int *)ctx;
}

static bool send_one(struct mail *m)
{
	CHECK(mail_put(m));
	return outbox_send(&m->out, 1, &m->box);
}

/* What has come while there was some left wakes nobody: its owner does not
 * sleep before it has looked again. */
TEST(mail_that_is_left_hides_none_that_has_come)
{
	struct parcel *left = NULL;
	struct mail m;
	int n = 0;

	mail_setup(&m);
	CHECK(mailbox_sleep(&m.box));
	for (int i = 0; i < 6; i++)
		CHECK_INT(send_one(&m), i == 0);
	CHECK(mailbox_some(&m.box, &left, 3, count_letters, &n));
	CHECK_INT(n, 3);
	CHECK(!send_one(&m)); /* the box is empty, three are left */
	CHECK(mailbox_some(&m.box, &left, 3, count_letters, &n));
	CHECK_INT(n, 6);
	CHECK(left == NULL);
	CHECK(!mailbox_some(&m.box, &left, 3, count_letters, &n));
	CHECK_INT(n, 7);
	CHECK(!send_one(&m)); /* after the last look */
	CHECK(!mailbox_sleep(&m.box));
	CHECK(!mailbox_some(&m.box, &left, 3, count_letters, &n));
	CHECK_INT(n, 8);
	CHECK(mailbox_sleep(&m.box));
	CHECK(send_one(&m));
	mail_fini(&m);
}

struct sender {
	struct outbox out;
	struct mailbox *box;
	sem_t *wake;
	int number, letters, wakes;
};

static void send_all(struct sender *s)
{
	if (outbox_send(&s->out, 0, s->box)) {
		s->wakes++;
		sem_post(s->wake);
	}
}

static void *send_many(void *arg)
{
	struct sender *s = arg;
	struct post post = {.kind = POST_SCRIPT,
			    .from.listener = (uint16_t)s->number,
			    .bytes = STR("hello")};

	for (int i = 0; i < s->letters; i++) {
		post.cause = i;
		CHECK(outbox_put(&s->out, 0, s->box, &post));
		if (i % 5 == 4)
			send_all(s);
	}
	send_all(s);
	return NULL;
}

/* Of each sender everything comes, in order, and the owner of the box is
 * woken exactly as often as it slept. */
TEST(mail_of_many_threads)
{
	enum { SENDERS = 3, LETTERS = 100000 };
	struct sender s[SENDERS];
	int next[SENDERS] = {0}, left = SENDERS * LETTERS, slept = 0;
	pthread_t thread[SENDERS];
	struct mailbox box;
	sem_t wake;

	mailbox_init(&box);
	sem_init(&wake, 0, 0);
	for (int i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){.box = &box,
				       .wake = &wake,
				       .number = i,
				       .letters = LETTERS};
		CHECK_INT(outbox_init(&s[i].out, 1), 0);
		pthread_create(&thread[i], NULL, send_many, &s[i]);
	}
	while (left > 0) {
		struct parcel *p = mailbox_take(&box);

		if (!p && mailbox_sleep(&box)) {
			slept++;
			sem_wait(&wake);
		}
		while (p) {
			const struct post *post;
			size_t at = 0;

			for (; (post = parcel_next(p, &at)); left--) {
				int who = post->from.listener;

				CHECK_INT(post->cause, next[who]++);
			}
			p = mailbox_return(&box, p);
		}
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(thread[i], NULL);
		slept -= s[i].wakes;
	}
	CHECK_INT(slept, 0);
	mailbox_fini(&box);
	sem_destroy(&wake);
	for (int i = 0; i < SENDERS; i++)
		outbox_fini(&s[i].out);
}

/* ---- the log ---- */

TEST(log_drops_rather_than_waits)
{
	enum { LINES = 20000 };
	struct logsink *s;
	char line[512];
	int64_t kept = 0, dropped = 0;
	int fd[2];
	FILE *f;

	CHECK(pipe(fd) == 0); /* holds 64 kB, and nobody reads yet */
	s = logsink_new(fd[1], false, LOG_INFO);
	for (int i = 0; i < LINES; i++)
		logsink_say(s, LOG_INFO, "line", LOGF_INT("i", i));
	logsink_say(s, LOG_DEBUG, "unseen", LOGF_INT("i", 1));
	f = fdopen(fd[0], "r");
	while (!dropped && fgets(line, sizeof(line), f)) {
		const char *lines = strstr(line, "event=log.dropped lines=");

		CHECK(!strncmp(line, "ts=", 3) && strchr(line, '\n'));
		if (lines)
			dropped = atoi(lines + 24);
		else
			kept++;
	}
	CHECK_INT(kept + dropped, LINES);
	logsink_free(&s);
	close(fd[1]);
	CHECK(!fgets(line, sizeof(line), f));
	fclose(f);
}
