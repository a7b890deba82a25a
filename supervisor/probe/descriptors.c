/* Prints the descriptors that it was started with, and whether each is a pipe, a device or something else. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "attack.h"

static const char *kind(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return "unknown";
	if (S_ISFIFO(status.st_mode))
		return "pipe";
	return S_ISCHR(status.st_mode) ? "device" : "other";
}

ATTACK(descriptors)(int argc, char **argv)
{
	struct rlimit limit = {0, 0};

	(void)argc;
	(void)argv;
	getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = 0; fd < (int)limit.rlim_max; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%d %s\n", fd, kind(fd));
	return 0;
}
