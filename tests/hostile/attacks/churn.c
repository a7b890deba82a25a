/* Keeps one file changing under whoever reads it: "grow" appends for ever (up to a bound, then from the start again),
 * "shrink" empties it and makes it whole again, "rename" gives entries of a directory new names.
 * Arguments: the kind, the file or directory, and a bound: bytes, or entries. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void grow(int fd, long long bound)
{
	char block[65536];
	long long size = 0;

	memset(block, 'x', sizeof(block));
	for (;;) {
		if (size >= bound)
			size = ftruncate(fd, 0);
		if (pwrite(fd, block, sizeof(block), size) > 0)
			size += (long long)sizeof(block);
	}
}

static void shrink(int fd, long long bound)
{
	for (;;)
		if (ftruncate(fd, 0) < 0 || ftruncate(fd, bound) < 0)
			exit(1);
}

static void rename_all(const char *directory, int count)
{
	char from[300], to[300];

	for (unsigned round = 0;; round++)
		for (int i = 0; i < count; i++) {
			snprintf(from, sizeof(from), round % 2 ? "%s/moved-%d" : "%s/%d", directory, i);
			snprintf(to, sizeof(to), round % 2 ? "%s/%d" : "%s/moved-%d", directory, i);
			(void)rename(from, to);
		}
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 4)
		return 2;
	fd = strcmp(argv[1], "rename") == 0 ? 0 : open(argv[2], O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		return 1;
	puts("up");
	fflush(stdout);
	if (strcmp(argv[1], "grow") == 0)
		grow(fd, atoll(argv[3]));
	if (strcmp(argv[1], "shrink") == 0)
		shrink(fd, atoll(argv[3]));
	rename_all(argv[2], atoi(argv[3]));
}
