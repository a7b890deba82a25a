#define _GNU_SOURCE
#include "install.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(int code, const char *what, const char *path)
{
	fprintf(stderr, "fumehood supervisor: install: %s %s: %s\n", what, path, strerror(errno));
	return code;
}

static int copy(int from, int to)
{
	struct stat status;
	off_t offset = 0;

	if (fstat(from, &status) < 0)
		return -1;
	while (offset < status.st_size) {
		ssize_t done = sendfile(to, from, &offset, (size_t)(status.st_size - offset));

		if (done == 0)
			errno = EIO;
		if (done <= 0 && errno != EINTR)
			return -1;
	}
	return 0;
}

/* Whether they last after a crash matters as much as whether they are all there. */
static int fill(int from, int to, const char *name)
{
	if (copy(from, to) < 0)
		return failed(INSTALL_COPY, "cannot copy to", name);
	if (fchmod(to, 0111) < 0)
		return failed(INSTALL_MODE, "cannot set the mode of", name);
	if (fsync(to) < 0)
		return failed(INSTALL_COPY, "cannot write back", name);
	return INSTALL_OK;
}

static int fill_and_rename(int from, const char *target)
{
	char name[4096];
	int to, code;

	if ((size_t)snprintf(name, sizeof(name), "%s.XXXXXX", target) >= sizeof(name)) {
		errno = ENAMETOOLONG;
		return failed(INSTALL_CREATE, "cannot name a file beside", target);
	}
	to = mkostemp(name, O_CLOEXEC);
	if (to < 0)
		return failed(INSTALL_CREATE, "cannot create", name);
	code = fill(from, to, name);
	close(to);
	if (code == INSTALL_OK && rename(name, target) < 0)
		code = failed(INSTALL_RENAME, "cannot rename to", target);
	if (code != INSTALL_OK)
		unlink(name);
	return code;
}

int install(const char *target)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int code;

	if (from < 0)
		return failed(INSTALL_SOURCE, "cannot read", "/proc/self/exe");
	code = fill_and_rename(from, target);
	close(from);
	return code;
}
