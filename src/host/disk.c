#include "host/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PATH_ROOM = 4096,
	READ_MAX = 1 << 30, /* more is no file of ours */
};

static bool path_of(const char *dir, const char *name, const char *tail,
		    char out[PATH_ROOM])
{
	return snprintf(out, PATH_ROOM, "%s/%s%s", dir, name, tail) < PATH_ROOM;
}

static int write_all(int fd, struct str s)
{
	while (s.n > 0) {
		ssize_t done = write(fd, s.p, s.n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return errno;
		s.p += done;
		s.n -= (size_t)done;
	}
	return 0;
}

static int write_file(const char *path, const struct str *part, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = fd < 0 ? errno : 0;

	for (size_t i = 0; i < n && !err; i++)
		err = write_all(fd, part[i]);
	if (!err && fsync(fd) < 0)
		err = errno;
	if (fd >= 0 && close(fd) < 0 && !err)
		err = errno;
	return err;
}

/* The new name is on the disk, too. */
static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 ? errno : 0;

	if (!err && fsync(fd) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

int disk_replace(const char *dir, const char *name, const struct str *part,
		 size_t n)
{
	char path[PATH_ROOM], fresh[PATH_ROOM];
	int err;

	if (!path_of(dir, name, "", path) || !path_of(dir, name, ".new", fresh))
		return ENAMETOOLONG;
	err = write_file(fresh, part, n);
	if (!err && rename(fresh, path) < 0)
		err = errno;
	if (err) {
		unlink(fresh);
		return err;
	}
	return sync_dir(dir);
}

int disk_remove(const char *dir, const char *name)
{
	char path[PATH_ROOM];

	if (!path_of(dir, name, "", path))
		return ENAMETOOLONG;
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : errno;
	return sync_dir(dir);
}

int disk_set_aside(const char *dir, const char *name)
{
	char path[PATH_ROOM], aside[PATH_ROOM];

	if (!path_of(dir, name, "", path) ||
	    !path_of(dir, name, ".damaged", aside))
		return ENAMETOOLONG;
	return rename(path, aside) < 0 ? errno : 0;
}

static int read_fd(int fd, char **bytes_r, size_t *n_r)
{
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;

	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode) || st.st_size > READ_MAX)
		return EFBIG;
	*bytes_r = malloc((size_t)st.st_size + 1);
	if (!*bytes_r)
		return ENOMEM;
	while (n < (size_t)st.st_size && got > 0) {
		got = read(fd, *bytes_r + n, (size_t)st.st_size - n);
		if (got < 0)
			return errno;
		n += (size_t)got;
	}
	(*bytes_r)[n] = '\0';
	*n_r = n;
	return 0;
}

int disk_read(const char *dir, const char *name, char **bytes_r, size_t *n_r)
{
	char path[PATH_ROOM];
	int fd, err;

	*bytes_r = NULL;
	*n_r = 0;
	if (!path_of(dir, name, "", path))
		return ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	err = read_fd(fd, bytes_r, n_r);
	close(fd);
	if (err) {
		free(*bytes_r);
		*bytes_r = NULL;
	}
	return err;
}
