#include "control/http_sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/buf.h"

enum {
	/* A UNIX socket whose queue is full refuses at once. */
	BACKLOG = 512,
	FLAGS = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC
};

static int failed(int fd, const char *where, const char *more, char *why,
		  size_t n)
{
	int err = errno;

	snprintf(why, n, "cannot listen on %s: %s%s", where, strerror(err),
		 more);
	if (fd >= 0)
		close(fd);
	errno = err;
	return -1;
}

/* Does anybody answer there? What a process left behind refuses. */
static bool is_served(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, FLAGS, 0);
	bool refused;

	if (fd < 0)
		return true;
	refused =
	    connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) != 0 &&
	    errno == ECONNREFUSED;
	close(fd);
	return !refused;
}

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

static const char *hint_of(int err, const char *path)
{
	if (err == ENOENT)
		return "; make its directory, or name another: --ctl PATH";
	if (err == EACCES)
		return "; name a path that this user may write: --ctl PATH";
	if (err == EADDRINUSE)
		return is_socket(path)
			   ? "; another proxy answers there: --ctl PATH"
			   : "; what is there is no socket: --ctl PATH";
	return "";
}

static const char *hint_of_tcp(int err)
{
	if (err == EADDRINUSE)
		return "; another program listens there: --http IP:PORT";
	if (err == EADDRNOTAVAIL)
		return "; this machine has no such address: --http IP:PORT";
	if (err == EACCES)
		return "; take a port from 1024 on: --http IP:PORT";
	return "";
}

/* Group members may use it, nobody else (0660). No other thread makes files
 * yet. */
static int bind_private(int fd, const struct sockaddr_un *sun)
{
	mode_t before = umask(S_IXUSR | S_IXGRP | S_IRWXO);
	int r = bind(fd, (const struct sockaddr *)sun, sizeof(*sun));
	int err = errno;

	umask(before);
	errno = err;
	return r;
}

int http_sock_unix(const char *path, char *why, size_t n)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		errno = ENAMETOOLONG;
		return failed(-1, path, "", why, n);
	}
	memcpy(sun.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, FLAGS, 0);
	if (fd < 0)
		return failed(fd, path, "", why, n);
	if (is_socket(path) && !is_served(&sun))
		unlink(path);
	if (bind_private(fd, &sun) != 0 || listen(fd, BACKLOG) != 0)
		return failed(fd, path, hint_of(errno, path), why, n);
	return fd;
}

int http_sock_tcp(const struct addr *a, char *why, size_t n)
{
	struct sockaddr_storage ss;
	char where[ADDR_TEXT + 8];
	struct buf b;
	int fd, one = 1;
	unsigned len = addr_to_sockaddr(a, (struct sockaddr *)&ss);

	buf_fixed(&b, where, sizeof(where));
	BUF_LIT(&b, "http ");
	addr_write(&b, a);
	buf_char(&b, '\0');
	fd = socket(ss.ss_family, FLAGS, 0);
	if (fd < 0)
		return failed(fd, where, "", why, n);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, len) != 0 ||
	    listen(fd, BACKLOG) != 0)
		return failed(fd, where, hint_of_tcp(errno), why, n);
	return fd;
}

void http_sock_peer(int fd, char *who, size_t n)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		snprintf(who, n, "unknown");
	else if (cred.uid == 0)
		snprintf(who, n, "root");
	else
		snprintf(who, n, "uid %u", (unsigned)cred.uid);
}
