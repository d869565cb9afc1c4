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

static bool make_key(char *p, size_t n, uint8_t key_r[KEY_BYTES])
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	while (n && isspace((unsigned char)p[n - 1]))
		n--;
	decode_hex(p, &n);
	if (n < KEY_BYTES)
		return false;
	if (n == KEY_BYTES)
		memcpy(key_r, p, n);
	else if (EVP_Digest(p, n, digest, NULL, EVP_sha256(), NULL))
		memcpy(key_r, digest, KEY_BYTES);
	else
		return false;
	OPENSSL_cleanse(digest, sizeof(digest));
	return true;
}

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

static int read_key(const char *path, uint8_t key_r[KEY_BYTES], char *why,
		    size_t n)
{
	char text[FILE_MAX];
	struct stat st;
	const char *wrong;
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
	wrong = judge(&st);
	len = wrong ? 0 : read(fd, text, sizeof(text));
	close(fd);
	if (!wrong && (len < 0 || !make_key(text, (size_t)len, key_r)))
		wrong = "holds no key: at least 32 hexadecimal digits or 16 "
			"bytes are needed";
	OPENSSL_cleanse(text, sizeof(text));
	if (!wrong)
		return 0;
	snprintf(why, n, "the key file %s %s", path, wrong);
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

static int state_key(const char *state_dir, uint8_t key_r[KEY_BYTES], char *why,
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
	return err ? err : read_key(path, key_r, why, n);
}

int keyfile_get(const char *key_file, const char *state_dir,
		uint8_t key_r[KEY_BYTES], enum key_origin *origin_r, char *why,
		size_t n)
{
	if (key_file) {
		*origin_r = KEY_FILE;
		return read_key(key_file, key_r, why, n);
	}
	if (state_dir) {
		*origin_r = KEY_STATE;
		return state_key(state_dir, key_r, why, n);
	}
	*origin_r = KEY_TEMPORARY;
	keyfile_random(key_r, KEY_BYTES);
	return 0;
}
