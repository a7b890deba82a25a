/* Builds what a case needs, in every image. Each argument is a step, KIND:NAME[:MORE], done in turn:
 *   dir:NAME  file:NAME:TEXT  link:NAME:TARGET  hard:NAME:TARGET  fifo:NAME  socket:NAME  chmod:NAME:OCTAL
 *   size:NAME:BYTES  time:NAME:SECONDS  move:NAME:TARGET  remove:NAME  deep:NAME:LEVELS  many:NAME:COUNT
 * Prints how many steps were done; the first that fails ends it with its errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "attack.h"

static int put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	int failed = fd < 0 || write(fd, text, strlen(text)) < 0;

	if (fd >= 0)
		close(fd);
	return failed ? -1 : 0;
}

static int make_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(address.sun_path, name, sizeof(address.sun_path) - 1);
	return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int set_time(const char *name, long long seconds)
{
	struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};

	return utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW);
}

/* So many directories in each other, deeper than a path can say. */
static int go_deep(const char *name, int levels)
{
	int start = open(".", O_RDONLY | O_DIRECTORY), failed = start < 0;

	for (int i = 0; i < levels && !failed; i++)
		failed = mkdir(name, 0755) < 0 || chdir(name) < 0;
	return failed || fchdir(start) < 0 ? -1 : 0;
}

static int fill(const char *directory, int count)
{
	char name[300];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%d", directory, i);
		if (mknod(name, S_IFREG | 0644, 0) < 0)
			return -1;
	}
	return 0;
}

static int step(const char *kind, const char *name, const char *more)
{
	if (strcmp(kind, "dir") == 0)
		return mkdir(name, 0755);
	if (strcmp(kind, "file") == 0)
		return put(name, more);
	if (strcmp(kind, "link") == 0)
		return symlink(more, name);
	if (strcmp(kind, "hard") == 0)
		return link(more, name);
	if (strcmp(kind, "fifo") == 0)
		return mkfifo(name, 0644);
	if (strcmp(kind, "socket") == 0)
		return make_socket(name);
	if (strcmp(kind, "chmod") == 0)
		return chmod(name, (mode_t)strtol(more, NULL, 8));
	if (strcmp(kind, "size") == 0)
		return truncate(name, atoll(more));
	if (strcmp(kind, "time") == 0)
		return set_time(name, atoll(more));
	if (strcmp(kind, "move") == 0)
		return rename(name, more);
	if (strcmp(kind, "remove") == 0)
		return remove(name);
	if (strcmp(kind, "deep") == 0)
		return go_deep(name, atoi(more));
	if (strcmp(kind, "many") == 0)
		return fill(name, atoi(more));
	errno = EINVAL;
	return -1;
}

ATTACK(scene)(int argc, char **argv)
{
	umask(0);
	for (int i = 1; i < argc; i++) {
		char *kind = argv[i], *name = strchr(kind, ':'), *more = name ? strchr(name + 1, ':') : NULL;

		if (name)
			*name++ = '\0';
		if (more)
			*more++ = '\0';
		if (step(kind, name ? name : "", more ? more : "") < 0) {
			fprintf(stderr, "%s %s: %s\n", kind, name ? name : "", strerror(errno));
			return 1;
		}
	}
	printf("%d done\n", argc - 1);
	return 0;
}
