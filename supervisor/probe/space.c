/* Tells what a file system has left: for each argument, a path, its free bytes, all bytes, free inodes and all inodes. */
#include <stdio.h>
#include <sys/statvfs.h>

#include "attack.h"

ATTACK(space)(int argc, char **argv)
{
	struct statvfs found;

	for (int i = 1; i < argc; i++) {
		if (statvfs(argv[i], &found) < 0)
			return 1;
		printf("%llu %llu %llu %llu\n", (unsigned long long)found.f_bavail * found.f_frsize,
		       (unsigned long long)found.f_blocks * found.f_frsize, (unsigned long long)found.f_favail,
		       (unsigned long long)found.f_files);
	}
	return 0;
}
