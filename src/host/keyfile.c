#include "host/keyfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/str.h"

enum { FILE_MAX = 4096, PATH = 4096 };

void keyfile_random(void *bytes, size_t n)
{
	char *p = bytes;

	while (n) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort(); /* a kernel without it is older than C11 */
		p += got;
		n -= (size_t)got;
	}
}

/* ---- what is in it ---- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false when it is not hexadecimal. */
static bool decode_hex(char *p, size_t *n)
{
	if (*n % 2)
		return false;
	for (size_t i = 0; i < *n; i++)
		if (hex_value(p[i]) < 0)
			return false;
	for (size_t i = 0; i < *n / 2; i++)
		p[i] =
		    (char)(hex_value(p[2 * i]) << 4 | hex_value(p[2 * i + 1]));
	*n /= 2;
	return true;
}

/* 16 bytes are the key itself, more are digested. */
static bool make_key(const char *p, size_t n, struct sipkey *key_r)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (n < KEY_BYTES)
		return false;
	if (n == KEY_BYTES)
		memcpy(digest, p, n);
	else if (!EVP_Digest(p, n, digest, NULL, EVP_sha256(), NULL))
		return false;
	*key_r = sipkey_load(digest);
	OPENSSL_cleanse(digest, sizeof(digest));
	return true;
}

/* UTF-8 without control characters. Of random bytes 16 are in one of ten
 * million cases. */
static bool is_text(struct str s)
{
	while (s.n) {
		uint32_t code = 0;
		size_t n = str_utf8(s, &code);

		if (!n || code == 0x7f ||
		    (code < 0x20 && !isspace((unsigned char)code)))
			return false;
		s = str_sub(s, n, s.n);
	}
	return true;
}

/* For a message: where, and what is wrong there. */
struct fault {
	const char *what;
	unsigned line; /* 0: the whole file */
};

static const char too_short[] = "holds no key: at least 32 hexadecimal digits "
				"or 16 bytes are needed";

/* The n-th key, from 0, of a text. What is wrong with it, or NULL. */
static const char *take_key(char *p, size_t n, unsigned nth,
			    struct sipkeys *keys)
{
	struct sipkey *key = nth ? &keys->other : &keys->now;

	if (nth > 1)
		return "is one key too many: there are at most two";
	if (isspace((unsigned char)*p))
		return "begins with white space";
	decode_hex(p, &n);
	if (!make_key(p, n, key))
		return too_short;
	if (nth && sipkey_eq(keys->now, keys->other))
		return "repeats the key above";
	keys->has_other = nth > 0;
	return NULL;
}

/* One or two keys, each on a line of its own. */
static struct fault read_lines(char *text, size_t n, struct sipkeys *keys)
{
	struct fault f = {.line = 0};
	unsigned found = 0;
	char *end = text + n, *next;

	for (char *p = text; p < end; p = next + 1) {
		size_t len;

		f.line++;
		next = memchr(p, '\n', (size_t)(end - p));
		next = next ? next : end;
		len = (size_t)(next - p);
		while (len && isspace((unsigned char)p[len - 1]))
			len--;
		if (!len || *p == '#')
			continue;
		f.what = take_key(p, len, found++, keys);
		if (f.what)
			return f;
	}
	return (struct fault){.what = found ? NULL : too_short};
}

/* White space at the end does not count, except in exactly 16 bytes. */
static struct fault read_bytes(const char *text, size_t n, struct sipkeys *keys)
{
	while (n > KEY_BYTES && isspace((unsigned char)text[n - 1]))
		n--;
	return (struct fault){
	    .what = make_key(text, n, &keys->now) ? NULL : too_short};
}

static struct fault parse(char *text, size_t n, struct sipkeys *keys)
{
	*keys = (struct sipkeys){.has_other = false};
	if (!is_text((struct str){text, n}))
		return read_bytes(text, n < FILE_MAX ? n : FILE_MAX, keys);
	if (n > FILE_MAX)
		return (struct fault){.what = "is too long: 4096 bytes are the "
					      "most"};
	return read_lines(text, n, keys);
}

/* ---- the file ---- */

/* What is wrong with the file itself, or NULL. */
static const char *judge(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "is not a regular file";
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return "belongs to somebody else";
	if (st->st_mode & 07177)
		return "may be read by others: chmod 600 it";
	return NULL;
}

const char *keyfile_judge(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? judge(&st) : NULL;
}

static void say(const char *path, struct fault f, char *why, size_t n)
{
	if (f.line)
		snprintf(why, n, "the key file %s: line %u %s", path, f.line,
			 f.what);
	else
		snprintf(why, n, "the key file %s %s", path, f.what);
}

int keyfile_read(const char *path, struct sipkeys *keys_r, char *why, size_t n)
{
	char text[FILE_MAX + 1];
	struct fault f = {.line = 0};
	struct stat st;
	ssize_t len;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err = errno;
		snprintf(why, n, "cannot read the key file %s: %s", path,
			 strerror(err));
		if (fd >= 0)
			close(fd);
		return err;
	}
	f.what = judge(&st);
	len = f.what ? 0 : read(fd, text, sizeof(text));
	close(fd);
	if (!f.what)
		f = parse(text, len > 0 ? (size_t)len : 0, keys_r);
	OPENSSL_cleanse(text, sizeof(text));
	if (!f.what)
		return 0;
	say(path, f, why, n);
	return EINVAL;
}

static bool write_new(const char *path)
{
	uint8_t key[KEY_BYTES];
	char text[2 * KEY_BYTES + 2];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	bool ok;

	if (fd < 0)
		return false;
	keyfile_random(key, sizeof(key));
	for (size_t i = 0; i < KEY_BYTES; i++)
		snprintf(text + 2 * i, 4, "%02x\n", key[i]);
	ok = write(fd, text, 2 * KEY_BYTES + 1) == 2 * KEY_BYTES + 1 &&
	     fsync(fd) == 0;
	close(fd);
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(text, sizeof(text));
	return ok;
}

/* Makes the file whole or not at all; of two that try, one wins and both use
 * what it made. */
static int create_key(const char *path, char *why, size_t n)
{
	char tmp[PATH + 32];
	int err = 0;

	snprintf(tmp, sizeof(tmp), "%s.%ld", path, (long)getpid());
	unlink(tmp); /* of a process that died here */
	if (!write_new(tmp) || (link(tmp, path) < 0 && errno != EEXIST))
		err = errno;
	unlink(tmp);
	if (err)
		snprintf(why, n, "cannot make the key file %s: %s", path,
			 strerror(err));
	return err;
}

static int state_key(const char *state_dir, struct sipkeys *keys_r, char *why,
		     size_t n)
{
	char path[PATH];
	int err = 0;

	if (snprintf(path, sizeof(path), "%s/key", state_dir) >=
	    (int)sizeof(path)) {
		snprintf(why, n, "the name of the state directory is too long");
		return ENAMETOOLONG;
	}
	if (mkdir(state_dir, 0700) < 0 && errno != EEXIST) {
		err = errno;
		snprintf(why, n, "cannot make the state directory %s: %s",
			 state_dir, strerror(err));
		return err;
	}
	if (access(path, F_OK) < 0 && errno == ENOENT)
		err = create_key(path, why, n);
	return err ? err : keyfile_read(path, keys_r, why, n);
}

const char *keyfile_origin(enum key_origin origin)
{
	static const char *const name[] = {
	    [KEY_FILE] = "file",
	    [KEY_STATE] = "state_dir",
	    [KEY_TEMPORARY] = "temporary",
	};

	return name[origin];
}

int keyfile_get(const char *key_file, const char *state_dir,
		struct sipkeys *keys_r, enum key_origin *origin_r, char *why,
		size_t n)
{
	uint8_t key[KEY_BYTES];

	if (key_file) {
		*origin_r = KEY_FILE;
		return keyfile_read(key_file, keys_r, why, n);
	}
	if (state_dir) {
		*origin_r = KEY_STATE;
		return state_key(state_dir, keys_r, why, n);
	}
	*origin_r = KEY_TEMPORARY;
	keyfile_random(key, sizeof(key));
	*keys_r = (struct sipkeys){.now = sipkey_load(key)};
	OPENSSL_cleanse(key, sizeof(key));
	return 0;
}
