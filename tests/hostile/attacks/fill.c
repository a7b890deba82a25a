/* Uses up a disk. The first argument says how:
 *   bytes FILE MOST    writes until nothing goes any more, or so many bytes are there
 *   files DIR MOST     makes empty files; `links` makes symbolic links instead
 *   claim FILE BYTES   fallocate, a hole punched into its middle, and a size of 1 TiB
 *   crash MIB          dies of a fault with so much memory in use, having asked for a core dump
 * Prints what it got and the errno that ended it, 0 for none. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static long long got;

static void bytes(const char *name, long long most)
{
	static char block[1 << 20];
	int fd = open(name, O_WRONLY | O_CREAT, 0644);
	ssize_t n = 1;

	memset(block, 'x', sizeof(block));
	while (fd >= 0 && got < most && (n = write(fd, block, sizeof(block))) > 0)
		got += n;
	if (fd >= 0 && n > 0)
		errno = 0;
}

static void names(const char *directory, long long most, int links)
{
	char name[300];

	for (errno = 0; got < most; got++) {
		snprintf(name, sizeof(name), "%s/%lld", directory, got);
		if (links ? symlink("/nowhere/in/particular", name) < 0 : mknod(name, S_IFREG | 0644, 0) < 0)
			return;
	}
	errno = 0;
}

static void claim(const char *name, long long size)
{
	int fd = open(name, O_RDWR | O_CREAT, 0644);

	if (fd < 0 || fallocate(fd, 0, 0, size) < 0 ||
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, size / 4, size / 2) < 0 ||
	    ftruncate(fd, 1LL << 40) < 0)
		return;
	got = 1LL << 40;
	errno = 0;
}

static void crash(size_t mib)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	char *memory = malloc(mib << 20);

	if (memory)
		memset(memory, 'x', mib << 20);
	printf("%d\n", setrlimit(RLIMIT_CORE, &all));
	fflush(stdout);
	*(volatile char *)1 = 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "bytes") == 0)
		bytes(argv[2], atoll(argv[3]));
	else if (strcmp(argv[1], "claim") == 0)
		claim(argv[2], atoll(argv[3]));
	else if (strcmp(argv[1], "crash") == 0)
		crash((size_t)atoi(argv[2]));
	else
		names(argv[2], atoll(argv[3]), strcmp(argv[1], "links") == 0);
	printf("%lld %d\n", got, errno);
	return 0;
}
